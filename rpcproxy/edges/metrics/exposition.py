"""What Prometheus reads: the table of metrics, in the format that was asked for.

``ProxyCollector`` reads ``Counters``, and what others tell it through callables, at scrape time,
and makes a family of each row of ``metric_table``; ``Exposition`` writes them. Labels are bounded:
chains and upstreams come from the configuration, everything else from fixed tables. No state of
its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from rpcproxy.edges.metrics.figures import Chains
from rpcproxy.edges.metrics.metric_row import (
    Durations,
    Labels,
    MetricKind,
    MetricRow,
    Scrape,
    StandingSnapshot,
)
from rpcproxy.edges.metrics.metric_table import METRIC_TABLE
from rpcproxy.edges.metrics.metrics import Counters

_EOF: Final = b"# EOF\n"


def _nothing() -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the collector asks at scrape time; all are called on the event loop's thread, and
    give what ``metric_row.Scrape`` says.
    """

    standings: Callable[[], Mapping[str, Sequence[StandingSnapshot]]] = _nothing
    front: Callable[[], Mapping[str, float]] = _nothing
    chains: Callable[[], Chains] = _nothing
    connections: Callable[[], Mapping[str, Mapping[str, tuple[int, int]]]] = _nothing


class ProxyCollector(Collector):
    """The proxy's own metric families. Scraping takes the worst event loop lag with it."""

    def __init__(self, counters: Counters, sources: Sources | None = None) -> None:
        self._counters = counters
        self._sources = sources or Sources()

    def collect(self) -> Iterator[Metric]:
        scrape = Scrape(
            counters=self._counters,
            loop_lag_seconds=self._counters.take_loop_lag(),
            standings=self._sources.standings(),
            front=self._sources.front(),
            chains=self._sources.chains(),
            connections=self._sources.connections(),
        )
        for row in METRIC_TABLE:
            yield family_of(row, scrape)


class Exposition:
    """The registry of one process: the proxy's families, and Python's and the process's own."""

    def __init__(self, collector: Collector) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(collector)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    async def scrape(self, accept: str = "") -> tuple[bytes, str]:
        """The metrics and their content type; ``accept`` is the client's Accept header.

        Many upstreams make for thousands of lines, so requests are let in between families.
        """
        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):  # a version that is no number
            encode, content_type = choose_encoder("")
        pieces = []
        has_eof = content_type.startswith("application/openmetrics-text")
        for family in self._registry.collect():
            piece = encode(_Alone(family))
            pieces.append(piece.removesuffix(_EOF) if has_eof else piece)
            await asyncio.sleep(0)
        if has_eof:
            pieces.append(_EOF)
        return b"".join(pieces), content_type


class _Alone(Collector):
    """One family in the place of a registry."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return (self._family,)


def _numbers(row: MetricRow, scrape: Scrape) -> Metric:
    """A counter or a gauge."""
    kind = CounterMetricFamily if row.kind is MetricKind.COUNTER else GaugeMetricFamily
    family = kind(row.name, row.help, labels=row.labels)
    for labels, value in _samples(row, scrape):
        if not isinstance(value, (int, float)):
            raise _misfit(row, value)
        family.add_metric(labels, float(value))
    return family


def _histogram(row: MetricRow, scrape: Scrape) -> Metric:
    family = HistogramMetricFamily(row.name, row.help, labels=row.labels)
    bounds = (*map(repr, row.buckets), "+Inf")  # as OpenMetrics spells them
    for labels, value in _samples(row, scrape):
        if not isinstance(value, Durations):
            raise _misfit(row, value)
        # As Prometheus wants them: each holds those below it.
        totals = accumulate(map(float, value.buckets))
        family.add_metric(labels, list(zip(bounds, totals, strict=True)), value.seconds)
    return family


def _info(row: MetricRow, scrape: Scrape) -> Metric:
    family = InfoMetricFamily(row.name.removesuffix("_info"), row.help, labels=row.labels)
    for labels, value in _samples(row, scrape):
        if value != 1:
            raise _misfit(row, value)
        family.add_metric(labels, {})
    return family


def _samples(row: MetricRow, scrape: Scrape) -> Iterator[tuple[Labels, float | Durations]]:
    """Those that have a value. Raises ``ValueError`` where a label is missing or one too many: the
    library would leave it out without a word.
    """
    for labels, value in row.read(scrape):
        if len(labels) != len(row.labels):
            raise ValueError(f"{row.name} has labels {row.labels}, and a sample has {labels}")
        if value is not None:
            yield labels, value


def _misfit(row: MetricRow, value: object) -> TypeError:
    return TypeError(f"{row.name} is of kind {row.kind}, and a sample is {value!r}")


def family_of(row: MetricRow, scrape: Scrape) -> Metric:
    """What the row makes of a scrape. Raises ``TypeError`` and ``ValueError`` where a sample does
    not fit the row's kind, buckets or labels.
    """
    return _FAMILIES[row.kind](row, scrape)


_FAMILIES: Final[Mapping[MetricKind, Callable[[MetricRow, Scrape], Metric]]] = {
    MetricKind.COUNTER: _numbers,
    MetricKind.GAUGE: _numbers,
    MetricKind.HISTOGRAM: _histogram,
    MetricKind.INFO: _info,
}
