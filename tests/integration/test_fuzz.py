"""Bytes that nobody would send, from clients and from upstreams.

Whatever comes: no crash, no hang, nothing logged as an error, nothing left behind, and the next
plain request is served. Seeds are fixed; ``RPCPROXY_FUZZ_SEED`` tries others.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Protocol

import msgspec
from hypothesis import HealthCheck, given
from hypothesis import settings as run_with
from hypothesis import strategies as st

from rpcproxy.app.proxy import Proxy
from rpcproxy.config import model
from tests.integration import rpc_kit
from tests.integration.rpc_kit import CHAIN_ID, ok
from tests.kits.engine_kit import logged_errors
from tests.kits.waiting import limited, until
from tests.sockets import front_kit, scripted

SEED = int(os.environ.get("RPCPROXY_FUZZ_SEED", "7"))
LIMITS = model.Limits(header_seconds=0.8, body_seconds=0.8, idle_seconds=1.0, body_bytes=20_000)
PATIENT_LIMITS = model.Limits(body_bytes=LIMITS.body_bytes)
DEADLINES = model.Deadlines(light_seconds=4.0, heavy_seconds=4.0, send_seconds=4.0)
# For those whom nobody may answer.
SHORT_DEADLINES = model.Deadlines(light_seconds=0.6, heavy_seconds=0.8, send_seconds=0.6)

# ---- mutations

TOKENS = (
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b",", b"\xff\xfe", b"\xf0\x9f\x92\xa9", b"%00"),
    *(b"0\r\n\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"HTTP/1.1"),
    *(b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"Content-Encoding: gzip\r\n"),
    *(b"[", b"]", b"{", b"}", b'"', b"null", b"-1", b"1e999", b"\\u0000", b"\\ud800", b'"id":1,'),
    *(b'"error":null,', b"ffffffffffffffff", b"99999999999999999999", b"POST / HTTP/1.1\r\n"),
)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """One to four small accidents."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 1, 2, 8, 40)))
        match rng.randrange(8):
            case 0:
                data = data[:at] + bytes((rng.randrange(256),)) + data[at + 1 :]
            case 1:
                data = data[:at] + data[end:]
            case 2:
                data = data[:at] + rng.choice(TOKENS) + data[at:]
            case 3:
                data = data[:at] + rng.choice(TOKENS) + data[end:]
            case 4:
                data = data[:at] + data[at:end] * rng.choice((2, 3, 50)) + data[end:]
            case 5:
                data = data[:at]
            case 6:
                lines = data.split(b"\r\n")
                lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
                data = b"\r\n".join(lines)
            case _:
                data = data[:at] + rng.randbytes(rng.choice((1, 4, 100))) + data[at:]
    return data


def pieces(data: bytes, rng: random.Random) -> list[bytes]:
    """Cut anywhere, at most four times."""
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((0, 0, 1, 2, 4))))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


# ---- the world: a proxy, upstreams, and what must be true afterwards

RESULTS = {
    "eth_chainId": b'"0x%x"' % CHAIN_ID,
    "eth_blockNumber": b'"0x3e8"',
    "eth_getBlockByNumber": b'{"number":"0x3e8","hash":"0x%064x"}' % 1000,
    "eth_getLogs": b"[]",
}


def answer_to(body: bytes) -> bytes:
    """What a well upstream says."""
    if body.startswith(b"["):
        calls = msgspec.json.decode(body, type=list[rpc_kit.Call])
        return b"[%b]" % b",".join(map(_one, calls))
    return _one(msgspec.json.decode(body, type=rpc_kit.Call))


def _one(call: rpc_kit.Call) -> bytes:
    return ok(call, RESULTS.get(call.method, b'"0x900d"'))


def as_http(body: bytes, rng: random.Random) -> bytes:
    """A reply in one of the forms that are right."""
    if rng.random() < 0.3:
        half = len(body) // 2
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in (body[:half], body[half:]) if c)
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n" % chunks
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


async def well(peer: scripted.Peer) -> None:
    while True:
        _, _, body = (await peer.request()).partition(b"\r\n\r\n")
        await peer.send(scripted.reply(answer_to(body)))


def broken(rng: random.Random, share: float) -> scripted.Script:
    """An upstream that has an accident with ``share`` of its replies."""

    async def script(peer: scripted.Peer) -> None:
        while True:
            _, _, body = (await peer.request()).partition(b"\r\n\r\n")
            peer.requests.clear()
            text = answer_to(body)
            if rng.random() >= share:
                await peer.send(as_http(text, rng))
                continue
            if rng.random() < 0.5:
                data = as_http(mutate(text, rng), rng)
            else:
                data = mutate(as_http(text, rng), rng)
            for piece in pieces(data, rng):
                await peer.send(piece)
                await asyncio.sleep(rng.choice((0, 0, 0.001, 0.05)))
            match rng.randrange(6):
                case 0:
                    return
                case 1:
                    peer.reset()
                    return
                case 2:
                    await asyncio.sleep(rng.choice((0.01, 0.6)))

    return script


class Server(Protocol):
    """An upstream, by whatever means."""

    @property
    def url(self) -> str: ...
    async def __aenter__(self) -> Any: ...
    async def __aexit__(self, *exc_info: object) -> None: ...


class World:
    """A proxy in front of scripted upstreams, all on one uvloop."""

    def __init__(self, proxy: Proxy, servers: Sequence[Server]) -> None:
        self.proxy = proxy
        self.servers = servers
        self.runtime = proxy.chains["test"]
        self._clients: weakref.WeakSet[front_kit.Client] = weakref.WeakSet()

    async def open(self, limit: int = 1 << 22) -> front_kit.Client:
        """A connection, which is reset at the end at the latest."""
        streams = await asyncio.open_connection(*self.proxy.address, limit=limit)
        client = front_kit.Client(*streams)
        self._clients.add(client)
        return client

    def hang_up(self) -> None:
        for client in self._clients:
            client.reset()

    async def ask(self, body: bytes) -> front_kit.Response:
        client = await self.open()
        try:
            async with limited():
                return await client.ask(body)
        finally:
            client.reset()

    async def assert_serves(self) -> None:
        """A plain request is answered well."""
        response = await self.ask(rpc_kit.request("eth_gasPrice", id=b'"plain"'))
        assert response.body == b'{"jsonrpc":"2.0","id":"plain","result":"0x900d"}'

    async def assert_idle(self) -> None:
        """Nothing is in flight any more, by any count."""
        executor, standings = self.runtime.executor, self.runtime.standings
        listener = self.proxy.listener
        assert listener is not None
        await until(
            lambda: (
                not any(executor._in_flight.values())
                and not executor._lingering
                and not any(standing.in_flight for standing in standings)
                and listener.open_connections == 0
            )
        )
        assert not executor._waiting
        assert not executor._recovery_waiters
        assert not any(record.overdue for s in standings for record in s.classes)


def described(servers: Sequence[Server]) -> tuple[model.Upstream, ...]:
    return tuple(
        model.Upstream(
            name=f"up{index}", url=server.url, provider=f"p{index}", cloud=f"c{index}", region="r"
        )
        for index, server in enumerate(servers)
    )


def configuration(
    servers: Sequence[Server], limits: model.Limits = LIMITS, **chain: Any
) -> model.Config:
    address = model.Address(host="127.0.0.1", port=0)
    fields = {"deadlines": DEADLINES, "attempt_timeout_seconds": 0.4, **chain}
    return model.Config(
        server=model.Server(listen=address, admin=None, limits=limits),
        chains=(
            model.Chain(name="test", chain_id=CHAIN_ID, upstreams=described(servers), **fields),
        ),
    )


@contextlib.asynccontextmanager
async def a_world(*scripts: scripted.Script | Server, **chain: Any) -> AsyncIterator[World]:
    """Afterwards tasks and sockets are what they were before."""
    tasks, sockets = asyncio.all_tasks(), scripted.open_sockets()
    async with contextlib.AsyncExitStack() as stack:
        servers: list[Server] = []
        for script in scripts:
            server = scripted.Scripted(script) if callable(script) else script
            servers.append(await stack.enter_async_context(server))
        proxy = Proxy(configuration(servers, **chain))
        await proxy.start()
        world = None
        try:
            standings = proxy.chains["test"].standings
            await until(lambda: any(s.is_trusted and s.head is not None for s in standings))
            world = World(proxy, servers)
            yield world
        finally:
            if world is not None:
                world.hang_up()
            await proxy.stop(drain_seconds=0)
    try:
        await until(lambda: asyncio.all_tasks() <= tasks)
        await until(lambda: scripted.open_sockets() <= sockets)
    except AssertionError:
        left = [task.get_name() for task in asyncio.all_tasks() - tasks]
        raise AssertionError(f"left: {left}, {scripted.open_sockets()} > {sockets}") from None


def quietly(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run on uvloop; unhandled errors fail it, and so does whatever is logged as one."""

    def run() -> None:
        with logged_errors() as errors:
            rpc_kit.on_uvloop(test)()
        assert not [record.getMessage() for record in errors]

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


# ---- clients

ADDRESS = b"0x" + b"ab" * 20
BODIES = (
    rpc_kit.request("eth_gasPrice"),
    rpc_kit.request("eth_chainId", id=b'"a"'),
    rpc_kit.request("eth_blockNumber", id=b"12345678901234567890"),
    rpc_kit.request("eth_getBalance", b'["%b","latest"]' % ADDRESS),
    rpc_kit.request("eth_call", b'[{"to":"%b","data":"0x01"},"0x3e8"]' % ADDRESS),
    rpc_kit.request("eth_getLogs", b'[{"fromBlock":"0x1","toBlock":"0x2"}]'),
    rpc_kit.request("eth_getTransactionReceipt", b'["0x%064x"]' % 5),
    rpc_kit.request("eth_getBlockByNumber", b'["finalized",true]'),
    rpc_kit.request("eth_sendRawTransaction", b'["0xc101"]'),
    rpc_kit.request("eth_sendRawTransactionSync", b'["0xc102",50]'),
    rpc_kit.request("eth_newFilter"),
    b'{"method":"eth_gasPrice"}',
    b"[%b]" % b",".join(rpc_kit.request("eth_gasPrice", id=b"%d" % n) for n in range(12)),
    b'[%b,5,{"id":[]},%b]' % (rpc_kit.request("eth_chainId"), rpc_kit.request("eth_gasPrice")),
)


def chunked(body: bytes) -> bytes:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


REQUESTS = (
    *(front_kit.post(body) for body in BODIES),
    *(chunked(body) for body in BODIES[:4]),
    front_kit.post(BODIES[0], "/test", "Connection: close", "Accept-Encoding: gzip"),
    front_kit.post(BODIES[0], "/nowhere"),
    front_kit.post(BODIES[0], "/", "Expect: 100-continue"),
    front_kit.post(BODIES[0], version="1.0"),
    front_kit.post(BODIES[0]) + front_kit.post(BODIES[1]) + front_kit.post(BODIES[12]),
    b"GET / HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n",
    b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n",
    b"OPTIONS / HTTP/1.1\r\nHost: x\r\nOrigin: http://a\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n",
)


async def say(world: World, sent: Sequence[bytes], ending: str) -> None:
    """Send, and see the connection end in time, whatever it is told. ``ending``: ``half``
    closes our side, ``wait`` leaves it open, ``reset`` hangs up at once.
    """
    client = await world.open()
    try:
        for piece in sent:
            client.send(piece)
            await asyncio.sleep(0)
        if ending == "half":
            with contextlib.suppress(OSError, RuntimeError):
                client.writer.write_eof()
        if ending != "reset":
            async with limited():
                told = await client.rest()
            assert told == b"" or told.startswith(b"HTTP/1."), told[:100]
    except TimeoutError:
        raise AssertionError(f"neither answered nor closed: {sent!r} ({ending})") from None
    finally:
        client.reset()


@quietly
async def test_accidents_of_clients() -> None:
    rng = random.Random(SEED)
    async with a_world(well, well) as world:
        for _ in range(5):
            cases = []
            for _ in range(160):
                data = rng.choice(REQUESTS)
                if rng.random() < 0.95:
                    data = mutate(data, rng)
                ending = rng.choice(("half", "half", "wait", "reset"))
                cases.append(say(world, pieces(data, rng), ending))
            await asyncio.gather(*cases)
            await world.assert_serves()
        await world.assert_idle()


@quietly
async def test_what_is_right_is_understood_however_it_is_cut() -> None:
    rng = random.Random(SEED)
    # However long the machine takes for them.
    async with a_world(well, well, limits=PATIENT_LIMITS) as world:
        data = front_kit.post(BODIES[0]) + chunked(BODIES[1]) + front_kit.post(BODIES[12])

        async def one(cuts: list[int]) -> None:
            client = await world.open()
            for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True):
                client.send(data[a:b])
                # Byte by byte, a body must not take longer than bodies may.
                await asyncio.sleep(0.001 if len(cuts) < 10 else 0)
            async with limited():
                told = [(await client.response()).body for _ in range(3)]
            assert msgspec.json.decode(told[0])["result"] == "0x900d"
            assert msgspec.json.decode(told[1]) == {"jsonrpc": "2.0", "id": "a", "result": "0x7"}
            assert [m["id"] for m in msgspec.json.decode(told[2])] == list(range(12))
            client.reset()

        places = range(1, len(data))
        await asyncio.gather(*(one([at]) for at in places[:: max(1, len(places) // 150)]))
        await asyncio.gather(*(one(sorted(rng.sample(places, 5))) for _ in range(50)))
        await asyncio.gather(*(one(list(places)) for _ in range(2)))
        await world.assert_idle()


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(["latest", "0x1", "0xzz", "0x" + "f" * 70, "pending", "", "\0", "\U0001f4a9"])
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["blockHash", "fromBlock", "toBlock", "blockNumber", "to", "tx", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
methods = st.sampled_from(
    [
        *("eth_getBalance", "eth_call", "eth_getLogs", "eth_getBlockByNumber", "eth_chainId"),
        *("eth_sendRawTransaction", "eth_sendPrivateTransaction", "eth_getStorageAt"),
        *("eth_sendRawTransactionSync", "eth_sendBundle", "eth_blockNumber", "trace_filter"),
        *("eth_newFilter", "x", "", "\0", "\ud7ff", "m" * 200),
    ]
)
members = st.fixed_dictionaries(
    {},
    optional={
        "id": st.one_of(st.integers(), st.text(max_size=5), st.none(), json_values),
        "method": st.one_of(methods, methods, methods, json_values),
        "params": st.one_of(st.lists(json_values, max_size=4), json_values),
        "jsonrpc": st.sampled_from(["2.0", "1.0", 2]),
    },
)
calls = st.one_of(members, st.lists(st.one_of(members, json_values), max_size=6), json_values)


def test_any_json_is_answered_as_the_standard_says() -> None:
    """Every request with an id gets exactly one reply, with this id, and nothing else does."""

    def expects_reply(value: Any) -> bool:
        is_request = isinstance(value, dict) and isinstance(value.get("method"), str)
        return not is_request or "id" in value

    async def one(world: World, value: Any) -> None:
        response = await world.ask(msgspec.json.encode(value))
        assert response.status in (200, 400), response
        told = msgspec.json.decode(response.body) if response.body else None
        wanted = value if isinstance(value, list) else [value]
        replies = told if isinstance(told, list) else [] if told is None else [told]
        least = sum(map(expects_reply, wanted)) if value != [] else 1
        assert least <= len(replies) <= max(1, len(wanted))
        for reply in replies:
            assert ("result" in reply) != ("error" in reply)
            assert set(reply) <= {"jsonrpc", "id", "result", "error"}

    @run_with(
        max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(calls)
    def fuzz(value: Any) -> None:
        values.append(value)

    values: list[Any] = []
    fuzz()

    @quietly
    async def main() -> None:
        async with a_world(well, well) as world:
            for start in range(0, len(values), 50):
                await asyncio.gather(*(one(world, value) for value in values[start : start + 50]))
            await world.assert_serves()
            await world.assert_idle()

    main()


# ---- upstreams


def assert_answered(response: front_kit.Response, count: int) -> None:
    assert response.status == 200
    told = msgspec.json.decode(response.body.decode())
    replies = told if isinstance(told, list) else [told]
    assert [reply["id"] for reply in replies] == list(range(count))
    for reply in replies:
        assert ("result" in reply) != ("error" in reply), reply


async def ask_many(world: World, rng: random.Random, rounds: int) -> None:
    async def one(method: str, count: int) -> None:
        params = b'["%b","latest"]' % ADDRESS if method == "eth_getBalance" else b"[{}]"
        texts = [rpc_kit.request(method, params, b"%d" % n) for n in range(count)]
        body = texts[0] if count == 1 else b"[%b]" % b",".join(texts)
        assert_answered(await world.ask(body), count)

    for _ in range(rounds):
        await asyncio.gather(
            *(
                one(
                    rng.choice(("eth_gasPrice", "eth_getBalance", "eth_getLogs", "my_method")),
                    rng.choice((1, 1, 1, 2, 10)),
                )
                for _ in range(60)
            )
        )


@quietly
async def test_accidents_of_upstreams_beside_one_that_is_well() -> None:
    rng = random.Random(SEED)
    async with a_world(broken(rng, 0.25), broken(rng, 0.1), well) as world:
        await ask_many(world, rng, 12)
        await world.assert_serves()
        await world.assert_idle()


@quietly
async def test_accidents_of_every_upstream() -> None:
    rng = random.Random(SEED + 1)
    scripts = [broken(rng, 0.3) for _ in range(3)]
    async with a_world(*scripts, deadlines=SHORT_DEADLINES) as world:
        await ask_many(world, rng, 5)
        await world.assert_idle()
