"""Rows of the table of metrics: transactions, what wallets were told and what became of them."""

from __future__ import annotations

from typing import Final

from rpcproxy.edges.metrics.metric_row import (
    CHAIN,
    Durations,
    MetricKind,
    MetricRow,
    MetricUnit,
    Values,
    by_key,
    counted,
    counted_by,
    measured,
)
from rpcproxy.edges.metrics.metrics import ChainCounters
from rpcproxy.edges.metrics.send_counters import MINED_BUCKET_SECONDS

_COUNTER, _GAUGE = MetricKind.COUNTER, MetricKind.GAUGE


def _sends(chain: ChainCounters) -> Values:
    yield ("accepted",), chain.sends.accepted
    yield ("rejected",), sum(chain.sends.rejected.values())


def _rejected(chain: ChainCounters) -> Values:
    # From the start: what first appears at 1 has not grown, for Prometheus.
    return by_key({"unserved": 0, **chain.sends.rejected})


def _mined(chain: ChainCounters) -> Values:
    yield (), Durations(chain.sends.mined_buckets, chain.sends.mined_seconds)


SEND_ROWS: Final = (
    MetricRow(
        "rpcproxy_sends_total",
        _COUNTER,
        MetricUnit.COUNT,
        ("chain", "result"),
        "Transactions, by what the wallet was told.",
        counted_by(_sends),
    ),
    MetricRow(
        "rpcproxy_sends_rejected_total",
        _COUNTER,
        MetricUnit.COUNT,
        ("chain", "reason"),
        "Transactions that the wallet was told no for, by why.",
        counted_by(_rejected),
    ),
    MetricRow(
        "rpcproxy_send_contradictions_total",
        _COUNTER,
        MetricUnit.COUNT,
        CHAIN,
        "Transactions that one upstream took and another calls impossible.",
        counted(lambda chain: chain.sends.contradictions),
    ),
    MetricRow(
        "rpcproxy_sends_unwritten_total",
        _COUNTER,
        MetricUnit.COUNT,
        CHAIN,
        "Transactions that could not be written to the journal.",
        counted(lambda chain: chain.sends.unwritten),
    ),
    MetricRow(
        "rpcproxy_rebroadcasts_total",
        _COUNTER,
        MetricUnit.COUNT,
        CHAIN,
        "Copies of pending transactions that were sent again.",
        counted(lambda chain: chain.sends.rebroadcasts),
    ),
    MetricRow(
        "rpcproxy_transactions_expired_total",
        _COUNTER,
        MetricUnit.COUNT,
        CHAIN,
        "Transactions given up, as no block took them.",
        counted(lambda chain: chain.sends.expired),
    ),
    MetricRow(
        "rpcproxy_transaction_mined_seconds",
        MetricKind.HISTOGRAM,
        MetricUnit.SECONDS,
        CHAIN,
        "Time from a transaction's arrival here until it was seen in a block.",
        counted_by(_mined),
        MINED_BUCKET_SECONDS,
    ),
    MetricRow(
        "rpcproxy_transactions_pending",
        _GAUGE,
        MetricUnit.COUNT,
        CHAIN,
        "Transactions that wait for their block.",
        measured(lambda chain: chain.sends.pending),
    ),
    MetricRow(
        "rpcproxy_transactions_oldest_pending_seconds",
        _GAUGE,
        MetricUnit.SECONDS,
        CHAIN,
        "For how long the oldest of them has waited, 0 while there is none.",
        measured(lambda chain: chain.sends.oldest_pending_seconds),
    ),
    MetricRow(
        "rpcproxy_journal_bytes",
        _GAUGE,
        MetricUnit.BYTES,
        CHAIN,
        "Size of the journal of transactions, its log included.",
        measured(lambda chain: chain.sends.journal_bytes),
    ),
    MetricRow(
        "rpcproxy_journal_trouble",
        _GAUGE,
        MetricUnit.FLAG,
        CHAIN,
        "1 while transactions cannot be written to the journal.",
        measured(lambda chain: chain.sends.is_journal_troubled),
    ),
    MetricRow(
        "rpcproxy_sends_refused_seconds",
        _GAUGE,
        MetricUnit.SECONDS,
        CHAIN,
        "For how long transactions have been refused for a reason of our own, 0 while taken.",
        measured(lambda chain: chain.sends_refused_seconds),
    ),
)
