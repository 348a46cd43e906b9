"""The simulated provider: what it answers under each fault."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime

import msgspec
import pytest
import pytest_asyncio
import uvloop

from rpcproxy.drills.evm.simchain import SimChain, block_of_balance
from rpcproxy.drills.providers.provider import Provider, Ticker
from rpcproxy.drills.scenarios import faults, lies
from rpcproxy.drills.scenarios.fault import Fault
from tests.kits.waiting import until
from tests.sockets.raw_client import BALANCE, BLOCK, Client, a_provider


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[Provider]:
    async with a_provider() as provider:
        yield provider


@pytest_asyncio.fixture
async def client(provider: Provider) -> AsyncIterator[Client]:
    client = await Client.open(provider)
    yield client
    client.close()


# --- answers


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (faults.http_429(), 429, -32005),
        (faults.RATE_LIMITED_200, 200, -32005),
        (faults.ERROR_500_RPC, 500, -32603),
        (faults.KEY_REFUSED, 401, -32600),
        (faults.method_missing("eth_getBalance"), 200, -32601),
    ],
)
async def test_json_rpc_errors(
    provider: Provider, client: Client, fault: Fault, status: int, code: int
) -> None:
    provider.set_fault(fault)
    client.post(BALANCE)
    got, headers, body = await client.reply()
    reply = msgspec.json.decode(body)
    assert (got, reply["error"]["code"], reply["id"]) == (status, code, 5)
    assert "retry-after" not in headers


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (faults.http_429(is_html=True), 429),
        (faults.HTTP_503, 503),
        (faults.HTML_200, 200),
        (faults.HTML_502, 502),
        (faults.EMPTY, 200),
    ],
)
async def test_pages(provider: Provider, client: Client, fault: Fault, status: int) -> None:
    provider.set_fault(fault)
    client.post(BALANCE)
    got, headers, body = await client.reply()
    assert got == status
    if fault is faults.EMPTY:
        assert body == b""
    else:
        assert body.startswith(b"<html>")
        assert headers["content-type"] == "text/html"


async def test_retry_after(provider: Provider, client: Client) -> None:
    provider.set_fault(faults.http_429(2.5))
    client.post(BALANCE)
    assert (await client.reply())[1]["retry-after"] == "2.5"
    provider.set_fault(faults.http_429(100, is_date=True))
    client.post(BALANCE)
    date = parsedate_to_datetime((await client.reply())[1]["retry-after"])
    assert 90 < date.timestamp() - time.time() <= 101


async def test_broken_answers(provider: Provider, client: Client) -> None:
    provider.set_fault(faults.TRUNCATED)
    client.post(BALANCE)
    assert (await client.reply())[2] == b'{"jsonrpc":"2.0","id":5,"re'
    provider.set_fault(faults.WRONG_ID)
    assert (await client.ask(BALANCE))["id"] == 987654321
    provider.set_fault(faults.GARBAGE)
    client.post(BALANCE)
    assert not (await client.until_blank_line()).startswith(b"HTTP")


async def test_broken_batches(provider: Provider, client: Client) -> None:
    batch = [{**BALANCE, "id": id} for id in range(4)]
    provider.set_fault(faults.HALF_BATCH)
    assert [reply["id"] for reply in await client.ask(batch)] == [0, 1]
    provider.set_fault(faults.SINGLE_FOR_BATCH)
    assert (await client.ask(batch))["error"]["code"] == -32600
    assert (await client.ask(BALANCE))["id"] == 5


async def test_wrong_and_old_knowledge(provider: Provider, client: Client) -> None:
    chain = provider.chain
    well = (await client.ask(BLOCK))["result"]
    provider.set_fault(faults.WRONG_CHAIN)
    assert (await client.ask({"id": 1, "method": "eth_chainId"}))["result"] == "0x8"
    assert (await client.ask(BLOCK))["result"]["hash"] != well["hash"]
    provider.set_fault(faults.forked(2))
    fork = (await client.ask(BLOCK))["result"]
    assert fork["number"] == well["number"]
    assert fork["hash"] != well["hash"]
    provider.set_fault(faults.FROZEN_HEAD)
    chain.mine(0)
    assert (await client.ask(BLOCK))["result"] == well
    provider.set_fault(faults.lagging(20))
    provider.lag_blocks = 1
    assert int((await client.ask(BLOCK))["result"]["number"], 16) == chain.head - 21
    assert block_of_balance(int((await client.ask(BALANCE))["result"], 16)) == chain.head - 21
    provider.set_fault(faults.NULL_RESULTS)
    assert (await client.ask(BLOCK))["result"] is None
    assert (await client.ask(BALANCE))["result"]


async def test_invented_heads(provider: Provider, client: Client) -> None:
    chain = provider.chain
    truth = provider.view(faults.WELL)
    for fault, blocks in ((lies.ahead(3), 3), (lies.FAR_AHEAD, 1000), (lies.AHEAD_UNLINKED, 3)):
        provider.set_fault(fault)
        head = chain.head + blocks
        assert (await client.ask({"id": 1, "method": "eth_blockNumber"}))["result"] == hex(head)
        assert (await client.ask(BLOCK))["result"]["number"] == hex(head)
        first = provider.view().block(chain.head + 1, full=False)
        assert (first["parentHash"] == truth.block_hash(chain.head)) is not fault.is_unlinked
        assert block_of_balance(int((await client.ask(BALANCE))["result"], 16)) == head
        invented = provider.view().block_hash(chain.head + 1)
        chain.mine(0)
        assert provider.view().block_hash(chain.head) != invented  # what the chain has is true
        assert provider.view().head == chain.head + blocks


async def test_no_two_liars_invent_the_same(provider: Provider) -> None:
    other = Provider(provider.chain, "other")
    views = [one.view(lies.ahead(3)) for one in (provider, other)]
    hashes = {view.block_hash(provider.chain.head + 1) for view in views}
    assert len(hashes) == 2


async def test_heads_that_are_not_told(provider: Provider, client: Client) -> None:
    number = {"id": 1, "method": "eth_blockNumber"}
    provider.set_fault(lies.headless("null"))
    assert [(await client.ask(call))["result"] for call in (number, BLOCK)] == [None, None]
    assert (await client.ask(BALANCE))["result"]
    provider.set_fault(lies.headless("error"))
    assert [(await client.ask(call))["error"]["code"] for call in (number, BLOCK)] == [-32603] * 2
    assert (await client.ask(BALANCE))["result"]


async def test_state_that_stands_while_blocks_go_on(provider: Provider, client: Client) -> None:
    for fault in (lies.STATE_FROZEN, lies.STATE_FROZEN_LYING):
        provider.set_fault(fault)
        old = provider.chain.head
        head = provider.chain.mine(0)
        assert (await client.ask(BLOCK))["result"]["number"] == hex(head)
        assert block_of_balance(int((await client.ask(BALANCE))["result"], 16)) == old
        pinned = await client.ask({**BALANCE, "params": [BALANCE["params"][0], hex(head)]})
        assert ("error" in pinned) is (fault is lies.STATE_FROZEN)


async def test_histories_that_change(provider: Provider, client: Client) -> None:
    chain = provider.chain
    provider.set_fault(lies.rolled_back(5))
    chain.mine(0)
    assert provider.view().head == chain.head - 6
    provider.set_fault(lies.alternating(3))
    seen = {(await client.ask(BLOCK))["result"]["number"] for _ in range(40)}
    assert seen == {hex(chain.head), hex(chain.head - 3)}
    provider.set_fault(lies.two_branches(3))
    assert len({(await client.ask(BLOCK))["result"]["hash"] for _ in range(40)}) == 2
    provider.set_fault(lies.FUTURE_TIMES)
    late = int((await client.ask(BLOCK))["result"]["timestamp"], 16)
    assert late == chain.timestamp(chain.head) + 3600
    provider.set_fault(lies.falling(10, 0.05))
    assert provider.view().head == chain.head - 10
    await until(lambda: provider.view().head == chain.head)
    await until(lambda: provider.view().head == chain.head - 10)


async def test_news_that_come_late(provider: Provider) -> None:
    chain = provider.chain
    provider.set_fault(lies.late_news(0.05))
    head = chain.mine(time.time())
    assert provider.view().head == head - 1
    await until(lambda: provider.view().head == head)


def test_liars_survive_json() -> None:
    for name, fault in lies.LIARS.items():
        assert fault.name == name
        assert fault.description
        assert fault.cost
        assert msgspec.json.decode(msgspec.json.encode(fault), type=Fault) == fault


async def test_ways_of_answering(provider: Provider, client: Client) -> None:
    plain = await client.ask(BALANCE)
    provider.set_fault(faults.CHUNKED)
    assert await client.ask(BALANCE) == plain
    assert (
        len((await client.ask({"id": 1, "method": "sim_blob", "params": [100_000]}))["result"])
        == 100_000
    )
    provider.set_fault(faults.GZIPPED)
    client.post(BALANCE)
    _, headers, body = await client.reply()
    assert headers["content-encoding"] == "gzip"
    assert msgspec.json.decode(gzip.decompress(body)) == plain
    provider.set_fault(faults.slow(0.05))
    start = time.monotonic()
    assert await client.ask(BALANCE) == plain
    assert time.monotonic() - start >= 0.048
    provider.set_fault(faults.byte_by_byte(0.001))
    start = time.monotonic()
    assert await client.ask(BALANCE) == plain
    assert time.monotonic() - start >= 0.1  # about 125 bytes


# --- some of the time


async def test_half_of_the_connections_are_reset(provider: Provider) -> None:
    provider.set_fault(faults.reset_share(0.5))
    outcomes = []
    clients = [await Client.open(provider) for _ in range(6)]
    await until(lambda: provider.counts.connections == 6)
    for client in clients:
        try:
            outcomes.append((await client.ask(BALANCE))["id"])
        except (ConnectionResetError, asyncio.IncompleteReadError):
            outcomes.append("reset")
        client.close()
    assert outcomes.count("reset") == 3


async def test_a_brownout_hangs_and_refuses_about_its_share(provider: Provider) -> None:
    provider.set_fault(faults.brownout(0.5))
    clients = [await Client.open(provider) for _ in range(60)]
    for client in clients:
        client.post(BALANCE)
    await until(lambda: provider.counts.requests == 60)
    provider.set_fault(None)
    last = await Client.open(provider)
    await last.ask(BALANCE)
    served = [client for client in clients if not client.has_nothing()]
    statuses = [(await client.reply())[0] for client in served]
    hanging = len(clients) - len(served)
    assert 10 <= statuses.count(200) <= 50
    assert abs(statuses.count(503) - hanging) <= 1
    assert hanging > 4
    for client in (*clients, last):
        client.close()


async def test_capacity_refuses_what_is_above_it(provider: Provider, client: Client) -> None:
    provider.set_fault(faults.capacity(4))
    statuses = []
    for _ in range(8):
        client.post(BALANCE)
        statuses.append((await client.reply())[0])
    assert statuses[:4] == [200] * 4
    assert 429 in statuses[4:]


async def test_flapping_goes_down_and_comes_back(provider: Provider) -> None:
    provider.set_fault(faults.flapping(0.02))
    assert provider.fault.name == "flapping"
    for is_down in (True, False, True, False):
        await until(lambda wanted=is_down: (provider._listener is None) is wanted)
    provider.set_fault(None)
    client = await Client.open(provider)
    assert (await client.ask(BALANCE))["id"] == 5
    client.close()


async def test_the_ticker_mines(provider: Provider) -> None:
    chain = SimChain(7, block_time_seconds=0.005, start_number=10)
    ticker = Ticker(chain, clock=lambda: 1_900_000_000.0)
    ticker.start()
    ticker.start()
    await until(lambda: chain.head >= 13)
    ticker.stop()
    ticker.stop()
    assert chain.timestamp(13) == 1_900_000_000


def test_ways_of_answering_on_uvloop() -> None:
    async def run() -> None:
        async with a_provider() as provider:
            client = await Client.open(provider)
            await test_ways_of_answering(provider, client)
            client.close()

    uvloop.run(run())


@pytest.mark.parametrize("fault", faults.CATALOGUE.values(), ids=faults.CATALOGUE.keys())
def test_faults_are_plain_data_with_words_for_people(fault: Fault) -> None:
    assert msgspec.json.decode(msgspec.json.encode(fault), type=Fault) == fault
    assert fault.description
    assert fault.cost
    with pytest.raises(AttributeError):
        fault.name = "other"  # type: ignore[misc]
