"""Listening sockets from elsewhere: a service manager's, and those of another process."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rpcproxy.edges.process.given_sockets import (
    LONGEST_PATH_BYTES,
    Broken,
    Channel,
    SocketPath,
    from_service_manager,
    is_own_peer,
)
from tests.kits.waiting import LIMIT_SECONDS

PID = 4242
FIRST = 200


@pytest.fixture
def descriptors() -> Iterator[list[int]]:
    """Three listening sockets with numbers that follow each other, as from 3 on."""
    made = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    numbers = [os.dup2(each.fileno(), FIRST + place) for place, each in enumerate(made)]
    for each in made:
        each.close()
    yield numbers
    for number in numbers:
        with contextlib.suppress(OSError):  # a socket object had it
            os.close(number)


def environ(count: int, names: str = "", pid: int = PID) -> dict[str, str]:
    given = {"LISTEN_PID": str(pid), "LISTEN_FDS": str(count), "HOME": "/"}
    return {**given, "LISTEN_FDNAMES": names} if names else given


@pytest.mark.parametrize(
    ("count", "names", "expected"),
    [
        (1, "", {"wallet": [200]}),
        (2, "", {"wallet": [200], "admin": [201]}),
        (2, "admin:wallet", {"admin": [200], "wallet": [201]}),
        (3, "wallet:wallet:admin", {"wallet": [200, 201], "admin": [202]}),
        (2, "rpcproxy.socket:rpcproxy.socket", {"wallet": [200], "admin": [201]}),
        (0, "", {}),
    ],
)
def test_names_else_the_order(
    descriptors: list[int], count: int, names: str, expected: dict[str, list[int]]
) -> None:
    variables = environ(count, names)
    found = from_service_manager(variables, PID, FIRST)
    assert {name: [s.fileno() for s in sockets] for name, sockets in found.items()} == expected
    assert variables == {"HOME": "/"}, "no process of ours is to believe them"
    for each in (each for sockets in found.values() for each in sockets):
        assert not each.get_inheritable()
        assert each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        each.detach()


@pytest.mark.parametrize(
    "variables", [{}, environ(1, pid=1), {"LISTEN_FDS": "1"}, {**environ(1), "LISTEN_FDS": "x"}]
)
def test_what_is_not_for_us_is_left(variables: dict[str, str]) -> None:
    assert from_service_manager(dict(variables), PID) == {}


# ---- from process to process


@pytest.fixture
def channels() -> Iterator[tuple[Channel, Channel, socket.socket]]:
    one, other = socket.socketpair()
    pair = Channel(one, 5.0), Channel(other, 5.0), one
    yield pair
    for each in pair[:2]:
        each.close()


def test_words_and_sockets_arrive(channels: tuple[Channel, Channel, socket.socket]) -> None:
    one, other, _ = channels
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as second:
        one.send({"sockets": ["wallet", "admin"]}, [server.fileno(), second.fileno()])
        address = server.getsockname()
    words, numbers = other.receive()
    assert words == {"sockets": ["wallet", "admin"]}
    with socket.socket(fileno=numbers[0]) as got, socket.socket(fileno=numbers[1]):
        assert got.getsockname() == address
        assert not got.get_inheritable()
        with socket.create_connection(address), got.accept()[0]:
            pass
    other.send({"want": "x" * 40_000})
    assert len(one.receive()[0]["want"]) == 40_000


def test_what_is_none_of_our_words(channels: tuple[Channel, Channel, socket.socket]) -> None:
    one, other, raw = channels
    mine = Path("/proc/self/fd")
    before = len(list(mine.iterdir())) if mine.is_dir() else 0
    one.send([1], [raw.fileno()])
    with pytest.raises(Broken, match="does not speak as we do"):
        other.receive()
    if before:
        assert len(list(mine.iterdir())) == before, "what came with it is closed"
    raw.sendall(b'{"half":')
    one.close()
    with pytest.raises(Broken, match="left"):
        other.receive()


def test_a_flood_is_cut_off(channels: tuple[Channel, Channel, socket.socket]) -> None:
    _, other, raw = channels

    def flood() -> None:
        with contextlib.suppress(OSError):
            raw.sendall(b"x" * 1_000_000)

    sender = threading.Thread(target=flood)
    sender.start()
    with pytest.raises(Broken):
        other.receive()
    other.close()
    sender.join(LIMIT_SECONDS)
    assert not sender.is_alive()


def test_words_that_never_end_are_cut_off(
    channels: tuple[Channel, Channel, socket.socket],
) -> None:
    _, other, raw = channels
    has_ended = threading.Event()

    def drip() -> None:
        with contextlib.suppress(OSError):
            while not has_ended.wait(0.01):
                raw.sendall(b" ")

    sender = threading.Thread(target=drip)
    sender.start()
    try:
        with pytest.raises(Broken, match=r"within 0.1 s"):
            other.receive(0.1)
    finally:
        has_ended.set()
        sender.join(LIMIT_SECONDS)


def test_one_that_leaves_is_noticed(channels: tuple[Channel, Channel, socket.socket]) -> None:
    one, other, _ = channels
    assert not other.has_left
    one.send({"want": "sockets"})
    assert not other.has_left, "its words are to be heard first"
    other.receive()
    one.close()
    assert other.has_left
    assert one.has_left, "closed here"


def test_closing_wakes_whoever_waits(channels: tuple[Channel, Channel, socket.socket]) -> None:
    one, _, _ = channels
    ends: list[BaseException] = []

    def wait() -> None:
        try:
            one.receive()
        except (Broken, OSError) as error:
            ends.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    one.close()
    waiting.join(LIMIT_SECONDS)
    assert len(ends) == 1


@pytest.mark.parametrize("length", [10, LONGEST_PATH_BYTES + 60])
def test_a_place_of_any_length(tmp_path: Path, length: int) -> None:
    directory = tmp_path
    while len(str(directory)) < length:
        directory /= "d" * 40
    place = SocketPath(directory / "name.sock")
    assert place.identity() is None
    with pytest.raises(FileNotFoundError):
        place.connect()
    with place.listen() as first:
        before = place.identity()
        assert place.path.stat().st_mode & 0o777 == 0o600
        assert place.path.parent.stat().st_mode & 0o077 in (0, 0o055)
        with place.connect(), first.accept()[0] as peer:
            assert is_own_peer(peer)
        with place.listen(), place.connect():
            assert place.identity() != before
    with pytest.raises(ConnectionRefusedError):
        place.connect()
