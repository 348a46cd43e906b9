"""app.storage.disk: what a chain keeps on disk comes back after a restart, and stays open in a reload."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rpcproxy.app.proxy import Proxy, share_of
from rpcproxy.app.storage.disk import LEAST_BYTES, Disk, DiskPlace
from rpcproxy.config.model import Address, Cache, Chain, Config, Server, Upstream
from rpcproxy.drills.evm.simchain import SimChain
from rpcproxy.drills.providers.provider import Provider
from rpcproxy.edges.disk.disk_cache import DiskCache
from rpcproxy.messages import Answer, Pending
from tests.kits.waiting import until
from tests.sockets.scripted import on_both_loops

START = 1000
MIB = 1 << 20


class World:
    """One provider, and a proxy in front of it that can be started anew."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.chain = SimChain(7, start_number=START)
        for second in range(3):
            self.chain.mine(time.time() - 2 + second)
        self.provider = Provider(self.chain, "a", latency_seconds=0.001)
        self.provider.start()
        self.proxy = Proxy(self.config())

    def config(self, *names: str, **cache: object) -> Config:
        upstream = Upstream(name="a", provider="a", url=self.provider.url)
        given = {"path": str(self.directory), "disk_bytes": MIB, **cache}
        return Config(
            server=Server(
                listen=Address(host="127.0.0.1", port=0), admin=None, cache=Cache(**given)
            ),
            chains=tuple(
                Chain(name=name, chain_id=7, block_time_seconds=1.0, upstreams=(upstream,))
                for name in names or ("test",)
            ),
        )

    @property
    def runtime(self):
        return self.proxy.chains["test"]

    @property
    def disk(self):
        return self.runtime.pipeline.sharing.disk

    async def start(self) -> None:
        await self.proxy.start()
        finality = self.runtime.standings.heads.finality
        await until(lambda: finality.final is not None and self.disk is not None)

    async def start_anew(self) -> None:
        await self.proxy.stop(drain_seconds=0)
        self.proxy = Proxy(self.config())
        await self.start()

    async def ask(self, method: str, params: list, *, is_batch: bool = False) -> Any:
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        body = msgspec.json.encode([call, call] if is_batch else call)
        handled = self.runtime.pipeline.handle(body, "trace")
        if isinstance(handled, Pending):
            done: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            handled.deliver = done.set_result
            handled = await done
        answer = handled if isinstance(handled, Answer) else await handled
        reply = msgspec.json.decode(answer.body)
        return [each["result"] for each in reply] if is_batch else reply["result"]

    @property
    def kept(self) -> dict[str, int]:
        return self.runtime.counters.kept_answers


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path / "cache")
    try:
        yield world
    finally:
        await world.proxy.stop(drain_seconds=0)
        world.provider.stop()


async def test_what_is_final_survives_a_restart(world: World) -> None:
    await world.start()
    final = hex(world.runtime.standings.heads.finality.floor)
    by_number = ("eth_getBlockByNumber", [final, False])
    block = await world.ask(*by_number)
    questions = [by_number, ("eth_getBlockByHash", [block["hash"], False])]
    before = [block, await world.ask(*questions[1])]
    head = ["latest", False]
    await world.ask("eth_getBlockByNumber", head)
    await until(lambda: len(world.disk) == 2)
    assert world.kept == {}
    await world.start_anew()
    await until(lambda: len(world.disk) == 2)  # not the head: that is not final
    assert [await world.ask(*question) for question in questions] == before
    assert world.kept == {"disk": 2}
    assert [await world.ask(*question) for question in questions] == before
    assert world.kept == {"disk": 2, "block": 1, "forever": 1}, "in memory from then on"
    figures = world.proxy.view.status()["chains"][0]["cache"]["disk"]
    assert (figures["entries"], figures["hits"]) == (2, 2)


async def test_members_of_a_batch_are_found_on_disk(world: World) -> None:
    await world.start()
    final = hex(world.runtime.standings.heads.finality.floor)
    before = await world.ask("eth_getBlockByNumber", [final, False])
    await until(lambda: len(world.disk) == 1)
    await world.start_anew()
    await until(lambda: len(world.disk) == 1)
    both = await world.ask("eth_getBlockByNumber", [final, False], is_batch=True)
    assert both == [before, before]
    assert world.kept == {"disk": 2}


async def test_a_row_that_is_damaged_is_asked_for_anew(world: World) -> None:
    await world.start()
    final = hex(world.runtime.standings.heads.finality.floor)
    before = await world.ask("eth_getBlockByNumber", [final, False])
    await until(lambda: len(world.disk) == 1)
    await world.proxy.stop(drain_seconds=0)
    with contextlib.closing(sqlite3.connect(world.directory / "test.sqlite")) as file, file:
        file.execute("UPDATE answers SET result = x'22'")
    await world.start_anew()
    await until(lambda: len(world.disk) == 1)
    assert await world.ask("eth_getBlockByNumber", [final, False]) == before
    assert world.kept == {}
    await until(lambda: world.disk.written == 1)


async def test_an_answer_of_another_life_of_the_chain_is_not_given(world: World) -> None:
    """As where a development chain began anew."""
    await world.start()
    heads = world.runtime.standings.heads
    final = hex(heads.finality.floor)
    await world.ask("eth_getBlockByNumber", [final, False])
    await until(lambda: len(world.disk) == 1)
    await world.start_anew()
    await until(lambda: len(world.disk) == 1)
    heads = world.runtime.standings.heads
    heads.lineage.chain[int(final, 16)] = "0x" + "ab" * 32
    call = {"jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber", "params": [final, False]}
    handled = world.runtime.pipeline.handle(msgspec.json.encode(call), "trace")
    asked = asyncio.ensure_future(handled)
    await until(lambda: world.disk.hits == 1)
    await asked
    assert world.kept == {}


async def test_a_reload_keeps_it_open_where_nothing_changes(world: World) -> None:
    await world.start()
    cache = world.disk
    world.proxy.reload(world.config())
    assert world.disk is cache
    world.proxy.reload(world.config(disk_bytes=2 * MIB))
    await until(lambda: world.disk is not None)
    assert world.disk is not cache
    world.proxy.reload(world.config(disk_bytes=0, path=None))
    assert world.disk is None
    assert "disk" not in world.proxy.view.status()["chains"][0]["cache"]


async def test_the_budget_is_for_all_chains_together(world: World) -> None:
    share = share_of(world.config("one", "two", memory_bytes=8 * MIB)).cache
    assert (share.memory_bytes, share.disk_bytes) == (4 * MIB, MIB // 2)
    places = [DiskPlace.of(chain, share) for chain in world.config("one", "two").chains]
    assert len({place.path for place in places}) == len({place.identity for place in places}) == 2
    assert DiskPlace.of(world.config().chains[0], Cache()) is None
    small = Cache(path="x", disk_bytes=1)
    assert DiskPlace.of(world.config().chains[0], small).max_bytes == LEAST_BYTES


@pytest.mark.parametrize("trouble", ["another program's", "a file"])
async def test_without_it_the_proxy_goes_on(
    world: World, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    if trouble == "a file":
        world.directory.write_text("in the place of the directory")
    else:
        world.directory.mkdir()
        with contextlib.closing(sqlite3.connect(world.directory / "test.sqlite")) as file, file:
            file.execute("CREATE TABLE notes (text)")
    with caplog.at_level(logging.WARNING, logger="rpcproxy.disk_cache"):
        await world.proxy.start()
        await until(lambda: caplog.records)
    [record] = caplog.records
    assert record.event == "disk_cache_refused"
    assert record.fields["chain"] == "test"
    assert world.disk is None
    await until(lambda: world.runtime.standings.heads.served >= 0)
    assert await world.ask("eth_getBlockByNumber", [hex(START), False])


async def test_all_who_ask_for_it_are_told_once_it_is_open(tmp_path: Path) -> None:
    disk = Disk(DiskPlace(tmp_path / "new" / "c.sqlite", MIB, "evm:7:c"), "c")
    told: list[object] = []
    disk.start(told.append)
    disk.start(told.append)
    await until(lambda: len(told) == 2)
    disk.start(told.append)
    assert told == [disk.cache] * 3
    await disk.close()
    await disk.close()
    unopened = Disk(DiskPlace(tmp_path / "other" / "c.sqlite", MIB, "evm:7:c"), "c")
    unopened.start(told.append)
    await unopened.close()
    assert len(told) == 3


@pytest.mark.parametrize("is_patient", [False, True])
@on_both_loops
async def test_a_fault_of_our_own_in_an_opening_is_told(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    is_patient: bool,
) -> None:
    bugs = [ZeroDivisionError("ours")]
    opened = object()

    async def open(*_: object) -> object:
        if bugs:
            raise bugs.pop()
        return opened

    monkeypatch.setattr(DiskCache, "open", open)
    disk = Disk(DiskPlace(tmp_path / "c.sqlite", MIB, "evm:7:c"), "c")
    told: list[object] = []
    if is_patient:
        disk.expect_predecessor(10.0)
    with caplog.at_level(logging.WARNING):
        disk.start(told.append)
        await until(lambda: told or caplog.records)
    if is_patient:
        assert (told, caplog.records) == ([opened], [])
        return
    [record] = caplog.records
    assert (record.event, record.levelname) == ("disk_cache_refused", "ERROR")
    assert "ZeroDivisionError('ours')" in record.fields["reason"]
    assert record.exc_info
    assert told == []
    await disk.close()
