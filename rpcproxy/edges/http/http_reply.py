"""Reads one HTTP/1.1 reply from pieces of bytes, strictly. No IO, no clock.

``ReplyReader.feed`` takes bytes as they come; pieces of the body, still as they were encoded,
gather in ``pieces``. ``ReplyReader.whole`` is the short way for what nearly every reply is: a
simple head and a small body in one piece.
"""

from __future__ import annotations

import re
from typing import Final

from rpcproxy.edges.http.reply_head import (
    CHUNKED,
    FIELD_LINE,
    MAX_HEAD_BYTES,
    UNTIL_CLOSE,
    BadReply,
    ReplyHead,
    ReplyHeadMemory,
    refused,
)
from rpcproxy.messages import FailureKind

MAX_INTERIM_REPLIES: Final = 8
MAX_CHUNK_LINE_BYTES: Final = 1024
MAX_TRAILER_BYTES: Final = 8 * 1024
# A chunk costs as much as some thousand bytes of one: after so many, those of a body must have a
# few bytes each. Whoever writes JSON token by token has more.
FREE_CHUNKS: Final = 4096
LEAST_CHUNK_BYTES: Final = 8


class ReplyReader:
    """Reads the replies of one connection, one after the other.

    After ``feed`` or ``end`` told that a reply is complete, ``head`` and ``pieces`` hold it and
    ``has_excess`` says that bytes came which belong to no reply; ``reset`` makes the reader
    ready for the next. ``is_fresh``: no byte of the reply has come. Whoever takes pieces out
    early empties ``pieces``.
    """

    __slots__ = (
        "_buffer",
        "_chunks",
        "_is_in_head",
        "_memory",
        "_remaining",
        "_seen_interim",
        "_simple_head",
        "has_excess",
        "head",
        "is_fresh",
        "pieces",
    )

    head: ReplyHead

    def __init__(self, memory: ReplyHeadMemory) -> None:
        self._memory = memory
        self._simple_head = memory.simple.get
        self.reset()

    def reset(self) -> None:
        self.pieces: list[bytes] = []
        self.has_excess = False
        self.is_fresh = True
        self._buffer = bytearray()
        self._chunks: ChunkedBody | None = None
        self._is_in_head = True
        self._remaining = 0
        self._seen_interim = 0

    def whole(self, data: bytes) -> bytes | None:
        """The body, where ``data`` is exactly one reply with a simple head.

        To be asked while ``is_fresh``; changes nothing but ``head``.
        """
        end = data.find(b"\r\n\r\n") + 4
        head = self._simple_head(data[:end])
        if head is None:
            try:
                head = self._memory.read(data[:end])
            except BadReply:
                return None  # incomplete or bad: ``feed`` knows which
            if not head.is_simple:
                return None
        self.head = head
        if head.length == len(data) - end:
            return data[end:]
        return _sole_chunk(data, end) if head.length == CHUNKED else None

    @property
    def has_head(self) -> bool:
        return not self._is_in_head

    def feed(self, data: bytes) -> bool:
        """Take what came; ``True`` when the reply is complete. Raises ``BadReply``."""
        self.is_fresh = False
        if self._is_in_head:
            rest = self._read_head(data)
            if rest is None:
                return False
            data = rest
        if self._chunks is not None:
            end = self._chunks.feed(data, self.pieces)
            if end < 0:
                return False
            self.has_excess = end < len(data)
            return True
        if self.head.length == UNTIL_CLOSE:
            if data:
                self.pieces.append(data)
            return False
        self._remaining -= len(data)
        if self._remaining < 0:
            self.has_excess = True
            data = data[: self._remaining]
            self._remaining = 0
        if data:
            self.pieces.append(data)
        return self._remaining == 0

    def end(self, *, is_clean: bool) -> None:
        """The peer closed; a return means that this completed the reply.

        ``is_clean`` is false where TLS ended without saying so. Raises ``BadReply``.
        """
        if self._is_in_head:
            raise BadReply(FailureKind.RESET, "closed before a whole reply")
        if self.head.length != UNTIL_CLOSE or not is_clean:
            raise BadReply(FailureKind.TRUNCATED, "closed in the middle of a body")

    def _read_head(self, data: bytes) -> bytes | None:
        """The bytes behind the final head, ``None`` while it is incomplete."""
        buffer = self._buffer
        seen = max(len(buffer) - 3, 0)
        buffer += data
        while True:
            end = buffer.find(b"\r\n\r\n", seen)
            if end < 0:
                _refuse_hopeless(buffer, seen)
                return None
            end += 4
            if end > MAX_HEAD_BYTES:
                raise refused("header section too large")
            raw = bytes(buffer[:end])
            head = self._simple_head(raw) or self._memory.read(raw)
            if head.status >= 200:
                break
            if head.status == 101:
                raise refused("switched protocols unasked")
            self._seen_interim += 1
            if self._seen_interim > MAX_INTERIM_REPLIES:
                raise refused("too many interim replies")
            del buffer[:end]
            seen = 0
        self.head = head
        self._is_in_head = False
        self._remaining = head.length
        if head.length == CHUNKED:
            self._chunks = ChunkedBody()
        rest = bytes(buffer[end:])
        self._buffer = bytearray()
        return rest


_BARE_LINE_FEED: Final = re.compile(rb"(?<!\r)\n")


def _refuse_hopeless(buffer: bytearray, seen: int) -> None:
    """Raise where an incomplete head can no longer become one, instead of waiting for more."""
    if len(buffer) > MAX_HEAD_BYTES:
        raise refused("header section too large")
    if not b"HTTP/1.".startswith(buffer[:7]):
        raise refused("not HTTP/1.1")
    if _BARE_LINE_FEED.search(buffer, seen):
        raise refused("bare line feed")


_EXTENSION: Final = rb"[ \t]{0,16}+;[\t\x20-\x7e\x80-\xff]{0,%d}+" % MAX_CHUNK_LINE_BYTES
_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})(?:" + _EXTENSION + rb")?\r\n")
_SIZE_LINE_BEGUN: Final = re.compile(
    rb"[0-9A-Fa-f]{1,16}(?:[ \t]{0,16}|" + _EXTENSION + rb"\r?|\r)"
)
_PLAIN_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})\r\n")
_IN_SIZE, _IN_DATA, _IN_DATA_END, _IN_TRAILER = range(4)


def _sole_chunk(data: bytes, at: int) -> bytes | None:
    """The body of one chunk, where that and the last chunk are all there is after ``at``."""
    match = _PLAIN_SIZE_LINE.match(data, at)
    if match is None:
        return None
    begin = match.end()
    end = begin + int(match[1], 16)
    is_sole = end > begin and end + 7 == len(data) and data.endswith(b"\r\n0\r\n\r\n")
    return data[begin:end] if is_sole else None


class ChunkedBody:
    """Takes the chunks apart (RFC 9112 section 7.1). Extensions and trailers are dropped."""

    __slots__ = ("_allowed", "_carry", "_remaining", "_stage", "_trailer_bytes")

    def __init__(self) -> None:
        self._carry = b""
        self._remaining = 0
        self._stage = _IN_SIZE
        self._trailer_bytes = 0
        self._allowed = FREE_CHUNKS * LEAST_CHUNK_BYTES  # bytes that chunks may be too small by

    def feed(self, data: bytes, pieces: list[bytes]) -> int:
        """Append what is body to ``pieces``. Returns where the body ended in ``data``, −1 if
        it goes on. Raises ``BadReply``.
        """
        carried = len(self._carry)
        if carried:
            data = self._carry + data
            self._carry = b""
        at = 0
        while at < len(data):
            if self._stage == _IN_DATA:
                piece = data[at : at + self._remaining]
                pieces.append(piece)
                at += len(piece)
                self._remaining -= len(piece)
                if not self._remaining:
                    self._stage = _IN_DATA_END
                continue
            if self._stage == _IN_SIZE:
                step = self._read_size(data, at)
            elif self._stage == _IN_DATA_END:
                step = self._read_data_end(data, at)
            else:
                step, is_end = self._read_trailer(data, at)
                if is_end:
                    return at + step - carried
            if step == 0:
                self._carry = data[at:]
                break
            at += step
        return -1

    def _read_size(self, data: bytes, at: int) -> int:
        match = _SIZE_LINE.match(data, at)
        if match is None:
            if _SIZE_LINE_BEGUN.fullmatch(data, at) is None:
                raise refused("bad chunk size")
            return 0
        self._remaining = int(match[1], 16)
        spare = self._allowed + self._remaining - LEAST_CHUNK_BYTES
        self._allowed = min(spare, FREE_CHUNKS * LEAST_CHUNK_BYTES)
        if self._allowed < 0:
            raise refused("too many chunks of next to nothing")
        self._stage = _IN_DATA if self._remaining else _IN_TRAILER
        return match.end() - at

    def _read_data_end(self, data: bytes, at: int) -> int:
        if data.startswith(b"\r\n", at):
            self._stage = _IN_SIZE
            return 2
        if data[at:] != b"\r":
            raise refused("chunk longer than its size")
        return 0

    def _read_trailer(self, data: bytes, at: int) -> tuple[int, bool]:
        if data.startswith(b"\r\n", at):
            return 2, True
        end = data.find(b"\n", at) + 1
        line_bytes = (end or len(data)) - at
        if self._trailer_bytes + line_bytes > MAX_TRAILER_BYTES:
            raise refused("trailer too large")
        if not end:
            return 0, False
        if FIELD_LINE.fullmatch(data, at, end) is None:
            raise refused("malformed trailer")
        self._trailer_bytes += line_bytes
        return line_bytes, False
