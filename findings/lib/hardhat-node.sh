# Sourced by the hardhat findings after place.sh: a hardhat node of a pinned version in their temporary
# folder, on a free port. `ask METHOD PARAMS` prints its answer.
echo '{"private": true}' > package.json
echo 'module.exports = { solidity: "0.8.24" };' > hardhat.config.js
npm install --silent --no-audit --no-fund --no-package-lock hardhat@2.29.1 > install.log 2>&1 ||
	cannot "hardhat could not be installed: $(tail -n 5 install.log)"
port=$(node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close() })')
echo "hardhat $(node_modules/.bin/hardhat --version)"
CI=true node_modules/.bin/hardhat node --hostname 127.0.0.1 --port "$port" > node.log 2>&1 &
node=$!
await_node node.log
