"""Whether an answer names the block that it is in as it should.

Some answers claim a block that they do not name: a receipt with a null block (Parity's, for what
waits: openethereum 3569, go-ethereum 1425, web3.js 1163), one with a hash of zeros and the next
block's number (pre-confirmed ones: reth 18374), ``{}`` (rust-web3 749), a number without a hash.
Others name another block than was asked for. Both are asked elsewhere, and a receipt that is in no
block is none.
"""

from __future__ import annotations

import enum
import re
from typing import Final

import msgspec

from rpcproxy.chains.asked_at import HASH
from rpcproxy.chains.evm.answers import BLOCKS, IN_A_BLOCK, LISTS, NO_HASH, ToldBlock
from rpcproxy.chains.evm.blocks import RANGED, UNREADABLE, required_block
from rpcproxy.chains.method import Method

RECEIPTS: Final = frozenset(("eth_getTransactionReceipt",))


class Claim(enum.Enum):
    """How an answer names its block."""

    FINE = "fine"  # as it should, or honestly in none
    UNMINED = "unmined"  # in no block, though it is written as if it were, or must be
    # The number or the hash is missing, or hashes differ. Some nodes know a block by two (lotus
    # 10911), others gave logs of any (nethermind 4384): another tells which.
    VAGUE = "vague"
    FALSE = "false"  # another block than was asked for, or nothing of the kind


# The first hash in params is the block's, also in EIP-1898's object and in a filter.
_ANY_HASH: Final = re.compile(rb'"0[xX]([0-9a-fA-F]{64})"')
_LISTED_HASHES: Final = re.compile(rb'"blockHash"\s*:\s*(?:"(0[xX][0-9a-fA-F]{64})"|null)')
_HASH_NAME: Final = b'"blockHash"'
_NOWHERE: Final = ToldBlock(-1, "")

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
            return _NOWHERE
    elif not method.is_by_block_hash:
        return _NOWHERE
    found = _ANY_HASH.search(params)
    return _NOWHERE if found is None else ToldBlock(-1, "0x" + found[1].decode().lower())


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


def claim_of(
    method: Method, params: bytes | msgspec.Raw, result: bytes | msgspec.Raw, told: ToldBlock | None
) -> Claim:
    """How a result names its block; ``told`` is what ``told_by`` read in it. Never raises."""
    name = method.name
    if name in _BY_TRANSACTION and _ANY_HASH.search(params) is None:
        return Claim.FINE  # nothing that can be held against it was asked for
    if name in IN_A_BLOCK:
        claim = _of_one(name, result, told)
        if claim is not Claim.FINE or name in _BY_TRANSACTION:
            return claim
    elif name in LISTS:
        if told is None:
            return Claim.FINE if _is_empty(result) else Claim.VAGUE
        if not _is_of_one_block(result) or (told.number < 0 and method.block_param is None):
            return Claim.VAGUE
    elif name not in BLOCKS:
        return Claim.FINE
    asked = asked_block(method, params)
    if asked is _NOWHERE:
        return Claim.FINE
    if told is None or (name in BLOCKS and told.number < 0):
        return Claim.FALSE
    if told.number >= 0 and asked.number not in (-1, told.number):
        return Claim.FALSE
    if asked.hash and told.hash and told.hash != asked.hash:
        return Claim.FALSE if name in BLOCKS else Claim.VAGUE
    return Claim.FINE if told.number >= 0 and told.hash else Claim.VAGUE


_BY_TRANSACTION: Final = frozenset(
    (
        *("eth_getTransactionReceipt", "eth_getTransactionByHash", "eth_sendRawTransactionSync"),
        "eth_getTransactionBySenderAndNonce",
    )
)


def _of_one(name: str, result: bytes | msgspec.Raw, told: ToldBlock | None) -> Claim:
    """A transaction or a receipt."""
    if told is None:
        return Claim.FALSE
    if told.number >= 0:
        is_of_one = name not in RECEIPTS or _is_of_one_block(result)  # its logs are of its block
        return Claim.FINE if told.hash and is_of_one else Claim.VAGUE
    if name in RECEIPTS:
        return Claim.UNMINED
    try:
        fields = _object_decoder.decode(result)
    except UNREADABLE:
        return Claim.FALSE
    number, hash = (_said(fields.get(key)) for key in ("blockNumber", "blockHash"))
    if number is None and hash is None:  # it says nothing of a block at all
        return Claim.FINE if "hash" in fields else Claim.FALSE
    if not number and hash:
        return Claim.UNMINED if hash == NO_HASH else Claim.VAGUE
    return Claim.UNMINED if number else Claim.FINE


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
    """A transaction as nodes give it while it waits: its block is null, in all three fields.
    Raises what the decoder raises.
    """
    fields = _object_decoder.decode(result)
    null = msgspec.Raw(b"null")
    for key in ("blockHash", "blockNumber", "transactionIndex"):
        fields[key] = null
    fields.pop("blockTimestamp", None)
    return msgspec.Raw(msgspec.json.encode(fields))
