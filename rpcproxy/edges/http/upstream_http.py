"""Connections to one upstream: the pool behind ``HttpUpstream.send``.

Idle connections are kept as a stack, so that under light load the same few stay warm and the
rest grow old and are closed. A connection carries one attempt at a time; when none is idle a
new one is opened, and the attempt takes whichever is free first, the new one or one that
returns. Callbacks throughout: neither a task nor a future per attempt.

State: the sets of connections, all written by ``HttpUpstream`` alone, on its loop.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections import deque
from collections.abc import Callable
from typing import Final

from rpcproxy.edges.http import tls
from rpcproxy.edges.http.connection import Departures, UpstreamConnection, UpstreamRequest
from rpcproxy.edges.http.names import Addresses, SocketAddress
from rpcproxy.edges.http.opening import Opening, Route
from rpcproxy.edges.http.reply_head import ReplyHeadMemory
from rpcproxy.edges.http.target import EdgeSettings, Target, read_origin, request_head
from rpcproxy.edges.http.tunnel import read_way
from rpcproxy.edges.process.own_limits import NO_FILES, limits, room
from rpcproxy.messages import Failure, FailureKind, Outcome

__all__ = ["EdgeSettings", "HttpUpstream", "Target", "UpstreamRequest"]

SWEEP_SECONDS: Final = 1.0
# Full-jitter backoff between tries to keep connections warm (AWS architecture blog, 2015).
BACKOFF_SECONDS: Final = 0.5
BACKOFF_MAX_SECONDS: Final = 30.0
OWN_RETRY_SECONDS: Final = 0.05
# How a request's head ends, by the size of the body: formatting costs twice as much.
_SHORT: Final = 1024
_LENGTHS: Final = tuple(b"%d\r\n\r\n" % size for size in range(_SHORT))


class HttpUpstream:
    """One upstream's connections. Raises ``ValueError`` for a target that cannot be used."""

    def __init__(
        self,
        target: Target,
        settings: EdgeSettings,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        origin = read_origin(target)
        self.name = target.name
        self.label = origin.label
        self.hold_bytes = settings.hold_bytes
        self.max_decompressed = settings.max_decompressed
        self.new_hold = settings.new_hold
        self.heads = ReplyHeadMemory()
        self.connects = 0
        self._loop = loop or asyncio.get_running_loop()
        self._now = self._loop.time
        self.departures = Departures(self._loop)
        self._idle_seconds = settings.idle_seconds
        self._own_patience_seconds = settings.own_patience_seconds
        self._max_connections = settings.max_connections
        self._sweep_seconds = min(SWEEP_SECONDS, settings.idle_seconds / 4)
        self._head = request_head(target, gzip=False)
        self._gzip_head = request_head(target, gzip=True)
        way = read_way(target.proxy)
        first = origin if way is None else way
        self._addresses = Addresses(
            self._loop, first.host, first.port, settings.resolve_seconds, self._on_moved
        )
        context = None
        if origin.is_tls:
            given = settings.ssl_context
            context = tls.default_context() if given is None else tls.prepare(given)
        self._route = Route(
            self._loop, origin, self._addresses, context, settings.connect_seconds, way
        )
        self._warm_wanted = settings.warm
        self._warm = 0
        self._warm_failures = 0
        self._warm_not_before = 0.0
        self._idle: list[UpstreamConnection] = []
        self._connections: set[UpstreamConnection] = set()
        self._openings: set[Opening] = set()
        self._replays: dict[Opening, UpstreamRequest] = {}
        self._waiting: deque[UpstreamRequest] = deque()
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._lacking_since: float | None = None  # of what this machine has not
        self._room_timer: asyncio.TimerHandle | None = None
        room.pools.add(self)

    def __repr__(self) -> str:
        return f"<Upstream {self.name}: {self.open_connections} open, {self.idle_connections} idle>"

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    @property
    def idle_connections(self) -> int:
        return len(self._idle)

    def send(
        self, payload: bytes, done: Callable[[Outcome], None], *, gzip: bool = False
    ) -> UpstreamRequest:
        """POST ``payload``. ``done`` is called once with the outcome, never from inside
        ``send``, and never after ``UpstreamRequest.abandon``. Only connecting is bounded in time
        here.
        """
        head = self._gzip_head if gzip else self._head
        size = len(payload)
        length = _LENGTHS[size] if size < _SHORT else b"%d\r\n\r\n" % size
        call = UpstreamRequest(b"".join((head, length, payload)), done)
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.expires_at > self._now():
                connection.start(call)
                return call
            connection.drop()
        if self._is_closed:
            closed = Failure(FailureKind.CONNECT, f"{self.label}: closed by the proxy")
            self._loop.call_soon(call.finish, closed)
        else:
            self._waiting.append(call)
            self._open_for_waiting()
        return call

    def warm_up(self, count: int | None = None) -> None:
        """Keep ``count`` (else ``EdgeSettings.warm``) connections idle and ready from now on.

        Lost ones are opened again, with a growing, jittered pause while connecting fails.
        """
        self._warm = self._warm_wanted if count is None else count
        self._keep_warm()
        self._keep_sweeping()

    def drop_idle(self) -> None:
        """Close the idle connections, and the busy ones after their replies: behind one
        name may stand many machines, and new connections may reach better ones.
        """
        for connection in self._connections:
            connection.is_last = True
        self._drop_idle(lambda _: True)

    async def close(self) -> None:
        """Give up everything: no callback comes afterwards, every socket is closed."""
        self._is_closed = True
        room.pools.discard(self)
        self._warm = 0
        if self._room_timer is not None:
            self._room_timer.cancel()
            self._room_timer = None
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
            self._sweep_timer = None
        self._addresses.close()
        for call in (*self._waiting, *self._replays.values()):
            call.done = None
        self._waiting.clear()
        for opening in (*self._openings, *self._replays):
            opening.cancel()
        self._openings.clear()
        self._replays.clear()
        for connection in list(self._connections):
            connection.abandon()
        self._idle.clear()

    # Called by connections.

    def on_idle(self, connection: UpstreamConnection) -> None:
        kept_alive = connection.keep_alive_seconds
        if kept_alive is not None:
            # Gone before the upstream closes it: a second earlier, or at half of a short time.
            limit = min(self._idle_seconds, max(kept_alive - 1.0, kept_alive / 2))
        else:
            limit = self._idle_seconds
        waiting = self._waiting
        while waiting:
            call = waiting.popleft()
            if call.done is not None:
                connection.start(call)
                return
        if connection.is_last:
            connection.drop()
            return
        connection.expires_at = self._now() + limit
        self._idle.append(connection)

    def on_proven(self, connection: UpstreamConnection) -> None:
        self._keep_session(connection)

    def on_closed(self, connection: UpstreamConnection) -> None:
        self._keep_session(connection)
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._waiting:
            self._open_for_waiting()

    def on_refused(self) -> None:
        self._back_off()

    def replay(self, call: UpstreamRequest) -> None:
        call.has_been_replayed = True
        call.connection = None
        opening = Opening(self._route, self._on_open, self._on_failed)
        self._replays[opening] = call

    # Opening.

    def _open_for_waiting(self) -> None:
        while len(self._openings) < len(self._waiting) and self._may_open:
            if not room.make(self):
                self._wait_for_room()
                return
            self._open()

    @property
    def taken(self) -> int:
        return len(self._connections) + len(self._openings) + len(self._replays)

    @property
    def _may_open(self) -> bool:
        return self.taken < self._max_connections and not self._is_closed

    def _wait_for_room(self) -> None:
        """Other upstreams have all connections that there may be. Whoever has none of its own to
        wait for is told so after a moment: it must not look as if the upstream were silent.
        """
        if self.taken or self._has_patience():
            self._look_for_room()
            return
        limits.tell(NO_FILES, self._now())
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            self._loop.call_soon(call.finish, Failure(FailureKind.OWN, NO_FILES))

    def _look_for_room(self) -> None:
        """Whoever has a connection may give it back to another pool: look again soon."""
        if self._room_timer is None:
            self._room_timer = self._loop.call_later(OWN_RETRY_SECONDS, self._on_room_due)

    def _on_room_due(self) -> None:
        self._room_timer = None
        if not self._waiting:
            self._lacking_since = None
        self._open_for_waiting()

    def drop_oldest(self) -> None:
        """Close the idle connection that was used longest ago: another upstream needs its file."""
        if self._idle:
            self._idle[0].drop()

    def _open(self) -> None:
        self._openings.add(Opening(self._route, self._on_open, self._on_failed))
        self._keep_sweeping()

    def _on_open(self, opening: Opening, sock: socket.socket, address: SocketAddress) -> None:
        self._openings.discard(opening)
        connection = UpstreamConnection(self._loop, self, sock, address)
        self.connects += 1
        self._lacking_since = None
        self._connections.add(connection)
        # The name may have moved while this was on its way.
        connection.is_last = not self._addresses.has(address)
        call = self._replays.pop(opening, None)
        if call is not None and call.done is not None:
            connection.start(call)
        else:
            self.on_idle(connection)

    def _on_failed(self, opening: Opening, failure: Failure) -> None:
        self._openings.discard(opening)
        if failure.kind is FailureKind.OWN and self._is_to_wait(opening):
            return
        call = self._replays.pop(opening, None)
        if call is None:
            self._back_off()
            while self._waiting and len(self._waiting) > len(self._openings) and call is None:
                first = self._waiting.popleft()
                call = first if first.done is not None else None
        self._open_for_waiting()
        if call is not None:
            call.finish(failure)

    def _is_to_wait(self, opening: Opening) -> bool:
        """Where this machine lacks what a connection takes, what waits goes on waiting for a while,
        for another connection to be free or for another try.
        """
        if opening in self._replays or not self._has_patience():
            return False
        self._look_for_room()
        return True

    def _has_patience(self) -> bool:
        now = self._now()
        if self._lacking_since is None:
            self._lacking_since = now
        return now - self._lacking_since <= self._own_patience_seconds

    # Keeping connections fresh.

    def _keep_session(self, connection: UpstreamConnection) -> None:
        session = connection.session
        if session is not None:
            self._route.session = session

    def _keep_warm(self) -> None:
        if self._now() < self._warm_not_before:
            return
        spare = len(self._openings) - len(self._waiting)
        missing = self._warm - len(self._idle) - max(spare, 0)
        if missing <= 0:
            self._warm_failures = 0
        for _ in range(missing):
            if not (self._may_open and room.is_there):
                return
            self._open()

    def _back_off(self) -> None:
        longest = min(BACKOFF_MAX_SECONDS, BACKOFF_SECONDS * 2.0**self._warm_failures)
        self._warm_failures = min(self._warm_failures + 1, 16)
        self._warm_not_before = self._now() + random.uniform(0, longest)

    def _keep_sweeping(self) -> None:
        if self._sweep_timer is None and not self._is_closed:
            self._sweep_timer = self._loop.call_later(self._sweep_seconds, self._sweep)

    def _sweep(self) -> None:
        self._sweep_timer = None
        now = self._now()
        self._drop_idle(lambda connection: connection.expires_at <= now)
        self._addresses.refresh_if_old()
        self._keep_warm()
        if self._warm or self._connections or self._openings or self._replays:
            self._keep_sweeping()

    def _drop_idle(self, is_unwanted: Callable[[UpstreamConnection], bool]) -> None:
        for connection in [each for each in self._idle if is_unwanted(each)]:
            connection.drop()

    def _on_moved(self) -> None:
        """DNS gives other addresses: leave those it no longer gives."""
        for connection in self._connections:
            if not self._addresses.has(connection.address):
                connection.is_last = True
        self._drop_idle(lambda connection: connection.is_last)
