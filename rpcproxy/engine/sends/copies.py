"""Copies of one transaction to several upstreams on distinct fault domains, until one says yes
or the ballot says no.

State: the copies under way, which may outlive the answer.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from rpcproxy.chains.parts.inquiries import Question
from rpcproxy.chains.parts.transactions import Sends
from rpcproxy.clock import Clock
from rpcproxy.engine import tasks
from rpcproxy.engine.attempts.attempts import Settled
from rpcproxy.engine.attempts.calls import SingleCall
from rpcproxy.engine.attempts.executor import Executor
from rpcproxy.engine.attempts.tries import Notes
from rpcproxy.engine.sends.denials import NOT_SENT
from rpcproxy.engine.sends.send_orders import SendOrder, SendOutcome
from rpcproxy.messages import Blame, Judgement, MethodClass, Verdict
from rpcproxy.reasons import Reason
from rpcproxy.rules.answers.outage import outage_reason, shown_error
from rpcproxy.rules.requests.calls_made import CallsMade
from rpcproxy.rules.requests.steps import YOUNG_OUTAGE_SECONDS, Policy
from rpcproxy.rules.sends.ballot import SendTally
from rpcproxy.rules.standing.selection import Need
from rpcproxy.rules.standing.standings import Standing

RECHECK_SECONDS: Final = 0.25
SHORTEST_PATIENCE_SECONDS: Final = 0.25
LONGEST_RECHECK_SECONDS: Final = 2.0
# After these the upstream may have taken the transaction, though it never said so: the request
# arrived, and what came back was no answer to it.
MAY_HAVE_TAKEN: Final = frozenset(
    {
        *(Verdict.TIMEOUT, Verdict.BROKEN, Verdict.OVERTAKEN, Verdict.CANCELLED),
        *(Verdict.SERVER_ERROR, Verdict.NOT_JSON, Verdict.EMPTY, Verdict.WRONG_ID),
        *(Verdict.BAD_RESULT, Verdict.UNKNOWN),
    }
)
# Refusals that may be said of the very transaction that is in the pool, or has just been mined:
# Besu looks at the balance first, which it has spent by then.
MAY_BE_OF_ITSELF: Final = frozenset(
    {Verdict.SEND_POLICY, Verdict.INSUFFICIENT_FUNDS, Verdict.NONCE_TOO_LOW}
)
# How long an upstream is asked whether it has what it was sent, when its error leaves that open.
SIGHTING_SECONDS: Final = 1.0


async def _nowhere(_: str) -> bool:
    return False


_STILL_OUT: Final = Judgement(Verdict.TIMEOUT)
OnSaid = Callable[[str, str, Judgement], None]
_Copy = asyncio.Task[tuple[Standing, Judgement]]


class Copies:
    """See the module's docstring. ``on_said`` is told what each upstream said of which hash."""

    def __init__(  # noqa: PLR0913 -- what copies need; nothing of it is made here
        self,
        executor: Executor,
        sends: Sends,
        *,
        chain_name: str,
        public_names: Mapping[str, str],
        policies: Mapping[MethodClass, Policy],
        on_said: OnSaid,
        clock: Clock,
    ) -> None:
        self._executor = executor
        self._look_ups = sends.look_ups
        self._result_of = sends.result_of
        self._foreign = sends.foreign
        self._now = clock.monotonic
        self._chain_name = chain_name
        self._public_names = public_names
        self._policy = policies[MethodClass.SEND]
        self._read_policy = policies[MethodClass.LIGHT]
        self._on_said = on_said
        self._rng = random.Random()
        self._under_way: dict[_Copy, Standing] = {}
        # Whether a private transaction is in a block, asked without its hash.
        self.is_mined_quietly: Callable[[str], Awaitable[bool]] = _nowhere

    def close(self) -> None:
        """The upstreams' connections are about to close: wait for no more answers."""
        for copy in self._under_way:
            copy.cancel()

    async def send(self, order: SendOrder) -> SendOutcome:
        """Ask ``copies`` at once, then others while nobody said yes and it makes sense. What is
        still under way at the end goes on by itself.
        """
        tally = SendTally()
        need = need_of(order)
        call = SingleCall(order.method, need, order.params)
        deadline = self._now() + self._policy.deadline_seconds
        next_copy_at = math.inf
        again_at = deadline
        recheck_seconds = RECHECK_SECONDS
        made = CallsMade(self._executor.standings, None)
        looked = 0  # so many failures were held against what their upstreams show
        asked: list[Standing] = []  # of this round
        running: set[_Copy] = set()
        while (now := self._now()) < deadline:
            if order.is_overtaken():
                break
            is_last = not running and tally.lasting is not None
            candidate = self._pick(need, [*asked, *made.spent], now, is_last=is_last)
            if tally.is_over(now, can_ask_more=candidate is not None):
                break
            if candidate is not None and (len(running) < order.copies or now >= next_copy_at):
                again_at = now + self._policy.attempt_seconds
                next_copy_at = again_at
                if order.copies > 1:
                    next_copy_at = now + self._patience_seconds()
                    if not asked:
                        running |= self._to_senders(call, order, tally, made, asked, candidate)
                asked.append(candidate)
                running.add(self._start(call, candidate, order, tally, made))
                continue
            if not running:
                # A copy begun in the last moment would leave open whether it was sent.
                if not self._is_young_outage(now) or deadline - now < 2 * RECHECK_SECONDS:
                    break
                if len(tally.failures) > looked and await self._is_out(order, tally, made):
                    return SendOutcome(result=self._result_of(order.hash))
                looked = len(tally.failures)
                has_recovered = await self._has_recovered(recheck_seconds, tally, made)
                # Who refused all of it is not asked in a hurry.
                recheck_seconds = min(LONGEST_RECHECK_SECONDS, 2 * recheck_seconds)
                asked = [] if has_recovered else self._kept(made, deadline, recheck_seconds)
                # Waiting did not help: an upstream out of favour is better than none.
                need = msgspec.structs.replace(need, last_resort=not has_recovered)
                continue
            if candidate is None and now >= again_at:
                # All are late: what they have may be on its way, or lost. Both are left to run.
                again_at = now + self._policy.attempt_seconds
                asked.clear()
                continue
            until = deadline if candidate is None else min(deadline, next_copy_at)
            done, running = await asyncio.wait(
                running,
                timeout=min(RECHECK_SECONDS, until - now),
                return_when=asyncio.FIRST_COMPLETED,
            )
            for copy in done:
                self._count(tally, made, order, *copy.result())
        silent = [self._under_way.get(copy) for copy in running]
        tally.failures += [(each.name, _STILL_OUT) for each in silent if each is not None]
        outcome = self._conclude(tally, order.hash, still_out=len(running))
        if not outcome.result and await self._is_out(order, tally, made):
            return SendOutcome(result=self._result_of(order.hash))
        return outcome

    def _pick(
        self, need: Need, tried: Sequence[Standing], now: float, *, is_last: bool
    ) -> Standing | None:
        """Who is asked next. Before "nobody has that method" is the answer (``is_last``), those out
        of favour are asked as well: they may take it.
        """
        standings = self._executor.standings
        candidate = standings.pick(need, tried, now, self._rng)
        if candidate is None and is_last and not need.last_resort:
            need = msgspec.structs.replace(need, last_resort=True)
            candidate = standings.pick(need, tried, now, self._rng)
        return candidate

    async def _has_recovered(self, seconds: float, tally: SendTally, made: CallsMade) -> bool:
        """Whether an upstream came back within so long."""
        has_recovered = await self._executor.wait_for_recovery(seconds)
        for standing in made.spent if has_recovered else ():
            made.on_recovery(standing, tally.failures)
        return has_recovered

    def _kept(self, made: CallsMade, deadline: float, recheck_seconds: float) -> list[Standing]:
        """Those whose last call is left for the case that something recovers, or for the end."""
        if deadline - self._now() < 2 * RECHECK_SECONDS + recheck_seconds:
            return []
        return [*made.nearly_spent(self._executor.standings)]

    def _to_senders(
        self,
        call: SingleCall,
        order: SendOrder,
        tally: SendTally,
        made: CallsMade,
        asked: list[Standing],
        first: Standing,
    ) -> set[_Copy]:
        """Upstreams that are there for sends alone (builders, relays) get every one."""
        senders = [
            standing
            for standing in self._executor.standings.usable(MethodClass.SEND)
            if standing.role == "sends"
            and standing is not first
            and standing not in made.spent
            and not standing.is_cordoned
            and (standing.private or not order.is_private)
        ]
        asked += senders
        return {self._start(call, standing, order, tally, made) for standing in senders}

    def _start(
        self,
        call: SingleCall,
        standing: Standing,
        order: SendOrder,
        tally: SendTally,
        made: CallsMade,
    ) -> _Copy:
        notes = order.notes.because(_why(order, tally))
        tally.on_asked()
        made.on_sent(standing)
        copy = tasks.start(self.ask(call, standing, order.hash, notes=notes), "send attempt")
        self._under_way[copy] = standing
        copy.add_done_callback(self._under_way.pop)
        return copy

    async def ask(
        self,
        call: SingleCall,
        standing: Standing,
        hash: str,
        *,
        is_first: bool = True,
        notes: Notes | None = None,
    ) -> tuple[Standing, Judgement]:
        """One copy to one upstream. "Nonce too low" is a yes to the first ones when this very
        transaction is known anywhere: it was mined in the meantime. "Reverted" is a yes where that
        upstream shows it: development nodes (hardhat 2.29.1, ganache) mine it and give an error.
        """
        settled = await self._executor.ask(call, self._policy, standing, notes)
        settled.close()
        judgement = settled.judgement or Judgement(Verdict.CANCELLED)
        is_private = call.need.private_only
        if (
            judgement.verdict is Verdict.NONCE_TOO_LOW
            and hash
            and is_first
            and await self._is_known(hash, is_private=is_private)
        ):
            judgement = Judgement(Verdict.ALREADY_KNOWN, error=judgement.error)
        if judgement.verdict is Verdict.REVERTED and hash and await self._shows(standing, hash):
            judgement = Judgement(Verdict.ALREADY_KNOWN, error=judgement.error)
        if hash:
            self._on_said(hash, standing.name, judgement)
        return standing, judgement

    async def _is_known(self, hash: str, *, is_private: bool) -> bool:
        if is_private:
            try:
                async with asyncio.timeout(self._read_policy.deadline_seconds):
                    return await self.is_mined_quietly(hash)
            except TimeoutError:
                return False
        settled = await self.look_up(self._look_ups.transaction(hash))
        judgement = settled.judgement
        return judgement is not None and judgement.verdict is Verdict.OK

    async def _is_out(self, order: SendOrder, tally: SendTally, made: CallsMade) -> bool:
        """Before an error goes out, or all are asked anew: whether one of those whose words leave
        it open shows the transaction. Nobody is asked who was not sent it, nor who is still silent
        where another has said no.
        """
        if not order.hash:
            return False
        refused = tally.rejection
        names = {name for name, failed in tally.failures if failed.verdict in MAY_HAVE_TAKEN}
        if refused is not None:
            if refused.verdict in MAY_BE_OF_ITSELF:
                names.update(name for name, count in made.counts.items() if count > 0)
            names -= {name for name, failed in tally.failures if failed is _STILL_OUT}
        doubtful = [each for each in self._executor.standings if each.name in names]
        shown = await asyncio.gather(*[self._shows(each, order.hash) for each in doubtful])
        for standing, is_shown in zip(doubtful, shown, strict=True):
            if is_shown:
                self._on_said(order.hash, standing.name, Judgement(Verdict.ALREADY_KNOWN))
        return any(shown)

    async def _shows(self, standing: Standing, hash: str) -> bool:
        """Whether this very upstream, which was sent the transaction, has it."""
        question = self._look_ups.transaction(hash)
        policy = msgspec.structs.replace(
            self._read_policy, attempt_seconds=SIGHTING_SECONDS, deadline_seconds=SIGHTING_SECONDS
        )
        settled = await self._executor.ask(_look_up_of(question), policy, standing)
        settled.close()
        judgement = settled.judgement
        return judgement is not None and judgement.verdict is Verdict.OK

    async def look_up(self, question: Question[Any], seconds: float = math.inf) -> Settled:
        """What is known of a transaction; anybody is asked, for so long at most."""
        policy = msgspec.structs.replace(
            self._read_policy,
            confirm_nulls=True,
            deadline_seconds=min(seconds, self._read_policy.deadline_seconds),
        )
        settled = await self._executor.run(_look_up_of(question), policy)
        settled.close()
        return settled

    def _patience_seconds(self) -> float:
        """How long all copies may be silent before another upstream gets one: they may hang."""
        return max(
            SHORTEST_PATIENCE_SECONDS, self._executor.standings.hedge_delay(MethodClass.SEND)
        )

    def _is_young_outage(self, now: float) -> bool:
        since = self._executor.standings.outage_since(MethodClass.SEND)
        is_young = since is None or now - since < YOUNG_OUTAGE_SECONDS
        return is_young and not self._executor.is_followed

    def _count(
        self,
        tally: SendTally,
        made: CallsMade,
        order: SendOrder,
        standing: Standing,
        judgement: Judgement,
    ) -> None:
        made.on_failure(standing, judgement.verdict)
        tally.on_judgement(
            standing.name,
            judgement,
            self._now(),
            is_at_head=not standing.is_stale,
            is_believed=standing.role != "sends" and not self._lacks_hash(order, judgement),
        )

    def _lacks_hash(self, order: SendOrder, judgement: Judgement) -> bool:
        """Whether it is said to be known, and not as what."""
        if not order.wants_hash or judgement.verdict is not Verdict.ALREADY_KNOWN:
            return False
        return self._foreign is None or not self._foreign.named_in(judgement.error or b"").only

    def _conclude(self, tally: SendTally, hash: str, *, still_out: int) -> SendOutcome:
        accepted = tally.accepted or tally.accepted_alone
        if accepted is not None:
            if hash:
                return SendOutcome(result=self._result_of(hash))
            result, error = bytes(accepted.result or b""), bytes(accepted.error or b"")
            return SendOutcome(result, error, verdict=None if result else accepted.verdict)
        rejection = tally.rejection or tally.weak or tally.lasting
        if rejection is not None and rejection.error is not None:
            error = bytes(shown_error(rejection) or b"")
            return SendOutcome(error=error, verdict=rejection.verdict)
        for _, failed in tally.failures:
            if failed.error is not None and failed.verdict.blame in (Blame.UPSTREAM, Blame.NOBODY):
                error = bytes(shown_error(failed) or b"")
                return SendOutcome(error=error, verdict=failed.verdict)
        unsure = still_out or any(f.verdict in MAY_HAVE_TAKEN for _, f in tally.failures)
        fate = "it may or may not have been sent" if unsure else NOT_SENT
        since = self._executor.standings.outage_since(MethodClass.SEND)
        seconds = None if since is None else self._now() - since
        standings = self._executor.standings
        drained = [each.name for each in standings if each.is_drained]
        told = seconds, len(standings), drained, self._public_names
        why = outage_reason(self._chain_name, tally.failures, *told)
        # Operators want to know of those that were not even asked, too.
        known = (*self._executor.failures_of_unusable(), *tally.failures)
        detail = outage_reason(self._chain_name, known, *told).detail
        return SendOutcome(reason=Reason(f"{fate}: {why.public}", f"{fate}: {detail}"))


def _why(order: SendOrder, tally: SendTally) -> str:
    """Why one more copy is made: as one of several at once, after a failure, or because those that
    have one are silent.
    """
    if not tally.asked:
        return "first"
    if tally.asked < order.copies and not tally.failures:
        return "copy"
    return tally.failures[-1][1].verdict.label if tally.failures else "hedge"


def need_of(order: SendOrder) -> Need:
    """What an upstream must be to get a copy."""
    return Need(
        MethodClass.SEND,
        order.method.name,
        for_send=True,
        private_only=order.is_private,
        last_resort=False,
    )


def _look_up_of(question: Question[Any]) -> SingleCall:
    need = Need(question.method_class, question.method.name, last_resort=False)
    return SingleCall(question.method, need, question.params)
