"""One chain, put together: standings, connections, executor, pipeline, watcher.

State: none of its own; it holds the objects that do.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rpcproxy.app.graph import ChainGraph, GraphParts
from rpcproxy.app.storage.disk import Disk, DiskPlace
from rpcproxy.app.storage.state_place import StatePlace
from rpcproxy.app.storage.transaction_journal import (
    OnResumed,
    SendSettings,
    Transactions,
    nobody_asks,
)
from rpcproxy.chains.parts.errors import ErrorTable
from rpcproxy.chains.registry import kind_of
from rpcproxy.clock import SYSTEM_CLOCK, Clock
from rpcproxy.config.model import Chain, Config, Server, Upstream
from rpcproxy.config.secrets import Redactor, secrets_of_upstream
from rpcproxy.edges.disk.disk_cache import DiskCache
from rpcproxy.edges.http.target import EdgeSettings, target_of
from rpcproxy.edges.http.upstream_http import HttpUpstream as Wire
from rpcproxy.edges.metrics.metrics import ChainCounters
from rpcproxy.engine.attempts.attempts import ChainMember
from rpcproxy.engine.sends.ledger import OnStep, unheard
from rpcproxy.rules.answers.classify import Classifier
from rpcproxy.rules.answers.holding import Holdings
from rpcproxy.rules.standing.settings import Settings
from rpcproxy.rules.standing.standings import Standings

WARM_CONNECTIONS: Final = 2  # a failover pays no handshake
Held = Wire | Disk | Transactions


class ChainRuntime:
    """A chain at work: ``start`` it once, ``retire`` it when another takes over, ``close`` it."""

    def __init__(  # noqa: PLR0913 -- one for each root of the graph
        self,
        chain: Chain,
        server: Server,
        counters: ChainCounters,
        *,
        ssl_context: ssl.SSLContext | None = None,
        old: ChainRuntime | None = None,
        retired: Sequence[Transactions] = (),
        holdings: Holdings | None = None,
        clock: Clock = SYSTEM_CLOCK,
        on_step: OnStep = unheard,
        place: StatePlace | None = None,
        on_resumed: OnResumed = nobody_asks,
    ) -> None:
        """``holdings`` count what is held, of the whole process. ``old``: what it takes over from.
        ``retired``: of chains on their last requests, whose journals are still open. ``on_step`` is
        told of the steps of sends, ``on_resumed`` of what an earlier process left. ``place``: of
        the configuration, the chain's own where it has none.
        """
        now = clock.monotonic()
        kind = self.kind = kind_of(chain)
        self.chain = chain
        self.counters = counters
        holdings = holdings or Holdings()
        self.standings = Standings(
            chain.upstreams,
            Settings.of(chain, kind.traits),
            now,
            methods=kind.methods,
            read_range=kind.errors.read_range,
        )
        self.wires = self._wires(chain, ssl_context, old, holdings)
        settings = SendSettings.of(chain, server, place or StatePlace.of(Config(chains=(chain,))))
        if kind.sends is None:
            settings = settings._replace(path=None, why="")  # there is nothing to write down
        known = self._known_transactions(settings.path, old, retired)
        self.transactions: Transactions = known or Transactions(
            *(chain, settings, counters, kind.sends),
            clock=clock,
            on_step=on_step,
            on_resumed=on_resumed,
        )
        self.transactions.take(settings)
        given = GraphParts(
            chain=chain,
            kind=kind,
            server=server,
            counters=counters,
            standings=self.standings,
            members={each.name: self._member(each, kind.errors) for each in chain.upstreams},
            ledger=self.transactions.ledger,
            purse=holdings.purse(""),
            clock=clock,
            accepts_while_down=settings.accepts_while_down,
        )
        graph = self.graph = ChainGraph(self._given(given))
        self.executor, self.pipeline, self.audits = graph.executor, graph.pipeline, graph.audits
        self.watcher = graph.watcher(ssl_context)
        self.feeds = self.watcher.feeds
        self.disk = self._disk(chain, server, old, clock)
        if old is not None:
            graph.learned.adopt(old.graph.learned, now)

    def _known_transactions(
        self, path: Path | None, old: ChainRuntime | None, retired: Sequence[Transactions]
    ) -> Transactions | None:
        """Those of before go on where they are written down: another place takes effect at the
        next start, for what is pending is in this one. So do those of a chain that comes back.
        """
        if old is not None:
            return old.transactions
        return next((gone for gone in retired if gone.is_at(path, self.chain)), None)

    def _given(self, given: GraphParts) -> GraphParts:
        """What the graph is made from."""
        return given

    def _member(self, upstream: Upstream, errors: ErrorTable) -> ChainMember:
        name = upstream.name
        redact = Redactor(secrets_of_upstream(upstream))
        classifier = Classifier(errors, upstream.errors, redact)
        return ChainMember(self.standings[name], self.wires[name], classifier)

    @staticmethod
    def _wires(
        chain: Chain,
        ssl_context: ssl.SSLContext | None,
        old: ChainRuntime | None,
        holdings: Holdings,
    ) -> dict[str, Wire]:
        """Connections to upstreams that stay are kept warm through a reload."""
        kept = {} if old is None else {_key(u): old.wires[u.name] for u in old.chain.upstreams}
        settings = EdgeSettings(
            warm=WARM_CONNECTIONS, ssl_context=ssl_context, new_hold=holdings.incoming
        )
        wires = {}
        for upstream in chain.upstreams:
            target = target_of(upstream)
            wires[upstream.name] = kept.get(_key(upstream)) or Wire(target, settings)
        return wires

    @staticmethod
    def _disk(chain: Chain, server: Server, old: ChainRuntime | None, clock: Clock) -> Disk | None:
        """What is kept on disk; an open one stays open through a reload."""
        place = DiskPlace.of(chain, server.cache)
        if place is None:
            return None
        if old is not None and old.disk is not None and old.disk.place == place:
            return old.disk
        return Disk(place, chain.name, clock.monotonic)

    @property
    def held(self) -> tuple[Held, ...]:
        """What a chain that takes over may go on with: not to be closed under it."""
        kept: tuple[Held, ...] = (*self.wires.values(), self.transactions)
        return kept if self.disk is None else (*kept, self.disk)

    @property
    def longest_seconds(self) -> float:
        """For how long a request may be under way."""
        deadlines = self.chain.deadlines
        sync = None if self.kind.sends is None else self.kind.sends.sync
        waits_seconds = 0.0 if sync is None else sync.longest_seconds
        return max(
            deadlines.light_seconds,
            deadlines.heavy_seconds,
            # A send may wait for its receipt, and the last look-up has a deadline of its own.
            deadlines.send_seconds + waits_seconds + deadlines.light_seconds,
        )

    def expect_predecessor(self, seconds: float) -> None:
        """What another process has open is waited for, so long: that one is about to leave."""
        self.transactions.expect_predecessor(seconds)
        if self.disk is not None:
            self.disk.expect_predecessor(seconds)

    def start(self) -> None:
        """Open connections and begin to watch. Waits for nobody."""
        for wire in self.wires.values():
            wire.warm_up()
        if self.disk is not None:
            self.disk.start(self._on_disk)
        self.transactions.start()
        self.watcher.start()
        if self.graph.rebroadcast is not None:
            self.graph.rebroadcast.start()

    def _on_disk(self, cache: DiskCache) -> None:
        self.pipeline.sharing.disk = cache

    async def stop_watching(self) -> None:
        """Ask nothing more that no client asks for; idempotent."""
        await self.watcher.stop()
        await self.stop_sending()

    async def stop_sending(self) -> None:
        """Send nothing again; idempotent."""
        if self.graph.rebroadcast is not None:
            await self.graph.rebroadcast.close()

    async def retire(self, successor: ChainRuntime | None = None) -> None:
        """Stop asking, and telling what changes; what is in flight goes on, and what waits for an
        upstream goes on at ``successor``.
        """
        if successor is not None:
            self.pipeline.go_on_at(successor.pipeline)
        self.executor.retire(is_followed=successor is not None)
        await self.stop_watching()

    async def close(self, kept: Sequence[Held] = ()) -> None:
        """Give up what is in flight and close what is ``held`` but for ``kept``."""
        await self.stop_watching()
        self.pipeline.close()
        self.executor.close()
        for mine in self.held:
            if not any(mine is other for other in kept):
                await mine.close()


def _key(upstream: Upstream) -> tuple[object, ...]:
    headers = tuple(sorted(upstream.headers.items()))
    return upstream.name, upstream.url, headers, upstream.proxy
