#!/bin/sh
# hardhat 2.29.1 answers eth_sendRawTransaction of a transaction that reverts with an error (−32603),
# and has mined it: its receipt is there (status 0x0). The hash is in the error's data.txHash alone.
# Whoever takes the error for a refusal, and sends again, gets "nonce too low".
# Run: sh findings/hardhat-error-for-a-mined-transaction.sh    (needs npm, node and curl)
# Exits with 0 where it is so, with 1 where it changed, with 2 where it could not be tried.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
. "$here/lib/place"
. "$here/lib/hardhat-node"

# A creation whose code reverts, signed by hardhat's first development account (nonce 0).
raw=0x02f85f827a6980843b9aca008502540be400830186a080808560006000fdc080a0c82dece677c9c01cce0efe90306daac4cd6fcc4691d104d4fbe6104bbc957b01a04ca7eeb371ab5588dfc1eaf6fbb20ba4df0fab8101a2f45afa6da49ad8a1f4b4
sent=$(ask eth_sendRawTransaction "[\"$raw\"]")
echo "eth_sendRawTransaction: $sent"
hash=$(printf '%s' "$sent" | sed -n 's/.*"txHash":"\(0x[0-9a-f]*\)".*/\1/p')
receipt=$(ask eth_getTransactionReceipt "[\"$hash\"]")
echo "eth_getTransactionReceipt: $receipt" | cut -c1-300
case "$sent $receipt" in
*'"code":-32603'*'"status":"0x0"'*) echo "hardhat: an error, and mined" ;;
*) echo "hardhat: this has changed"; exit 1 ;;
esac
