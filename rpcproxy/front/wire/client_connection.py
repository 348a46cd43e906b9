"""The life of a client's connection: coming, going, time and back-pressure.

What is said on it is ``http``'s. State: a connection owns itself; ``shared`` is the
listener's (see there).
"""

from __future__ import annotations

import asyncio
import enum
from typing import Final, cast

from rpcproxy.front.protocol import responses
from rpcproxy.front.wire.shared import Shared
from rpcproxy.front.wire.sites import site_of
from rpcproxy.messages import Answer
from rpcproxy.rules.answers.holding import COUNTED_BYTES, Hold, Purse

# What the system does not take at once and is more than this is counted.
_WRITE_BUFFER_BYTES: Final = COUNTED_BYTES
# A client that takes less than this of what waits for it within ``stall_seconds`` takes nothing.
_LEAST_TAKEN_BYTES: Final = 64 * 1024


class Phase(enum.Enum):
    IDLE = enum.auto()  # nothing buffered, nothing in flight: the fast way is open
    READING = enum.auto()  # on the slow way
    BUSY = enum.auto()  # a task works on an answer
    CLOSING = enum.auto()  # goodbye was said; what still comes is discarded
    TURNED_AWAY = enum.auto()  # over the limit of connections; will be told when it asks
    GONE = enum.auto()  # closed


class ClientConnection(asyncio.Protocol):
    """See the module. ``since`` is when it began what it is doing, by ``shared.now``."""

    __slots__ = (
        "_discarded",
        "_drained",
        "_is_delivering",
        "_is_eof",
        "_is_reading_paused",
        "_is_writing_paused",
        "_loop",
        "_pending_bytes",
        "_phase",
        "_purse",
        "_shared",
        "_stalled_since",
        "_taken_bytes",
        "_transport",
        "_unread",
        "_unsent",
        "_written_bytes",
        "since",
    )

    _transport: asyncio.Transport

    def __init__(self, shared: Shared, loop: asyncio.AbstractEventLoop) -> None:
        self._shared = shared
        self._loop = loop
        self._phase = Phase.IDLE
        self._drained: asyncio.Future[None] | None = None
        self._is_delivering = False  # part of an answer has left, more is to come
        self._is_eof = False  # the client has ended its sending side
        self._is_reading_paused = False
        self._is_writing_paused = False
        self._discarded = 0
        self._pending_bytes = 0  # of the write buffer, at the last check
        self._written_bytes = 0  # since then
        self._taken_bytes = 0  # by the client, since ``_stalled_since``
        self._stalled_since = 0.0
        # What it holds; most connections never hold anything that is counted.
        self._purse: Purse | None = None
        self._unread: Hold | None = None  # bodies, and what waits behind them
        self._unsent: Hold | None = None  # answers
        self.since = shared.now

    # ------------------------------------------------------------------ for ``http`` to fill in

    def _advance(self) -> None:
        """Go on serving what has arrived."""
        raise NotImplementedError

    def _check_reading(self, waited_seconds: float) -> None:
        """Refuse a request that is arriving too slowly."""
        raise NotImplementedError

    def _check_busy(self, waited_seconds: float) -> None:
        """Give up a request whose client has gone."""
        raise NotImplementedError

    def forget(self) -> None:
        """Read the next request head anew: limits have changed."""
        raise NotImplementedError

    def _on_gone(self) -> None:
        """The connection is closed: let go of everything."""
        raise NotImplementedError

    # ------------------------------------------------------------------ coming and going

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        shared = self._shared
        if shared.open_connections < shared.settings.limits.connections:
            shared.counters.accepted_connections += 1
            shared.connections.add(self)
            return
        # It is told when it asks: an answer before the question is an error to some clients.
        shared.counters.refused_connections += 1
        shared.turned_away += 1
        self._phase = Phase.TURNED_AWAY
        if shared.settings.tls is not None or shared.turned_away > shared.settings.most_turned_away:
            self._transport.abort()
        else:
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  the reason is the network's
        shared = self._shared
        if self not in shared.connections and self._phase is not Phase.GONE:
            shared.turned_away -= 1
        self._phase = Phase.GONE
        self._on_gone()
        for hold in (self._unread, self._unsent):
            if hold is not None:
                hold.end()
        if self._purse is not None:
            self._purse.close()
        shared.leave(self)

    def _watch(self) -> None:
        """From now on the sweep looks at this connection every time."""
        self.since = self._shared.now
        self._shared.watched.add(self)

    def refuse(self, status: int, reason: str) -> None:
        """Answer in words what is wrong with the HTTP itself, and close."""
        self.refuse_with(responses.refusal(status, reason))

    def refuse_with(self, answer: Answer) -> None:
        """Answer, without having read all that the client may be sending, and close."""
        statuses = self._shared.counters.answers_by_status
        statuses[answer.status] = statuses.get(answer.status, 0) + 1
        trace_id = self._shared.new_trace_id()
        self._shared.on_refusal(trace_id, answer)
        text = responses.head(answer, trace_id, len(answer.body), connection=b"close")
        self.write(text + answer.body)
        self._say_goodbye()

    def _refuse_slow(self, reason: str) -> None:
        self._shared.counters.timed_out += 1
        self.refuse(408, reason)

    def _say_goodbye(self) -> None:
        """Close so that the client gets to read what was written.

        A socket closed with unread data in it is reset, and the reset may overtake the
        answer (RFC 9112, section 9.6): so only our side is ended, and the rest discarded.
        """
        self._phase = Phase.CLOSING
        self._watch()
        self._shared.outbox.flush()
        if self._is_eof or not self._transport.can_write_eof():
            self._transport.close()
            return
        self._transport.write_eof()
        self._resume_reading()

    def _discard(self, data: bytes) -> None:
        self._discarded += len(data)
        if self._discarded > self._shared.settings.most_discarded_bytes:
            self._transport.abort()

    # ------------------------------------------------------------------ what is held

    @property
    def purse(self) -> Purse:
        if self._purse is None:
            peer = self._transport.get_extra_info("peername") or ("",)
            self._purse = self._shared.holdings.purse(site_of(str(peer[0])))
        return self._purse

    def _may_hold_unread(self, count: int) -> bool:
        """Count what has come of requests: ``count`` bytes from now on."""
        if self._unread is None:
            self._unread = self.purse.hold()
        return self._unread.set(count)

    def _may_hold_unsent(self, count: int) -> bool:
        """Count what is to be written: ``count`` bytes from now on."""
        if self._unsent is None:
            self._unsent = self.purse.hold()
        return self._unsent.set(count)

    def _settle_unsent(self) -> None:
        """An answer was written: what the client has not taken of it remains."""
        if self._unsent is not None and not self._is_writing_paused:
            self._unsent.end()

    # ------------------------------------------------------------------ back-pressure

    def _pause_reading(self) -> None:
        if not self._is_reading_paused:
            self._is_reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._is_reading_paused:
            self._is_reading_paused = False
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        self._is_writing_paused = True
        if self._phase is Phase.IDLE:
            self._phase = Phase.READING
        self._stalled_since = self._shared.now
        self._taken_bytes = 0
        self._shared.watched.add(self)
        if self._is_delivering:
            return  # what is poured was counted before
        waiting = self._transport.get_write_buffer_size()
        held = 0 if self._unsent is None else self._unsent.bytes
        if waiting > held and not self._may_hold_unsent(waiting):
            # Of many short answers; part of them has left, so that no words can follow.
            self._shared.counters.crowded_out += 1
            self._transport.abort()

    def resume_writing(self) -> None:
        self._is_writing_paused = False
        if not self._is_delivering:
            self._settle_unsent()
        if self._drained is not None:
            if not self._drained.done():
                self._drained.set_result(None)
            self._drained = None
        if self._phase is Phase.READING:
            self._advance()

    def write(self, data: bytes) -> None:
        """Write after what waits in the outbox."""
        self._shared.outbox.flush()
        self._written_bytes += len(data)
        self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the client has taken enough of what was written."""
        if self._is_writing_paused:
            self._drained = self._loop.create_future()
            await self._drained

    # ------------------------------------------------------------------ time

    def check(self, now: float) -> None:
        """Close it, in words where there is someone to tell, if it is out of time."""
        settings = self._shared.settings
        waited = now - self.since
        pending = self._transport.get_write_buffer_size()
        if pending:
            self._check_stall(now, pending)
            return
        self._pending_bytes = self._written_bytes = 0
        if self._phase is Phase.IDLE:
            if waited > settings.limits.idle_seconds:
                self._transport.close()
        elif self._phase is Phase.READING:
            self._check_reading(waited)
        elif self._phase is Phase.BUSY:
            self._check_busy(waited)
        elif waited > settings.linger_seconds:
            self._transport.abort()

    def excuse(self, seconds: float) -> None:
        """So long the proxy itself did nothing: that is no time of the client's."""
        self.since += seconds
        self._stalled_since += seconds

    def _check_stall(self, now: float, pending: int) -> None:
        """Cut off a client that takes nothing, or next to nothing, of what waits for it."""
        if not self._pending_bytes:
            self._pending_bytes, self._written_bytes, self._taken_bytes = pending, 0, 0
            self._stalled_since = self.since = now
            return
        taken = max(0, self._pending_bytes + self._written_bytes - pending)
        self._taken_bytes += taken
        self._pending_bytes, self._written_bytes = pending, 0
        if taken:
            self.since = now
        if self._taken_bytes >= _LEAST_TAKEN_BYTES:
            self._taken_bytes = 0
            self._stalled_since = now
        elif now - self._stalled_since > self._shared.settings.stall_seconds:
            self._shared.counters.stalled_clients += 1
            self._transport.abort()

    @property
    def is_answering(self) -> bool:
        """Whether a request of it is being answered, or it is over: no other is read meanwhile."""
        return self._phase not in (Phase.IDLE, Phase.READING)

    def retire(self) -> None:
        """Close it if nothing is in flight on it."""
        if self._phase is Phase.IDLE:
            self._shared.outbox.flush()
            self._transport.close()

    def abort(self) -> None:
        """Close it now."""
        self._transport.abort()
