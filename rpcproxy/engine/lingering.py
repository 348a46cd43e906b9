"""Attempts that outlived their request: they go on for a while, so that we learn whether the
upstream would have answered.

State: those attempts; written here alone.
"""

from __future__ import annotations

from collections.abc import Callable

from rpcproxy.engine.attempts import Attempt
from rpcproxy.messages import Failure, FailureKind, Judgement, MethodClass
from rpcproxy.rules.failover import lost
from rpcproxy.rules.standing import Standings

Tell = Callable[[Attempt, Judgement, float], None]


class Lingering:
    """``end`` is told of an attempt that is over, ``learn`` of a failure that is known before."""

    __slots__ = ("_attempts", "_end", "_learn", "_standings")

    def __init__(self, standings: Standings, end: Tell, learn: Tell) -> None:
        self._standings = standings
        self._end = end
        self._learn = learn
        self._attempts: set[Attempt] = set()

    def __len__(self) -> int:
        return len(self._attempts)

    def take(self, attempt: Attempt, now: float, *, is_answered: bool) -> None:
        """An attempt of a request that is over. A heavy one that nobody waits for is given up at
        once, for the upstream's sake.
        """
        attempt.is_lingering = True
        is_heavy = attempt.call.need.method_class is MethodClass.HEAVY
        if is_heavy and not (is_answered and attempt.is_overdue):
            self._end(attempt, lost(Failure(FailureKind.CANCELLED)), now)
            attempt.abandon()
            return
        attempt.overtaken_at = now if is_answered else attempt.give_up_at
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
                kind = FailureKind.CANCELLED if attempt.is_counted else FailureKind.TIMEOUT
                self._end(attempt, lost(Failure(kind, "no answer in time")), now)
                attempt.abandon()
            elif not attempt.is_counted and now - attempt.overtaken_at > (
                self._standings.hedge_delay(need.method_class)
            ):
                attempt.is_counted = True
                self._learn(attempt, lost(Failure(FailureKind.OVERTAKEN)), now)

    def clear(self) -> None:
        self._attempts.clear()
