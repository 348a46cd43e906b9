"""The admin port: its sockets, and the application behind them.

State: the sockets, which stay ours while nobody is let in (``pause``), what listens on them,
and aiohttp's runner; the open connections are in ``front.operators.admin_connection``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Sequence
from typing import Any, Final

from aiohttp import web

from rpcproxy.config.model import Address, Limits
from rpcproxy.config.urls import is_loopback
from rpcproxy.front.operators.admin_connection import AdminConnections

_BACKLOG: Final = 128
# A page that is under way at the end gets so long.
_LAST_PAGE_SECONDS: Final = 2.0


class AdminPort:
    """See the module's docstring. ``start`` once, then ``close``; ``address`` is where it is.
    ``connections``: those of another bound than usual.
    """

    def __init__(
        self,
        app: web.Application,
        limits: Limits = Limits(),  # noqa: B008 -- frozen
        connections: AdminConnections | None = None,
    ) -> None:
        self._connections = connections or AdminConnections(limits)
        app.middlewares.insert(1, self._connections.watched)  # below what words errors
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_LAST_PAGE_SECONDS)
        self._sockets: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []
        self.address: tuple[str, int] = ("", 0)

    async def start(self, address: Address, given: Sequence[socket.socket] = ()) -> None:
        """Listen, on the ``given`` sockets where there are any. Raises ``OSError``."""
        self._sockets = list(given) or await _bind(address)
        host, port = self._sockets[0].getsockname()[:2]
        self.address = (host, port)
        await self._runner.setup()
        assert self._runner.server is not None  # noqa: S101  it was set up
        self._connections.start(self._runner.server)
        await self.resume()

    @property
    def is_local(self) -> bool:
        """Whether nobody but this machine can reach it."""
        return all(is_loopback(str(each.getsockname()[0])) for each in self._sockets)

    def sockets(self) -> list[socket.socket]:
        """Its sockets, duplicated: the caller's to close."""
        return [each.dup() for each in self._sockets]

    async def pause(self) -> None:
        """Let nobody in: who comes now waits in the queue of the socket."""
        servers, self._servers = self._servers, []
        for server in servers:
            server.close()

    async def resume(self) -> None:
        """Let them in, again after ``pause``."""
        loop = asyncio.get_running_loop()
        for each in self._sockets:
            server = await loop.create_server(
                self._connections.protocol, sock=each.dup(), backlog=_BACKLOG
            )
            self._servers.append(server)

    async def close(self) -> None:
        """Close everything; idempotent."""
        await self.pause()
        self._connections.close()
        await self._runner.cleanup()
        for each in self._sockets:
            each.close()
        self._sockets = []


async def _bind(address: Address) -> list[socket.socket]:
    """One socket for each address that the host's name has, those with one port."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    try:
        for family, place in dict.fromkeys((each[0], each[4]) for each in found):
            bound = _bound(family, place)
            if bound is not None:
                sockets.append(bound)
    except BaseException:
        for each in sockets:
            each.close()
        raise
    if not sockets:
        raise OSError(0, f"{address.host} has no address that can be listened on")
    return sockets


def _bound(family: int, place: tuple[Any, ...]) -> socket.socket | None:
    """``None`` where the system has no such family, as with IPv6 switched off."""
    try:
        each = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        return None
    try:
        if os.name == "posix":
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            with contextlib.suppress(OSError):
                each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        each.bind(place)
    except BaseException:
        each.close()
        raise
    return each
