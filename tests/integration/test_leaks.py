"""Nothing is kept: after many requests, faults, hang-ups and reloads all counts are back. A loop that
was blocked blames nobody.

That memory stays bounded is an exam: ``tests/exam/exam_memory.py``.
"""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from rpcproxy.app.chain import ChainRuntime
from rpcproxy.config import model
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
from tests.kits.waiting import limited, until
from tests.sockets import front_kit, scripted

REQUESTS = 1000
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
    await until(lambda: not leftovers(world), "nothing is counted as under way")


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
        async with limited():
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
            await asyncio.sleep(0.1)
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
        await until(lambda: max(_connections(world)) < 20)


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
        await until(lambda: hanging.open_connections - hanging.idle_connections <= 2)
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
        await until(lambda: not any(t.get_name() == "watch test/up1" for t in _tasks()))
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
        await until(lambda: all(s.state == "up" for s in standings))
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
