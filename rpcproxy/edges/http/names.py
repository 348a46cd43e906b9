"""From a host name to a connected socket: addresses remembered, families raced.

``Addresses`` knows where one host is. An answer that DNS gave once is used for as long as DNS
gives no other: a resolver that fails must not take an upstream down with it. ``Dial`` connects
to the first of several addresses that takes it (RFC 8305).

State: one ``Addresses`` per upstream, written by itself; a ``Dial`` lives for one connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from rpcproxy.edges.process.own_limits import own_words

# RFC 8305 section 5, "Connection Attempt Delay".
STAGGER_SECONDS: Final = 0.25


class SocketAddress(NamedTuple):
    """Where a socket connects to."""

    family: int
    sockaddr: tuple[str, int] | tuple[str, int, int, int]


def literal_address(host: str, port: int) -> SocketAddress | None:
    """The address that ``host`` spells out, ``None`` for a name."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return None
    if version == 4:
        return SocketAddress(socket.AF_INET, (host, port))
    return SocketAddress(socket.AF_INET6, (host, port, 0, 0))


class Addresses:
    """The addresses of one host.

    ``find`` answers from memory where it can; an answer older than ``resolve_seconds`` is used
    once more and asked for again in the background. ``on_change`` is called when DNS gave other
    addresses than before.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        host: str,
        port: int,
        resolve_seconds: float,
        on_change: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._host = host
        self._port = port
        self._resolve_seconds = resolve_seconds
        self._on_change = on_change
        literal = literal_address(host, port)
        self._is_literal = literal is not None
        self._known: tuple[SocketAddress, ...] = () if literal is None else (literal,)
        self._asked_at = 0.0
        self._lookup: asyncio.Future[list[SocketAddress]] | None = None
        self._waiting: list[Callable[[Sequence[SocketAddress]], None]] = []
        self._good_family = 0
        self._bad: set[SocketAddress] = set()
        self._is_closed = False
        self.own_fault = ""  # why the last lookup brought nothing, where that is this machine's
        self.trouble = ""  # why it brought nothing, in the resolver's words

    def has(self, address: SocketAddress) -> bool:
        """The host is still at this address, as far as is known."""
        return not self._known or address in self._known

    def find(self, done: Callable[[Sequence[SocketAddress]], None]) -> None:
        """Call ``done`` with the addresses in the order to try them, none if the name has
        none: at once where they are known, else from the loop.
        """
        if self._known:
            self.refresh_if_old()
            done(self._in_order())
            return
        self._waiting.append(done)
        self._start_lookup()

    def refresh_if_old(self) -> None:
        """Ask DNS in the background if the last answer is older than ``resolve_seconds``."""
        if self._loop.time() - self._asked_at >= self._resolve_seconds:
            self._start_lookup()

    def on_connected(self, address: SocketAddress) -> None:
        """A connection was made there: the family is tried first from now on."""
        self._good_family = address.family
        self._bad.discard(address)

    def on_failed(self, address: SocketAddress) -> None:
        """No connection was made there: it is tried after the others."""
        self._bad.add(address)

    def close(self) -> None:
        """Forget who waits. A lookup under way ends in its thread, unheard."""
        self._is_closed = True
        self._waiting.clear()

    def _in_order(self) -> list[SocketAddress]:
        ordered = interleave(self._known, self._good_family)
        if self._bad:
            ordered.sort(key=self._bad.__contains__)
        return ordered

    def _start_lookup(self) -> None:
        if self._is_literal or self._lookup is not None or self._is_closed:
            return
        self._asked_at = self._loop.time()
        try:
            self._lookup = self._run()
        except RuntimeError as error:  # no thread can be started
            self._lookup = self._loop.create_future()
            self._lookup.set_exception(error)
        self._lookup.add_done_callback(self._on_looked_up)

    def _run(self) -> asyncio.Future[list[SocketAddress]]:
        return self._loop.run_in_executor(None, look_up, self._host, self._port)

    def _on_looked_up(self, lookup: asyncio.Future[list[SocketAddress]]) -> None:
        self._lookup = None
        found: tuple[SocketAddress, ...] = ()
        error = None if lookup.cancelled() else lookup.exception()
        if not lookup.cancelled() and error is None:
            found = tuple(lookup.result())
        self.own_fault = own_words(error)
        strerror = error.strerror if isinstance(error, OSError) else None
        self.trouble = (strerror or "").lower()
        if self._is_closed:
            return
        if found:
            has_changed = bool(self._known) and set(found) != set(self._known)
            self._known = found
            self._bad.intersection_update(found)
            if has_changed:
                self._on_change()
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            self._loop.call_soon(done, self._in_order())


def look_up(host: str, port: int) -> list[SocketAddress]:
    """Ask the system's resolver; blocks. Raises ``OSError``, ``UnicodeError``."""
    found: list[SocketAddress] = []
    for family, _, _, _, sockaddr in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        address = SocketAddress(family, sockaddr)  # type: ignore[arg-type]  # typeshed: any tuple
        if family in (socket.AF_INET, socket.AF_INET6) and address not in found:
            found.append(address)
    return found


def open_socket(family: int) -> socket.socket:
    """One to connect with, that never blocks. Raises ``OSError`` where there is none left."""
    return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)


def interleave(addresses: Iterable[SocketAddress], first_family: int) -> list[SocketAddress]:
    """Families in turn, keeping the resolver's order within each (RFC 8305 section 4).

    ``first_family`` comes first where there is one of it, else the family of the first address.
    """
    families: dict[int, list[SocketAddress]] = {first_family: []} if first_family else {}
    for address in addresses:
        families.setdefault(address.family, []).append(address)
    queues = [queue[::-1] for queue in families.values()]
    ordered: list[SocketAddress] = []
    while any(queues):
        ordered += [queue.pop() for queue in queues if queue]
    return ordered


class Dial:
    """Connects to the first of ``addresses`` that takes a connection.

    Exactly one callback is called, from the loop, unless cancelled: ``on_connected`` with a
    non-blocking socket that is the callee's from then on, or ``on_failed`` with the last
    error's words. ``on_address_failed`` is told of each address that refused. The next address is
    begun with ``stagger_seconds`` after one that hangs.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        addresses: Sequence[SocketAddress],
        on_connected: Callable[[socket.socket, SocketAddress], None],
        on_failed: Callable[[str], None],
        on_address_failed: Callable[[SocketAddress], None],
        stagger_seconds: float = STAGGER_SECONDS,
    ) -> None:
        self._loop = loop
        self._stagger_seconds = stagger_seconds
        self._left = list(addresses)[::-1]
        self._on_connected = on_connected
        self._on_failed = on_failed
        self._on_address_failed = on_address_failed
        self._trying: dict[socket.socket, SocketAddress] = {}
        self._error = "no address"
        self.own_fault = ""  # the last error's words, where it is this machine's
        self._next: asyncio.Handle | None = loop.call_soon(self._try_next)

    def cancel(self) -> None:
        """Give up: every socket is closed, nobody is called."""
        self._stop_timer()
        self._left.clear()
        for sock in list(self._trying):
            self._let_go(sock)
            sock.close()

    @property
    def addresses_tried(self) -> list[SocketAddress]:
        """Those that neither took nor refused the connection yet."""
        return list(self._trying.values())

    def _try_next(self) -> None:
        self._stop_timer()
        if not self._left:
            if not self._trying:
                self._on_failed(self._error)
            return
        address = self._left.pop()
        sock: socket.socket | None = None
        try:
            sock = open_socket(address.family)
            with contextlib.suppress(BlockingIOError):
                sock.connect(address.sockaddr)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        except (OSError, ValueError) as error:
            if sock is not None:
                sock.close()
            self._on_refused(address, error)
            return
        self._trying[sock] = address
        self._loop.add_writer(sock.fileno(), self._on_writable, sock)
        if self._left:
            self._next = self._loop.call_later(self._stagger_seconds, self._try_next)

    def _on_writable(self, sock: socket.socket) -> None:
        address = self._let_go(sock)
        if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            sock.close()
            self._on_refused(address, OSError(code, os.strerror(code)))
            return
        for slower in self._trying.values():
            self._on_address_failed(slower)
        self.cancel()
        self._on_connected(sock, address)

    def _on_refused(self, address: SocketAddress, error: Exception) -> None:
        strerror = error.strerror if isinstance(error, OSError) else None
        self._error = (strerror or "cannot connect").lower()
        self.own_fault = own_words(error)
        if not self.own_fault:
            self._on_address_failed(address)
        if self._left or not self._trying:
            self._stop_timer()
            self._next = self._loop.call_soon(self._try_next)

    def _let_go(self, sock: socket.socket) -> SocketAddress:
        self._loop.remove_writer(sock.fileno())
        return self._trying.pop(sock)

    def _stop_timer(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None
