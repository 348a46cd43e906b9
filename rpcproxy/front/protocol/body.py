"""Request bodies: pieces put together once, chunks read strictly and within bounds.

Pure: bytes in, bytes out.
"""

from __future__ import annotations

import re
from typing import Final

_CHUNK_LINE: Final = re.compile(rb"([0-9a-fA-F]{1,16})(;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")
_MAX_CHUNK_LINE: Final = 256
# Extensions and trailers are read and dropped; this is all we read of them in one body.
_MAX_DROPPED: Final = 8192
_SMALL_PIECE: Final = 16 * 1024
# A chunk costs us a microsecond however small it is: beyond the first ones, a body of tinier
# chunks than this on average is an attack on the processor.
_FREE_CHUNKS: Final = 1024
_LEAST_AVERAGE: Final = 16


class BadChunks(Exception):
    """A chunked body that is malformed. Says why, in words."""


class BodyTooLarge(Exception):
    """A chunked body that grew over its limit."""


class Pieces:
    """A body of known length arriving in pieces; large ones are copied once, at the end.

    Small pieces are merged: an object per byte would make a slow sender forty times as
    large in memory as what it sent.
    """

    __slots__ = ("_pieces", "missing", "received")

    def __init__(self, length: int) -> None:
        self._pieces: list[bytes | bytearray] = []
        self.missing = length
        self.received = 0

    def add(self, data: bytes | bytearray) -> int:
        """Take what belongs to the body, return how many bytes that was."""
        if len(data) > self.missing:
            data = data[: self.missing]
        used = len(data)
        self.missing -= used
        self.received += used
        if used >= _SMALL_PIECE:
            self._pieces.append(bytes(data))  # no copy of what is ``bytes`` already
        elif self._pieces and isinstance(last := self._pieces[-1], bytearray):
            last += data
        else:
            self._pieces.append(bytearray(data))
        return used

    @property
    def is_whole(self) -> bool:
        return self.missing == 0

    def join(self) -> bytes:
        return b"".join(self._pieces)


class Chunks:
    """A chunked body (RFC 9112, section 7.1), decoded as it arrives.

    ``limit`` bounds the decoded bytes. Lines end in CRLF and nothing else; a chunk's size is
    plain hexadecimal; trailers must be well-formed and are dropped.
    """

    __slots__ = (
        "_body",
        "_chunks",
        "_dropped",
        "_in_trailers",
        "_left",
        "_limit",
        "_line",
        "is_whole",
    )

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._body = bytearray()
        self._line = bytearray()  # an unfinished size or trailer line
        self._left = 0  # of the current chunk, its CRLF included
        self._in_trailers = False
        self._dropped = 0
        self._chunks = 0
        self.is_whole = False

    @property
    def received(self) -> int:
        return len(self._body)

    def add(self, data: bytes | bytearray) -> int:
        """Take what belongs to the body, return how many bytes that was.

        Raises ``BadChunks`` and ``BodyTooLarge``; the message cannot be read on after that.
        """
        at = 0
        while at < len(data) and not self.is_whole:
            at = self._take_chunk(data, at) if self._left else self._take_line(data, at)
        return at

    def join(self) -> bytes:
        return bytes(self._body)

    def _take_chunk(self, data: bytes | bytearray, at: int) -> int:
        end = min(len(data), at + self._left)
        of_chunk = self._left - 2
        if of_chunk > 0:
            self._body += memoryview(data)[at : min(end, at + of_chunk)]
        for place in range(max(at, at + of_chunk), end):
            expected = 0x0D if self._left - (place - at) == 2 else 0x0A
            if data[place] != expected:
                raise BadChunks("a chunk does not end in CRLF where its size says")
        self._left -= end - at
        return end

    def _take_line(self, data: bytes | bytearray, at: int) -> int:
        found = data.find(b"\n", at)
        end = len(data) if found < 0 else found + 1
        self._line += memoryview(data)[at:end]
        if len(self._line) > (_MAX_DROPPED if self._in_trailers else _MAX_CHUNK_LINE):
            raise BadChunks("a chunk line is too long")
        if found < 0:
            return end
        if not self._line.endswith(b"\r\n"):
            raise BadChunks("chunk lines must end in CRLF")
        line = bytes(self._line[:-2])
        self._line.clear()
        if self._in_trailers:
            self._on_trailer(line)
        else:
            self._on_size(line)
        return end

    def _on_size(self, line: bytes) -> None:
        match = _CHUNK_LINE.fullmatch(line)
        if match is None:
            raise BadChunks("a chunk's size is not a plain hexadecimal number")
        self._drop(len(match.group(2) or b""))
        size = int(match.group(1), 16)
        if size == 0:
            self._in_trailers = True
            return
        if len(self._body) + size > self._limit:
            raise BodyTooLarge
        self._chunks += 1
        if (self._chunks - _FREE_CHUNKS) * _LEAST_AVERAGE > len(self._body):
            raise BadChunks("the chunks are too small")
        self._left = size + 2

    def _on_trailer(self, line: bytes) -> None:
        if not line:
            self.is_whole = True
            return
        if _TRAILER.fullmatch(line) is None:
            raise BadChunks("a trailer is malformed")
        self._drop(len(line))

    def _drop(self, count: int) -> None:
        self._dropped += count
        if self._dropped > _MAX_DROPPED:
            raise BadChunks("too many chunk extensions or trailers")
