"""HTTP/1.1 by hand, so that a simulated provider can break it at any byte.

A ``ServerConnection`` cuts what arrives into requests and hands them, one at a time, to its
``Host``; the host answers with ``ServerConnection.send``, later, and says what becomes of the
connection afterwards. Strict parsing is not its business: its clients are ours.

State: one connection's buffers and flags, in ``ServerConnection``.
"""

from __future__ import annotations

import asyncio
import enum
import re
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

import msgspec

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_KEY = re.compile(rb"\r\nsec-websocket-key:[ \t]*(\S+)", re.IGNORECASE)
_EXPECT = re.compile(rb"\r\nexpect:[ \t]*100-continue", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:[^\r]*close", re.IGNORECASE)
# l_onoff = 1, l_linger = 0: closing sends RST.
LINGER_ZERO = struct.pack("ii", 1, 0)
_REASONS = {
    200: b"OK",
    401: b"Unauthorized",
    404: b"Not Found",
    405: b"Method Not Allowed",
    429: b"Too Many Requests",
    500: b"Internal Server Error",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
}


class After(enum.Enum):
    """What becomes of a connection when an answer has gone out."""

    KEEP = "keep"
    CLOSE = "close"
    RESET = "reset"
    STALL = "stall"  # stays open; nothing is read or answered any more


class Incoming(msgspec.Struct):
    """One HTTP request."""

    verb: bytes
    target: bytes
    body: bytes
    is_last: bool  # the client asked to close afterwards
    key: bytes = b""  # of an upgrade to WebSocket
    head: bytes = b""  # request line and headers, as they came


class Host(Protocol):
    """What a connection tells its owner."""

    def on_open(self, connection: ServerConnection) -> None: ...

    def on_request(self, connection: ServerConnection, incoming: Incoming) -> None: ...

    def on_idle(self, connection: ServerConnection) -> None: ...

    def on_closed(self, connection: ServerConnection) -> None: ...


class ServerConnection(asyncio.Protocol):
    """One client's connection. ``is_marked`` belongs to the host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._pieces: deque[bytes] = deque()
        self._after: After | None = None
        self._seconds_per_byte = 0.0
        self._is_busy = False
        self._is_full = False
        self._is_frozen = False
        self._is_invited = False
        self._timer: asyncio.TimerHandle | None = None
        self.is_marked = False

    @property
    def is_idle(self) -> bool:
        return not self._is_busy and not self._received

    # --- what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, since uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._host.on_open(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        self._pieces.clear()
        if self._timer is not None:
            self._timer.cancel()
        self._host.on_closed(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._is_busy:
            self._take_request()

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        self._pump()

    # --- what the host calls

    def send(self, pieces: list[bytes], after: After, seconds_per_byte: float = 0.0) -> None:
        """Answer the request that ``on_request`` brought; ``pieces`` are HTTP bytes."""
        if seconds_per_byte:
            pieces = [bytes([byte]) for byte in b"".join(pieces)]
        self._pieces.extend(pieces)
        self._after = after
        self._seconds_per_byte = seconds_per_byte
        self._pump()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """Close with RST."""
        # A transport that is closing has given its socket up.
        if self._transport is not None and not self._transport.is_closing():
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
            self._transport.abort()

    def close_when_idle_for(self, seconds: float) -> None:
        """Close unannounced unless a request comes within ``seconds``."""
        self._call_later(seconds, lambda: self.close() if self.is_idle else None)

    def freeze(self) -> None:
        self._is_frozen = True
        if self._transport is not None:
            self._transport.pause_reading()

    def thaw(self) -> None:
        self._is_frozen = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
            self._pump()

    def hand_over(self, take_over: Callable[[asyncio.Transport, bytes], None]) -> None:
        """Somebody else speaks on the transport from now on."""
        transport, self._transport = self._transport, None
        if transport is not None:
            self._host.on_closed(self)
            take_over(transport, bytes(self._received))

    # ---

    def _call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, callback)

    def _take_request(self) -> None:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._received[:end])
        found = _CONTENT_LENGTH.search(head)
        length = int(found[1]) if found else 0
        whole = end + 4 + length
        if len(self._received) < whole:
            if _EXPECT.search(head) and not self._is_invited and self._transport is not None:
                self._is_invited = True
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return
        body = bytes(self._received[end + 4 : whole])
        del self._received[:whole]
        self._is_invited = False
        self._is_busy = True
        verb, target, *_ = (*head.split(b"\r\n", 1)[0].split(b" "), b"", b"")
        upgrade = _KEY.search(head)
        key = upgrade[1] if upgrade else b""
        is_last = bool(_CLOSE.search(head))
        self._host.on_request(self, Incoming(verb, target, body, is_last, key, head))

    def _pump(self) -> None:
        """Write what the transport takes; large answers wait here, in shared pieces."""
        transport = self._transport
        while self._pieces and transport and not (self._is_full or self._is_frozen):
            transport.write(self._pieces.popleft())
            if self._seconds_per_byte and self._pieces:
                self._call_later(self._seconds_per_byte, self._pump)
                return
        if not self._pieces and self._after is not None and not self._is_frozen:
            after, self._after = self._after, None
            self._finish(after)

    def _finish(self, after: After) -> None:
        if after is After.CLOSE:
            self.close()
        elif after is After.RESET:
            # uvloop writes at the end of its turn: what was sent has to leave first.
            self._call_later(0.002, self.reset)
        elif after is After.KEEP:
            self._is_busy = False
            if self._received:
                self._take_request()
            if self.is_idle:
                self._host.on_idle(self)


def head(status: int, *lines: str) -> bytes:
    """The head of an HTTP reply; ``lines`` are headers."""
    reason = _REASONS.get(status, b"Status")
    text = b"".join(line.encode() + b"\r\n" for line in lines)
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason, text)


def in_chunks(pieces: list[bytes]) -> list[bytes]:
    """The pieces of a body as chunks, the small ones cut in two."""
    parts: list[bytes] = []
    for piece in pieces:
        half = len(piece) // 2 if len(piece) < 4096 else 0
        parts += [part for part in (piece[:half], piece[half:]) if part]
    return [*(b"%x\r\n%b\r\n" % (len(part), part) for part in parts), b"0\r\n\r\n"]


def cut(pieces: list[bytes], size: int) -> list[bytes]:
    """The first ``size`` bytes of the pieces."""
    kept: list[bytes] = []
    for piece in pieces:
        if size <= 0:
            break
        kept.append(piece[:size])
        size -= len(piece)
    return kept
