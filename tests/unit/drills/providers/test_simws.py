"""The simulated provider's WebSocket side, under the proxy's own feed and by hand."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from typing import Any, cast

import aiohttp
import pytest

from rpcproxy.chains.evm.feed import NEW_HEADS
from rpcproxy.drills.evm.simchain import SimChain
from rpcproxy.drills.evm.simview import SimView
from rpcproxy.drills.providers.simws import Subscriber
from rpcproxy.drills.scenarios import faults
from rpcproxy.drills.scenarios.fault import Fault, RpcError
from rpcproxy.drills.scenarios.faults import WELL
from rpcproxy.edges.ws.newheads import FeedSettings, HeadFeed
from rpcproxy.messages import Head
from tests.kits.waiting import LIMIT_SECONDS, until
from tests.sockets.scripted import on_both_loops


class Stage(asyncio.Protocol):
    """Stands for the provider: reads the upgrade's head, and hands the connection over."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if end:
            key = re.search(rb"Sec-WebSocket-Key: (\S+)", head, re.IGNORECASE)
            assert key is not None
            house = self._house
            subscriber = Subscriber(key[1], house.see, house.open.remove)
            house.open.append(subscriber)
            subscriber.take_over(self._transport, rest)


class House:
    def __init__(self) -> None:
        self.chain = SimChain(7, start_number=1000)
        self.fault = WELL
        self.lag_blocks = 0
        self.fork_at: int | None = None
        self.open: list[Subscriber] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/"

    def see(self) -> tuple[SimView, Fault]:
        head = self.chain.head - self.lag_blocks
        return SimView(self.chain, head, 7, self.fork_at), self.fault

    def mine(self, count: int = 1) -> None:
        for _ in range(count):
            self.chain.mine(1_700_000_000)


@contextlib.asynccontextmanager
async def a_house() -> AsyncIterator[House]:
    house = House()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Stage(house), "127.0.0.1", 0)
    house.port = server.sockets[0].getsockname()[1]
    try:
        yield house
    finally:
        server.close()
        for subscriber in list(house.open):
            subscriber.close()
        await until(lambda: not house.open)


class Heard:
    def __init__(self) -> None:
        self.heads: list[Head] = []
        self.states: list[bool] = []

    @property
    def numbers(self) -> list[int]:
        return [head.number for head in self.heads]


@contextlib.asynccontextmanager
async def a_feed(
    house: House, block_time_seconds: float = 2.0, **settings: Any
) -> AsyncIterator[Heard]:
    heard = Heard()
    feed = HeadFeed(
        "sim",
        house.url,
        {},
        FeedSettings(
            block_time_seconds,
            NEW_HEADS,
            first_pause_seconds=0.001,
            longest_pause_seconds=0.01,
            **settings,
        ),
        lambda head, _: heard.heads.append(head),
        lambda is_live, _: heard.states.append(is_live),
    )
    feed.start()
    try:
        await until(lambda: bool(heard.states))
        yield heard
    finally:
        await feed.close()


@on_both_loops
async def test_blocks_are_announced_in_order_and_linked() -> None:
    async with a_house() as house, a_feed(house) as heard:
        house.mine()
        await until(lambda: len(heard.heads) == 1)
        house.mine(3)
        await until(lambda: len(heard.heads) == 4)
        assert heard.numbers == [1001, 1002, 1003, 1004]
        view, _ = house.see()
        assert [head.hash for head in heard.heads] == [view.block_hash(n) for n in heard.numbers]
        links = [
            (a.hash, b.parent_hash) for a, b in zip(heard.heads, heard.heads[1:], strict=False)
        ]
        assert all(hash == parent for hash, parent in links)


@on_both_loops
async def test_a_laggard_announces_what_it_sees() -> None:
    async with a_house() as house:
        house.lag_blocks = 2
        async with a_feed(house) as heard:
            house.mine()
            await until(lambda: heard.numbers == [999])
            house.lag_blocks = 1
            await until(lambda: heard.numbers == [999, 1000])


@on_both_loops
async def test_a_head_that_falls_and_a_fork_are_announced_once() -> None:
    async with a_house() as house, a_feed(house) as heard:
        house.mine(2)
        await until(lambda: heard.numbers == [1001, 1002])
        house.lag_blocks = 2
        await until(lambda: heard.numbers[2:] == [1000])
        house.lag_blocks, house.fork_at = 0, 1001
        await until(lambda: heard.numbers[3:] == [1001, 1002])
        house.fork_at = None
        await until(lambda: heard.numbers[5:] == [1002])
        view, _ = house.see()
        assert heard.heads[-1].hash == view.block_hash(1002)
        assert heard.heads[4].hash != view.block_hash(1002)


@pytest.mark.parametrize("fault", [faults.BLACKHOLE, faults.FREEZE])
@on_both_loops
async def test_nothing_is_said_while_silent_or_frozen(fault: Fault) -> None:
    async with a_house() as house, a_feed(house) as heard:
        house.mine()
        await until(lambda: len(heard.heads) == 1)
        house.fault = fault
        house.mine()
        async with aiohttp.ClientSession() as session, session.ws_connect(house.url) as socket:
            await socket.send_str('{"id":1,"method":"eth_blockNumber"}')
            with pytest.raises(TimeoutError):
                await socket.receive(timeout=0.1)
            assert heard.numbers == [1001]
            house.fault = WELL
            await until(lambda: heard.numbers == [1001, 1002])
            if fault.is_frozen:  # what a frozen provider was sent waits for it
                assert (
                    json.loads(await socket.receive_str(timeout=LIMIT_SECONDS))["result"] == "0x3ea"
                )


@on_both_loops
async def test_the_feed_leaves_a_silent_provider() -> None:
    hasty = {"least_silence_seconds": 0.1, "answer_seconds": 0.1}
    async with a_house() as house, a_feed(house, block_time_seconds=0.01, **hasty) as heard:
        house.fault = faults.BLACKHOLE
        await until(lambda: heard.states == [True, False])
        house.fault = WELL
        await until(lambda: heard.states[:3] == [True, False, True])


@on_both_loops
async def test_a_provider_that_goes_down_closes() -> None:
    async with a_house() as house, a_feed(house) as heard:
        house.fault = faults.REFUSE
        await until(lambda: False in heard.states)


@on_both_loops
async def test_delayed_announcements() -> None:
    async with a_house() as house, a_feed(house) as heard:
        house.fault = Fault(name="late", delay_seconds=0.05)
        loop = asyncio.get_running_loop()
        began = loop.time()
        house.mine()
        await until(lambda: bool(heard.heads))
        assert loop.time() - began >= 0.045


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ({"id": 1, "method": "net_version"}, "7"),
        ({"id": 1, "method": "eth_subscribe", "params": ["newHeads"]}, "0x51b"),
        ({"id": 1, "method": "eth_subscribe", "params": ["logs", {}]}, -32602),
        ({"id": 1, "method": "eth_subscribe"}, -32602),
        ({"id": 1, "method": "no"}, -32601),
        ({"id": 1}, -32600),
    ],
)
@on_both_loops
async def test_calls(call: dict[str, Any], answer: object) -> None:
    async with (
        a_house() as house,
        aiohttp.ClientSession() as session,
        session.ws_connect(house.url) as socket,
    ):
        await socket.send_json(call)
        reply = await socket.receive_json(timeout=LIMIT_SECONDS)
        assert reply.get("result", reply.get("error", {}).get("code")) == answer


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(name="e", error=RpcError(-32000, "no")), -32000),
        (Fault(name="m", missing_method="eth_subscribe"), -32601),
    ],
)
@on_both_loops
async def test_a_refused_subscription(fault: Fault, code: int) -> None:
    async with a_house() as house, aiohttp.ClientSession() as session:
        house.fault = fault
        async with session.ws_connect(house.url) as socket:
            await socket.send_json({"id": 1, "method": "eth_subscribe", "params": ["newHeads"]})
            assert (await socket.receive_json(timeout=LIMIT_SECONDS))["error"]["code"] == code


@on_both_loops
async def test_frames() -> None:
    async with a_house() as house, aiohttp.ClientSession() as session:
        async with session.ws_connect(house.url, autoping=False) as socket:
            await socket.ping(b"x" * 100)
            assert (await socket.receive(timeout=LIMIT_SECONDS)).data == b"x" * 100
            blob = {"id": 1, "method": "sim_blob", "pad": "x" * 300}
            for size in (50, 60_000, 100_000):
                await socket.send_json({**blob, "params": [size]})
                assert len((await socket.receive_json(timeout=LIMIT_SECONDS))["result"]) == size
            await socket.send_str(" " * 70_000)
            assert (await socket.receive(timeout=LIMIT_SECONDS)).data == 1009
        async with session.ws_connect(house.url) as socket:
            await socket.close(code=1000)
            assert socket.close_code == 1000
        await until(lambda: not house.open)


@on_both_loops
async def test_bytewise() -> None:
    async with a_house() as house:
        reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
        mask = b"\1\2\3\4"
        text = b'{"id":5,"method":"eth_blockNumber"}'
        coded = bytes(byte ^ mask[index % 4] for index, byte in enumerate(text))
        head = b"GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        for byte in head + bytes((0x81, 0x80 | len(text))) + mask + coded:
            writer.write(bytes((byte,)))
            await asyncio.sleep(0)
        answered = await reader.readuntil(b"\r\n\r\n")
        assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answered
        assert (await reader.readexactly(2))[0] == 0x81
        assert b'"id":5,"result":"0x3e8"' in await reader.readuntil(b"}")
        writer.close()
        await writer.wait_closed()
