"""The graph of one chain: every object that answers and asks, put together in one place.

What touches the world is given: connections (in ``members``), the journal (behind ``ledger``). What
was learned is handed over whole at a reload (``Learned``).

State: none of its own; it holds the objects that do.
"""

from __future__ import annotations

import random
import ssl
from collections.abc import Mapping

import msgspec

from rpcproxy.chains.kind import Kind
from rpcproxy.clock import Clock
from rpcproxy.config.model import Chain, Server
from rpcproxy.config.public_names import public_names
from rpcproxy.edges.metrics.metrics import ChainCounters
from rpcproxy.engine.answers.sharing import Sharing
from rpcproxy.engine.attempts.attempts import ChainMember
from rpcproxy.engine.attempts.executor import Executor
from rpcproxy.engine.attempts.request_log import RequestLog
from rpcproxy.engine.reads.encoder import Encoder
from rpcproxy.engine.reads.pipeline import Pipeline
from rpcproxy.engine.reads.profiles import Profiles, policies
from rpcproxy.engine.reads.reads import Reads
from rpcproxy.engine.sends.broadcast import Broadcast
from rpcproxy.engine.sends.copies import Copies
from rpcproxy.engine.sends.ledger import Ledger
from rpcproxy.engine.sends.rebroadcast import Rebroadcast
from rpcproxy.engine.truth.truth import Truth
from rpcproxy.engine.watch.audits import Audits
from rpcproxy.engine.watch.feeds import Feeds
from rpcproxy.engine.watch.local import LocalAnswers
from rpcproxy.engine.watch.told import ToldHead
from rpcproxy.engine.watch.watcher import Watcher
from rpcproxy.rules.answers.holding import Purse
from rpcproxy.rules.requests.steps import Budgets
from rpcproxy.rules.standing.limits import HedgeAllowance, RetryBudget
from rpcproxy.rules.standing.standings import Standings


class GraphParts(msgspec.Struct, frozen=True, kw_only=True):
    """What the graph of one chain is made from. ``purse`` holds what belongs to clients whose
    connection is not known; ``new_executor`` makes the executor, ``rng`` is its chance.
    """

    chain: Chain
    kind: Kind
    server: Server
    counters: ChainCounters
    standings: Standings
    members: Mapping[str, ChainMember]
    ledger: Ledger
    purse: Purse
    clock: Clock
    accepts_while_down: bool = False
    new_executor: type[Executor] = Executor
    rng: random.Random | None = None


class ChainGraph:
    """See the module's docstring. ``broadcast`` and ``rebroadcast`` are ``None`` where the kind of
    chain sends nothing.
    """

    def __init__(self, given: GraphParts) -> None:
        chain, kind, clock = given.chain, given.kind, given.clock
        self.given = given
        self.executor = self._executor()
        self.log = RequestLog(
            chain.name,
            given.counters,
            policies(chain),
            given.ledger.shown.looked_up,
            methods=kind.methods,
            clock=clock,
            keeps_params=given.server.traces.params,
        )
        self.told = ToldHead(given.standings, chain.block_time_seconds, kind, clock=clock)
        self.broadcast = self._broadcast()
        self.audits = Audits(
            self.executor,
            kind.comparison,
            chain_name=chain.name,
            policies=policies(chain),
            calls_per_hour=chain.audits_per_hour,
            clock=clock,
        )
        self.truth = Truth(self.executor, given.ledger, kind.claims, kind.contents, clock=clock)
        self.reads = self._reads()
        self.pipeline = Pipeline(
            chain,
            self.reads,
            self.broadcast,
            self.told,
            LocalAnswers(chain.identity, self.told, given.standings, kind.own_words, clock=clock),
            max_batch=given.server.limits.batch,
            purse=given.purse,
            clock=clock,
        )
        self.rebroadcast = self._rebroadcast()
        self._connect()
        self.learned = Learned(given.standings, self.told, self.reads, self.audits, self.broadcast)

    def _executor(self) -> Executor:
        given = self.given
        now = given.clock.monotonic()
        return given.new_executor(
            given.members,
            given.standings,
            Budgets(RetryBudget(now), HedgeAllowance()),
            given.counters,
            methods=given.kind.methods,
            chain_name=given.chain.name,
            clock=given.clock,
            rng=given.rng,
        )

    def _broadcast(self) -> Broadcast | None:
        given, sends = self.given, self.given.kind.sends
        if sends is None:
            return None
        copies = Copies(
            self.executor,
            sends,
            chain_name=given.chain.name,
            public_names=public_names(given.chain.upstreams),
            policies=policies(given.chain),
            on_said=given.ledger.on_said,
            clock=given.clock,
        )
        return Broadcast(
            given.chain,
            sends,
            given.ledger,
            copies,
            given.counters.sends,
            self.log,
            clock=given.clock,
            accepts_while_down=given.accepts_while_down,
        )

    def _rebroadcast(self) -> Rebroadcast | None:
        given, sends = self.given, self.given.kind.sends
        if sends is None or self.broadcast is None:
            return None
        return Rebroadcast(
            self.executor,
            given.ledger,
            self.broadcast.copies,
            self.truth,
            policies(given.chain),
            sends=sends,
            clock=given.clock,
        )

    def _reads(self) -> Reads:
        given, kind, clock = self.given, self.given.kind, self.given.clock
        heads = given.standings.heads
        profiles = Profiles(
            given.chain,
            heads,
            given.ledger,
            self.truth,
            methods=kind.methods,
            pins=kind.pins,
            searches=kind.searches,
            clock=clock,
        )
        encoder = Encoder(
            given.chain,
            self.executor,
            self.told,
            given.ledger.shown,
            given.server.outage_status,
            methods=kind.methods,
            own_words=kind.own_words,
            clock=clock,
        )
        memory_bytes = given.server.cache.memory_bytes
        sharing = Sharing(
            memory_bytes, heads, given.counters, kind.claims, kind.methods, clock=clock
        )
        return Reads(
            given.chain,
            self.executor,
            profiles=profiles,
            ledger=given.ledger,
            truth=self.truth,
            encoder=encoder,
            log=self.log,
            sharing=sharing,
            purse=given.purse,
            audits=self.audits if self.audits.is_on else None,
            searches=kind.searches,
            read_range=kind.errors.read_range,
            clock=clock,
        )

    def _connect(self) -> None:
        """Who is told of what by whom."""
        given = self.given
        is_guarding = any(upstream.private for upstream in given.chain.upstreams)
        given.ledger.privacy.is_guarding = is_guarding
        self.executor.hearings.on_shape = self.reads.profiles.watch_shapes
        self.told.on_block = self.truth.contents.learn
        given.standings.on_served.append(self.reads.on_served)
        given.standings.on_distrust.append(self.reads.sharing.on_distrust)
        if self.broadcast is not None:
            self.broadcast.attend(self.truth, self.executor, self.reads.profiles.policies)

    def watcher(self, ssl_context: ssl.SSLContext | None = None) -> Watcher:
        """Who watches the upstreams; to be started."""
        given = self.given
        feeds = Feeds(
            given.chain,
            given.members,
            self.executor,
            given.kind.announcements,
            ssl_context,
            clock=given.clock,
        )
        watcher = Watcher(
            given.chain,
            given.members,
            self.executor,
            self.told,
            feeds,
            given.kind.questions,
            clock=given.clock,
        )
        self.executor.listeners.append(watcher.on_changes)
        return watcher


class Learned:
    """All that a chain has learned, by who knows it: handed over whole at a reload."""

    def __init__(
        self,
        standings: Standings,
        told: ToldHead,
        reads: Reads,
        audits: Audits,
        broadcast: Broadcast | None,
    ) -> None:
        self._standings = standings
        self._told = told
        self._reads = reads
        self._audits = audits
        self._broadcast = broadcast

    def adopt(self, old: Learned, now: float) -> None:
        """Go on from there. ``now``: monotonic seconds."""
        self._standings.adopt(old._standings, now)
        self._told.adopt(old._told)
        self._reads.adopt(old._reads)
        self._audits.adopt(old._audits)
        if self._broadcast is not None and old._broadcast is not None:
            self._broadcast.adopt(old._broadcast)
