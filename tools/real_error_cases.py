"""What real nodes are asked, and what their errors must mean: a table.

Each case is a request that goes wrong. ``wanted`` is the label of a verdict, or ``answer`` where
the node takes it (``a|b`` where it does now this, now that); ``but`` names it for nodes that
differ, by kind (``geth``) or version (``geth-1.15.11``).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from eth_account import Account
from eth_utils.address import to_checksum_address

from rpcproxy.chains.evm.sends import rlp
from tools.real_nodes import Node, Trouble

ANSWER: Final = "answer"
REASON: Final = "rate limit: unauthorized"
# Development accounts of anvil and hardhat: no secrets, worth nothing anywhere else.
KEY: Final = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
POOR: Final = "0x" + "77" * 32
# Runtime code that reverts with Error(REASON), and what deploys it.
_RUNTIME: Final = (
    "6308c379a060e01b5f526020600452"
    f"60{len(REASON):02x}6024527f{REASON.encode().ljust(32, b'.')[:32].hex()}60445260645ffd"
)
_DEPLOY: Final = "0x603c8060095f395ff3" + _RUNTIME


class Scene:
    """A node with an account that has money and a contract that reverts."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.chain_id = int(node.call("eth_chainId"), 16)
        self.rich = Account.from_key(KEY).address
        self.poor = Account.from_key(POOR).address
        if node.kind == "geth":
            keeper = node.call("eth_accounts")[0]
            self._sent({"from": keeper, "to": self.rich, "value": hex(10**21)})
        self.contract = self._deployed()
        self.transfer()

    @property
    def head(self) -> int:
        """Geth --dev goes on by itself while a transaction waits for the base fee to fall."""
        return int(self.node.call("eth_blockNumber"), 16)

    def _sent(self, tx: Mapping[str, object]) -> None:
        self._mined(self.node.call("eth_sendTransaction", tx))

    def _mined(self, hash: str) -> Any:  # noqa: ANN401 -- any JSON
        for _ in range(500):
            try:
                receipt = self.node.call("eth_getTransactionReceipt", hash)
            except Trouble:  # geth 1.16.9: "transaction indexing is in progress", at first
                receipt = None
            if receipt is not None:
                return receipt
            time.sleep(0.02)
        raise TimeoutError(hash)

    def _deployed(self) -> str:
        hash = self.node.call(
            "eth_sendRawTransaction", self.raw(to=None, data=_DEPLOY, gas=200_000)
        )
        address = to_checksum_address(self._mined(hash)["contractAddress"])
        return str(address)

    def transfer(self) -> str:
        """A transfer that was mined, raw: to be sent again."""
        raw = self.raw(to=self.poor, value=1)
        self._mined(self.node.call("eth_sendRawTransaction", raw))
        return raw

    def nonce(self) -> int:
        return int(self.node.call("eth_getTransactionCount", self.rich, "pending"), 16)

    def raw(self, key: str = KEY, **fields: Any) -> str:  # noqa: ANN401 -- of a transaction
        """A signed transaction: a transfer of type 2, but for what is given."""
        made: dict[str, Any] = {"to": self.rich, "value": 0, "gas": 21_000}
        made |= {"chainId": self.chain_id, "nonce": self.nonce() if key == KEY else 0}
        if "gasPrice" not in fields:
            made |= {"maxFeePerGas": 10 * 10**9, "maxPriorityFeePerGas": 10**9}
        made |= fields
        if made["to"] is None:
            del made["to"]
        return str(Account.sign_transaction(made, key).raw_transaction.to_0x_hex())


class Case(NamedTuple):
    name: str
    method: str
    params: Callable[[Scene], list[Any]]
    wanted: str
    but: Mapping[str, str] = {}

    def wanted_of(self, node: Node) -> str:
        return self.but.get(node.name) or self.but.get(node.kind) or self.wanted

    def text(self, scene: Scene) -> bytes:
        return json.dumps(self.params(scene)).encode()


def _send(name: str, raw: Callable[[Scene], str], wanted: str, **but: str) -> Case:
    return Case(name, "eth_sendRawTransaction", lambda scene: [raw(scene)], wanted, but)


def _logs(name: str, fields: Callable[[Scene], dict[str, Any]], wanted: str, **but: str) -> Case:
    return Case(name, "eth_getLogs", lambda scene: [fields(scene)], wanted, but)


def _call(name: str, fields: Callable[[Scene], dict[str, Any]], wanted: str, **but: str) -> Case:
    return Case(name, "eth_call", lambda scene: [fields(scene), "latest"], wanted, but)


def _asked(name: str, method: str, params: list[Any], wanted: str, **but: str) -> Case:
    return Case(name, method, lambda _: params, wanted, but)


_SENDS = (
    _send("mined before", lambda s: (s.transfer(), s.transfer())[0], "nonce_too_low"),
    _send("nonce used", lambda s: s.raw(nonce=0, value=5), "nonce_too_low"),
    _send("no money", lambda s: s.raw(key=POOR, value=10**24), "insufficient_funds"),
    _send("other chain", lambda s: s.raw(chainId=5), "send_refused"),
    _send("tip above fee", lambda s: s.raw(maxPriorityFeePerGas=20 * 10**9), "send_refused"),
    _send("gas too low", lambda s: s.raw(gas=20_000), "send_refused"),
    _send("gas above a block's", lambda s: s.raw(gas=2**40), "send_refused", geth="send_policy"),
    _send("a fee of nothing", lambda s: s.raw(maxFeePerGas=1, maxPriorityFeePerGas=1),
          "send_policy", geth=ANSWER),
    _send("empty", lambda _: "0x", "send_refused", hardhat="invalid_params"),
    _send("type alone", lambda _: "0x02", "send_refused", hardhat="invalid_params"),
    _send("unknown type", lambda _: "0x7e01", "send_policy", anvil="send_refused"),
    _send("a string", lambda _: "0x8401020304", "send_refused", hardhat="send_policy"),
    _send("cut off", lambda s: s.raw()[:-20], "send_refused", hardhat="invalid_params"),
    # anvil and hardhat pass over what stands behind a transaction.
    _send("bytes after", lambda s: s.raw() + "00", ANSWER, geth="send_refused"),
    _send("no hex", lambda _: "0xzz", "invalid_params"),
    _send("reverts, and is mined", lambda s: s.raw(to=s.contract, gas=100_000), ANSWER,
          hardhat="reverted"),
)  # fmt: skip

_BROKEN = "send_refused|send_policy|invalid_params|insufficient_funds|" + ANSWER
_TO = b"\x22" * 20


def _broken(name: str, type: int, *fields: Any) -> Case:  # noqa: ANN401 -- RLP items
    """A transaction that is wrong in one field; the chain id is put before those given."""

    def raw(scene: Scene) -> str:
        body = rlp.encode([scene.chain_id, *fields])
        return "0x" + bytes((type,)).hex() + body.hex()

    return Case(f"broken: {name}", "eth_sendRawTransaction", lambda scene: [raw(scene)], _BROKEN)


_SIGNED = (0, 1, 1)  # a signature of nobody's
_BROKEN_SENDS = (
    _broken("two fields", 2, 1),
    _broken("one field too many", 2, 1, 1, 2, 21_000, _TO, 0, b"", [], *_SIGNED, 1),
    _broken("a nonce with a zero", 2, b"\0\1", 1, 2, 21_000, _TO, 0, b"", [], *_SIGNED),
    _broken("a long nonce", 2, 2**64, 1, 2, 21_000, _TO, 0, b"", [], *_SIGNED),
    _broken("the last nonce", 2, 2**64 - 1, 1, 2, 21_000, _TO, 0, b"", [], *_SIGNED),
    _broken("a short recipient", 2, 1, 1, 2, 21_000, _TO[1:], 0, b"", [], *_SIGNED),
    _broken("a long recipient", 2, 1, 1, 2, 21_000, _TO + b"1", 0, b"", [], *_SIGNED),
    _broken("a list for data", 2, 1, 1, 2, 21_000, _TO, 0, [], [], *_SIGNED),
    _broken("no access list", 2, 1, 1, 2, 21_000, _TO, 0, b"", b"", *_SIGNED),
    _broken("an odd access", 2, 1, 1, 2, 21_000, _TO, 0, b"", [[_TO]], *_SIGNED),
    _broken("a parity of 2", 2, 1, 1, 2, 21_000, _TO, 0, b"", [], 2, 1, 1),
    _broken("r of 0", 2, 1, 1, 2, 21_000, _TO, 0, b"", [], 0, 0, 1),
    _broken("s in the upper half", 2, 1, 1, 2, 21_000, _TO, 0, b"", [], 0, 1, 2**256 - 2**33),
    _broken("no authorization", 4, 1, 1, 2, 21_000, _TO, 0, b"", [], [], *_SIGNED),
    _broken("a creation with blobs", 3, 1, 1, 2, 21_000, b"", 0, b"", [], 1, [_TO], *_SIGNED),
    _send("broken: a type and a string", lambda _: "0x0201", _BROKEN),
    _send("broken: a type and no list", lambda _: "0x02c0", _BROKEN),
    _send("broken: an empty list", lambda _: "0xc0", _BROKEN),
    _send("broken: a length with zeros", lambda _: "0xf800", _BROKEN),
    _send("broken: odd hex", lambda _: "0xabc", _BROKEN),
)  # fmt: skip

_ABOVE = "missing_data"
_LOGS = (
    _logs("wholly above the head", lambda s: {"fromBlock": hex(s.head + 1000),
          "toBlock": hex(s.head + 1000)}, _ABOVE, hardhat=ANSWER),
    _logs("ends above the head",
          lambda s: {"fromBlock": hex(s.head), "toBlock": hex(s.head + 1000)},
          _ABOVE, anvil=ANSWER, hardhat=ANSWER),
    _logs("backward", lambda _: {"fromBlock": "0x2", "toBlock": "0x1"}, "invalid_params",
          anvil=ANSWER, hardhat=ANSWER),
    _logs("from above the head to latest", lambda s: {"fromBlock": hex(s.head + 1000),
          "toBlock": "latest"}, _ABOVE, hardhat=ANSWER, geth=f"{_ABOVE}|{ANSWER}"),
    _logs("pending", lambda _: {"fromBlock": "pending"}, "invalid_params", anvil=ANSWER,
          hardhat=ANSWER),
    _logs("unknown hash", lambda _: {"blockHash": "0x" + "11" * 32}, _ABOVE,
          hardhat="invalid_params"),
    _logs("hash and range", lambda _: {"blockHash": "0x" + "11" * 32, "fromBlock": "0x1"},
          "invalid_params"),
    _logs("five topics", lambda _: {"topics": [None] * 5}, "invalid_params", hardhat=ANSWER),
    _logs("1,001 addresses", lambda _: {"address": ["0x" + "22" * 20] * 1001}, "range_too_large",
          anvil=ANSWER, hardhat=ANSWER, **{"geth-1.15.11": ANSWER}),
    _logs("number without 0x", lambda _: {"fromBlock": "1"}, "invalid_params"),
)  # fmt: skip

_CALLS = (
    _call("reverts with such words", lambda s: {"to": s.contract}, "reverted"),
    Case("estimate reverts", "eth_estimateGas", lambda s: [{"to": s.contract}], "reverted"),
    _call("out of gas", lambda s: {"to": s.contract, "gas": "0x5208"}, "reverted"),
    _call("no money", lambda s: {"from": s.poor, "to": s.rich, "value": hex(10**24)}, "reverted",
          hardhat=ANSWER),
    _call("two kinds of fee", lambda s: {"to": s.rich, "gasPrice": "0x1", "maxFeePerGas": "0x1"},
          "invalid_params", anvil=ANSWER),
    _call("tip above fee", lambda s: {"from": s.rich, "to": s.rich, "maxFeePerGas": "0x1",
          "maxPriorityFeePerGas": "0x2"}, "reverted"),
    _call("data and input differ", lambda s: {"to": s.rich, "data": "0x01", "input": "0x02"},
          "invalid_params", anvil=ANSWER, geth=ANSWER),
    Case("estimate of an empty creation", "eth_estimateGas", lambda s: [{"from": s.rich}],
         ANSWER, {"hardhat": "invalid_params"}),
    Case("state above the head", "eth_call", lambda s: [{"to": s.rich}, hex(s.head + 1000)],
         _ABOVE),
    Case("state of an unknown block", "eth_getBalance",
         lambda s: [s.rich, {"blockHash": "0x" + "11" * 32}], _ABOVE),
    Case("override of both kinds", "eth_call", lambda s: [{"to": s.rich}, "latest",
         {s.rich: {"state": {}, "stateDiff": {}}}], "invalid_params"),
    Case("2.2 MB", "eth_call",
         lambda s: [{"to": s.rich, "data": "0x" + "00" * 1_100_000}, "latest"],
         "size_refused", {"hardhat": ANSWER, "geth": ANSWER}),
)  # fmt: skip

_OTHERS = (
    _asked("percentile above 100", "eth_feeHistory", ["0x1", "latest", [101]], "invalid_params",
           anvil=ANSWER),
    _asked("percentiles backward", "eth_feeHistory", ["0x1", "latest", [60, 50]], "invalid_params",
           anvil=ANSWER),
    Case("fees above the head", "eth_feeHistory", lambda s: ["0x1", hex(s.head + 1000), []], _ABOVE,
         {"anvil": ANSWER}),
    _asked("fees of no block", "eth_feeHistory", ["0x0", "latest", []], ANSWER,
           hardhat="invalid_params"),
    _asked("unknown method", "eth_nothing", [], "unsupported"),
    _asked("no params", "eth_getBalance", [], "invalid_params"),
    _asked("too many params", "eth_chainId", [1, 2], "invalid_params"),
    _asked("short address", "eth_getBalance", ["0x12", "latest"], "invalid_params"),
    _asked("odd tag", "eth_getBalance", ["0x" + "22" * 20, "LATEST"], "invalid_params",
           anvil=ANSWER),
    Case("trace above the head", "debug_traceBlockByNumber", lambda s: [hex(s.head + 1000), {}],
         _ABOVE, {"hardhat": "unsupported"}),
    Case("tracer throws", "debug_traceCall", lambda s: [{"to": s.rich}, "latest",
         {"tracer": "{step:function(){}, fault:function(){}, result:function(){return foo.bar}}"}],
         "invalid_params"),
    Case("tracer unreadable", "debug_traceCall", lambda s: [{"to": s.rich}, "latest",
         {"tracer": "{"}], "invalid_params"),
    _asked("unknown transaction traced", "debug_traceTransaction", ["0x" + "33" * 32, {}], _ABOVE,
           anvil=ANSWER),
    _asked("genesis traced", "debug_traceBlockByNumber", ["0x0", {}], "invalid_params",
           hardhat="unsupported", anvil=ANSWER),
)  # fmt: skip

CASES: Final = (*_SENDS, *_BROKEN_SENDS, *_LOGS, *_CALLS, *_OTHERS)
