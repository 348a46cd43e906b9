"""The plan of one request: whom to ask, when to ask another, what to give.

A state machine without IO. The executor tells it what happened (``on_sent``,
``on_judgement``, ``on_late``, ``on_ejected``, ``on_recovery``) and asks ``decide(now)`` what to
do next: ``Send`` to an upstream, ``Wait`` until a time, or ``Finish``. It never sleeps, and never
sends.

Choices (why: pages 11 to 13 of docs/decisions):

- the first attempt goes to whom selection picks; every further one to another fault domain first;
- a *hedge* is a second copy after the class's usual time (The Tail at Scale);
- an attempt that is *late*, past its time, is followed by a retry and goes on beside it: what it
  brings until the deadline counts, and those that hold one are asked again last, after as long;
- a *retry* follows a failed attempt. The second attempt is always granted, since a wallet must
  not see an error while anybody can serve; from the third on retries pay from the budget, and
  where it is empty those who were not asked yet are asked after a pause;
- the need that a plan begins with excludes the ejected (``last_resort=False``): one that is known
  to be dead is asked only after a pause that brought no recovery;
- an error in an upstream's own words is the answer as soon as all have spoken that can be asked,
  or two have whose like was said by all lately (``rules.requests.refusals``);
- when nobody is left to ask, the request waits for a recovery until its deadline, or for at most
  a second where the outage is old;
- no upstream gets more than three calls for one request, whatever happens (sends have no plan:
  ``engine.sends.copies``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from rpcproxy.messages import Blame, Judgement, Retry, Verdict
from rpcproxy.rules.requests import lateness
from rpcproxy.rules.requests.calls_made import CallsMade, has_lost
from rpcproxy.rules.requests.ends import is_own_word, rank
from rpcproxy.rules.requests.lateness import in_doubt
from rpcproxy.rules.requests.refusals import ACCESS, LASTING, LIMITS, Hearing, is_word
from rpcproxy.rules.requests.steps import (
    MAX_ATTEMPTS,
    PROGRESS_SECONDS,
    YOUNG_OUTAGE_SECONDS,
    Budgets,
    Finish,
    Policy,
    Send,
    Step,
    Wait,
)
from rpcproxy.rules.standing.selection import Need, Rng
from rpcproxy.rules.standing.standings import Standing, Standings

LAST_RESORT_SECONDS: Final = 0.25  # between two last resorts to one upstream
OLD_OUTAGE_WAIT_SECONDS: Final = 0.8  # older ones are answered within a second
# Pauses between rounds when everybody failed: full jitter under a doubling cap.
FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 0.8


class Plan:
    """One per request. State: what was tried, what is in flight, the best answer so far."""

    __slots__ = (
        "_best",
        "_best_standing",
        "_budgets",
        "_hedge_at",
        "_is_raised",
        "_is_rescue",
        "_last_reason",
        "_late",
        "_live",
        "_longest",
        "_must_hedge",
        "_need",
        "_null_at",
        "_null_seen",
        "_pauses",
        "_policy",
        "_resume_at",
        "_rng",
        "_standings",
        "_tried",
        "calls",
        "deadline",
        "failures",
        "finish",
        "hearing",
        "is_over_budget",
        "sent",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - what a plan is made of, and nothing twice
        self,
        need: Need,
        policy: Policy,
        standings: Standings,
        budgets: Budgets,
        now: float,
        rng: Rng,
        asked: Mapping[str, int] | None = None,
    ) -> None:
        """``asked``: how many calls each upstream had for this request before."""
        self._need = need
        self._policy = policy
        self._standings = standings
        self._budgets = budgets
        self._rng = rng
        self.deadline = now + policy.deadline_seconds
        self._longest = now + lateness.ARRIVAL_FACTOR * policy.deadline_seconds
        self.sent = 0
        self.failures: list[tuple[str, Judgement]] = []
        self.finish: Finish | None = None
        self.is_over_budget = False  # a retry was refused
        self.hearing = Hearing()
        self.calls = CallsMade(standings, asked)
        self._tried: tuple[Standing, ...] = ()
        self._live: tuple[Standing, ...] = ()
        self._late: tuple[Standing, ...] = ()  # asked as well, and past their time
        self._hedge_at = 0.0
        self._must_hedge = False
        self._is_rescue = False
        self._last_reason = "first"
        self._best: Judgement | None = None
        self._best_standing: Standing | None = None
        self._null_seen = False
        self._null_at = -1  # the served head when the null came
        self._is_raised = False  # ``_need`` asks for the head of one that answered
        self._resume_at = 0.0
        self._pauses = 0

    # ---- what happened

    def exclude(self, standings: Sequence[Standing]) -> None:
        """These have failed this request already; they are asked last."""
        self._tried = (*self._tried, *standings)

    def on_sent(self, standing: Standing, now: float) -> None:
        self.sent += 1
        self.calls.on_sent(standing)
        self._tried = (*self._tried, standing)
        self._live = (*self._live, standing)
        if len(self._live) + len(self._late) > MAX_ATTEMPTS:
            self._late = self._late[1:]  # in doubt: the executor gives it up
        self._must_hedge = self._is_rescue = False
        fixed = self._policy.hedge_seconds
        delay = self._standings.hedge_delay(self._need.method_class) if fixed is None else fixed
        self._hedge_at = now + delay

    def on_progress(self, now: float) -> None:
        """A large reply is arriving well: a second copy would only cost, and it is not cut."""
        self._hedge_at = now + self._standings.hedge_delay(self._need.method_class)
        self.deadline = max(self.deadline, min(self._longest, now + PROGRESS_SECONDS))

    def on_late(self, standing: Standing, judgement: Judgement) -> None:
        """An attempt is past its time, and goes on: another is asked beside it."""
        self._live = but_one(self._live, standing)
        self._late = (*self._late, standing)
        if self.finish is None:
            self._on_failure(standing, judgement)

    def on_ejected(self, standing: Standing) -> None:
        """An upstream with an attempt of ours is known to be dead: do not wait for it."""
        if standing in self._live:
            self._must_hedge = True

    def on_judgement(self, standing: Standing, judgement: Judgement, topic: str = "") -> None:
        """An attempt came to its end, whatever the end was. ``topic``: ``refusals.topic_of``."""
        live = self._live
        # The first line is the common case, at half the cost.
        if len(live) == 1 and live[0] is standing:
            self._live = ()
        elif standing in live:
            self._live = but_one(live, standing)
        else:
            self._late = but_one(self._late, standing)
        if self.finish is not None:
            return
        verdict = judgement.verdict
        retry = verdict.retry
        if verdict is Verdict.MISREAD:  # it may be asked in another way
            self._tried = tuple(other for other in self._tried if other is not standing)
            return
        if is_word(judgement):
            self._must_hedge = bool(self._live)  # it is not slowness that others are asked for
        if verdict is Verdict.INVALID_PARAMS:  # another may take them
            self.hearing.on_judgement(standing.name, judgement, topic)
            self._keep(standing, judgement)
            self._last_reason = verdict.label
            return
        if retry is Retry.NO and verdict is not Verdict.CANCELLED:
            self.finish = Finish(judgement, standing)
            return
        if retry is Retry.CONFIRM:
            self._on_null(standing, judgement)
            return
        self._on_failure(standing, judgement, topic)

    def _on_failure(self, standing: Standing, judgement: Judgement, topic: str = "") -> None:
        verdict = judgement.verdict
        self.hearing.on_judgement(standing.name, judgement, topic)
        self.failures.append((standing.name, judgement))
        self.calls.on_failure(standing, verdict)
        self._keep(standing, judgement)
        self._last_reason = verdict.label
        # What is missing far down is had from a deeper one, however high that is.
        if verdict.retry is Retry.HIGHER and self._need.lowest < 0:
            self._ask_as_high_as(standing)
        # A limit or a refused key says nothing about the request: that one goes on elsewhere.
        if self._policy.single_attempt and is_own_word(judgement):
            self.finish = Finish(judgement, standing)

    def _on_null(self, standing: Standing, judgement: Judgement) -> None:
        must_confirm = self._policy.confirm_nulls or judgement.verdict is Verdict.DOUBTED
        if self._null_seen or not must_confirm:
            self.finish = Finish(judgement, standing)
            return
        self._null_seen = True
        self._null_at = self._standings.heads.served
        self._keep(standing, judgement)
        self._last_reason = judgement.verdict.label
        self._ask_as_high_as(standing)

    def _ask_as_high_as(self, standing: Standing) -> None:
        """Whoever is behind ``standing`` knows no more than it does."""
        if standing.head is not None and standing.head.number > self._need.block:
            self._need = msgspec.structs.replace(self._need, block=standing.head.number)
            self._is_raised = True

    def _keep(self, standing: Standing, judgement: Judgement) -> None:
        if self._best is None or rank(judgement) > rank(self._best):
            self._best = judgement
            self._best_standing = standing

    # ---- what to do

    def is_hedge_time(self, now: float) -> bool:
        """Whether what is in flight has taken longer than usual."""
        return now >= self._hedge_at

    def decide(self, now: float) -> Step:
        """The next step. After ``Send`` the caller sends, says ``on_sent`` and asks again."""
        if self.finish is not None:
            return self.finish
        if now >= self.deadline:
            return self._give_up()
        if self._live:
            if self._is_known(now):
                self.finish = Finish(self._best, self._best_standing)
                return self.finish
            return self._while_waiting(now)
        if now < self._resume_at:
            return Wait(min(self._resume_at, self.deadline), for_recovery=True)
        return self._ask_next(now)

    def _while_waiting(self, now: float) -> Step:
        """An attempt is in flight: hedge it, or wait."""
        if now < self._hedge_at and not self._must_hedge:
            return Wait(min(self._hedge_at, self.deadline))
        if self._may_copy():
            standing = self._pick(self._need, now)
            if standing is not None and self._may_hedge(now):
                return Send(standing, "hedge")
        self._must_hedge = self._is_rescue = False
        self._hedge_at = now + self._standings.hedge_delay(self._need.method_class)
        return Wait(min(self._hedge_at, self.deadline))

    def _may_copy(self) -> bool:
        """Whether a second copy makes sense, whatever it costs."""
        policy = self._policy
        if not policy.can_hedge or policy.single_attempt or self._is_full():
            return False
        return not policy.copies_need_doubt or self._must_hedge or any(map(in_doubt, self._live))

    def _may_hedge(self, now: float) -> bool:
        """A hedge against a single slow answer pays from the small allowance; one against an
        upstream that shows signs of failing pays from the retry budget as well. Nothing is paid
        after a recovery: with the budgets spent in the outage it would be of no use.
        """
        if self._is_rescue:
            return True
        if self._must_hedge or any(self._is_failing(live) for live in self._live):
            return self._budgets.hedges.take() or self._pay(now)
        return self._budgets.hedges.take()

    def _pay(self, now: float) -> bool:
        """Take one retry from the budget."""
        if self._budgets.retries.take(now):
            return True
        self.is_over_budget = True
        return False

    def _is_failing(self, standing: Standing) -> bool:
        """More than one slow answer speaks against it: that is no usual spread."""
        record = standing.classes[self._need.method_class]
        return (
            record.overdue > 1
            or record.is_doubtful
            or record.breaker.is_open
            or standing.is_suspect
        )

    def _ask_next(self, now: float) -> Step:
        """Nothing is in flight: ask another, give what there is, or wait for better times."""
        if self._is_null_old():
            self._ask_anew()
        final = None if self._best is None else self._final_without_asking()
        if final is not None and self._is_known(now):
            self.finish = final
            return final
        is_enough = self._policy.single_attempt or len(self._late) >= MAX_ATTEMPTS
        if self._late and is_enough and self._may_late_answer():
            return Wait(self.deadline)
        standing = self._pick(self._need, now)
        if standing is None and self._late and self._pauses and self._tried == self._late:
            # Nobody else is left: what one of them has of ours may be lost.
            standing = self._standings.pick(self._need, self.calls.spent, now, self._rng)
        if standing is None and self._is_raised:
            standing = self._at_served_head(now)
        if standing is None:
            standing = self._excluded_by_method(now)
        if standing is None and self._is_refused_by_all(final, now):
            standing = self._last_resort(now, self._tried)
            if standing is None and self._pauses <= 1:
                final = None  # in a moment another may be there to ask
        elif standing is None and self._pauses and not self._tried:
            standing = self._last_resort(now)
        if standing is None or self._is_round_over():
            if final is not None and self._may_late_do_better(final):
                return Wait(self.deadline)
            if standing is None:
                self._tried = self._late
                if final is None and self._is_spent(now):
                    if self._may_late_answer():
                        return Wait(self.deadline)
                    self.finish = self._give_up()
                    return self.finish
            self.finish = final
            return final or self._pause(now)
        if self.sent >= 2 and not self._pay(now):
            return self._pause(now)
        if self.sent == 1 and not self._null_seen:
            self._pay(now)  # counted, never refused
        return Send(standing, self._last_reason)

    def _pick(self, need: Need, now: float) -> Standing | None:
        """Who is asked next: nobody twice in a round, nobody more than a few times in all."""
        spent = self.calls.spent
        tried = (*self._tried, *spent) if spent else self._tried
        return self._standings.pick(need, tried, now, self._rng)

    def _is_round_over(self) -> bool:
        """Whether enough were asked for now. What another may take all are asked for."""
        best = self._best
        is_refused = best is not None and best.verdict in LASTING and is_word(best)
        return self.sent >= MAX_ATTEMPTS and not is_refused

    def _is_known(self, now: float) -> bool:
        """Whether all that could be asked are known to say what was said now: lately they did."""
        best, speaker = self._best, self._best_standing
        if best is None or speaker is None or not is_word(best):
            return False
        names = self.hearing.known_by(speaker.name, best, self._budgets.unanimous, now)
        if not names:
            return False
        silent = (*self._live, *self._late)
        heard = [standing for standing in self._tried if standing not in silent]
        usable = self._standings.usable(self._need.method_class)
        return all(other.name in names or other in heard for other in (*usable, *self._live))

    def _is_refused_by_all(self, final: Finish | None, now: float) -> bool:
        """Whether all that are well refused it as out of their plan or above their limit, or the
        only one failed at it by an error of its own: one that is out of favour may take it.
        """
        if final is None or final.judgement is None:
            return False
        verdict, said = final.judgement.verdict, self.hearing.said
        if verdict in (*LIMITS, *ACCESS) or (verdict is Verdict.SERVER_ERROR and len(said) == 1):
            return self._out_of_favour(self._tried, now) is not None
        return False

    def _is_spent(self, now: float) -> bool:
        """Whether nobody may be asked once more, whatever comes back."""
        spent = self.calls.spent
        if not spent or self._out_of_favour(spent, now) is not None:
            return False
        return not any(has_lost(standing, self.failures) for standing in spent)

    def _may_late_do_better(self, final: Finish) -> bool:
        """Whether an answer may still come where all there is are errors."""
        judgement = final.judgement
        if judgement is None or not (judgement.error is not None or is_word(judgement)):
            return False
        return self._may_late_answer()

    def _may_late_answer(self) -> bool:
        """Whether somebody that is late may just be slow."""
        return not all(map(in_doubt, self._late))

    def _is_full(self) -> bool:
        """Whether as many attempts are under way as may be."""
        in_flight = len(self._live) + len(self._late)
        return self.sent >= MAX_ATTEMPTS or (in_flight >= MAX_ATTEMPTS and self._may_late_answer())

    def _is_null_old(self) -> bool:
        """Whether a null is all there is, and the chain went on while it was to be confirmed: an
        upstream that hung may have kept it for a second and more. What the null was about may be
        in a block that the client has heard of since.
        """
        best, served = self._best, self._standings.heads.served
        return best is not None and best.verdict is Verdict.NULL and served > self._null_at >= 0

    def _ask_anew(self) -> None:
        """At the head as it is now, of all that have not failed. The null stays the answer for the
        case that nobody gives another: it is better than an error.
        """
        failed = {name for name, _ in self.failures}
        self._tried = tuple(s for s in self._tried if s.name in failed)
        self._null_seen = self._is_raised = False
        self._null_at = self._standings.heads.served
        self._need = msgspec.structs.replace(self._need, block=self._null_at)

    def _at_served_head(self, now: float) -> Standing | None:
        """Nobody else is as high as the last that answered. Above the served head that is its word
        alone: a liar's must not end the search.
        """
        self._is_raised = False
        served = self._standings.heads.served
        if served >= self._need.block:
            return None
        self._need = msgspec.structs.replace(self._need, block=served)
        return self._pick(self._need, now)

    def _last_resort(self, now: float, tried: tuple[Standing, ...] = ()) -> Standing | None:
        """Waiting did not help: an upstream out of favour is better than none, a few times a
        second. A refusal with Retry-After is not answered by a flood. The last of its calls is
        left for the case that it recovers.
        """
        spent = self.calls.nearly_spent(self._standings)
        standing = self._out_of_favour((*tried, *spent), now)
        if standing is None:
            return None
        resorted = self._budgets.resorted_at
        if now - resorted.get(standing.name, -1.0) < LAST_RESORT_SECONDS or not self._pay(now):
            return None
        resorted[standing.name] = now
        return standing

    def _out_of_favour(self, tried: tuple[Standing, ...], now: float) -> Standing | None:
        need = msgspec.structs.replace(self._need, last_resort=True)
        return self._standings.pick(need, tried, now, self._rng)

    def _excluded_by_method(self, now: float) -> Standing | None:
        """An upstream that is well and lately said that it lacks the method: where all did, one
        is asked again, and its word is the answer.
        """
        if self.sent or self._best is not None:
            return None
        standing = self._out_of_favour(self.calls.spent, now)
        if standing is None or standing.exclusions.methods.get(self._need.method, 0.0) <= now:
            return None
        return None if self._is_out(standing, now) else standing

    def _is_out(self, standing: Standing, now: float) -> bool:
        record = standing.classes[self._need.method_class]
        return record.breaker.is_open or standing.cooldown.until > now

    def _final_without_asking(self) -> Finish | None:
        """The answer, should nobody else be there to ask: a null, a refusal or missing data
        does not get better by waiting, a broken connection may.
        """
        best = self._best
        if best is None or best.verdict in (Verdict.CANCELLED, Verdict.OWN_FAULT):
            return None
        blame, hearing = best.verdict.blame, self.hearing
        if blame in (Blame.LIMIT, Blame.ACCESS):
            # Stands when all say so that were asked; a real limit is waited out.
            is_doubtful = hearing.has_failed_otherwise and len(hearing.said) < 2
            if not is_word(best) or hearing.is_limited or is_doubtful:
                return None
        elif blame is Blame.UPSTREAM:
            # Stands when two upstreams gave one, or the only one that can be asked gave it twice.
            # What no table knows is no error of the upstream's own, and is not asked twice.
            refused = {name for name, failed in self.failures if is_own_word(failed)}
            is_heard = best.verdict is Verdict.UNKNOWN and not hearing.has_failed_otherwise
            if not refused or (len(refused) == 1 and not self._pauses and not is_heard):
                return None
        return Finish(best, self._best_standing)

    def _pause(self, now: float) -> Step:
        """A round is over: begin another after a pause."""
        since = self._standings.outage_since(self._need.method_class)
        if since is not None and now - since > YOUNG_OUTAGE_SECONDS:
            self.deadline = min(self.deadline, now + OLD_OUTAGE_WAIT_SECONDS)
        cap = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(self._pauses, 10))
        self._pauses += 1
        self.sent = 0
        seconds = cap * (0.5 + 0.5 * self._rng.random())
        if self._may_late_answer():  # it is not begun anew in a hurry
            seconds = max(seconds, self._policy.attempt_seconds)
        self._resume_at = now + seconds
        return Wait(min(self._resume_at, self.deadline), for_recovery=True)

    def on_recovery(self, recovered: Standing | None = None) -> None:
        """An upstream came back. What was asked of it before, or of those that are known to be
        dead, may never be answered: whoever waits for nothing else asks anew.
        """
        self._resume_at = 0.0
        if recovered is not None:
            self.calls.on_recovery(recovered, self.failures)
        live, method_class = self._live, self._need.method_class
        self._tried = tuple(s for s in self._tried if s is not recovered)
        self._late = tuple(s for s in self._late if s is not recovered)
        if live and all(s is recovered or s.classes[method_class].breaker.is_open for s in live):
            self._must_hedge = self._is_rescue = True
            self._tried = tuple(s for s in live if s is not recovered)

    def _give_up(self) -> Finish:
        final = self._final_without_asking()
        if final is not None:
            return final
        best = self._best
        # Even a lone error of an upstream's own says more than that time is up.
        has_word = best is not None and is_own_word(best)
        return Finish(best, self._best_standing, exhausted=not has_word)


def but_one(standings: tuple[Standing, ...], standing: Standing | None) -> tuple[Standing, ...]:
    """But for its first place: asked anew after a recovery, it is there twice."""
    if standing not in standings:
        return standings
    place = standings.index(standing)
    return standings[:place] + standings[place + 1 :]
