#!/bin/sh
# hardhat 2.29.1 answers params that it cannot read (a tag in capitals, a number without 0x) with
# −32004 "Method eth_getBalance is not supported", though it supports the method: the words of a
# missing method for a mistake of the client. Other nodes say −32602.
# Run: sh findings/hardhat-unsupported-for-unreadable-params.sh    (needs npm, node and curl)
# Exits with 0 where it is so, with 1 where it changed, with 2 where it could not be tried.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
. "$here/lib/place"
. "$here/lib/hardhat-node"

address=0x2222222222222222222222222222222222222222
bad=$(ask eth_getBalance "[\"$address\",\"LATEST\"]")
good=$(ask eth_getBalance "[\"$address\",\"latest\"]")
echo "eth_getBalance at \"LATEST\": $bad"
echo "eth_getBalance at \"latest\": $good"
case "$bad $good" in
*'"code":-32004'*'is not supported'*'"result"'*) echo "hardhat: −32004, and served" ;;
*) echo "hardhat: this has changed"; exit 1 ;;
esac
