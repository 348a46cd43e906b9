"""How much of what an upstream pushes becomes work of ours.

``Paced`` gives those messages of a feed that are looked at: the newest, a few for each block.
``Meter`` and ``metered`` keep the bytes behind them to a pace too, before anything takes
frames apart: what is beyond it stays with the sender (TCP's back-pressure). Whoever goes on beyond
reason is left, and polled.

State: what one connection may still do, in its ``Pace`` and its ``Meter``, and the newest of its
messages that were not looked at.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Final, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler

# Chains have blocks of 0.1 s and more; where the block time is learned wrong, these still pass.
LEAST_PER_SECOND: Final = 20.0
PER_BLOCK: Final = 4
SHORTEST_BLOCK_SECONDS: Final = 0.05  # whatever was learned, from whomever
# What has gathered while the network, or we, stood still.
BURST: Final = 64
# So many that were not looked at, less what a second forgives: nobody's chain does that.
MOST_SURPLUS: Final = 256
FORGIVEN_PER_SECOND: Final = 5.0

# Headers take 1 to 20 kB. A frame may be two bytes, and each costs a microsecond or two.
BYTES_PER_SECOND: Final = 256 * 1024
BURST_BYTES: Final = 1536 * 1024  # the longest message that is taken, and half of another
SLICE_BYTES: Final = 4 * 1024
QUEUE_FULL_SECONDS: Final = 0.02  # aiohttp has more messages than were taken from it
FLOOD_SECONDS: Final = 10.0  # of bytes held back without a break

_TEXTS: Final = frozenset((aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY))
_ENDS: Final = frozenset(
    (
        *(aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED),
        aiohttp.WSMsgType.ERROR,
    )
)


class Pace:
    """Which messages of one connection are looked at. Times are monotonic seconds."""

    def __init__(self, block_time_seconds: float, now: float) -> None:
        block_time_seconds = max(block_time_seconds, SHORTEST_BLOCK_SECONDS)
        self.per_second = max(LEAST_PER_SECOND, PER_BLOCK / block_time_seconds)
        self._tokens = float(BURST)
        self._surplus = 0.0
        self._at = now

    def admits(self, now: float) -> bool:
        """Whether one more may be looked at now; what may not is surplus."""
        self._refill(now)
        if self._tokens < 1.0:
            self._surplus += 1.0
            return False
        self._tokens -= 1.0
        return True

    def seconds_to_next(self, now: float) -> float:
        """For how long none may be."""
        self._refill(now)
        return max(0.0, (1.0 - self._tokens) / self.per_second)

    @property
    def is_beyond_reason(self) -> bool:
        return self._surplus > MOST_SURPLUS

    def _refill(self, now: float) -> None:
        elapsed = max(0.0, now - self._at)
        self._at = max(now, self._at)
        self._tokens = min(float(BURST), self._tokens + elapsed * self.per_second)
        self._surplus = max(0.0, self._surplus - elapsed * FORGIVEN_PER_SECOND)


class Paced:
    """The messages of one connection, at a pace."""

    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        block_time_seconds: float,
        now: Callable[[], float],
    ) -> None:
        self._socket = socket
        self._now = now
        self._pace = Pace(block_time_seconds, now())
        self._newest: aiohttp.WSMessage | None = None  # of those that were passed over

    @property
    def is_beyond_reason(self) -> bool:
        return self._pace.is_beyond_reason

    async def receive(self, seconds: float) -> aiohttp.WSMessage | None:
        """The next that is to be looked at, ``None`` where none is within ``seconds``, or where
        one was passed over.
        """
        pace = self._pace
        if self._newest is not None:
            seconds = min(seconds, max(pace.seconds_to_next(self._now()), 0.001))
        try:
            message = await self._socket.receive(timeout=seconds)
        except TimeoutError:
            if self._newest is None or pace.seconds_to_next(self._now()) > 0.0:
                return None
            message = self._newest
        if message.type not in _ENDS and not pace.admits(self._now()):
            if message.type in _TEXTS:
                self._newest = message
            return None
        self._newest = None
        return message


class Meter:
    """The bytes that one connection may still bring. ``is_flooded``: it was left for them, held
    back for more than ``longest_hold_seconds``.
    """

    def __init__(
        self, burst_bytes: int = BURST_BYTES, longest_hold_seconds: float = FLOOD_SECONDS
    ) -> None:
        self.is_flooded = False
        self.longest_hold_seconds = longest_hold_seconds
        self._burst_bytes = burst_bytes
        self._allowed = float(burst_bytes)
        self._at = 0.0

    def take(self, size: int, now: float) -> float:
        """Take ``size`` bytes in; returns for how many seconds no more may be."""
        self._allowed = min(self._burst_bytes, self._allowed + (now - self._at) * BYTES_PER_SECOND)
        self._at = now
        self._allowed -= size
        return max(0.0, -self._allowed / BYTES_PER_SECOND)


class _Handler(ResponseHandler):
    """aiohttp's protocol, with a gate between it and its transport."""

    def __init__(self, loop: asyncio.AbstractEventLoop, meter: Meter) -> None:
        super().__init__(loop=loop)
        self._meter = meter

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        wire = cast("asyncio.Transport", transport)
        wire.set_protocol(_Gate(self._loop, wire, self, self._meter))

    @property
    def is_full(self) -> bool:
        """Aiohttp holds more than was taken from it, and wants no more now."""
        return self._reading_paused


class _Gate(asyncio.Protocol):
    """Gives on what comes in slices, at the meter's pace; nothing is read while any is left."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: asyncio.Transport,
        handler: _Handler,
        meter: Meter,
    ) -> None:
        self._loop = loop
        self._transport = transport
        self._handler = handler
        self._meter = meter
        self._untaken = b""
        self._untaken_since: float | None = None
        self._next_slice: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        self._untaken += data
        if self._next_slice is None:
            self._take_slice()
        else:
            self._transport.pause_reading()  # aiohttp resumed it meanwhile

    def eof_received(self) -> None:
        self._handler.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._next_slice is not None:
            self._next_slice.cancel()
        self._handler.connection_lost(exc)

    def pause_writing(self) -> None:
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._handler.resume_writing()

    def _take_slice(self) -> None:
        self._next_slice = None
        now = self._loop.time()
        pause = QUEUE_FULL_SECONDS
        if not self._handler.is_full:
            piece, self._untaken = self._untaken[:SLICE_BYTES], self._untaken[SLICE_BYTES:]
            pause = self._meter.take(len(piece), now)
            self._handler.data_received(piece)
        if self._transport.is_closing():
            return
        if not self._untaken and not pause:
            self._untaken_since = None
            if not self._handler.is_full:
                self._transport.resume_reading()
            return
        if self._untaken_since is None:
            self._untaken_since = now
        elif now - self._untaken_since > self._meter.longest_hold_seconds:
            self._meter.is_flooded = True
            self._transport.abort()
            return
        self._transport.pause_reading()
        self._next_slice = self._loop.call_later(pause, self._take_slice)


def metered(connector: aiohttp.TCPConnector, meter: Meter) -> aiohttp.TCPConnector:
    """The same connector, whose connections are read at the meter's pace."""
    # aiohttp has no public place for a protocol of one's own.
    factory = functools.partial(_Handler, asyncio.get_running_loop(), meter)
    connector._factory = factory  # type: ignore[assignment]  # noqa: SLF001
    return connector
