"""Whether an answer names the block that it is in as it should.

Some answers claim a block that they do not name: a receipt with a null block (Parity's, for what
waits: openethereum 3569, go-ethereum 1425, web3.js 1163), one with a hash of zeros and the next
block's number (pre-confirmed ones: reth 18374), ``{}`` (rust-web3 749), a number without a hash.
Others name another block than was asked for. Both are asked elsewhere, and a receipt that is in no
block is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from rpcproxy.chains.evm.answers import (
    BLOCKS,
    IN_A_BLOCK,
    LISTS,
    NO_HASH,
    NONCES,
    blocks_of_logs,
    to_come,
    told_by,
)
from rpcproxy.chains.evm.blocks import RANGED, UNREADABLE, head_of_block, required_block
from rpcproxy.chains.evm.joins import log_range
from rpcproxy.chains.method import Method
from rpcproxy.chains.parts.asked_at import HASH
from rpcproxy.chains.parts.claims import (
    NO_BLOCK,
    BlockClaim,
    Claims,
    Naming,
    SearchClaim,
    ToldBlock,
)

RECEIPTS: Final = frozenset(("eth_getTransactionReceipt",))


# The first hash in params is the block's, also in EIP-1898's object and in a filter.
_ANY_HASH: Final = re.compile(rb'"0[xX]([0-9a-fA-F]{64})"')
_LISTED_HASHES: Final = re.compile(rb'"blockHash"\s*:\s*(?:"(0[xX][0-9a-fA-F]{64})"|null)')
_HASH_NAME: Final = b'"blockHash"'
# The first parameter, and what an answer says that it is itself.
_LOOKED_UP: Final = re.compile(rb'\[\s*"(0[xX][0-9a-fA-F]{64})"')
_OWN_HASH: Final = re.compile(rb'"(?:transactionHash|hash)"\s*:\s*"(0[xX][0-9a-fA-F]{64})"')

_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def asked_block(method: Method, params: bytes | msgspec.Raw) -> ToldBlock:
    """The block that a request names: −1 and an empty hash where it names none, or by a tag."""
    if method.name in RANGED:
        return ToldBlock(-1, _filtered_hash(params))
    if method.block_param is not None:
        need = required_block(method, params)
        if need >= 0:
            return ToldBlock(need, "")
        if need != HASH:
            return NO_BLOCK
    elif not method.is_by_block_hash:
        return NO_BLOCK
    found = _ANY_HASH.search(params)
    return NO_BLOCK if found is None else ToldBlock(-1, "0x" + found[1].decode().lower())


class _Filter(msgspec.Struct, gc=False):
    hash: str | None = msgspec.field(default=None, name="blockHash")


_filter_decoder = msgspec.json.Decoder(list[_Filter])


def _filtered_hash(params: bytes | msgspec.Raw) -> str:
    """The hash of the one block that a filter looks into, empty where it looks into a range."""
    try:
        filters = _filter_decoder.decode(params)
    except UNREADABLE:
        return ""
    return (filters[0].hash or "").lower() if filters else ""


def asked_key(params: bytes | msgspec.Raw) -> str:
    """The hash that is looked up, in lower case; empty where the first parameter is none."""
    found = _LOOKED_UP.match(params)
    return "" if found is None else found[1].decode().lower()


def keys_in(text: bytes) -> Iterator[str]:
    """The hashes of the transactions that a block, receipts or logs name."""
    return (hash.decode().lower() for hash in set(_OWN_HASH.findall(text)))


def of_block(
    method: Method,
    params: bytes | msgspec.Raw,
    result: bytes | msgspec.Raw,
    *,
    tells_hashes: bool = True,
) -> BlockClaim:
    """The block that a result is in, and how it names that. Never raises."""
    told = told_by(method, result, tells_hashes=tells_hashes)
    return BlockClaim(told, _naming(method, params, result, told, tells_hashes=tells_hashes))


def _naming(
    method: Method,
    params: bytes | msgspec.Raw,
    result: bytes | msgspec.Raw,
    told: ToldBlock | None,
    *,
    tells_hashes: bool,
) -> Naming:
    name = method.name
    if name in _BY_TRANSACTION and _ANY_HASH.search(params) is None:
        return Naming.CLEAR  # nothing that can be held against it was asked for
    if name in IN_A_BLOCK:
        naming = _of_one(name, params, result, told)
        if naming is not Naming.CLEAR or name in _BY_TRANSACTION:
            return naming
    elif name in LISTS:
        if told is None:
            return Naming.CLEAR if _is_empty(result) else Naming.VAGUE
        if not _is_of_one_block(result) or (told.number < 0 and method.block_param is None):
            return Naming.VAGUE
    elif name not in BLOCKS:
        return Naming.CLEAR
    asked = asked_block(method, params)
    if asked is NO_BLOCK:
        # A tag names no number: which one it stands for the upstream says.
        is_none = told is None and name in _BY_TAG and required_block(method, params) > HASH
        return Naming.WRONG if is_none else Naming.CLEAR
    if told is None or (name in BLOCKS and told.number < 0):
        return Naming.WRONG
    if told.number >= 0 and asked.number not in (-1, told.number):
        return Naming.WRONG
    if asked.hash and told.hash and told.hash != asked.hash:
        # Some nodes know a block by two hashes (lotus 10911).
        return Naming.WRONG if name in BLOCKS else Naming.VAGUE
    if tells_hashes and not told.hash and name in _BY_HASH and asked_key(params):
        return Naming.WRONG
    return Naming.CLEAR if told.number >= 0 and told.hash else Naming.VAGUE


# By the specification these have a number and a hash.
_BY_TAG: Final = frozenset(("eth_getBlockByNumber",))
_BY_HASH: Final = frozenset(("eth_getBlockByHash",))
_BY_TRANSACTION: Final = frozenset(
    (
        *("eth_getTransactionReceipt", "eth_getTransactionByHash", "eth_sendRawTransactionSync"),
        "eth_getTransactionBySenderAndNonce",
    )
)
_BY_ITS_HASH: Final = frozenset(("eth_getTransactionReceipt", "eth_getTransactionByHash"))


def _of_one(
    name: str,
    params: bytes | msgspec.Raw,
    result: bytes | msgspec.Raw,
    told: ToldBlock | None,
) -> Naming:
    """A transaction or a receipt."""
    if told is None or (name in _BY_ITS_HASH and _is_another(params, result)):
        return Naming.WRONG
    if told.number >= 0:
        is_of_one = name not in RECEIPTS or _is_of_one_block(result)  # its logs are of its block
        return Naming.CLEAR if told.hash and is_of_one else Naming.VAGUE
    if name in RECEIPTS:
        return Naming.NOWHERE
    try:
        fields = _object_decoder.decode(result)
    except UNREADABLE:
        return Naming.WRONG
    number, hash = (_said(fields.get(key)) for key in ("blockNumber", "blockHash"))
    if number is None and hash is None:  # it says nothing of a block at all
        return Naming.CLEAR if "hash" in fields else Naming.WRONG
    if not number and hash:
        return Naming.NOWHERE if hash == NO_HASH else Naming.VAGUE
    return Naming.NOWHERE if number else Naming.CLEAR


def _is_another(params: bytes | msgspec.Raw, result: bytes | msgspec.Raw) -> bool:
    """Whether a result says that it is another transaction than was looked up."""
    asked, named = _LOOKED_UP.match(params), _OWN_HASH.search(result)
    if asked is None or named is None:
        return False
    return asked[1] != named[1] and asked[1].lower() != named[1].lower()


def of_search(
    method: Method, params: bytes | msgspec.Raw, result: bytes | msgspec.Raw
) -> SearchClaim:
    """What a search for logs or traces asked for, and found. Never raises."""
    found, is_vague = blocks_of_logs(result)
    hash = asked_block(method, params).hash
    if hash:
        # Others gave logs of any block (nethermind 4384).
        is_vague = is_vague or any(block.hash != hash for block in found)
        return SearchClaim(hash=hash, found=found, is_vague=is_vague)
    low, high = log_range(params) or (0, -1)
    return SearchClaim(low, high, "", found, is_vague)


def _said(value: msgspec.Raw | None) -> str | None:
    """What stands in a field: ``None`` where it is not there, empty where it is null."""
    if value is None:
        return None
    text = bytes(value)
    return "" if text == b"null" else text.decode(errors="replace").strip('"').lower()


def _is_empty(result: bytes | msgspec.Raw) -> bool:
    return len(result) <= 8 and bytes(result).translate(None, b" \t\r\n") in (b"[]", b"null")


def _is_of_one_block(result: bytes | msgspec.Raw) -> bool:
    """Whether all entries of a list name one block. Counted first: a list may have megabytes."""
    text = bytes(result)
    found = _LISTED_HASHES.search(text)
    if found is None or text.count(found[0]) == text.count(_HASH_NAME):
        return True
    return len({hash.lower() for hash in _LISTED_HASHES.findall(text)}) == 1


def as_pending(result: bytes | msgspec.Raw) -> msgspec.Raw:
    """A transaction as nodes give it while it waits: its block is null, in all three fields. What
    is none stays as it is. Never raises.
    """
    try:
        fields = _object_decoder.decode(result)
    except UNREADABLE:
        return msgspec.Raw(result)
    null = msgspec.Raw(b"null")
    for key in ("blockHash", "blockNumber", "transactionIndex"):
        fields[key] = null
    fields.pop("blockTimestamp", None)
    return msgspec.Raw(msgspec.json.encode(fields))


EVM_CLAIMS: Final = Claims(
    block_in=told_by,
    of_block=of_block,
    head_in=head_of_block,
    asked_block=asked_block,
    asked_key=asked_key,
    keys_in=keys_in,
    key_of=str.lower,
    nothing=NO_HASH,
    of_search=of_search,
    to_come=to_come,
    as_waiting=as_pending,
    counters=NONCES,
    no_data=b'"0x"',
    # geth's words, for whatever is asked at a block that is not there
    no_block=b'{"code":-32000,"message":"header not found"}',
)
