"""A connection on the admin port: aiohttp's protocol, within time and number.

None of its responses says which library in which version wrote it. aiohttp itself waits for ever
for the rest of a head or of a body, and for a client that takes nothing of a page.

State: ``AdminConnections`` has the open ones, one for each port; each keeps its own times.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, cast

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError

from rpcproxy.config.model import Limits
from rpcproxy.front.protocol.page import SERVER_HEADER

# Operators, monitoring and those who look at the status: those over it are closed unheard.
MOST_CONNECTIONS: Final = 512
# How long a client may take nothing of what waits for it, as ``FrontSettings.stall_seconds``.
STALL_SECONDS: Final = 60.0
_SWEEP_PARTS: Final = 4  # of the time for a head
_TIMED_OUT: Final = (
    b"HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json; charset=utf-8\r\n"
    b"Server: rpcproxy\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
)


class WebProtocol(web.RequestHandler):
    """aiohttp's own; what is no HTTP is refused by it, before any application hears of it."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        response = super().handle_error(request, status, exc, message)
        response.headers.update(SERVER_HEADER)
        return response

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Also of what aiohttp answers beside the application, such as an odd ``Expect``."""
        if isinstance(resp, web.StreamResponse) and not resp.prepared:
            resp.headers.update(SERVER_HEADER)
        return await super().finish_response(request, resp, start_time)

    def log_exception(self, *args: object, **kw: object) -> None:
        """What a client sent that is no HTTP is its own fault: no error of ours, no traceback."""
        if not isinstance(kw.get("exc_info"), HttpProcessingError):
            super().log_exception(*args, **kw)


class AdminConnections:
    """The open connections of one admin port. ``protocol`` makes one; ``watched`` is the
    middleware by which they know what they are doing. ``start`` once a server is there, ``close``.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        most: int = MOST_CONNECTIONS,
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        self.limits = limits
        self.most = most
        self.stall_seconds = stall_seconds
        self.open: dict[asyncio.BaseTransport, AdminConnection] = {}
        self._server: web.Server | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self, server: web.Server) -> None:
        self._server = server
        self._sweep()

    def protocol(self) -> asyncio.Protocol:
        assert self._server is not None  # noqa: S101  set by start
        loop = asyncio.get_running_loop()
        inner = WebProtocol(
            self._server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # None: no such log
            keepalive_timeout=self.limits.idle_seconds,
            max_line_size=self.limits.header_bytes,
            max_field_size=self.limits.header_bytes,
        )
        return AdminConnection(inner, self)

    @web.middleware
    async def watched(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """One request: its head is there, and no other is waited for until its end."""
        transport = request.transport
        connection = self.open.get(transport) if transport is not None else None
        if connection is None:
            return await handler(request)
        connection.on_begun(request)
        try:
            return await handler(request)
        finally:
            connection.on_done()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in [*self.open.values()]:
            connection.check(now)
        self._timer = loop.call_later(self.limits.header_seconds / _SWEEP_PARTS, self._sweep)

    def close(self) -> None:
        """Watch no more; idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class AdminConnection(asyncio.Protocol):
    """Passes everything on to ``inner``, and sees what has come since the last request."""

    def __init__(self, inner: asyncio.Protocol, port: AdminConnections) -> None:
        self._inner = inner
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._body: StreamReader | None = None  # of the request that is being answered
        self._asked_since = 0.0
        self._head_since = 0.0  # when the head that is coming began; 0: nothing has come
        self._may_be_idle = False  # what came last may have been the end of a request
        self._is_at_end = True  # what came last ended as a head does
        self._pending = 0  # of the write buffer, at the last check
        self._stalled_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._inner.connection_made(transport)
        if len(self._port.open) >= self._port.most:
            transport.abort()  # type: ignore[attr-defined]
        self._port.open[transport] = self

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._port.open.pop(self._transport, None)
        self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._head_since or self._may_be_idle:
            self._head_since = self._loop.time()
            self._may_be_idle = False
        self._is_at_end = data.endswith(b"\r\n\r\n")
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def on_begun(self, request: web.Request) -> None:
        """A whole head was read. What came behind it, a body or part of another request, the
        parser does not tell.
        """
        self._body = request.content
        self._asked_since = self._loop.time()
        if self._is_at_end and not request.body_exists:
            self._head_since = 0.0

    def on_done(self) -> None:
        """It was answered."""
        self._body = None
        if self._head_since:
            self._head_since = self._loop.time()
            self._may_be_idle = True

    def check(self, now: float) -> None:
        """Close it, in words, if it is out of time."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        pending = transport.get_write_buffer_size()
        if pending:
            if pending != self._pending:
                self._pending = pending
                self._stalled_since = now
            elif now - self._stalled_since > self._port.stall_seconds:
                transport.abort()
            return
        self._pending = 0
        limits = self._port.limits
        if self._body is not None:
            if not self._body.is_eof() and now - self._asked_since > limits.body_seconds:
                self._refuse(f"the request body took over {limits.body_seconds:g} s")
        elif self._head_since and now - self._head_since > limits.header_seconds:
            if self._may_be_idle:  # words that answer nothing would be taken for the next answer
                transport.close()
                return
            self._refuse(f"the request head took over {limits.header_seconds:g} s")

    def _refuse(self, reason: str) -> None:
        assert self._transport is not None  # noqa: S101  ``check`` has looked
        words = b'{"error":"%b"}' % reason.encode()
        self._transport.write(_TIMED_OUT % (len(words), words))
        self._transport.close()
