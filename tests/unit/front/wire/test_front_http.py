"""front.wire.http, front.wire.client_connection: requests on raw sockets."""

import asyncio
import gzip
import json
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpcproxy.config.model import Limits
from rpcproxy.messages import Answer, Pending
from tests.kits.waiting import limited, until
from tests.sockets.front_kit import (
    NEW_LOOP,
    Client,
    Echo,
    Held,
    Later,
    Pieces,
    Saying,
    a_front,
    both_loops,
    post,
)

ALWAYS = {
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "Retry-After, X-Trace-Id",
    "content-type": "application/json",
}


@both_loops
async def test_an_answer_at_once():
    async with a_front() as front:
        client = await front.client()
        seen = []
        for n in range(5):  # remembered from the third on
            response = await client.ask(b'{"id":%d}' % n)
            assert response.status == 200
            assert response.body == b'{"id":%d}' % n
            trace_id = response.headers.pop("x-trace-id")
            assert len(trace_id) == 16
            assert int(trace_id, 16) >= 0
            seen.append(trace_id)
            assert response.headers == {**ALWAYS, "content-length": str(len(response.body))}
        assert len(set(seen)) == 5
        assert [trace_id for _, trace_id in front.doors["/"].seen] == seen
        counters = front.listener.counters
        assert counters.answers_by_status == {200: 5}
        assert counters.received_bytes == counters.sent_bytes == 5 * len(b'{"id":0}')
        assert front.listener.open_connections == counters.accepted_connections == 1


class Choosy:
    """Says whether it was asked for an answer that nobody kept; the usual call names no wish."""

    def handle(self, body, trace_id, **wishes):
        return Answer(b"fresh" if wishes.get("is_fresh") else b"%d" % len(wishes))


@both_loops
async def test_clients_that_want_nothing_kept_are_told_apart():
    async with a_front({"/": Choosy()}) as front:
        client = await front.client()
        for _ in range(4):  # remembered from the third on
            assert (await client.ask(b"{}")).body == b"0"
            assert (await client.ask(b"{}", "/", "Cache-Control: no-cache")).body == b"fresh"
            assert (await client.ask(b"{}", "/", "Pragma: no-cache")).body == b"fresh"
            assert (await client.ask(b"{}", "/", "Cache-Control: max-age=9")).body == b"0"
        for byte in post(b"x", "/", "Cache-Control: no-store"):
            client.send(bytes([byte]))
        assert (await client.response()).body == b"fresh"


@both_loops
async def test_heads_that_alternate_are_told_apart():
    async with a_front({"/": Echo(), "/1": Later()}) as front:
        client = await front.client()
        for n in range(4):
            for path in ("/", "/1"):
                for body in (b"%d" % n, b"12", b"", b"123\r\n\r\n" + post(b"inside")):
                    assert (await client.ask(body, path)).body == body
            assert (await client.ask(b"x", "/2")).status == 404


@both_loops
async def test_an_answer_later():
    async with a_front() as front:
        client = await front.client()
        for n in range(5):
            assert (await client.ask(b"%d" % n, "/later")).body == b"%d" % n


@both_loops
async def test_paths():
    async with a_front({"/1": Echo()}) as front:
        client = await front.client()
        assert (await client.ask(b"x", "/1?key=1")).status == 200
        assert (await client.ask(b"x", "/1/")).status == 200
        for _ in range(4):
            response = await client.ask(b"x")
            assert response.status == 404
            assert "no chain" in json.loads(response.body)["error"]["data"]["reason"]
        front.doors["/"] = Echo()  # as a reload does
        assert (await client.ask(b"x")).status == 200


@both_loops
async def test_byte_by_byte():
    async with a_front() as front:
        client = await front.client()
        for _ in range(3):
            for byte in post(b"hello", "/later"):
                client.send(bytes([byte]))
                await asyncio.sleep(0)
            assert (await client.response()).body == b"hello"


@both_loops
async def test_head_and_body_apart():
    async with a_front() as front:
        client = await front.client()
        for _ in range(4):
            text = post(b"hello")
            client.send(text[:-5])
            await asyncio.sleep(0.001)
            client.send(b"hel")
            await asyncio.sleep(0.001)
            client.send(b"lo")
            assert (await client.response()).body == b"hello"


@pytest.mark.parametrize("path", ["/", "/later"])
@both_loops
async def test_pipelined_in_order(path):
    async with a_front() as front:
        client = await front.client()
        client.send(b"".join(post(b"%d" % n, path) for n in range(1000)))
        for n in range(1000):
            assert (await client.response()).body == b"%d" % n


@both_loops
async def test_ten_thousand_pipelined_of_both_kinds():
    async with a_front() as front:
        client = await front.client(limit=2**20)
        client.send(b"".join(post(b"%d" % n, random.choice(["/", "/later"])) for n in range(10000)))
        for n in range(10_000):
            assert (await client.response()).body == b"%d" % n


@both_loops
async def test_reading_goes_on_when_what_waited_ends_with_a_request():
    """Reading had been paused for too much waiting, and the last of it took a task."""
    later = Later()
    later.gate.clear()
    async with a_front({"/": later}) as front:
        client = await front.client()
        client.send(post(b"first"))
        await until(lambda: later.running == 1)
        client.send(post(b"x" * 2000) * 40)
        await until(lambda: any(c._is_reading_paused for c in front.listener._shared.connections))
        later.gate.set()
        assert (await client.response()).body == b"first"
        for _ in range(40):
            assert (await client.response()).body == b"x" * 2000
        assert (await client.ask(b"more")).body == b"more"


@both_loops
async def test_a_burst_does_not_keep_others_waiting():
    async with a_front() as front:
        echo = front.doors["/"]
        greedy, modest = await front.client(), await front.client()
        await greedy.ask(b"x")
        await modest.ask(b"x")
        greedy.send(b"".join(post(b"g") for _ in range(500)))
        modest.send(post(b"m"))
        assert (await modest.response()).body == b"m"
        served = [body for body, _ in echo.seen]
        assert served.count(b"g") < 500
        for _ in range(500):
            await greedy.response()


@both_loops
async def test_what_waits_behind_a_request_is_bounded():
    later = Later()
    later.gate.clear()
    async with a_front({"/": later}) as front:
        client = await front.client()
        client.send(post(b"first"))
        await until(lambda: later.running == 1)
        body = b"x" * 4_000_000
        client.send(post(body))
        connection = next(iter(front.listener._shared.connections))
        await until(lambda: connection._is_reading_paused)
        assert connection._reader.waiting_bytes < 1_000_000
        later.gate.set()
        assert (await client.response()).body == b"first"
        assert (await client.response()).body == body


@both_loops
async def test_large_bodies_both_ways():
    async with a_front() as front:
        client = await front.client()
        for size in (1023, 1024, 1025, 65_536, 65_537, 5 * 1024 * 1024):
            body = random.randbytes(size)
            assert (await client.ask(body)).body == body


@both_loops
async def test_connection_close():
    async with a_front() as front:
        for path in ("/", "/later"):
            client = await front.client()
            client.send(post(b"x", path, "Connection: close") + b"and more")
            response = await client.response()
            assert response.headers["connection"] == "close"
            assert await client.rest() == b""
        await until(lambda: front.listener.open_connections == 2)  # they linger for their clients
        for client in front.clients:
            client.close()
        await until(lambda: front.listener.open_connections == 0)


@both_loops
async def test_http10():
    async with a_front() as front:
        client = await front.client()
        client.send(post(b"x", version="1.0"))
        response = await client.response()
        assert (response.status, response.body) == (200, b"x")
        assert response.headers["connection"] == "close"
        assert await client.rest() == b""
        client = await front.client()
        for _ in range(4):
            client.send(post(b"x", "/", "Connection: keep-alive", version="1.0"))
            response = await client.response()
            assert response.headers["connection"] == "keep-alive"


@both_loops
async def test_statuses_and_retry_after():
    answers = [
        Answer(b"{}", 429, retry_after_seconds=7),
        Answer(b"{}", 503),
        Answer(b""),
        Answer(b"{}", 200, retry_after_seconds=1),
        Answer(b"{}", 799),
    ]
    async with a_front({"/": Saying(lambda: answers.pop(0))}) as front:
        client = await front.client()
        response = await client.ask(b"x")
        assert response.status == 429
        assert response.headers["retry-after"] == "7"
        assert (await client.ask(b"x")).status == 503
        response = await client.ask(b"x")  # notifications alone
        assert (response.status, response.headers["content-length"]) == (200, "0")
        assert (await client.ask(b"x")).headers["retry-after"] == "1"
        assert (await client.ask(b"x")).status == 799
        assert front.listener.counters.answers_by_status == {200: 2, 429: 1, 503: 1, 799: 1}


@both_loops
async def test_expect_continue():
    async with a_front() as front:
        client = await front.client()
        for _ in range(3):
            text = post(b"hello", "/", "Expect: 100-continue")
            client.send(text[:-5])
            assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.send(b"he")
            await asyncio.sleep(0.001)
            client.send(b"llo")
            assert (await client.response()).body == b"hello"  # and no second 100
            assert (await client.ask(b"hello", "/", "Expect: 100-continue")).body == b"hello"


@both_loops
async def test_expect_continue_behind_a_request_in_flight():
    later = Later()
    later.gate.clear()
    async with a_front({"/": later}) as front:
        client = await front.client()
        client.send(post(b"first") + post(b"hello", "/", "Expect: 100-continue")[:-5])
        await until(lambda: later.running == 1)
        later.gate.set()
        assert (await client.response()).body == b"first"
        assert (await client.response()).status == 100
        client.send(b"hello")
        assert (await client.response()).body == b"hello"


@both_loops
async def test_chunked_uploads():
    async with a_front() as front:
        client = await front.client()
        text = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        for _ in range(3):
            client.send(text + b'3\r\n{"a\r\n4;x=y\r\n":1}\r\n0\r\nX: y\r\n\r\n' + post(b"next"))
            assert (await client.response()).body == b'{"a":1}'
            assert (await client.response()).body == b"next"
        client.send(text)
        for byte in b"2\r\nab\r\n0\r\n\r\n":
            client.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await client.response()).body == b"ab"


REFUSED = [
    (post(b"x", "/", "Transfer-Encoding: chunked"), 400),
    (post(b"x", "/", "Content-Length: 1"), 400),
    (post(b"x", "/", "Host: other"), 400),
    (post(b"x").replace(b"\r\n", b"\n"), 400),
    (post(b"x", "/", "X: y\r\n z"), 400),
    (post(b"x").replace(b"h: 1", b"h: +1"), 400),
    (post(b"x").replace(b"Host: proxy\r\n", b""), 400),
    (post(b"x", "/", "Content-Encoding: gzip"), 415),
    (post(b"x", "/", "Expect: more"), 417),
    (post(b"x", version="1.3"), 505),
    (post(b"x", "/", "X: " + "y" * 20_000), 431),
    (b"POST / HTTP/1.1\r\nX: " + b"y" * 20_000, 431),
    (post(b"x", "/", *(f"X-{n}: y" for n in range(100))), 431),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5242881\r\n\r\n", 413),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n500001\r\n", 413),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\n", 400),
    (b"POST / HTTP/1.1\nHost: x\n\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
]


@pytest.mark.parametrize(("data", "status"), REFUSED, ids=lambda value: str(value)[:40])
@both_loops
async def test_refused_in_words_and_closed(data, status):
    async with a_front() as front:
        client = await front.client()
        client.send(post(b"well") + data)
        assert (await client.response()).body == b"well"
        response = await client.response()
        assert response.status == status
        assert response.headers["connection"] == "close"
        assert ALWAYS.items() <= response.headers.items()
        error = json.loads(response.body)
        assert error["id"] is None
        assert error["error"]["code"] in (-32600, -32603)
        assert error["error"]["data"]["reason"]
        assert await client.rest() == b""
        client.close()
        await until(lambda: front.listener.open_connections == 0)
        assert front.listener.counters.answers_by_status == {200: 1, status: 1}
        assert len(front.doors["/"].seen) == 1


@both_loops
async def test_an_upload_too_large_is_refused_before_it_is_read():
    """The client writes all of it first and reads then: a reset must not eat the answer."""
    async with a_front(limits=Limits(body_bytes=1000)) as front:
        client = await front.client()
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20000000\r\n\r\n")
        for _ in range(20):
            client.send(b"x" * 1_000_000)
            await client.writer.drain()
        assert (await client.response()).status == 413
        assert await client.rest() == b""


async def send_on(client: Client, size: int) -> None:
    async with limited():
        while True:
            client.send(b"x" * size)
            await client.writer.drain()
            await asyncio.sleep(0.001)


@both_loops
async def test_a_client_that_never_stops_sending_is_cut_off():
    async with a_front(linger_seconds=0.1) as front:
        client = await front.client()
        client.send(post(b"x", version="9.9"))
        assert (await client.response()).status == 505
        with pytest.raises(ConnectionError):
            await send_on(client, 1000)
        assert front.listener.open_connections == 0


@both_loops
async def test_discarding_is_bounded():
    async with a_front(linger_seconds=1000, most_discarded_bytes=100_000) as front:
        client = await front.client()
        client.send(post(b"x", version="9.9"))
        await client.response()
        with pytest.raises(ConnectionError):
            await send_on(client, 50_000)


@both_loops
async def test_bugs_behind_the_door_are_answered(caplog):
    class Broken:
        def handle(self, body, trace_id):
            raise ValueError("a bug")

    class BrokenLater:
        async def handle(self, body, trace_id):
            raise ValueError("a later bug")

    async with a_front({"/": Broken(), "/later": BrokenLater()}) as front:
        client = await front.client()
        for path in ("/", "/later", "/"):
            response = await client.ask(b"x", path)
            assert response.status == 200
            assert json.loads(response.body)["error"]["code"] == -32603
        records = [record for record in caplog.records if record.name == "rpcproxy.front"]
        assert len(records) == 3
        assert records[-1].trace_id == response.headers["x-trace-id"]


# ---------------------------------------------------------------------- pending answers


class Soon(Pending):
    """Delivers when the test says so."""

    def __init__(self) -> None:
        self.cancelled = 0

    def cancel(self) -> None:
        self.cancelled += 1


class Hands:
    """Gives out pending answers."""

    def __init__(self) -> None:
        self.given: list[tuple[bytes, Soon]] = []

    def handle(self, body: bytes, trace_id: str, **_wishes: object) -> Soon:
        self.given.append((body, Soon()))
        return self.given[-1][1]


@both_loops
@pytest.mark.parametrize("size", [1, 2000, 200_000])
async def test_pending_answers_in_order(size):
    hands = Hands()
    async with a_front({"/": hands, "/echo": Echo()}) as front:
        client = await front.client()
        fields = "Accept-Encoding: gzip"  # the largest is compressed off the loop
        client.send(b"".join(post(b"%d" % n, "/", fields) + post(b"x", "/echo") for n in range(5)))
        for n in range(5):
            await until(lambda n=n: len(hands.given) == n + 1)
            body, pending = hands.given[-1]
            assert body == b"%d" % n
            pending.deliver(Answer(body * size))
            assert (await client.response()).text == str(n) * size
            assert (await client.response()).body == b"x"


@both_loops
async def test_hanging_up_cancels_a_pending_answer():
    hands = Hands()
    async with a_front({"/": hands}) as front:
        client = await front.client()
        client.send(post(b"x"))
        await until(lambda: len(hands.given) == 1)
        client.reset()
        await until(lambda: hands.given[0][1].cancelled == 1)
        assert front.listener.counters.hung_up == 1


# ---------------------------------------------------------------------- gzip


@both_loops
async def test_gzip():
    async with a_front() as front:
        client = await front.client()
        for path in ("/", "/later"):
            for size in (1025, 60_000, 200_000):
                body = b"0123456789abcdef" * (size // 16 + 1)
                response = await client.ask(body, path, "Accept-Encoding: gzip")
                assert response.is_gzip
                assert response.headers["vary"] == "Accept-Encoding"
                assert gzip.decompress(response.body) == body
                for accepted in ("gzip;q=0", "br", "identity"):
                    response = await client.ask(body, path, f"Accept-Encoding: {accepted}")
                    assert not response.is_gzip
                    assert response.body == body
            assert not (await client.ask(b"x" * 1000, path, "Accept-Encoding: gzip")).is_gzip


@both_loops
async def test_gzip_turned_off():
    async with a_front(gzip=False) as front:
        client = await front.client()
        body = b"x" * 100_000
        assert (await client.ask(body, "/", "Accept-Encoding: gzip")).body == body


# ---------------------------------------------------------------------- hanging up


@both_loops
async def test_hanging_up_cancels_the_request():
    later = Later()
    later.gate.clear()
    async with a_front({"/": later}) as front:
        client = await front.client()
        client.send(post(b"x"))
        await until(lambda: later.running == 1)
        client.reset()
        await until(lambda: later.cancelled == 1)
        assert front.listener.counters.hung_up == 1
        assert front.listener.open_connections == 0


@both_loops
async def test_hanging_up_before_the_task_began():
    """No warning of a coroutine that was never awaited."""
    later = Later()
    async with a_front({"/": later}) as front:
        client = await front.client()
        await client.ask(b"x")
        connection = next(iter(front.listener._shared.connections))
        connection.data_received(post(b"x"))
        connection.connection_lost(None)
        connection._transport.abort()
        await asyncio.sleep(0)
        assert later.done == 1
        assert later.running == 0


@pytest.mark.parametrize("path", ["/", "/later"])
@both_loops
async def test_a_client_that_ends_its_side_still_gets_its_answers(path):
    later = Later()
    async with a_front({"/": Echo(), "/later": later}) as front:
        client = await front.client()
        client.send(b"".join(post(b"%d" % n, path) for n in range(100)))
        client.writer.write_eof()
        for n in range(100):
            assert (await client.response()).body == b"%d" % n
        assert await client.rest() == b""
        await until(lambda: front.listener.open_connections == 0)


@both_loops
async def test_a_client_that_ended_its_side_is_not_waited_for_long():
    later = Later()
    later.gate.clear()
    async with a_front({"/": later}, half_close_seconds=0.05) as front:
        client = await front.client()
        client.send(post(b"x"))
        client.writer.write_eof()
        await until(lambda: later.cancelled == 1)
        assert await client.rest() == b""


@pytest.mark.parametrize(
    "data", [b"", b"POST / HT", post(b"hello")[:-2], post(b"x") + b"GET / HTTP/1.1\r\n"]
)
@both_loops
async def test_the_end_in_the_middle_closes(data):
    async with a_front() as front:
        client = await front.client()
        client.send(data)
        client.writer.write_eof()
        rest = await client.rest()
        assert rest.count(b"HTTP/1.1") == (1 if b"GET" in data else 0)
        await until(lambda: front.listener.open_connections == 0)


@both_loops
async def test_the_end_behind_a_get_behind_a_request_in_flight():
    later = Later()
    later.gate.clear()
    async with a_front({"/": later}) as front:
        client = await front.client()
        client.send(post(b"x") + b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        client.writer.write_eof()
        await until(lambda: later.running == 1)
        later.gate.set()
        assert (await client.response()).body == b"x"
        assert (await client.response()).body == b'{"status": "ok"}'
        assert await client.rest() == b""


# ---------------------------------------------------------------------- any bytes

BODIES = [b"one", b"", b"three" * 100, b"4"]
STREAM = b"".join(post(body, path) for body in BODIES for path in ("/", "/later"))
STREAM += b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"


async def talk(client: Client, data: bytes, places: list[int]) -> bytes:
    edges = [0, *sorted(place % len(data) for place in places), len(data)]
    for start, end in pairwise(edges):
        client.send(data[start:end])
        await asyncio.sleep(0.0005)
    client.writer.write_eof()
    return await client.rest()


@NEW_LOOP
@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 10_000), max_size=8))
def test_any_split_gives_the_same_answers(new_loop, places):
    async def check() -> None:
        async with a_front() as front:
            client = await front.client()
            client.send(STREAM)
            whole = [(await client.response()).body for _ in range(9)]
            assert whole == [body for body in BODIES for _ in range(2)] + [b"ab"]
            client = await front.client()
            task = asyncio.ensure_future(talk(client, STREAM, places))
            text = await task
            assert text.count(b"HTTP/1.1 200 OK\r\n") == 9
            replay = asyncio.StreamReader()
            replay.feed_data(text)
            replay.feed_eof()
            reading = Client(replay, client.writer)
            assert [(await reading.response()).body for _ in range(9)] == whole
            assert await replay.read() == b""

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(check())


@NEW_LOOP
def test_mutated_bytes_are_answered_or_closed(new_loop):
    """Nothing crashes, hangs or stays: the client ends its side, we end ours."""

    async def check() -> None:
        rng = random.Random(7)
        async with a_front() as front:
            for _ in range(250):
                data = bytearray(STREAM)
                for _ in range(rng.randint(1, 6)):
                    at = rng.randrange(len(data))
                    new = rng.choice(
                        [b"", b"\r", b"\n", b"\r\n", b" ", b"0", b"-", rng.randbytes(3), b":"]
                    )
                    data[at : at + rng.randint(0, 3)] = new
                client = await front.client()
                client.send(bytes(data))
                client.writer.write_eof()
                async with limited():
                    rest = await client.rest()
                assert rest == b"" or rest.startswith(b"HTTP/1.1 ")
                client.close()
            await until(lambda: front.listener.open_connections == 0)
            assert set(front.listener.counters.answers_by_status) <= {
                200, 400, 404, 413, 415, 417, 431, 501, 505,
            }  # fmt: skip

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(check())


# ---------------------------------------------------------------------- hung up on, with an answer


@both_loops
async def test_a_stream_for_a_client_that_hangs_up_in_the_same_turn_is_closed():
    held = Held()
    async with a_front({"/": Saying(lambda: held)}) as front:
        client = await front.client()
        client.send(post(b"x"))
        await until(lambda: getattr(held, "deliver", None) is not None)
        (connection,) = front.listener._shared.connections
        pieces = Pieces(b"never read")
        connection.abort()
        held.deliver(Answer(b"{", rest=pieces))
        await until(lambda: not front.listener.open_connections)
        assert (pieces.closed, pieces.reads) == (1, 0)
        assert front.listener.counters.hung_up == 1
        assert not held.is_cancelled, "it was delivered"


@both_loops
async def test_a_stream_at_once_for_a_client_that_hangs_up_in_the_same_turn_is_closed():
    pieces = Pieces(b"never read")

    def answer() -> Answer:
        (connection,) = front.listener._shared.connections
        connection.abort()
        return Answer(b"{", rest=pieces)

    async with a_front({"/": Saying(answer)}) as front:
        client = await front.client()
        client.send(post(b"x"))
        await until(lambda: pieces.closed > 0)
        await until(lambda: not front.listener.open_connections)
        assert (pieces.closed, pieces.reads) == (1, 0)


@both_loops
async def test_a_stream_that_is_delivered_is_closed_once():
    held = Held()
    async with a_front({"/": Saying(lambda: held)}) as front:
        client = await front.client()
        client.send(post(b"x"))
        await until(lambda: getattr(held, "deliver", None) is not None)
        pieces = Pieces(b"ab", b"c")
        held.deliver(Answer(b"-", rest=pieces))
        assert (await client.response()).body == b"-abc"
        client.reset()
        await until(lambda: not front.listener.open_connections)
        assert pieces.closed == 1
