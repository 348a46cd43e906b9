"""Carries out calls: drives the plan of each with a clock, sends through the edge, reports.

One per chain. State: attempts in flight by upstream, requests that wait for a recovery, requests
that fail everywhere, how each upstream failed last, the budgets; all written here alone.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from rpcproxy.chains.kind import Methods
from rpcproxy.clock import Clock
from rpcproxy.edges.logs import log_change
from rpcproxy.edges.metrics.metrics import ChainCounters
from rpcproxy.engine.attempts.attempts import Attempt, ChainMember, PlanRun, Settled, WireCall
from rpcproxy.engine.attempts.calls import Call
from rpcproxy.engine.attempts.doubts import Doubts
from rpcproxy.engine.attempts.hearings import Hearings
from rpcproxy.engine.attempts.lessons import is_poisonous, lessons
from rpcproxy.engine.attempts.lingering import Lingering
from rpcproxy.engine.attempts.tries import Notes
from rpcproxy.messages import (
    Blame,
    Failure,
    FailureKind,
    Judgement,
    MethodClass,
    Outcome,
    Reply,
    Verdict,
)
from rpcproxy.rules.requests.ends import lost
from rpcproxy.rules.requests.failover import Plan
from rpcproxy.rules.requests.lateness import Paces
from rpcproxy.rules.requests.poison import PoisonMemory
from rpcproxy.rules.requests.single_attempt import SingleAttempt
from rpcproxy.rules.requests.steps import MAX_ATTEMPTS, Budgets, Finish, Policy, Send, Wait
from rpcproxy.rules.standing.standings import Standing, Standings
from rpcproxy.states import LEAVING, RETURNING, Change
from rpcproxy.words import Observation, Word

__all__ = ["Attempt", "ChainMember", "Executor", "PlanRun", "Settled", "WireCall"]

_log = logging.getLogger("rpcproxy.upstreams")

TICK_SECONDS: Final = 0.05
# A timer that fires this late was held up by our own loop, not by the upstream: sockets are read
# once before anybody is blamed.
LATE_TIMER_SECONDS: Final = 0.02
REREAD_SECONDS: Final = 0.003
_UPSTREAMS_OWN: Final = (Blame.UPSTREAM, Blame.LIMIT, Blame.ACCESS)


class Executor:
    """See the module's docstring."""

    def __init__(  # noqa: PLR0913 -- what carrying out needs; nothing of it is made here
        self,
        members: Mapping[str, ChainMember],
        standings: Standings,
        budgets: Budgets,
        counters: ChainCounters,
        *,
        methods: Methods,
        chain_name: str,
        clock: Clock,
        rng: random.Random | None = None,
    ) -> None:
        self.members = members
        self.standings = standings
        self._budgets = budgets
        self.counters = counters
        self._chain_name = chain_name
        self._now, self._unix = clock.monotonic, clock.unix
        self.rng = rng or random.Random()
        self._loop = asyncio.get_running_loop()
        self.next_id = 1
        self.uncounted = 0
        self._in_flight: dict[str, set[Attempt]] = {name: set() for name in members}
        self.hearings = Hearings(standings, budgets.unanimous, methods)
        self.doubts = Doubts(standings, self._learn)
        self.doubts.on_dead = self._on_silent
        self.doubts.on_back = self._on_recovery
        self._lingering = Lingering(standings, self.doubts, self._end, self._learn)
        self.paces = Paces()
        self._waiting: set[PlanRun] = set()
        self._recovery_waiters: set[asyncio.Future[None]] = set()
        self.poison = PoisonMemory()
        self._last_failures: dict[str, Judgement] = {}
        self._ticker: asyncio.TimerHandle | None = None
        self._set_ticker(TICK_SECONDS)
        self.is_retired = self.is_followed = False
        self.listeners: list[Callable[[Sequence[Change]], None]] = []
        # Told who lacks what it has by its own word: its head may have moved to another chain.
        self.on_doubt: Callable[[str], None] = lambda _upstream: None

    # ---- one call, from begin to end

    async def run(
        self,
        call: Call,
        policy: Policy,
        exclude: Sequence[Standing] = (),
        earlier: tuple[Standing, Judgement] | None = None,
        asked: Mapping[str, int] | None = None,
        notes: Notes | None = None,
    ) -> Settled:
        """Carry out ``call``. Never raises but for cancellation; ends by the policy's deadline.

        ``earlier``: who was asked already, within a batch, and what came back. ``asked``: how
        many calls each upstream had for it before, that one apart.
        """
        now = self._now()
        self.uncounted += 1
        self._count_requests(now)
        plan = Plan(call.need, policy, self.standings, self._budgets, now, self.rng, asked)
        run = PlanRun(call, plan, policy, now, notes)
        if exclude:
            plan.exclude(exclude)
        if earlier is not None:
            plan.on_sent(earlier[0], now)
            topic = self.hearings.hear(run, *earlier, now, now)
            plan.on_judgement(*earlier, topic)
        return await self._drive(run, now)

    def take_over(
        self, call: Call, policy: Policy, member: ChainMember, first_id: int, started: float
    ) -> Attempt:
        """Make a run of an attempt that the express lane has sent; ``finish`` drives it."""
        self.uncounted += 1
        self._count_requests(started)
        plan = Plan(call.need, policy, self.standings, self._budgets, started, self.rng)
        plan.on_sent(member.standing, started)
        run = PlanRun(call, plan, policy, started)
        attempt = Attempt(self, run, member, first_id, started)
        run.attempts.append(attempt)
        self._in_flight[member.standing.name].add(attempt)
        return attempt

    async def finish(self, run: PlanRun) -> Settled:
        """Drive a run that was taken over."""
        return await self._drive(run, self._now())

    def _count_requests(self, now: float) -> None:
        """Budgets grow with the requests; the express lane counts its own in bulk."""
        count, self.uncounted = self.uncounted, 0
        self._budgets.retries.on_request(now, count)
        self._budgets.hedges.on_request(count)

    async def ask(
        self, call: Call, policy: Policy, standing: Standing, notes: Notes | None = None
    ) -> Settled:
        """One attempt, at this very upstream. Ends by the policy's deadline."""
        now = self._now()
        plan = SingleAttempt(standing, now + policy.attempt_seconds, now + policy.deadline_seconds)
        return await self._drive(PlanRun(call, plan, policy, now, notes), now)

    async def _drive(self, run: PlanRun, now: float) -> Settled:
        """Do what the plan says until it says that it is finished."""
        plan = run.plan
        try:
            while True:
                step = plan.decide(now)
                if isinstance(step, Send):
                    self._send(run, step, now)
                elif isinstance(step, Finish):
                    return self._settle(run, step)
                elif step.for_recovery and self.is_followed:
                    return self._settle(run, Finish(None, exhausted=True))
                else:
                    await self._sleep(run, step, now)
                    now = self._now()
        finally:
            if run.words:
                self._end_hearing(run)
            if run.attempts or run.winner is not None:
                self.leave(run)

    async def wait_for_recovery(self, seconds: float) -> bool:
        """Sleep until an upstream comes back, or for ``seconds``; whether one did."""
        waiter = self._loop.create_future()
        self._recovery_waiters.add(waiter)
        try:
            await asyncio.wait((waiter,), timeout=seconds)
        finally:
            self._recovery_waiters.discard(waiter)
        return waiter.done()

    async def _sleep(self, run: PlanRun, step: Wait, now: float) -> None:
        """Sleep until something happens to the run, or until the time."""
        waiter = run.waiter = self._loop.create_future()
        due = run.due = run.next_due(step.until)
        run.has_reread = False
        run.timer = self._loop.call_later(max(0.0, due - now), self._on_time, run)
        if step.for_recovery:
            self._waiting.add(run)
            self.counters.on_waited_for_recovery()
        try:
            await waiter
        finally:
            run.waiter = None
            run.timer.cancel()
            if step.for_recovery:
                self._waiting.discard(run)

    def _on_time(self, run: PlanRun) -> None:
        now = self._now()
        if now - run.due > LATE_TIMER_SECONDS and run.attempts and not run.has_reread:
            run.has_reread = True
            run.excuse(now - run.due)
            run.timer = self._loop.call_later(REREAD_SECONDS, self._on_time, run)
            return
        for attempt in tuple(run.attempts):
            if attempt.has_progressed():
                attempt.give_up_at = now + run.policy.attempt_seconds
                run.plan.on_progress(now)
            elif now >= attempt.give_up_at and not attempt.is_late:
                self._on_late(attempt, now)
            elif not attempt.is_overdue and run.plan.is_hedge_time(now):
                self.mark_overdue(attempt, now)
        run.wake()

    def on_hedge_time(self, attempt: Attempt, now: float) -> None:
        """An attempt of the express lane has taken longer than usual."""
        if attempt.has_progressed():
            attempt.run.plan.on_progress(now)
        elif attempt.run.plan.is_hedge_time(now):
            self.mark_overdue(attempt, now)

    def mark_overdue(self, attempt: Attempt, now: float) -> None:
        """It has passed its hedge time: while it hangs, others are preferred."""
        attempt.is_overdue = True
        self.doubts.on_overdue(attempt)
        self.standings.on_overdue(attempt.member.standing, attempt.call.need.method_class, now)

    def _send(self, run: PlanRun, step: Send, now: float) -> None:
        member = self.members[step.standing.name]
        call = run.call
        first_id = self.next_id
        self.next_id = first_id + call.size
        attempt = Attempt(self, run, member, first_id, now, step.reason)
        if len(run.attempts) >= MAX_ATTEMPTS:
            self._give_up_oldest(run, now)
        self.standings.on_sent(member.standing, now, call.size)
        run.plan.on_sent(member.standing, now)
        run.attempts.append(attempt)
        self._in_flight[member.standing.name].add(attempt)
        if step.reason == "hedge":
            attempt.is_hedge = True
            self.counters.on_hedge(member.standing.name)
        elif step.reason != "first":
            self.counters.on_failover(step.reason)
        attempt.wire_call = member.wire.send(
            call.payload(first_id, member.standing), attempt.on_outcome, gzip=call.is_large
        )

    def _settle(self, run: PlanRun, finish: Finish) -> Settled:
        # An attempt knows its run: this way round it would be a cycle that keeps the reply.
        winner, run.winner = run.winner, None
        if winner is not None and winner.is_hedge:
            self.counters.on_hedge_won(winner.member.standing.name)
        if run.plan.is_over_budget:
            self.counters.on_budget_exhausted()
        if run.plan.failures and is_poisonous(run, finish):
            self.poison.remember(run.call.poison_key, self._now())
        if run.won_seconds is not None:
            usual = self.standings.hedge_delay(run.call.need.method_class)
            self.paces.add(run.call.method.name, run.won_seconds, usual, self._now())
        return Settled(
            finish.judgement,
            winner.reply if winner is not None else None,
            winner.first_id if winner is not None else 0,
            finish.standing,
            finish.exhausted,
            run.plan.failures,
            self._now() - run.started,
            asked=run.plan.calls.counts,
            tried=run.notes.tried,
        )

    def leave(self, run: PlanRun) -> None:
        """The request is over; what is in flight lingers."""
        now = self._now()
        if run.words:
            self._end_hearing(run)
        winner, run.winner = run.winner, None
        if winner is not None and winner.reply is not None and winner.reply.rest is not None:
            winner.reply.rest.close()  # the client hung up just as the answer began to come
        for attempt in run.attempts:
            self._lingering.take(attempt, now)
        run.attempts = []

    # ---- one attempt

    def on_outcome(self, attempt: Attempt, outcome: Outcome) -> None:
        """The edge says how an attempt ended."""
        now = self._now()
        call = attempt.call
        judgement = call.judge(attempt.member.classifier, outcome, attempt.first_id, self._unix())
        judgement = call.held(judgement, attempt.member.standing, attempt.started)
        if attempt.is_lingering:
            self._lingering.discard(attempt)
            if type(outcome) is Reply and outcome.rest is not None:
                outcome.rest.close()
            self._end(attempt, judgement, now)
            if not attempt.is_counted:
                self._hear(attempt, judgement, now)
                self._end_hearing(attempt.run)
            return
        run = attempt.run
        run.attempts.remove(attempt)
        if type(outcome) is Reply:
            self.doubts.on_answer(attempt, judgement)
        self._end(attempt, judgement, now)
        topic = self._hear(attempt, judgement, now)
        run.plan.on_judgement(attempt.member.standing, judgement, topic)
        if type(outcome) is Reply:
            attempt.reply = outcome
            finish = run.plan.finish
            if finish is not None and finish.judgement is judgement:
                run.winner = attempt
                run.won_seconds = now - attempt.started
            elif outcome.rest is not None:
                outcome.rest.close()
        run.wake()

    def _on_late(self, attempt: Attempt, now: float) -> None:
        """Its time is up. It goes on while the request does: its answer may be the only one."""
        attempt.is_late = True
        if not attempt.is_overdue:
            self.mark_overdue(attempt, now)
        self.doubts.on_late(attempt, now)
        words = f"no answer in {now - attempt.started:.1f} s"
        judgement = lost(Failure(FailureKind.TIMEOUT, words))
        attempt.tried.on_word(judgement)
        attempt.run.plan.on_late(attempt.member.standing, judgement)

    def _give_up_oldest(self, run: PlanRun, now: float) -> None:
        """More than so many are not in flight for one request."""
        oldest = next((attempt for attempt in run.attempts if attempt.is_late), None)
        if oldest is not None:
            run.attempts.remove(oldest)
            self._end(oldest, lost(Failure(FailureKind.CANCELLED)), now)
            oldest.abandon()

    def _end(self, attempt: Attempt, judgement: Judgement, now: float) -> None:
        """An attempt is over: the counts come down, and what it taught goes up."""
        standing = attempt.member.standing
        attempt.tried.end(judgement, now)
        self._in_flight[standing.name].discard(attempt)
        self.standings.on_settled(standing)
        if attempt.is_overdue:
            self.standings.on_overdue_settled(standing, attempt.call.need.method_class)
        verdict, seconds, charge = judgement.verdict, now - attempt.started, attempt.call.charge
        if attempt.is_counted and (verdict is Verdict.CANCELLED or verdict.blame is Blame.UPSTREAM):
            # Its failure is known; how it came to its end is no second one.
            label = Verdict.TIMEOUT if attempt.is_late else Verdict.OVERTAKEN
            self.counters.on_attempt(standing.name, label, seconds, charge)
            return
        self.counters.on_attempt(standing.name, verdict, seconds, charge)
        if verdict is not Verdict.CANCELLED:
            self._learn(attempt, judgement, now)

    def _learn(self, attempt: Attempt, judgement: Judgement, now: float) -> None:
        for observation in lessons(attempt, judgement, now):
            self.observe(observation, now)

    def _hear(self, attempt: Attempt, judgement: Judgement, now: float) -> str:
        """What is a word about the request waits for the end of its run; its topic, or none."""
        whose = attempt.member.standing
        return self.hearings.hear(attempt.run, whose, judgement, attempt.started, now)

    def _end_hearing(self, run: PlanRun) -> None:
        """How the run ended says what the words meant that came in it."""
        now = self._now()
        for observation in self.hearings.end(run, now):
            self.observe(observation, now)

    def observe(self, word: Word, now: float) -> Sequence[Change]:
        """Hand a word to the standings, and act on what changed, which is returned."""
        if isinstance(word, Observation) and word.verdict.blame in _UPSTREAMS_OWN:
            self._last_failures[word.upstream] = Judgement(word.verdict)
        changes = self.standings.observe(word, now)
        if changes:
            self.on_changes(changes)
        return changes

    def failures_of_unusable(self) -> Sequence[tuple[str, Judgement]]:
        """How each upstream that cannot be asked now has failed last, probes included."""
        usable = {standing.name for standing in self.standings.usable(MethodClass.LIGHT)}
        return [known for known in self._last_failures.items() if known[0] not in usable]

    def on_changes(self, changes: Sequence[Change]) -> None:
        """Tell people, requests under way, and the listeners."""
        now = self._now()
        for change in changes:
            if not self.is_retired:
                self.counters.on_change(change)
                log_change(_log, self._chain_name, change, now)
            if change.kind in LEAVING:
                self._on_ejected(change.upstream)
            elif change.kind in RETURNING:
                self._on_recovery(change.upstream)
        for listener in self.listeners:
            listener(changes)

    def _on_ejected(self, upstream: str) -> None:
        member = self.members.get(upstream)
        if member is None:
            return
        member.wire.drop_idle()
        self._on_silent(upstream, self._now())

    def _on_silent(self, upstream: str, since: float) -> None:
        """Nothing comes back from it: whoever waits for it asks another."""
        for attempt in tuple(self._in_flight[upstream]):
            if attempt.started <= since and not attempt.is_lingering:
                attempt.run.plan.on_ejected(attempt.member.standing)
                attempt.run.wake()

    def _on_recovery(self, upstream: str) -> None:
        member = self.members.get(upstream)
        runs = set(self._waiting)
        for attempts in self._in_flight.values():
            runs.update(a.run for a in attempts if a.is_overdue and not a.is_lingering)
        for run in runs:
            run.plan.on_recovery(member.standing if member is not None else None)
            run.wake()
        for waiter in self._recovery_waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _set_ticker(self, seconds: float) -> None:
        self._tick_due = self._now() + seconds
        self._ticker = self._loop.call_later(seconds, self._tick)

    def _tick(self) -> None:
        now = self._now()
        late_seconds = now - self._tick_due
        is_late = late_seconds > LATE_TIMER_SECONDS
        self._set_ticker(TICK_SECONDS)
        if self.is_retired and not self._is_working():
            return  # many reloads leave many of these for a minute
        changes = self.standings.tick(now)
        if changes:
            self.on_changes(changes)
        if is_late:
            self.doubts.excuse(late_seconds)
        elif self.doubts:
            self.doubts.settle(now)
        if self._lingering and is_late:
            self._loop.call_later(REREAD_SECONDS, self._sweep)
        elif self._lingering:
            self._sweep()
        if self.uncounted:
            self._count_requests(now)

    def _is_working(self) -> bool:
        waited_for = self._lingering, self._waiting, self._recovery_waiters
        return any((*waited_for, *self._in_flight.values()))

    def _sweep(self) -> None:
        self._lingering.sweep(self._now())

    def retire(self, *, is_followed: bool = False) -> None:
        """Another has taken over and tells people what changes; this one goes on, in silence, for
        its requests. Where those may go on there (``is_followed``) none waits here for an upstream.
        """
        self.is_retired, self.is_followed = True, is_followed
        for run in self._waiting if is_followed else ():
            run.wake()

    def close(self) -> None:
        """Stop the clock and give up what is in flight."""
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        for attempts in self._in_flight.values():
            for attempt in tuple(attempts):
                attempt.abandon()
        self._lingering.clear()
