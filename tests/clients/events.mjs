// Waits for the events of one contract as libraries do over HTTP, where filters are refused.
// Arguments: the URL, the contract. Says "ready" once all listen, and ends when all have heard.
import { Contract, JsonRpcProvider } from "ethers";
import { createPublicClient, http } from "viem";

const [url, address] = process.argv.slice(2);
const wanted = 2;
const heard = {};
let done;
const finished = new Promise((resolve) => (done = resolve));
const hear = (who) => {
  heard[who] = (heard[who] ?? 0) + 1;
  if (Object.keys(heard).length === 4 && Object.values(heard).every((n) => n >= wanted)) done();
};

const provider = new JsonRpcProvider(url, undefined, { staticNetwork: true });
provider.pollingInterval = 100;
await provider.on({ address }, () => hear("ethers filter"));
const contract = new Contract(address, ["event Told(bytes32 indexed word)"], provider);
await contract.on("Told", () => hear("ethers contract"));

const client = createPublicClient({ transport: http(url), pollingInterval: 100 });
const failures = [];
const onError = (error) => failures.push(error.message);
client.watchEvent({ address, onLogs: (logs) => logs.forEach(() => hear("viem event")), onError });
client.watchBlockNumber({ onBlockNumber: () => hear("viem blocks"), onError });

console.log("ready");
await finished;
if (failures.length) throw new Error(failures.join("\n"));
console.log("heard");
process.exit(0);
