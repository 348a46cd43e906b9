#!/bin/sh
# zksync-ethers 6.15.0: a priority fee of 0 in a transaction of type 0x71 is signed and serialized as
# the maximum fee, since 0 counts as left out (`maxPriorityFeePerGas || maxFeePerGas`). A signer that
# means "no tip" signs the highest one.
# Run: sh findings/zksync_ethers_zero_tip.sh    (needs npm and node)
# Exits with 0 where it is so, with 1 where it changed, with 2 where it could not be tried.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
. "$here/lib/place"
npm install --silent --no-audit --no-fund zksync-ethers@6.15.0 ethers@6.13.4 > install.log 2>&1 ||
	cannot "zksync-ethers could not be installed: $(tail -n 5 install.log)"
cat > try.mjs <<'JS'
import { readFileSync } from "node:fs";
import { EIP712Signer, utils } from "zksync-ethers";
import { Wallet } from "ethers";

const { version } = JSON.parse(readFileSync("node_modules/zksync-ethers/package.json"));
console.log(`zksync-ethers ${version}`);
const wallet = new Wallet("0x" + "11".repeat(32));
const wanted = {
  type: 113, chainId: 324, from: wallet.address, to: "0x" + "22".repeat(20), nonce: 5,
  gasLimit: 100000n, maxFeePerGas: 250000000n, maxPriorityFeePerGas: 0n, value: 7n, data: "0x",
  customData: { gasPerPubdata: 50000 },
};
wanted.customData.customSignature = await new EIP712Signer(wallet, 324).sign(wanted);
const told = utils.parseEip712(utils.serializeEip712(wanted));
const signed = EIP712Signer.getSignInput(wanted);
console.log(`asked for a priority fee of ${wanted.maxPriorityFeePerGas}, maximum ${wanted.maxFeePerGas}`);
console.log(`serialized: ${told.maxPriorityFeePerGas}; signed: ${signed.maxPriorityFeePerGas}`);
process.exit(told.maxPriorityFeePerGas === wanted.maxFeePerGas ? 0 : 1);
JS
node try.mjs
