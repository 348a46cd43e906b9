"""The WebSocket feeds of a chain: blocks that upstreams announce by themselves.

What a feed tells goes the way of all knowledge, as an ``Observation``; it says nothing of how the
upstream does over HTTP. While a feed is live its upstream is asked seldom.

State: the feeds, by upstream.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from rpcproxy.chains.kind import Announcements
from rpcproxy.clock import Clock
from rpcproxy.config.model import Chain
from rpcproxy.config.outbound import ws_proxy_of
from rpcproxy.edges.logs import event
from rpcproxy.edges.ws.newheads import FLOOD_WORDS, FeedSettings, HeadFeed
from rpcproxy.engine.attempts.executor import ChainMember, Executor
from rpcproxy.messages import Head, MethodClass, Verdict
from rpcproxy.states import Change, ChangeKind
from rpcproxy.words import Observation

_log = logging.getLogger("rpcproxy.feeds")

# A feed is relied on while its last block is no older than this many block times and a bit: it
# stays open through a halt, and through a fault on the other side.
RELIABLE_BLOCKS: Final = 1.5
RELIABLE_SLACK_SECONDS: Final = 1.0

OnHead = Callable[[str, Head], None]


class Feeds:
    """See the module's docstring. ``on_head`` hears of each block, ``on_block`` its text (without
    transactions), ``on_lost`` of each feed that went silent.
    """

    def __init__(
        self,
        chain: Chain,
        members: Mapping[str, ChainMember],
        executor: Executor,
        announcements: Announcements | None,
        ssl_context: ssl.SSLContext | None = None,
        *,
        clock: Clock,
    ) -> None:
        """``announcements`` ``None``: nothing is announced on this kind of chain, and there are no
        feeds.
        """
        self._chain = chain
        self._members = members
        self._executor = executor
        self.on_head: OnHead = lambda _name, _head: None
        self.on_block: Callable[[bytes], object] = lambda _block: None
        self.on_lost: Callable[[str], None] = lambda _name: None
        self._now = clock.monotonic
        self._feeds: dict[str, HeadFeed] = {}
        if announcements is None:
            return
        settings = FeedSettings(
            chain.block_time_seconds, announcements, ssl_context, now=clock.monotonic
        )
        self._feeds = {
            upstream.name: HeadFeed(
                upstream.name,
                upstream.ws_url,
                upstream.headers,
                replace(settings, proxy=ws_proxy_of(upstream)),
                self._hear(upstream.name, announcements.method),
                self._note(upstream.name),
            )
            for upstream in chain.upstreams
            if upstream.ws_url is not None
        }

    def start(self) -> None:
        """Connect, and stay connected."""
        for feed in self._feeds.values():
            feed.start()

    async def stop(self) -> None:
        """Close them all."""
        for feed in self._feeds.values():
            await feed.close()

    def is_reliable(self, name: str, now: float) -> bool:
        """Whether the upstream's blocks arrive without being asked for."""
        feed = self._feeds.get(name)
        if feed is None or not feed.is_live:
            return False
        block_seconds = self._executor.standings.heads.pace.block_time_seconds
        age = now - feed.last_head_at
        return age <= RELIABLE_BLOCKS * block_seconds + RELIABLE_SLACK_SECONDS

    def are_live(self) -> dict[str, bool]:
        """Of each upstream that has a feed, whether it is subscribed and not silent."""
        return {name: feed.is_live for name, feed in self._feeds.items()}

    def learn_block_time(self, seconds: float) -> None:
        """For how long silence is no fault."""
        for feed in self._feeds.values():
            feed.set_block_time(seconds)

    def _hear(self, name: str, method: str) -> Callable[[Head, bytes], None]:
        def on_head(head: Head, text: bytes) -> None:
            if not self._members[name].standing.is_admitted:
                return  # its chain id is not verified yet
            observation = Observation(name, MethodClass.LIGHT, Verdict.OK, method=method, head=head)
            self._executor.observe(observation, self._now())
            self.on_block(text)
            self.on_head(name, head)

        return on_head

    def _note(self, name: str) -> Callable[[bool, str], None]:
        def on_state(is_live: bool, reason: str) -> None:  # noqa: FBT001 - the feed's port
            if reason.startswith(FLOOD_WORDS):
                self._executor.on_changes((Change(name, ChangeKind.FEED_FLOODED, reason),))
            level = logging.INFO if is_live else logging.WARNING
            kind = "feed_live" if is_live else "feed_lost"
            event(_log, level, kind, reason, chain=self._chain.name, upstream=name)
            if not is_live:
                self.on_lost(name)

        return on_state
