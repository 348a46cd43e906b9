"""Slow answers: how long they may take, and what tells a slow upstream from a dead one.

A sound answer may take long: a call that runs for seconds, a trace, a batch, a slow line. Time
alone is no evidence against anybody:

- who answered nothing at all since then, a probe of ours included, is dead (``has_fallen_silent``);
- who is slower than another was at the very same request is to blame (``must_have_answered``);
- what nobody answers in time is nobody's fault.

Times that are right for most are learned for those that take more (``Paces``). All in seconds of a
monotonic clock, which is an argument.
State: the times of the last answers of methods that were slow, bounded by ``MOST_METHODS``.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from rpcproxy.chains.method import Method
from rpcproxy.messages import MethodClass
from rpcproxy.rules.standing.latency import rank_of
from rpcproxy.rules.standing.standing import Standing

# An answer that keeps arriving well is waited for up to so many times the request's deadline.
ARRIVAL_FACTOR: Final = 4.0
# Work that upstreams feel: a second copy of it goes out only where the first is in doubt.
COSTLY_WEIGHT: Final = 20
WIDE_BLOCKS: Final = 1000
# An attempt may have this part of the request's time: what is left is for another.
LONGEST_SHARE: Final = 2.0 / 3.0
# A probe that is silent for so long says that nothing comes back: while others answer, and where
# nobody does, so that our own line may be what is slow.
SILENT_SECONDS: Final = 0.5
ALL_SILENT_SECONDS: Final = 3.0
SILENT_FACTOR: Final = 4.0  # of what its answers usually take
USUAL_QUANTILE: Final = 0.9
# Who takes up to this many times as long as another did for the same is not to blame.
SLOWER_FACTOR: Final = 2.0
# Each so many members give a batch the time of one more attempt.
MEMBERS_PER_ATTEMPT: Final = 25

MOST_METHODS: Final = 64
PACE_SAMPLES: Final = 64
PACE_SECONDS: Final = 600.0  # without a slow answer: the method is as others again
PACE_FACTOR: Final = 2.0
HEDGE_FACTOR: Final = 1.25


# ---- whose fault


def has_fallen_silent(
    standing: Standing, probed_at: float, now: float, *, do_others_answer: bool
) -> bool:
    """Whether a probe without an answer since ``probed_at`` says that it is dead."""
    least = SILENT_SECONDS if do_others_answer else ALL_SILENT_SECONDS
    usual = standing.light.latency.quantile(USUAL_QUANTILE) or 0.0
    return now - probed_at >= max(least, SILENT_FACTOR * usual)


def must_have_answered(started: float, won_seconds: float, now: float) -> float:
    """From when on an attempt is to blame, whose request another answered in ``won_seconds``."""
    return max(now, started + SLOWER_FACTOR * won_seconds)


def in_doubt(standing: Standing) -> bool:
    """Whether more than one slow answer speaks against it."""
    return standing.is_suspect or any(
        record.breaker.is_open or record.is_doubtful or record.breaker.streak > 0
        for record in standing.classes
    )


# ---- how much time


def is_costly(method: Method, span: int = 0) -> bool:
    """Whether a second copy would double a cost that its provider feels; ``span`` in blocks."""
    if method.method_class is not MethodClass.HEAVY:
        return False
    return method.weight >= COSTLY_WEIGHT or span > WIDE_BLOCKS


def longest_attempt_seconds(attempt_seconds: float, deadline_seconds: float) -> float:
    """For work that is known to take long."""
    return max(attempt_seconds, LONGEST_SHARE * deadline_seconds)


def batch_attempt_seconds(attempt_seconds: float, deadline_seconds: float, members: int) -> float:
    """A batch takes longer, the more there is in it."""
    seconds = attempt_seconds * (1.0 + members / MEMBERS_PER_ATTEMPT)
    return max(attempt_seconds, min(seconds, LONGEST_SHARE * deadline_seconds))


def batch_hedge_seconds(hedge_seconds: float, members: int) -> float:
    """When a second copy of a batch goes out, where one call's would after ``hedge_seconds``."""
    return hedge_seconds * (1.0 + members / MEMBERS_PER_ATTEMPT)


class _Pace(msgspec.Struct, gc=False):
    """Of one method: what its last good answers took, and when one was slow."""

    samples: deque[float]
    slow_at: float

    def usual_seconds(self) -> float:
        return rank_of(list(self.samples), USUAL_QUANTILE)


class Paces:
    """What methods take, of those that were seen to be slow. One per chain.

    Only what answered a request counts, whoever gave it: while one upstream is slow and another
    answers in its place, no method is.
    """

    __slots__ = ("_paces",)

    def __init__(self) -> None:
        self._paces: dict[str, _Pace] = {}

    def __len__(self) -> int:
        return len(self._paces)

    def add(self, method: str, seconds: float, usual: float, now: float) -> None:
        """A good answer; ``usual`` is what its class takes before it is worth a second copy."""
        pace = self._paces.get(method)
        if pace is None:
            if seconds <= usual:
                return
            while len(self._paces) >= MOST_METHODS:
                del self._paces[next(iter(self._paces))]
            pace = self._paces[method] = _Pace(deque(maxlen=PACE_SAMPLES), now)
        pace.samples.append(seconds)
        if seconds > usual:
            pace.slow_at = now
        elif now - pace.slow_at > PACE_SECONDS:
            del self._paces[method]

    def knows(self, method: str) -> bool:
        """Whether its answers are to be told, quick ones as well."""
        return method in self._paces

    def attempt_seconds(self, method: str, seconds: float, deadline_seconds: float) -> float:
        """The time of an attempt, where others of its class have ``seconds``."""
        pace = self._paces.get(method)
        if pace is None:
            return seconds
        wanted = PACE_FACTOR * pace.usual_seconds()
        return max(seconds, min(wanted, LONGEST_SHARE * deadline_seconds))

    def hedge_seconds(self, method: str, seconds: float) -> float:
        """When a second copy goes out, where others of its class have ``seconds``."""
        pace = self._paces.get(method)
        return seconds if pace is None else max(seconds, HEDGE_FACTOR * pace.usual_seconds())
