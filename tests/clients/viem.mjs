// viem, without retries of its own: node viem.mjs URL PRIVATE_KEY CONTRACT
import {
  BaseError,
  ContractFunctionRevertedError,
  TransactionReceiptNotFoundError,
  createPublicClient,
  createWalletClient,
  http,
  parseAbi,
} from "viem";
import { nonceManager, privateKeyToAccount } from "viem/accounts";
import { anvil } from "viem/chains";
import { ANSWER, POLLING_MILLISECONDS, RECIPIENT, REVERT_REASON, expect, run, settle } from "./journeys.mjs";

const [url, key, contract] = process.argv.slice(2);
// As wallets do: the higher of what the chain says and what was used last.
const account = privateKeyToAccount(key, { nonceManager });
const options = { chain: anvil, cacheTime: 0, pollingInterval: POLLING_MILLISECONDS };
const single = createPublicClient({ ...options, transport: http(url, { retryCount: 0 }) });
const batching = createPublicClient({
  ...options,
  transport: http(url, { retryCount: 0, batch: true }),
});
const wallet = createWalletClient({ ...options, account, transport: http(url, { retryCount: 0 }) });
const abi = parseAbi(["function refuse() view"]);

await run("viem", async (step) => {
  const heads = [];
  const head = async () => {
    heads.push(Number(await single.getBlockNumber()));
    return heads.at(-1);
  };

  expect((await step("chainId", () => single.getChainId())) === anvil.id, "chain id");
  await step("blockNumber", head);
  await step("balance", () => single.getBalance({ address: account.address }));
  const called = await step("call", () => single.call({ to: contract }));
  expect(BigInt(called.data) === ANSWER, `call gave ${called.data}`);
  const gas = await step("estimateGas", () =>
    single.estimateGas({ account, to: RECIPIENT, value: 1n }),
  );
  expect(gas >= 21_000n, `gas ${gas}`);
  const refusal = await step("revert", () =>
    single.readContract({ address: contract, abi, functionName: "refuse" }).catch((e) => e),
  );
  const reverted =
    refusal instanceof BaseError && refusal.walk((e) => e instanceof ContractFunctionRevertedError);
  expect(reverted?.reason === REVERT_REASON, `a revert, not ${refusal}`);

  const hash = await step("send", () => wallet.sendTransaction({ to: RECIPIENT, value: 1n }));
  const receipt = await step("receipt", () =>
    single.waitForTransactionReceipt({ hash, timeout: 30_000 }),
  );
  const look = async (receipt) => {
    expect(receipt.status === "success", `status ${receipt.status}`);
    await step("blockNumber after", head);
    const block = await step("block", () => single.getBlock({ blockHash: receipt.blockHash }));
    expect(block.transactions.includes(hash), "the block of the receipt holds the transaction");
    const [again, transaction, id] = await step("batch", () =>
      Promise.all([
        batching.getTransactionReceipt({ hash }),
        batching.getTransaction({ hash }),
        batching.getChainId(),
        batching.getBalance({ address: RECIPIENT }),
        batching.getBlockNumber().then((number) => heads.push(Number(number))),
      ]),
    );
    expect(again.blockHash === receipt.blockHash, "the receipt stays");
    expect(transaction.hash === hash, "the transaction stays");
    expect(id === anvil.id, "chain id in a batch");
    return { hash, nonce: transaction.nonce, block: Number(receipt.blockNumber), heads };
  };
  const again = () =>
    single.getTransactionReceipt({ hash }).catch((error) => {
      if (error instanceof TransactionReceiptNotFoundError) return null;
      throw error;
    });
  return settle(receipt, look, again, head);
});
