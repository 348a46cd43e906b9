"""What Prometheus reads of each chain's transactions: what wallets were told, what became of it.

``SendFigures`` are plain values, taken at scrape time by whoever knows the chain; ``families``
writes them beside the counters. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from rpcproxy.edges.metrics.send_counters import MINED_BUCKET_SECONDS, SendCounters

# As OpenMetrics spells them.
_BUCKET_NAMES: Final = (*map(repr, MINED_BUCKET_SECONDS), "+Inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class SendFigures:
    """One chain's transactions at this moment. ``oldest_pending_seconds`` is 0 while none is
    pending, ``journal_bytes`` ``None`` while no journal is open. ``is_journal_troubled``: what is
    to be written down cannot be.
    """

    pending: int = 0
    oldest_pending_seconds: float = 0.0
    journal_bytes: int | None = None
    is_journal_troubled: bool = False


@dataclass(frozen=True, slots=True)
class _Counter:
    name: str
    help: str
    read: Callable[[SendCounters], int]


@dataclass(frozen=True, slots=True)
class _Gauge:
    """``None`` is left out."""

    name: str
    help: str
    read: Callable[[SendFigures], float | None]


_COUNTERS: Final = (
    _Counter(
        "rpcproxy_send_contradictions",
        "Transactions that one upstream took and another calls impossible.",
        lambda sends: sends.contradictions,
    ),
    _Counter(
        "rpcproxy_sends_unwritten",
        "Transactions that could not be written to the journal.",
        lambda sends: sends.unwritten,
    ),
    _Counter(
        "rpcproxy_rebroadcasts",
        "Copies of pending transactions that were sent again.",
        lambda sends: sends.rebroadcasts,
    ),
    _Counter(
        "rpcproxy_transactions_expired",
        "Transactions given up, as no block took them.",
        lambda sends: sends.expired,
    ),
)
_GAUGES: Final = (
    _Gauge(
        "rpcproxy_transactions_pending",
        "Transactions that wait for their block.",
        lambda figures: figures.pending,
    ),
    _Gauge(
        "rpcproxy_transactions_oldest_pending_seconds",
        "For how long the oldest of them has waited, 0 while there is none.",
        lambda figures: figures.oldest_pending_seconds,
    ),
    _Gauge(
        "rpcproxy_journal_bytes",
        "Size of the journal of transactions, its log included.",
        lambda figures: figures.journal_bytes,
    ),
    _Gauge(
        "rpcproxy_journal_trouble",
        "1 while transactions cannot be written to the journal.",
        lambda figures: figures.is_journal_troubled,
    ),
)


def families(
    counters: Mapping[str, SendCounters], figures: Mapping[str, SendFigures]
) -> Iterator[Metric]:
    """One family after the other, each with all chains."""
    yield from _told(counters)
    for row in _COUNTERS:
        counted = CounterMetricFamily(row.name, row.help, labels=["chain"])
        for chain, sends in counters.items():
            counted.add_metric([chain], row.read(sends))
        yield counted
    yield _mined(counters)
    for gauge in _GAUGES:
        measured = GaugeMetricFamily(gauge.name, gauge.help, labels=["chain"])
        for chain, now in figures.items():
            value = gauge.read(now)
            if value is not None:
                measured.add_metric([chain], float(value))
        yield measured


def _told(counters: Mapping[str, SendCounters]) -> Iterator[Metric]:
    sends = CounterMetricFamily(
        "rpcproxy_sends", "Transactions, by what the wallet was told.", labels=["chain", "result"]
    )
    rejected = CounterMetricFamily(
        "rpcproxy_sends_rejected",
        "Transactions that the wallet was told no for, by why.",
        labels=["chain", "reason"],
    )
    for chain, counted in counters.items():
        sends.add_metric([chain, "accepted"], counted.accepted)
        sends.add_metric([chain, "rejected"], sum(counted.rejected.values()))
        # From the start: what first appears at 1 has not grown, for Prometheus.
        for reason, number in {"unserved": 0, **counted.rejected}.items():
            rejected.add_metric([chain, reason], number)
    yield sends
    yield rejected


def _mined(counters: Mapping[str, SendCounters]) -> Metric:
    seconds = HistogramMetricFamily(
        "rpcproxy_transaction_mined_seconds",
        "Time from a transaction's arrival here until it was seen in a block.",
        labels=["chain"],
    )
    for chain, counted in counters.items():
        totals = accumulate(map(float, counted.mined_buckets))
        buckets = list(zip(_BUCKET_NAMES, totals, strict=True))
        seconds.add_metric([chain], buckets, counted.mined_seconds)
    return seconds
