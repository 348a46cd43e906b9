"""How long attempts took, and what they cost, by upstream and method class: for the history.

State: plain sums, written on the event loop's thread by ``edges.metrics.metrics.ChainCounters``
alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from rpcproxy.messages import METHOD_CLASSES, Blame, MethodClass, Verdict


class Charge(NamedTuple):
    """What one attempt costs: a batch is several ``calls`` for whoever counts them. ``units`` are
    the weights of its methods, in units of eth_blockNumber.
    """

    method_class: MethodClass
    calls: int
    units: int


ONE_LIGHT_CALL: Final = Charge(MethodClass.LIGHT, 1, 1)

# Whoever refuses at once is not quick, so refusals and broken connections are not timed; whoever
# was waited for in vain took at least so long.
# By label, since hashing a member of an enum costs more than all the rest.
_TIMED: Final = frozenset(
    verdict.label
    for verdict in Verdict
    if verdict in (Verdict.TIMEOUT, Verdict.OVERTAKEN)
    or (verdict.blame in (Blame.NOBODY, Blame.CLIENT) and verdict is not Verdict.CANCELLED)
)


class ClassTimes:
    """The attempts of one upstream and method class. ``buckets`` are not cumulative."""

    __slots__ = ("buckets", "calls", "seconds", "units")

    def __init__(self, size: int) -> None:
        self.buckets = [0] * size
        self.seconds = 0.0
        self.calls = 0
        self.units = 0


class AttemptTimes:
    """See the module's docstring. ``bounds`` in seconds; one bucket more holds what took longer."""

    __slots__ = ("_bounds", "_by_upstream")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._by_upstream: dict[str, tuple[ClassTimes, ...]] = {}

    def of(self, upstream: str) -> tuple[ClassTimes, ...]:
        """By method class."""
        try:
            return self._by_upstream[upstream]
        except KeyError:
            size = len(self._bounds) + 1
            times = self._by_upstream[upstream] = tuple(ClassTimes(size) for _ in METHOD_CLASSES)
            return times

    def add(self, upstream: str, verdict: Verdict, seconds: float, charge: Charge) -> None:
        times = self.of(upstream)[charge.method_class]
        times.calls += charge.calls
        times.units += charge.units
        if verdict.label in _TIMED:
            times.buckets[bisect_left(self._bounds, seconds)] += 1
            times.seconds += seconds

    def drop(self, names: Collection[str]) -> None:
        """Forget upstreams that left the configuration."""
        for name in names:
            self._by_upstream.pop(name, None)
