#!/bin/sh
# A node that is one block behind refuses a good eth_getLogs range. geth up to 1.16.9 says −32000
# "invalid block range params", the very words of a range that is backward; 1.17.10 says −32602
# "block range extends beyond current head block", a code by which clients know mistakes of theirs.
# By code and words alone lag cannot be told from a client's mistake.
# Run: sh findings/geth-two-words-for-a-range-above-the-head.sh    (needs go and curl; some minutes)
# Exits with 0 where it is so, with 1 where it changed, with 2 where it could not be tried.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
. "$here/lib/place"
above='[{"fromBlock":"0x5","toBlock":"0x6"}]'
backward='[{"fromBlock":"0x2","toBlock":"0x1"}]'

# told VERSION PORT: what this version says of both, in "$first" and "$second"
told() {
	mkdir -p "$folder/$1"
	GOBIN="$folder/$1" go install "github.com/ethereum/go-ethereum/cmd/geth@v$1" 2> go.log ||
		cannot "geth $1 could not be built: $(tail -n 5 go.log)"
	port=$2
	"$folder/$1/geth" --dev --datadir "$folder/$1/data" --http --http.port "$port" --port 0 \
		--authrpc.port "$((port + 1))" --nodiscover --maxpeers 0 --ipcdisable --verbosity 1 \
		> "$folder/$1/log" 2>&1 &
	node=$!
	await_node "$folder/$1/log"
	first=$(ask eth_getLogs "$above")
	second=$(ask eth_getLogs "$backward")
	stop
	echo "geth $1, above the head: $first"
	echo "geth $1, backward:       $second"
}

told 1.16.9 "${PORT:-28545}"
case "$first $second" in
*'"code":-32000,"message":"invalid block range params"'*'"code":-32000,"message":"invalid block range params"'*) ;;
*) echo "geth 1.16.9: this has changed"; exit 1 ;;
esac
told 1.17.10 "$((${PORT:-28545} + 2))"
case "$first" in
*'"code":-32602'*'extends beyond current head'*) echo "geth: two words for one thing" ;;
*) echo "geth 1.17.10: this has changed"; exit 1 ;;
esac
