"""The admin port: its sockets, and the application behind them.

State: the sockets, which stay ours while nobody is let in (``pause``), and aiohttp's runner.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Sequence
from typing import Any, Final

from aiohttp import web

from rpcproxy.config.model import Address
from rpcproxy.config.urls import is_loopback

_BACKLOG: Final = 128
# A page that is under way at the end gets so long.
_LAST_PAGE_SECONDS: Final = 2.0


class AdminPort:
    """See the module's docstring. ``start`` once, then ``close``; ``address`` is where it is."""

    def __init__(self, app: web.Application) -> None:
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_LAST_PAGE_SECONDS)
        self._sockets: list[socket.socket] = []
        self._sites: list[web.SockSite] = []
        self.address: tuple[str, int] = ("", 0)

    async def start(self, address: Address, given: Sequence[socket.socket] = ()) -> None:
        """Listen, on the ``given`` sockets where there are any. Raises ``OSError``."""
        self._sockets = list(given) or await _bind(address)
        host, port = self._sockets[0].getsockname()[:2]
        self.address = (host, port)
        await self._runner.setup()
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
        sites, self._sites = self._sites, []
        for site in sites:
            await site.stop()

    async def resume(self) -> None:
        """Let them in, again after ``pause``."""
        for each in self._sockets:
            site = web.SockSite(self._runner, each.dup(), backlog=_BACKLOG)
            await site.start()
            self._sites.append(site)

    async def close(self) -> None:
        """Close everything; idempotent."""
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
