"""The express lane: the first attempt of a read, without a task, a timer or a plan of its own.

Nearly every request is answered by the first upstream that is asked, in its usual time. Such a
request costs one object here and two calls: ``start`` sends it, the edge calls ``on_outcome``, and
the answer is written. Whatever does not go that way is *promoted*: a plan takes over with the
attempt already made, and the executor drives it like any other. Promoted are outcomes that are not
a plain success, attempts that pass their hedge time, and those whose upstream was ejected.

State: the attempts under way by class, in the order in which they began, and a timer per class that
looks at the oldest.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Sequence
from typing import Final

from rpcproxy.clock import Clock
from rpcproxy.engine import tasks
from rpcproxy.engine.answers.sharing import Follower, Sharing
from rpcproxy.engine.attempts.calls import SingleCall
from rpcproxy.engine.attempts.executor import (
    REREAD_SECONDS,
    Attempt,
    ChainMember,
    Executor,
    PlanRun,
    WireCall,
)
from rpcproxy.engine.attempts.request_log import OpenRequest
from rpcproxy.engine.attempts.tries import Tried
from rpcproxy.engine.reads.endings import Endings, OpenRead
from rpcproxy.engine.reads.profiles import Profile
from rpcproxy.engine.reads.terms import Terms
from rpcproxy.engine.watch.audits import Audits
from rpcproxy.messages import Answer, MethodClass, Outcome, Pending, Request, Verdict, encode_result
from rpcproxy.rules.answers.classify import plain_result
from rpcproxy.rules.standing.need import Need
from rpcproxy.rules.standing.standings import Standing
from rpcproxy.states import LEAVING, Change
from rpcproxy.words import Observation

# The timer looks no more often than this: hedges may be late by as much.
SHORTEST_LOOK_SECONDS: Final = 0.002
# A look that comes this late was held up by our own loop: sockets are read once before anybody
# is blamed.
LATE_LOOK_SECONDS: Final = 0.02
EXPRESS_CLASSES: Final = (MethodClass.LIGHT, MethodClass.HEAVY)
_OK: Final = Verdict.OK


class FirstTry(Pending):
    """One request on the express lane; after promotion, the handle of its slow way.

    ``attempt`` and ``task`` are there once it was promoted, ``wire_call`` once it was sent.
    """

    __slots__ = (
        "attempt",
        "call",
        "followers",
        "id",
        "is_landed",
        "is_muted",
        "is_over",
        "is_promoted",
        "lane",
        "member",
        "profile",
        "request",
        "started",
        "task",
        "trace_id",
        "wire_call",
    )

    attempt: Attempt
    task: asyncio.Task[None] | None
    wire_call: WireCall

    def __init__(  # noqa: PLR0913, PLR0917 - one call instead of seven assignments per request
        self,
        lane: Express,
        request: Request,
        profile: Profile,
        call: SingleCall,
        member: ChainMember,
        id: int,
        started: float,
        trace_id: str,
    ) -> None:
        self.lane = lane
        self.request = request
        self.profile = profile
        self.call = call
        self.member = member
        self.id = id
        self.started = started
        self.trace_id = trace_id
        self.is_over = False  # answered, promoted or cancelled: no longer the lane's
        self.is_promoted = False
        self.is_muted = False  # the client hung up, and others follow
        self.is_landed = False
        self.followers: list[Follower] | None = None

    def on_outcome(self, outcome: Outcome) -> None:
        """The edge says how the attempt ended."""
        if self.is_over:
            self.attempt.on_outcome(outcome)
            return
        lane, call = self.lane, self.call
        need, method, key = call.need, call.method, call.key
        standing = self.member.standing
        raw = plain_result(outcome, self.id, method)
        if raw is not None and call.truth is not None:
            raw = call.truth.passed(call, raw, standing, self.started)
        if raw is None:
            lane.promote(self).on_outcome(outcome)
            return
        self.is_over = True
        # The usual end: what it taught goes up, what it cost is counted.
        now = lane.now()
        seconds = now - self.started
        if seconds > lane.slow_seconds:
            lane.on_slow(self, now)
        if not lane.standings.on_answered(standing, need, seconds, now):
            lane.tell(standing, need, method.name, seconds, now)
        lane.counters.on_plain(standing.name, need.method_class, seconds, method.weight)
        lane.executor.uncounted += 1
        if self.profile.is_watched:
            lane.on_watched(self.profile, seconds, now)
        result = bytes(raw)
        if not self.is_muted:
            self.deliver(Answer(encode_result(self.request.id, result)))
        if key:
            sharing = lane.sharing
            sharing.keep(call, result, now)
            if self.followers is None and sharing.flights.get(key) is self:
                self.is_landed = True
                del sharing.flights[key]
            else:
                sharing.land(key, self, result)
        if lane.audits is not None and not need.private_only and not call.tag:
            lane.audits.consider(method, call.params, need.block, standing.name, result)

    def cancel(self) -> None:
        """The client hung up. Where others follow it goes on; else what is out goes on for a
        while, so that we learn from it.
        """
        lane = self.lane
        if self.followers:
            self.is_muted = True
            return
        if self.call.key:
            lane.sharing.land(self.call.key, self, None)
        if not self.is_over:
            lane.give_up(self)
        elif self.is_promoted and self.task is not None:
            self.task.cancel()
            # A task that is cancelled before its first step has nothing to clean up with.
            lane.executor.leave(self.attempt.run)


class Express:
    """See the module's docstring. One per chain."""

    def __init__(
        self,
        executor: Executor,
        sharing: Sharing,
        terms: Terms,
        endings: Endings,
        audits: Audits | None,
        *,
        clock: Clock,
    ) -> None:
        self.executor = executor
        self.now = clock.monotonic
        # Of the class that has the least: in a usual run nobody is here past its hedge time, which
        # is less, and so no other look is needed.
        self.slow_seconds = min(endings.log.slow_seconds[each] for each in EXPRESS_CLASSES)
        self.sharing = sharing
        self.audits = audits
        self._terms = terms
        self._endings = endings
        self.standings = executor.standings
        self.counters = executor.counters
        self._pick = self.standings.pick
        self._members = executor.members
        self._under_way: tuple[deque[FirstTry], ...] = tuple(deque() for _ in EXPRESS_CLASSES)
        self._timers: list[asyncio.TimerHandle | None] = [None] * len(EXPRESS_CLASSES)
        self._loop = asyncio.get_running_loop()
        executor.listeners.append(self._on_changes)

    def start(
        self, request: Request, profile: Profile, call: SingleCall, trace_id: str, now: float
    ) -> FirstTry | None:
        """Send a read to whom selection picks; ``None`` where nobody can be asked now."""
        executor = self.executor
        need = call.need
        standing = self._pick(need, (), now, executor.rng)
        if standing is None:
            return None
        member = self._members[standing.name]
        id = executor.next_id
        executor.next_id = id + 1
        try_ = FirstTry(self, request, profile, call, member, id, now, trace_id)
        method_class = need.method_class
        self.standings.on_sent(standing, now)
        params = call.params
        if call.heights is not None and standing.takes_hashes:
            params = call.heights.by_hash(params)
        try_.wire_call = member.wire.send(
            profile.encode(id, params), try_.on_outcome, gzip=profile.is_large
        )
        if call.key:
            self.sharing.flights[call.key] = try_
        tries = self._under_way[method_class]
        # What has ended is let go of now, not at its hedge time: memory in use stays in the caches.
        while tries and tries[0].is_over:
            tries.popleft()
        tries.append(try_)
        if self._timers[method_class] is None:
            self._look_at(method_class, now + self._terms.hedge_seconds(method_class), now)
        return try_

    def tell(self, standing: Standing, need: Need, method: str, seconds: float, now: float) -> None:
        """An answer that teaches more than its time."""
        self.executor.observe(
            Observation(
                standing.name,
                need.method_class,
                _OK,
                seconds,
                method,
                None,
                None,
                need.request_bytes,
                lowest=need.lowest,
                span=need.span,
                shape=need.shape,
            ),
            now,
        )

    def on_watched(self, profile: Profile, seconds: float, now: float) -> None:
        """A good answer of a method that is new, or known to be slow at times."""
        name, paces = profile.method.name, self.executor.paces
        if paces.knows(name):
            usual = self.standings.hedge_delay(profile.method_class)
            paces.add(name, seconds, usual, now)
        profile.is_watched = paces.knows(name)

    def on_slow(self, try_: FirstTry, now: float) -> None:
        """A good answer that was held up, here or on its way."""
        log, call = self._endings.log, try_.call
        if now - try_.started > log.slow_seconds[call.need.method_class]:
            tried = Tried(try_.member.standing.name, try_.started, "first", now, _OK)
            is_private = call.need.private_only
            asked = OpenRequest(try_.request, try_.trace_id, try_.started, is_private=is_private)
            log.slow(asked, [tried])

    # ---- when the usual does not happen

    def promote(self, try_: FirstTry) -> Attempt:
        """Hand the attempt over to a plan, and to a task that drives it."""
        attempt = self._take_over(try_)
        try_.task = tasks.start(self._finish(try_, attempt.run), "promoted request")
        return attempt

    def give_up(self, try_: FirstTry) -> None:
        """Nobody waits for it any more."""
        self.executor.leave(self._take_over(try_).run)

    def _take_over(self, try_: FirstTry) -> Attempt:
        try_.is_over = try_.is_promoted = True
        try_.task = None
        call = try_.call
        policy = self._terms.policy_for(call, try_.profile)
        attempt = try_.attempt = self.executor.take_over(
            call, policy, try_.member, try_.id, try_.started
        )
        attempt.wire_call = try_.wire_call
        return attempt

    async def _finish(self, try_: FirstTry, run: PlanRun) -> None:
        read = OpenRead(try_.request, try_.profile, try_.call, try_, try_.started, try_.trace_id)
        try:
            answer = await self._endings.end(read, functools.partial(self.executor.finish, run))
        finally:
            # A cancelled task keeps this frame, and so ``read``, which knows the attempt: a cycle
            # that the collector does not see through, since it does not watch ``read``.
            try_.task = None
        if not try_.is_muted:
            try_.deliver(answer)
        elif answer.rest is not None:
            answer.rest.close()

    def _on_changes(self, changes: Sequence[Change]) -> None:
        """Do not wait for an upstream that is known to be dead."""
        for change in changes:
            if change.kind not in LEAVING:
                continue
            for tries in self._under_way:
                for try_ in tuple(tries):
                    standing = try_.member.standing
                    if not try_.is_over and standing.name == change.upstream:
                        self.promote(try_).run.plan.on_ejected(standing)

    # ---- time

    def _look(self, method_class: MethodClass, due: float, *, is_reread: bool = False) -> None:
        """Promote the attempts that have passed their hedge time."""
        now = self.now()
        self._timers[method_class] = None
        if now - due > LATE_LOOK_SECONDS and not is_reread:
            self._timers[method_class] = self._loop.call_later(
                REREAD_SECONDS, functools.partial(self._look, method_class, due, is_reread=True)
            )
            return
        tries = self._under_way[method_class]
        delay = self._terms.hedge_seconds(method_class)
        while tries:
            oldest = tries[0]
            due = oldest.started + delay
            if not oldest.is_over and due > now:
                self._look_at(method_class, due, now)
                return
            tries.popleft()
            if not oldest.is_over:
                self.executor.on_hedge_time(self.promote(oldest), now)

    def _look_at(self, method_class: MethodClass, due: float, now: float) -> None:
        delay = max(SHORTEST_LOOK_SECONDS, due - now)
        self._timers[method_class] = self._loop.call_later(
            delay, self._look, method_class, now + delay
        )

    def close(self) -> None:
        """Stop the clocks."""
        for timer in self._timers:
            if timer is not None:
                timer.cancel()
        self._timers = [None] * len(EXPRESS_CLASSES)
