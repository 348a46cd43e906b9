"""Clients that ask for more than can be held: memory stays bounded, and neighbours are served.
``benchmarks/greedy.py`` measures the same; that one that reads gets all of it, in order, is
``tests/integration/test_large_members.py``.

Others that were ended in this way: eRPC 1126 (parts of eth_getLogs, joined without a bound: 14 GiB),
rust-rpxy 596 (the whole answer in the write buffer of a slow reader), bun 32469 and Gravitee 918
(a stream read on, whatever the client takes).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import socketserver
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Self

from rpcproxy.config import model
from tests.exam.control_load import ControlLoad
from tests.exam.judging import Sheet, assert_at_most
from tests.integration import rpc_kit
from tests.integration.test_fuzz import World, a_world, answer_to, quietly
from tests.integration.test_large_members import a_batch
from tests.integration.test_leaks import until_nothing_is_left
from tests.kits.waiting import until
from tests.sockets import front_kit, scripted

MIB = 1024 * 1024
LARGE = 64 * MIB
CLIENTS = 50
STOP_AT = 9 * MIB
PIECE = b"x" * (256 * 1024)
SLOW = model.Deadlines(heavy_seconds=60.0)


def rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


class LargeAnswers:
    """An upstream in a process of its own, so that the proxy's loop does not slow it down."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve_large, args=(theirs,), daemon=True)
        self.url = ""

    async def __aenter__(self) -> Self:
        self._process.start()
        self.url = f"http://127.0.0.1:{await asyncio.to_thread(self._pipe.recv)}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pipe.close()
        await asyncio.to_thread(self._process.join)

    def asked(self) -> int:
        """How many large answers were asked for."""
        self._pipe.send("?")
        count: int = self._pipe.recv()
        return count


def _serve_large(pipe: Connection) -> None:
    """The process; it ends with the other end of the pipe."""
    with _LargeServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        pipe.send(server.server_address[1])
        with contextlib.suppress(EOFError):
            while pipe.recv():
                pipe.send(len(server.asked))
        server.shutdown()


class _LargeServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _LargeAnswer)
        self.asked: list[int] = []


class _LargeAnswer(socketserver.StreamRequestHandler):
    server: _LargeServer

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while head := self._head():
                body = self.rfile.read(int(head.split(b"content-length: ")[1].split()[0]))
                if b"debug_traceCall" in body:
                    self.server.asked.append(1)
                    self._answer(*answer_to(body).split(b"0x900d"))
                else:
                    self.connection.sendall(scripted.reply(answer_to(body)))

    def _head(self) -> bytes:
        lines = []
        while line := self.rfile.readline().strip():
            lines.append(line.lower())
        return b"\n".join(lines)

    def _answer(self, start: bytes, end: bytes) -> None:
        size = len(start) + LARGE + len(end)
        self.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + start)
        for _ in range(LARGE // len(PIECE)):
            self.connection.sendall(PIECE)
        self.connection.sendall(end)


async def greedy(world: World, first: int) -> front_kit.Client:
    client = await world.open(limit=1024)
    client.writer.transport.pause_reading()
    client.send(front_kit.post(a_batch(20, first)))
    return client


@quietly
async def _leave_batches_unread() -> None:
    async with a_world(LargeAnswers(), LargeAnswers(), deadlines=SLOW, hedge=5.0) as world:
        holdings = world.proxy.holdings
        gc.collect()
        before = rss()
        clients = [await greedy(world, 20 * number) for number in range(3)]
        await until(lambda: holdings.most > 32 * MIB)
        for _ in range(20):
            await world.assert_serves()
            await asyncio.sleep(0.05)
        grown = rss() - before
        assert holdings.most <= holdings.total_bytes
        assert grown < 500 * MIB, f"{grown / MIB:.0f} MiB"
        for client in clients:
            client.reset()
        await until(lambda: holdings.used == 0)
        await until_nothing_is_left(world)


@quietly
async def _read_slowly() -> None:
    async def read(client: front_kit.Client, stop_at: int) -> int:
        """Chunks of an answer, up to so many bytes or its end."""
        got = 0
        while got < stop_at:
            size = int(await client.reader.readuntil(b"\r\n"), 16)
            if not size:
                break
            await client.reader.readexactly(size + 2)
            got += size
        return got

    upstreams = LargeAnswers(), LargeAnswers()
    async with a_world(
        *upstreams,
        deadlines=model.Deadlines(heavy_seconds=60.0),
        hedge=1.0,  # the first byte of fifty takes its time where others need the processor too
    ) as world:
        gc.collect()
        before = rss()
        clients = [await world.open(limit=64 * 1024) for _ in range(CLIENTS)]
        for client in clients:
            client.send(front_kit.post(rpc_kit.request("debug_traceCall", b'[{},"latest"]')))
        heads = await asyncio.gather(*(client.head() for client in clients))
        assert {status for status, _ in heads} == {200}
        got = await asyncio.gather(*(read(client, STOP_AT) for client in clients))
        await asyncio.sleep(0.3)  # nobody reads: what is to be buffered is buffered now
        grown = rss() - before
        assert grown < 600 * MIB, f"{grown / MIB:.0f} MiB"
        for client in clients[4:]:
            client.reset()
        rest = await asyncio.gather(*(read(client, 2 * LARGE) for client in clients[:4]))
        for first, more in zip(got, rest, strict=False):
            assert LARGE < first + more < LARGE + 200
        asked = sum(upstream.asked() for upstream in upstreams)
        assert_at_most(asked / CLIENTS, 1.1, "calls for each")
        for client in clients:
            client.reset()
        await until_nothing_is_left(world)


def test_batches_of_large_answers_that_nobody_reads_take_bounded_memory(
    control: ControlLoad, sheet: Sheet
) -> None:
    with control.judged(sheet):
        _leave_batches_unread()


def test_fifty_slow_readers_of_large_answers_take_bounded_memory(
    control: ControlLoad, sheet: Sheet
) -> None:
    with control.judged(sheet):
        _read_slowly()
