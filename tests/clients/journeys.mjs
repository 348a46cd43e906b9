// What the scripts of all clients share: journeys until standard input ends, one JSON line each.
//
// A journey is what a person with a wallet does: look around, send, wait, look again. `steps` is
// called with a `step(name, work)` that times each call; what it returns is printed. An error ends
// the journey, is printed, and the next one begins: the tests count them.

export const RECIPIENT = "0x00000000000000000000000000000000000ca5e1";
export const ANSWER = 42n;
export const REVERT_REASON = "not today";
export const POLLING_MILLISECONDS = 200;
const RECEIPT_MILLISECONDS = 30_000;

export function expect(isTrue, what) {
  if (!isTrue) throw new Error(`not as expected: ${what}`);
}

// The receipt in another block than before; null when the chain went on and it is still the same.
async function replacement(receipt, again, head) {
  const deadline = performance.now() + RECEIPT_MILLISECONDS;
  while (performance.now() < deadline) {
    const number = await head();
    const found = await again();
    if (found && found.blockHash !== receipt.blockHash) return found;
    // A node takes a block back before anybody mines on top of it.
    if (found && Number(number) > Number(receipt.blockNumber)) return null;
    await new Promise((resolve) => setTimeout(resolve, POLLING_MILLISECONDS));
  }
  return null;
}

// What `look` tells of the receipt, as in a reorg: when something does not agree with it, `again`
// asks for the receipt until it is in another block, and `look` begins anew. The hashes of the
// blocks that it was in before are told as `replaced`; the test knows which blocks were taken back.
export async function settle(receipt, look, again, head) {
  const replaced = [];
  for (;;) {
    try {
      const told = await look(receipt);
      return { ...told, blockHash: receipt.blockHash, replaced };
    } catch (error) {
      const next = await replacement(receipt, again, head);
      if (next === null) throw error;
      replaced.push(receipt.blockHash);
      receipt = next;
    }
  }
}

function print(line) {
  process.stdout.write(JSON.stringify(line) + "\n");
}

export async function run(client, journey) {
  let isOver = false;
  process.stdin.on("end", () => (isOver = true)).resume();
  print({ event: "ready", client });
  for (let number = 1; !isOver; number++) {
    const seconds = {};
    let current = "";
    const step = async (name, work) => {
      current = name;
      const started = performance.now();
      const result = await work();
      seconds[name] = (performance.now() - started) / 1000;
      return result;
    };
    try {
      const told = await journey(step);
      print({ event: "journey", number, seconds, ...told });
    } catch (error) {
      const message = String(error?.stack ?? error);
      print({ event: "error", number, step: current, message });
    }
  }
  print({ event: "end" });
}
