"""What a load measured: samples, and what can be read from them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import msgspec

# Answered by the proxy itself while it knows a fresh head.
LOCAL_METHODS = frozenset(("eth_chainId", "eth_blockNumber"))
# A load that begins a request so much later than it is due is outrun by its own work.
LATE_SECONDS = 0.1


class Sample(msgspec.Struct, array_like=True):
    """``at`` is the scheduled moment, seconds of the monotonic clock."""

    at: float
    seconds: float
    is_ok: bool


class Window(msgspec.Struct):
    """Latencies of the requests scheduled from ``start`` on, failed ones included."""

    start: float
    count: int
    error_count: int
    p50_seconds: float
    p99_seconds: float
    max_seconds: float


class Report(msgspec.Struct):
    """``errors`` holds the first texts. ``forwardable`` counts what the proxy cannot answer
    by itself. ``worst_lateness_seconds`` is how late the load itself was: a large one says
    that the machine was busy. ``late`` counts the requests that it began more than
    ``LATE_SECONDS`` after they were due. ``worst_staleness_blocks`` compares balances with the
    highest block number answered before they were asked (simulated chain only).
    """

    started_at: float
    ended_at: float
    samples: list[Sample]
    errors: list[str]
    by_method: dict[str, int]
    connections_opened: int
    worst_lateness_seconds: float
    worst_staleness_blocks: int
    backward_heads: int
    late: int = 0

    @property
    def total(self) -> int:
        return len(self.samples)

    @property
    def error_count(self) -> int:
        return sum(not sample.is_ok for sample in self.samples)

    @property
    def forwardable(self) -> int:
        return sum(n for method, n in self.by_method.items() if method not in LOCAL_METHODS)

    @property
    def whole(self) -> Window:
        return _window(self.started_at, self.samples)

    def between(self, start: float, end: float) -> Window:
        """The requests scheduled in ``[start, end)``, moments of ``time.monotonic()``."""
        return _window(start, [sample for sample in self.samples if start <= sample.at < end])

    def outside(self, spans: Sequence[tuple[float, float]]) -> Window:
        """The requests scheduled at no moment of these spans, each ``[start, end)``."""
        return _window(
            self.started_at,
            [s for s in self.samples if not any(start <= s.at < end for start, end in spans)],
        )

    def windows(self, seconds: float = 1.0) -> list[Window]:
        """The series over time, empty windows left out."""
        numbered = sorted(
            ((int((s.at - self.started_at) // seconds), s) for s in self.samples),
            key=lambda pair: pair[0],
        )
        return [
            _window(self.started_at + number * seconds, [sample for _, sample in group])
            for number, group in itertools.groupby(numbered, key=lambda pair: pair[0])
        ]

    def summary(self) -> str:
        whole = self.whole
        return (
            f"{self.total} requests, {self.error_count} errors, "
            f"p50 {whole.p50_seconds * 1000:.1f} ms, p99 {whole.p99_seconds * 1000:.1f} ms, "
            f"max {whole.max_seconds * 1000:.1f} ms"
        )


def _window(start: float, samples: Sequence[Sample]) -> Window:
    seconds = sorted(sample.seconds for sample in samples)
    failed = sum(not sample.is_ok for sample in samples)
    if not seconds:
        return Window(start, 0, 0, 0.0, 0.0, 0.0)

    def share(part: float) -> float:
        return seconds[min(len(seconds) - 1, int(len(seconds) * part))]

    return Window(start, len(seconds), failed, share(0.5), share(0.99), seconds[-1])
