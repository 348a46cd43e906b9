"""The pool: one outcome per attempt, whatever the upstream does with its connections."""

from __future__ import annotations

import asyncio
import gc
import gzip
import random
import re
import socket
import threading

import pytest

from rpcproxy.edges.http import names
from rpcproxy.edges.http.names import SocketAddress
from rpcproxy.edges.http.upstream_http import EdgeSettings, HttpUpstream, Target
from rpcproxy.messages import Failure, FailureKind, Outcome, Reply, StreamBroken
from rpcproxy.rules.answers.holding import Holdings
from tests.kits.waiting import LIMIT_SECONDS, until
from tests.sockets.scripted import (
    BODY,
    OK,
    PAYLOAD,
    Peer,
    Script,
    Scripted,
    Sent,
    answering,
    ask,
    ask_failure,
    ask_reply,
    on_both_loops,
    open_sockets,
    read_all,
    reply,
)

MIB = 1024 * 1024
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)


@on_both_loops
async def test_what_is_sent_and_what_comes_back() -> None:
    lines = b"Content-Type: application/json", b"Retry-After: 7", b"X: 1"
    answer = b"HTTP/1.1 429 Too Many Requests" + reply(BODY, *lines)[15:]
    async with Scripted(answering(answer)) as server:
        upstream = server.upstream()
        for _ in range(3):  # the first by the parser, the others from memory
            got = await ask_reply(upstream)
            assert got == Reply(429, BODY, "7", "application/json")
        await ask_reply(upstream, b"[]", gzip=True)
        requests = server.peers[0].requests
        head = f"POST /v3/key?a=b HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n".encode()
        assert requests[0].startswith(head)
        assert requests[0].endswith(b"\r\nContent-Length: %d\r\n\r\n%b" % (len(PAYLOAD), PAYLOAD))
        assert requests[0] == requests[2]
        assert b"Accept-Encoding" not in requests[0]
        assert b"\r\nAccept-Encoding: gzip\r\n" in requests[3]
        assert requests[3].endswith(b"\r\nContent-Length: 2\r\n\r\n[]")
        assert (upstream.connects, upstream.open_connections, upstream.idle_connections) == (
            1,
            1,
            1,
        )
        assert "key" not in repr(upstream)


REPLIES = {
    "length": reply(),
    "chunks": CHUNKED,
    "until close": OK + b"\r\n" + BODY,
    "1.0": b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
    "interim": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + reply(),
    "gzip": reply(gzip.compress(BODY), b"Content-Encoding: gzip"),
    "gzip chunked": OK
    + b"Transfer-Encoding: chunked\r\nContent-Encoding: x-gzip\r\n\r\n"
    + b"%x\r\n%b\r\n0\r\nX: 1\r\n\r\n" % (len(gzip.compress(BODY)), gzip.compress(BODY)),
    "closing": reply(BODY, b"Connection: close"),
}


@pytest.mark.parametrize("name", REPLIES)
@on_both_loops
async def test_replies_whole_and_in_pieces(name: str) -> None:
    is_kept = name not in ("until close", "1.0", "closing")

    async def script(peer: Peer) -> None:
        data = REPLIES[name]
        while True:
            await peer.answer(data)
            if not is_kept:
                return
            await peer.request()
            await peer.send_bytewise(data)
            await peer.request()
            await peer.send(data[:30])
            await asyncio.sleep(0.005)
            await peer.send(data[30:])

    async with Scripted(script) as server:
        upstream = server.upstream()
        for _ in range(6):
            assert (await ask_reply(upstream)).body == BODY
        assert upstream.connects == (1 if is_kept else 6)
        assert upstream.open_connections == upstream.idle_connections == int(is_kept)


@on_both_loops
async def test_bodiless_statuses_keep_the_connection() -> None:
    async with Scripted(answering(b"HTTP/1.1 204 No Content\r\n\r\n")) as server:
        upstream = server.upstream()
        for _ in range(3):
            assert await ask_reply(upstream) == Reply(204, b"")
        assert upstream.connects == 1


BAD = {
    "both framings": (
        OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        FailureKind.PROTOCOL,
    ),
    "not HTTP": (b"* OK IMAP4 ready\r\n", FailureKind.PROTOCOL),
    "brotli": (reply(b"x", b"Content-Encoding: br"), FailureKind.PROTOCOL),
    "bad chunk": (CHUNKED.replace(b"\r\n{", b"\r\n\r\n{"), FailureKind.PROTOCOL),
    "corrupt gzip": (reply(b"\xff" * 9, b"Content-Encoding: gzip"), FailureKind.PROTOCOL),
    "short gzip": (
        reply(gzip.compress(BODY)[:-2], b"Content-Encoding: gzip"),
        FailureKind.TRUNCATED,
    ),
    "bomb": (
        reply(gzip.compress(bytes(2 * MIB)), b"Content-Encoding: gzip"),
        FailureKind.TOO_LARGE,
    ),
    "nothing": (b"", FailureKind.RESET),
    "half a head": (reply()[:30], FailureKind.RESET),
    "half a body": (reply()[:-3], FailureKind.TRUNCATED),
    "half the chunks": (CHUNKED[:-3], FailureKind.TRUNCATED),
}


@pytest.mark.parametrize("name", BAD)
@on_both_loops
async def test_failures_are_told_without_secrets(name: str) -> None:
    data, kind = BAD[name]

    async def script(peer: Peer) -> None:
        await peer.answer(data)
        if kind not in (FailureKind.RESET, FailureKind.TRUNCATED):
            await peer.gone()  # closed from our side

    async with Scripted(script) as server:
        upstream = server.upstream(max_decompressed=MIB)
        got, detail = await ask_failure(upstream)
        assert got is kind
        assert detail.startswith(f"127.0.0.1:{server.port}: ")
        assert "key" not in detail
        assert upstream.open_connections == 0
        await until(lambda: len(server.peers) == 1)


@pytest.mark.parametrize("data", [b"", reply()[:20], reply()[:-1], OK + b"\r\n{}"])
@on_both_loops
async def test_resets_on_a_fresh_connection(data: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(data)
        await asyncio.sleep(0.01)
        peer.reset()

    async with Scripted(script) as server:
        kind, detail = await ask_failure(server.upstream())
        assert kind is FailureKind.RESET
        assert detail == f"127.0.0.1:{server.port}: connection reset"
        assert len(server.peers) == 1


# Keep-alive connections that turn out closed


@pytest.mark.parametrize("ending", ["close", "reset", "408"])
@on_both_loops
async def test_a_reused_connection_that_closes_is_replaced_once(ending: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(reply())
        if peer.number == 0:
            # Taken, and closed before any byte of the reply: as when both sides are too late.
            await peer.request()
            if ending == "reset":
                peer.reset()
            elif ending == "408":
                await peer.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
                await peer.gone()
            return
        while True:
            await peer.answer(reply())

    async with Scripted(script) as server:
        upstream = server.upstream()
        for _ in range(4):
            assert (await ask_reply(upstream)).body == BODY
        assert upstream.connects == 2
        assert server.peers[0].requests[1] == server.peers[1].requests[0]


@on_both_loops
async def test_a_warm_connection_that_closes_at_its_first_request_is_replaced_too() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number:
            await peer.send(reply())
            await peer.gone()

    async with Scripted(script) as server:
        upstream = server.upstream()
        upstream.warm_up()
        await until(lambda: upstream.idle_connections == 1)
        assert (await ask_reply(upstream)).body == BODY
        assert len(server.peers) == 2


@on_both_loops
async def test_replaced_only_once_and_only_before_the_first_byte() -> None:
    async def never(peer: Peer) -> None:
        if peer.number == 0:
            await peer.answer(reply())
        await peer.request()

    async with Scripted(never) as server:
        upstream = server.upstream()
        await ask_reply(upstream)
        kind, _ = await ask_failure(upstream)
        assert kind is FailureKind.RESET
        assert len(server.peers) == 2

    async def begun(peer: Peer) -> None:
        await peer.answer(reply())
        await peer.answer(b"HTTP/1.1 2")

    async with Scripted(begun) as server:
        upstream = server.upstream()
        await ask_reply(upstream)
        kind, _ = await ask_failure(upstream)
        assert kind is FailureKind.RESET
        assert len(server.peers) == 1


@on_both_loops
async def test_a_408_on_a_fresh_connection_is_the_answer() -> None:
    answer = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"
    async with Scripted(answering(answer)) as server:
        assert (await ask_reply(server.upstream())).status == 408


@on_both_loops
async def test_given_up_while_it_is_replaced() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(reply())
        await peer.request()

    async with Scripted(script) as server:
        upstream = server.upstream()
        await ask_reply(upstream)
        sent = Sent(upstream)
        await until(lambda: upstream.open_connections == 0)
        sent.call.abandon()
        # The fresh connection is kept for whoever comes next.
        await until(lambda: upstream.idle_connections == 1)
        assert sent.outcomes == []
        assert (await ask_reply(upstream)).body == BODY


@on_both_loops
async def test_an_idle_connection_that_closes_leaves_the_pool() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(reply())

    async with Scripted(script) as server:
        upstream = server.upstream()
        await ask_reply(upstream)
        await until(lambda: upstream.open_connections == 0)
        assert upstream.idle_connections == 0


@pytest.mark.parametrize("is_with_reply", [True, False])
@on_both_loops
async def test_bytes_nobody_asked_for_close_the_connection(is_with_reply: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(reply() + (reply(b"smuggled") if is_with_reply else b""))
        if not is_with_reply:
            await asyncio.sleep(0.01)
            await peer.send(reply(b"smuggled"))
        await peer.gone()

    async with Scripted(script) as server:
        upstream = server.upstream()
        for _ in range(3):
            assert (await ask_reply(upstream)).body == BODY
            await until(lambda: upstream.open_connections == 0)
        assert upstream.connects == 3


@on_both_loops
async def test_a_reply_before_the_request_was_read_ends_the_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await peer.gone()

    async with Scripted(script) as server:
        upstream = server.upstream()
        assert (await ask_reply(upstream, bytes(20 * MIB))).status == 413
        assert upstream.open_connections == 0


@pytest.mark.parametrize("is_told", [True, False])
@on_both_loops
async def test_a_reply_before_a_reset_is_still_read(is_told: bool) -> None:
    """The upstream refuses a large request and closes without reading it."""

    async def script(peer: Peer) -> None:
        if is_told:
            await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await peer.reader.readuntil(b"\r\n\r\n")

    async with Scripted(script) as server:
        outcome = await ask(server.upstream(), bytes(20 * MIB))
        if is_told:
            assert outcome == Reply(413, b"")
        else:
            assert isinstance(outcome, Failure)
            assert outcome.kind is FailureKind.RESET


@on_both_loops
async def test_large_bodies_both_ways() -> None:
    body = random.Random(6).randbytes(5 * MIB)

    async def script(peer: Peer) -> None:
        await asyncio.sleep(0.02)
        while True:
            await peer.answer(reply(body))

    async with Scripted(script) as server:
        upstream = server.upstream()
        for _ in range(2):
            assert (await ask_reply(upstream, body)).body == body
        assert server.peers[0].requests[1].endswith(body)
        assert upstream.connects == 1


# The pool


def slowly(release: asyncio.Event) -> Script:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await release.wait()
            await peer.send(reply())

    return script


@on_both_loops
async def test_one_attempt_at_a_time_and_last_in_first_out() -> None:
    release = asyncio.Event()
    async with Scripted(slowly(release)) as server:
        upstream = server.upstream()
        many = [Sent(upstream) for _ in range(8)]
        await until(lambda: sum(len(peer.requests) for peer in server.peers) == 8)
        assert {len(peer.requests) for peer in server.peers} == {1}
        assert (upstream.open_connections, upstream.idle_connections) == (8, 0)
        release.set()
        for sent in many:
            assert isinstance(await sent.outcome(), Reply)
        assert upstream.idle_connections == 8
        for _ in range(5):
            await ask_reply(upstream)
        assert sorted(len(peer.requests) for peer in server.peers) == [1] * 7 + [6]


@on_both_loops
async def test_over_the_limit_attempts_wait_their_turn() -> None:
    release = asyncio.Event()
    async with Scripted(slowly(release)) as server:
        upstream = server.upstream(max_connections=2)
        order: list[int] = []
        for number in range(6):
            upstream.send(b"%d" % number, lambda _, number=number: order.append(number))
        given_up = Sent(upstream)
        given_up.call.abandon()
        await until(lambda: sum(len(peer.requests) for peer in server.peers) == 2)
        release.set()
        await until(lambda: len(order) == 6)
        assert set(order[:2]) == {0, 1}
        assert order[2:] == sorted(order[2:])
        assert upstream.connects == 2
        assert given_up.outcomes == []


@on_both_loops
async def test_whichever_is_first_the_new_connection_or_one_that_returns() -> None:
    async with Scripted(answering(reply())) as server:
        upstream = server.upstream()
        await ask_reply(upstream)
        first, second = Sent(upstream), Sent(upstream)
        await first.outcome()
        await second.outcome()
        await until(lambda: upstream.connects == 2)
        assert [len(peer.requests) for peer in server.peers] in ([3], [3, 0], [2, 1])


@on_both_loops
async def test_many_at_once_from_inside_done() -> None:
    async with Scripted(answering(reply())) as server:
        upstream = server.upstream(max_connections=8)
        count = 0

        def done(outcome: Outcome) -> None:
            nonlocal count
            assert isinstance(outcome, Reply)
            count += 1
            if count <= 500:
                upstream.send(PAYLOAD, done)

        for _ in range(32):
            upstream.send(PAYLOAD, done)
        await until(lambda: count == 532)
        assert upstream.connects <= 8


@on_both_loops
async def test_abandoned_attempts_close_their_connection_and_are_never_told() -> None:
    before = open_sockets()
    release = asyncio.Event()
    async with Scripted(slowly(release)) as server:
        upstream = server.upstream()
        early = Sent(upstream)
        early.call.abandon()  # while connecting: the connection is of use to others
        await until(lambda: upstream.idle_connections == 1)
        sent = Sent(upstream)
        await until(lambda: bool(server.peers and server.peers[0].requests))
        sent.call.abandon()
        sent.call.abandon()
        assert upstream.open_connections == 0
        release.set()
        late = Sent(upstream)
        await late.outcome()
        late.call.abandon()  # nothing left to give up
        assert upstream.idle_connections == 1
        assert early.outcomes == sent.outcomes == []
    await until(lambda: open_sockets() <= before)


@on_both_loops
async def test_drop_idle_leaves_the_busy_ones_until_their_replies() -> None:
    release = asyncio.Event()
    release.set()
    async with Scripted(slowly(release)) as server:
        upstream = server.upstream()
        first, second = Sent(upstream), Sent(upstream)
        await first.outcome()
        await second.outcome()
        release.clear()
        busy = Sent(upstream)
        upstream.drop_idle()
        assert (upstream.open_connections, upstream.idle_connections) == (1, 0)
        release.set()
        assert isinstance(await busy.outcome(), Reply)
        assert upstream.open_connections == 0


@on_both_loops
async def test_the_fast_way_also_ends_a_last_connection() -> None:
    release = asyncio.Event()
    release.set()
    async with Scripted(slowly(release)) as server:
        upstream = server.upstream()
        for _ in range(3):
            await ask_reply(upstream)
        sent = Sent(upstream)
        upstream.drop_idle()
        assert isinstance(await sent.outcome(), Reply)
        assert upstream.open_connections == 0


@on_both_loops
async def test_idle_connections_grow_old() -> None:
    async with Scripted(answering(reply())) as server:
        upstream = server.upstream(idle_seconds=0.05)
        await ask_reply(upstream)
        assert upstream.idle_connections == 1
        await until(lambda: upstream.open_connections == 0)
        await ask_reply(upstream)
        assert upstream.connects == 2


@on_both_loops
async def test_the_upstreams_own_limit_is_kept() -> None:
    async with Scripted(answering(reply(BODY, b"Keep-Alive: timeout=0"))) as server:
        upstream = server.upstream()
        for _ in range(3):
            await ask_reply(upstream)
        assert upstream.connects == 3  # never used again, without waiting for the sweep
    async with Scripted(answering(reply(BODY, b"Keep-Alive: timeout=60"))) as server:
        upstream = server.upstream()
        for _ in range(3):
            await ask_reply(upstream)
        assert upstream.connects == 1


@on_both_loops
async def test_too_old_to_use_though_not_swept_yet() -> None:
    async with Scripted(answering(reply())) as server:
        upstream = server.upstream(idle_seconds=20)
        await ask_reply(upstream)
        upstream._idle[0].expires_at = 0.0
        assert (await ask_reply(upstream)).body == BODY
        assert (upstream.connects, upstream.open_connections) == (2, 1)


# Warm connections


@on_both_loops
async def test_warm_connections_are_kept_and_replaced() -> None:
    async with Scripted(answering(reply())) as server:
        upstream = server.upstream(idle_seconds=0.08)
        upstream.warm_up(3)
        await until(lambda: upstream.idle_connections == 3)
        await until(lambda: upstream.connects >= 6)  # grown old, and replaced
        await until(lambda: upstream.idle_connections == 3)
        for peer in server.peers:
            peer.cut()
        connects = upstream.connects
        await until(lambda: upstream.idle_connections == 3 and upstream.connects >= connects + 3)
        upstream.drop_idle()
        assert upstream.idle_connections == 0
        await until(lambda: upstream.idle_connections == 3)
        upstream.warm_up(0)
        await until(lambda: upstream.open_connections == 0)


@on_both_loops
async def test_as_many_as_the_settings_say() -> None:
    async with Scripted(answering(reply())) as server:
        upstream = server.upstream(warm=2)
        assert upstream.open_connections == 0
        upstream.warm_up()
        await until(lambda: upstream.idle_connections == 2)
        await ask_reply(upstream)
        assert upstream.connects == 2


@on_both_loops
async def test_warming_goes_on_silently_while_nobody_is_there() -> None:
    server = Scripted(answering(reply()))
    async with server:
        pass
    upstream = server.upstream(idle_seconds=0.04)
    upstream.warm_up()
    await until(lambda: upstream._warm_failures)
    assert upstream.open_connections == 0
    async with server:
        await until(lambda: upstream.idle_connections == 1)


@on_both_loops
async def test_a_peer_that_closes_warm_connections_is_not_hammered() -> None:
    async def script(peer: Peer) -> None:
        del peer

    async with Scripted(script) as server:
        upstream = server.upstream()
        now = asyncio.get_running_loop().time()
        upstream._now = lambda: now
        upstream.warm_up()
        for _ in range(60):  # looks at it, 5 ms apart
            await until(lambda: not upstream._openings and upstream.open_connections == 0)
            now += 0.005
            assert upstream._sweep_timer is not None
            upstream._sweep_timer.cancel()
            upstream._sweep()
        assert 1 <= len(server.peers) < 30


# Connecting


@on_both_loops
async def test_refused() -> None:
    before = open_sockets()
    server = Scripted(answering(reply()))
    async with server:
        pass
    upstream = server.upstream()
    many = [Sent(upstream) for _ in range(5)]
    for sent in many:
        outcome = await sent.outcome()
        assert outcome == Failure(
            FailureKind.CONNECT, f"127.0.0.1:{server.port}: connection refused"
        )
    await upstream.close()
    assert open_sockets() == before


@on_both_loops
async def test_more_wait_than_can_connect_and_none_connects() -> None:
    server = Scripted(answering(reply()))
    async with server:
        pass
    upstream = server.upstream(max_connections=2)
    many = [Sent(upstream) for _ in range(7)]
    many[3].call.abandon()
    for sent in many[:3] + many[4:]:
        assert isinstance(await sent.outcome(), Failure)
    assert many[3].outcomes == []
    await upstream.close()


@on_both_loops
async def test_connecting_is_bounded() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(sock.getsockname())
        port = sock.getsockname()[1]
        upstream = HttpUpstream(
            Target("it", f"http://127.0.0.1:{port}/key"), EdgeSettings(connect_seconds=0.05)
        )
        kind, detail = await ask_failure(upstream)
        assert (kind, detail) == (FailureKind.CONNECT, f"127.0.0.1:{port}: no connection in 0.05 s")
        await upstream.close()
        for filler in fillers:
            filler.close()


@on_both_loops
async def test_names_without_address() -> None:
    upstream = HttpUpstream(Target("it", "http://no-such-host.invalid/key"), EdgeSettings())
    kind, detail = await ask_failure(upstream)
    assert kind is FailureKind.RESOLVE
    assert re.fullmatch(r"no-such-host\.invalid:80: its name does not resolve \(.+\)", detail), (
        detail
    )
    await upstream.close()


@on_both_loops
async def test_a_resolver_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def look_up(_: str, port: int) -> list[SocketAddress]:
        release.wait(LIMIT_SECONDS)
        return [SocketAddress(socket.AF_INET, ("127.0.0.1", port))]

    monkeypatch.setattr(names, "look_up", look_up)
    upstream = HttpUpstream(Target("it", "http://rpc.test/key"), EdgeSettings(connect_seconds=0.02))
    kind, detail = await ask_failure(upstream)
    assert (kind, detail) == (
        FailureKind.RESOLVE,
        "rpc.test:80: its name does not resolve: no answer of DNS in 0.02 s",
    )
    release.set()
    await until(lambda: upstream._addresses.has(SocketAddress(socket.AF_INET, ("127.0.0.1", 80))))
    assert upstream.open_connections == 0
    await upstream.close()


@on_both_loops
async def test_connections_follow_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Scripted(answering(reply())) as old, Scripted(answering(reply(b"new"))) as new:
        where = [old.port]

        def look_up(_: str, __: int) -> list[SocketAddress]:
            return [SocketAddress(socket.AF_INET, ("127.0.0.1", port)) for port in where]

        monkeypatch.setattr(names, "look_up", look_up)
        upstream = old.upstream("http://rpc.test/", resolve_seconds=0.02, idle_seconds=0.2)
        upstream.warm_up()
        assert (await ask_reply(upstream)).body == BODY
        where[:] = [new.port]
        await until(lambda: bool(new.peers))
        await until(lambda: upstream.idle_connections > 0)
        assert (await ask_reply(upstream)).body == b"new"


@on_both_loops
async def test_a_busy_connection_leaves_after_its_reply_when_the_name_has_moved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = asyncio.Event()
    async with Scripted(slowly(release)) as old, Scripted(answering(reply(b"new"))) as new:
        where = [old.port]
        monkeypatch.setattr(
            names,
            "look_up",
            lambda *_: [SocketAddress(socket.AF_INET, ("127.0.0.1", port)) for port in where],
        )
        upstream = old.upstream("http://rpc.test/", resolve_seconds=0, idle_seconds=0.2)
        sent = Sent(upstream)
        await until(lambda: bool(old.peers and old.peers[0].requests))
        where[:] = [new.port]
        other = Sent(upstream)  # asks DNS again, behind the scenes
        await until(lambda: not upstream._addresses.has(old_address(old.port)))
        release.set()
        assert isinstance(await sent.outcome(), Reply)
        assert isinstance(await other.outcome(), Reply)
        await until(lambda: upstream.open_connections == upstream.idle_connections)
        assert (await ask_reply(upstream)).body == b"new"


def old_address(port: int) -> SocketAddress:
    return SocketAddress(socket.AF_INET, ("127.0.0.1", port))


# Large bodies


@pytest.mark.parametrize("coding", ["length", "chunks", "gzip", "close"])
@on_both_loops
async def test_what_is_too_large_to_hold_is_streamed(coding: str) -> None:
    body = random.Random(7).randbytes(MIB).hex().encode()
    if coding == "gzip":
        wire = reply(gzip.compress(body), b"Content-Encoding: gzip")
    elif coding == "chunks":
        wire = OK + b"Transfer-Encoding: chunked\r\n\r\n"
        wire += b"%x\r\n%b\r\n" % (len(body), body) + b"0\r\n\r\n"
    elif coding == "close":
        wire = OK + b"\r\n" + body
    else:
        wire = reply(body)

    async def script(peer: Peer) -> None:
        await peer.answer(wire)
        if coding != "close":
            await peer.answer(reply())
            await peer.gone()

    async with Scripted(script) as server:
        upstream = server.upstream(hold_bytes=100_000)
        got = await ask_reply(upstream)
        assert 16 * 1024 <= len(got.body) <= 200_000
        assert got.rest is not None
        assert got.body + await read_all(got.rest) == body
        got.rest.close()
        if coding != "close":
            assert (await ask_reply(upstream)).body == BODY
            assert upstream.connects == 1


@on_both_loops
async def test_exactly_what_may_be_held_is_held() -> None:
    async with Scripted(answering(reply(bytes(1000)), reply(bytes(1001)))) as server:
        upstream = server.upstream(hold_bytes=1000)
        got = await ask_reply(upstream)
        assert (len(got.body), got.rest) == (1000, None)
        got = await ask_reply(upstream)
        assert got.rest is not None
        assert await got.rest.read() == b""


@on_both_loops
async def test_a_slow_reader_holds_the_upstream_back() -> None:
    written = 0

    async def script(peer: Peer) -> None:
        nonlocal written
        await peer.request()
        await peer.send(OK + b"Content-Length: %d\r\n\r\n" % (64 * MIB))
        piece = bytes(64 * 1024)
        for _ in range(1024):
            await peer.send(piece)
            written += len(piece)
        await peer.gone()

    async with Scripted(script) as server:
        upstream = server.upstream(hold_bytes=MIB)
        got = await ask_reply(upstream)
        assert got.rest is not None
        last = -1
        while written != last:
            last = written
            await asyncio.sleep(0.05)
        # The rest is in the sockets' buffers.
        assert written < 32 * MIB
        total = len(got.body)
        while piece := await got.rest.read():
            total += len(piece)
        assert total == 64 * MIB
        await until(lambda: upstream.idle_connections == 1)


@on_both_loops
async def test_closing_a_stream_closes_the_connection() -> None:
    async with Scripted(answering(reply(bytes(8 * MIB)))) as server:
        upstream = server.upstream(hold_bytes=1000)
        got = await ask_reply(upstream)
        assert got.rest is not None
        got.rest.close()
        got.rest.close()
        assert upstream.open_connections == 0
        with pytest.raises(StreamBroken):
            await got.rest.read()


@pytest.mark.parametrize("how", ["close", "reset", "garbage"])
@on_both_loops
async def test_a_stream_that_breaks_says_so(how: str) -> None:
    has_begun = asyncio.Event()  # a reset throws away what nobody has read

    async def script(peer: Peer) -> None:
        await peer.answer(
            OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"2710\r\n" + bytes(10_000) + b"\r\n"
        )
        await has_begun.wait()
        if how == "reset":
            peer.reset()
        elif how == "garbage":
            await peer.send(b"zz\r\n")
            await peer.gone()

    async with Scripted(script) as server:
        upstream = server.upstream(hold_bytes=1000)
        got = await ask_reply(upstream)
        has_begun.set()
        assert got.rest is not None
        with pytest.raises(StreamBroken):
            await read_all(got.rest)
        assert upstream.open_connections == 0


# The end


@on_both_loops
async def test_close_leaves_nothing_behind() -> None:
    before = open_sockets()
    release = asyncio.Event()
    async with Scripted(slowly(release)) as server:
        upstream = server.upstream(max_connections=3)
        upstream.warm_up()
        await until(lambda: upstream.idle_connections == 1)
        many = [Sent(upstream) for _ in range(6)]
        await until(lambda: len(server.peers) == 3)
        connecting = server.upstream()
        other = Sent(connecting)
        await upstream.close()
        await upstream.close()
        await connecting.close()
        assert (upstream.open_connections, upstream.idle_connections) == (0, 0)
        assert not upstream._sweep_timer
        release.set()
        outcome = await ask(upstream)
        assert isinstance(outcome, Failure)
        assert outcome.kind is FailureKind.CONNECT
        late = Sent(upstream)
        late.call.abandon()
        upstream.warm_up(2)
        await asyncio.sleep(0.02)
        assert [sent.outcomes for sent in [*many, other, late]] == [[]] * 8
    await until(lambda: open_sockets() <= before)


@on_both_loops
async def test_close_breaks_streams_and_replays() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(reply())
        await peer.request()
        if peer.number:
            await peer.send(reply(bytes(MIB)))
            await peer.gone()

    async with Scripted(script) as server:
        upstream = server.upstream(hold_bytes=1000)
        await ask_reply(upstream)
        replayed = Sent(upstream)
        await until(lambda: bool(upstream._replays))
        await upstream.close()
        streaming = server.upstream(hold_bytes=1000)
        await ask_reply(streaming)
        got = await ask_reply(streaming)
        assert got.rest is not None
        await streaming.close()
        with pytest.raises(StreamBroken):
            await read_all(got.rest)
        assert replayed.outcomes == []


@on_both_loops
async def test_the_sweep_rests_when_there_is_nothing_to_look_after() -> None:
    async with Scripted(answering(reply())) as server:
        upstream = server.upstream(idle_seconds=0.02)
        await ask_reply(upstream)
        await until(lambda: upstream._sweep_timer is None)
        assert upstream.open_connections == 0


def test_targets_that_cannot_be_used() -> None:
    with pytest.raises(ValueError, match="upstream it"):
        HttpUpstream(Target("it", "rpc.test/secret"), EdgeSettings())


@pytest.mark.parametrize("end", ["abandoned", "broken off"])
async def test_what_a_reply_held_is_given_back_with_its_connection(end: str) -> None:
    is_to_end = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK + b"Content-Length: %d\r\n\r\n" % (2 * MIB) + b" " * MIB)
        await is_to_end.wait()

    holdings = Holdings()
    gc.disable()
    try:
        async with Scripted(script) as server:
            sent = Sent(server.upstream(new_hold=holdings.incoming))
            await until(lambda: holdings.used >= MIB)
            if end == "abandoned":
                sent.call.abandon()
            else:
                is_to_end.set()
                assert isinstance(await sent.outcome(), Failure)
            await until(lambda: holdings.used == 0)
            is_to_end.set()
    finally:
        gc.enable()
