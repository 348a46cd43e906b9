"""RLP, Ethereum's encoding of byte strings and lists of them (yellow paper, appendix B).

The reader is strict: of all encodings of one value it takes the shortest, as every node does. It
goes one level deep at a time, so that lists within lists cannot exhaust the stack, and reads no
further than its caller has use for: a list of millions of items costs as much as one of a few.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

Item = bytes | int | Sequence["Item"]


# go-ethereum 1.17.10, rlp/decode.go
_TOO_SHORT: Final = "value size exceeds available input length"
_NOT_CANONICAL: Final = "non-canonical size information"


class BadRlp(Exception):
    """Bytes that no node reads: ``words`` as geth says it, ``reason`` in ours."""

    def __init__(self, words: str, reason: str) -> None:
        super().__init__(reason)
        self.words = f"rlp: {words}"
        self.reason = reason


def items(data: bytes, start: int, end: int, most: int = sys.maxsize) -> list[tuple[int, int, int]]:
    """The items of the one list that fills ``data[start:end]``: where each begins, where its
    payload begins, and where it ends. ``data[start]`` must open a list. Where there are more than
    ``most``, one more than that is given, and the rest is not looked at. Raises ``BadRlp``.
    """
    position, stop = extent(data, start, end)
    if stop != end:
        raise BadRlp("input contains more than one value", "bytes after the end of the transaction")
    found: list[tuple[int, int, int]] = []
    while position < end and len(found) <= most:
        payload, stop = extent(data, position, end)
        found.append((position, payload, stop))
        position = stop
    return found


def sized_items(data: bytes, start: int, end: int, size: int) -> range | None:
    """Where the payloads begin of the byte strings of ``size`` bytes, two at least, that fill the
    list ``data[start:end]``; ``None`` where it holds anything else. Looks at no item by itself,
    however many they are.
    """
    position, stop = extent(data, start, end)
    header = _header(0x80, size)
    step = len(header) + size
    count, rest = divmod(end - position, step)
    if stop != end or rest:
        return None
    for offset, byte in enumerate(header):
        if data[position + offset : end : step].count(byte) != count:
            return None
    return range(position + len(header), end, step)


def extent(data: bytes, position: int, end: int) -> tuple[int, int]:
    """Where the payload of the item at ``position`` begins and ends; ``position`` is before
    ``end``. Raises ``BadRlp``.
    """
    prefix = data[position]
    if prefix < 0x80:
        return position, position + 1
    offset = 0xC0 if prefix >= 0xC0 else 0x80
    length = prefix - offset
    payload = position + 1
    if length > 55:
        payload += length - 55
        if payload > end:
            raise BadRlp(_TOO_SHORT, "RLP length goes past the end")
        length = int.from_bytes(data[position + 1 : payload], "big")
        if length <= 55 or data[position + 1] == 0:
            raise BadRlp(_NOT_CANONICAL, "RLP length is not canonical")
    stop = payload + length
    if stop > end:
        raise BadRlp(_TOO_SHORT, "RLP item goes past the end")
    if offset == 0x80 and length == 1 and data[payload] < 0x80:
        raise BadRlp(_NOT_CANONICAL, "RLP byte is not canonical")
    return payload, stop


def encode(item: Item) -> bytes:
    """The encoding of a byte string, a number (not negative) or a list of such."""
    if isinstance(item, int):
        item = item.to_bytes((item.bit_length() + 7) // 8, "big")
    if not isinstance(item, bytes):
        return enclose(b"".join(map(encode, item)))
    if len(item) == 1 and item[0] < 0x80:
        return item
    return _header(0x80, len(item)) + item


def enclose(encoded: bytes) -> bytes:
    """The list of items that are encoded already."""
    return _header(0xC0, len(encoded)) + encoded


def _header(offset: int, length: int) -> bytes:
    if length <= 55:
        return bytes((offset + length,))
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((offset + 55 + len(size),)) + size
