"""What the service manager hears."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rpcproxy.edges.process.notify_socket import NotifySocket


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "n"))
        listening.setblocking(False)
        yield listening


def heard(manager: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(manager.recv(4096).decode())
        except BlockingIOError:
            return found


def test_each_word(manager: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "20000000", "HOME": "/"}
    notify = NotifySocket.of(environ, 7)
    assert environ == {"HOME": "/"}
    assert notify.is_heard
    assert notify.watchdog_seconds == 20.0
    notify.ready()
    notify.ready(is_new_process=True)
    notify.status("two\nlines  here")
    notify.alive()
    before = time.monotonic_ns() // 1000
    notify.reloading()
    notify.stopping()
    words = heard(manager)
    assert words[:4] == [
        "READY=1",
        f"READY=1\nMAINPID={os.getpid()}",
        "STATUS=two lines here",
        "WATCHDOG=1",
    ]
    reloading, moment = words[4].split("\nMONOTONIC_USEC=")
    assert reloading == "RELOADING=1"
    assert before <= int(moment) <= time.monotonic_ns() // 1000
    assert words[5].startswith("STOPPING=1\nSTATUS=")
    notify.close()
    notify.alive()
    assert heard(manager) == []


@pytest.mark.parametrize(
    ("pid", "usec", "expected"),
    [("", "3000000", 3.0), ("7", "3000000", 3.0), ("8", "3000000", None), ("", "0", None)],
)
def test_whose_watchdog_it_is(
    manager: socket.socket, pid: str, usec: str, expected: float | None
) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": usec, "WATCHDOG_PID": pid}
    notify = NotifySocket.of(environ, 7)
    assert notify.watchdog_seconds == expected
    notify.close()


def test_nobody_there_is_no_trouble(tmp_path: Path) -> None:
    for environ in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone")}, {"WATCHDOG_USEC": "1000"}):
        notify = NotifySocket.of(environ, 7)
        notify.ready()
        notify.alive()
        notify.close()
    assert not NotifySocket().is_heard
    assert NotifySocket("", 3.0).watchdog_seconds is None


def test_a_manager_that_does_not_read_holds_up_nothing(manager: socket.socket) -> None:
    notify = NotifySocket(manager.getsockname())
    for _ in range(5000):
        notify.alive()
    assert 0 < len(heard(manager)) < 5000
    notify.close()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="abstract sockets are Linux's")
def test_an_abstract_address() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0rpcproxy-test-{os.getpid()}")
        notify = NotifySocket(f"@rpcproxy-test-{os.getpid()}")
        notify.ready()
        assert listening.recv(100) == b"READY=1"
        notify.close()
