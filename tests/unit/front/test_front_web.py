"""front.web, front.protocol.page, front.protocol.cors: whatever is no POST, and POSTs beside it."""

import asyncio
import json

import pytest

from rpcproxy.config.model import Limits
from rpcproxy.front.protocol import cors
from rpcproxy.messages import Answer
from tests.kits.waiting import until
from tests.sockets.front_kit import (
    Client,
    Echo,
    Front,
    Later,
    Pieces,
    Response,
    Saying,
    a_front,
    both_loops,
    post,
)

ALWAYS = {
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "Retry-After, X-Trace-Id",
}


async def get(client: Client, path: str, *fields: str, method: str = "GET") -> Response:
    lines = [f"{method} {path} HTTP/1.1", "Host: proxy:8545", *fields]
    client.send("\r\n".join(lines).encode() + b"\r\n\r\n")
    response = await client.response(is_head=method == "HEAD")
    assert ALWAYS.items() <= response.headers.items()
    assert len(response.headers["x-trace-id"]) == 16
    return response


@both_loops
async def test_the_page_for_people():
    async with a_front() as front:
        client = await front.client()
        response = await get(client, "/", "Accept: text/html,*/*")
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        assert ">http://proxy:8545/ethereum</code>" in response.text
        response = await get(client, "/")
        assert response.headers["content-type"] == "text/plain; charset=utf-8"
        assert "http://proxy:8545/ethereum" in response.text
        assert "curl http://proxy:8545/ethereum -d" in response.text


@both_loops
async def test_the_page_of_one_chain():
    async with a_front({"/1": Echo(), "/137": Echo()}) as front:
        client = await front.client()
        assert "ethereum (chain id 1)" in (await get(client, "/1/")).text
        assert "ethereum" not in (await get(client, "/137")).text


@both_loops
async def test_no_page_holds_what_the_client_made_up():
    async with a_front() as front:
        for host in (b"x'&y", b"[::1", b"[", b"evil.example@x", b"x:"):
            for accept in (b"text/html", b"*/*"):
                client = await front.client()
                client.send(b"GET / HTTP/1.1\r\nAccept: %b\r\nHost: %b\r\n\r\n" % (accept, host))
                response = await client.response()
                assert response.status == 400
                assert host.decode() not in response.text
        for line in (b"GET / HTTP/1.0", b"GET / HTTP/1.1\r\nHost:"):
            client = await front.client()
            client.send(line + b"\r\n\r\n")
            response = await client.response()
            assert "  http://127.0.0.1:" in response.text, "checks of load balancers have none"


@both_loops
async def test_no_cache_keeps_where_a_client_found_us():
    async with a_front() as front:
        client = await front.client()
        for accept in ("text/html", "*/*"):
            headers = (await get(client, "/", f"Accept: {accept}")).headers
            assert headers["cache-control"] == "no-store"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["vary"] == "Accept"


@both_loops
async def test_health():
    async with a_front() as front:
        client = await front.client()
        response = await get(client, "/healthz")
        assert (response.status, json.loads(response.body)) == (200, {"status": "ok"})
        response = await get(client, "/readyz")
        assert (response.status, json.loads(response.body)) == (200, {"ready": True, "detail": 1})
        front.is_ready = False
        response = await get(client, "/readyz")
        assert (response.status, json.loads(response.body)["ready"]) == (503, False)
        response = await get(client, "/readyz?any")
        assert response.status == 503
        response = await get(client, "/healthz", method="HEAD")
        assert (response.status, response.body) == (200, b"")
        assert (await get(client, "/healthz")).status == 200  # nothing was left of the HEAD's body


@both_loops
async def test_a_page_that_fails_is_an_answer_too(caplog):
    class Broken(dict):
        def get(self, path):
            raise ValueError("a bug")

    async with a_front(Broken()) as front:
        client = await front.client()
        response = await get(client, "/ethereum")
        assert json.loads(response.body)["error"]["code"] == -32603
        assert [record.trace_id for record in caplog.records] == [response.headers["x-trace-id"]]


@both_loops
async def test_what_is_not_there():
    async with a_front() as front:
        client = await front.client()
        response = await get(client, "/nowhere")
        assert response.status == 404
        assert response.headers["content-type"].startswith("application/json")
        assert "no chain" in json.loads(response.body)["error"]["message"]
        for method in ("PUT", "DELETE", "PATCH"):
            response = await get(client, "/", method=method)
            assert response.status == 405
            assert response.headers["allow"] == "GET, HEAD, POST, OPTIONS"
        for method in ("post", "POSTS", "BREW"):
            assert (await get(await front.client(), "/", method=method)).status == 501


@both_loops
@pytest.mark.parametrize("path", ["/", "/ethereum", "*"])
async def test_preflight(path):
    async with a_front() as front:
        client = await front.client()
        response = await get(
            client,
            path,
            "Origin: https://app.example",
            "Access-Control-Request-Method: POST",
            "Access-Control-Request-Headers: content-type,x-custom",
            "Access-Control-Request-Private-Network: true",
            method="OPTIONS",
        )
        assert response.status == 204
        assert response.headers["access-control-allow-methods"] == "POST, GET, HEAD, OPTIONS"
        assert response.headers["access-control-allow-headers"] == "content-type,x-custom"
        assert response.headers["access-control-max-age"] == "86400"
        assert response.headers["access-control-allow-private-network"] == "true"


@pytest.mark.parametrize("names", ["", "a b", "a\r\nb", "x" * 2000, "a,,b", "<script>"])
def test_preflight_without_sensible_names(names):
    headers = cors.preflight({"Access-Control-Request-Headers": names})
    for name in ("content-type", "authorization", "cache-control", "pragma", "solana-client"):
        assert name in headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Private-Network" not in headers


# ---------------------------------------------------------------------- all on one connection

# What a connection may have carried before: each is one whole request.
BEFORE = {
    "nothing": b"",
    "get": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "a get with a body": b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    "head": b"HEAD /readyz HTTP/1.1\r\nHost: x\r\n\r\n",
    "options": b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "not found": b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
    "not allowed": b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    "post": post(b"before"),
    "all": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + post(b"before") + b"\r\n",
}
after = pytest.mark.parametrize("before", BEFORE)


async def used(front: Front, before: str) -> Client:
    """A connection on which this was asked and answered."""
    client = await front.client()
    data = BEFORE[before]
    client.send(data)
    if data:
        await client.response(is_head=before == "head")
    if before == "all":
        assert (await client.response()).body == b"before"
    return client


@both_loops
async def test_any_order_pipelined_or_not():
    async with a_front({"/": Echo(), "/later": Later()}) as front:
        wanted = [name for name in BEFORE if name not in ("nothing", "all")] * 3
        data = b"".join(BEFORE[name] + post(name.encode(), "/later") for name in wanted)
        for step in (len(data), 1000, 7):
            client = await front.client()
            for start in range(0, len(data), step):
                client.send(data[start : start + step])
                await asyncio.sleep(0)
            for name in wanted:
                assert (await client.response(is_head=name == "head")).status < 500
                assert (await client.response()).body == name.encode()


@both_loops
async def test_a_get_behind_a_request_in_flight_waits_for_it():
    later = Later()
    later.gate.clear()
    async with a_front({"/": later}) as front:
        client = await front.client()
        client.send(post(b"x") + b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + post(b"y"))
        await until(lambda: later.running == 1)
        later.gate.set()
        assert (await client.response()).body == b"x"
        assert (await client.response()).body == b'{"status": "ok"}'
        assert (await client.response()).body == b"y"


# What two readers could understand differently, or one of them not at all. Each was served by a
# server or proxy that had a second reader, or was lax: some changes there are named.
CHUNK = b"1\r\nx\r\n0\r\n\r\n"
SMUGGLED = {
    # fasthttp 2330, Boost.Beast 3096
    "chunked in 1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNK, 400),
    # Bun 35295, Hertz 1490
    "gzip, chunked": (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n" + CHUNK,
        400,
    ),
    # tinyproxy 617
    "vertical tab": (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \x0bchunked\r\n\r\n" + CHUNK,
        400,
    ),
    "both lengths": (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
        + CHUNK,
        400,
    ),
    "a signed length": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\nx", 400),
    "two lengths": (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        400,
    ),
    "a folded field": (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n chunked\r\n\r\n" + CHUNK,
        400,
    ),
    "bare line feeds": (b"POST / HTTP/1.1\nHost: x\nContent-Length: 1\n\nx", 400),
    "a chunk's wrong size": (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n",
        400,
    ),
    "a get in chunks of gzip": (
        b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n" + CHUNK,
        400,
    ),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "an unknown method": (b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n", 501),
    "another version": (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    "a long head": (b"GET / HTTP/1.1\r\nHost: x\r\nLong: " + b"x" * 20_000, 431),
    "a compressed body": (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
        415,
    ),
    "an upload too large": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n", 413),
    "a get too large": (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n", 413),
}


@both_loops
@after
async def test_one_reader_refuses_the_same_after_whatever_came_before(before):
    async with a_front(limits=Limits(body_bytes=1000)) as front:
        for name, (data, status) in SMUGGLED.items():
            client = await used(front, before)
            client.send(data)
            response = await client.response()
            assert response.status == status, name
            assert response.headers["connection"] == "close"
            assert ALWAYS.items() <= response.headers.items()
            assert len(response.headers["x-trace-id"]) == 16
            assert "server" not in response.headers, "no library, no version"
            assert await client.rest() == b"", name


@both_loops
@after
async def test_half_a_request_is_timed_whatever_came_before(before):
    """Akka HTTP 813, Traffic Server 1237, Cowboy 212: no time for a head, or only for the first."""
    limits = Limits(header_seconds=10, body_seconds=10)
    async with a_front(limits=limits, has_time_stopped=True) as front:
        waiting = []
        for half, words in (
            (b"GET / HTTP/1.1\r\nHost", "head took over"),
            (b"POST / HT", "head took over"),
            (post(b"hello")[:-2], "body took over"),
            (b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx", "body took over"),
            (
                b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
                "body took over",
            ),
        ):
            client = await used(front, before)
            client.send(half)
            waiting.append((client, words))
        await front.reading(len(waiting))
        await front.pass_time(9.9)
        assert front.listener.counters.timed_out == 0
        await front.pass_time(0.7)
        for client, words in waiting:
            response = await client.response()
            assert response.status == 408
            assert words in json.loads(response.body)["error"]["message"]
            assert ALWAYS.items() <= response.headers.items()
            assert await client.rest() == b""
        await front.pass_time(4)
        await until(lambda: front.listener.open_connections == 0)


@both_loops
@after
async def test_what_a_post_gets_is_the_same_after_whatever_came_before(before):
    class Telling:
        def handle(self, body, trace_id, *, is_fresh=False, **_wishes):
            return Answer(b'"fresh"' if is_fresh else b'"any"')

    doors = {
        "/": Echo(),
        "/busy": Saying(lambda: Answer(b"{}", 429, retry_after_seconds=3)),
        "/kept": Telling(),
        "/stream": Saying(lambda: Answer(b"a", rest=Pieces(b"b" * 300_000, b"c"))),
    }
    async with a_front(doors) as front:
        client = await used(front, before)
        response = await client.ask(b"x" * 5000, "/", "Accept-Encoding: gzip")
        assert (response.is_gzip, response.text) == (True, "x" * 5000)
        response = await client.ask(b"x", "/busy")
        assert (response.status, response.headers["retry-after"]) == (429, "3")
        assert (await client.ask(b"x", "/kept", "Pragma: no-cache")).text == '"fresh"'
        assert (await client.ask(b"x", "/nowhere")).status == 404
        assert (await client.ask(b"x", "/stream")).body == b"a" + b"b" * 300_000 + b"c"


@both_loops
async def test_a_page_to_http10_and_to_one_that_closes():
    async with a_front() as front:
        for line, fields in (("1.0", b""), ("1.1", b"Host: x\r\nConnection: close\r\n")):
            client = await front.client()
            client.send(b"GET /healthz HTTP/%b\r\n%b\r\n" % (line.encode(), fields))
            response = await client.response()
            assert response.headers["connection"] == "close"
            assert await client.rest() == b""
        client = await front.client()
        client.send(b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert (await client.response()).headers["connection"] == "keep-alive"
        assert (await client.ask(b"x")).body == b"x"
