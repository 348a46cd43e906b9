"""The counters behind the metrics; ``exposition`` turns them into what Prometheus reads.

Writers on the hot path make plain additions on ``ChainCounters``: a counter of
prometheus_client takes a lock and 1–2 µs for every one.

State: ``Counters``, one per process, written by front, executor, watcher and app on the
event loop's thread alone, and read there.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable
from typing import Final, TypeVar

from rpcproxy.edges.metrics.attempt_times import ONE_LIGHT_CALL, AttemptTimes, Charge, ClassTimes
from rpcproxy.edges.metrics.send_counters import SendCounters
from rpcproxy.messages import CLASS_NAMES, METHOD_CLASSES, MethodClass, Verdict
from rpcproxy.states import Change, ChangeKind, RequestOutcome

T = TypeVar("T")

# 75 and 150 ms are what we promise in an outage, 5 s is where MetaMask shows its banner.
BUCKET_SECONDS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0),
)
_BUCKETS: Final = len(BUCKET_SECONDS) + 1  # one more holds what took longer
# What becomes of a change that a webhook is to be told of.
NOTICE_RESULTS: Final = ("sent", "undelivered", "left_out")
_VERDICT_LABELS: Final = tuple(verdict.label for verdict in Verdict)


class LabelTally:
    """How often each label came, and a histogram of how long it took."""

    __slots__ = ("buckets", "labels", "seconds")

    def __init__(self, labels: Iterable[str]) -> None:
        self.labels = dict.fromkeys(labels, 0)
        self.buckets = [0] * _BUCKETS  # not cumulative
        self.seconds = 0.0

    def add(self, label: str, seconds: float) -> None:
        self.labels[label] += 1
        self.buckets[bisect_left(BUCKET_SECONDS, seconds)] += 1
        self.seconds += seconds


class _Plain:
    """Requests that were answered well by their only attempt, of one upstream and class."""

    __slots__ = ("buckets", "seconds", "units")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.buckets = [0] * _BUCKETS
        self.seconds = 0.0
        self.units = 0


class ChainCounters:
    """The counters of one chain. Writers call ``on_…``; the attributes are for reading.

    Nearly all requests are plain, so they are counted once, and spread over ``requests`` and
    ``attempts`` when somebody reads those.
    """

    __slots__ = (
        "_attempts",
        "_joined",
        "_kept",
        "_plain",
        "_requests",
        "_times",
        "batch_members",
        "batches",
        "budget_exhausted",
        "changes",
        "failovers",
        "hedges",
        "hedges_won",
        "local_answers",
        "probes",
        "sends",
        "unserved",
        "waited_for_recovery",
    )

    def __init__(self) -> None:
        self._requests = tuple(LabelTally(RequestOutcome) for _ in METHOD_CLASSES)
        self.local_answers = 0
        self._kept: dict[str, list[int]] = {}  # by what they depend on, then class
        self._joined = [0] * len(METHOD_CLASSES)
        self._attempts: dict[str, LabelTally] = {}  # by upstream
        self._times = AttemptTimes(BUCKET_SECONDS)
        self._plain: dict[str, tuple[_Plain, ...]] = {}  # by upstream, then class
        self.probes: dict[str, dict[str, int]] = {}  # by upstream, then verdict
        self.failovers: dict[str, int] = {}  # by reason
        self.hedges: dict[str, int] = {}  # by upstream
        self.hedges_won: dict[str, int] = {}  # by upstream
        self.changes: dict[tuple[str, ChangeKind], int] = {}  # by upstream and kind
        self.sends = SendCounters()
        self.budget_exhausted = 0
        self.unserved = 0
        self.waited_for_recovery = 0
        self.batches = 0
        self.batch_members = 0

    @property
    def requests(self) -> tuple[LabelTally, ...]:
        """By method class."""
        self._spread()
        return self._requests

    @property
    def attempts(self) -> dict[str, LabelTally]:
        """By upstream."""
        self._spread()
        return self._attempts

    def times_of(self, upstream: str) -> tuple[ClassTimes, ...]:
        """How long its attempts took and what they cost, by method class."""
        self._spread()
        return self._times.of(upstream)

    @property
    def kept_answers(self) -> dict[str, int]:
        """Requests answered from what was kept, by what it depends on."""
        return {reason: sum(by_class) for reason, by_class in self._kept.items()}

    @property
    def joined(self) -> int:
        """Requests that followed another in flight."""
        return sum(self._joined)

    @property
    def answered(self) -> int:
        """Client requests answered so far."""
        return self.local_answers + sum(sum(tally.labels.values()) for tally in self.requests)

    def on_request(
        self, method_class: MethodClass, seconds: float, outcome: RequestOutcome
    ) -> None:
        """One client request answered after ``seconds``."""
        self._requests[method_class].add(outcome, seconds)

    def on_local(self) -> None:
        """One request answered by the proxy itself, too quick to be worth timing.

        It counts among the requests too: call this or ``on_request``, not both.
        """
        self.local_answers += 1

    def on_kept(self, reason: str, method_class: MethodClass) -> None:
        """One request answered from what was kept; ``reason`` is a ``chains.method.Keep`` by
        name, or ``disk``.
        """
        try:
            self._kept[reason][method_class] += 1
        except KeyError:
            self._kept[reason] = [0] * len(METHOD_CLASSES)
            self._kept[reason][method_class] = 1

    def on_joined(self, method_class: MethodClass) -> None:
        """One request was answered with the result of another that asked the same. It counts among
        the requests too: call this or ``on_request``, not both.
        """
        self._joined[method_class] += 1

    def on_attempt(
        self, upstream: str, verdict: Verdict, seconds: float, charge: Charge = ONE_LIGHT_CALL
    ) -> None:
        """One attempt ended. The time of a cancelled one says nothing and is not kept."""
        self._times.add(upstream, verdict, seconds, charge)
        tally = self._attempts_of(upstream)
        if verdict is Verdict.CANCELLED:
            tally.labels[verdict.label] += 1
        else:
            tally.add(verdict.label, seconds)

    def on_plain(
        self, upstream: str, method_class: MethodClass, seconds: float, weight: int = 1
    ) -> None:
        """One request answered well by its only attempt: ``on_request`` and ``on_attempt`` in
        one, since nearly all are. ``weight`` is its method's.
        """
        try:
            plain = self._plain[upstream][method_class]
        except KeyError:
            self._plain[upstream] = tuple(_Plain() for _ in METHOD_CLASSES)
            plain = self._plain[upstream][method_class]
        plain.buckets[bisect_left(BUCKET_SECONDS, seconds)] += 1
        plain.seconds += seconds
        plain.units += weight

    def _spread(self) -> None:
        for method_class, tally in enumerate(self._requests):
            kept = sum(by_class[method_class] for by_class in self._kept.values())
            tally.labels[RequestOutcome.KEPT] = kept + self._joined[method_class]
        for upstream, by_class in self._plain.items():
            for method_class in METHOD_CLASSES:
                requests, plain = self._requests[method_class], by_class[method_class]
                count = sum(plain.buckets)
                if not count:
                    continue
                attempts = self._attempts_of(upstream)
                times = self._times.of(upstream)[method_class]
                for sums in (requests, attempts, times):
                    sums.seconds += plain.seconds
                    sums.buckets = [
                        sum(pair) for pair in zip(sums.buckets, plain.buckets, strict=True)
                    ]
                requests.labels[RequestOutcome.OK] += count
                attempts.labels[Verdict.OK.label] += count
                times.calls += count
                times.units += plain.units
                plain.clear()

    def _attempts_of(self, upstream: str) -> LabelTally:
        try:
            return self._attempts[upstream]
        except KeyError:
            tally = self._attempts[upstream] = LabelTally(_VERDICT_LABELS)
            return tally

    def on_failover(self, reason: str) -> None:
        """A request went on to another upstream; ``reason`` is a verdict's label."""
        self.failovers[reason] = self.failovers.get(reason, 0) + 1

    def on_hedge(self, upstream: str) -> None:
        """A second copy was sent to ``upstream`` while the first was still awaited."""
        self.hedges[upstream] = self.hedges.get(upstream, 0) + 1

    def on_hedge_won(self, upstream: str) -> None:
        """The copy at ``upstream`` answered first."""
        self.hedges_won[upstream] = self.hedges_won.get(upstream, 0) + 1

    def on_change(self, change: Change) -> None:
        """A standing changed."""
        key = (change.upstream, change.kind)
        self.changes[key] = self.changes.get(key, 0) + 1

    def on_probe(self, upstream: str, verdict: Verdict) -> None:
        """One probe of our own ended."""
        verdicts = self.probes.setdefault(upstream, {})
        verdicts[verdict.label] = verdicts.get(verdict.label, 0) + 1

    def on_budget_exhausted(self) -> None:
        """A retry or hedge was not made because the retry budget was used up."""
        self.budget_exhausted += 1

    def on_unserved(self) -> None:
        """A wallet was told that nobody could serve its request."""
        self.unserved += 1

    def on_waited_for_recovery(self) -> None:
        """A request found nobody to ask and waited for the first recovery."""
        self.waited_for_recovery += 1

    def on_batch(self, members: int) -> None:
        """One batch came, with ``members`` requests in it."""
        self.batches += 1
        self.batch_members += members

    def drop_upstreams(self, names: Collection[str]) -> None:
        """Forget upstreams that left the configuration."""
        self._spread()
        self._plain = _without(self._plain, names)
        self._attempts = _without(self._attempts, names)
        self._times.drop(names)
        self.probes = _without(self.probes, names)
        self.hedges = _without(self.hedges, names)
        self.hedges_won = _without(self.hedges_won, names)
        self.changes = {key: count for key, count in self.changes.items() if key[0] not in names}


class Counters:
    """The counters of the process. ``reloads`` are of the configuration, by result."""

    def __init__(self) -> None:
        self.chains: dict[str, ChainCounters] = {}
        self.reloads = {"accepted": 0, "refused": 0}
        self.notices = dict.fromkeys(NOTICE_RESULTS, 0)  # changes told to webhooks
        self.loop_lag_seconds = 0.0

    def chain(self, name: str) -> ChainCounters:
        """The counters of a chain, made when first asked for."""
        try:
            return self.chains[name]
        except KeyError:
            counters = self.chains[name] = ChainCounters()
            return counters

    def keep(self, names: Collection[str]) -> None:
        """Forget chains that left the configuration; ``names`` are those that stay."""
        self.chains = {name: chain for name, chain in self.chains.items() if name in names}

    def drop(self, name: str) -> None:
        """Forget one chain, if it is there."""
        self.chains.pop(name, None)

    def on_reload(self, *, is_accepted: bool) -> None:
        self.reloads["accepted" if is_accepted else "refused"] += 1

    def on_notices(self, result: str, count: int) -> None:
        """``count`` changes for a webhook; ``result`` is one of ``NOTICE_RESULTS``."""
        self.notices[result] += count

    def on_loop_lag(self, seconds: float) -> None:
        """The event loop woke ``seconds`` too late; the worst since the last scrape is kept."""
        self.loop_lag_seconds = max(self.loop_lag_seconds, seconds)

    def take_loop_lag(self) -> float:
        """The worst lag in seconds since the last call."""
        worst, self.loop_lag_seconds = self.loop_lag_seconds, 0.0
        return worst


class LoopLag:
    """Measures how late the event loop wakes, and reports it, several times a second."""

    def __init__(self, report: Callable[[float], None], every_seconds: float = 0.25) -> None:
        self._report = report
        self._every_seconds = every_seconds
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin, on the running loop."""
        self._set(asyncio.get_running_loop())

    def stop(self) -> None:
        """End; idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + self._every_seconds
        self._timer = loop.call_at(due, self._on_time, loop, due)

    def _on_time(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._report(max(0.0, loop.time() - due))
        self._set(loop)


def class_name(method_class: MethodClass | None) -> str | None:
    """A method class as a label."""
    return None if method_class is None else CLASS_NAMES[method_class]


def _without(table: dict[str, T], names: Collection[str]) -> dict[str, T]:
    return {name: value for name, value in table.items() if name not in names}
