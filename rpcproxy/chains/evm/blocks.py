"""Which block a request needs, and what an answer tells of the head, for EVM chains.

Sources: execution-apis (``BlockNumberOrTagOrHash``), EIP-1898 (the object form).
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from rpcproxy.arrays import members_of
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
from rpcproxy.messages import Head

_TAGS: Final = {
    "latest": LATEST,
    "pending": PENDING,
    "safe": SAFE,
    "finalized": FINALIZED,
    "earliest": EARLIEST,
}
_TAG_BYTES: Final = {tag.encode(): need for tag, need in _TAGS.items()}

# The hot path. Params are valid JSON by now, so a quote after a comma opens a string, and the
# string before the last bracket is the last parameter; nothing else has to be read. A number has
# at most 16 digits, so an address or a hash is never taken for one.
_ELEMENT: Final = rb'"(?:0x([0-9a-fA-F]{1,16})|(latest|pending|safe|finalized|earliest))"\s*'
_LAST: Final = re.compile(rb",\s*" + _ELEMENT + rb"\]\s*\Z")
_FIRST: Final = re.compile(rb"\s*\[\s*" + _ELEMENT + rb"[,\]]")
_TAIL_BYTES: Final = 40

RANGED: Final = frozenset(
    ("eth_getLogs", "erigon_getLogs", "erigon_getLatestLogs", "trace_filter", "arbtrace_filter")
)
_HASH_DIGITS: Final = 64
_LIMIT: Final = 2**64  # block numbers have 64 bits
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

# Tags, numbers, hashes and EIP-1898's object: whatever is longer is none of these.
_LONGEST_BLOCK_BYTES: Final = 1024
# Of a filter: it has five by the specification. Addresses and topics have no colons.
_MOST_FILTER_KEYS: Final = 64

_filter_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text_decoder = msgspec.json.Decoder(str)
_any_decoder = msgspec.json.Decoder()


class _Filter(msgspec.Struct, gc=False):
    from_block: msgspec.Raw = msgspec.field(default=msgspec.Raw(b"null"), name="fromBlock")
    to_block: msgspec.Raw = msgspec.field(default=msgspec.Raw(b"null"), name="toBlock")
    block_hash: msgspec.Raw = msgspec.field(default=msgspec.Raw(b"null"), name="blockHash")


_filter_decoder = msgspec.json.Decoder(_Filter)


class _Block(msgspec.Struct, gc=False):
    number: str
    hash: str | None = None
    parent_hash: str | None = msgspec.field(default=None, name="parentHash")
    timestamp: str | int | None = None


_block_decoder = msgspec.json.Decoder(_Block)


def required_block(method: Method, params: bytes | msgspec.Raw) -> BlockNeed:
    """The block that an upstream must have to serve this request. Never raises.

    ``params`` is valid JSON, or empty where the client left it out: then, as where only the
    block is missing, latest is meant. For a range it is the higher number in it: a range from N
    to latest needs an upstream that has reached N, or its answer is an empty list for blocks
    that are there.
    """
    position = method.block_param
    if position is None:
        return NONE
    if not params:
        return LATEST
    found = None
    if position == 1:
        found = _LAST.search(memoryview(params)[-_TAIL_BYTES:])
    elif position == 0 and method.name not in RANGED:
        found = _FIRST.match(params)
    if found is not None:
        digits, tag = found.groups()
        return int(digits, 16) if digits is not None else _TAG_BYTES[tag]
    return _read_params(method, position, params)


def _read_params(method: Method, position: int, params: bytes | msgspec.Raw) -> BlockNeed:
    try:
        members = members_of(params)
        if method.name in RANGED:
            return _range_need(members[0]) if members else LATEST
        if position >= len(members):
            return LATEST
        return need_of(read_block(members[position]))
    except UNREADABLE:
        # `null` in place of the list is taken as left out, as geth does.
        return LATEST if bytes(params).strip() == b"null" else NONE


def _range_need(member: msgspec.Raw) -> BlockNeed:
    asked = _filter_decoder.decode(member)
    if bytes(asked.block_hash) != b"null":
        return HASH
    lowest, highest = (need_of(read_block(end)) for end in (asked.from_block, asked.to_block))
    if NONE in (lowest, highest):
        return NONE
    return max(lowest, highest) if lowest >= 0 or highest >= 0 else highest


def read_block(text: bytes | msgspec.Raw) -> object:
    """A block parameter, decoded; what is too long for one is not read. Raises what the decoders
    raise.
    """
    if len(text) > _LONGEST_BLOCK_BYTES:
        raise msgspec.ValidationError("no block is named by so long a text")
    return _any_decoder.decode(text)


def read_filter(text: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    """The fields of a filter, not decoded. Raises what the decoders raise."""
    if bytes(text).count(b":") > _MOST_FILTER_KEYS:
        raise msgspec.ValidationError("no filter has so many fields")
    return _filter_fields_decoder.decode(text)


def need_of(value: object) -> BlockNeed:
    """A block parameter, decoded: a tag, a number, a hash, or EIP-1898's object."""
    if value is None:
        return LATEST
    if isinstance(value, str):
        tag = _TAGS.get(value)
        return tag if tag is not None else _number_or_hash(value)
    if isinstance(value, bool):
        return NONE
    if isinstance(value, int):  # not in the specification; zks_ and bor_ take it
        return value if 0 <= value < _LIMIT else NONE
    if isinstance(value, dict):
        if value.get("blockHash") is not None:
            return HASH
        number = value.get("blockNumber")
        return need_of(number) if isinstance(number, str) else NONE
    return NONE


def _number_or_hash(text: str) -> BlockNeed:
    if len(text) == _HASH_DIGITS + 2:
        return HASH if _quantity(text) is not None else NONE
    number = _quantity(text) if len(text) <= 18 else None  # 0x and 64 bits
    return number if number is not None else NONE


_QUANTITY: Final = re.compile(r"0[xX][0-9a-fA-F]{1,64}", re.ASCII)


def _quantity(text: str) -> int | None:
    return int(text, 16) if _QUANTITY.fullmatch(text) else None


def parse_quantity(raw: bytes | msgspec.Raw) -> int | None:
    """The number in the JSON text of a quantity (``"0x1a"``), ``None`` where it is none."""
    try:
        return _quantity(_text_decoder.decode(raw))
    except UNREADABLE:
        return None


class _Payee(msgspec.Struct, gc=False):
    miner: str | None = None


_payee_decoder = msgspec.json.Decoder(_Payee)
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")


def payee_of(block: bytes) -> str | None:
    """The address that a block pays its fees to, ``None`` where it names none."""
    try:
        miner = _payee_decoder.decode(block).miner
    except UNREADABLE:
        return None
    return miner if miner and _ADDRESS.fullmatch(miner) else None


def head_of_block(result: bytes | msgspec.Raw) -> Head | None:
    """The head that an eth_getBlockByNumber result or a newHeads notification tells.

    ``None`` where it is null or no block.
    """
    try:
        block = _block_decoder.decode(result)
    except UNREADABLE:
        return None
    number = _quantity(block.number)
    if number is None:
        return None
    told = block.timestamp
    timestamp = _quantity(told) if isinstance(told, str) else told
    return Head(
        number=number,
        hash=(block.hash or "").lower(),
        parent_hash=(block.parent_hash or "").lower(),
        timestamp=timestamp or 0,
    )
