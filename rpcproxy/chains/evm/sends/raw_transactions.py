"""The hash of a signed transaction, computed before any upstream has seen it.

Sources: EIP-2718 (envelopes), EIP-2930, 1559, 4844, 7594 and 7702 (types 1–4), CIP-64 (0x7b).
zkSync's 0x71 hashes differently, and of unknown types nothing is known: there the upstream's
word is taken.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Final

import msgspec
from Crypto.Hash import keccak

from rpcproxy.arrays import members_of
from rpcproxy.chains.evm.sends import rlp
from rpcproxy.chains.method import Method
from rpcproxy.chains.parts.transactions import BadTransaction
from rpcproxy.messages import INVALID_PARAMS

NEITHER: Final = (
    "rlp: expected input list for types.LegacyTx",
    "transaction is neither typed nor an RLP list",
)
_UNMARSHAL: Final = (
    "invalid argument 0: json: cannot unmarshal {} into Go value of type hexutil.Bytes"
)

# No type has more fields than one with blobs (14) or one of Celo (CIP-64: 13).
MOST_FIELDS: Final = 16

# What the pools of nodes take, in bytes. geth and those made of it: txMaxSize of the legacy pool
# (four slots of 32 KiB) and of the blob pool, sidecar included (go-ethereum 31792); reth's
# DEFAULT_MAX_TX_INPUT_BYTES and Nethermind's MaxTxSize: the same 128 KiB. A transaction of six
# blobs with all its proofs has 824 KB (erigon 18330).
_POOL_BYTES: Final = 128 * 1024
_BLOB_POOL_BYTES: Final = 1024 * 1024
# Chains whose nodes are all of these. Others take larger ones (Monad and MegaETH have larger
# contracts, substrate chains no such bound, anvil none), and say what they refuse.
_POOLED: Final = frozenset(
    {
        *(1, 11155111, 560048, 17000, 1337),  # Ethereum, Sepolia, Hoodi, Holesky, geth --dev
        *(10, 11155420, 8453, 84532, 56, 97, 137, 80002, 100, 10200),
    }
)
_ANY_POOL_BYTES: Final = 2 * 1024 * 1024

_RAW_FIRST: Final = (b'["0x', b'["0X', b'[ "0x')
_LONGEST_PARAMS: Final = 2 * _ANY_POOL_BYTES + 64 * 1024

_SHORT: Final = "typed transaction too short"

_BLOB_TYPE: Final = 3
_HASHED_WHOLE: Final = frozenset((1, 2, 4, 0x7B))
# EIP-4844: payload, blobs, commitments, proofs. EIP-7594 puts a version after the payload.
_WRAPPER_ITEMS: Final = (4, 5)

MOST_IN_ONE: Final = 100
# With and without 0x (bloXroute); no transaction is shorter than 80 bytes.
_ANY_RAW: Final = re.compile(rb'"(?:0[xX])?((?:[0-9a-fA-F]{2}){80,})"')
_text_decoder = msgspec.json.Decoder(str)


class Oversized(BadTransaction):
    """No node of its chain takes one so large. ``reason`` is in geth's words."""

    def __init__(self, size: int, limit: int) -> None:
        words = f"oversized data: transaction size {size}, limit {limit}"
        super().__init__(words, words)
        self.told = words


class _Wrapped(msgspec.Struct, gc=False):
    tx: str


class _Cancel(msgspec.Struct, gc=False):
    tx_hash: str = msgspec.field(name="txHash")


_cancels_decoder = msgspec.json.Decoder(list[_Cancel])
_wrapped_decoder = msgspec.json.Decoder(_Wrapped)


def raw_transaction(params: bytes | msgspec.Raw) -> str | None:
    """The signed transaction in the params of a send, as the client wrote it.

    It is the first parameter, or its ``tx`` (eth_sendPrivateTransaction). ``None`` where there
    is none, as in a bundle. Raises ``Oversized``, before anything is read, where no transaction
    fits in.
    """
    if len(params) > _LONGEST_PARAMS and params[:5].startswith(_RAW_FIRST):
        raise Oversized((len(params) - len('["0x"]')) // 2, _ANY_POOL_BYTES)
    try:
        members = members_of(params)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if not members:
        return None
    try:
        return _text_decoder.decode(members[0])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        pass
    try:
        return _wrapped_decoder.decode(members[0]).tx
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def transactions_in(params: bytes | msgspec.Raw) -> list[tuple[str, bytes]]:
    """Hash and bytes of each signed transaction anywhere in the params, as in bundles; of
    ``MOST_IN_ONE`` at most, and of types whose hash is ours to compute.
    """
    found: dict[str, bytes] = {}
    for digits in islice(_ANY_RAW.finditer(params), MOST_IN_ONE):
        text = "0x" + digits[1].decode()
        try:
            hash = transaction_hash(text)
        except BadTransaction:
            continue
        if hash is not None:
            found[hash] = bytes.fromhex(text[2:])
    return list(found.items())


def cancelled_by(method: Method, params: bytes | msgspec.Raw, result: bytes) -> str:
    """The hash of the transaction that a relay took back, empty where it did not, or where the
    method is for something else (Flashbots: eth_cancelPrivateTransaction).
    """
    if method.name != "eth_cancelPrivateTransaction" or result.strip() in (b"false", b"null"):
        return ""
    try:
        return _cancels_decoder.decode(params)[0].tx_hash.lower()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, IndexError):
        return ""


def check_size(raw_hex: str, chain_id: int, *, is_public: bool) -> None:
    """Raise ``Oversized`` for what no pool of the chain takes. ``is_public``: it is for anybody's
    pool; what goes to builders alone may be as large as a block has room for.
    """
    limit = _ANY_POOL_BYTES
    if is_public and chain_id in _POOLED:
        limit = _BLOB_POOL_BYTES if raw_hex[2:4] == f"{_BLOB_TYPE:02x}" else _POOL_BYTES
    size = (len(raw_hex) - 2) // 2
    if size > limit:
        raise Oversized(size, limit)


def transaction_hash(raw_hex: str) -> str | None:
    """The hash of a signed transaction, ``0x`` and 64 lower-case digits.

    ``None`` for types whose hash is not ours to compute. Raises ``BadTransaction`` for what no
    node can decode.
    """
    raw = unhex(raw_hex)
    try:
        hashed = _hashed(raw)
    except rlp.BadRlp as bad:
        raise BadTransaction(bad.words, bad.reason) from None
    return None if hashed is None else "0x" + keccak256(hashed).hex()


def _hashed(raw: bytes) -> bytes | None:
    first = raw[0]
    if first >= 0xC0:
        rlp.items(raw, 0, len(raw), MOST_FIELDS)
        return raw
    if first >= 0x80:
        raise BadTransaction(*NEITHER)
    if first in _HASHED_WHOLE:
        typed_items(raw)
        return raw
    if first == _BLOB_TYPE:
        return without_blobs(raw)
    return None


def unhex(raw_hex: str) -> bytes:
    """The bytes, at least one. Raises ``BadTransaction``."""
    if raw_hex[:2] not in ("0x", "0X"):
        raise _bad_hex("hex string without 0x prefix", "transaction is hex without 0x prefix")
    if len(raw_hex) == 2:
        raise BadTransaction(_SHORT, "transaction is empty")
    try:
        # bytes.fromhex skips blanks, which no node does.
        if not raw_hex.isascii() or not raw_hex.isalnum():
            raise ValueError  # noqa: TRY301 - one place says what is wrong with the hex
        return bytes.fromhex(raw_hex[2:])
    except ValueError:
        words = "hex string of odd length" if len(raw_hex) % 2 else "invalid hex string"
        raise _bad_hex(words, "transaction is not valid hex") from None


def _bad_hex(words: str, reason: str) -> BadTransaction:
    return BadTransaction(_UNMARSHAL.format(words), reason, INVALID_PARAMS)


def keccak256(data: bytes) -> bytes:
    """Ethereum's hash, 32 bytes."""
    digest: bytes = keccak.new(digest_bits=256, data=data).digest()
    return digest


def typed_items(raw: bytes) -> list[tuple[int, int, int]]:
    """The items of a typed transaction's list, as ``rlp.items`` gives them: no more of them than
    any transaction has, and one. Raises ``BadTransaction`` and ``rlp.BadRlp``.
    """
    if len(raw) < 2 or raw[1] < 0xC0:
        words = _SHORT if len(raw) < 2 else "rlp: expected input list"
        raise BadTransaction(words, "typed transaction is not an RLP list")
    return rlp.items(raw, 1, len(raw), MOST_FIELDS)


def without_blobs(raw: bytes) -> bytes:
    """A blob transaction as it is hashed and stored: its network wrapper stays behind. The very
    same object where there is none. Raises ``BadTransaction`` and ``rlp.BadRlp``.
    """
    items = typed_items(raw)
    if not items:
        raise BadTransaction("rlp: too few elements for types.BlobTx", "blob transaction is empty")
    start, _, end = items[0]
    if raw[start] < 0xC0:  # the chain id: already without wrapper
        return raw
    if len(items) not in _WRAPPER_ITEMS:
        raise BadTransaction(
            "rlp: too few elements for types.BlobTx"
            if len(items) < min(_WRAPPER_ITEMS)
            else "rlp: input list has too many elements for types.BlobTx",
            "blob transaction's wrapper has neither 4 nor 5 items",
        )
    rlp.items(raw, start, end, MOST_FIELDS)
    return raw[:1] + raw[start:end]
