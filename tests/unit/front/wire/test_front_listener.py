"""front.wire.listener: limits in number and time, streams, drain, TLS."""

import asyncio
import json
import socket
import ssl

import pytest
import trustme

from rpcproxy.config.model import Address, Limits, Server, Tls
from rpcproxy.front.web import WalletPages
from rpcproxy.front.wire.listener import Listener
from rpcproxy.front.wire.shared import FrontSettings
from rpcproxy.messages import Answer, StreamBroken
from tests.kits.waiting import LIMIT_SECONDS, limited, until
from tests.sockets.front_kit import Echo, Later, Pieces, Saying, a_front, both_loops, post

MIB = 1024 * 1024


# ---------------------------------------------------------------------- slow clients


@both_loops
async def test_slow_heads_are_cut_off_in_words():
    async with a_front(limits=Limits(header_seconds=10), has_time_stopped=True) as front:
        client = await front.client()
        await client.ask(b"x")
        client.send(b"POST / HT")
        await front.reading(1)
        await front.pass_time(9.9)
        assert front.listener.counters.timed_out == 0
        await front.pass_time(0.7)
        response = await client.response()
        assert response.status == 408
        assert response.headers["connection"] == "close"
        assert "head took over 10 s" in json.loads(response.body)["error"]["message"]
        assert await client.rest() == b""
        assert front.listener.counters.timed_out == 1


@both_loops
async def test_progress_does_not_prolong_a_head():
    async with a_front(limits=Limits(header_seconds=0.1)) as front:
        client = await front.client()
        client.send(b"POST / HTTP/1.1\r\nX: ")
        task = asyncio.ensure_future(client.response())
        while not task.done():
            client.send(b"y")
            await asyncio.sleep(0.01)
        assert task.result().status == 408


@both_loops
async def test_slow_bodies_are_cut_off_in_words():
    async with a_front(limits=Limits(body_seconds=0.1)) as front:
        for text in (
            post(b"hello")[:-2],
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        ):
            client = await front.client()
            client.send(text)
            response = await client.response()
            assert response.status == 408
            assert "body took over" in json.loads(response.body)["error"]["message"]


@both_loops
async def test_large_uploads_that_go_on_get_their_time():
    limits, slow = Limits(body_seconds=0.05), 100
    async with a_front(limits=limits, has_time_stopped=True, least_bytes_per_second=slow) as front:
        client = await front.client()
        text = post(b"x" * 2000)
        client.send(text[:1500])
        connection = await first_connection(front)
        await front.reading(1)
        await front.pass_time(10)
        assert connection in front.listener._shared.connections
        client.send(text[1500:])
        assert (await client.response()).status == 200


async def first_connection(front):
    await until(lambda: len(front.listener._shared.connections) == 1)
    return next(iter(front.listener._shared.connections))


@both_loops
async def test_idle_connections_are_closed_and_used_ones_stay():
    async with a_front(limits=Limits(idle_seconds=40), has_time_stopped=True) as front:
        idle, used, fresh = [await front.client() for _ in range(3)]
        await idle.ask(b"x")
        await used.ask(b"x")
        for _ in range(6):
            await front.pass_time(10)
            assert (await used.ask(b"x")).status == 200
        assert await idle.rest() == b""
        assert await fresh.rest() == b""
        assert front.listener.counters.timed_out == 0


@both_loops
async def test_a_connection_is_idle_from_its_answer_on():
    later = Later()
    later.gate.clear()
    limits = Limits(idle_seconds=40)
    async with a_front({"/": later}, limits=limits, has_time_stopped=True) as front:
        client = await front.client()
        client.send(post(b"x"))
        await until(lambda: later.running == 1)
        await front.pass_time(60)
        later.gate.set()
        assert (await client.response()).body == b"x"
        await front.pass_time(30)
        assert (await client.ask(b"y")).body == b"y"


@both_loops
async def test_what_came_while_the_loop_was_blocked_is_read_before_anybody_is_cut_off():
    async with a_front(limits=Limits(idle_seconds=40), has_time_stopped=True) as front:
        clients = [await front.client() for _ in range(3)]
        for _ in range(3):
            for client in clients:
                await client.ask(b"x")
            for client in clients:
                client.send(post(b"y"))
            front.jump(60)
            for client in clients:
                assert (await client.response()).body == b"y"


@both_loops
async def test_a_request_in_flight_is_not_idle():
    later = Later()
    later.gate.clear()
    limits = Limits(idle_seconds=10, header_seconds=10, body_seconds=10)
    async with a_front({"/": later}, limits=limits, has_time_stopped=True) as front:
        client = await front.client()
        client.send(post(b"x"))
        await until(lambda: later.running == 1)
        await front.pass_time(100)
        later.gate.set()
        assert (await client.response()).body == b"x"


@both_loops
async def test_many_idle_connections():
    async with a_front() as front:
        clients = [await front.client() for _ in range(300)]
        for client in clients:
            client.send(post(b"x"))
        for client in clients:
            assert (await client.response()).body == b"x"
        assert front.listener.open_connections == 300
        assert not front.listener._shared.watched


# ---------------------------------------------------------------------- too many


@both_loops
async def test_connections_over_the_limit_are_told():
    async with a_front(limits=Limits(connections=2), linger_seconds=0.2) as front:
        served = [await front.client() for _ in range(2)]
        for client in served:
            await client.ask(b"x")
        refused = await front.client()
        response = await refused.ask(b"x")
        assert response.status == 503
        assert response.headers["connection"] == "close"
        assert "as many connections" in json.loads(response.body)["error"]["message"]
        assert await refused.rest() == b""
        silent = await front.client()
        assert await silent.rest() == b""
        counters = front.listener.counters
        assert (counters.accepted_connections, counters.refused_connections) == (2, 2)
        served[0].close()
        await until(lambda: front.listener.open_connections == 1)
        assert (await (await front.client()).ask(b"x")).status == 200
        assert front.listener._shared.turned_away == 0


@both_loops
async def test_refusing_is_bounded_too():
    limits = Limits(connections=0)
    async with a_front(limits=limits, linger_seconds=1000, most_turned_away=1) as front:
        await front.client()
        await until(lambda: front.listener._shared.turned_away == 1)
        second = await front.client()
        assert await second.rest() == b""
        assert front.listener._shared.turned_away == 1


# ---------------------------------------------------------------------- streams


@both_loops
@pytest.mark.parametrize("is_late", [False, True])
async def test_streams(is_late):
    pieces = [b"a" * 700_000, b"b", b"c" * 300_000]
    rest = Pieces(*pieces)
    body = b"[" * 900_000
    door = Saying(lambda: Answer(body, rest=rest))
    if is_late:
        door = Later(lambda _: Answer(body, rest=rest))
    async with a_front({"/": door, "/echo": Echo()}) as front:
        client = await front.client()
        client.send(post(b"x", "/", "Accept-Encoding: gzip") + post(b"next", "/echo"))
        response = await client.response()
        assert response.headers["transfer-encoding"] == "chunked"
        assert "content-length" not in response.headers
        assert response.body == body + b"".join(pieces)
        assert (await client.response()).body == b"next"
        assert rest.closed == 1
        assert front.listener.counters.sent_bytes == len(response.body) + 4


@both_loops
async def test_a_stream_to_http10_ends_with_the_connection():
    rest = Pieces(b"b" * 10, b"c")
    async with a_front({"/": Saying(lambda: Answer(b"a", rest=rest))}) as front:
        client = await front.client()
        client.send(post(b"x", "/", "Connection: keep-alive", version="1.0"))
        response = await client.response()
        assert response.headers["connection"] == "close"
        assert response.body == b"a" + b"b" * 10 + b"c"


@both_loops
@pytest.mark.parametrize("error", [StreamBroken("gone"), ValueError("a bug")])
async def test_a_broken_stream_is_seen_to_be_broken(error, caplog):
    rests: list[Pieces] = []

    def answer() -> Answer:
        rests.append(Pieces(b"b" * 10, error))
        return Answer(b"a", rest=rests[-1])

    async with a_front({"/": Saying(answer)}) as front:
        client = await front.client()
        client.send(post(b"x") + post(b"y"))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.response()
        await until(lambda: front.listener.open_connections == 0)
        assert {rest.closed for rest in rests} == {1}
        assert bool(caplog.records) is isinstance(error, ValueError)


@both_loops
async def test_hanging_up_closes_the_stream():
    endless = Pieces(*[b"x" * 100_000] * 10_000)
    async with a_front({"/": Saying(lambda: Answer(b"a", rest=endless))}) as front:
        client = await front.client(limit=1000)
        client.send(post(b"x"))
        await client.head()
        await until(lambda: endless.reads > 1)
        client.reset()
        await until(lambda: endless.closed == 1)
        assert front.listener.open_connections == 0


@both_loops
async def test_slow_readers_hold_the_stream_back():
    rests = [Pieces(*[bytes(256 * 1024)] * 64) for _ in range(8)]
    waiting = list(rests)
    async with a_front({"/": Saying(lambda: Answer(bytes(MIB), rest=waiting.pop()))}) as front:
        clients = []
        for _ in rests:
            client = await front.client(limit=1000)
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * 1024)
            client.send(post(b"x"))
            clients.append(client)
        connections = front.listener._shared.connections
        await until(
            lambda: len(connections) == 8 and all(c._is_writing_paused for c in connections)
        )
        buffered = [c._transport.get_write_buffer_size() for c in connections]
        assert max(buffered) <= 3 * 256 * 1024
        assert sum(rest.reads for rest in rests) < 8 * 40
        for client in clients:
            assert len((await client.response()).body) == 17 * MIB
        assert all(rest.closed == 1 for rest in rests)
        await until(lambda: all(connection._phase.name == "IDLE" for connection in connections))


@both_loops
async def test_the_first_piece_is_freed_while_the_rest_flows():
    gate = asyncio.Event()

    class Gated(Pieces):
        async def read(self) -> bytes:
            await gate.wait()
            return await super().read()

    answers = []

    def answer() -> Answer:
        answers.append(Answer(bytes(8 * MIB), rest=Gated(b"end")))
        return answers[0]

    async with a_front({"/": Saying(answer)}) as front:
        client = await front.client()
        client.send(post(b"x"))
        await client.head()
        got = 0
        while got < 8 * MIB:
            got += len(await client.reader.read(MIB))
        assert answers[0].body == b""
        gate.set()
        assert b"end" in await client.reader.readuntil(b"0\r\n\r\n")


@both_loops
@pytest.mark.parametrize("has_rest", [False, True])
async def test_a_client_that_takes_nothing_is_cut_off(has_rest):
    rest = Pieces(*[bytes(256 * 1024)] * 400)
    answer = Answer(bytes(32 * MIB), rest=rest if has_rest else None)
    async with a_front(
        {"/": Saying(lambda: answer)}, stall_seconds=60, has_time_stopped=True
    ) as front:
        client = await front.client(limit=1000)
        client.send(post(b"x") + post(b"y"))
        async with limited():
            while not front.listener.counters.stalled_clients:
                await front.pass_time(10)
        await until(lambda: front.listener.open_connections == 0)
        await until(lambda: rest.closed == has_rest)


@both_loops
async def test_a_slow_client_is_not_a_stalled_one():
    body = bytes(24 * MIB)
    async with a_front(
        {"/": Saying(lambda: Answer(body))}, stall_seconds=60, has_time_stopped=True
    ) as front:
        client = await front.client(limit=65536)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * 1024)
        client.send(post(b"x", "/", "Connection: close"))
        await client.head()
        got = 0
        while piece := await client.reader.read(256 * 1024):
            got += len(piece)
            await front.pass_time(3)
        assert got == len(body)
        assert front.listener.counters.stalled_clients == 0


# ---------------------------------------------------------------------- drain, close, reload


@both_loops
async def test_drain_finishes_what_is_in_flight():
    later = Later()
    later.gate.clear()
    async with a_front({"/": Echo(), "/later": later}) as front:
        idle, working, uploading = [await front.client() for _ in range(3)]
        await idle.ask(b"x")
        await working.ask(b"x")
        working.send(post(b"work", "/later") + post(b"behind"))
        uploading.send(post(b"hello")[:-2])
        await until(lambda: later.running == 1)
        await until(lambda: front.listener.open_connections == 3)
        drain = asyncio.ensure_future(front.listener.drain(LIMIT_SECONDS))
        await until(lambda: front.listener.is_draining)
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", front.port)
        response = await idle.ask(b"crossed the drain on the wire")
        assert response.status == 200
        assert response.headers["connection"] == "close"
        uploading.send(b"lo")
        response = await uploading.response()
        assert (response.body, response.headers["connection"]) == (b"hello", "close")
        later.gate.set()
        response = await working.response()
        assert (response.body, response.headers["connection"]) == (b"work", "close")
        for client in front.clients:
            assert await client.rest() == b""
            client.close()
        await drain
        assert front.listener.open_connections == 0


@both_loops
async def test_drain_closes_what_is_idle():
    async with a_front(has_time_stopped=True) as front:
        for _ in range(3):
            await (await front.client()).ask(b"x")
        web = await front.client()
        web.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await web.response()).status == 200
        drain = asyncio.ensure_future(front.listener.drain(LIMIT_SECONDS))
        await until(lambda: front.listener.is_draining)
        await front.pass_time(2)
        await drain
        assert front.listener.open_connections == 0
        for client in front.clients:
            assert await client.rest() == b""


@both_loops
async def test_drain_finishes_what_comes_after_a_page():
    later = Later()
    later.gate.clear()
    async with a_front({"/": later}, has_time_stopped=True) as front:
        client = await front.client()
        client.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + post(b"x"))
        assert (await client.response()).status == 200
        await until(lambda: later.running == 1)
        drain = asyncio.ensure_future(front.listener.drain(LIMIT_SECONDS))
        await until(lambda: front.listener.is_draining)
        later.gate.set()
        response = await client.response()
        assert (response.status, response.body) == (200, b"x")
        assert response.headers["connection"] == "close"
        assert await client.rest() == b""
        client.close()
        await drain


@both_loops
async def test_drain_with_nobody_there():
    async with a_front() as front:
        await front.listener.drain(LIMIT_SECONDS)


@both_loops
async def test_drain_does_not_wait_forever():
    later = Later()
    later.gate.clear()
    async with a_front({"/": later}) as front:
        client, after_a_page = await front.client(), await front.client()
        client.send(post(b"x"))
        after_a_page.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + post(b"x"))
        assert (await after_a_page.response()).status == 200
        await until(lambda: later.running == 2)
        await front.listener.drain(0.05)
        assert later.cancelled == 2
        assert await client.rest() == await after_a_page.rest() == b""


@both_loops
async def test_close_twice():
    async with a_front() as front:
        await (await front.client()).ask(b"x")
        await front.listener.close()
        await front.listener.close()


@both_loops
async def test_limits_are_taken_over_on_reload():
    async with a_front() as front:
        client = await front.client()
        for _ in range(3):
            await client.ask(b"x" * 2000)
        settings = front.listener._shared.settings
        new = FrontSettings(address=settings.address, limits=Limits(body_bytes=1000))
        front.listener.reconfigure(new)
        assert (await (await front.client()).ask(b"x" * 2000)).status == 413
        assert (await client.ask(b"x" * 2000)).status == 413


def test_settings_of_the_configuration():
    server = Server(limits=Limits(batch=7), gzip=False)
    settings = FrontSettings.of_server(server, can_share_port=True)
    assert (settings.address, settings.limits, settings.gzip) == (
        server.listen,
        server.limits,
        False,
    )
    assert settings.can_share_port


# ---------------------------------------------------------------------- sockets, TLS


def a_listener(**settings) -> Listener:
    doors = {"/": Echo()}
    pages = WalletPages(doors, lambda: (True, {}), list)
    return Listener(doors, FrontSettings(**settings), pages.answer)


@both_loops
async def test_a_port_in_use_is_an_oserror():
    async with a_front() as front:
        listener = a_listener(address=Address(host="127.0.0.1", port=front.port))
        with pytest.raises(OSError, match="in use"):
            await listener.start()


@both_loops
async def test_workers_share_a_port():
    first = a_listener(address=Address(host="127.0.0.1", port=0), can_share_port=True)
    _, port = await first.start()
    second = a_listener(address=Address(host="127.0.0.1", port=port), can_share_port=True)
    assert (await second.start())[1] == port
    await first.close()
    await second.close()


@both_loops
@pytest.mark.parametrize("host", ["localhost", "::1"])
async def test_names_and_ipv6(host):
    listener = a_listener(address=Address(host=host, port=0))
    try:
        bound, port = await listener.start()
    except OSError:
        pytest.skip("this machine has no IPv6")
    reader, writer = await asyncio.open_connection(bound, port)
    writer.write(post(b"x", "/", "Connection: close"))
    assert (await reader.read()).endswith(b"\r\n\r\nx")
    writer.close()
    await listener.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority, tmp_path) -> Tls:
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    certificate.private_key_pem.write_to_path(key)
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(chain, append=True)
    return Tls(certificate=str(chain), key=str(key))


@both_loops
async def test_tls(authority, tls):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    rest = Pieces(b"b" * MIB)
    doors = {"/": Echo(), "/later": Later(), "/stream": Saying(lambda: Answer(b"a", rest=rest))}
    async with a_front(doors, tls=tls, limits=Limits(connections=2)) as front:
        client = await front.client(ssl=context)
        for path in ("/", "/later", "/", "/later", "/"):
            assert (await client.ask(b"x" * 100_000, path)).body == b"x" * 100_000
        assert (await client.ask(b"x", "/stream")).body == b"a" + b"b" * MIB
        web = await front.client(ssl=context)
        web.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await web.response()).status == 200
        turned_away = await front.client(ssl=context)
        assert await turned_away.rest() == b""
        client.send(post(b"x", "/", "Connection: close"))
        assert (await client.response()).headers["connection"] == "close"
        assert await client.rest() == b""


@both_loops
async def test_half_a_handshake_is_timed(authority, tls):
    async with a_front(tls=tls, limits=Limits(header_seconds=0.3)) as front:
        clients = []
        for beginning in (b"", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\nHo"):
            clients.append(await front.client())
            clients[-1].send(beginning)
        for client in clients:
            async with limited():
                assert b"HTTP" not in await client.rest()
        assert front.listener.open_connections == 0


@both_loops
async def test_hanging_up_under_tls_cancels(authority, tls):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    later = Later()
    later.gate.clear()
    async with a_front({"/": later}, tls=tls) as front:
        client = await front.client(ssl=context)
        client.send(post(b"x"))
        await until(lambda: later.running == 1)
        client.close()
        await until(lambda: later.cancelled == 1)


@both_loops
async def test_a_bad_certificate_is_an_oserror(tls, tmp_path):
    address = Address(host="127.0.0.1", port=0)
    listener = a_listener(address=address, tls=Tls(certificate=tls.key, key=tls.key))
    with pytest.raises(OSError, match="PEM"):
        await listener.start()
    await listener.close()
    missing = Tls(certificate=str(tmp_path / "none"), key=tls.key)
    with pytest.raises(FileNotFoundError):
        await a_listener(address=address, tls=missing).start()
