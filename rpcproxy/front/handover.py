"""A connection that aiohttp serves: its protocol, counted and closed with the others.

None of its responses says which library in which version wrote it.
"""

from __future__ import annotations

import asyncio
from typing import Final, cast

from aiohttp import web

from rpcproxy.front.shared import Shared

# Where it is left out, aiohttp tells its own version and Python's.
SERVER_HEADER: Final = {"Server": "rpcproxy"}


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


class Handed(asyncio.Protocol):
    """Passes everything on to ``inner``, aiohttp's own protocol for one connection."""

    __slots__ = ("_inner", "_shared", "_transport")

    def __init__(self, inner: asyncio.Protocol, shared: Shared) -> None:
        self._inner = inner
        self._shared = shared
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._shared.counters.handed_connections += 1
        self._shared.handed.add(self)
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)
        self._shared.handed.discard(self)
        self._shared.tell_if_empty()

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
