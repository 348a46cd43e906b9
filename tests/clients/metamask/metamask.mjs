// What MetaMask does, by MetaMask's own code (RPC service with breaker and retries, middleware,
// block tracker, pending transactions): node metamask.mjs URL PRIVATE_KEY CONTRACT
//
// The waits are shorter than the wallet's, as the blocks of the test are. An error is what the
// person behind the wallet would see: a call that fails, a transaction "dropped" or "failed", the
// banner of a degraded network, an open breaker.
import { register } from "node:module";
import { Wallet } from "ethers";
import { ANSWER, RECIPIENT, expect, run } from "../journeys.mjs";

register("./stubs.mjs", import.meta.url);
// The packages export neither of these.
const { createNetworkClient } = await import(
  "./node_modules/@metamask/network-controller/dist/create-network-client.mjs"
);
const { PendingTransactionTracker } = await import(
  "./node_modules/@metamask/transaction-controller/dist/helpers/PendingTransactionTracker.mjs"
);

const CHAIN_ID = "0x7a69";
const NETWORK = "custom";
// The wallet's own values: 20 s, 3 s, 12 s; the count of fast checks is its own.
const TRACKER_MILLISECONDS = 1_200;
const CHECK_MILLISECONDS = 200;
const BLOCK_MILLISECONDS = 800;
const FAST_CHECKS = 10;
// Missing for this many block times: the transaction failed.
const TIMEOUT_ATTEMPTS = 3;

const [url, key, contract] = process.argv.slice(2);

function complain(step, what) {
  const message = String(what?.stack ?? what);
  process.stdout.write(JSON.stringify({ event: "error", step, message }) + "\n");
}

const flags = {
  confirmations_transactions: {
    acceleratedPolling: {
      perChainConfig: {
        [CHAIN_ID]: {
          blockTime: BLOCK_MILLISECONDS,
          countMax: FAST_CHECKS,
          intervalMs: CHECK_MILLISECONDS,
        },
      },
    },
    timeoutAttempts: { default: TIMEOUT_ATTEMPTS },
  },
};

const BAD_NEWS = new Set([
  "NetworkController:rpcEndpointChainDegraded",
  "NetworkController:rpcEndpointChainUnavailable",
  "NetworkController:rpcEndpointDegraded",
  "NetworkController:rpcEndpointUnavailable",
]);

// What the wallet's message bus says to these two parts.
const messenger = {
  call(action) {
    switch (action) {
      case "ConnectivityController:getState":
        return { connectivityStatus: "online" };
      case "NetworkController:getNetworkClientById":
        return network;
      case "RemoteFeatureFlagController:getState":
        return { remoteFeatureFlags: flags };
      default:
        throw new Error(`nobody answers ${action}`);
    }
  },
  publish(event, detail) {
    if (!BAD_NEWS.has(event)) return;
    const { type, rpcMethodName, duration, error } = detail;
    complain(event, [type, rpcMethodName, duration, error].filter(Boolean).join(", "));
  },
  subscribe() {},
  unsubscribe() {},
};

const network = createNetworkClient({
  id: NETWORK,
  configuration: { type: "custom", chainId: CHAIN_ID, rpcUrl: url, ticker: "ETH" },
  getRpcServiceOptions: () => ({}),
  getBlockTrackerOptions: () => ({
    pollingInterval: TRACKER_MILLISECONDS,
    retryTimeout: TRACKER_MILLISECONDS,
  }),
  messenger,
  rpcFailoverMode: "disabled",
});
const { provider, blockTracker } = network;
const ask = (method, ...params) => provider.request({ method, params });

const seen = [];
blockTracker.on("latest", (number) => seen.push(Number(number)));
blockTracker.on("error", (error) => complain("block tracker", error));

let transactions = [];
const tracker = new PendingTransactionTracker({
  blockTracker,
  getGlobalLock: async () => () => {},
  getTransactions: () => transactions,
  isTimeoutEnabled: () => true,
  hooks: { beforeCheckPendingTransaction: async () => true },
  messenger,
  networkClientId: NETWORK,
});
const settled = new Map();
const settle = (outcome) => (transaction, error) => {
  const { id } = transaction;
  transactions = transactions.filter((other) => other.id !== id);
  tracker.startIfPendingTransactions();
  settled.get(id)?.({ outcome, transaction, error });
  settled.delete(id);
};
for (const outcome of ["confirmed", "dropped", "failed"]) {
  tracker.hub.on(`transaction-${outcome}`, settle(outcome));
}
tracker.hub.on("transaction-updated", ({ warning }, note) => {
  if (warning) complain(note, warning.error);
});

const wallet = new Wallet(key);
let nextNonce = 0;

async function send(nonce) {
  const block = await ask("eth_getBlockByNumber", "latest", false);
  const gas = await ask("eth_estimateGas", { from: wallet.address, to: RECIPIENT, value: "0x1" });
  const signed = await wallet.signTransaction({
    chainId: CHAIN_ID,
    gasLimit: gas,
    maxFeePerGas: 2n * BigInt(block.baseFeePerGas) + 10n ** 9n,
    maxPriorityFeePerGas: 10n ** 9n,
    nonce,
    to: RECIPIENT,
    type: 2,
    value: 1n,
  });
  return await ask("eth_sendRawTransaction", signed);
}

function outcomeOf(hash, nonce) {
  const waiting = new Promise((resolve) => settled.set(hash, resolve));
  const txParams = { from: wallet.address, nonce: `0x${nonce.toString(16)}`, to: RECIPIENT };
  const status = "submitted";
  const submittedTime = Date.now();
  const known = { id: hash, hash, chainId: CHAIN_ID, networkClientId: NETWORK };
  transactions = [...transactions, { ...known, status, submittedTime, txParams }];
  tracker.startIfPendingTransactions();
  return waiting;
}

async function journey(step) {
  await step("select the network", async () => {
    const block = await ask("eth_getBlockByNumber", "latest", false);
    expect(block?.baseFeePerGas, "a block with a base fee");
  });
  const before = await step("balance", () => ask("eth_getBalance", wallet.address, "latest"));
  const called = await step("call", () => ask("eth_call", { to: contract }, "latest"));
  expect(BigInt(called) === ANSWER, `call gave ${called}`);
  const told = await step("nonce", () => ask("eth_getTransactionCount", wallet.address, "latest"));
  const nonce = Math.max(Number(told), nextNonce);
  const hash = await step("send", () => send(nonce));
  nextNonce = nonce + 1;

  const { outcome, transaction, error } = await step("receipt", () => outcomeOf(hash, nonce));
  expect(outcome === "confirmed", `transaction ${nonce} is ${outcome}: ${error}`);
  const { txReceipt, blockTimestamp } = transaction;
  expect(blockTimestamp, "the block of the receipt is there");
  // The receipt made the block tracker look at once: what follows is pinned at that block or later.
  const used = await step("nonce after", () =>
    ask("eth_getTransactionCount", wallet.address, "latest"),
  );
  expect(Number(used) > nonce, `nonce ${Number(used)} after transaction ${nonce} was mined`);
  const after = await step("balance after", () => ask("eth_getBalance", wallet.address, "latest"));
  expect(BigInt(after) < BigInt(before), `balance ${after} after, ${before} before`);
  const block = Number(txReceipt.blockNumber);
  expect(seen.at(-1) >= block, `the tracker is at ${seen.at(-1)}, the receipt at ${block}`);
  return { hash, nonce, block, heads: [seen.at(-1)] };
}

await run("MetaMask", async (step) => {
  try {
    return await journey(step);
  } catch (error) {
    // A wrong answer stays in the wallet's cache until the next block.
    await new Promise((resolve) => setTimeout(resolve, CHECK_MILLISECONDS));
    throw error;
  }
});
tracker.stop();
network.destroy();
