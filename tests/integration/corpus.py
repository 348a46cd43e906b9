"""Recorded conversations with a real node, and upstreams that answer from them.

The pairs are a part of `tests/` of https://github.com/ethereum/execution-apis (CC0). They are read
where they lie beside the checkout, as ``shared/corpora/execution-apis``, or from the folder that
``EXECUTION_APIS`` names; such a `tests/` folder itself will do. They are no part of this project:
without them their tests are skipped by name, even where RPCPROXY_REQUIRE_ALL=1.
"""

from __future__ import annotations

import gzip
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from rpcproxy.chains.method import MethodKind
from rpcproxy.chains.registry import EVM
from tests.integration.rpc_kit import Call, Post, Sent, Upstream, array

BESIDE = Path(__file__).parents[3] / "shared/corpora/execution-apis"


class Pair(msgspec.Struct, frozen=True):
    """A request and its recorded reply. ``params`` is empty where the client left it out;
    ``result`` is an exact JSON text, empty for an error.
    """

    name: str
    method: str
    params: bytes
    result: bytes
    error: Any

    @property
    def key(self) -> tuple[str, bytes]:
        return self.method, self.params or b"[]"

    def request(self, id: bytes) -> bytes:
        """As recorded, under another id; ``id`` empty makes it a notification."""
        members = [b'"jsonrpc":"2.0"', b'"method":"%b"' % self.method.encode()]
        if id:
            members.insert(1, b'"id":%b' % id)
        if self.params:
            members.append(b'"params":%b' % self.params)
        return b"{%b}" % b",".join(members)


class _Request(msgspec.Struct):
    method: str
    params: msgspec.Raw = msgspec.Raw()


class _Reply(msgspec.Struct):
    result: msgspec.Raw = msgspec.Raw()
    error: Any = None


def folder() -> Path | None:
    """Where the pairs are, ``None`` where this machine has none. Raises ``NotADirectoryError``
    where they were named and are not there.
    """
    named = os.environ.get("EXECUTION_APIS")
    place = Path(named or BESIDE)
    if place.is_dir():
        return place
    if named:
        raise NotADirectoryError(f"EXECUTION_APIS={named} is no folder")
    return None


def read_pairs(place: Path) -> list[Pair]:
    """Every pair of every `.io` file below ``place``, in a stable order."""
    pairs = []
    for file in sorted(place.glob("*/*.io")):
        lines = file.read_bytes().splitlines()
        asked = [line[3:] for line in lines if line.startswith(b">> ")]
        said = [line[3:] for line in lines if line.startswith(b"<< ")]
        for number, (request, reply) in enumerate(zip(asked, said, strict=True)):
            decoded = msgspec.json.decode(request, type=_Request)
            answer = msgspec.json.decode(reply, type=_Reply)
            name = f"{file.parent.name}/{file.stem}" + (f"#{number}" if number else "")
            pairs.append(
                Pair(
                    name,
                    decoded.method,
                    bytes(decoded.params),
                    bytes(answer.result),
                    answer.error,
                )
            )
    return pairs


# How nodes write the same reply: members in another order, an error that is null, an id that
# became a string, spaces, gzip.
def geth(id: bytes, member: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,%b}' % (id, member)


def reth(id: bytes, member: bytes) -> bytes:
    return b'{"jsonrpc":"2.0",%b,"id":%b}' % (member, id)


def tenderly(id: bytes, member: bytes) -> bytes:
    return b'{"id":"%b","jsonrpc":"2.0",%b}' % (id, member)


def old_node(id: bytes, member: bytes) -> bytes:
    null = b'"error": null, ' if member.startswith(b'"result"') else b""
    return b'\n{ "id": %b, %b%b, "jsonrpc": "2.0" }\n' % (id, null, member)


DIALECTS = (geth, reth, tenderly, old_node)


class Recorded(Upstream):
    """Answers as recorded, in one dialect, whatever id is asked under. What was never recorded
    is noted in ``strangers``. While ``trouble`` names any, ``share`` of the answers (of probes
    too where those are scripted) go wrong in one of its ways, drawn by ``rng``.
    """

    def __init__(self, pairs: Sequence[Pair], index: int, seed: int = 0) -> None:
        super().__init__(self._say, f"up{index}")
        self._pairs: dict[tuple[str, bytes], Pair] = {pair.key: pair for pair in pairs}
        latest = self._pairs["eth_getBlockByNumber", b'["latest",true]'].result
        block = msgspec.json.decode(latest, type=dict[str, msgspec.Raw])
        block["transactions"] = msgspec.Raw(b"[]")
        self.block = msgspec.json.encode(block)
        self.number = bytes(block["number"])
        # The proxy asks at the number of the head, in one spelling.
        head = int(msgspec.json.decode(self.number, type=str), 16)
        self._heights = EVM.pins.heights(head, (head, head), "")
        for pair in pairs:
            self._pairs.setdefault(self.pinned(pair), pair)
        network = self._pairs["net_version", b"[]"].result
        self.chain_id = int(msgspec.json.decode(network, type=str))
        self.dialect = DIALECTS[index]
        self.rng = random.Random(seed)
        self.trouble: tuple[str, ...] = ()
        self.share = 0.5
        self.harmed = 0
        self.strangers: list[Call] = []

    @property
    def known(self) -> set[tuple[str, bytes]]:
        """All calls that it can answer."""
        return set(self._pairs)

    @property
    def forwarded(self) -> list[Call]:
        """What it was asked for wallets: the proxy links heads by hash, and compares state."""
        own = ("eth_getBlockByHash", "eth_getBalance")
        return [
            call
            for call in self.calls
            if call.method not in own or (call.method, bytes(call.params)) in self._pairs
        ]

    def pinned(self, pair: Pair) -> tuple[str, bytes]:
        """The call as the proxy makes it."""
        method = EVM.methods.describe(pair.method)
        if method.kind is not MethodKind.BLOCK_READ:
            return pair.key
        return pair.method, EVM.pins.pin(method, pair.params, self._heights).params or b"[]"

    def _say(self, post: Post) -> Sent:
        kind = ""
        if self.trouble and self.rng.random() < self.share:
            self.harmed += 1
            kind = self.rng.choice(self.trouble)
        replies = [self._reply(call, b"999999" * (kind == "wrong id")) for call in post.calls]
        body = array(replies) if post.is_batch else replies[0]
        if kind:
            return harm(kind, body, replies, post)
        if b"accept-encoding: gzip" in post.head:
            return Sent(gzip.compress(body, 1), lines=(b"Content-Encoding: gzip",))
        return Sent(body)

    def _reply(self, call: Call, id: bytes) -> bytes:
        id = id or bytes(call.id)
        if call.method == "eth_blockNumber":
            return self.dialect(id, b'"result":' + self.number)
        pair = self._pairs.get((call.method, bytes(call.params)))
        if pair is None:
            if call.method == "eth_getBalance":  # by which upstreams' states are compared
                return self.dialect(id, b'"result":"0x1"')
            if not self.are_probes_scripted and call.method != "eth_getBlockByHash":
                self.strangers.append(call)
            return self._probe(call)
        member = b'"result":' + pair.result
        if not pair.result:
            member = b'"error":' + msgspec.json.encode(pair.error)
        return self.dialect(id, member)


TROUBLES = (
    *("reset", "cut", "429", "429 within", "503", "html", "truncated", "empty", "wrong id"),
    *("stall", "half", "single"),
)


def harm(kind: str, body: bytes, replies: Sequence[bytes], post: Post) -> Sent:
    """An answer gone wrong; a wrong id is in ``body`` already."""
    limit = b'{"code":-32005,"message":"rate limit exceeded"}'
    refusals = [b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (bytes(c.id), limit) for c in post.calls]
    match kind:
        case "reset":
            return Sent(body, cut_at=0, end="reset")
        case "cut":
            return Sent(body, cut_at=len(body) // 2, end="close")
        case "stall":
            return Sent(body, cut_at=len(body) // 2, end="stall")
        case "429":
            return Sent(refusals[0], 429)
        case "503":
            return Sent(b"upstream connect error", 503)
        case "html":
            return Sent(b"<html><body>502 Bad Gateway</body></html>")
        case "truncated":
            return Sent(body[: len(body) // 2])
        case "empty":
            return Sent(b"")
        case "wrong id":
            return Sent(body)
        case "429 within" if post.is_batch:
            return Sent(array([*refusals[::2], *replies[1::2]]))
        case "429 within":
            return Sent(refusals[0])
        case "half" if post.is_batch:
            return Sent(array(replies[: len(replies) // 2]))
        case "single" if post.is_batch:
            return Sent(replies[-1])
        case _:  # half a batch, where there is none
            return Sent(b"[]")
