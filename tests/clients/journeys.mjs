// What the scripts of all clients share: journeys until standard input ends, one JSON line each.
//
// A journey is what a person with a wallet does: look around, send, wait, look again. `steps` is
// called with a `step(name, work)` that times each call; what it returns is printed. An error ends
// the journey, is printed, and the next one begins: the tests count them.

export const RECIPIENT = "0x00000000000000000000000000000000000ca5e1";
export const ANSWER = 42n;
export const REVERT_REASON = "not today";
export const POLLING_MILLISECONDS = 200;

export function expect(isTrue, what) {
  if (!isTrue) throw new Error(`not as expected: ${what}`);
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
