"""Calls made for one request: no upstream gets more than three, in whatever rounds.

State: one object per plan; the counts go on to the next plan of the same request.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from rpcproxy.messages import Judgement, Verdict
from rpcproxy.rules.standing.breaker import TRANSPORT
from rpcproxy.rules.standing.standing import Standing

MOST_CALLS: Final = 3

Failures = Iterable[tuple[str, Judgement]]


class CallsMade:
    """``counts`` by upstream; ``spent``: those that had all of theirs."""

    __slots__ = ("counts", "spent")

    def __init__(self, standings: Iterable[Standing], before: Mapping[str, int] | None) -> None:
        self.counts = dict(before or ())
        self.spent = tuple(s for s in standings if before and before.get(s.name, 0) >= MOST_CALLS)

    def on_sent(self, standing: Standing) -> None:
        count = self.counts.get(standing.name, 0) + 1
        self.counts[standing.name] = count
        if count >= MOST_CALLS:
            self.spent = (*self.spent, standing)

    def on_failure(self, standing: Standing, verdict: Verdict) -> None:
        """Where no connection was to be had, nothing was sent."""
        if verdict is Verdict.UNREACHABLE:
            self.counts[standing.name] -= 1
            self._give_back(standing)

    def on_recovery(self, standing: Standing, failures: Failures) -> None:
        """It came back. What brought no answer may be asked once more."""
        if standing in self.spent and has_lost(standing, failures):
            self._give_back(standing)

    def _give_back(self, standing: Standing) -> None:
        self.spent = tuple(other for other in self.spent if other is not standing)

    def nearly_spent(self, standings: Iterable[Standing]) -> tuple[Standing, ...]:
        """Those whose last call is left for the case that they recover."""
        return tuple(s for s in standings if self.counts.get(s.name, 0) >= MOST_CALLS - 1)


def has_lost(standing: Standing, failures: Failures) -> bool:
    """Whether its last attempt brought no answer."""
    last = [judgement for name, judgement in failures if name == standing.name]
    return bool(last) and last[-1].verdict in TRANSPORT
