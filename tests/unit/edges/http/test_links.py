"""A plain link: what happens when the socket takes less, takes nothing, or breaks."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

from rpcproxy.edges.http.links import Link, Loss
from tests.kits.waiting import until
from tests.sockets.scripted import on_both_loops


class Heard:
    def __init__(self) -> None:
        self.data = b""
        self.lost: list[Loss] = []

    def on_bytes(self, data: bytes) -> bool:
        self.data += data
        return True

    def on_lost(self, loss: Loss) -> None:
        self.lost.append(loss)


class Played(socket.socket):
    """A real socket whose next steps can be told."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock.family, sock.type, fileno=sock.detach())
        self.setblocking(False)
        self.sends: list[int | Exception] = []
        self.receives: list[Exception] = []

    def send(self, data: bytes | memoryview, *_: int) -> int:
        step = self.sends.pop(0) if self.sends else len(data)
        if isinstance(step, Exception):
            raise step
        return super().send(data[:step])

    def recv(self, size: int, *_: int) -> bytes:
        if self.receives:
            raise self.receives.pop(0)
        return super().recv(size)


@contextlib.contextmanager
def played() -> Iterator[tuple[Played, Heard, Link, socket.socket]]:
    near, far = socket.socketpair()
    sock, heard = Played(near), Heard()
    link = Link(asyncio.get_running_loop(), sock, heard)
    with far:
        far.setblocking(False)
        yield sock, heard, link, far
        link.close()
    link.close()
    assert sock.fileno() == -1


@on_both_loops
async def test_partial_writes() -> None:
    with played() as (sock, _, link, far):
        sock.sends = [BlockingIOError(), 2, BlockingIOError(), 3]
        link.write(b"request")
        assert link.unsent == b"request"
        await until(lambda: link.unsent is None)
        assert far.recv(100) == b"request"


@on_both_loops
async def test_a_broken_write_is_told_by_the_reading_side_with_what_came_before() -> None:
    for sends in ([BrokenPipeError()], [2, ConnectionResetError()]):
        with played() as (sock, heard, link, far):
            far.send(b"last words")
            sock.sends = list(sends)
            link.write(b"request")
            assert heard.lost == []
            await until(lambda heard=heard: bool(heard.lost))
            assert heard.data == b"last words"
            assert heard.lost == [Loss.END]


@on_both_loops
async def test_events_without_data_are_no_loss() -> None:
    with played() as (sock, heard, _, far):
        sock.receives = [BlockingIOError()]
        far.send(b"data")
        await until(lambda: heard.data == b"data")


@on_both_loops
async def test_losses() -> None:
    with played() as (sock, heard, link, far):
        sock.receives = [ConnectionResetError()]
        far.send(b"x")
        await until(lambda: heard.lost == [Loss.RESET])
        assert not link.is_open
        link.resume()
    with played() as (_, heard, link, far):
        far.close()
        await until(lambda: heard.lost == [Loss.END])


@on_both_loops
async def test_paused_it_reads_nothing() -> None:
    with played() as (_, heard, link, far):
        link.pause()
        link.pause()
        far.send(b"data")
        with played() as (_, other, _, other_far):
            other_far.send(b"sent later")
            await until(lambda: other.data == b"sent later")
        assert heard.data == b""
        link.resume()
        link.resume()
        await until(lambda: heard.data == b"data")
