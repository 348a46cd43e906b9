"""The hash of a signed transaction, computed before any upstream has seen it.

Sources: EIP-2718 (envelopes), EIP-2930, 1559, 4844, 7594 and 7702 (types 1–4), CIP-64 (0x7b).
zkSync's 0x71 hashes differently, and of unknown types nothing is known: there the upstream's
word is taken.
"""

from __future__ import annotations

from typing import Final

import msgspec
from Crypto.Hash import keccak

_BLOB_TYPE: Final = 3
_HASHED_WHOLE: Final = frozenset((1, 2, 4, 0x7B))
# EIP-4844: payload, blobs, commitments, proofs. EIP-7594 puts a version after the payload.
_WRAPPER_ITEMS: Final = (4, 5)

_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_text_decoder = msgspec.json.Decoder(str)


class BadTransaction(Exception):
    """The bytes are no transaction, for any node. ``reason`` is for the client."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Wrapped(msgspec.Struct, gc=False):
    tx: str


_wrapped_decoder = msgspec.json.Decoder(_Wrapped)


def raw_transaction(params: bytes | msgspec.Raw) -> str | None:
    """The signed transaction in the params of a send, as the client wrote it.

    It is the first parameter, or its ``tx`` (eth_sendPrivateTransaction). ``None`` where there
    is none, as in a bundle.
    """
    try:
        members = _list_decoder.decode(params)
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


def transaction_hash(raw_hex: str) -> str | None:
    """The hash of a signed transaction, ``0x`` and 64 lower-case digits.

    ``None`` for types whose hash is not ours to compute. Raises ``BadTransaction`` for what no
    node can decode.
    """
    raw = _unhex(raw_hex)
    first = raw[0]
    if first >= 0xC0:
        _walk(raw, 0, len(raw))
        return _keccak(raw)
    if first >= 0x80:
        raise BadTransaction("transaction is neither typed nor an RLP list")
    if first in _HASHED_WHOLE:
        _typed_items(raw)
        return _keccak(raw)
    if first == _BLOB_TYPE:
        return _keccak(_without_blobs(raw))
    return None


def _unhex(raw_hex: str) -> bytes:
    if raw_hex[:2] not in ("0x", "0X"):
        raise BadTransaction("transaction is hex without 0x prefix")
    if len(raw_hex) == 2:
        raise BadTransaction("transaction is empty")
    try:
        # bytes.fromhex skips blanks, which no node does.
        if not raw_hex.isascii() or not raw_hex.isalnum():
            raise ValueError  # noqa: TRY301 - one place says what is wrong with the hex
        return bytes.fromhex(raw_hex[2:])
    except ValueError:
        raise BadTransaction("transaction is not valid hex") from None


def _keccak(data: bytes | memoryview) -> str:
    return "0x" + keccak.new(digest_bits=256, data=bytes(data)).hexdigest()


def _typed_items(raw: bytes) -> list[tuple[int, int]]:
    """Where the items of a typed transaction's list begin and end."""
    if len(raw) < 2 or raw[1] < 0xC0:
        raise BadTransaction("typed transaction is not an RLP list")
    return _walk(raw, 1, len(raw))


def _without_blobs(raw: bytes) -> bytes:
    """A blob transaction as it is hashed and stored: its network wrapper stays behind."""
    items = _typed_items(raw)
    if not items:
        raise BadTransaction("blob transaction is empty")
    start, end = items[0]
    if raw[start] < 0xC0:  # the chain id: already without wrapper
        return raw
    if len(items) not in _WRAPPER_ITEMS:
        raise BadTransaction("blob transaction's wrapper has neither 4 nor 5 items")
    _walk(raw, start, end)
    return raw[:1] + raw[start:end]


def _walk(data: bytes, start: int, end: int) -> list[tuple[int, int]]:
    """The items of the one RLP list that fills ``data[start:end]``, one level deep."""
    payload, stop = _extent(data, start, end)
    if stop != end:
        raise BadTransaction("bytes after the end of the transaction")
    items = []
    position = payload
    while position < end:
        _, stop = _extent(data, position, end)
        items.append((position, stop))
        position = stop
    return items


def _extent(data: bytes, position: int, end: int) -> tuple[int, int]:
    """Where the payload of the item at ``position`` begins and ends; canonical lengths only."""
    prefix = data[position]
    if prefix < 0x80:
        return position, position + 1
    offset = 0xC0 if prefix >= 0xC0 else 0x80
    length = prefix - offset
    payload = position + 1
    if length > 55:
        size_bytes = length - 55
        payload += size_bytes
        if payload > end:
            raise BadTransaction("RLP length goes past the end")
        length = int.from_bytes(data[position + 1 : payload], "big")
        if length <= 55 or data[position + 1] == 0:
            raise BadTransaction("RLP length is not canonical")
    stop = payload + length
    if stop > end:
        raise BadTransaction("RLP item goes past the end")
    if offset == 0x80 and length == 1 and data[payload] < 0x80:
        raise BadTransaction("RLP byte is not canonical")
    return payload, stop
