// viem or ethers, sending and looking again while it watches every block:
// node consistency.mjs viem|ethers URL PRIVATE_KEY CONTRACT
//
// An error is whatever shows that two answers did not come from one chain that only moves forward:
// a block event twice or left out, a block whose parent is another than the one before, a receipt,
// transaction or block that was there and is not, a nonce or balance older than a receipt.
import { JsonRpcProvider, NonceManager, Wallet } from "ethers";
import { createPublicClient, createWalletClient, http } from "viem";
import { nonceManager, privateKeyToAccount } from "viem/accounts";
import { anvil } from "viem/chains";
import { RECIPIENT, expect, run } from "./journeys.mjs";

const POLLING_MILLISECONDS = 100;
const RECEIPT_MILLISECONDS = 20_000;
const LOOKED_AT_AGAIN = 5;
const MOST_COMPLAINTS = 20;
// The nodes mine by the second at the least; a jump further than this is a lie, not to be followed.
const LONGEST_JUMP = 50;

const [kind, url, key] = process.argv.slice(2);

function viemClient() {
  const account = privateKeyToAccount(key, { nonceManager });
  const transport = http(url, { retryCount: 0 });
  const options = { chain: anvil, cacheTime: 0, pollingInterval: POLLING_MILLISECONDS, transport };
  const reader = createPublicClient(options);
  const wallet = createWalletClient({ ...options, account });
  const plain = (found) => found && { number: Number(found.blockNumber), blockHash: found.blockHash };
  const block = (found) => ({ ...found, number: Number(found.number) });
  return {
    address: account.address,
    head: async () => Number(await reader.getBlockNumber()),
    nonce: (address) => reader.getTransactionCount({ address }),
    balance: (address) => reader.getBalance({ address }),
    send: async () => {
      const hash = await wallet.sendTransaction({ to: RECIPIENT, value: 1n });
      const { nonce } = await reader.getTransaction({ hash });
      return { hash, nonce };
    },
    wait: async (hash) => {
      const replaced = [];
      const onReplaced = ({ reason }) => replaced.push(reason);
      const timeout = RECEIPT_MILLISECONDS;
      const receipt = await reader.waitForTransactionReceipt({ hash, timeout, onReplaced });
      expect(replaced.length === 0, `it was called ${replaced[0]}`);
      expect(receipt.status === "success", `status ${receipt.status}`);
      return plain(receipt);
    },
    receipt: async (hash) => plain(await reader.getTransactionReceipt({ hash })),
    transaction: async (hash) => plain(await reader.getTransaction({ hash })),
    blockByHash: async (blockHash) => block(await reader.getBlock({ blockHash })),
    blockByNumber: async (number) => block(await reader.getBlock({ blockNumber: BigInt(number) })),
    watch: (onNumber, onBlock, onError) => {
      const common = { emitOnBegin: true, emitMissed: true, poll: true, onError };
      const onBlockNumber = (number) => onNumber(Number(number));
      const unwatch = [
        reader.watchBlockNumber({ ...common, onBlockNumber }),
        reader.watchBlocks({ ...common, onBlock: (found) => onBlock(block(found)) }),
      ];
      return () => unwatch.forEach((stop) => stop());
    },
    reset: () => nonceManager.reset({ address: account.address, chainId: anvil.id }),
  };
}

function ethersClient() {
  const options = { cacheTimeout: -1, pollingInterval: POLLING_MILLISECONDS };
  const provider = new JsonRpcProvider(url, undefined, options);
  const wallet = new Wallet(key, provider);
  const sender = new NonceManager(wallet);
  const plain = (found) => found && { number: found.blockNumber, blockHash: found.blockHash };
  return {
    address: wallet.address,
    head: () => provider.getBlockNumber(),
    nonce: (address) => provider.getTransactionCount(address),
    balance: (address) => provider.getBalance(address),
    send: async () => {
      const { hash, nonce } = await sender.sendTransaction({ to: RECIPIENT, value: 1n });
      return { hash, nonce };
    },
    wait: async (hash) => {
      const sent = await provider.getTransaction(hash);
      expect(sent, "the transaction that was sent is known");
      return plain(await sent.wait(1, RECEIPT_MILLISECONDS));
    },
    receipt: async (hash) => plain(await provider.getTransactionReceipt(hash)),
    transaction: async (hash) => plain(await provider.getTransaction(hash)),
    blockByHash: (hash) => provider.getBlock(hash),
    blockByNumber: (number) => provider.getBlock(number),
    watch: (onNumber, onBlock, onError) => {
      // Events may come while an earlier one's block is on its way: look in their order.
      let turn = Promise.resolve();
      const look = async (number) => {
        const found = await provider.getBlock(number);
        expect(found, `block ${number}, whose event came, is there`);
        onBlock(found);
      };
      const onEvent = (number) => {
        if (onNumber(number)) turn = turn.then(() => look(number)).catch(onError);
      };
      provider.on("block", onEvent);
      return () => provider.destroy();
    },
    reset: () => sender.reset(),
  };
}

const client = kind === "viem" ? viemClient() : ethersClient();

let complaints = 0;
function complain(step, what) {
  if (++complaints > MOST_COMPLAINTS) return;
  const message = String(what?.stack ?? what);
  process.stdout.write(JSON.stringify({ event: "error", step, message }) + "\n");
}

let lastNumber = null;
let lastBlock = null;
let blocks = []; // since the last journey, as [number, hash]: the test knows the true ones

// Whether the number comes right after the one before.
function onNumber(number) {
  const before = lastNumber;
  lastNumber = number;
  if (before === null || number === before + 1) return true;
  complain("block event", `block ${number} came after block ${before}`);
  return number > before && number < before + LONGEST_JUMP;
}

function onBlock(found) {
  const before = lastBlock;
  lastBlock = found;
  blocks.push([found.number, found.hash]);
  if (before === null) return;
  if (found.number !== before.number + 1) {
    complain("block watch", `block ${found.number} came after block ${before.number}`);
  } else if (found.parentHash !== before.hash) {
    const parent = `${found.parentHash}, not ${before.hash}`;
    complain("block watch", `the parent of block ${found.number} is ${parent}`);
  }
}

const unwatch = client.watch(onNumber, onBlock, (error) => complain("block watch", error));

const past = [];
let given = 0n;

async function lookAgain({ hash, blockHash, number }) {
  const [receipt, transaction, block, same] = await Promise.all([
    client.receipt(hash),
    client.transaction(hash),
    client.blockByHash(blockHash),
    client.blockByNumber(number),
  ]);
  expect(receipt?.blockHash === blockHash, `the receipt of ${hash} stays`);
  expect(transaction?.blockHash === blockHash, `the transaction ${hash} stays in its block`);
  expect(block?.hash === blockHash, `block ${number} is answered by hash`);
  expect(block.transactions.includes(hash), `block ${number} holds the transaction`);
  expect(same?.hash === blockHash, `block ${number} by number is block ${number} by hash`);
}

async function journey(step) {
  const heads = [];
  const head = async () => {
    const number = await client.head();
    heads.push(number);
    return number;
  };
  await step("blockNumber", head);
  const owned = await step("balance", () => client.balance(client.address));
  const { hash, nonce } = await step("send", client.send);
  const receipt = await step("receipt", () => client.wait(hash));

  // Everything from here on is at least as new as the receipt.
  const now = await step("blockNumber after", head);
  expect(now >= receipt.number, `head ${now}, receipt in block ${receipt.number}`);
  const used = await step("nonce after", () => client.nonce(client.address));
  expect(used > nonce, `nonce ${used} after transaction ${nonce} was mined`);
  const left = await step("balance after", () => client.balance(client.address));
  expect(left < owned, `balance ${left} after, ${owned} before`);
  const total = await step("balance of the recipient", () => client.balance(RECIPIENT));
  expect(total > given, `the recipient has ${total}, and had ${given}`);
  given = total;
  past.push({ hash, ...receipt });
  if (past.length > LOOKED_AT_AGAIN) past.shift();
  for (const one of past) await step("look again", () => lookAgain(one));
  await step("blockNumber at the end", head);
  const followed = blocks;
  blocks = [];
  return { hash, nonce, block: receipt.number, heads, blocks: followed };
}

await run(kind, async (step) => {
  try {
    return await journey(step);
  } catch (error) {
    client.reset();
    await new Promise((resolve) => setTimeout(resolve, POLLING_MILLISECONDS));
    throw error;
  }
});
unwatch();
