"""Block tags in EVM params replaced by numbers, so that whoever answers, answers of one block.

Sources: execution-apis (``BlockNumberOrTagOrHash``), EIP-1898 (the object form); what is left out
means what geth takes it for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from rpcproxy.arrays import members_of
from rpcproxy.chains.evm.blocks import (
    RANGED,
    UNREADABLE,
    need_of,
    read_block,
    read_filter,
    required_block,
)
from rpcproxy.chains.method import Method
from rpcproxy.chains.parts.asked_at import (
    EARLIEST,
    FINALIZED,
    HASH,
    LATEST,
    NONE,
    PENDING,
    SAFE,
    BlockNeed,
)
from rpcproxy.chains.parts.heights import Heights, Pinned, Pins


class EvmHeights(Heights, gc=False, frozen=True):
    """The numbers that tags stand for, −1 where unknown. Made by ``EvmHeights.of``;
    ``latest_text`` is the JSON text of latest.
    """

    safe: int = -1
    finalized: int = -1
    latest_last: bytes = b""  # latest_text as the end of a list
    hash_last: bytes = b""  # the end of a list that asks by the hash of latest (EIP-1898)

    @classmethod
    def of(cls, latest: int, safe: int = -1, finalized: int = -1, hash: str = "") -> EvmHeights:
        """Heights with the texts that the hot path inserts. ``hash``: of latest, where known."""
        if latest < 0:
            return cls(latest, safe=safe, finalized=finalized)
        text = _text(latest)
        by_hash = b',{"blockHash":"%b"}]' % hash.encode() if hash else b""
        return cls(latest, text, safe, finalized, b"," + text + b"]", by_hash)

    def by_hash(self, params: bytes | msgspec.Raw) -> bytes | msgspec.Raw:
        """Pinned params that end with the number of latest, with its hash instead; others as they
        are.
        """
        if not self.hash_last or not bytes(params).endswith(self.latest_last):
            return params
        return params[: -len(self.latest_last)] + self.hash_last


# Where a range without a start begins at latest. For the others the nodes differ: at latest, or
# at the first block.
_STARTS_AT_LATEST: Final = frozenset(("eth_getLogs", "erigon_getLogs"))
_MOVING: Final = frozenset((LATEST, SAFE, FINALIZED))

# The hot path. Params are valid JSON by now, so these texts can only be the end of a list whose
# last member is the block.
_LATEST_AFTER_OBJECT: Final = frozenset((b',"latest"]', b', "latest"]'))
_LATEST_AFTER_STRING: Final = frozenset((b'"latest"]', b' "latest"]'))
_NUMBER: Final = rb'"0x(0|[1-9a-f][0-9a-f]{0,15})"'
_NUMBER_AFTER_OBJECT: Final = re.compile(b"," + _NUMBER + rb"\]")
_NUMBER_AFTER_STRING: Final = re.compile(_NUMBER + rb"\]")
_LATEST_FIRST: Final = {
    b'["latest"]': b"]",
    b'["latest",false]': b",false]",
    b'["latest",true]': b",true]",
    b'["latest", false]': b",false]",
    b'["latest", true]': b",true]",
}
_NUMBER_FIRST: Final = re.compile(rb"\[" + _NUMBER + rb"(?:,false|,true)?\]")
_THIRD: Final = re.compile(rb'(\["[^"\\]*","[^"\\]*",)"(?:latest|0x(0|[1-9a-f][0-9a-f]{0,15}))"\]')

_encoder = msgspec.json.Encoder()


def _text(number: int) -> bytes:
    return b'"0x%x"' % number


def pin(method: Method, params: bytes | msgspec.Raw, heights: EvmHeights) -> Pinned:
    """The params with ``latest``, ``safe``, ``finalized`` and ``earliest`` made numbers.

    So is a block that is left out. Numbers get their canonical spelling and blanks between the
    params go, so that what asks the same is spelled the same; everything else is kept byte for
    byte. ``params`` is JSON text, or empty. Never raises.
    """
    text = params if type(params) is bytes else bytes(params)
    position = method.block_param
    pinned = None
    if position == 1:
        # The first of two params: a string without a comma, or an object without an inner one.
        # Written out here because it is most of the traffic.
        start = text[:2]
        if start == b"[{":
            before, _, tail = text.partition(b"}")
            if tail in _LATEST_AFTER_OBJECT and heights.latest_last:
                return Pinned(before + b"}" + heights.latest_last, heights.latest)
            pinned = _pin_number(text, _NUMBER_AFTER_OBJECT.fullmatch(tail))
        elif start == b'["':
            before, _, tail = text.partition(b",")
            if tail in _LATEST_AFTER_STRING and heights.latest_last:
                return Pinned(before + heights.latest_last, heights.latest)
            pinned = _pin_number(text, _NUMBER_AFTER_STRING.fullmatch(tail))
    elif position is None:
        return Pinned(text, NONE)
    elif position == 2:
        pinned = _pin_third(text, heights)
    elif method.name not in RANGED:
        pinned = _pin_first(text, heights)
    return pinned if pinned is not None else _pin_any(method, position, text, heights)


def _pin_number(text: bytes, found: re.Match[bytes] | None) -> Pinned | None:
    return Pinned(text, int(found[1], 16)) if found is not None else None


def _pin_first(text: bytes, heights: EvmHeights) -> Pinned | None:
    rest = _LATEST_FIRST.get(text)
    if rest is not None and heights.latest_text:
        return Pinned(b"[" + heights.latest_text + rest, heights.latest)
    return _pin_number(text, _NUMBER_FIRST.fullmatch(text))


def _pin_third(text: bytes, heights: EvmHeights) -> Pinned | None:
    """The third of three params, where the other two are strings."""
    found = _THIRD.fullmatch(text)
    if found is None:
        return None
    before, digits = found.groups()
    if digits is not None:
        return Pinned(text, int(digits, 16))
    if not heights.latest_text:
        return None
    return Pinned(before + heights.latest_text + b"]", heights.latest)


def _pin_any(method: Method, position: int, text: bytes, heights: EvmHeights) -> Pinned:
    """Whatever the hot path leaves."""
    try:
        is_empty = not text or text.strip() == b"null"  # geth takes null for no params
        members = [] if is_empty else members_of(text)
        if method.name in RANGED:
            return _pin_range(method, members, text, heights)
        if position > len(members):
            return Pinned(text, NONE)
        if position == len(members):
            members.append(msgspec.Raw(b"null"))
        value = read_block(members[position])
        need = need_of(value)
        number = _number(need, heights)
        if number < 0:
            return Pinned(text, need)
        if not isinstance(value, int):  # zks_ and bor_ take plain numbers, and nothing else
            members[position] = msgspec.Raw(_text(number))
        return Pinned(_join(members), number, need == EARLIEST)
    except UNREADABLE:
        return Pinned(text, required_block(method, text))


def _number(need: BlockNeed, heights: EvmHeights) -> int:
    if need >= 0:
        return need
    if need == LATEST:
        return heights.latest
    if need == SAFE:
        return heights.safe
    if need == FINALIZED:
        return heights.finalized
    return 0 if need == EARLIEST else -1


def _join(members: list[msgspec.Raw]) -> bytes:
    return b"[" + b",".join(members) + b"]"


def _pin_range(
    method: Method, members: list[msgspec.Raw], text: bytes, heights: EvmHeights
) -> Pinned:
    """A filter's two ends. Raises what the decoders raise."""
    if not members:
        return Pinned(text, LATEST)
    fields = read_filter(members[0])
    ends = [read_block(fields.get(name, b"null")) for name in ("fromBlock", "toBlock")]
    if bytes(fields.get("blockHash", b"null")) != b"null":
        return Pinned(text, HASH)
    needs = [need_of(end) for end in ends]
    if NONE in needs or HASH in needs:  # no filter has a hash for an end
        return Pinned(text, NONE)
    if PENDING in needs:
        return Pinned(text, PENDING)
    if ends[0] is None and method.name not in _STARTS_AT_LATEST:
        return Pinned(text, LATEST)
    low, high = (_number(need, heights) for need in needs)
    if high < 0 or low < 0:
        return Pinned(text, needs[1] if high < 0 else needs[0])
    if low > high and not _MOVING.isdisjoint(needs):
        # Nodes answer an empty list to tags, but refuse numbers in this order.
        return Pinned(text, needs[1] if needs[1] in _MOVING else needs[0])
    members[0] = filter_between(fields, low, high)
    return Pinned(_join(members), max(low, high), EARLIEST in needs)


def filter_between(fields: dict[str, msgspec.Raw], low: int, high: int) -> msgspec.Raw:
    """A filter from block ``low`` to ``high``. The ends come first, the rest as it was.

    So filters that differ in where their ends stand, or in whether they have them, become alike.
    """
    parts = [b'"fromBlock":' + _text(low), b'"toBlock":' + _text(high)]
    parts += (
        _encoder.encode(name) + b":" + value
        for name, value in fields.items()
        if name not in {"fromBlock", "toBlock"}
    )
    return msgspec.Raw(b"{" + b",".join(parts) + b"}")


def heights_at(latest: int, anchors: Sequence[int], hash: str) -> EvmHeights:
    """Heights of a chain whose settled blocks are ``finalized`` and ``safe``, in this order."""
    finalized, safe = anchors or (-1, -1)
    return EvmHeights.of(latest, safe, finalized, hash)


EVM_PINS: Final = Pins(heights=heights_at, pin=pin, required_block=required_block)
