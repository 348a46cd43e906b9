"""Through an outbound proxy: CONNECT and SOCKS5, with and without a password, and its faults."""

from __future__ import annotations

import socket
import ssl

import pytest
import trustme

from rpcproxy.edges.http.target import EdgeSettings, Target
from rpcproxy.edges.http.tunnel import read_way
from rpcproxy.edges.http.upstream_http import HttpUpstream
from rpcproxy.messages import FailureKind
from tests.kits.waiting import until
from tests.sockets.outbound_proxy import OutboundProxy
from tests.sockets.scripted import (
    BODY,
    Scripted,
    answering,
    ask_failure,
    ask_reply,
    on_both_loops,
    open_sockets,
    reply,
)


def upstream(url: str, proxy: str, **settings: object) -> HttpUpstream:
    return HttpUpstream(Target("it", url, {}, proxy), EdgeSettings(**settings))  # type: ignore[arg-type]


SCHEMES = ("http", "socks5", "socks5h")


@on_both_loops
async def test_requests_go_through_it_over_connections_that_are_kept() -> None:
    for scheme in SCHEMES:
        for account, user in (("", ()), ("me:pass%2Fword@", ("me", "pass/word"))):
            async with OutboundProxy(*user) as proxy, Scripted(answering(reply())) as server:
                it = upstream(server.url, f"{scheme}://{account}127.0.0.1:{proxy.port}")
                for _ in range(3):
                    assert (await ask_reply(it)).body == BODY
                assert proxy.asked == [("127.0.0.1", server.port)]
                assert len(server.peers) == 1
                await it.close()


@on_both_loops
async def test_who_looks_up_the_name() -> None:
    """A name that nobody knows here reaches a proxy that knows it; ``socks5`` looks up here."""
    async with OutboundProxy() as proxy, Scripted(answering(reply())) as server:
        url = f"http://upstream.test:{server.port}/"
        for scheme in ("http", "socks5h"):
            it = upstream(url, f"{scheme}://127.0.0.1:{proxy.port}")
            assert (await ask_reply(it)).body == BODY
            await it.close()
        assert proxy.asked == [("upstream.test", server.port)] * 2
        it = upstream(f"http://localhost:{server.port}/", f"socks5://127.0.0.1:{proxy.port}")
        await ask_reply(it)
        assert proxy.asked[-1] == ("127.0.0.1", server.port)
        await it.close()


@on_both_loops
async def test_tls_is_the_upstreams_end_to_end() -> None:
    authority = trustme.CA()
    given = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("upstream.test").configure_cert(given)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with OutboundProxy() as proxy, Scripted(answering(reply()), tls=given) as server:
        way = f"http://127.0.0.1:{proxy.port}"
        it = upstream(f"https://upstream.test:{server.port}/", way, ssl_context=trusting)
        assert (await ask_reply(it)).body == BODY
        await it.close()
        stranger = upstream(f"https://other.test:{server.port}/", way, ssl_context=trusting)
        kind, words = await ask_failure(stranger)
        assert kind is FailureKind.TLS
        assert "certificate not accepted" in words
        await stranger.close()


@on_both_loops
async def test_what_is_said_of_a_proxy_that_refuses_or_is_not_there() -> None:
    for scheme in SCHEMES:
        async with OutboundProxy("me", "right") as proxy, Scripted(answering(reply())) as server:
            it = upstream(server.url, f"{scheme}://me:hunter22@127.0.0.1:{proxy.port}")
            kind, words = await ask_failure(it)
            assert kind is FailureKind.CONNECT
            assert f"refused by the outbound proxy 127.0.0.1:{proxy.port}" in words
            assert "hunter22" not in words
            assert not server.peers
            await it.close()
        async with OutboundProxy(refuses=True) as proxy, Scripted(answering(reply())) as server:
            it = upstream(server.url, f"{scheme}://127.0.0.1:{proxy.port}")
            assert "refused by the outbound proxy" in (await ask_failure(it))[1]
            await it.close()
        it = upstream("http://127.0.0.1:1/", f"{scheme}://127.0.0.1:{proxy.port}")
        kind, words = await ask_failure(it)
        assert (kind, words) == (
            FailureKind.CONNECT,
            f"127.0.0.1:1: the outbound proxy 127.0.0.1:{proxy.port}: connection refused",
        )
        await it.close()


@on_both_loops
async def test_one_that_never_answers_is_given_up_with_every_socket() -> None:
    before = open_sockets()
    silent = socket.create_server(("127.0.0.1", 0))
    for scheme in SCHEMES:
        it = upstream(
            "http://127.0.0.1:1/",
            f"{scheme}://127.0.0.1:{silent.getsockname()[1]}",
            connect_seconds=0.05,
        )
        kind, words = await ask_failure(it)
        assert kind is FailureKind.CONNECT
        assert "no connection in" in words
        await it.close()
    silent.close()
    await until(lambda: open_sockets() == before)


@pytest.mark.parametrize("url", ["ftp://p", "https://p", "http://", "p:3128"])
def test_what_is_no_proxy_is_refused_without_the_url(url: str) -> None:
    with pytest.raises(ValueError, match="outbound proxy must be") as caught:
        read_way(url)
    assert "//p" not in str(caught.value)


def test_none_at_all() -> None:
    assert read_way("") is None
    assert read_way("direct") is None
