# Sourced by the hardhat findings: a hardhat node of a pinned version in the current folder, which is
# a temporary one, on a free port. `ask METHOD PARAMS` prints the answer; `stop` ends the node.
node=
stop() {
	test -z "$node" || kill "$node" 2>/dev/null || true
}
echo '{"private": true}' > package.json
echo 'module.exports = { solidity: "0.8.24" };' > hardhat.config.js
npm install --silent --no-audit --no-fund --no-package-lock hardhat@2.29.1 > install.log 2>&1
port=$(node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close() })')
echo "hardhat $(node_modules/.bin/hardhat --version)"
CI=true node_modules/.bin/hardhat node --hostname 127.0.0.1 --port "$port" > node.log 2>&1 &
node=$!
ask() {
	curl -s -H 'Content-Type: application/json' "http://127.0.0.1:$port" \
		-d "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"$1\",\"params\":$2}"
}
for turn in $(seq 120); do
	if ask eth_chainId '[]' | grep -q result; then break; fi
	sleep 0.5
done
