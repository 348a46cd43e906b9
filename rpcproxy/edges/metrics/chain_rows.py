"""Rows of the table of metrics: each chain's heads, kept answers, audits and feeds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rpcproxy.edges.metrics.figures import ChainFigures, StoreFigures
from rpcproxy.edges.metrics.metric_row import (
    CHAIN,
    UPSTREAM,
    MetricKind,
    MetricRow,
    MetricUnit,
    Scrape,
    Values,
    by_key,
    measured,
    measured_by,
)

_COUNTER, _GAUGE = MetricKind.COUNTER, MetricKind.GAUGE
_STORE: Final = ("chain", "store")


def _per_store(read: Callable[[StoreFigures], float | None]) -> Callable[[Scrape], Values]:
    """A value for each chain and place that answers are kept in."""
    return measured_by(
        lambda chain: (((place,), read(store)) for place, store in chain.stores.items())
    )


def _audits(chain: ChainFigures) -> Values:
    audits = chain.audits
    yield ("agreed",), audits.agreed
    yield ("differed",), audits.differed
    yield ("unanswered",), audits.unanswered
    yield ("voided",), audits.voided


CHAIN_ROWS: Final = (
    MetricRow(
        "rpcproxy_chain_head_number",
        _GAUGE,
        MetricUnit.COUNT,
        CHAIN,
        "The block that answers are given from.",
        measured(lambda chain: chain.served),
    ),
    MetricRow(
        "rpcproxy_chain_safe_number",
        _GAUGE,
        MetricUnit.COUNT,
        CHAIN,
        "The block that stands for the tag safe.",
        measured(lambda chain: chain.safe),
    ),
    MetricRow(
        "rpcproxy_chain_finalized_number",
        _GAUGE,
        MetricUnit.COUNT,
        CHAIN,
        "The block that stands for the tag finalized.",
        measured(lambda chain: chain.finalized),
    ),
    MetricRow(
        "rpcproxy_chain_head_age_seconds",
        _GAUGE,
        MetricUnit.SECONDS,
        CHAIN,
        "Time since the served head moved.",
        measured(lambda chain: chain.head_age_seconds),
    ),
    MetricRow(
        "rpcproxy_chain_reorgs_total",
        _COUNTER,
        MetricUnit.COUNT,
        CHAIN,
        "Reorgs that the served head followed.",
        measured(lambda chain: chain.reorgs),
    ),
    MetricRow(
        "rpcproxy_chain_last_reorg_depth",
        _GAUGE,
        MetricUnit.BLOCKS,
        CHAIN,
        "Blocks that the last reorg replaced.",
        measured(lambda chain: chain.last_reorg_depth),
    ),
    MetricRow(
        "rpcproxy_chain_head_jumps_total",
        _COUNTER,
        MetricUnit.COUNT,
        CHAIN,
        "Moves of the served head to a block that nothing linked to it.",
        measured(lambda chain: chain.head_jumps),
    ),
    MetricRow(
        "rpcproxy_chain_split",
        _GAUGE,
        MetricUnit.FLAG,
        CHAIN,
        "1 while half or more of the upstreams have left our chain and do not agree.",
        measured(lambda chain: chain.is_split),
    ),
    MetricRow(
        "rpcproxy_chain_halted",
        _GAUGE,
        MetricUnit.FLAG,
        CHAIN,
        "1 while all heads stand still.",
        measured(lambda chain: chain.halted_seconds is not None),
    ),
    MetricRow(
        "rpcproxy_chain_halted_seconds",
        _GAUGE,
        MetricUnit.SECONDS,
        CHAIN,
        "For how long all heads have stood still, 0 while they move.",
        measured(lambda chain: chain.halted_seconds or 0.0),
    ),
    MetricRow(
        "rpcproxy_chain_usable_upstreams",
        _GAUGE,
        MetricUnit.COUNT,
        CHAIN,
        "Upstreams that can be asked for light reads now.",
        measured(lambda chain: chain.usable),
    ),
    MetricRow(
        "rpcproxy_chain_outage_seconds",
        _GAUGE,
        MetricUnit.SECONDS,
        CHAIN,
        "For how long nobody could be asked for light reads, 0 while somebody can.",
        measured(lambda chain: chain.outage_seconds or 0.0),
    ),
    MetricRow(
        "rpcproxy_chain_panic",
        _GAUGE,
        MetricUnit.FLAG,
        CHAIN,
        "1 while so few upstreams are usable that ejected ones are asked as well.",
        measured(lambda chain: chain.is_panicking),
    ),
    MetricRow(
        "rpcproxy_audit_calls_total",
        _COUNTER,
        MetricUnit.COUNT,
        CHAIN,
        "Calls made to compare an answer with another company's.",
        measured(lambda chain: chain.audits.asked),
    ),
    MetricRow(
        "rpcproxy_cache_hits_total",
        _COUNTER,
        MetricUnit.COUNT,
        _STORE,
        "Look-ups that found an answer.",
        _per_store(lambda store: store.hits),
    ),
    MetricRow(
        "rpcproxy_cache_misses_total",
        _COUNTER,
        MetricUnit.COUNT,
        _STORE,
        "Look-ups that found none.",
        _per_store(lambda store: store.misses),
    ),
    MetricRow(
        "rpcproxy_cache_evicted_total",
        _COUNTER,
        MetricUnit.COUNT,
        _STORE,
        "Answers that others pushed out.",
        _per_store(lambda store: store.evicted),
    ),
    MetricRow(
        "rpcproxy_cache_rejected_total",
        _COUNTER,
        MetricUnit.COUNT,
        _STORE,
        "Answers that were not kept: too large, or too many at once.",
        _per_store(lambda store: store.rejected),
    ),
    MetricRow(
        "rpcproxy_cache_entries",
        _GAUGE,
        MetricUnit.COUNT,
        _STORE,
        "Answers kept.",
        _per_store(lambda store: store.entries),
    ),
    MetricRow(
        "rpcproxy_cache_bytes",
        _GAUGE,
        MetricUnit.BYTES,
        _STORE,
        "What keeping them takes.",
        _per_store(lambda store: store.size_bytes),
    ),
    MetricRow(
        "rpcproxy_audits_total",
        _COUNTER,
        MetricUnit.COUNT,
        ("chain", "finding"),
        "Audits that ended, by what they found.",
        measured_by(_audits),
    ),
    MetricRow(
        "rpcproxy_audits_odd_total",
        _COUNTER,
        MetricUnit.COUNT,
        UPSTREAM,
        "Audits in which this upstream stood alone against two others.",
        measured_by(lambda chain: by_key(chain.audits.odd)),
    ),
    MetricRow(
        "rpcproxy_upstream_feed_live",
        _GAUGE,
        MetricUnit.FLAG,
        UPSTREAM,
        "1 while its new heads arrive over WebSocket.",
        measured_by(lambda chain: by_key(chain.feeds)),
    ),
)
