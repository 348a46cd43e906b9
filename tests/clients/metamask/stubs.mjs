// Stands for packages that MetaMask's packages import: those that are not published (npm installs a
// placeholder for them, see package.json) and those that these tests never call. As a module it
// exports what is imported from them; as a loader hook it says where they are.
import { JsonRpcEngineV2 } from "@metamask/json-rpc-engine/v2";

const STANDS_FOR = new Set([
  "@metamask/connectivity-controller",
  "@metamask/eth-json-rpc-infura",
  "@metamask/eth-json-rpc-provider",
  "@metamask/eth-sig-util",
  "@metamask/remote-feature-flag-controller",
]);

export async function resolve(specifier, context, next) {
  if (STANDS_FOR.has(specifier)) return { url: import.meta.url, shortCircuit: true };
  return await next(specifier, context);
}

// @metamask/eth-json-rpc-provider: an EIP-1193 face for an engine, with ids as the wallet has them.

let lastId = 2 ** 40;

export class InternalProvider {
  #engine;

  constructor({ engine }) {
    this.#engine = engine;
  }

  async request({ id = ++lastId, jsonrpc = "2.0", method, params }, options) {
    return await this.#engine.handle({ id, jsonrpc, method, params }, options);
  }
}

export function providerFromMiddlewareV2(middleware) {
  return new InternalProvider({ engine: JsonRpcEngineV2.create({ middleware: [middleware] }) });
}

// The rest.

export const CONNECTIVITY_STATUSES = { Online: "online", Offline: "offline" };
export const TYPED_MESSAGE_SCHEMA = {};

function unused() {
  throw new Error("a package that the tests do not use was called");
}

export { unused as createInfuraMiddleware, unused as generateDeterministicRandomNumber };
