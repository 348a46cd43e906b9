"""The body of one reply: held until it is whole, or, past a size, handed on in pieces.

``HeldBody`` undoes the content coding and holds what came out. What grows past
``hold_bytes`` becomes a ``Rest``, whose reader decides how fast the upstream may go on.

State: both belong to the one connection that is reading the reply.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from typing import Final, Protocol

from rpcproxy.edges.http.reply_head import BadReply
from rpcproxy.messages import FailureKind, StreamBroken

# A body above ``max_decompressed`` is a bomb only at a ratio that JSON does not reach.
BOMB_RATIO: Final = 100
QUEUE_FULL_BYTES: Final = 192 * 1024
QUEUE_LOW_BYTES: Final = 64 * 1024
PIECE_BYTES: Final = 64 * 1024
# Of a body that streams, so much at least comes at once: enough to tell what it is.
BEGINNING_BYTES: Final = 16 * 1024
# Bodies up to this size are not counted: nearly all.
COUNTED_BYTES: Final = 64 * 1024

_GZIP: Final = 31
_ZLIB: Final = 15
_RAW_DEFLATE: Final = -15


class HeldBytes(Protocol):
    """What is held, counted; ``rules.answers.holding.Hold``."""

    def set(self, count: int) -> bool:
        """From now on it is ``count`` bytes; ``False`` where there is no room for more."""

    def end(self) -> None:
        """Nothing is held any more; idempotent."""


class Uncounted:
    """A hold of any size."""

    def set(self, count: int) -> bool:  # noqa: ARG002  the port's signature
        return True

    def end(self) -> None:
        """Nothing to give back."""


class Inflater:
    """Undoes gzip or deflate, giving out no more than it is asked for at a time."""

    __slots__ = ("_coding", "_decoder", "_given", "_input", "_is_cut_short", "_max", "_taken")

    def __init__(self, coding: str, max_decompressed: int) -> None:
        self._coding = coding
        self._decoder = zlib.decompressobj(_GZIP) if coding == "gzip" else None
        self._input = b""
        self._given = 0
        self._taken = 0
        self._max = max_decompressed
        self._is_cut_short = False

    def give(self, data: bytes) -> None:
        self._given += len(data)
        self._input = self._input + data if self._input else data

    @property
    def has_more(self) -> bool:
        """There may be output without further input."""
        return self._is_cut_short or bool(self._input and self._has_coding)

    @property
    def is_whole(self) -> bool:
        """Every member begun has come to its end; so has a body of no bytes at all."""
        if self._given == 0:
            return True
        return self._decoder is not None and self._decoder.eof and not self._input

    @property
    def _has_coding(self) -> bool:
        return self._decoder is not None or len(self._input) >= 2

    def take(self, limit: int) -> bytes:
        """At most ``limit`` bytes of output. Raises ``BadReply``."""
        pieces: list[bytes] = []
        room = limit
        while room > 0 and self.has_more:
            piece = self._step(room)
            room -= len(piece)
            pieces.append(piece)
        self._taken += limit - room
        if self._taken > self._max and self._taken > BOMB_RATIO * self._given:
            raise BadReply(FailureKind.TOO_LARGE, "decompressed body too large")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _step(self, room: int) -> bytes:
        decoder = self._decoder
        if decoder is None or (decoder.eof and self._input):
            decoder = self._decoder = self._new_decoder(is_first=decoder is None)
        try:
            piece = decoder.decompress(self._input, room)
        except zlib.error:
            raise BadReply(FailureKind.PROTOCOL, "corrupt compressed body") from None
        # With the output full, zlib may keep output back after the last input byte.
        self._is_cut_short = len(piece) == room and not decoder.eof
        self._input = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
        return piece

    def _new_decoder(self, *, is_first: bool) -> zlib._Decompress:
        if self._coding == "gzip":  # members may follow one another (RFC 1952 section 2.2)
            return zlib.decompressobj(_GZIP)
        if not is_first:
            raise BadReply(FailureKind.PROTOCOL, "bytes after a compressed body")
        # "deflate" means zlib's format (RFC 9110 section 8.4.1.2); some send it without.
        first, second = self._input[0], self._input[1]
        is_zlib = first & 0x0F == 8 and (first << 8 | second) % 31 == 0
        return zlib.decompressobj(_ZLIB if is_zlib else _RAW_DEFLATE)


class HeldBody:
    """What came of a body so far, decoded. ``is_over``: more than may be held, of this body or, as
    ``hold`` says, of all.
    """

    __slots__ = (
        "_backlog",
        "_has_no_room",
        "_hold",
        "_hold_bytes",
        "_inflater",
        "_pieces",
        "_size",
    )

    def __init__(
        self, coding: str, hold_bytes: int, max_decompressed: int, hold: HeldBytes | None = None
    ) -> None:
        self._hold: HeldBytes = hold or Uncounted()
        self._has_no_room = False
        self._inflater = Inflater(coding, max_decompressed) if coding else None
        self._hold_bytes = hold_bytes
        self._pieces: list[bytes] = []
        self._size = 0
        self._backlog: list[bytes] = []

    def add(self, pieces: list[bytes]) -> None:
        """Take pieces as they came from the wire. Raises ``BadReply``."""
        inflater = self._inflater
        if inflater is None:
            self._pieces += pieces
            self._size += sum(map(len, pieces))
        else:
            self._inflate(inflater, pieces)
        if self._size > COUNTED_BYTES and not self._hold.set(self._size):
            self._has_no_room = True

    def _inflate(self, inflater: Inflater, pieces: list[bytes]) -> None:
        for piece in pieces:
            if self.is_over:
                self._backlog.append(piece)
                continue
            inflater.give(piece)
            decoded = inflater.take(self._hold_bytes + 1 - self._size)
            self._pieces.append(decoded)
            self._size += len(decoded)

    @property
    def is_over(self) -> bool:
        return self._size > self._hold_bytes or self._has_no_room

    def join(self) -> bytes:
        """What is held, given away."""
        self._hold.end()
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def check_whole(self) -> None:
        """Raise ``BadReply`` where the coding says that something is missing."""
        if self._inflater is not None and not self._inflater.is_whole:
            raise BadReply(FailureKind.TRUNCATED, "compressed body cut short")

    def split(self, loop: asyncio.AbstractEventLoop, owner: RestOwner) -> tuple[bytes, Rest]:
        """The beginning, and all that follows as a stream. The held pieces are given away as
        they are: joining 8 MiB would hold them twice.
        """
        held, self._pieces = deque(self._pieces), []
        beginning = [held.popleft()]
        size = len(beginning[0])
        while held and size < BEGINNING_BYTES:
            size += len(held[0])
            beginning.append(held.popleft())
        if not held:
            self._hold.end()
        rest = Rest(loop, owner, self._inflater, held, self._backlog, self._hold)
        return b"".join(beginning), rest


class RestOwner(Protocol):
    """What a ``Rest`` asks of the connection that fills it."""

    def resume(self) -> None:
        """Go on reading from the socket; idempotent."""

    def drop(self) -> None:
        """Close the connection: nobody wants the rest of its reply."""


class Rest:
    """The rest of a large body (``messages.BodyStream``); one reader at a time.

    The queue holds pieces as they came from the wire; they are decoded when read, so that
    memory stays within ``QUEUE_FULL_BYTES`` and a piece whatever the compression.
    """

    __slots__ = (
        "_broken",
        "_held",
        "_hold",
        "_inflater",
        "_is_closed",
        "_is_ended",
        "_loop",
        "_owner",
        "_queue",
        "_queued",
        "_waiter",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        owner: RestOwner,
        inflater: Inflater | None,
        held: deque[bytes],
        backlog: list[bytes],
        hold: HeldBytes | None = None,
    ) -> None:
        self._held = held  # decoded already
        self._hold: HeldBytes = hold or Uncounted()
        self._loop = loop
        self._owner: RestOwner | None = owner
        self._inflater = inflater
        self._queue = deque(backlog)
        self._queued = sum(map(len, backlog))
        self._waiter: asyncio.Future[None] | None = None
        self._is_ended = False
        self._is_closed = False
        self._broken = ""

    async def read(self) -> bytes:
        while True:
            if self._is_closed:
                raise StreamBroken("the stream was closed")
            if piece := self._next_piece():
                return piece
            if self._broken:
                raise StreamBroken(self._broken)
            if self._is_ended:
                return b""
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._held.clear()
        self._hold.end()
        self._queue.clear()
        self._wake()
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.drop()

    def _next_piece(self) -> bytes:
        if self._held:
            piece = self._held.popleft()
            if not self._held:
                self._hold.end()
            return piece
        inflater = self._inflater
        if inflater is None:
            return self._pop() if self._queue else b""
        try:
            while True:
                if piece := inflater.take(PIECE_BYTES):
                    return piece
                if not self._queue:
                    break
                inflater.give(self._pop())
        except BadReply as error:
            self._fail(error.failure.detail)
            return b""
        if self._is_ended and not self._broken and not inflater.is_whole:
            self._broken = "compressed body cut short"
        return b""

    def _pop(self) -> bytes:
        piece = self._queue.popleft()
        was_full = self._queued >= QUEUE_LOW_BYTES
        self._queued -= len(piece)
        if was_full and self._queued < QUEUE_LOW_BYTES and self._owner is not None:
            self._owner.resume()
        return piece

    def _fail(self, detail: str) -> None:
        self._broken = detail
        self._queue.clear()
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.drop()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # Called by the connection.

    def push(self, pieces: list[bytes]) -> bool:
        """Take pieces from the wire; ``True`` when the socket should rest."""
        self._queue.extend(pieces)
        self._queued += sum(map(len, pieces))
        self._wake()
        return self._queued >= QUEUE_FULL_BYTES

    def finish(self) -> None:
        """The reply is complete; the connection is no longer ours to drop."""
        self._owner = None
        self._is_ended = True
        self._wake()

    def break_off(self, detail: str) -> None:
        """The upstream broke; what came before is still read."""
        self._owner = None
        self._broken = detail
        self._wake()
