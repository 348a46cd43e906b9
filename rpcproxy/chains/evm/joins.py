"""Which searches over a range of blocks may be asked in parts, and how the parts are joined.

A part is the same search over fewer blocks, so the search may hold nothing that counts over the
whole of it. Only what this table knows is split: a key that some provider adds (``limit``,
``pageKey``) may be such a count, and so may a second parameter (Erigon's erigon_getLatestLogs takes
``logCount`` there, and begins at the end).

``after`` and ``count`` of trace_filter (OpenEthereum, Erigon, Nethermind, reth: the first so many
traces are skipped, then at most so many are given) are taken out of the parts, and cut afterwards.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from rpcproxy.arrays import members_of
from rpcproxy.chains.evm.blocks import UNREADABLE, need_of, read_block, read_filter
from rpcproxy.chains.evm.pins import filter_between
from rpcproxy.chains.method import Method
from rpcproxy.chains.parts.searches import Join, Searches

_LOGS: Final = frozenset(("fromBlock", "toBlock", "blockHash", "address", "topics"))
_TRACES: Final = frozenset(("fromBlock", "toBlock", "fromAddress", "toAddress", "mode"))
_SKIPPED: Final = "after"
_GIVEN: Final = "count"
# What each key of a filter means for one block alone, by method; what is not here is not split.
_JOINABLE: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "eth_getLogs": _LOGS,
        "erigon_getLogs": _LOGS,
        "trace_filter": _TRACES | {_SKIPPED, _GIVEN},
        "arbtrace_filter": _TRACES | {_SKIPPED, _GIVEN},
    }
)

_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_number_decoder = msgspec.json.Decoder(int)
_encoder = msgspec.json.Encoder()


def log_range(params: bytes | msgspec.Raw) -> tuple[int, int] | None:
    """The first and the last block of a filter, both included.

    ``None`` where an end is not a number (pin the params first), the filter names one block by
    its hash, or the range is empty. Never raises.
    """
    try:
        members = members_of(params)
        fields = read_filter(members[0]) if members else {}
        if bytes(fields.get("blockHash", b"null")) != b"null":
            return None
        low, high = (
            need_of(read_block(fields.get(name, b"null"))) for name in ("fromBlock", "toBlock")
        )
    except UNREADABLE:
        return None
    return (low, high) if 0 <= low <= high else None


def with_range(params: bytes | msgspec.Raw, low: int, high: int) -> bytes:
    """The same filter from block ``low`` to ``high``. ``params`` are such as have a log_range."""
    members = members_of(params)
    members[0] = filter_between(read_filter(members[0]), low, high)
    return b"[" + b",".join(members) + b"]"


def join_lists(parts: Sequence[bytes | msgspec.Raw]) -> bytes:
    """One JSON array of the members of several, in order. Raises ``ValueError`` for other JSON."""
    inner = []
    for part in parts:
        text = bytes(part).strip()
        if not (text.startswith(b"[") and text.endswith(b"]")):
            raise ValueError("not a list")
        members = text[1:-1].strip()
        if members:
            inner.append(members)
    return b"[" + b",".join(inner) + b"]"


def join_of(method: Method, params: bytes | msgspec.Raw) -> Join | None:
    """How a search is joined from parts, ``None`` where it must not be split. Never raises."""
    known = _JOINABLE.get(method.name)
    if known is None:
        return None
    try:
        members = _list_decoder.decode(params)
        if len(members) != 1:
            return None
        fields = _object_decoder.decode(members[0])
        # Null is what is left out.
        fields = {key: value for key, value in fields.items() if bytes(value) != b"null"}
        if not known.issuperset(fields):
            return None
        skipped = _count(fields.pop(_SKIPPED, None), 0)
        given = _count(fields.pop(_GIVEN, None), -1)
    except UNREADABLE:
        return None
    pairs = (_encoder.encode(key) + b":" + value for key, value in fields.items())
    whole = functools.partial(_whole, skipped, given) if skipped or given >= 0 else join_lists
    return Join(b"[{" + b",".join(pairs) + b"}]", whole)


def _whole(skipped: int, given: int, parts: Sequence[bytes | msgspec.Raw]) -> bytes:
    """Skip so many of all, and give so many of the rest, all of them where ``given`` is −1."""
    members = _list_decoder.decode(join_lists(parts))[skipped:]
    if given >= 0:
        members = members[:given]
    return b"[" + b",".join(members) + b"]"


def _count(value: msgspec.Raw | None, missing: int) -> int:
    """Raises what the decoder raises, and ``msgspec.ValidationError`` for what is no count."""
    if value is None:
        return missing
    count = _number_decoder.decode(value)
    if count < 0:
        raise msgspec.ValidationError("a negative count")
    return count


EVM_SEARCHES: Final = Searches(range_of=log_range, with_range=with_range, join_of=join_of)
