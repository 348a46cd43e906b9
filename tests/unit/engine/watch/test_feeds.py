"""Feeds: what is announced goes up as knowledge, and how far it is relied on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from rpcproxy.chains.evm.feed import NEW_HEADS
from rpcproxy.edges.ws.newheads import FeedSettings
from rpcproxy.engine.watch import feeds as module
from rpcproxy.engine.watch.feeds import Feeds
from rpcproxy.messages import Head, Verdict
from tests.kits.engine_kit import Engine, head_of, now, on_chain, virtual
from tests.kits.fleet import upstream


class FakeFeed:
    """In place of ``HeadFeed``: a WebSocket that a test speaks for."""

    made: list[FakeFeed]

    def __init__(
        self,
        name: str,
        url: str,
        headers: Any,
        settings: FeedSettings,
        on_head: Callable[[Head, bytes], None],
        on_state: Callable[[bool, str], None],
    ) -> None:
        self.name = name
        self.url = url
        self.headers = headers
        self.block_seconds = settings.block_time_seconds
        self.on_head = on_head
        self.on_state = on_state
        self.is_live = self.is_started = self.is_closed = False
        self.last_head_at = float("-inf")
        FakeFeed.made.append(self)

    def start(self) -> None:
        self.is_started = True

    async def close(self) -> None:
        self.is_closed = True

    def set_block_time(self, seconds: float) -> None:
        self.block_seconds = seconds

    def announce(self, head: Head) -> None:
        self.is_live = True
        self.last_head_at = now()
        self.on_head(head, b"{}")


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HeadFeed", FakeFeed)
    FakeFeed.made = []


class Heard:
    """Feeds of two upstreams, and what was heard of them; ``c`` has none."""

    def __init__(self, engine: Engine) -> None:
        self.feeds = Feeds(
            engine.chain, engine.members, engine.executor, NEW_HEADS, clock=engine.clock
        )
        self.a, self.b = FakeFeed.made
        self.heads: list[tuple[str, Head]] = []
        self.lost: list[str] = []

    def listen(self) -> None:
        self.feeds.on_head = lambda name, head: self.heads.append((name, head))
        self.feeds.on_lost = self.lost.append


def fleet() -> list[Any]:
    return [
        upstream("a", ws_url="ws://a/secret", headers={"x": "1"}),
        upstream("b", ws_url="ws://b/secret"),
        upstream("c"),
    ]


@virtual
async def test_those_with_a_websocket_have_a_feed() -> None:
    heard = Heard(on_chain(upstreams=fleet(), block_time_seconds=3.0))
    assert [(feed.name, feed.url) for feed in FakeFeed.made] == [
        ("a", "ws://a/secret"),
        ("b", "ws://b/secret"),
    ]
    assert (heard.a.headers, heard.a.block_seconds) == ({"x": "1"}, 3.0)
    heard.feeds.start()
    assert heard.a.is_started
    assert heard.b.is_started
    heard.feeds.learn_block_time(5.0)
    assert heard.b.block_seconds == 5.0
    await heard.feeds.stop()
    assert heard.a.is_closed
    assert heard.b.is_closed


@virtual
async def test_on_a_chain_that_announces_nothing_there_are_no_feeds() -> None:
    engine = on_chain(upstreams=fleet())
    feeds = Feeds(engine.chain, engine.members, engine.executor, None, clock=engine.clock)
    feeds.start()
    assert FakeFeed.made == []
    assert feeds.are_live() == {}
    assert not feeds.is_reliable("a", now())
    await feeds.stop()


@virtual
async def test_what_is_announced_is_learned_and_told_on() -> None:
    engine = on_chain(upstreams=fleet())
    heard = Heard(engine)
    heard.a.announce(head_of(101))  # nobody listens yet, and it is learned all the same
    heard.listen()
    texts: list[bytes] = []
    heard.feeds.on_block = texts.append
    heard.b.announce(head_of(101))
    assert heard.heads == [("b", head_of(101))]
    assert texts == [b"{}"]
    assert engine.standings.heads.served == 101
    assert engine.standings["a"].head == engine.standings["b"].head == head_of(101)


@virtual
async def test_it_says_nothing_of_how_the_upstream_does_over_http() -> None:
    engine = on_chain(upstreams=fleet())
    heard = Heard(engine)
    engine.eject("a")
    latency = engine.standings["a"].light.latency.seconds
    for number in range(101, 130):
        heard.a.announce(head_of(number))
    assert engine.standings["a"].state == "ejected"
    assert engine.standings["a"].light.latency.seconds == latency


@virtual
async def test_before_its_chain_is_verified_it_is_not_believed() -> None:
    engine = Engine(fleet(), are_admitted=False)
    heard = Heard(engine)
    heard.listen()
    heard.feeds.on_block = lambda _: pytest.fail("it is believed")
    heard.a.announce(head_of(100))
    assert heard.heads == []
    assert engine.standings["a"].head is None
    engine.observe("a", Verdict.OK, is_probe=True, is_identity=True)
    heard.feeds.on_block = lambda _: None
    heard.a.announce(head_of(100))
    assert engine.standings["a"].head == head_of(100)


@virtual
async def test_it_is_relied_on_while_blocks_come() -> None:
    engine = on_chain(upstreams=fleet(), block_time_seconds=4.0)
    feeds = (heard := Heard(engine)).feeds
    assert not feeds.is_reliable("a", now())
    assert not feeds.is_reliable("c", now())
    assert not feeds.is_reliable("nobody", now())
    heard.a.announce(head_of(101))
    assert feeds.is_reliable("a", now() + 6.9)
    assert not feeds.is_reliable("a", now() + 7.1)
    heard.a.is_live = False
    assert not feeds.is_reliable("a", now())


@virtual
async def test_what_becomes_of_it_is_logged_and_losses_are_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard = Heard(on_chain(upstreams=fleet()))
    with caplog.at_level(logging.INFO, "rpcproxy.feeds"):
        heard.a.on_state(False, "closed")  # nobody listens yet
        heard.listen()
        heard.a.on_state(True, "subscribed")
        heard.a.on_state(False, "silent for 30 s")
    assert heard.lost == ["a"]
    records = [record for record in caplog.records if record.name == "rpcproxy.feeds"]
    assert [record.levelname for record in records] == ["WARNING", "INFO", "WARNING"]
    assert [record.__dict__["event"] for record in records] == [
        "feed_lost",
        "feed_live",
        "feed_lost",
    ]
    assert not any("secret" in str(record.__dict__) for record in records)
    await asyncio.sleep(0)
