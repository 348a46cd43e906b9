"""The arithmetic of the benchmarks. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Ratio:
    """Cost over a reference's in the same round; ``low`` and ``high`` are the rounds' extremes."""

    median: float
    low: float
    high: float

    @property
    def spread(self) -> float:
        """Distance of the extremes as a share of the median."""
        return (self.high - self.low) / self.median

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}–{self.high:.2f})"


def ratio(costs: Sequence[float], reference: Sequence[float]) -> Ratio:
    """Round by round, so that what disturbed a round disturbed both sides."""
    rounds = [cost / other for cost, other in zip(costs, reference, strict=True)]
    return Ratio(statistics.median(rounds), min(rounds), max(rounds))


def difference(values: Sequence[float]) -> float:
    """How far the largest of positive values lies above the smallest, as a share of that."""
    return max(values) / min(values) - 1


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of the values do not exceed."""
    ordered = sorted(values)
    rank = -int(-share * len(ordered) // 1)
    return ordered[max(0, rank - 1)]


@dataclass(frozen=True, slots=True)
class Line:
    """``fixed + per_unit · size``; ``worst``: the most that a point lies above it, as a share."""

    fixed: float
    per_unit: float
    worst: float


def line(sizes: Sequence[float], costs: Sequence[float]) -> Line:
    """The line with the least squared *relative* error: small sizes count as much as large ones.

    ``worst`` above a few tenths at the largest size says that cost does not grow linearly.
    """
    weights = [1 / cost**2 for cost in costs]
    total = sum(weights)
    mean_x = sum(w * x for w, x in zip(weights, sizes, strict=True)) / total
    mean_y = sum(w * y for w, y in zip(weights, costs, strict=True)) / total
    over = sum(
        w * (x - mean_x) * (y - mean_y) for w, x, y in zip(weights, sizes, costs, strict=True)
    )
    under = sum(w * (x - mean_x) ** 2 for w, x in zip(weights, sizes, strict=True))
    per_unit = over / under if under else 0.0
    fixed = mean_y - per_unit * mean_x
    worst = max(y / (fixed + per_unit * x) - 1 for x, y in zip(sizes, costs, strict=True))
    return Line(fixed, per_unit, worst)


def cpu_ticks(stat: str) -> int:
    """utime + stime of /proc/PID/stat: all threads, ended ones included."""
    fields = stat.rpartition(")")[2].split()  # the name before may hold spaces and parentheses
    return int(fields[11]) + int(fields[12])


def parent_pid(stat: str) -> int:
    return int(stat.rpartition(")")[2].split()[1])


def status_bytes(status: str, key: str) -> int:
    """A ``kB`` line of /proc/PID/status, such as VmRSS or VmHWM. KeyError: no such line."""
    for row in status.splitlines():
        name, _, value = row.partition(":")
        if name == key:
            return int(value.split()[0]) * 1024
    raise KeyError(key)


def bytes_text(count: float) -> str:
    for unit, size in (("MiB", MIB), ("KiB", 1024)):
        if count >= size:
            return f"{count / size:.4g} {unit}"
    return f"{count:.4g} B"
