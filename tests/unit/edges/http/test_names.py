"""Names: addresses remembered through DNS failures, families raced, losers closed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence

import pytest

from rpcproxy.edges.http import names
from rpcproxy.edges.http.names import (
    STAGGER_SECONDS,
    Addresses,
    Dial,
    SocketAddress,
    interleave,
    literal_address,
    look_up,
)
from tests.kits.waiting import until
from tests.sockets.scripted import on_both_loops, open_sockets

V4, V6 = socket.AF_INET, socket.AF_INET6


def a(host: str, port: int = 80) -> SocketAddress:
    found = literal_address(host, port)
    assert found is not None
    return found


class Resolver:
    """Stands in for ``look_up``: answers what it is told, and counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answer: list[SocketAddress] | Exception = []
        self.asked = 0
        monkeypatch.setattr(names, "look_up", self)

    def __call__(self, host: str, port: int) -> list[SocketAddress]:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    return Resolver(monkeypatch)


async def find(addresses: Addresses) -> Sequence[SocketAddress]:
    found: list[Sequence[SocketAddress]] = []
    addresses.find(found.append)
    await until(lambda: bool(found))
    await until(lambda: addresses._lookup is None)
    return found[0]


def make(resolve_seconds: float = 30, on_change: Callable[[], None] = lambda: None) -> Addresses:
    return Addresses(asyncio.get_running_loop(), "host.test", 80, resolve_seconds, on_change)


def test_literals() -> None:
    assert a("127.0.0.1") == (V4, ("127.0.0.1", 80))
    assert a("::1") == (V6, ("::1", 80, 0, 0))
    assert literal_address("localhost", 80) is None


def test_the_system_resolver() -> None:
    found = look_up("localhost", 8545)
    assert found
    assert len(set(found)) == len(found)
    assert {address.sockaddr[1] for address in found} == {8545}
    with pytest.raises(OSError, match=r"."):
        look_up("no-such-host.invalid", 80)


@on_both_loops
async def test_literals_are_never_looked_up(resolver: Resolver) -> None:
    addresses = Addresses(asyncio.get_running_loop(), "::1", 80, 0, lambda: None)
    assert await find(addresses) == [a("::1")]
    addresses.refresh_if_old()
    assert resolver.asked == 0


@on_both_loops
async def test_asked_once_for_many_and_remembered(resolver: Resolver) -> None:
    resolver.answer = [a("10.0.0.1")]
    addresses = make()
    found: list[Sequence[SocketAddress]] = []
    for _ in range(5):
        addresses.find(found.append)
    assert not found
    await until(lambda: len(found) == 5)
    assert await find(addresses) == [a("10.0.0.1")]
    assert resolver.asked == 1


@on_both_loops
async def test_a_name_without_address_is_asked_for_again(resolver: Resolver) -> None:
    resolver.answer = OSError("no such name")
    addresses = make()
    assert await find(addresses) == []
    assert addresses.has(a("10.0.0.1"))  # nothing is known against it
    resolver.answer = [a("10.0.0.1")]
    assert await find(addresses) == [a("10.0.0.1")]


@on_both_loops
async def test_stale_answers_are_used_while_dns_fails(resolver: Resolver) -> None:
    resolver.answer = [a("10.0.0.1")]
    addresses = make(resolve_seconds=0)
    await find(addresses)
    for failure in (OSError("down"), UnicodeError("odd"), []):
        resolver.answer = failure
        asked = resolver.asked
        assert await find(addresses) == [a("10.0.0.1")]
        assert resolver.asked == asked + 1
    assert await find(addresses) == [a("10.0.0.1")]


@on_both_loops
async def test_an_old_answer_is_used_at_once_and_renewed_behind(resolver: Resolver) -> None:
    changes: list[bool] = []
    resolver.answer = [a("10.0.0.1"), a("10.0.0.2")]
    addresses = make(0, lambda: changes.append(addresses.has(a("10.0.0.1"))))
    await find(addresses)
    assert not changes
    resolver.answer = [a("10.0.0.2"), a("10.0.0.3")]
    told: list[Sequence[SocketAddress]] = []
    addresses.find(told.append)
    assert told == [[a("10.0.0.1"), a("10.0.0.2")]]
    await until(lambda: bool(changes))
    assert changes == [False]
    assert await find(addresses) == [a("10.0.0.2"), a("10.0.0.3")]
    resolver.answer = [a("10.0.0.3"), a("10.0.0.2")]
    await find(addresses)
    assert (await find(addresses))[0] == a("10.0.0.3")
    assert changes == [False]  # another order is no change


@on_both_loops
async def test_a_fresh_answer_is_not_renewed(resolver: Resolver) -> None:
    resolver.answer = [a("10.0.0.1")]
    addresses = make(30)
    await find(addresses)
    addresses.refresh_if_old()
    await find(addresses)
    assert resolver.asked == 1


@on_both_loops
async def test_what_worked_comes_first_and_what_failed_last(resolver: Resolver) -> None:
    resolver.answer = [a("::1"), a("::2"), a("10.0.0.1")]
    addresses = make()
    assert await find(addresses) == [a("::1"), a("10.0.0.1"), a("::2")]
    addresses.on_connected(a("10.0.0.1"))
    assert await find(addresses) == [a("10.0.0.1"), a("::1"), a("::2")]
    addresses.on_failed(a("::1"))
    assert await find(addresses) == [a("10.0.0.1"), a("::2"), a("::1")]
    addresses.on_connected(a("::1"))
    assert await find(addresses) == [a("::1"), a("10.0.0.1"), a("::2")]


@on_both_loops
async def test_nobody_is_told_after_close(resolver: Resolver) -> None:
    resolver.answer = [a("10.0.0.1")]
    addresses = make()
    told: list[Sequence[SocketAddress]] = []
    addresses.find(told.append)
    addresses.close()
    await until(lambda: resolver.asked == 1)
    assert await find(make()) == [a("10.0.0.1")]  # who asked later has been told
    assert not told


def test_families_take_turns() -> None:
    six = [a(f"::{n}") for n in range(1, 4)]
    four = [a("10.0.0.1")]
    assert interleave(six + four, 0) == [six[0], four[0], six[1], six[2]]
    assert interleave(six + four, V4) == [four[0], six[0], six[1], six[2]]
    assert interleave(six, V4) == six
    assert interleave([], V4) == []


# Dialling


class Dialled:
    def __init__(
        self, addresses: Sequence[SocketAddress], stagger_seconds: float = STAGGER_SECONDS
    ) -> None:
        self.sock: socket.socket | None = None
        self.address: SocketAddress | None = None
        self.error = ""
        self.failed: list[SocketAddress] = []
        self.dial = Dial(
            asyncio.get_running_loop(),
            addresses,
            self._on_connected,
            self._on_failed,
            self.failed.append,
            stagger_seconds,
        )

    def _on_connected(self, sock: socket.socket, address: SocketAddress) -> None:
        assert self.sock is None
        self.sock, self.address = sock, address

    def _on_failed(self, error: str) -> None:
        assert not self.error
        self.error = error

    @property
    def is_done(self) -> bool:
        return self.sock is not None or bool(self.error)


@contextlib.contextmanager
def listening(family: int = V4, host: str = "127.0.0.1") -> Iterator[SocketAddress]:
    with socket.socket(family) as sock:
        sock.bind((host, 0))
        sock.listen()
        yield SocketAddress(family, sock.getsockname())


@contextlib.contextmanager
def blackhole() -> Iterator[SocketAddress]:
    """An address whose connections hang: a full backlog drops further SYNs."""
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.socket())
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(sock.getsockname())
        yield SocketAddress(V4, sock.getsockname())


def refusing() -> SocketAddress:
    with listening() as address:
        pass
    return address


@on_both_loops
async def test_connects_without_delay_and_without_blocking() -> None:
    with listening() as address:
        it = Dialled([address])
        await until(lambda: it.is_done)
        assert it.address == address
        assert it.sock is not None
        with it.sock as sock:
            assert not sock.getblocking()
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@on_both_loops
async def test_ipv6() -> None:
    with listening(V6, "::1") as address:
        it = Dialled([address])
        await until(lambda: it.is_done)
        assert it.sock is not None
        it.sock.close()


@on_both_loops
async def test_a_refusal_goes_to_the_next_at_once() -> None:
    with listening() as address:
        bad = refusing()
        it = Dialled([bad, address], stagger_seconds=1e6)
        await until(lambda: it.is_done)
        assert it.address == address
        assert it.failed == [bad]
        assert it.sock is not None
        it.sock.close()


@on_both_loops
async def test_all_refuse() -> None:
    before = open_sockets()
    bad = [refusing(), refusing()]
    it = Dialled(bad)
    await until(lambda: it.is_done)
    assert it.error == "connection refused"
    assert it.failed == bad
    assert open_sockets() == before


@on_both_loops
async def test_no_address() -> None:
    it = Dialled([])
    assert not it.is_done
    await until(lambda: it.is_done)
    assert it.error == "no address"


@on_both_loops
async def test_an_address_that_cannot_be_dialled() -> None:
    it = Dialled([SocketAddress(V6, ("127.0.0.1", 80, 0, 0))])
    await until(lambda: it.is_done)
    assert it.error


@on_both_loops
async def test_the_second_starts_while_the_first_hangs() -> None:
    with blackhole() as hanging, listening() as address:
        before = open_sockets()
        it = Dialled([hanging, address], stagger_seconds=0.02)
        await until(lambda: it.is_done)
        assert it.address == address
        assert it.failed == [hanging]
        assert it.dial.addresses_tried == []
        assert it.sock is not None
        it.sock.close()
        assert open_sockets() == before


@on_both_loops
async def test_a_late_refusal_waits_for_the_one_that_hangs() -> None:
    with blackhole() as hanging:
        bad = refusing()
        it = Dialled([hanging, bad], stagger_seconds=0.01)
        await until(lambda: it.failed == [bad])
        assert not it.is_done
        assert it.dial.addresses_tried == [hanging]
        it.dial.cancel()


@on_both_loops
async def test_cancelled() -> None:
    before = open_sockets()
    with blackhole() as hanging:
        held = open_sockets()
        it = Dialled([hanging, refusing()])
        await until(lambda: bool(it.dial.addresses_tried))
        it.dial.cancel()
        it.dial.cancel()
        assert open_sockets() == held
        assert not it.is_done
    assert open_sockets() == before
