"""What a block says that it holds, and how many entries an answer about it must have.

A block names its transactions and carries a bloom filter over the addresses and topics of its logs
(Yellow Paper, 4.3.1): what the bloom excludes is in no log, what it admits may be in one. So a list
of receipts with fewer entries than the block has transactions is not of that block, and neither is
an empty list of all logs of a block whose bloom is not empty.

Not every chain says so much: Filecoin's blooms are all ones and zkSync's all zeros, Sei's and
Ethermint's were of other logs (sei-chain 2230, ethermint 247), and Polygon's blocks name a
transaction that older nodes have no receipt for. Ones say nothing, zeros exclude nothing that was
given, and whoever holds an answer against this must give way where all upstreams agree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

import msgspec

from rpcproxy.chains.evm.blocks import UNREADABLE, need_of, parse_quantity
from rpcproxy.chains.evm.sends.raw_transactions import keccak256
from rpcproxy.chains.method import Method
from rpcproxy.chains.parts.contents import Contents, ContentsReader, Fit, Wanted

MOST_ITEMS: Final = 64  # of a filter: more are not looked for in blooms
LONGEST_FILTER_BYTES: Final = 8192
_BLOOM_BITS: Final = 2048
_BLOOM_DIGITS: Final = 512
_ALL_ONES: Final = (1 << _BLOOM_BITS) - 1

# Answers whose entries are counted against the transactions of their block, and a name that each
# entry has once: counting it in the text is a hundredth of decoding megabytes. Where there are too
# few of it the list itself is looked at, if it is not too large.
ENTRIES: Final[Mapping[str, bytes]] = MappingProxyType(
    {
        "eth_getBlockReceipts": b'"cumulativeGasUsed"',
        "parity_getBlockReceipts": b'"cumulativeGasUsed"',
        "erigon_getBlockReceiptsByBlockHash": b'"cumulativeGasUsed"',
        "debug_getRawReceipts": b'"0x',
        "trace_block": b'"traceAddress"',
        "arbtrace_block": b'"traceAddress"',
        "trace_replayBlockTransactions": b'"stateDiff"',
        "arbtrace_replayBlockTransactions": b'"stateDiff"',
        "debug_traceBlockByNumber": b'"result"',
        "debug_traceBlockByHash": b'"result"',
    }
)
LARGEST_LIST_BYTES: Final = 1024 * 1024
# Answers that are the count itself.
COUNTS: Final = frozenset(
    ("eth_getBlockTransactionCountByNumber", "eth_getBlockTransactionCountByHash")
)
UNCLE_COUNTS: Final = frozenset(("eth_getUncleCountByBlockNumber", "eth_getUncleCountByBlockHash"))
# Answers with the transaction, or the uncle, at an index of a block.
INDEXED: Final = frozenset(
    (
        *("eth_getTransactionByBlockHashAndIndex", "eth_getTransactionByBlockNumberAndIndex"),
        *("eth_getRawTransactionByBlockHashAndIndex", "eth_getRawTransactionByBlockNumberAndIndex"),
    )
)
INDEXED_UNCLES: Final = frozenset(
    ("eth_getUncleByBlockHashAndIndex", "eth_getUncleByBlockNumberAndIndex")
)
# All that says how much of a block there is, so that its contents speak for or against it.
OF_CONTENTS: Final = frozenset(ENTRIES) | COUNTS | UNCLE_COUNTS | INDEXED | INDEXED_UNCLES
SEARCHES_LOGS: Final = frozenset(("eth_getLogs", "erigon_getLogs"))
SEARCHES_TRACES: Final = frozenset(("trace_filter", "arbtrace_filter"))


class _Named(msgspec.Struct, gc=False):
    hash: str = ""


class _Block(msgspec.Struct, gc=False):
    number: str
    hash: str
    bloom: str | None = msgspec.field(default=None, name="logsBloom")
    transactions: list[str | _Named] | None = None
    uncles: list[str] | None = None


_named_decoder = msgspec.json.Decoder(_Named)
_block_decoder = msgspec.json.Decoder(_Block)
_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_any_decoder = msgspec.json.Decoder()


def contents_of(block: bytes | msgspec.Raw) -> Contents | None:
    """What the JSON text of a block or of a header says, ``None`` where it names no block."""
    try:
        read = _block_decoder.decode(block)
        bloom = int(read.bloom, 16) if read.bloom and len(read.bloom) == _BLOOM_DIGITS + 2 else 0
    except (*UNREADABLE, ValueError):
        return None
    number = need_of(read.number)
    if number < 0:
        return None
    named = read.transactions
    return Contents(
        number,
        read.hash.lower(),
        -1 if named is None else len(named),
        -1 if read.uncles is None else len(read.uncles),
        0 if bloom == _ALL_ONES else bloom,
        tuple((each if isinstance(each, str) else each.hash).lower() for each in named or ()),
    )


def has_fewer(name: str, result: bytes | msgspec.Raw, transactions: int) -> bool:
    """Whether a list about a block has fewer entries than the block has transactions. ``name`` is
    one of ``ENTRIES``. Never raises; what cannot be read is not fewer.
    """
    text = bytes(result)
    if transactions <= 0 or text.count(ENTRIES[name]) >= transactions:
        return False
    if len(text) > LARGEST_LIST_BYTES:
        return False
    try:
        return len(_list_decoder.decode(text)) < transactions
    except UNREADABLE:
        return False


_LIST_NAME: Final = b'"transactions"'
_RANGE: Final = frozenset(("fromBlock", "toBlock"))


def is_empty_block(block: bytes | msgspec.Raw) -> bool:
    """Whether the JSON text of a block has no transactions."""
    text = bytes(block)
    at = text.find(_LIST_NAME)  # a pattern would read on where it does not match
    after = text[at + len(_LIST_NAME) :][:20].translate(None, b" \t\r\n")
    return at >= 0 and after.startswith(b":[]")


def wants_all_traces(params: bytes | msgspec.Raw) -> bool:
    """Whether a search for traces is for all of its blocks: there is one for each transaction."""
    try:
        members = _list_decoder.decode(params)
        return len(members) == 1 and _RANGE.issuperset(_object_decoder.decode(members[0]))
    except UNREADABLE:
        return False


def count_in(result: bytes | msgspec.Raw) -> int:
    """The count that an answer is, −1 where it is none."""
    count = parse_quantity(result)
    return -1 if count is None else count


def index_in(params: bytes | msgspec.Raw) -> int:
    """The index that is asked for, −1 where it cannot be read."""
    try:
        members = _list_decoder.decode(params)
        return max(-1, need_of(_any_decoder.decode(members[1]))) if len(members) > 1 else -1
    except UNREADABLE:
        return -1


def is_another(result: bytes | msgspec.Raw | None, block: Contents, index: int) -> bool:
    """Whether a transaction is plainly not the one that the block names at that index. Never
    raises; a raw one does not say.
    """
    if result is None or index >= len(block.hashes):
        return False
    try:
        named = _named_decoder.decode(result).hash.lower()
    except UNREADABLE:
        return False
    return bool(named) and named != block.hashes[index]


def fit(
    method: Method,
    params: bytes | msgspec.Raw,
    result: bytes | msgspec.Raw | None,
    block: Contents,
) -> Fit:
    """How an answer to one of ``OF_CONTENTS`` fits the block that it is about. Never raises."""
    name = method.name
    if method.is_indexed:
        return _fit_at_index(name, params, result, block)
    if result is None:
        return Fit.UNTOLD
    if name in ENTRIES:
        is_less = has_fewer(name, result, block.transactions)
    else:
        held = block.uncles if name in UNCLE_COUNTS else block.transactions
        is_less = held >= 0 and count_in(result) != held
    return Fit.LACKS if is_less else Fit.AGREES


def _fit_at_index(
    name: str,
    params: bytes | msgspec.Raw,
    result: bytes | msgspec.Raw | None,
    block: Contents,
) -> Fit:
    is_uncle = name in INDEXED_UNCLES
    held = block.uncles if is_uncle else block.transactions
    index = index_in(params)
    if held < 0 or index < 0:
        return Fit.UNTOLD
    if index >= held:
        return Fit.PAST_END
    is_null = result is not None and bytes(result) == b"null"
    is_other = not is_uncle and is_another(result, block, index)
    return Fit.LACKS if is_null or is_other else Fit.UNTOLD


# ---- searches


class WantedLogs(msgspec.Struct, frozen=True, gc=False):
    """What a filter asks for: for each place the masks of which one must be in a bloom. Without
    any it asks for all logs.
    """

    places: tuple[tuple[int, ...], ...] = ()

    @property
    def is_all(self) -> bool:
        return not self.places

    def admits(self, block: Contents) -> bool:
        """Whether there may be such logs in a block, by its bloom; without places, there are."""
        bloom = block.bloom
        if not bloom:
            return False
        return all(any(bloom & mask == mask for mask in masks) for masks in self.places)

    def accident(self, block: Contents) -> float:
        """How likely a bloom as full as the block's admits them though there are none."""
        density = (block.bloom.bit_count() / _BLOOM_BITS) ** 3
        chance = 1.0
        for masks in self.places:
            chance *= 1.0 - (1.0 - density) ** len(masks)
        return chance


class WantedTraces(msgspec.Struct, frozen=True, gc=False):
    """All traces: there is one for each transaction."""

    @property
    def is_all(self) -> bool:
        return True

    def admits(self, block: Contents) -> bool:
        return block.transactions > 0

    def accident(self, _block: Contents) -> float:
        return 0.0


_ALL_TRACES: Final = WantedTraces()


def wanted_by(method: Method, params: bytes | msgspec.Raw) -> Wanted | None:
    """What a search for logs or traces asks for, ``None`` where it cannot be said. Never raises."""
    if method.name in SEARCHES_LOGS:
        return wanted_logs(params)
    if method.name in SEARCHES_TRACES and wants_all_traces(params):
        return _ALL_TRACES
    return None


def wanted_logs(params: bytes | msgspec.Raw) -> WantedLogs | None:
    """What a search for logs asks for, ``None`` where it cannot be said. Never raises."""
    text = bytes(params)
    if len(text) > LONGEST_FILTER_BYTES:
        return None
    try:
        members = _list_decoder.decode(text)
        fields = msgspec.json.decode(members[0], type=_Filter) if len(members) == 1 else None
    except UNREADABLE:
        return None
    return None if fields is None else _wanted(bytes(fields.address), bytes(fields.topics))


class _Filter(msgspec.Struct, gc=False):
    address: msgspec.Raw = msgspec.Raw(b"null")
    topics: msgspec.Raw = msgspec.Raw(b"null")


@lru_cache(maxsize=256)  # a wallet asks for the same at every block
def _wanted(address: bytes, topics: bytes) -> WantedLogs | None:
    told = _any_decoder.decode(address)
    asked = _any_decoder.decode(topics) or []
    if not isinstance(asked, list):
        return None
    if asked and all(topic is None for topic in asked) and not told:
        return None  # so many topics, whichever
    if any(topic == [] for topic in asked):
        return None  # all for some nodes, none for others
    places = [place for place in (told, *asked) if place]
    items = [place if isinstance(place, list) else [place] for place in places]
    if sum(map(len, items)) > MOST_ITEMS:
        return None
    # Null among alternatives takes whatever is there.
    masks = [tuple(map(_mask, place)) for place in items if None not in place]
    if any(0 in place for place in masks):
        return None
    return WantedLogs(tuple(masks))


_ITEM: Final = re.compile(r"0[xX](?:[0-9a-fA-F]{40}|[0-9a-fA-F]{64})")


def _mask(item: object) -> int:
    """The three bits of an address or a topic, 0 for what is neither."""
    if not isinstance(item, str) or not _ITEM.fullmatch(item):
        return 0
    digest = keccak256(bytes.fromhex(item[2:]))
    mask = 0
    for at in (0, 2, 4):
        mask |= 1 << (int.from_bytes(digest[at : at + 2], "big") % _BLOOM_BITS)
    return mask


BLOCK_TEXTS: Final = ContentsReader(
    read=contents_of,
    fit=fit,
    is_hollow=is_empty_block,
    wanted_by=wanted_by,
)
