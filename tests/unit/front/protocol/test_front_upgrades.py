"""front.protocol.upgrades: whoever wants another protocol on a wallet's connection.

A page for an answer is what people met elsewhere: zkevm-node 1854 ("Unexpected server response:
200"), gorilla/websocket 915 and ws 480 (which status), and handshakes that a proxy in front took
the Upgrade out of (nginx without `proxy_set_header`).
"""

import aiohttp
import pytest

from rpcproxy.front.protocol.upgrades import NOT_SERVED, wants_websocket
from tests.kits.waiting import limited
from tests.sockets.front_kit import Client, Echo, Response, a_front, both_loops, post

KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", KEY)


async def ask(client: Client, path: str, *fields: str, method: str = "GET") -> Response:
    lines = [f"{method} {path} HTTP/1.1", "Host: proxy:8545", *fields]
    client.send("\r\n".join(lines).encode() + b"\r\n\r\n")
    return await client.response(is_head=method == "HEAD")


def check_refused(response: Response) -> None:
    assert response.status == 501
    assert response.headers["access-control-allow-origin"] == "*"
    assert len(response.headers["x-trace-id"]) == 16
    assert response.headers["content-type"].startswith("application/json")
    assert "upgrade" not in response.headers
    assert response.headers["connection"].lower() == "close"


@pytest.mark.parametrize("path", ["/", "/1", "/no/such/path", "/healthz", "/readyz", "/status"])
@both_loops
async def test_a_websocket_is_refused_in_words_on_every_path(path: str):
    async with a_front({"/": Echo(), "/1": Echo()}) as front:
        client = await front.client()
        response = await ask(client, path, *HANDSHAKE)
        check_refused(response)
        assert NOT_SERVED in response.text
        assert "<html" not in response.text
        assert await client.rest() == b""


@pytest.mark.parametrize(
    "fields",
    [
        ("upgrade: WebSocket", "connection: keep-alive, Upgrade", KEY),
        ("UPGRADE: WEBSOCKET", "CONNECTION: UPGRADE"),
        ("Upgrade:websocket",),
        ("Upgrade: h2c, websocket", "Connection: Upgrade"),
        ("Upgrade: h2c", "Upgrade: websocket/13", "Connection: Upgrade"),
        ("Connection: close", "Sec-WebSocket-Version: 13", KEY),
        ("Accept: text/html", *HANDSHAKE),
        ("Origin: https://dapp.example", *HANDSHAKE),
    ],
)
@both_loops
async def test_however_it_is_spelled(fields: tuple[str, ...]):
    async with a_front() as front:
        client = await front.client()
        check_refused(await ask(client, "/", *fields))
        head = await front.client()
        check_refused(await ask(head, "/", *fields, method="HEAD"))


@both_loops
async def test_a_websocket_on_a_connection_that_was_in_use():
    async with a_front() as front:
        client = await front.client()
        client.send(post(b'{"id":1}'))
        assert (await client.response()).status == 200
        assert (await ask(client, "/healthz")).status == 200
        check_refused(await ask(client, "/", *HANDSHAKE))
        # What was sent behind it is not taken for a request.
        other = await front.client()
        lines = "\r\n".join(["GET / HTTP/1.1", "Host: proxy", *HANDSHAKE]).encode() + b"\r\n\r\n"
        other.send(lines + b"\x81\x85\0\0\0\0hello")
        check_refused(await other.response())
        assert await other.rest() == b""
        # And others are served.
        client = await front.client()
        client.send(post(b'{"id":2}'))
        assert (await client.response()).status == 200


@pytest.mark.parametrize("upgrade", ["h2c", "TLS/1.0", "foo/2"])
@both_loops
async def test_another_protocol_is_passed_over(upgrade: str):
    fields = (f"Upgrade: {upgrade}", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMA")
    async with a_front() as front:
        client = await front.client()
        for _ in range(2):
            response = await ask(client, "/healthz", *fields)
            assert response.status == 200
        for _ in range(2):
            client.send(post(b'{"id":1}', "/", *fields))
            assert (await client.response()).status == 200


@both_loops
async def test_a_post_that_offers_a_websocket_is_a_post():
    async with a_front() as front:
        client = await front.client()
        for _ in range(2):
            client.send(post(b'{"id":1}', "/", "Upgrade: h2c, websocket", "Connection: Upgrade"))
            assert (await client.response()).status == 200


@both_loops
async def test_a_real_client_is_told_the_status():
    async with a_front() as front, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with limited():
                await session.ws_connect(f"http://127.0.0.1:{front.port}/")
        assert refused.value.status == 501


def test_what_is_no_websocket() -> None:
    assert not wants_websocket((), has_key=False)
    assert not wants_websocket(("h2c", "websocketish", "web socket"), has_key=False)
    assert wants_websocket((" WebSocket ",), has_key=False)
