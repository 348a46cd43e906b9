"""The wallet port: its sockets, TLS, limits, the sweep over slow clients, the drain."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Final

from rpcproxy.config.model import Tls
from rpcproxy.front.wire.http import HttpConnection
from rpcproxy.front.wire.shared import Doors, FrontCounters, FrontSettings, Pages, Shared
from rpcproxy.messages import Answer
from rpcproxy.rules.answers.holding import Holdings

_BACKLOG: Final = 4096
_SWEEP_SECONDS: Final = 0.5
# While draining, a connection that was used so lately may have its next request on the way.
_QUIET_SECONDS: Final = 1.0
# How often all connections, not only the watched ones, are looked at, in parts of idle time.
_IDLE_PARTS: Final = 8


class Listener:
    """Serves ``doors`` on one port, and ``pages`` to whatever is no POST.

    ``start`` once, then ``drain`` and ``close``. State: see ``Shared``.
    """

    def __init__(
        self,
        doors: Doors,
        settings: FrontSettings,
        pages: Pages,
        connection: type[HttpConnection] = HttpConnection,
        holdings: Holdings | None = None,
    ) -> None:
        self._shared = Shared(doors, settings, pages, holdings or Holdings())
        self._connection = connection
        self._servers: list[asyncio.Server] = []
        self._tls_options: dict[str, Any] = {}
        self._paused: list[socket.socket] = []  # listened on again by ``resume``
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._next_full_sweep = 0.0
        self._due = 0.0  # when the timer is to fire
        self._emptied = asyncio.Event()

    @property
    def counters(self) -> FrontCounters:
        return self._shared.counters

    def tell_refusals(self, told: Callable[[str, Answer], None]) -> None:
        """``told`` hears of each answer of the front's own, by its trace id."""
        self._shared.on_refusal = told

    @property
    def open_connections(self) -> int:
        return self._shared.open_connections

    @property
    def is_draining(self) -> bool:
        return self._shared.is_draining

    @property
    def can_bring_requests(self) -> bool:
        """Whether a connection that is open may bring another request, while draining."""
        return any(not each.is_answering for each in self._shared.connections)

    async def start(self, given: Sequence[socket.socket] = ()) -> tuple[str, int]:
        """Listen, on the ``given`` sockets where there are any; returns the bound address (the
        first, where a name has several).

        Raises ``OSError`` where the address cannot be had, ``ssl.SSLError`` (an ``OSError``)
        where certificate and key do not fit.
        """
        loop = self._loop = asyncio.get_running_loop()
        shared, settings = self._shared, self._shared.settings
        context = _tls_context(settings.tls) if settings.tls is not None else None
        shared.now = loop.time()
        if context is not None:
            self._tls_options["ssl"] = context
            self._tls_options["ssl_handshake_timeout"] = settings.limits.header_seconds
        try:
            await (self._listen_on(given) if given else self._bind())
        except OSError:
            await self.close()
            raise
        self._next_full_sweep = shared.now + self._full_sweep_seconds()
        self._set_timer(self._sweep_seconds())
        host, port = self._servers[0].sockets[0].getsockname()[:2]
        return host, port

    async def _bind(self) -> None:
        settings = self._shared.settings
        server = await asyncio.get_running_loop().create_server(
            self._new_connection,
            settings.address.host or None,
            settings.address.port,
            backlog=_BACKLOG,
            reuse_address=True,
            reuse_port=settings.can_share_port or None,
            **self._tls_options,
        )
        self._servers.append(server)

    async def _listen_on(self, sockets: Sequence[socket.socket]) -> None:
        loop = asyncio.get_running_loop()
        for each in sockets:
            server = await loop.create_server(
                self._new_connection, sock=each, backlog=_BACKLOG, **self._tls_options
            )
            self._servers.append(server)

    def _new_connection(self) -> HttpConnection:
        assert self._loop is not None  # noqa: S101  set by start
        return self._connection(self._shared, self._loop)

    def sockets(self) -> list[socket.socket]:
        """The sockets it listens on, duplicated: the caller's to close."""
        return [
            socket.socket(fileno=os.dup(each.fileno()))
            for server in self._servers
            for each in server.sockets
        ]

    def pause(self) -> None:
        """Accept no more. Who comes now waits in the queue of the socket, for ``resume`` or for
        another process that has it.
        """
        self._paused += self.sockets()
        self._stop_accepting()

    async def resume(self) -> None:
        """Accept again after ``pause``."""
        paused, self._paused = self._paused, []
        await self._listen_on(paused)

    def _stop_accepting(self) -> None:
        servers, self._servers = self._servers, []
        for server in servers:
            server.close()

    def reconfigure(self, settings: FrontSettings) -> None:
        """Take over limits and gzip of ``settings``; address and TLS stay as they are.

        A request that is being read keeps the limits it began under.
        """
        self._shared.settings = settings
        self._shared.heads.forget()
        for connection in self._shared.connections:
            connection.forget()

    async def drain(self, seconds: float) -> None:
        """Stop accepting, finish what is in flight, close what is idle.

        Responses say ``Connection: close`` from now on. What remains after ``seconds`` is
        closed the hard way.
        """
        shared = self._shared
        shared.is_draining = True
        self._stop_accepting()
        shared.on_empty = self._emptied.set
        self._retire()
        shared.tell_if_empty()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._emptied.wait()
        await self.close()

    async def close(self) -> None:
        """Close everything now; idempotent."""
        shared = self._shared
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._stop_accepting()
        for each in self._paused:
            each.close()
        self._paused.clear()
        for connection in [*shared.connections, *shared.watched]:
            connection.abort()
        if shared.open_connections:
            self._emptied.clear()
            shared.on_empty = self._emptied.set
            await self._emptied.wait()  # the loop tells every connection within its next turn

    # ------------------------------------------------------------------ the sweep

    def _sweep_seconds(self) -> float:
        limits = self._shared.settings.limits
        shortest = min(
            limits.header_seconds,
            limits.body_seconds,
            limits.idle_seconds,
            self._shared.settings.linger_seconds,
        )
        return min(_SWEEP_SECONDS, shortest / 4)

    def _full_sweep_seconds(self) -> float:
        return self._shared.settings.limits.idle_seconds / _IDLE_PARTS

    def _sweep(self) -> None:
        """Move the coarse clock, and close those that are out of time.

        One timer for all connections: a timer per request would cost more than the rest of
        its bookkeeping together.
        """
        assert self._loop is not None  # noqa: S101  the timer is set by start
        shared = self._shared
        now = shared.now = self._loop.time()
        late_seconds = now - self._due
        if late_seconds > self._sweep_seconds() / 2:
            # The loop was blocked: what came meanwhile waits to be read.
            for connection in shared.connections | shared.watched:
                connection.excuse(late_seconds)
        if now >= self._next_full_sweep:
            self._next_full_sweep = now + self._full_sweep_seconds()
            due = [*(shared.connections | shared.watched)]
        else:
            due = [*shared.watched]
        for connection in due:
            connection.check(now)
        if shared.is_draining:
            self._retire()
        self._set_timer(self._sweep_seconds())

    def _set_timer(self, seconds: float) -> None:
        assert self._loop is not None  # noqa: S101  the timer is set by start
        self._due = self._loop.time() + seconds
        self._timer = self._loop.call_at(self._due, self._sweep)

    def _retire(self) -> None:
        quiet_since = self._shared.now - _QUIET_SECONDS
        for connection in [*self._shared.connections]:
            if connection.since <= quiet_since:
                connection.retire()


def _tls_context(tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(tls.certificate, tls.key)
    context.set_alpn_protocols(["http/1.1"])
    return context
