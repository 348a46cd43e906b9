// Transfers signed by viem or ethers, one per line, for nonces 0 to COUNT - 1:
// node sign.mjs viem|ethers PRIVATE_KEY CHAIN_ID COUNT
import { Wallet } from "ethers";
import { privateKeyToAccount } from "viem/accounts";
import { RECIPIENT } from "./journeys.mjs";

const [kind, key, chain, count] = process.argv.slice(2);
const fees = { maxFeePerGas: 5_000_000_000n, maxPriorityFeePerGas: 1_000_000_000n };
const account = privateKeyToAccount(key);
const wallet = new Wallet(key);

for (let nonce = 0; nonce < Number(count); nonce += 1) {
  const transfer = { to: RECIPIENT, value: 1n, nonce, chainId: Number(chain), ...fees };
  const signed =
    kind === "viem"
      ? await account.signTransaction({ type: "eip1559", gas: 21_000n, ...transfer })
      : await wallet.signTransaction({ type: 2, gasLimit: 21_000n, ...transfer });
  console.log(signed);
}
