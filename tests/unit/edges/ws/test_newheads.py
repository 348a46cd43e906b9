"""The feed of blocks against real WebSocket servers, and against sockets scripted by hand."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import logging
import re
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp import web

from rpcproxy.chains.evm.feed import NEW_HEADS
from rpcproxy.edges.ws import newheads
from rpcproxy.edges.ws.dialogue import FeedSettings
from rpcproxy.edges.ws.newheads import HeadFeed
from rpcproxy.messages import Head
from tests.kits.waiting import limited, until
from tests.sockets.scripted import Peer, Scripted, on_both_loops, open_sockets

SECRET = "k3y-of-n0body"
# Servers that are scripted by hand say no goodbye.
QUICK: dict[str, Any] = {
    "first_pause_seconds": 0.001,
    "longest_pause_seconds": 0.01,
    "goodbye_seconds": 0.05,
}
# So that a feed asks and gives up while a test waits.
HASTY: dict[str, Any] = {
    **QUICK,
    "least_silence_seconds": 0.1,
    "answer_seconds": 0.1,
    "keepalive_seconds": 0.02,
}
REPLY = '{"jsonrpc":"2.0","id":1,"result":"0xa"}'


def header(number: int) -> str:
    return json.dumps({"number": hex(number), "hash": f"0x{number:064x}"})


def notice(number: int) -> str:
    return (
        '{"jsonrpc":"2.0","method":"eth_subscription","params":'
        f'{{"subscription":"0xa","result":{header(number)}}}}}'
    )


Behaviour = Callable[[web.WebSocketResponse], Awaitable[None]]


class Provider:
    """A WebSocket server on 127.0.0.1; ``behave`` is what it does with each connection."""

    def __init__(self, behave: Behaviour, *, autoping: bool = True) -> None:
        self._behave = behave
        self._autoping = autoping
        self.requests: list[web.BaseRequest] = []
        self.ended = 0
        self.url = ""

    @property
    def started(self) -> int:
        return len(self.requests)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        socket = web.WebSocketResponse(autoping=self._autoping)
        try:
            await socket.prepare(request)
            await self._behave(socket)
        except (ConnectionError, TypeError):  # the feed has left, before or after the upgrade
            assert request.transport is None or request.transport.is_closing() or socket.closed
        finally:
            self.ended += 1
        return socket if socket.prepared else web.Response()


@contextlib.asynccontextmanager
async def serving(
    behave: Behaviour, tls: ssl.SSLContext | None = None, *, autoping: bool = True
) -> AsyncIterator[Provider]:
    provider = Provider(behave, autoping=autoping)
    runner = web.ServerRunner(web.Server(provider.handle), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    scheme = "wss" if tls else "ws"
    provider.url = f"{scheme}://127.0.0.1:{runner.addresses[0][1]}/v3/{SECRET}?a=b"
    try:
        yield provider
    finally:
        await runner.cleanup()


class Heard:
    """A feed, and what it told."""

    def __init__(self, url: str, headers: dict[str, str] | None = None, **settings: Any) -> None:
        self.heads: list[Head] = []
        self.texts: list[bytes] = []
        self.states: list[tuple[bool, str]] = []
        self.seconds_without: list[float] = []  # a block, at each of them
        block_time = settings.pop("block_time_seconds", 0.001)
        self.now: Callable[[], float] = settings.get("now", time.monotonic)
        self.feed = HeadFeed(
            "it",
            url,
            headers or {},
            FeedSettings(block_time, NEW_HEADS, **{**QUICK, **settings}),
            self.on_head,
            self.on_state,
        )

    def on_head(self, head: Head, text: bytes) -> None:
        self.heads.append(head)
        self.texts.append(text)

    def on_state(self, is_live: bool, reason: str) -> None:
        self.states.append((is_live, reason))
        self.seconds_without.append(self.now() - self.feed.last_head_at)

    @property
    def numbers(self) -> list[int]:
        return [head.number for head in self.heads]

    @property
    def why(self) -> str:
        """The reason it is down for."""
        is_live, reason = self.states[-1]
        assert not is_live
        return reason


@contextlib.asynccontextmanager
async def hearing(
    url: str, headers: dict[str, str] | None = None, **settings: Any
) -> AsyncIterator[Heard]:
    """A feed for the time of the block, after which no socket is left."""
    heard = Heard(url, headers, **settings)
    heard.feed.start()
    try:
        yield heard
    finally:
        await heard.feed.close()
        told = len(heard.states), len(heard.heads)
        assert not heard.feed.is_live
        await asyncio.sleep(0)
        assert (len(heard.states), len(heard.heads)) == told
        assert not any(SECRET in reason or "127.0.0.1" in reason for _, reason in heard.states)


async def answer(socket: web.WebSocketResponse, *texts: str) -> None:
    """Take the subscription, then send ``texts``."""
    request = json.loads(await socket.receive_str())
    assert request == {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}
    for text in texts:
        await socket.send_str(text)


async def stay(socket: web.WebSocketResponse) -> None:
    """Keep the connection, and answer pings, until the other side leaves."""
    async for _ in socket:
        pass


def sending(*texts: str) -> Behaviour:
    async def behave(socket: web.WebSocketResponse) -> None:
        await answer(socket, *texts)
        await stay(socket)

    return behave


@contextlib.asynccontextmanager
async def no_socket_left() -> AsyncIterator[None]:
    before = open_sockets()
    yield
    await until(lambda: open_sockets() == before)


# ---- What is handed on


@on_both_loops
async def test_blocks_are_handed_on() -> None:
    began = time.monotonic()
    async with no_socket_left(), serving(sending(REPLY, notice(7), notice(8), notice(6))) as there:
        async with hearing(there.url) as heard:
            assert not heard.feed.is_live
            assert heard.feed.last_head_at < 0
            await until(lambda: len(heard.heads) == 3)
            assert heard.numbers == [7, 8, 6]
            assert heard.texts == [header(n).encode() for n in (7, 8, 6)]
            assert heard.states == [(True, "subscribed to newHeads")]
            assert heard.feed.is_live
            assert began <= heard.feed.last_head_at <= time.monotonic()
        await until(lambda: there.ended == 1)
        assert there.started == 1


@on_both_loops
async def test_unusual_ways_to_say_it() -> None:
    async def behave(socket: web.WebSocketResponse) -> None:
        await answer(socket, notice(1), "hello", '{"id":null,"result":"x"}', REPLY)
        await socket.send_bytes(b"\xff\xfe")
        await socket.send_bytes(notice(2).encode())
        await socket.ping(b"are you there")
        await socket.send_str(notice(3).replace('"0xa"', '"0xb"'))
        await socket.send_str(notice(4))
        pong = await socket.receive()
        while pong.type is not aiohttp.WSMsgType.PONG:
            if pong.type is aiohttp.WSMsgType.PING:
                await socket.pong(pong.data)
            pong = await socket.receive()
        assert pong.data == b"are you there"
        await socket.send_str(notice(5))
        await stay(socket)

    async with serving(behave, autoping=False) as there, hearing(there.url) as heard:
        await until(lambda: heard.numbers[-1:] == [5])
        assert heard.numbers == [1, 2, 4, 5]
        assert heard.states == [(True, "subscribed to newHeads")]


@on_both_loops
async def test_what_the_callbacks_raise_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no room")

    async with serving(sending(REPLY, notice(1), notice(2))) as there:
        feed = HeadFeed("it", there.url, {}, FeedSettings(1.0, NEW_HEADS), fail, fail)
        feed.start()
        await until(lambda: len(caplog.records) == 3)
        assert feed.is_live
        await feed.close()
        assert there.started == 1
    assert SECRET not in caplog.text


@on_both_loops
async def test_messages_without_a_block_for_long_are_left() -> None:
    async def behave(socket: web.WebSocketResponse) -> None:
        await answer(socket, REPLY, notice(1))
        with contextlib.suppress(ConnectionError):
            for _ in range(21):
                await socket.send_str("{}")
            await stay(socket)

    async with serving(behave) as there, hearing(there.url, most_other_messages=20) as heard:
        await until(lambda: there.started >= 2)
        assert heard.states[1] == (False, "too many messages that are no blocks")


# ---- How it is reached


@on_both_loops
async def test_the_upgrade_carries_path_and_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "ws_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with serving(sending(REPLY)) as there:
        url = there.url.replace("//", "//us%40er:pass@")
        async with hearing(url, {"X-Key": " v "}) as heard:
            await until(lambda: bool(heard.states))
        [request] = there.requests
        assert request.raw_path == f"/v3/{SECRET}?a=b"
        assert request.headers["X-Key"] == "v"
        pair = base64.b64encode(b"us@er:pass").decode()
        assert request.headers.getall("Authorization") == [f"Basic {pair}"]
        assert request.headers["User-Agent"].startswith("rpcproxy/")
        assert request.headers["Host"] == there.url.split("/")[2]
        assert "Origin" not in request.headers
        assert "Content-Type" not in request.headers


@on_both_loops
async def test_a_header_of_the_users_own_authorizes() -> None:
    async with serving(sending(REPLY)) as there:
        url = there.url.replace("//", "//user:pass@")
        async with hearing(url, {"authorization": "Bearer x"}) as heard:
            await until(lambda: bool(heard.states))
        assert there.requests[0].headers.getall("Authorization") == ["Bearer x"]


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        (f"https://host/{SECRET}", {}),
        (f"ws:/host/{SECRET}", {}),
        (f"ws://:80/{SECRET}", {}),
        (f"ws://host:99999/{SECRET}", {}),
        ("ws://host/", {"Upgrade": SECRET}),
        ("ws://host/", {"X": f"{SECRET}\r\nY: 1"}),
        ("ws://host/", {f"X {SECRET}": "1"}),
    ],
)
def test_what_cannot_be_sent_is_refused(url: str, headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="upstream it: ") as refused:
        Heard(url, headers)
    assert SECRET not in str(refused.value)


def test_an_ipv6_address_and_odd_characters_are_kept() -> None:
    url, headers = newheads._upgrade_request("it", "WSS://[::1]:8546/a%2Fb/ä?k=%20+x", {})
    assert str(url) == "wss://[::1]:8546/a%2Fb/%C3%A4?k=%20+x"
    assert headers["Host"] == "[::1]:8546"


def tls_contexts(host: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's, for ``host``, and a client's that trusts it."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


@on_both_loops
async def test_over_tls() -> None:
    server, client = tls_contexts("127.0.0.1")
    async with (
        no_socket_left(),
        serving(sending(REPLY, notice(5)), server) as there,
        hearing(there.url, ssl_context=client) as heard,
    ):
        await until(lambda: bool(heard.heads))
        assert heard.feed.is_live


@on_both_loops
async def test_a_certificate_of_another_name_is_not_accepted() -> None:
    server, client = tls_contexts("elsewhere.example")
    async with no_socket_left(), serving(sending(REPLY), server) as there:
        heard = Heard(there.url, ssl_context=client)
        heard.feed.start()
        await until(lambda: bool(heard.states))
        await heard.feed.close()
        assert heard.why.startswith("certificate not accepted: ")
        assert there.started == 0


@on_both_loops
async def test_an_unknown_authority_is_not_accepted() -> None:
    server, _ = tls_contexts("127.0.0.1")
    async with serving(sending(REPLY), server) as there, hearing(there.url) as heard:
        await until(lambda: bool(heard.states))
        assert heard.why.startswith("certificate not accepted")
        assert there.started == 0


@on_both_loops
async def test_no_tls_where_tls_is_expected() -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.read(10)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with (
        no_socket_left(),
        Scripted(script) as server,
        hearing(f"wss://127.0.0.1:{server.port}/") as heard,
    ):
        await until(lambda: bool(heard.states))
        assert heard.why == "TLS handshake failed"


@on_both_loops
async def test_nobody_listens_and_then_somebody_does() -> None:
    async with Scripted(lambda _: asyncio.sleep(0)) as server:
        port = server.port
    async with hearing(f"ws://127.0.0.1:{port}/") as heard:
        await until(lambda: bool(heard.states))
        assert heard.states == [(False, "connection refused")]
        server = Scripted(upgraded(frame(REPLY), frame(notice(1))))
        server.port = port
        async with server:
            await until(lambda: bool(heard.heads))
        assert heard.states[1] == (True, "subscribed to newHeads")


@on_both_loops
async def test_a_name_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(*_: object, **__: object) -> None:
        raise OSError(f"no {SECRET}")

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", resolve)
    monkeypatch.setattr(aiohttp.connector, "DefaultResolver", aiohttp.ThreadedResolver)
    async with hearing("ws://nowhere.example/") as heard:
        await until(lambda: bool(heard.states))
        assert heard.why == "its name does not resolve"


# ---- By hand


def frame(text: str | bytes, opcode: int = 1, *, is_last: bool = True) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    first = bytes([opcode | (0x80 if is_last else 0)])
    if len(data) < 126:
        return first + bytes([len(data)]) + data
    if len(data) < 65536:
        return first + b"\x7e" + len(data).to_bytes(2, "big") + data
    return first + b"\x7f" + len(data).to_bytes(8, "big") + data


async def upgrade(peer: Peer) -> None:
    head = await peer.reader.readuntil(b"\r\n\r\n")
    found = re.search(rb"Sec-WebSocket-Key: (\S+)", head, re.IGNORECASE)
    assert found is not None
    magic = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
    accept = base64.b64encode(hashlib.sha1(found[1] + magic).digest())
    await peer.send(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
    )


def upgraded(*pieces: bytes) -> Callable[[Peer], Awaitable[None]]:
    """A server that upgrades, sends this, and never reads."""

    async def script(peer: Peer) -> None:
        await upgrade(peer)
        for piece in pieces:
            await peer.send(piece)
        await peer.gone()

    return script


def ws(server: Scripted) -> str:
    return server.url.replace("http", "ws", 1).replace("key", SECRET)


@on_both_loops
async def test_a_message_in_many_pieces() -> None:
    text = notice(7).encode()
    pieces = [
        frame(REPLY),
        frame(text[:9], is_last=False),
        frame(b"in between", 9),
        frame(text[9:50], 0, is_last=False),
        frame(text[50:], 0),
    ]

    async def script(peer: Peer) -> None:
        await upgrade(peer)
        await peer.send_bytewise(b"".join(pieces))
        await peer.gone()

    async with Scripted(script) as server, hearing(ws(server)) as heard:
        await until(lambda: heard.numbers == [7])


TEN_MINUTES = "rate limited (HTTP 429); tried again in 10 min"
BIG = "[" + " " * newheads.MAX_MESSAGE_BYTES + "]"


@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        ([frame(BIG)], "a message over 1 MiB"),
        ([frame(" " * 700_000, is_last=False), frame(" " * 700_000, 0)], "a message over 1 MiB"),
        ([frame(b"\xff\xfe")], "a broken frame"),
        ([frame("", 3)], "a broken frame"),
        ([b"\xff\xff\xff\xff"], "a broken frame"),
        ([frame(b"\x03\xe8bye", 8)], "closed by the upstream (code 1000)"),
        ([frame(b"\x03\xf0" + SECRET.encode(), 8)], "closed by the upstream (code 1008)"),
        ([frame(b"", 8)], "closed by the upstream"),
    ],
)
@on_both_loops
async def test_what_ends_a_connection(pieces: list[bytes], why: str) -> None:
    script = upgraded(frame(REPLY), frame(notice(1)), *pieces)
    async with no_socket_left(), Scripted(script) as server, hearing(ws(server)) as heard:
        await until(lambda: len(heard.heads) >= 3)
        assert heard.states[:3] == [
            (True, "subscribed to newHeads"),
            (False, why),
            (True, "subscribed to newHeads"),
        ]


@pytest.mark.parametrize("way", ["end", "reset", "cut_tls"])
@on_both_loops
async def test_a_lost_connection(way: str) -> None:
    server_tls, client_tls = tls_contexts("127.0.0.1") if way == "cut_tls" else (None, None)

    async def script(peer: Peer) -> None:
        await upgrade(peer)
        await peer.send(frame(REPLY) + frame(notice(1)))
        await peer.reader.read(10)
        if way == "reset":
            peer.reset()
        elif way == "cut_tls":
            peer.cut()

    async with (
        no_socket_left(),
        Scripted(script, server_tls) as server,
        hearing(ws(server), ssl_context=client_tls) as heard,
    ):
        await until(lambda: len(heard.states) >= 4)
        assert heard.states[1] == (False, "connection lost")


@on_both_loops
async def test_a_connection_lost_while_something_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")

    monkeypatch.setattr(aiohttp.ClientWebSocketResponse, "send_str", fail)
    async with no_socket_left(), serving(stay) as there, hearing(there.url) as heard:
        await until(lambda: there.started >= 2)
        assert heard.states == [(False, "connection lost")]


@on_both_loops
async def test_closed_before_the_upgrade_told_once() -> None:
    async with (
        no_socket_left(),
        Scripted(lambda _: asyncio.sleep(0)) as server,
        hearing(ws(server)) as heard,
    ):
        await until(lambda: len(server.peers) >= 5)
        assert heard.states == [(False, "closed before the upgrade")]


@on_both_loops
async def test_an_upgrade_that_is_never_answered() -> None:
    async def script(peer: Peer) -> None:
        await peer.gone()

    async with (
        no_socket_left(),
        Scripted(script) as server,
        hearing(ws(server), upgrade_seconds=0.05) as heard,
    ):
        await until(lambda: len(server.peers) >= 2)
        assert heard.states == [(False, "no upgrade in 0.05 s")]


@on_both_loops
async def test_a_subscription_that_is_never_answered() -> None:
    async with (
        no_socket_left(),
        Scripted(upgraded(frame(notice(1)))) as server,
        hearing(ws(server), answer_seconds=0.05) as heard,
    ):
        await until(lambda: len(server.peers) >= 2)
        assert heard.states == [(False, "no answer to eth_subscribe in 0.05 s")]
        assert not heard.heads
        assert not heard.feed.is_live


async def others_have_tried_again() -> None:
    """A feed that is not told to wait has tried its luck a few times, 10 ms apart at most."""
    async with Scripted(lambda _: asyncio.sleep(0)) as server, hearing(ws(server)):
        await until(lambda: len(server.peers) >= 4)


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (b"HTTP/1.1 401 No\r\n", "refused the upgrade (HTTP 401); tried again in 5 min"),
        (b"HTTP/1.1 403 No\r\n", "refused the upgrade (HTTP 403); tried again in 5 min"),
        (b"HTTP/1.1 200 OK\r\n", "refused the upgrade (HTTP 200); tried again in 5 min"),
        (b"HTTP/1.1 302 X\r\nLocation: /\r\n", "refused the upgrade (HTTP 302); tried again in 5"),
        (b"HTTP/1.1 429 X\r\n", "rate limited (HTTP 429); tried again in 1 min"),
        (b"HTTP/1.1 429 X\r\nRetry-After: 9\r\n", "rate limited (HTTP 429); tried again in 1 min"),
        (b"HTTP/1.1 429 X\r\nRetry-After: 120\r\n", "rate limited (HTTP 429); tried again in 2 "),
        (b"HTTP/1.1 429 X\r\nRetry-After: 9%b\r\n" % (b"0" * 400), TEN_MINUTES),
        (b"HTTP/1.1 429 X\r\nRetry-After: soon\r\n", "rate limited (HTTP 429); tried again in 1 m"),
    ],
)  # fmt: skip
@on_both_loops
async def test_a_refused_upgrade_is_left_alone(head: bytes, why: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(head + b"Content-Length: 4\r\n\r\nsome")
        await peer.gone()

    async with no_socket_left(), Scripted(script) as server, hearing(ws(server)) as heard:
        await until(lambda: bool(heard.states))
        assert heard.why.startswith(why)
        await others_have_tried_again()
        assert len(server.peers) == 1


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "no upgrade (HTTP 503)"),
        (
            b"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
            "no upgrade (HTTP 101)",
        ),
        (b"SSH-2.0-server\r\n\r\n", "answered the upgrade with no HTTP"),
    ],
)
@on_both_loops
async def test_a_failed_upgrade_is_tried_again(reply: bytes, why: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(reply)
        await peer.gone()

    async with no_socket_left(), Scripted(script) as server, hearing(ws(server)) as heard:
        await until(lambda: len(server.peers) >= 3)
        assert heard.states == [(False, why)]


@on_both_loops
async def test_a_redirect_is_not_followed() -> None:
    async with serving(sending(REPLY)) as elsewhere:

        async def script(peer: Peer) -> None:
            await peer.reader.readuntil(b"\r\n\r\n")
            location = elsewhere.url.replace("ws", "http", 1).encode()
            await peer.send(
                b"HTTP/1.1 307 X\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % location
            )
            await peer.gone()

        async with Scripted(script) as server, hearing(ws(server), {"X-Key": SECRET}) as heard:
            await until(lambda: bool(heard.states))
            assert "HTTP 307" in heard.why
        assert elsewhere.started == 0


# ---- How long it stays


@on_both_loops
async def test_no_such_subscription_turns_it_off_for_a_while() -> None:
    refusal = '{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no KEY"}}'.replace(
        "KEY", SECRET
    )
    async with no_socket_left(), serving(sending(refusal)) as there, hearing(there.url) as heard:
        await until(lambda: bool(heard.states))
        assert heard.why == (
            "no newHeads subscription here (error -32601); tried again in 10 min, "
            "blocks are polled meanwhile"
        )
        await others_have_tried_again()
        assert there.started == 1


@on_both_loops
async def test_off_is_told_after_lost_and_ends() -> None:
    refusal = '{"jsonrpc":"2.0","id":1,"error":{"code":-32601}}'
    closing = '{"jsonrpc":"2.0","id":1,"error":{"code":-32603}}'
    replies = [closing, closing, refusal, refusal, REPLY]

    async def behave(socket: web.WebSocketResponse) -> None:
        await answer(socket, replies.pop(0))
        await stay(socket)

    async with serving(behave) as there, hearing(there.url, off_seconds=0.01) as heard:
        await until(lambda: heard.feed.is_live)
        assert [is_live for is_live, _ in heard.states] == [False, False, True]
        assert there.started == 5


@on_both_loops
async def test_pongs_keep_a_silent_feed_until_a_block_is_long_due() -> None:
    async with (
        no_socket_left(),
        serving(sending(REPLY, notice(1))) as there,
        hearing(there.url, **{**HASTY, "answer_seconds": 2.0}) as heard,
    ):
        await until(lambda: len(heard.states) >= 2)
        assert heard.states[1] == (False, "no block for 0.2 s")
        assert heard.seconds_without[1] >= 0.2
        await until(lambda: len(heard.states) >= 3)
        assert heard.states[2][0]


@on_both_loops
async def test_a_longer_block_time_gives_more_time() -> None:
    async with (
        serving(sending(REPLY, notice(1))) as there,
        hearing(there.url, **{**HASTY, "answer_seconds": 2.0}) as heard,
    ):
        heard.feed.set_block_time(0.05)
        await until(lambda: len(heard.states) >= 2)
        assert heard.states[1] == (False, "no block for 0.3 s")


@on_both_loops
async def test_a_frozen_upstream_is_dropped() -> None:
    """It takes bytes and says nothing, not even a pong, and does not answer the goodbye."""
    settings = {**HASTY, "least_silence_seconds": 60.0}
    script = upgraded(frame(REPLY), frame(notice(1)))
    async with (
        no_socket_left(),
        Scripted(script) as server,
        hearing(ws(server), **settings) as heard,
    ):
        await until(lambda: len(heard.states) >= 2)
        assert heard.states[1][1].startswith("no sign of life for ")


@on_both_loops
async def test_an_upstream_that_drops_pings_is_asked_with_calls() -> None:
    asked: list[Any] = []

    async def behave(socket: web.WebSocketResponse) -> None:
        await answer(socket, REPLY, notice(1))
        async for message in socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                call = json.loads(message.data)
                asked.append(call["method"])
                await socket.send_str(json.dumps({"id": call["id"], "result": "1"}))

    settings = {**HASTY, "least_silence_seconds": 2.0, "answer_seconds": 0.03}
    async with serving(behave, autoping=False) as there, hearing(there.url, **settings) as heard:
        await until(lambda: len(asked) >= 3)
        assert set(asked) == {"net_version"}
        assert heard.states[0] == (True, "subscribed to newHeads")


@on_both_loops
async def test_pauses_grow_and_begin_anew_after_a_steady_time() -> None:
    drawn: list[float] = []

    class Dice:
        def uniform(self, low: float, high: float) -> float:
            assert low == 0
            drawn.append(high)
            return 0.0

    async with Scripted(lambda _: asyncio.sleep(0)) as server:
        heard = Heard(ws(server), first_pause_seconds=1.0, longest_pause_seconds=30.0)
        heard.feed._rng = Dice()  # type: ignore[assignment]
        heard.feed.start()
        await until(lambda: len(drawn) >= 20)
        await heard.feed.close()
    assert drawn[:7] == [1, 2, 4, 8, 16, 30, 30]
    drawn.clear()
    script = upgraded(frame(REPLY), frame(notice(1)), frame(b"\x03\xe8", 8))
    async with Scripted(script) as server:
        long = {"first_pause_seconds": 1.0, "longest_pause_seconds": 9.0}
        heard = Heard(ws(server), None, **long, steady_seconds=0.0)
        heard.feed._rng = Dice()  # type: ignore[assignment]
        heard.feed.start()
        await until(lambda: len(drawn) >= 4)
        await heard.feed.close()
    assert set(drawn) == {1.0}


# ---- How it ends


@on_both_loops
async def test_closing_at_any_moment_leaves_nothing() -> None:
    async with serving(sending(REPLY, notice(1))) as there:
        before = open_sockets()
        for turns in range(60):
            heard = Heard(there.url)
            heard.feed.start()
            for _ in range(turns):
                await asyncio.sleep(0)
            await heard.feed.close()
            assert not heard.feed.is_live
        await until(lambda: open_sockets() == before)
        await until(lambda: there.ended == there.started)
        assert len(asyncio.all_tasks()) == 1


@on_both_loops
async def test_closing_over_tls_at_any_moment_leaves_nothing() -> None:
    server, client = tls_contexts("127.0.0.1")
    async with serving(sending(REPLY, notice(1)), server) as there:
        before = open_sockets()
        for turns in range(0, 60, 3):
            heard = Heard(there.url, ssl_context=client)
            heard.feed.start()
            for _ in range(turns):
                await asyncio.sleep(0)
            await heard.feed.close()
        await until(lambda: open_sockets() == before)
        await until(lambda: there.ended == there.started)


@on_both_loops
async def test_close_is_quick_where_nobody_says_goodbye() -> None:
    async with (
        no_socket_left(),
        Scripted(upgraded(frame(REPLY))) as server,
        hearing(ws(server)) as heard,
    ):
        await until(lambda: heard.feed.is_live)
        async with limited():
            await heard.feed.close()
        await heard.feed.close()


@on_both_loops
async def test_a_close_that_is_cancelled_ends_it_nevertheless() -> None:
    async with no_socket_left(), Scripted(upgraded(frame(REPLY))) as server:
        heard = Heard(ws(server))
        heard.feed.start()
        heard.feed.start()
        await until(lambda: heard.feed.is_live)
        closing = asyncio.ensure_future(heard.feed.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait((closing,))
        assert closing.cancelled()
        await until(lambda: len(asyncio.all_tasks()) == 1 + len(server.peers))
        assert len(server.peers) == 1


@on_both_loops
async def test_it_starts_again_after_close() -> None:
    async with serving(sending(REPLY, notice(1))) as there:
        heard = Heard(there.url)
        for count in (1, 2):
            heard.feed.start()
            await until(lambda: len(heard.heads) == there.started == count)  # noqa: B023 - at once
            await heard.feed.close()
        assert there.started == 2


@on_both_loops
async def test_a_fault_of_our_own_is_logged_without_the_url(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_: object, url: object, **__: object) -> None:
        raise RuntimeError(f"cannot use {url}")

    monkeypatch.setattr(aiohttp.ClientSession, "ws_connect", fail)
    heard = Heard(f"ws://127.0.0.1:1/{SECRET}")
    with caplog.at_level(logging.DEBUG):
        heard.feed.start()
        await until(lambda: len(caplog.records) >= 2)
        await heard.feed.close()
    assert heard.states == [(False, "a fault of the proxy's own, see the log")]
    assert "the head feed of it failed: RuntimeError" in caplog.text
    assert "_follow" in caplog.text
    assert SECRET not in caplog.text


@on_both_loops
async def test_nothing_of_a_failure_reaches_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="rpcproxy"):
        async with (
            Scripted(lambda _: asyncio.sleep(0)) as server,
            hearing(ws(server), {"X-Key": SECRET}) as heard,
        ):
            await until(lambda: len(server.peers) >= 3)
            assert SECRET not in repr(heard.feed)
    assert SECRET not in caplog.text


# ---- floods


class Clock:
    """Stands; each look of a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def goes_on(self) -> bool:
        self.now += 0.01
        return True


@on_both_loops
async def test_heads_by_the_thousand_are_thinned_and_the_feed_is_left() -> None:
    """The newest are told, a few of them, and nothing waits for the others."""

    async def flood(socket: web.WebSocketResponse) -> None:
        await socket.receive()
        await socket.send_str(REPLY)
        for number in range(100_000):
            await socket.send_str(notice(number))

    async with (
        serving(flood) as provider,
        hearing(provider.url, block_time_seconds=12.0, now=Clock()) as heard,
    ):
        await until(lambda: len(heard.states) >= 2)
        assert heard.why.startswith(newheads.FLOOD_WORDS)
        assert "tried again in 1 min, blocks are polled meanwhile" in heard.why
        assert 0 < len(heard.heads) < 100
        assert provider.started == 1


@on_both_loops
async def test_of_what_was_passed_over_the_newest_is_told() -> None:
    clock = Clock()

    async def burst(socket: web.WebSocketResponse) -> None:
        await socket.receive()
        await socket.send_str(REPLY)
        for number in range(200):
            await socket.send_str(notice(number))
        await socket.receive()

    async with (
        serving(burst) as provider,
        hearing(provider.url, block_time_seconds=12.0, now=clock) as heard,
    ):
        await until(lambda: clock.goes_on() and 199 in heard.numbers)
        assert len(heard.numbers) < 150
        assert heard.feed.is_live


_THOUSANDS: dict[str, bytes] = {
    "pings": b"\x89\x00",
    "pongs": b"\x8a\x00",
    "replies": b"\x81\x18" + b'{"id":7,"result":"0x00"}',
    "fragments": b"\x00\x01a",
    "empty fragments": b"\x00\x00",
}


@pytest.mark.parametrize("kind", _THOUSANDS)
@on_both_loops
async def test_whatever_it_sends_by_the_thousand_is_not_all_read(kind: str) -> None:
    """blockbook 1581, SignalK 2360: what no message comes of is left with its sender."""

    async def flood(peer: Peer) -> None:
        await upgrade(peer)
        await peer.send(frame(REPLY))
        if "fragment" in kind:
            await peer.send(b"\x01\x00")
        with contextlib.suppress(ConnectionError):
            while True:
                await peer.send(_THOUSANDS[kind] * 10_000)

    tight: dict[str, Any] = {"burst_bytes": 64 * 1024, "longest_hold_seconds": 0.1}
    async with (
        Scripted(flood) as server,
        hearing(ws(server), block_time_seconds=12.0, **tight) as heard,
    ):
        await until(lambda: len(heard.states) >= 2)
        assert heard.why.startswith(newheads.FLOOD_WORDS)
        assert len(heard.heads) == 0
        for peer in server.peers:
            peer.cut()
