"""Nothing is kept: after thousands of requests, faults, hang-ups and reloads all counts are back.

Memory stays bounded while many clients read large answers slowly, and a loop that was blocked
blames nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import random
import socketserver
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Self

import pytest

from rpcproxy.app.chain import ChainRuntime
from rpcproxy.config import model
from tests import front_kit, scripted
from tests.integration import rpc_kit
from tests.integration.test_fuzz import (
    BODIES,
    World,
    a_world,
    answer_to,
    as_http,
    broken,
    configuration,
    described,
    quietly,
    well,
)

pytestmark = pytest.mark.alone

MIB = 1024 * 1024
REQUESTS = 3000
WORKERS = 40
RELOADS = 8


def moody(rng: random.Random) -> scripted.Script:
    """Well for the most part; else silent, slow, refusing, cut off, or gone."""

    async def script(peer: scripted.Peer) -> None:
        while True:
            _, _, body = (await peer.request()).partition(b"\r\n\r\n")
            peer.requests.clear()
            text = answer_to(body)
            match rng.randrange(40):
                case 0:
                    await peer.gone()
                    return
                case 1:
                    await asyncio.sleep(0.2)
                    await peer.send(as_http(text, rng))
                case 2:
                    await peer.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")
                case 3:
                    await peer.send(as_http(text, rng)[:-3])
                    peer.reset()
                    return
                case 4:
                    await peer.send(as_http(text, rng))
                    return
                case _:
                    await peer.send(as_http(text, rng))

    return script


def runtimes(world: World) -> list[ChainRuntime]:
    """The chain at work, and those that were replaced."""
    return [*world.proxy.chains.values(), *world.proxy._retired]


def leftovers(world: World) -> list[str]:
    """What is still counted as under way, in words."""
    left = []
    for runtime in runtimes(world):
        executor = runtime.executor
        counts = {
            "in flight": sum(map(len, executor._in_flight.values())),
            "lingering": len(executor._lingering),
            "waiting": len(executor._waiting) + len(executor._recovery_waiters),
            "counted in flight": sum(s.in_flight for s in runtime.standings),
            "overdue": sum(r.overdue for s in runtime.standings for r in s.classes),
            "sends": len(runtime.pipeline._broadcast._in_flight),
            "copies": len(runtime.pipeline._broadcast.copies._under_way),
        }
        left += [f"{count} {what}" for what, count in counts.items() if count]
    listener = world.proxy.listener
    assert listener is not None
    if listener.open_connections:
        left.append(f"{listener.open_connections} clients")
    return left


async def until_nothing_is_left(world: World) -> None:
    try:
        await front_kit.until(lambda: not leftovers(world))
    except TimeoutError:
        raise AssertionError(leftovers(world)) from None


async def one_client(world: World, rng: random.Random, count: int) -> int:
    """Ask on keep-alive connections; hang up now and then. How many answers came."""
    answered = 0
    client = await world.open()
    for _ in range(count):
        client.send(front_kit.post(rng.choice(BODIES)))
        if rng.random() < 0.15:
            await asyncio.sleep(rng.choice((0, 0.001, 0.02, 0.3)))
            client.reset()
            client = await world.open()
            continue
        async with asyncio.timeout(8):
            response = await client.response()
        assert response.status == 200
        answered += 1
    client.reset()
    return answered


@quietly
async def test_faults_hang_ups_and_reloads_leave_nothing() -> None:
    rng = random.Random(7)
    async with a_world(moody(rng), moody(rng), broken(rng, 0.1), well) as world:
        work = asyncio.gather(
            *(one_client(world, rng, REQUESTS // WORKERS) for _ in range(WORKERS))
        )
        for number in range(RELOADS):
            await asyncio.sleep(0.25)
            servers = list(world.servers)
            if number % 2:
                servers.pop(rng.randrange(3))
            world.proxy.reload(configuration(servers))
        answers = await work
        assert sum(answers) > REQUESTS * 0.75
        await until_nothing_is_left(world)
        world.runtime = world.proxy.chains["test"]
        await world.assert_serves()
        # Tasks: a watcher per upstream, the retired chains, and who serves the tests' servers.
        mine = [t.get_name() for t in asyncio.all_tasks() if t.get_name().startswith("watch ")]
        assert len(mine) == len(world.runtime.wires)
        names = {t.get_name() for t in asyncio.all_tasks()}
        assert not [n for n in names if n.startswith(("send", "promoted", "head question"))]
        await front_kit.until(lambda: max(_connections(world)) < 20)


def _connections(world: World) -> list[int]:
    return [wire.open_connections for runtime in runtimes(world) for wire in runtime.wires.values()]


@quietly
async def test_upstreams_that_hang_keep_no_connection_through_reloads() -> None:
    async def hang(peer: scripted.Peer) -> None:
        await peer.request()
        await peer.gone()

    async with a_world(well, hang) as world:
        for _ in range(12):
            world.proxy.reload(configuration(world.servers))
            await asyncio.sleep(0.02)
        hanging = world.proxy.chains["test"].wires["up1"]
        # One probe is under way; all those of the chains before were given up.
        await front_kit.until(lambda: hanging.open_connections - hanging.idle_connections <= 2)
        await world.assert_serves()


@quietly
async def test_a_reload_that_cannot_be_built_changes_nothing() -> None:
    async with a_world(well) as world:
        before = dict(world.proxy.chains)
        bad = described(world.servers)[0].model_copy(update={"headers": {"Connection": "x"}})
        first = configuration(world.servers).chains[0]
        chains = (first, first.model_copy(update={"name": "other", "upstreams": (bad,)}))
        with pytest.raises(ValueError, match="Connection"):
            world.proxy.reload(model.Config(server=world.proxy.config.server, chains=chains))
        assert world.proxy.chains == before
        assert not world.proxy._retired
        await world.assert_serves()


@quietly
async def test_connections_live_as_long_as_any_chain_that_uses_them() -> None:
    async with a_world(well, well) as world:
        proxy = world.proxy
        shared = world.runtime.wires["up1"]
        proxy.reload(configuration(world.servers))  # the second chain takes the wire over
        (first,) = proxy._retiring
        proxy.reload(configuration(world.servers[:1]))  # the third has no use for it
        (second,) = proxy._retiring - {first}
        await world.assert_serves()
        await front_kit.until(lambda: not any(t.get_name() == "watch test/up1" for t in _tasks()))
        for retiring, is_closed in ((first, False), (second, True)):
            retiring.cancel()  # its time is over
            await asyncio.wait([retiring])
            assert shared._is_closed is is_closed
        assert not proxy._retired
        await world.assert_serves()


def _tasks() -> set[asyncio.Task[object]]:
    return asyncio.all_tasks()


@quietly
async def test_a_loop_that_was_blocked_blames_nobody() -> None:
    async with a_world(well, well, well, well) as world:
        standings = world.runtime.standings
        await scripted.until(lambda: all(s.state == "up" for s in standings))
        client = await world.open()
        await client.ask(BODIES[0])  # the method is known: what follows goes by the express lane
        client.reset()
        loop = asyncio.get_running_loop()
        for _ in range(6):
            asks = [asyncio.ensure_future(world.ask(BODIES[0])) for _ in range(40)]
            await asyncio.sleep(0.002)  # some are under way
            loop.call_soon(time.sleep, 0.2)
            for response in await asyncio.gather(*asks):
                assert b'"result":"0x900d"' in response.body
        assert [s.state for s in standings] == ["up"] * 4
        assert not [kind for _, kind in world.runtime.counters.changes if kind == "ejected"]
        failed = [
            (name, label)
            for name, tally in world.runtime.counters.attempts.items()
            for label, count in tally.labels.items()
            if count and label != "ok"
        ]
        assert not failed
        await until_nothing_is_left(world)


# ---- memory

LARGE = 64 * MIB
CLIENTS = 50
STOP_AT = 9 * MIB
PIECE = b"x" * (256 * 1024)


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


@quietly
async def test_fifty_slow_readers_of_large_answers_take_bounded_memory() -> None:
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
        assert sum(upstream.asked() for upstream in upstreams) <= CLIENTS * 1.1
        for client in clients:
            client.reset()
        await until_nothing_is_left(world)
