// ethers, with the batches it makes by itself: node ethers.mjs URL PRIVATE_KEY CONTRACT
import { JsonRpcProvider, NonceManager, Wallet } from "ethers";
import { ANSWER, POLLING_MILLISECONDS, RECIPIENT, REVERT_REASON, expect, run, settle } from "./journeys.mjs";

const CHAIN_ID = 31337n;

const [url, key, contract] = process.argv.slice(2);
// No cache: what is asked twice is to be sent twice.
const provider = new JsonRpcProvider(url, undefined, {
  cacheTimeout: -1,
  pollingInterval: POLLING_MILLISECONDS,
});
const wallet = new Wallet(key, provider);
// As wallets do: what was used last is known here.
const sender = new NonceManager(wallet);

await run("ethers", async (step) => {
  const heads = [];
  const head = async () => {
    heads.push(await provider.getBlockNumber());
    return heads.at(-1);
  };

  const network = await step("chainId", () => provider.getNetwork());
  expect(network.chainId === CHAIN_ID, "chain id");
  await step("blockNumber", head);
  await step("balance", () => provider.getBalance(wallet.address));
  const called = await step("call", () => provider.call({ to: contract }));
  expect(BigInt(called) === ANSWER, `call gave ${called}`);
  const gas = await step("estimateGas", () => wallet.estimateGas({ to: RECIPIENT, value: 1n }));
  expect(gas >= 21_000n, `gas ${gas}`);
  const refusal = await step("revert", () =>
    provider.call({ to: contract, data: "0x01020304" }).catch((e) => e),
  );
  const isReverted = refusal.code === "CALL_EXCEPTION" && refusal.reason === REVERT_REASON;
  expect(isReverted, `a revert, not ${refusal}`);

  const sent = await step("send", () => sender.sendTransaction({ to: RECIPIENT, value: 1n }));
  const receipt = await step("receipt", () => sent.wait(1, 30_000));
  const look = async (receipt) => {
    expect(receipt.status === 1, `status ${receipt.status}`);
    await step("blockNumber after", head);
    const block = await step("block", () => provider.getBlock(receipt.blockHash));
    expect(block?.transactions.includes(sent.hash), "the block of the receipt holds the transaction");
    const [again, transaction] = await step("batch", () =>
      Promise.all([
        provider.getTransactionReceipt(sent.hash),
        provider.getTransaction(sent.hash),
        provider.getBalance(RECIPIENT),
        head(),
      ]),
    );
    expect(again?.blockHash === receipt.blockHash, "the receipt stays");
    expect(transaction?.hash === sent.hash, "the transaction stays");
    return { hash: sent.hash, nonce: sent.nonce, block: receipt.blockNumber, heads };
  };
  return settle(receipt, look, () => provider.getTransactionReceipt(sent.hash), head);
});
provider.destroy();
