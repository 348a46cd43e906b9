"""What an EVM answer tells of the chain."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import msgspec

from rpcproxy.chains.evm.blocks import (
    UNREADABLE,
    need_of,
    parse_quantity,
)
from rpcproxy.chains.method import Method, Subject
from rpcproxy.chains.parts.claims import (
    NO_BLOCK,
    BlockToCome,
    CounterClaim,
    CounterReader,
    CounterUse,
    ToldBlock,
)

# eth_sendRawTransactionSync (EIP-7966) answers with the receipt.
IN_A_BLOCK: Final = frozenset(
    (
        *("eth_getTransactionReceipt", "eth_sendRawTransactionSync", "eth_getTransactionByHash"),
        *("eth_getTransactionByBlockHashAndIndex", "eth_getTransactionByBlockNumberAndIndex"),
        "eth_getTransactionBySenderAndNonce",
    )
)
BLOCKS: Final = frozenset(
    (
        *("eth_getBlockByHash", "eth_getBlockByNumber", "eth_getHeaderByHash"),
        *("eth_getHeaderByNumber", "erigon_getHeaderByHash", "erigon_getHeaderByNumber"),
        *("eth_getFinalizedBlock", "eth_getFinalizedHeader"),
    )
)
# Lists of which every entry is in the same block.
LISTS: Final = frozenset(
    (
        *("eth_getBlockReceipts", "parity_getBlockReceipts"),
        *("erigon_getBlockReceiptsByBlockHash", "trace_block", "trace_transaction"),
        *("arbtrace_block", "arbtrace_transaction"),
    )
)

# The methods whose answers ``told_by`` reads.
NAMING_BLOCK: Final = IN_A_BLOCK | BLOCKS | LISTS

# Names in JSON text: a quote inside a string is escaped, so neither can begin in one. A list of
# receipts may hold megabytes, and its first entry says all that is asked here.
_LISTED_NUMBER: Final = re.compile(
    rb'"blockNumber"\s*:\s*(?:"0[xX]([0-9a-fA-F]{1,16})"|([0-9]{1,19}))'
)
_LISTED_HASH: Final = re.compile(rb'"blockHash"\s*:\s*(?:"(0[xX][0-9a-fA-F]{64})"|null)')

NO_HASH: Final = "0x" + "0" * 64  # given by some nodes for what is pending
_NO_HASHES: Final = (None, NO_HASH, "", "0x")
_MAX_NONCE: Final = 2**64 - 1  # EIP-2681
_ADDRESS: Final = re.compile(rb'\[\s*"(0[xX][0-9a-fA-F]{40})"')
_GIVEN_NONCE: Final = re.compile(rb'"nonce"\s*:\s*"')


class _Mined(msgspec.Struct, gc=False):
    number: object = msgspec.field(default=None, name="blockNumber")
    hash: str | msgspec.UnsetType | None = msgspec.field(default=msgspec.UNSET, name="blockHash")


class _Sent(msgspec.Struct, gc=False):
    sender: str | None = msgspec.field(default=None, name="from")
    nonce: str | None = None


class _FilledIn(msgspec.Struct, gc=False):
    sender: str | None = msgspec.field(default=None, name="from")
    nonce: str | None = None
    chain_id: str | None = msgspec.field(default=None, name="chainId")


class _Filled(msgspec.Struct, gc=False):
    tx: _FilledIn | None = None


class _Block(msgspec.Struct, gc=False):
    number: object = None
    hash: str | msgspec.UnsetType | None = msgspec.UNSET


class _Next(msgspec.Struct, gc=False):
    number: object = None
    parent_hash: object = msgspec.field(default=None, name="parentHash")
    block_number: object = msgspec.field(default=None, name="blockNumber")


_next_decoder = msgspec.json.Decoder(_Next)
_mined_decoder = msgspec.json.Decoder(_Mined)
_sent_decoder = msgspec.json.Decoder(_Sent)
_filled_decoder = msgspec.json.Decoder(_Filled)
_block_decoder = msgspec.json.Decoder(_Block)
_logs_decoder = msgspec.json.Decoder(list[_Mined])


def told_by(
    method: Method, result: bytes | msgspec.Raw, *, tells_hashes: bool = True
) -> ToldBlock | None:
    """The block that this result is in, ``None`` where it names none. Never raises. A block
    without a hash is a pending one, but where this chain ``tells_hashes`` of none.

    Null names none; neither do logs, which are in many, nor an uncle, which is on no chain. What
    was asked of the pending block may name a block that will never be: the caller must not ask.
    """
    name = method.name
    if name in IN_A_BLOCK:
        return _told(_mined_decoder, result)
    if name in BLOCKS:
        return _told(_block_decoder, result, tells_hashes=tells_hashes)
    return _told_by_list(result) if name in LISTS else None


def _told(
    decoder: msgspec.json.Decoder[_Mined] | msgspec.json.Decoder[_Block],
    result: bytes | msgspec.Raw,
    *,
    tells_hashes: bool = True,
) -> ToldBlock | None:
    try:
        found = decoder.decode(result)
    except UNREADABLE:
        return None
    hash = None if found.hash in _NO_HASHES else found.hash
    # A pending block has the number that it would get, but no hash.
    if found.number is None or (hash is None and tells_hashes):
        return NO_BLOCK
    number = need_of(found.number)
    if number < 0:
        return None
    return ToldBlock(number, hash.lower() if isinstance(hash, str) else "")


def to_come(method: Method, result: bytes | msgspec.Raw) -> BlockToCome | None:
    """What this result says of the pending block, of which it was asked; ``None`` where it is no
    answer to that. Never raises.
    """
    if method.name in LISTS:
        listed = _LISTED_NUMBER.search(result)
        if listed is None:
            return BlockToCome(-1, "")
        return BlockToCome(int(listed[1], 16) if listed[1] is not None else int(listed[2]), "")
    try:
        found = _next_decoder.decode(result)
    except UNREADABLE:
        return None
    told = found.number if method.name in BLOCKS else found.block_number
    number = -1 if told is None else need_of(told)
    parent = found.parent_hash.lower() if isinstance(found.parent_hash, str) else ""
    if number < -1 or (method.name in BLOCKS and number < 0 and not parent):
        return None
    return BlockToCome(number, parent)


def _told_by_list(result: bytes | msgspec.Raw) -> ToldBlock | None:
    number = _LISTED_NUMBER.search(result)
    if number is None:
        return None
    digits, decimal = number.groups()
    height = int(digits, 16) if digits is not None else int(decimal)
    found = _LISTED_HASH.search(result)
    if found is None:
        return ToldBlock(height, "")
    told = (found[1] or b"").decode().lower()
    return NO_BLOCK if told in {"", NO_HASH} else ToldBlock(height, told)


class Logged(NamedTuple):
    """The blocks that logs are in; ``is_vague`` where a log lacks its block's number or hash."""

    blocks: frozenset[ToldBlock]
    is_vague: bool = False


def blocks_of_logs(result: bytes | msgspec.Raw) -> Logged:
    """The blocks that logs are in, those that give number and hash. Never raises."""
    try:
        logs = _logs_decoder.decode(result)
    except UNREADABLE:
        return Logged(frozenset(), is_vague=True)
    named = {(log.number, log.hash) for log in logs}
    blocks = frozenset(
        ToldBlock(need_of(number), hash.lower())
        for number, hash in named
        if isinstance(hash, str) and hash != NO_HASH and number is not None
    )
    return Logged(blocks, len(blocks) < len({(n, str(hash).lower()) for n, hash in named}))


def sender_of(result: bytes | msgspec.Raw) -> CounterUse | None:
    """Whose transaction this is, in lower case, and its nonce; ``None`` where it does not say."""
    try:
        sent = _sent_decoder.decode(result)
    except UNREADABLE:
        return None
    nonce = need_of(sent.nonce) if sent.nonce is not None else -1
    return None if sent.sender is None or nonce < 0 else CounterUse(sent.sender.lower(), nonce)


def nonce_of(result: bytes | msgspec.Raw) -> int | None:
    """The nonce in an eth_getTransactionCount result, ``None`` where it is none."""
    nonce = parse_quantity(result)
    return nonce if nonce is not None and nonce <= _MAX_NONCE else None


def counter_in(
    method: Method, params: bytes | msgspec.Raw, result: bytes | msgspec.Raw
) -> CounterClaim | None:
    """What a result says of a nonce, told or filled in. Never raises."""
    if method.subject is Subject.FILLED:
        return _filled_in(params, result)
    nonce = nonce_of(result)
    found = _ADDRESS.match(params)
    if nonce is None or found is None:
        return None
    return CounterClaim(found[1].decode().lower(), nonce, b'"pending"' in bytes(params))


def _filled_in(params: bytes | msgspec.Raw, result: bytes | msgspec.Raw) -> CounterClaim | None:
    """What an eth_fillTransaction result says (``tx`` as geth and anvil give it)."""
    try:
        tx = _filled_decoder.decode(result).tx
    except UNREADABLE:
        return None
    if tx is None:
        return None
    chain_id, nonce = (
        -1 if told is None else max(need_of(told), -1) for told in (tx.chain_id, tx.nonce)
    )
    identity = "" if chain_id < 0 else str(chain_id)
    is_its_own = nonce >= 0 and not _GIVEN_NONCE.search(params)
    sender = (tx.sender or "").lower() if is_its_own else ""
    return CounterClaim(sender, nonce, is_to_come=True, identity=identity)


def _nonce_text(nonce: int) -> bytes:
    return b'"0x%x"' % nonce


NONCES: Final = CounterReader(title="nonce", read=counter_in, text=_nonce_text, used_by=sender_of)
