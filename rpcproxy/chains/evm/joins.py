"""Which searches over a range of blocks may be asked in parts, and how the parts are joined.

A part is the same search over fewer blocks, so the search may hold nothing that counts over the
whole of it. Only what this table knows is split: a key that some provider adds (``limit``,
``pageKey``) may be such a count, and so may a second parameter (Erigon's erigon_getLatestLogs takes
``logCount`` there, and begins at the end).

``after`` and ``count`` of trace_filter (OpenEthereum, Erigon, Nethermind, reth: the first so many
traces are skipped, then at most so many are given) are taken out of the parts, and cut afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from rpcproxy.chains.evm.answers import join_lists
from rpcproxy.chains.evm.blocks import UNREADABLE

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


class Join(msgspec.Struct, frozen=True, gc=False):
    """How a search is put together from parts. ``params``: of the whole, without what counts over
    it; ``skipped`` and ``given`` are those counts, ``given`` −1 where all are.
    """

    params: bytes
    skipped: int = 0
    given: int = -1

    def whole(self, parts: Sequence[bytes | msgspec.Raw]) -> bytes:
        """The result of the whole search, of those of its parts in the order of the blocks.
        Raises ``ValueError`` for parts that are no lists.
        """
        joined = join_lists(parts)
        if not self.skipped and self.given < 0:
            return joined
        members = _list_decoder.decode(joined)[self.skipped :]
        if self.given >= 0:
            members = members[: self.given]
        return b"[" + b",".join(members) + b"]"


def join_of(name: str, params: bytes | msgspec.Raw) -> Join | None:
    """How a search by the method of that name is joined from parts, ``None`` where it must not be
    split. Never raises.
    """
    known = _JOINABLE.get(name)
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
    return Join(b"[{" + b",".join(pairs) + b"}]", skipped, given)


def _count(value: msgspec.Raw | None, missing: int) -> int:
    """Raises what the decoder raises, and ``msgspec.ValidationError`` for what is no count."""
    if value is None:
        return missing
    count = _number_decoder.decode(value)
    if count < 0:
        raise msgspec.ValidationError("a negative count")
    return count
