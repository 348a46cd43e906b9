"""One new connection on its way: addresses, then a socket, then TLS, within one time limit."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Final

from rpcproxy.edges.http.names import Addresses, Dial, SocketAddress
from rpcproxy.edges.http.target import Origin
from rpcproxy.edges.http.tls import Handshake
from rpcproxy.edges.http.tunnel import Tunnel, Way
from rpcproxy.edges.process.own_limits import limits
from rpcproxy.messages import Failure, FailureKind

_LATE: Final = {
    FailureKind.CONNECT: "no connection",
    FailureKind.TLS: "no TLS handshake",
}


class Route:
    """What connections to one upstream have in common.

    ``addresses`` are those of the outbound proxy where a ``way`` leads through one.
    ``session`` is the last TLS session that worked, so that the next handshake is a short one.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        origin: Origin,
        addresses: Addresses,
        context: ssl.SSLContext | None,
        connect_seconds: float,
        way: Way | None = None,
    ) -> None:
        self.loop = loop
        self.origin = origin
        self.addresses = addresses
        self.context = context
        self.connect_seconds = connect_seconds
        self.way = way
        self.session: ssl.SSLSession | None = None

    @property
    def name_words(self) -> str:
        """Whose addresses these are."""
        return (
            "its name" if self.way is None else f"the name of the outbound proxy {self.way.label}"
        )


class Opening:
    """Opens one connection. Exactly one callback is called, from the loop, unless cancelled.

    ``on_open(opening, sock, address)`` gives the socket away; ``on_failed(opening, failure)``
    comes with every resource closed.
    """

    def __init__(
        self,
        route: Route,
        on_open: Callable[[Opening, socket.socket, SocketAddress], None],
        on_failed: Callable[[Opening, Failure], None],
    ) -> None:
        self._route = route
        self._on_open = on_open
        self._on_failed = on_failed
        self._stage = FailureKind.RESOLVE
        self._dial: Dial | Tunnel | None = None
        self._handshake: Handshake | None = None
        self._is_over = False
        self._timer = route.loop.call_later(route.connect_seconds, self._on_late)
        route.addresses.find(self._on_addresses)

    def cancel(self) -> None:
        self._is_over = True
        self._timer.cancel()
        if self._dial is not None:
            self._dial.cancel()
        if self._handshake is not None:
            self._handshake.cancel()

    def _on_late(self) -> None:
        if self._dial is not None and self._stage is FailureKind.CONNECT:
            for address in self._dial.addresses_tried:
                self._route.addresses.on_failed(address)
        seconds = f"in {self._route.connect_seconds:g} s"
        if self._stage is FailureKind.RESOLVE:
            self._fail(f"{self._route.name_words} does not resolve: no answer of DNS {seconds}")
        else:
            self._fail(f"{_LATE[self._stage]} {seconds}")

    def _on_addresses(self, addresses: Sequence[SocketAddress]) -> None:
        if self._is_over:
            return
        if not addresses:
            known = self._route.addresses
            why = f" ({known.trouble})" if known.trouble else ""
            self._fail(f"{self._route.name_words} does not resolve{why}", known.own_fault)
            return
        self._stage = FailureKind.CONNECT
        route = self._route
        heard = (self._on_connected, self._on_unconnected, route.addresses.on_failed)
        if route.way is None:
            self._dial = Dial(route.loop, addresses, *heard)
        else:
            destination = (route.origin.host, route.origin.port)
            self._dial = Tunnel(route.way, addresses, destination, *heard)

    def _on_unconnected(self, words: str) -> None:
        self._fail(words, self._dial.own_fault if self._dial is not None else "")

    def _on_connected(self, sock: socket.socket, address: SocketAddress) -> None:
        route = self._route
        route.addresses.on_connected(address)
        if route.context is None:
            self._finish(sock, address)
            return
        self._stage = FailureKind.TLS
        try:
            tls = route.context.wrap_socket(
                sock,
                server_hostname=route.origin.host,
                do_handshake_on_connect=False,
                suppress_ragged_eofs=False,
                session=route.session,
            )
        except (OSError, ValueError):
            # A peer that has closed already is noticed here.
            with contextlib.suppress(OSError):
                sock.close()
            self._fail("closed before the handshake")
            return
        self._handshake = Handshake(
            route.loop, tls, lambda done: self._finish(done, address), self._fail
        )

    def _finish(self, sock: socket.socket, address: SocketAddress) -> None:
        self._is_over = True
        self._timer.cancel()
        self._on_open(self, sock, address)

    def _fail(self, words: str, own_fault: str = "") -> None:
        """``own_fault``: what this machine lacks, in words; the upstream has no part in it then."""
        if self._stage is FailureKind.TLS:
            self._route.session = None
        self.cancel()
        if own_fault:
            limits.tell(own_fault, self._route.loop.time())
            self._on_failed(self, Failure(FailureKind.OWN, own_fault))
        else:
            self._on_failed(self, Failure(self._stage, f"{self._route.origin.label}: {words}"))
