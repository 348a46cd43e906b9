"""One read, whichever way it goes: ``ways`` decides, here it is gone.

No state.
"""

from __future__ import annotations

import functools

from rpcproxy.chains.parts.errors import ReadRange
from rpcproxy.chains.parts.searches import Searches
from rpcproxy.clock import Clock
from rpcproxy.config.model import Chain
from rpcproxy.engine.answers.carried import Carried
from rpcproxy.engine.answers.shared_text import result_answer
from rpcproxy.engine.answers.sharing import Sharing, SlowFlight, answer_of, pending_answer
from rpcproxy.engine.attempts.calls import SingleCall
from rpcproxy.engine.attempts.executor import Executor, Settled
from rpcproxy.engine.attempts.request_log import OpenRequest, RequestLog
from rpcproxy.engine.reads.encoder import Encoder
from rpcproxy.engine.reads.endings import Endings, OpenRead
from rpcproxy.engine.reads.express import Express
from rpcproxy.engine.reads.followers import Followers
from rpcproxy.engine.reads.patience import Patience
from rpcproxy.engine.reads.private_reads import PrivateReads
from rpcproxy.engine.reads.profiles import Profile, Profiles
from rpcproxy.engine.reads.terms import Terms
from rpcproxy.engine.reads.ways import ReadWay, Ways
from rpcproxy.engine.sends.ledger import Ledger
from rpcproxy.engine.truth.truth import Truth
from rpcproxy.engine.watch.audits import Audits
from rpcproxy.messages import Answer, Caller, Handled, Pending, Request, encode_result
from rpcproxy.rules.answers.holding import Purse


class Reads:
    """See the module's docstring. One per chain."""

    def __init__(  # noqa: PLR0913 - what a read may need; nothing of it is made here
        self,
        chain: Chain,
        executor: Executor,
        *,
        profiles: Profiles,
        ledger: Ledger,
        truth: Truth,
        encoder: Encoder,
        log: RequestLog,
        sharing: Sharing,
        purse: Purse,
        audits: Audits | None,
        searches: Searches | None,
        read_range: ReadRange,
        clock: Clock,
    ) -> None:
        self.executor = executor
        self._heads = executor.standings.heads
        self._turns = self._heads.turns
        self._now = clock.monotonic
        self.encoder = encoder
        self.log = log
        self.audits = audits
        self.truth = truth
        self.ledger = ledger
        self.profiles = profiles
        self.sharing = sharing
        self.counters = executor.counters
        self.terms = Terms(executor, profiles, clock)
        self.patience = Patience(
            executor,
            profiles,
            self.terms,
            purse,
            chain.deadlines.light_seconds,
            searches=searches,
            read_range=read_range,
            clock=clock,
        )
        self.ways = Ways(sharing, self.patience)
        self.endings = Endings(encoder, self.patience, sharing, executor.counters, log, clock=clock)
        followers = Followers(executor, profiles, self.terms, sharing, self.endings, clock=clock)
        sharing.relaunch = followers.relaunch
        self.express = Express(executor, sharing, self.terms, self.endings, audits, clock=clock)
        has_readers = any(
            upstream.private and upstream.role != "sends" for upstream in chain.upstreams
        )
        self._private = PrivateReads(
            ledger,
            executor.standings.heads,
            executor.counters,
            log,
            self.read,
            has_readers=has_readers,
            clock=clock,
        )

    def on_served(self) -> None:
        """The served head moved."""
        self.sharing.on_served()
        self.patience.on_served()
        if self._heads.turns != self._turns:
            self._turns = self._heads.turns
            ancestor = self._heads.ancestor
            self.sharing.on_turn(ancestor)
            self.truth.on_turn(ancestor)

    def adopt(self, old: Reads) -> None:
        """A reload: what was told stays true, and what is kept is kept. The heads are the old ones
        already.
        """
        self._turns = self._heads.turns
        self.truth.adopt(old.truth)
        self.sharing.adopt(old.sharing)

    def close(self) -> None:
        """Stop the clocks, and the tasks that outlive their requests."""
        self.express.close()
        if self.audits is not None:
            self.audits.close()

    def read(
        self, request: Request, profile: Profile, caller: Caller, call: SingleCall | None = None
    ) -> Handled:
        """Answer it, or begin to. ``call``: what is sent for it, where that is settled already,
        with the others of its batch.
        """
        if call is None or self.profiles.is_outdated(call):
            call = self.profiles.prepare(request, profile)
        if call.need.private_only:
            private = self._private.read(request, profile, call, caller)
            if private is not None:
                return private
        now = self._now()
        if caller.is_fresh:
            call.key = b""
        way = self.ways.of(call, now)
        if way is ReadWay.ASKED:
            return self._ask(request, profile, call, caller, now)
        if isinstance(way, bytes):
            self.counters.on_kept(profile.kept_by, profile.method_class)
            self.sharing.remember(profile.key + request.params, call, way)
            return result_answer(request.id, way)
        if way is ReadWay.ON_DISK:
            return self._from_disk(request, profile, call, caller)
        if isinstance(way, ReadWay):
            return self._above_head(request, profile, call, caller)
        return self.sharing.follow(way, request, caller.trace_id, now)

    def _ask(
        self, request: Request, profile: Profile, call: SingleCall, caller: Caller, now: float
    ) -> Pending:
        """On the express lane, where somebody can be asked at this moment."""
        first_try = self.express.start(request, profile, call, caller.trace_id, now)
        return first_try or self._by_plan(request, profile, call, caller)

    def _by_plan(
        self, request: Request, profile: Profile, call: SingleCall, caller: Caller
    ) -> Pending:
        """Nobody can be asked at this moment, or the usual way is not open to it."""
        flight = SlowFlight()
        if call.key:
            self.sharing.flights[call.key] = flight
        read = OpenRead(request, profile, call, flight, self._now(), caller.trace_id)
        work = self.endings.end(read, functools.partial(self._run, call, profile))
        undo = functools.partial(self.endings.land, read, None)
        return Carried(work, undo, caller.trace_id, request.id)

    async def _run(self, call: SingleCall, profile: Profile) -> Settled:
        return await self.executor.run(call, self.terms.policy_for(call, profile))

    async def _from_disk(
        self, request: Request, profile: Profile, call: SingleCall, caller: Caller
    ) -> Answer:
        """From disk; upstreams are asked where that takes too long, or does not bring it."""
        result = await self.sharing.read(call)
        if result is not None and self.truth.allows(call, result):
            self.sharing.keep(call, result, self._now())
            self.counters.on_kept("disk", profile.method_class)
            return result_answer(request.id, result)
        now = self._now()
        follower = self.sharing.join(call.key, request, caller.trace_id, now)
        if follower is not None:
            return await pending_answer(follower)
        if self.patience.is_above_head(call):
            return await self._above_head(request, profile, call, caller)
        return await pending_answer(self._ask(request, profile, call, caller, now))

    async def _above_head(
        self, request: Request, profile: Profile, call: SingleCall, caller: Caller
    ) -> Answer:
        """Where the block does not come there is none: never what somebody may have invented."""
        started = self._now()
        if await self.patience.wait_for_block(call.need.block):
            return await answer_of(self.read(request, profile, caller))
        if profile.method.is_null_for_none:
            self.counters.on_local()
            if self._now() - started > self.log.slow_seconds[profile.method_class]:
                asked = OpenRequest(request, caller.trace_id, started)
                self.log.slow(
                    asked, (), f"block {call.need.block} was waited for, and did not come"
                )
            return Answer(encode_result(request.id, b"null"))
        # What it means for this method, an upstream says best; a result is refused.
        return await pending_answer(self._by_plan(request, profile, call, caller))
