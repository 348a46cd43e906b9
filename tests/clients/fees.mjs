// Estimates fees, reads the latest and the pending block, again and again, as wallets do before they
// sign. Arguments: the URL, how often. Prints how often each client succeeded.
import { JsonRpcProvider } from "ethers";
import { createPublicClient, http } from "viem";

const [url, times] = [process.argv[2], Number(process.argv[3])];
const viem = createPublicClient({ transport: http(url, { retryCount: 0 }) });
const ethers = new JsonRpcProvider(url, undefined, { staticNetwork: true });
const pause = () => new Promise((resolve) => setTimeout(resolve, 50));
let byViem = 0;
let byEthers = 0;

for (let i = 0; i < times; i++) {
  const fees = await viem.estimateFeesPerGas();
  const pending = await viem.getBlock({ blockTag: "pending" });
  const latest = await viem.getBlock();
  if (fees.maxFeePerGas > 0n && latest.number !== null && pending.parentHash) byViem += 1;
  const data = await ethers.getFeeData();
  const block = await ethers.getBlock("latest");
  const next = await ethers.getBlock("pending");
  if (data.maxFeePerGas > 0n && block.number > 0 && next.parentHash) byEthers += 1;
  await pause();
}
console.log(`viem ${byViem} ethers ${byEthers}`);
ethers.destroy();
