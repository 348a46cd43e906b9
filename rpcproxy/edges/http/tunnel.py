"""The way to an upstream through an outbound proxy: HTTP CONNECT, SOCKS5.

``Way`` says which proxy; ``Tunnel`` has the shape of ``names.Dial``, and gives a socket that is
connected to the upstream in place of one that is connected to the proxy. What the proxies speak is
the library's (python-socks). No text that leaves here holds the proxy's user or password.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

import python_socks
from aiohttp import TCPConnector

from rpcproxy.edges.http.names import SocketAddress
from rpcproxy.edges.process.own_limits import own_words

_TYPES: Final = {
    "http": python_socks.ProxyType.HTTP,
    "socks5": python_socks.ProxyType.SOCKS5,
    "socks5h": python_socks.ProxyType.SOCKS5,
}
_PORTS: Final = {"http": 80, "socks5": 1080, "socks5h": 1080}


@dataclass(frozen=True)
class Way:
    """One outbound proxy. ``is_naming``: it is told the upstream's name, not an address of ours."""

    kind: python_socks.ProxyType
    host: str
    port: int
    is_naming: bool
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @property
    def label(self) -> str:
        """``host:port``, all that may be shown."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read_way(url: str) -> Way | None:
    """A proxy's URL; empty or ``direct`` is none. Raises ``ValueError`` without the URL."""
    if url in ("", "direct"):
        return None
    parts = urlsplit(url)
    kind = _TYPES.get(parts.scheme)
    if kind is None or not parts.hostname:
        raise ValueError("the outbound proxy must be http://, socks5:// or socks5h:// and a host")
    user, password = (
        None if each is None else unquote(each) for each in (parts.username, parts.password)
    )
    return Way(
        kind,
        parts.hostname,
        parts.port or _PORTS[parts.scheme],
        parts.scheme != "socks5",
        user,
        password,
    )


def connector(way: Way | None, **options: object) -> TCPConnector:
    """Connections of aiohttp's that go this way. ``options`` are the connector's."""
    if way is None:
        return TCPConnector(**options)  # type: ignore[arg-type]
    # Imported here: few have an outbound proxy, and each start would pay for it.
    from aiohttp_socks import ProxyConnector  # noqa: PLC0415

    return ProxyConnector(
        way.host,
        way.port,
        way.kind,
        username=way.user,
        password=way.password or ("" if way.user is not None else None),
        rdns=way.is_naming,
        **options,  # type: ignore[arg-type]
    )


class ConnectorErrors(NamedTuple):
    """What a connector raises for a proxy that says no, and for one that cannot be reached."""

    refused: tuple[type[Exception], ...] = ()
    unreachable: tuple[type[Exception], ...] = ()


def errors_of(way: Way | None) -> ConnectorErrors:
    """Return what ``connector`` may raise beside what aiohttp does; none where there is no proxy.

    These are no ``OSError``, and not those of python-socks.
    """
    if way is None:
        return ConnectorErrors()
    import aiohttp_socks  # noqa: PLC0415 -- as above

    return ConnectorErrors(
        refused=(aiohttp_socks.ProxyError,),
        unreachable=(aiohttp_socks.ProxyConnectionError, aiohttp_socks.ProxyTimeoutError),
    )


class Tunnel:
    """A socket to ``host`` through the proxy at the first of its ``addresses`` that works.

    As with ``Dial``, exactly one callback is called, from the loop, unless cancelled; the address
    told is the proxy's.
    """

    def __init__(
        self,
        way: Way,
        addresses: Sequence[SocketAddress],
        destination: tuple[str, int],
        on_connected: Callable[[socket.socket, SocketAddress], None],
        on_failed: Callable[[str], None],
        on_address_failed: Callable[[SocketAddress], None],
    ) -> None:
        self._way = way
        self._addresses = addresses
        self._destination = destination
        self._on_connected = on_connected
        self._on_failed = on_failed
        self._on_address_failed = on_address_failed
        self._trying: list[SocketAddress] = []
        self.own_fault = ""  # the last error's words, where it is this machine's
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run(), name=f"tunnel through {way.label}")

    def cancel(self) -> None:
        """Give up: every socket is closed, nobody is called."""
        self._task.cancel()

    @property
    def addresses_tried(self) -> list[SocketAddress]:
        """That of the proxy which has not answered yet."""
        return list(self._trying)

    async def _run(self) -> None:
        words = "no address"
        for address in self._addresses:
            self._trying = [address]
            try:
                sock = await self._connect(address)
            except python_socks.ProxyError as error:
                # It is there, and says no: another address of its would say the same.
                self._fail(f"refused by the outbound proxy {self._way.label}{_code_of(error)}")
                return
            except (OSError, ValueError, ImportError) as error:
                words = f"the outbound proxy {self._way.label}: {_in_words(error)}"
                self.own_fault = own_words(error)
                if not self.own_fault:
                    self._on_address_failed(address)
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._trying = []
            self._on_connected(sock, address)
            return
        self._fail(words)

    async def _connect(self, address: SocketAddress) -> socket.socket:
        from python_socks.async_.asyncio import Proxy  # noqa: PLC0415 -- as above

        way = self._way
        proxy = Proxy(
            way.kind,
            address.sockaddr[0],
            address.sockaddr[1],
            username=way.user,
            password=way.password or ("" if way.user is not None else None),
            rdns=way.is_naming,
        )
        # The opening's own time limit cancels this one.
        return await proxy.connect(*self._destination)

    def _fail(self, words: str) -> None:
        self._trying = []
        self._on_failed(words)


def _code_of(error: python_socks.ProxyError) -> str:
    """The code alone: its text may repeat what was sent."""
    return f" ({error.error_code})" if error.error_code is not None else ""


def _in_words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno).lower()
    return "cannot be used"
