"""front.web, front.cors, front.handover: whatever does not begin with POST."""

import asyncio
import json

import pytest

from rpcproxy.config.model import Limits
from rpcproxy.front import cors
from rpcproxy.messages import Answer, StreamBroken
from tests.front_kit import (
    Client,
    Echo,
    Held,
    Later,
    Pieces,
    Response,
    Saying,
    a_front,
    both_loops,
    post,
    until,
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
        client = await front.client()
        for host in (b"x'&y", b"[::1", b"[", b"evil.example@x", b"x:"):
            for accept in (b"text/html", b"*/*"):
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
@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET / HTTP/1.1", 200),
        ("HEAD /healthz HTTP/1.1", 200),
        ("OPTIONS * HTTP/1.1", 204),
        ("GET /nowhere HTTP/1.1", 404),
        ("PUT / HTTP/1.1", 405),
        ("GET / HTTP/1.1\r\nno field", 400),
        ("GET / HTTP/1.1\r\nLong: " + "x" * 20_000, 400),
    ],
)
async def test_no_answer_tells_library_or_version(line, status):
    async with a_front() as front:
        client = await handed(front)
        client.send(f"{line}\r\nHost: x\r\n\r\n".encode())
        response = await client.response(is_head=line.startswith("HEAD"))
        assert (response.status, response.headers["server"]) == (status, "rpcproxy")
        assert "aiohttp" not in str(response.headers)


@both_loops
async def test_a_stream_by_aiohttp_for_a_client_that_hangs_up_in_the_same_turn_is_closed():
    held = Held()
    async with a_front({"/": Saying(lambda: held)}) as front:
        client = await handed(front)
        client.send(post(b"x"))
        await until(lambda: getattr(held, "deliver", None) is not None)
        pieces = Pieces(b"never read")
        (connection,) = front.listener._shared.handed
        connection.abort()
        held.deliver(Answer(b"{", rest=pieces))
        await until(lambda: not front.listener.open_connections)
        await until(lambda: pieces.closed > 0)
        assert (pieces.closed, pieces.reads) == (1, 0)
        assert not held.is_cancelled, "it was delivered"


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


# ---------------------------------------------------------------------- both on one connection


@both_loops
async def test_posts_then_a_get_then_posts_again():
    later = Later()
    async with a_front({"/": Echo(), "/later": later}) as front:
        client = await front.client()
        for _ in range(3):
            assert (await client.ask(b"x")).body == b"x"
        assert (await get(client, "/healthz")).status == 200
        assert front.listener.counters.handed_connections == 1
        assert front.listener.open_connections == 1
        for path in ("/", "/later"):
            response = await client.ask(b"y", path)
            assert (response.status, response.body) == (200, b"y")
            assert response.headers["content-type"] == "application/json"
            assert ALWAYS.items() <= response.headers.items()
        client.close()
        await until(lambda: front.listener.open_connections == 0)


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


@both_loops
async def test_a_get_byte_by_byte_and_too_slow():
    async with a_front(limits=Limits(header_seconds=0.2)) as front:
        client = await front.client()
        for byte in b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n":
            client.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await client.response()).status == 200
        client = await front.client()
        client.send(b"GET / HTTP/1.1\r\nHost")
        assert (await client.response()).status == 408


async def handed(front) -> Client:
    client = await front.client()
    assert (await get(client, "/healthz")).status == 200
    return client


@both_loops
async def test_posts_by_aiohttp_have_the_same_limits():
    async with a_front(limits=Limits(body_bytes=1000, body_seconds=0.1)) as front:
        client = await handed(front)
        assert (await client.ask(b"x" * 1000)).status == 200
        response = await client.ask(b"x" * 1001)
        assert response.status == 413
        assert "limit of 1000 bytes" in json.loads(response.body)["error"]["message"]
        client = await handed(front)
        assert (await client.ask(b"x", "/nowhere")).status == 404
        response = await client.ask(b"x", "/", "Content-Encoding: gzip")
        assert response.status == 415
        client = await handed(front)
        client.send(post(b"hello")[:-2])
        response = await client.response()
        assert response.status == 408
        assert "body took over" in json.loads(response.body)["error"]["message"]


@both_loops
async def test_posts_by_aiohttp_gzip_retry_after_and_bugs(caplog):
    class Broken:
        def handle(self, body, trace_id):
            raise ValueError("a bug")

    doors = {
        "/": Echo(),
        "/busy": Saying(lambda: Answer(b"{}", 429, retry_after_seconds=3)),
        "/broken": Broken(),
    }
    async with a_front(doors) as front:
        client = await handed(front)
        response = await client.ask(b"x" * 5000, "/", "Accept-Encoding: gzip")
        assert response.is_gzip
        assert response.text == "x" * 5000
        assert not (await client.ask(b"x" * 5000, "/", "Accept-Encoding: br")).is_gzip
        response = await client.ask(b"x", "/busy")
        assert (response.status, response.headers["retry-after"]) == (429, "3")
        response = await client.ask(b"x", "/broken")
        assert json.loads(response.body)["error"]["code"] == -32603
        assert [record.trace_id for record in caplog.records] == [response.headers["x-trace-id"]]


@both_loops
async def test_who_wants_nothing_kept_gets_it_by_aiohttp_too():
    class Telling:
        def handle(self, body, trace_id, *, is_fresh=False):
            return Answer(b'"fresh"' if is_fresh else b'"any"')

    async with a_front({"/": Telling()}) as front:
        client = await handed(front)
        assert (await client.ask(b"x", "/")).text == '"any"'
        for line in ("Cache-Control: no-cache", "Pragma: no-cache", "cache-control: max-age=0"):
            assert (await client.ask(b"x", "/", line)).text == '"fresh"'


@both_loops
async def test_streams_by_aiohttp():
    rests = [Pieces(b"b" * 300_000, b"c"), Pieces(b"b", StreamBroken("gone"))]
    waiting = list(rests)
    doors = {"/": Saying(lambda: Answer(b"a" * 300_000, rest=waiting.pop(0)))}
    async with a_front(doors) as front:
        client = await handed(front)
        response = await client.ask(b"x")
        assert response.body == b"a" * 300_000 + b"b" * 300_000 + b"c"
        client.send(post(b"x"))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.response()
        assert [rest.closed for rest in rests] == [1, 1]


@both_loops
async def test_slow_readers_of_aiohttp_are_cut_off(monkeypatch):
    monkeypatch.setattr("rpcproxy.front.web._STALL_SECONDS", 0.1)
    rest = Pieces(*[bytes(1024 * 1024)] * 200)
    async with a_front({"/": Saying(lambda: Answer(b"a", rest=rest))}) as front:
        client = await front.client(limit=1000)
        assert (await get(client, "/healthz")).status == 200
        client.send(post(b"x"))
        await until(lambda: rest.closed == 1)
        await until(lambda: front.listener.open_connections == 0)
        assert rest.reads < 100


@both_loops
async def test_hanging_up_on_aiohttp_cancels_too():
    later = Later()
    later.gate.clear()
    async with a_front({"/": later}) as front:
        client = await handed(front)
        client.send(post(b"x"))
        await until(lambda: later.running == 1)
        client.reset()
        await until(lambda: later.cancelled == 1)
