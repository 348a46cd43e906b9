"""One row of the table of metrics, what it is read from, and the usual ways to read it.

A ``Scrape`` is what is known at one moment; a row's ``read`` gives its values from that. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeVar

from rpcproxy.edges.metrics.figures import ChainFigures, Chains
from rpcproxy.edges.metrics.metrics import ChainCounters, Counters

T = TypeVar("T")

StandingSnapshot = Mapping[str, Any]


class MetricKind(StrEnum):
    """What Prometheus makes of a metric. ``INFO`` is a gauge that is always 1, for its labels."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"


class MetricUnit(StrEnum):
    """What a value is in. ``COUNT``: how many, or which one. ``FLAG``: 1 or 0."""

    COUNT = "count"
    FLAG = "flag"
    SECONDS = "seconds"
    BYTES = "bytes"
    BLOCKS = "blocks"
    RATIO = "ratio"


class Durations(NamedTuple):
    """The value of a histogram: how many fell into each bucket alone, and the sum of all."""

    buckets: Sequence[int]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrape:
    """What is known when Prometheus asks.

    ``standings``: chain → one mapping per upstream, as ``rules.telling.snapshot`` gives it; keys
    that are missing leave their sample out. ``front``: ``client_connections`` and ``held_bytes``
    now, ``client_connections_refused`` and ``client_requests_crowded_out`` so far,
    ``refusing_clients`` and ``refusing_attempts``: 1 while it is so. ``chains``:
    chain → its heads, kept answers, audits, feeds and transactions. ``connections``: chain →
    upstream → (open, idle) connections. ``loop_lag_seconds``: the worst since the last scrape.
    """

    counters: Counters
    loop_lag_seconds: float
    standings: Mapping[str, Sequence[StandingSnapshot]]
    front: Mapping[str, float]
    chains: Chains
    connections: Mapping[str, Mapping[str, tuple[int, int]]]


Labels = tuple[str, ...]
Value = float | Durations | None  # a sample without a value is left out
Values = Iterable[tuple[Labels, Value]]


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric. ``name`` is the one that Prometheus shows, ``labels`` are the names of those
    that ``read`` gives values for, in that order. ``buckets``: upper bounds of a histogram's, in
    ``unit``.
    """

    name: str
    kind: MetricKind
    unit: MetricUnit
    labels: Labels
    help: str
    read: Callable[[Scrape], Values]
    buckets: tuple[float, ...] = ()


NO_LABELS: Final[Labels] = ()
CHAIN: Final = ("chain",)
UPSTREAM: Final = ("chain", "upstream")
UPSTREAM_CLASS: Final = ("chain", "upstream", "method_class")


def by_key(numbers: Mapping[str, float]) -> Values:
    """A value for each key, which is its label."""
    for label, number in numbers.items():
        yield (label,), number


def once(read: Callable[[Scrape], float]) -> Callable[[Scrape], Values]:
    """One value of the process."""
    return lambda scrape: (((), read(scrape)),)


def counted(read: Callable[[ChainCounters], float]) -> Callable[[Scrape], Values]:
    """A value for each chain, from its counters."""
    return lambda scrape: _one_each(scrape.counters.chains, read)


def counted_by(read: Callable[[ChainCounters], Values]) -> Callable[[Scrape], Values]:
    """Values for each chain from its counters; ``read`` gives the labels that follow its name."""
    return lambda scrape: _several_each(scrape.counters.chains, read)


def measured(read: Callable[[ChainFigures], float | None]) -> Callable[[Scrape], Values]:
    """A value for each chain, from its figures."""
    return lambda scrape: _one_each(scrape.chains, read)


def measured_by(read: Callable[[ChainFigures], Values]) -> Callable[[Scrape], Values]:
    """Values for each chain from its figures; ``read`` gives the labels that follow its name."""
    return lambda scrape: _several_each(scrape.chains, read)


def _one_each(things: Mapping[str, T], read: Callable[[T], Value]) -> Values:
    for name, thing in things.items():
        yield (name,), read(thing)


def _several_each(things: Mapping[str, T], read: Callable[[T], Values]) -> Values:
    for name, thing in things.items():
        for labels, value in read(thing):
            yield (name, *labels), value


def per_upstream(read: Callable[[StandingSnapshot], float | None]) -> Callable[[Scrape], Values]:
    """A value for each upstream, from its standing."""
    return lambda scrape: ((labels, read(standing)) for labels, standing in named(scrape))


def per_class(read: Callable[[StandingSnapshot], float | None]) -> Callable[[Scrape], Values]:
    """A value for each upstream and method class, from the standing in that class."""
    return lambda scrape: (
        ((*labels, method_class), read(standing))
        for labels, upstream in named(scrape)
        for method_class, standing in upstream.get("classes", {}).items()
    )


def named(scrape: Scrape) -> Iterator[tuple[Labels, StandingSnapshot]]:
    """The standings of all upstreams, with the labels that name each."""
    for chain, upstreams in scrape.standings.items():
        for upstream in upstreams:
            if "name" in upstream:
                yield (chain, str(upstream["name"])), upstream
