"""The simulated provider: what each fault does on the wire."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio
import trustme
import uvloop

from rpcproxy.drills.providers.provider import Provider
from rpcproxy.drills.scenarios import faults
from rpcproxy.drills.scenarios.fault import Fault
from rpcproxy.messages import Request
from tests.kits.waiting import until
from tests.sockets.providers import ProviderProcess
from tests.sockets.raw_client import BALANCE, BLOCK, Client, a_provider, soon

UPGRADE = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a2V5\r\n\r\n"


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[Provider]:
    async with a_provider() as provider:
        yield provider


@pytest_asyncio.fixture
async def client(provider: Provider) -> AsyncIterator[Client]:
    client = await Client.open(provider)
    yield client
    client.close()


# --- without faults


async def test_single_batch_notifications_and_exact_ids(provider: Provider, client: Client) -> None:
    client.post(b'{"jsonrpc":"2.0","id":1e400,"method":"eth_blockNumber"}')
    assert (await client.reply())[2] == b'{"jsonrpc":"2.0","id":1e400,"result":"0x3e8"}'
    replies = await client.ask([BALANCE, {"method": "eth_chainId"}, {"id": "x", "method": "no"}, 3])
    assert [reply["id"] for reply in replies] == [5, "x", None]
    assert [reply.get("error", {}).get("code") for reply in replies] == [None, -32601, -32600]
    for quiet in ({"method": "eth_chainId"}, {"method": "no"}, [{"method": "eth_chainId"}]):
        client.post(quiet)
        assert await client.reply() == (
            200,
            {"content-type": "application/json", "content-length": "0"},
            b"",
        )
    assert (await client.ask(b"{"))["error"]["code"] == -32700
    assert (await client.ask(b"[]"))["error"]["code"] == -32600


async def test_pipelined_split_and_announced_requests(provider: Provider, client: Client) -> None:
    client.post({**BALANCE, "id": 1})
    client.post({**BALANCE, "id": 2})
    assert [msgspec.json.decode((await client.reply())[2])["id"] for _ in range(2)] == [1, 2]
    body = msgspec.json.encode(BALANCE)
    client.write(
        b"POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(body)
    )
    assert await client.until_blank_line() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.write(body[:5])
    client.write(body[5:])
    assert (await client.reply())[0] == 200
    client.write(b"GET / HTTP/1.1\r\n\r\n")
    assert (await client.reply())[0] == 405
    client.post(BALANCE, "Connection: close")
    assert (await client.rest()).startswith(b"HTTP/1.1 200 OK")


async def test_counts_tell_probes_from_the_rest(provider: Provider, client: Client) -> None:
    pinned = {**BLOCK, "params": ["0x10", False]}
    await client.ask([BALANCE, BALANCE, BLOCK, pinned, {"id": 1, "method": "eth_chainId"}])
    await client.ask({"id": 1, "method": "eth_blockNumber"})
    counts = provider.counts
    assert (counts.requests, counts.connections, counts.open_connections) == (2, 1, 1)
    assert counts.calls == {
        "eth_getBalance": 2, "eth_getBlockByNumber": 2, "eth_chainId": 1, "eth_blockNumber": 1,
    }  # fmt: skip
    assert counts.probe_calls == {"eth_getBlockByNumber": 1, "eth_chainId": 1, "eth_blockNumber": 1}
    assert counts.forwarded == 3


async def test_latency_is_waited_for(provider: Provider, client: Client) -> None:
    provider.latency_seconds = 0.05
    start = time.monotonic()
    await client.ask(BALANCE)
    assert time.monotonic() - start >= 0.8 * 0.05 - 0.002


async def test_large_answers_wait_for_a_slow_reader(provider: Provider, client: Client) -> None:
    size = 32 << 20
    client.post({"id": 1, "method": "sim_blob", "params": [size]})
    head = await client.until_blank_line()
    connection = next(iter(provider._connections))
    await until(lambda: connection._is_full)
    assert len(connection._pieces) > 100  # what the kernel does not take is not in the transport
    _, length = head.split(b"Content-Length: ")
    body = await soon(client._reader.readexactly(int(length)))
    assert body.count(b"x") == size
    assert msgspec.json.decode(body)["id"] == 1


# --- the socket


async def test_refuse_closes_everything_and_comes_back_on_its_port(
    provider: Provider, client: Client
) -> None:
    await client.ask(BALANCE)
    port = provider.port
    provider.set_fault(faults.REFUSE)
    with pytest.raises(ConnectionResetError):
        await client.rest()
    with pytest.raises(ConnectionRefusedError):
        await Client.open(provider)
    with socket.socket() as squatter, pytest.raises(OSError, match="in use"):
        squatter.bind(("127.0.0.1", port))
    provider.set_fault(None)
    assert provider.port == port
    again = await Client.open(provider)
    assert (await again.ask(BALANCE))["id"] == 5
    again.close()


async def test_a_taken_port_is_an_error(provider: Provider) -> None:
    with pytest.raises(OSError, match="in use"):
        Provider(provider.chain, "second", port=provider.port).start()


async def test_freeze_answers_all_it_owes_when_it_thaws(provider: Provider, client: Client) -> None:
    await client.ask(BALANCE)
    provider.latency_seconds = 0.01
    # Frozen in the turn in which the request came: before its answer is due.
    count = provider._count

    def freeze(request: Request) -> None:
        count(request)
        asyncio.get_running_loop().call_soon(provider.set_fault, faults.FREEZE)

    provider._count = freeze  # type: ignore[method-assign]
    client.post(BALANCE)
    await until(lambda: provider.fault is faults.FREEZE)
    provider._count = count  # type: ignore[method-assign]
    newcomer = await Client.open(provider)
    newcomer.post(BALANCE)
    await until(lambda: bool(next(iter(provider._connections))._pieces))
    assert client.has_nothing()
    assert (provider.counts.requests, provider.counts.connections) == (2, 1)
    provider.set_fault(None)
    assert (await client.reply())[0] == 200
    assert (await newcomer.reply())[0] == 200
    newcomer.close()


async def test_freeze_also_stops_a_connection_on_its_way_in(provider: Provider) -> None:
    newcomer = await Client.open(provider)
    newcomer.post(BALANCE)
    await until(lambda: provider.counts.connections == 1 or bool(provider._arrivals))
    provider.set_fault(faults.FREEZE)
    provider.set_fault(faults.FREEZE)
    provider.set_fault(faults.REFUSE)
    with pytest.raises(ConnectionResetError):
        await newcomer.rest()
    provider.set_fault(faults.FREEZE)
    late = await Client.open(provider)
    late.post(BALANCE)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(late.reply(), 0.02)
    provider.set_fault(None)
    assert (await late.reply())[0] == 200
    late.close()


NEW_LOOPS = [asyncio.SelectorEventLoop, uvloop.new_event_loop]


@pytest.mark.parametrize("new_loop", NEW_LOOPS)
@pytest.mark.parametrize("is_waited_for", [True, False], ids=["stopped", "cancelled"])
def test_a_connection_that_was_just_accepted_is_closed(
    new_loop: Callable[[], asyncio.AbstractEventLoop], is_waited_for: bool
) -> None:
    """By the provider's end, or by the loop's, which cancels a task that has not begun. A socket
    left open is a warning later, anywhere.
    """
    newcomers: list[socket.socket] = []

    async def accept() -> None:
        async with a_provider() as provider:
            newcomers.extend(
                socket.create_connection(("127.0.0.1", provider.port)) for _ in range(3)
            )
            provider._accept()
            assert len(provider._arrivals) == len(newcomers)
            provider.stop()
            if is_waited_for:
                await until(lambda: not provider._arrivals and not provider._connections)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(accept())
    gc.collect()
    for newcomer in newcomers:
        newcomer.close()


@pytest.mark.parametrize("new_loop", NEW_LOOPS)
def test_no_connection_outlives_the_provider_whenever_it_came(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def stop_after(turns: int) -> None:
        async with a_provider() as provider:
            newcomers = [socket.create_connection(("127.0.0.1", provider.port)) for _ in range(3)]
            for newcomer in newcomers:
                newcomer.send(UPGRADE)
            provider._accept()
            for _ in range(turns):
                await asyncio.sleep(0)
            provider.stop()
            await until(
                lambda: not (provider._arrivals or provider._connections or provider._subscribers)
            )
            assert provider.counts.open_connections == 0
            for newcomer in newcomers:
                newcomer.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        for turns in range(8):
            runner.run(stop_after(turns))


class Held:
    """A loop whose timers ring when the test says so."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timers: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def call_later(self, _seconds: float, *call: Any) -> None:
        self._timers.append(call)

    def let_pass(self) -> None:
        timers, self._timers = self._timers, []
        assert timers
        for callback, *args in timers:
            callback(*args)


async def test_a_blackhole_swallows_for_good(provider: Provider, client: Client) -> None:
    real_loop, held = provider._loop, Held(provider._loop)
    provider._loop = held  # type: ignore[assignment]
    client.post(BALANCE)  # on its way when the hole opens
    await until(lambda: provider.counts.requests == 1)
    provider.set_fault(faults.BLACKHOLE)
    other = await Client.open(provider)
    other.post(BALANCE)
    await until(lambda: provider.counts.requests == 2)
    third = await Client.open(provider)
    third.post(BALANCE)
    await until(lambda: provider.counts.requests == 3)
    held.let_pass()
    provider._loop = real_loop
    provider.set_fault(None)
    fresh = await Client.open(provider)
    await fresh.ask(BALANCE)
    for silent in (client, other, third):
        assert silent.has_nothing()
    for one in (other, third, fresh):
        one.close()


@pytest.mark.parametrize("fault", [faults.RESET, faults.RESET_MID_BODY])
async def test_resets(provider: Provider, client: Client, fault: Fault) -> None:
    provider.set_fault(fault)
    client.post(BALANCE)
    if fault.cut_at:
        assert b"Content-Length: 5" in await client.until_blank_line()
    with pytest.raises(ConnectionResetError):
        await client.rest()


async def test_a_send_is_out_though_the_connection_was_reset(
    provider: Provider, client: Client
) -> None:
    provider.set_fault(faults.RESET)
    client.post({"id": 1, "method": "eth_sendRawTransaction", "params": ["0x02aa"]})
    with pytest.raises(ConnectionResetError):
        await client.rest()
    assert len(provider.chain.mempool) == 1


async def test_stall_in_the_middle(provider: Provider, client: Client) -> None:
    provider.set_fault(faults.STALL_MID_BODY)
    client.post(BALANCE)
    await client.until_blank_line()
    half = await soon(client._reader.readexactly(27))
    assert half == b'{"jsonrpc":"2.0","id":5,"re'
    provider.set_fault(None)
    client.post(BALANCE)
    other = await Client.open(provider)
    await other.ask(BALANCE)
    assert client.has_nothing()
    other.close()


@pytest.mark.parametrize("fault", [faults.TRUNCATED_CLOSE, faults.HANG_UP])
async def test_closing_before_the_end(provider: Provider, client: Client, fault: Fault) -> None:
    provider.set_fault(fault)
    client.post(BALANCE)
    rest = await client.rest()
    assert rest.endswith(b'"id":5,"re') if fault.cut_at else rest == b""


async def test_closing_after_the_answer_and_when_idle(provider: Provider, client: Client) -> None:
    await client.ask(BALANCE)
    provider.set_fault(faults.close_idle(0.01))  # holds for who is idle already
    assert await client.rest() == b""
    second = await Client.open(provider)
    assert (await second.ask(BALANCE))["id"] == 5
    assert await second.rest() == b""
    provider.set_fault(faults.CLOSE_AFTER_ANSWER)
    third = await Client.open(provider)
    third.post(BALANCE)
    rest = await third.rest()
    second.close()
    third.close()
    assert b"connection: close" not in rest.lower()
    assert rest.endswith(b"}")


# --- TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest_asyncio.fixture
async def secure(authority: trustme.CA) -> AsyncIterator[Provider]:
    async with a_provider(authority) as provider:
        yield provider


async def test_tls_serves_resets_and_refuses(secure: Provider, authority: trustme.CA) -> None:
    trusting = ssl.create_default_context()
    with pytest.raises(ssl.SSLError):
        await Client.open(secure, trusting)
    authority.configure_trust(trusting)
    client = await Client.open(secure, trusting)
    assert secure.url.startswith("https://")
    assert (await client.ask(BALANCE))["id"] == 5
    secure.set_fault(faults.RESET)
    client.post(BALANCE)
    with pytest.raises(ConnectionResetError):
        await client.rest()
    secure.set_fault(faults.REFUSE)
    with pytest.raises(ConnectionRefusedError):
        await Client.open(secure, trusting)


# --- on the loop it is run with elsewhere


@pytest.mark.parametrize(
    "behaviour",
    [
        test_pipelined_split_and_announced_requests,
        test_large_answers_wait_for_a_slow_reader,
        test_refuse_closes_everything_and_comes_back_on_its_port,
        test_freeze_answers_all_it_owes_when_it_thaws,
        test_a_send_is_out_though_the_connection_was_reset,
        test_stall_in_the_middle,
        test_closing_after_the_answer_and_when_idle,
    ],
)
def test_uvloop(behaviour: Callable[[Provider, Client], Awaitable[None]]) -> None:
    async def run() -> None:
        async with a_provider() as provider:
            client = await Client.open(provider)
            await behaviour(provider, client)
            client.close()

    uvloop.run(run())


@pytest.mark.parametrize("fault", [faults.RESET, faults.RESET_MID_BODY])
def test_resets_on_uvloop(fault: Fault) -> None:
    test_uvloop(lambda provider, client: test_resets(provider, client, fault))


def test_tls_on_uvloop(authority: trustme.CA) -> None:
    async def run() -> None:
        async with a_provider(authority) as provider:
            await test_tls_serves_resets_and_refuses(provider, authority)

    uvloop.run(run())


# --- the process


@pytest.fixture(scope="module")
def process(
    authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProviderProcess]:
    file = tmp_path_factory.mktemp("tls") / "provider.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(file)
    with ProviderProcess(
        "a", "b", latency_seconds=0, block_time_seconds=60, tls_certificate=str(file)
    ) as it:
        yield it


def test_a_process_of_providers_is_steered_from_outside(process: ProviderProcess) -> None:
    assert list(process.urls) == ["a", "b"]
    head = process.state().head
    assert process.mine() == head + 1
    process.set_fault("a", faults.brownout(0.25))
    process.set_lag("b", 3)
    state = process.state()
    assert [provider.fault for provider in state.providers.values()] == ["brownout", "well"]
    process.halt()
    process.resume()
    process.clear()
    assert process.state().providers["a"].fault == "well"
    assert process.counts("a").requests == process.forwarded() == 0
    with pytest.raises(ValueError, match="nobody"):
        process.set_fault("nobody", None)
    with pytest.raises(ValueError, match="GET /nowhere"):
        process._ask("GET", "/nowhere")


def test_a_process_that_cannot_start_says_so() -> None:
    with pytest.raises(RuntimeError, match="did not start"):
        ProviderProcess()
