"""TLS to upstreams: who is trusted, how connections end, records, sessions, partial writes."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import random
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from rpcproxy.edges.http import tls
from rpcproxy.edges.http.links import Loss
from rpcproxy.edges.http.tls import Handshake, TlsLink
from rpcproxy.edges.http.upstream_http import EdgeSettings, HttpUpstream, Target
from rpcproxy.messages import Failure, FailureKind, Reply
from tests.kits.waiting import until
from tests.sockets.scripted import (
    BODY,
    OK,
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
    reply,
)

CA = trustme.CA()
CERTIFICATE = CA.issue_cert("localhost", "127.0.0.1")
MIB = 1024 * 1024
both_versions = pytest.mark.parametrize(
    "version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"]
)


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    CA.configure_trust(context)
    return context


def serving(
    certificate: trustme.LeafCert = CERTIFICATE, version: ssl.TLSVersion | None = None
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def secure(script: Script, version: ssl.TLSVersion | None = None) -> Scripted:
    return Scripted(script, serving(version=version))


def tls_of(peer: Peer) -> ssl.SSLObject:
    found = peer.writer.get_extra_info("ssl_object")
    assert found is not None
    return found


@both_versions
@on_both_loops
async def test_replies_over_one_connection(version: ssl.TLSVersion) -> None:
    before = open_sockets()
    async with secure(answering(reply()), version) as server:
        upstream = server.upstream(ssl_context=trusting())
        for _ in range(20):
            assert (await ask_reply(upstream)).body == BODY
        assert upstream.connects == 1
        assert tls_of(server.peers[0]).version() == version.name.replace("_", ".")
        assert tls_of(server.peers[0]).selected_alpn_protocol() == "http/1.1"
    await until(lambda: open_sockets() <= before)


@on_both_loops
async def test_a_reply_byte_by_byte() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send_bytewise(reply())
        await peer.gone()

    async with secure(script) as server:
        assert (await ask_reply(server.upstream(ssl_context=trusting()))).body == BODY


@both_versions
@on_both_loops
async def test_large_bodies_both_ways(version: ssl.TLSVersion) -> None:
    body = random.Random(5).randbytes(5 * MIB)

    async def script(peer: Peer) -> None:
        # Slow at first, so that the socket fills up and writes become partial.
        await asyncio.sleep(0.05)
        for _ in range(2):
            await peer.answer(reply(body))
        await peer.gone()

    async with secure(script, version) as server:
        upstream = server.upstream(ssl_context=trusting())
        for _ in range(2):
            assert (await ask_reply(upstream, body)).body == body
        assert [request[-len(body) :] == body for request in server.peers[0].requests] == [True] * 2
        assert upstream.connects == 1


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        (CA.issue_cert("other.test"), "IP address mismatch"),
        (CA.issue_cert("127.0.0.2"), "IP address mismatch"),
        (trustme.CA().issue_cert("127.0.0.1"), "unable to get local issuer certificate"),
        (
            CA.issue_cert("127.0.0.1", not_after=dt.datetime(2020, 1, 1, tzinfo=dt.UTC)),
            "certificate has expired",
        ),
    ],
    ids=["name", "address", "authority", "expired"],
)
@on_both_loops
async def test_certificates_that_are_not_accepted(
    certificate: trustme.LeafCert, words: str
) -> None:
    before = open_sockets()
    async with Scripted(answering(reply()), serving(certificate)) as server:
        upstream = server.upstream(ssl_context=trusting())
        kind, detail = await ask_failure(upstream)
        assert kind is FailureKind.TLS
        assert words in detail
        assert detail.startswith(f"127.0.0.1:{server.port}: ")
        assert upstream.open_connections == 0
    await until(lambda: open_sockets() <= before)


@on_both_loops
async def test_host_names_are_verified() -> None:
    async with Scripted(answering(reply()), serving(CA.issue_cert("other.test"))) as server:
        upstream = server.upstream(f"https://localhost:{server.port}", ssl_context=trusting())
        kind, detail = await ask_failure(upstream)
        assert kind is FailureKind.TLS
        assert "Hostname mismatch" in detail


@pytest.mark.parametrize(("host", "sent"), [("localhost", "localhost"), ("127.0.0.1", None)])
@on_both_loops
async def test_names_are_sent_and_addresses_are_not(host: str, sent: str | None) -> None:
    names: list[str | None] = []
    context = serving()
    context.sni_callback = lambda _, name, __: names.append(name)
    async with Scripted(answering(reply()), context) as server:
        upstream = server.upstream(f"https://{host}:{server.port}", ssl_context=trusting())
        assert (await ask_reply(upstream)).status == 200
    assert names == [sent]


def test_contexts_are_made_fit() -> None:
    context = tls.default_context()
    assert context is tls.default_context()
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    newer = ssl.create_default_context()
    newer.minimum_version = ssl.TLSVersion.TLSv1_3
    newer.options |= tls.OP_IGNORE_UNEXPECTED_EOF
    assert tls.prepare(newer).minimum_version is ssl.TLSVersion.TLSv1_3
    assert not newer.options & tls.OP_IGNORE_UNEXPECTED_EOF


async def closing(peer: Peer) -> None:
    await peer.reader.read(1)


async def babbling(peer: Peer) -> None:
    await peer.send(b"220 smtp.test ESMTP\r\n")
    await peer.gone()


async def resetting(peer: Peer) -> None:
    await peer.reader.read(1)
    peer.reset()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (closing, "closed in the handshake"),
        (resetting, "closed in the handshake"),
        (babbling, "handshake failed: wrong version number"),
    ],
)
@on_both_loops
async def test_peers_that_do_not_speak_tls(script: Script, words: str) -> None:
    before = open_sockets()
    async with Scripted(script) as server:
        upstream = server.upstream(
            f"https://127.0.0.1:{server.port}/secret", ssl_context=trusting()
        )
        assert await ask_failure(upstream) == (
            FailureKind.TLS,
            f"127.0.0.1:{server.port}: {words}",
        )
    await until(lambda: open_sockets() <= before)


@on_both_loops
async def test_a_handshake_that_hangs() -> None:
    async with Scripted(Peer.gone) as server:
        upstream = server.upstream(
            f"https://127.0.0.1:{server.port}", ssl_context=trusting(), connect_seconds=600
        )
        sent = Sent(upstream)
        [opening] = upstream._openings
        await until(lambda: opening._stage is FailureKind.TLS and len(server.peers) == 1)
        opening._on_late()
        outcome = await sent.outcome()
        assert isinstance(outcome, Failure)
        assert outcome.kind is FailureKind.TLS
        assert "600 s" in outcome.detail


class Unwilling(ssl.SSLContext):
    def wrap_socket(self, *_: object, **__: object) -> ssl.SSLSocket:
        raise ConnectionResetError


@on_both_loops
async def test_a_peer_that_is_gone_before_the_handshake() -> None:
    before = open_sockets()
    async with Scripted(Peer.gone) as server:
        upstream = server.upstream(
            f"https://127.0.0.1:{server.port}", ssl_context=Unwilling(ssl.PROTOCOL_TLS_CLIENT)
        )
        kind, detail = await ask_failure(upstream)
        assert kind is FailureKind.TLS
        assert detail.endswith(": closed before the handshake")
        await until(lambda: len(server.peers) == 1)
    await until(lambda: open_sockets() <= before)


@on_both_loops
async def test_handshakes_that_wait_and_break() -> None:
    for error, words in (
        (OSError(), "handshake failed"),
        (ssl.SSLError(1, "no reason"), "handshake failed"),
    ):
        near, far = socket.socketpair()
        with far:
            sock, told = Shaking(near, error), list[str]()
            Handshake(asyncio.get_running_loop(), sock, lambda _: None, told.append)  # type: ignore[arg-type]
            await until(lambda sock=sock: sock.steps == 1)
            far.send(b"x")
            await until(lambda told=told, words=words: told == [words])
        assert near.fileno() == -1


class Shaking:
    """Plays the handshake of an ``SSLSocket``: reads, writes, then breaks."""

    def __init__(self, sock: socket.socket, error: Exception) -> None:
        self._sock = sock
        self._script = [ssl.SSLWantReadError(), ssl.SSLWantWriteError(), error]
        self.steps = 0

    def fileno(self) -> int:
        return self._sock.fileno()

    def do_handshake(self) -> None:
        self.steps += 1
        raise self._script.pop(0)

    def close(self) -> None:
        self._sock.close()


@on_both_loops
async def test_versions_without_overlap() -> None:
    context = trusting()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    async with secure(answering(reply()), ssl.TLSVersion.TLSv1_2) as server:
        # Whether an alert comes before the end is up to the server.
        kind, _ = await ask_failure(server.upstream(ssl_context=context))
        assert kind is FailureKind.TLS


# How connections end


def ending(data: bytes, *, is_told: bool) -> Script:
    async def script(peer: Peer) -> None:
        await peer.answer(data)
        if not is_told:
            # The bytes have left when the other side has had a turn.
            await asyncio.sleep(0.02)
            peer.cut()

    return script


@both_versions
@on_both_loops
async def test_a_body_until_close_needs_the_notice(version: ssl.TLSVersion) -> None:
    data = OK + b"\r\n" + BODY
    async with secure(ending(data, is_told=True), version) as server:
        assert (await ask_reply(server.upstream(ssl_context=trusting()))).body == BODY
    async with secure(ending(data, is_told=False), version) as server:
        kind, _ = await ask_failure(server.upstream(ssl_context=trusting()))
        assert kind is FailureKind.TRUNCATED


@both_versions
@on_both_loops
async def test_a_whole_body_needs_no_notice(version: ssl.TLSVersion) -> None:
    async with secure(ending(reply(), is_told=False), version) as server:
        upstream = server.upstream(ssl_context=trusting())
        assert (await ask_reply(upstream)).body == BODY
        await until(lambda: upstream.open_connections == 0)
        # The next one pays for a new connection and does not notice.
        assert (await ask_reply(upstream)).body == BODY


@pytest.mark.parametrize("is_told", [True, False])
@on_both_loops
async def test_cut_in_the_middle_of_a_body(is_told: bool) -> None:
    async with secure(ending(reply()[:-4], is_told=is_told)) as server:
        kind, _ = await ask_failure(server.upstream(ssl_context=trusting()))
        assert kind is FailureKind.TRUNCATED


@on_both_loops
async def test_reset_in_the_middle_of_a_body() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(reply()[:-4])
        await asyncio.sleep(0.02)
        peer.reset()

    async with secure(script) as server:
        kind, _ = await ask_failure(server.upstream(ssl_context=trusting()))
        # Python 3.11 gives the same error for both.
        assert kind in (FailureKind.RESET, FailureKind.TRUNCATED)


@on_both_loops
async def test_closing_tells_the_peer() -> None:
    ended: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.answer(reply())
        ended.append(await peer.reader.read())

    async with secure(script) as server:
        upstream = server.upstream(ssl_context=trusting())
        await ask_reply(upstream)
        await upstream.close()
        # Without close_notify the peer's stream would have raised.
        await until(lambda: ended == [b""])


# Sessions


@both_versions
@on_both_loops
async def test_sessions_are_resumed(version: ssl.TLSVersion) -> None:
    resumed: list[bool | None] = []

    async def script(peer: Peer) -> None:
        resumed.append(tls_of(peer).session_reused)
        await peer.answer(reply(BODY, b"Connection: close"))

    async with secure(script, version) as server:
        upstream = server.upstream(ssl_context=trusting())
        for _ in range(3):
            await ask_reply(upstream)
        assert resumed == [False, True, True]


@on_both_loops
async def test_a_session_the_server_forgot_costs_nothing_but_time() -> None:
    async with secure(answering(reply(BODY, b"Connection: close"))) as server:
        upstream = server.upstream(ssl_context=trusting())
        await ask_reply(upstream)
        await server.stop()
        async with secure(answering(reply())) as other:
            await other.stop()
            other.port = server.port
            async with other:
                assert (await ask_reply(upstream)).body == BODY


@on_both_loops
async def test_tickets_on_an_idle_connection_are_no_data() -> None:
    async with secure(answering(reply()), ssl.TLSVersion.TLSv1_3) as server:
        upstream = server.upstream(ssl_context=trusting())
        upstream.warm_up()
        await until(lambda: upstream.idle_connections == 1)
        await asyncio.sleep(0.05)  # tickets come right after the handshake
        assert upstream.idle_connections == 1
        assert (await ask_reply(upstream)).body == BODY
        assert upstream.connects == 1


@on_both_loops
async def test_an_unasked_reply_on_an_idle_connection_closes_it() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(reply())
        await asyncio.sleep(0.01)
        await peer.send(reply(b"smuggled"))
        await peer.gone()

    async with secure(script) as server:
        upstream = server.upstream(ssl_context=trusting())
        await ask_reply(upstream)
        await until(lambda: upstream.open_connections == 0)


class Typed:
    """``openssl s_server``, which sends what is typed; on a terminal, lest its output wait."""

    def __init__(self, openssl: str, port: int, pem: Path) -> None:
        self._screen, screen = os.openpty()
        self._seen = b""
        command = [openssl, "s_server", "-accept", f"127.0.0.1:{port}", "-tls1_3", "-crlf"]
        command += ["-cert", str(pem), "-key", str(pem)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=screen, stderr=screen, bufsize=0
        )
        os.close(screen)

    def type(self, text: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text)

    async def saw(self, text: bytes) -> None:
        while text not in self._seen:
            self._seen += await asyncio.to_thread(os.read, self._screen, 65536)
        self._seen = self._seen.partition(text)[2]

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        os.close(self._screen)


@on_both_loops
async def test_key_updates(require_tool: Callable[[str], str], tmp_path: Path) -> None:
    pem = tmp_path / "server.pem"
    CERTIFICATE.private_key_and_cert_chain_pem.write_to_path(str(pem))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Typed(require_tool("openssl"), port, pem)
    settings = EdgeSettings(ssl_context=trusting())
    upstream = HttpUpstream(Target("it", f"https://127.0.0.1:{port}"), settings)
    try:
        await server.saw(b"ACCEPT")
        for _ in range(2):
            sent = Sent(upstream, b'{"marker":1}\n')
            await server.saw(b"marker")
            server.type(b"K\n")  # new keys, in both directions
            await server.saw(b"SSL_do_handshake -> 1")
            server.type(b"HTTP/1.1 200 OK\nContent-Length: 4\n\nwell")
            outcome = await sent.outcome()
            assert isinstance(outcome, Reply)
            assert outcome.body == b"well"
        assert upstream.connects == 1
    finally:
        await upstream.close()
        server.close()


# The link alone, with an SSLSocket that says what renegotiation would make it say


class Played:
    """Plays an ``SSLSocket`` over one end of a real socket pair."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.reads: list[bytes | Exception] = []
        self.writes: list[int | Exception] = []
        self.written = b""
        self.held = 0
        self.unwrapped = 0

    def fileno(self) -> int:
        return self._sock.fileno()

    def pending(self) -> int:
        return self.held

    def recv(self, _: int) -> bytes:
        step = self.reads.pop(0) if self.reads else ssl.SSLWantReadError()
        if isinstance(step, Exception):
            raise step
        return step

    def send(self, data: bytes | memoryview) -> int:
        step = self.writes.pop(0) if self.writes else len(data)
        if isinstance(step, Exception):
            raise step
        self.written += bytes(data[:step])
        return step

    def unwrap(self) -> None:
        self.unwrapped += 1
        raise ssl.SSLWantReadError

    def close(self) -> None:
        self._sock.close()


class Heard:
    def __init__(self) -> None:
        self.data = b""
        self.lost: list[Loss] = []
        self.wants_more = True

    def on_bytes(self, data: bytes) -> bool:
        self.data += data
        return self.wants_more

    def on_lost(self, loss: Loss) -> None:
        self.lost.append(loss)


@contextlib.contextmanager
def played() -> Iterator[tuple[Played, Heard, TlsLink, socket.socket]]:
    near, far = socket.socketpair()
    near.setblocking(False)
    sock, heard = Played(near), Heard()
    link = TlsLink(asyncio.get_running_loop(), sock, heard)  # type: ignore[arg-type]
    with far:
        yield sock, heard, link, far
        link.close()
    near.close()


@on_both_loops
async def test_a_read_that_has_to_write_first() -> None:
    with played() as (sock, heard, link, far):
        sock.reads = [ssl.SSLWantWriteError(), b"after"]
        far.send(b"x")
        await until(lambda: heard.data == b"after")
        link.pause()
        assert link.unsent is None


@on_both_loops
async def test_a_write_that_has_to_read_first() -> None:
    with played() as (sock, heard, link, far):
        sock.writes = [3, ssl.SSLWantReadError(), 2, ssl.SSLWantWriteError()]
        link.write(b"request")
        assert sock.written == b"req"
        assert link.unsent is not None
        far.send(b"x")
        await until(lambda: link.unsent is None)
        assert sock.written == b"request"
        assert heard.data == b""


@on_both_loops
async def test_both_wait_for_each_other() -> None:
    with played() as (sock, heard, link, far):
        sock.writes = [ssl.SSLWantReadError(), ssl.SSLWantWriteError(), 7]
        sock.reads = [ssl.SSLWantWriteError(), b"reply"]
        link.write(b"request")
        far.send(b"x")
        await until(lambda: heard.data == b"reply" and link.unsent is None)
        assert sock.written == b"request"


@on_both_loops
async def test_what_openssl_holds_is_read_without_an_event() -> None:
    with played() as (sock, heard, link, far):
        heard.wants_more = False
        sock.held = 1
        sock.reads = [b"%d" % (n % 10) for n in range(40)]
        far.send(b"x")
        await until(lambda: len(heard.data) == 40)
        link.pause()
        sock.reads = [b"more"]
        link.resume()
        await until(lambda: heard.data.endswith(b"more"))
        sock.held = 0


@pytest.mark.parametrize(
    ("step", "loss"),
    [
        (b"", Loss.END),
        (ssl.SSLEOFError(), Loss.CUT),
        (ConnectionResetError(), Loss.RESET),
        (ssl.SSLError(1, "bad record mac"), Loss.RESET),
    ],
)
@on_both_loops
async def test_losses(step: bytes | Exception, loss: Loss) -> None:
    with played() as (sock, heard, link, far):
        sock.reads = [step]
        far.send(b"x")
        await until(lambda: heard.lost == [loss])
        assert not link.is_open
        assert link.session is None
        link.resume()
        assert sock.unwrapped == 1


@on_both_loops
async def test_nobody_asked_after_a_pause_or_a_close() -> None:
    with played() as (sock, heard, link, far):
        link.pause()
        far.send(b"x")
        sock.reads = [b"held back"]
        await asyncio.sleep(0.01)
        assert heard.data == b""
        link.resume()
        await until(lambda: heard.data == b"held back")
        link.close()
        link.close()
        assert sock.unwrapped == 1
    assert heard.lost == []


@pytest.mark.parametrize("taken", [[], [3]])
@on_both_loops
async def test_a_broken_write_is_told_by_the_reading_side(taken: list[int]) -> None:
    near, far = socket.socketpair()
    with far:
        heard = Heard()
        sock = Broken(near, list(taken))
        link = TlsLink(asyncio.get_running_loop(), sock, heard)  # type: ignore[arg-type]
        link.write(b"request")
        assert link.unsent is None
        assert heard.lost == []
        await until(lambda: heard.lost == [Loss.CUT])


class Broken(socket.socket):
    """A socket whose TLS breaks while writing."""

    def __init__(self, sock: socket.socket, taken: list[int]) -> None:
        super().__init__(sock.family, sock.type, fileno=sock.detach())
        self.setblocking(False)
        self._taken = taken

    def pending(self) -> int:
        return 0

    def send(self, *_: object) -> int:
        if self._taken:
            return self._taken.pop()
        raise ssl.SSLError(1, "broken")

    def recv(self, *_: object) -> bytes:
        assert super().recv(1) == b""
        raise ssl.SSLEOFError

    def unwrap(self) -> None:
        raise ValueError


@on_both_loops
async def test_asked_of_a_peer_that_is_gone() -> None:
    async with secure(ending(reply(), is_told=False)) as server:
        upstream = server.upstream(ssl_context=trusting())
        first = await ask(upstream)
        assert isinstance(first, Reply)
        await server.stop()
        kind, _ = await ask_failure(upstream)
        assert kind in (FailureKind.CONNECT, FailureKind.TLS)
