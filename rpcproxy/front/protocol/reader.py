"""Requests out of bytes: the slow way, for whatever does not come as one remembered head
with its body.

Pure: ``receive`` takes what the network brought, ``next`` gives the requests in it, one by
one; both raise ``RequestRefused``, after which nothing more can be read.
"""

from __future__ import annotations

import enum
from typing import Final

from rpcproxy.config.model import Limits
from rpcproxy.front.protocol.body import BadChunks, BodyTooLarge, Chunks, Pieces
from rpcproxy.front.protocol.request_heads import (
    CHUNKED,
    RequestHead,
    RequestHeadMemory,
    RequestRefused,
    parse_head,
    refuse_early,
)

_BLANK: Final = b"\r\n\r\n"
# Those that are no POST are answered by ``web``, some with a refusal.
_KNOWN: Final = frozenset(("POST", "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"))


class ReadingStage(enum.Enum):
    EMPTY = "empty"  # nothing of a request is here
    HEAD = "head"  # part of a head
    BODY = "body"  # a head, and not all of its body
    READY = "ready"  # bytes that nobody has asked ``next`` about


class RequestReader:
    """Reads the requests of one connection. Written by that connection alone.

    ``wants_continue`` is set when the client waits for ``100 Continue``; the caller sends it
    and clears it. ``stage`` says what is being waited for. ``limits`` may be changed at any time.
    """

    __slots__ = (
        "_body",
        "_buffer",
        "_head",
        "_memory",
        "_scanned",
        "limits",
        "stage",
        "wants_continue",
    )

    def __init__(self, limits: Limits, memory: RequestHeadMemory) -> None:
        self.limits = limits
        self._memory = memory
        self._buffer = bytearray()
        self._scanned = 0  # bytes of the buffer in which no end of a head was found
        self._head: RequestHead | None = None  # of the body being read
        self._body: Pieces | Chunks | None = None
        self.wants_continue = False
        self.stage = ReadingStage.EMPTY

    @property
    def waiting_bytes(self) -> int:
        """What is buffered behind the request being served."""
        return len(self._buffer)

    @property
    def body_bytes(self) -> int:
        """What has come of the body being read."""
        return self._body.received if self._body is not None else 0

    def receive(self, data: bytes) -> None:
        if self._body is not None and not self._buffer:
            used = self._feed(data)  # large bodies do not pass through the buffer
            if used == len(data):
                return
            data = data[used:]
        self._buffer += data
        if self._body is None:
            self.stage = ReadingStage.READY

    def next(self) -> tuple[RequestHead, bytes] | None:
        """The next whole request, ``None`` where it is not all here."""
        if self._body is None and not self._take_head():
            return None
        head, body = self._head, self._body
        if head is None or body is None:
            return None
        if self._buffer and not body.is_whole:
            used = self._feed(self._buffer)
            del self._buffer[:used]
        if not body.is_whole:
            self.stage = ReadingStage.BODY
            return None
        self._head = self._body = None
        self.wants_continue = False
        self.stage = ReadingStage.READY if self._buffer else ReadingStage.EMPTY
        return head, body.join()

    def _take_head(self) -> bool:
        buffer = self._buffer
        while buffer[:2] == b"\r\n":  # allowed between requests: RFC 9112, section 2.2
            del buffer[:2]
        if not buffer:
            self.stage = ReadingStage.EMPTY
            return False
        end = buffer.find(_BLANK, max(0, self._scanned - 3)) + 4
        if (end if end > 3 else len(buffer)) > self.limits.header_bytes:
            raise RequestRefused(431, f"the request head is over {self.limits.header_bytes} bytes")
        if end < 4:
            if buffer != b"\r":
                refuse_early(buffer, self._scanned)
            self._scanned = len(buffer)
            self.stage = ReadingStage.HEAD
            return False
        text = bytes(buffer[:end])
        head = self._memory.get(text) or parse_head(text)
        if head.method not in _KNOWN:
            raise RequestRefused(501, "this method is not known here")
        del buffer[:end]
        self._scanned = 0
        self._begin_body(head, text)
        return True

    def _begin_body(self, head: RequestHead, text: bytes) -> None:
        limit = self.limits.body_bytes
        length = head.content_length
        if length > limit:
            raise RequestRefused(413, _over(limit))
        if head.method == "POST":  # what is remembered goes straight to a door
            self._memory.remember(text, head)
        self._head = head
        self._body = Chunks(limit) if length == CHUNKED else Pieces(length)
        self.wants_continue = head.has_expect and not self._buffer and length != 0

    def _feed(self, data: bytes | bytearray) -> int:
        assert self._body is not None  # noqa: S101  the callers have looked
        try:
            return self._body.add(data)
        except BodyTooLarge:
            raise RequestRefused(413, _over(self.limits.body_bytes)) from None
        except BadChunks as bad:
            raise RequestRefused(400, str(bad)) from None


def _over(limit: int) -> str:
    return f"the request body is over the limit of {limit} bytes"
