"""One connection to an upstream: one attempt at a time, its reply, and what follows from it.

State of an attempt lives in its ``UpstreamRequest`` and in the ``UpstreamConnection`` that carries
it; whether a connection is idle or busy is the pool's to know (``upstream_http``).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Protocol

from rpcproxy.edges.http.http_reply import ReplyReader
from rpcproxy.edges.http.links import PLAIN_READ_BYTES, Link, Loss
from rpcproxy.edges.http.names import SocketAddress
from rpcproxy.edges.http.reply_body import HeldBody, HeldBytes, Rest
from rpcproxy.edges.http.reply_head import REQUEST_TIMEOUT, BadReply, ReplyHeadMemory
from rpcproxy.edges.http.tls import TlsLink
from rpcproxy.messages import Failure, FailureKind, Outcome, Reply


class UpstreamRequest:
    """One attempt, from ``Upstream.send``. ``done`` is ``None`` once it was called or given up."""

    __slots__ = ("connection", "done", "has_been_replayed", "received_bytes", "wire")

    def __init__(self, wire: bytes, done: Callable[[Outcome], None]) -> None:
        self.wire = wire
        self.done: Callable[[Outcome], None] | None = done
        self.connection: UpstreamConnection | None = None
        self.has_been_replayed = False
        self.received_bytes = 0  # of a reply that comes in pieces, so far

    def abandon(self) -> None:
        """Give the attempt up: ``done`` will not be called. Its connection is closed, since
        HTTP/1.1 cannot take a request back. Does nothing once ``done`` was called; what is
        left of a large reply is given up through its stream.
        """
        if self.done is not None:
            self.done = None
            if self.connection is not None:
                self.connection.drop()

    def finish(self, outcome: Outcome) -> None:
        done, self.done = self.done, None
        if done is not None:
            done(outcome)


class Departures:
    """The attempts that begin in one turn of the loop, written together at its end.

    Each write to a peer that sleeps pays for waking it; of a burst only the first does. Measured
    on loopback: a quarter of the CPU of a forwarded request. No latency is added: the loop does
    not go to sleep in between.
    """

    __slots__ = ("_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[UpstreamConnection] = []

    def add(self, connection: UpstreamConnection) -> None:
        waiting = self._waiting
        if not waiting:
            self._loop.call_soon(self._leave)
        waiting.append(connection)

    def _leave(self) -> None:
        waiting, self._waiting = self._waiting, []
        for connection in waiting:
            connection.depart()


class ConnectionOwner(Protocol):
    """What a connection asks of the pool it belongs to."""

    heads: ReplyHeadMemory
    label: str
    hold_bytes: int
    max_decompressed: int
    departures: Departures
    new_hold: Callable[[], HeldBytes]

    def on_idle(self, connection: UpstreamConnection) -> None:
        """The connection may carry the next attempt."""

    def on_proven(self, connection: UpstreamConnection) -> None:
        """The connection brought its first whole reply."""

    def on_closed(self, connection: UpstreamConnection) -> None:
        """The connection is gone, by whose doing ever."""

    def on_refused(self) -> None:
        """The upstream took a connection and closed it without having been asked anything."""

    def replay(self, call: UpstreamRequest) -> None:
        """Send the attempt again, over a fresh connection."""


class UpstreamConnection:
    """An open connection. ``expires_at`` is the loop time from which it is too old to use, set
    by the pool; ``is_last`` says that it closes after the current reply.
    """

    __slots__ = (
        "_call",
        "_has_short_way",
        "_held",
        "_is_departing",
        "_is_proven",
        "_link",
        "_loop",
        "_pool",
        "_reader",
        "_rest",
        "address",
        "expires_at",
        "is_last",
        "keep_alive_seconds",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pool: ConnectionOwner,
        sock: socket.socket,
        address: SocketAddress,
    ) -> None:
        self._loop = loop
        self._pool = pool
        self._reader = ReplyReader(pool.heads)
        self._call: UpstreamRequest | None = None
        self._is_proven = False  # it has brought a whole reply
        self._has_short_way = False
        self._held: HeldBody | None = None
        self._rest: Rest | None = None
        self.address = address
        self.expires_at = 0.0
        self.is_last = False
        self.keep_alive_seconds: float | None = None
        self._link = (
            TlsLink(loop, sock, self) if isinstance(sock, ssl.SSLSocket) else Link(loop, sock, self)
        )

    @property
    def session(self) -> ssl.SSLSession | None:
        return self._link.session if isinstance(self._link, TlsLink) else None

    def start(self, call: UpstreamRequest) -> None:
        """Send the attempt; the connection must be idle. It leaves at the end of this turn of
        the loop, together with all others (``Departures``).
        """
        self._call = call
        call.connection = self
        self._is_departing = True
        self._pool.departures.add(self)

    def depart(self) -> None:
        """Write the attempt, unless it was given up meanwhile."""
        self._is_departing = False
        call = self._call
        if call is not None:
            self._link.write(call.wire)

    def resume(self) -> None:
        self._link.resume()

    def drop(self) -> None:
        """Close at once; nobody is told but the pool. Idempotent."""
        if self._link.is_open:
            self._pool.on_closed(self)
            self._link.close()
        self._call = None
        self._held = None  # now, and not when garbage is collected: it is counted

    def abandon(self) -> None:
        """Close at once, and give up the attempt under way."""
        call, rest = self._call, self._rest
        if call is not None:
            call.done = None
        self.drop()
        if rest is not None:
            rest.break_off("closed by the proxy")

    # Called by the link.

    def on_bytes(self, data: bytes) -> bool:
        call = self._call
        if call is None or self._is_departing:
            # Nothing was asked: whatever this is, it must not become the next reply.
            self.drop()
            if call is not None and self._can_replay(call):
                self._pool.replay(call)
            elif call is not None:
                unasked = Failure(FailureKind.PROTOCOL, "bytes came before the request")
                self._break_off(call, unasked)
            return False
        reader = self._reader
        if self._has_short_way and reader.is_fresh and (body := reader.whole(data)) is not None:
            head = reader.head
            self._call = None
            if self.is_last or self._link.unsent is not None:
                self.drop()
            else:
                self._pool.on_idle(self)
            done, call.done = call.done, None
            if done is not None:
                done(Reply(head.status, body, head.retry_after, head.content_type))
            return False
        return self._read_on(call, data)

    def on_lost(self, loss: Loss) -> None:
        self._pool.on_closed(self)
        self._end_lost(loss)
        self._held = None

    def _end_lost(self, loss: Loss) -> None:
        call, self._call = self._call, None
        if call is None:
            if not self._is_proven:
                self._pool.on_refused()
            return
        if self._rest is None and self._reader.is_fresh and self._can_replay(call):
            self._pool.replay(call)
            return
        if loss is Loss.RESET:
            self._break_off(call, Failure(FailureKind.RESET, "connection reset"))
            return
        try:
            self._reader.end(is_clean=loss is Loss.END)
            self._complete(call)
        except BadReply as error:
            self._break_off(call, error.failure)

    def _can_replay(self, call: UpstreamRequest) -> bool:
        # Whatever has been idle may have been closed meanwhile, a warm connection that never
        # carried an attempt no less than one that did.
        has_been_idle = self._is_proven or self.expires_at > 0.0
        return has_been_idle and not call.has_been_replayed and call.done is not None

    def _read_on(self, call: UpstreamRequest, data: bytes) -> bool:
        """The general way of ``on_bytes``: replies in pieces, of new heads, coded, large."""
        reader = self._reader
        call.received_bytes += len(data)
        try:
            is_complete = reader.feed(data)
            if reader.has_head and self._is_idle_timeout(call):
                self.drop()
                self._pool.replay(call)
                return False
            if is_complete:
                self._complete(call)
                return False
            if reader.pieces:
                self._keep_pieces(call)
        except BadReply as error:
            self.drop()
            self._break_off(call, error.failure)
            return False
        return True

    def _is_idle_timeout(self, call: UpstreamRequest) -> bool:
        """A server that closes an idle connection may say so with a 408, which then crosses
        our request (RFC 9110 section 15.5.9: the client may repeat it on a new connection).
        """
        return self._reader.head.status == REQUEST_TIMEOUT and self._can_replay(call)

    def _keep_pieces(self, call: UpstreamRequest) -> None:
        pieces, self._reader.pieces = self._reader.pieces, []
        if self._rest is not None:
            if self._rest.push(pieces):
                self._link.pause()
            return
        if self._held is None:
            self._held = HeldBody(
                self._reader.head.coding,
                self._pool.hold_bytes,
                self._pool.max_decompressed,
                self._pool.new_hold(),
            )
        self._held.add(pieces)
        if self._held.is_over:
            beginning, self._rest = self._held.split(self._loop, self)
            self._held = None
            self._hand_over(call, beginning, self._rest)

    def _complete(self, call: UpstreamRequest) -> None:
        """The reply is whole. Raises ``BadReply`` where its coding says otherwise."""
        reader = self._reader
        self._keep_pieces(call)
        held, rest = self._held, self._rest
        if rest is None and held is not None:
            held.check_whole()
        has_ended = (
            reader.head.is_last
            or self.is_last
            or reader.has_excess
            or self._link.unsent is not None
        )
        self.keep_alive_seconds = reader.head.keep_alive_seconds
        head = reader.head
        reader.reset()
        self._held = self._rest = self._call = None
        if not self._is_proven:
            self._is_proven = True
            self._has_short_way = self._pool.hold_bytes >= PLAIN_READ_BYTES
            self._pool.on_proven(self)
        if has_ended:
            self.drop()
        elif self._link.is_open:
            self._link.resume()
            self._pool.on_idle(self)
        if rest is not None:
            rest.finish()
        else:
            body = b"" if held is None else held.join()
            call.finish(Reply(head.status, body, head.retry_after, head.content_type))

    def _hand_over(self, call: UpstreamRequest, body: bytes, rest: Rest) -> None:
        head = self._reader.head
        call.finish(Reply(head.status, body, head.retry_after, head.content_type, rest))

    def _break_off(self, call: UpstreamRequest, failure: Failure) -> None:
        rest, self._rest = self._rest, None
        if rest is not None:
            rest.break_off(failure.detail)
        else:
            call.finish(Failure(failure.kind, f"{self._pool.label}: {failure.detail}"))
