// What viem and ethers make of a refused transaction: reads {"url", "raws": [...]} from stdin and
// writes one list per transaction: viem's error classes from the outside in, what viem takes the
// node's words for, and ethers' code.
import { ethers } from 'ethers'
import { createPublicClient, http } from 'viem'
import { getNodeError } from 'viem/utils'

const chunks = []
for await (const chunk of process.stdin) chunks.push(chunk)
const { url, raws } = JSON.parse(Buffer.concat(chunks).toString())

const viem = createPublicClient({ transport: http(url, { retryCount: 0 }) })
const provider = new ethers.JsonRpcProvider(url, 1337, { staticNetwork: true, batchMaxCount: 1 })

async function byViem(raw) {
  try {
    await viem.sendRawTransaction({ serializedTransaction: raw })
    return ['taken']
  } catch (error) {
    const classes = []
    for (let each = error; each; each = each.cause) classes.push(each.name)
    return [...classes, error.code, getNodeError(error, {}).name]
  }
}

async function byEthers(raw) {
  try {
    await provider.send('eth_sendRawTransaction', [raw])
    return ['taken']
  } catch (error) {
    return [error.code, error.error?.code]
  }
}

const told = []
for (const raw of raws) told.push({ viem: await byViem(raw), ethers: await byEthers(raw) })
console.log(JSON.stringify(told))
provider.destroy()
