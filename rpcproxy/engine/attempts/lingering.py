"""Attempts that outlived their request: they go on for a while, so that we learn whether the
upstream would have answered.

State: those attempts; written here alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from rpcproxy.engine.attempts.attempts import Attempt
from rpcproxy.engine.attempts.doubts import Doubts
from rpcproxy.messages import Failure, FailureKind, Judgement, MethodClass
from rpcproxy.rules.requests.ends import lost
from rpcproxy.rules.requests.lateness import must_have_answered
from rpcproxy.rules.standing.standings import Standings

Tell = Callable[[Attempt, Judgement, float], None]


class Lingering:
    """``end`` is told of an attempt that is over, ``learn`` of a failure that is known before;
    ``doubts`` finds out about those that nobody answered in time.
    """

    __slots__ = ("_attempts", "_doubts", "_end", "_learn", "_standings")

    def __init__(self, standings: Standings, doubts: Doubts, end: Tell, learn: Tell) -> None:
        self._standings = standings
        self._doubts = doubts
        self._end = end
        self._learn = learn
        self._attempts: set[Attempt] = set()

    def __len__(self) -> int:
        return len(self._attempts)

    def take(self, attempt: Attempt, now: float) -> None:
        """An attempt of a request that is over. A heavy one that nobody waits for is given up at
        once, for the upstream's sake. Where another answered in its time, this one should have.
        """
        attempt.is_lingering = True
        won_seconds = attempt.run.won_seconds
        is_answered = won_seconds is not None and won_seconds <= attempt.run.policy.attempt_seconds
        if attempt.is_late and is_answered:
            self._give_up(attempt, FailureKind.TIMEOUT, now)
            return
        is_heavy = attempt.call.need.method_class is MethodClass.HEAVY
        if attempt.is_late or (is_heavy and not (is_answered and attempt.is_overdue)):
            self._give_up(attempt, FailureKind.CANCELLED, now)
            return
        attempt.overtaken_at = math.inf
        if won_seconds is not None and is_answered:
            attempt.overtaken_at = must_have_answered(attempt.started, won_seconds, now)
            attempt.give_up_at = max(attempt.give_up_at, attempt.overtaken_at)
        self._attempts.add(attempt)

    def discard(self, attempt: Attempt) -> None:
        """It has come to its end by itself."""
        self._attempts.discard(attempt)

    def sweep(self, now: float) -> None:
        """Attempts that were overtaken and still have not answered count as failures. They stay
        in flight until their time is up: as long as they hang, others are preferred.
        """
        for attempt in tuple(self._attempts):
            need = attempt.call.need
            if now >= attempt.give_up_at:
                self._attempts.discard(attempt)
                if attempt.overtaken_at < math.inf:
                    self._give_up(attempt, FailureKind.TIMEOUT, now)
                else:
                    attempt.is_late = True
                    self._doubts.on_late(attempt, now)
                    self._give_up(attempt, FailureKind.CANCELLED, now)
            elif not attempt.is_counted and now - attempt.overtaken_at > (
                self._standings.hedge_delay(need.method_class)
            ):
                attempt.is_counted = True
                self._learn(attempt, lost(Failure(FailureKind.OVERTAKEN)), now)

    def _give_up(self, attempt: Attempt, kind: FailureKind, now: float) -> None:
        if attempt.is_counted:
            kind = FailureKind.CANCELLED
        self._end(attempt, lost(Failure(kind, "no answer in time")), now)
        attempt.abandon()

    def clear(self) -> None:
        self._attempts.clear()
