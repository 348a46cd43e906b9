"""Clients that ask for more than can be held: memory stays bounded, neighbours are served, and one
that reads gets all of it. ``benchmarks/greedy.py`` measures the same.

Others that were ended in this way: eRPC 1126 (parts of eth_getLogs, joined without a bound: 14 GiB),
rust-rpxy 596 (the whole answer in the write buffer of a slow reader), bun 32469 and Gravitee 918
(a stream read on, whatever the client takes).
"""

from __future__ import annotations

import asyncio
import gc
import json

import pytest

from rpcproxy.config import model
from tests import front_kit
from tests.integration import rpc_kit
from tests.integration.test_fuzz import World, a_world, quietly
from tests.integration.test_leaks import LARGE, MIB, LargeAnswers, rss, until_nothing_is_left

pytestmark = pytest.mark.alone

SLOW = model.Deadlines(heavy_seconds=60.0)


def a_batch(members: int, first: int = 0) -> bytes:
    calls = [
        rpc_kit.request("debug_traceCall", b'[{"data":"0x%04x"},"latest"]' % n, id=b"%d" % n)
        for n in range(first, first + members)
    ]
    return b"[%b]" % b",".join(calls)


async def ids_of(client: front_kit.Client) -> tuple[list[int], int]:
    """The ids in an array of answers that come in chunks, and how large it is."""
    status, headers = await client.head()
    assert (status, headers["transfer-encoding"]) == (200, "chunked")
    ids, size, tail = [], 0, b""
    while count := int(await client.reader.readuntil(b"\r\n"), 16):
        piece = (await client.reader.readexactly(count + 2))[:-2]
        size += count
        window = tail + piece
        for part in window.split(b'"id":')[1:]:
            number = part.split(b",", 1)
            if len(number) == 2 and number[0].isdigit() and len(number[0]) < 6:
                ids.append(int(number[0]))
        tail = window[-40:] if b'"id":' not in window[-40:] else b""
    await client.reader.readexactly(2)
    return ids, size


async def greedy(world: World, first: int) -> front_kit.Client:
    client = await world.open(limit=1024)
    client.writer.transport.pause_reading()
    client.send(front_kit.post(a_batch(20, first)))
    return client


@quietly
async def test_batches_of_large_answers_that_nobody_reads_take_bounded_memory() -> None:
    async with a_world(LargeAnswers(), LargeAnswers(), deadlines=SLOW, hedge=5.0) as world:
        holdings = world.proxy.holdings
        gc.collect()
        before = rss()
        clients = [await greedy(world, 20 * number) for number in range(3)]
        await front_kit.until(lambda: holdings.most > 32 * MIB, seconds=30.0)
        for _ in range(20):
            await world.assert_serves()
            await asyncio.sleep(0.05)
        grown = rss() - before
        assert holdings.most <= holdings.total_bytes
        assert grown < 500 * MIB, f"{grown / MIB:.0f} MiB"
        for client in clients:
            client.reset()
        await front_kit.until(lambda: holdings.used == 0, seconds=30.0)
        await until_nothing_is_left(world)


@quietly
async def test_who_reads_gets_every_member_in_order() -> None:
    async with a_world(LargeAnswers(), deadlines=SLOW, hedge=5.0) as world:
        client = await world.open()
        client.send(front_kit.post(a_batch(6)))
        async with asyncio.timeout(60):
            ids, size = await ids_of(client)
        assert ids == [0, 1, 2, 3, 4, 5]
        assert size > 6 * LARGE
        client.send(front_kit.post(b"[%b]" % rpc_kit.request("eth_gasPrice", id=b"9")))
        assert json.loads((await client.response()).body)[0]["id"] == 9, "the connection goes on"
        client.reset()
        assert world.proxy.holdings.used == 0
        await until_nothing_is_left(world)
