"""What Prometheus reads of each chain beside its counters: heads, kept answers, audits, feeds.

``ChainFigures`` are plain values, taken at scrape time by whoever knows the chain; ``families``
writes them, all but ``sends``, which ``send_exposition`` does. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from rpcproxy.edges.metrics.send_exposition import SendFigures

MEMORY: Final = "memory"
DISK: Final = "disk"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFigures:
    """One place that answers are kept in. ``size_bytes`` and ``evicted`` are ``None`` where the
    place does not tell.
    """

    entries: int = 0
    size_bytes: int | None = None
    hits: int = 0
    misses: int = 0
    evicted: int | None = None
    rejected: int = 0  # too large, or too many waited to be written


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFigures:
    """``asked`` counts calls, the others audits; ``odd`` those in which an upstream stood alone."""

    asked: int = 0
    agreed: int = 0
    differed: int = 0
    unanswered: int = 0
    voided: int = 0
    odd: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainFigures:
    """One chain at this moment. Numbers are ``None`` while they are not known;
    ``halted_seconds`` is ``None`` while the chain moves, ``outage_seconds`` while somebody can
    serve light reads (``usable`` upstreams can), ``last_reorg_depth`` where the last turn was none.
    ``stores`` by place; ``feeds``: whether each upstream's is live.
    """

    served: int | None = None
    safe: int | None = None
    finalized: int | None = None
    head_age_seconds: float | None = None
    reorgs: int = 0
    last_reorg_depth: int | None = None
    head_jumps: int = 0
    is_split: bool = False
    halted_seconds: float | None = None
    usable: int = 0
    outage_seconds: float | None = None
    is_panicking: bool = False
    stores: Mapping[str, StoreFigures] = field(default_factory=dict)
    audits: AuditFigures = AuditFigures()
    feeds: Mapping[str, bool] = field(default_factory=dict)
    sends: SendFigures = field(default_factory=SendFigures)


Chains = Mapping[str, ChainFigures]


@dataclass(frozen=True, slots=True)
class _Row:
    """One family with a sample per chain; ``None`` is left out."""

    name: str
    help: str
    read: Callable[[ChainFigures], float | None]
    is_counter: bool = False


_CHAIN: Final = (
    _Row(
        "rpcproxy_chain_head_number",
        "The block that answers are given from.",
        lambda chain: chain.served,
    ),
    _Row(
        "rpcproxy_chain_safe_number",
        "The block that stands for the tag safe.",
        lambda chain: chain.safe,
    ),
    _Row(
        "rpcproxy_chain_finalized_number",
        "The block that stands for the tag finalized.",
        lambda chain: chain.finalized,
    ),
    _Row(
        "rpcproxy_chain_head_age_seconds",
        "Time since the served head moved.",
        lambda chain: chain.head_age_seconds,
    ),
    _Row(
        "rpcproxy_chain_reorgs",
        "Reorgs that the served head followed.",
        lambda chain: chain.reorgs,
        is_counter=True,
    ),
    _Row(
        "rpcproxy_chain_last_reorg_depth",
        "Blocks that the last reorg replaced.",
        lambda chain: chain.last_reorg_depth,
    ),
    _Row(
        "rpcproxy_chain_head_jumps",
        "Moves of the served head to a block that nothing linked to it.",
        lambda chain: chain.head_jumps,
        is_counter=True,
    ),
    _Row(
        "rpcproxy_chain_split",
        "1 while half or more of the upstreams have left our chain and do not agree.",
        lambda chain: chain.is_split,
    ),
    _Row(
        "rpcproxy_chain_halted",
        "1 while all heads stand still.",
        lambda chain: chain.halted_seconds is not None,
    ),
    _Row(
        "rpcproxy_chain_halted_seconds",
        "For how long all heads have stood still, 0 while they move.",
        lambda chain: chain.halted_seconds or 0.0,
    ),
    _Row(
        "rpcproxy_chain_usable_upstreams",
        "Upstreams that can be asked for light reads now.",
        lambda chain: chain.usable,
    ),
    _Row(
        "rpcproxy_chain_outage_seconds",
        "For how long nobody could be asked for light reads, 0 while somebody can.",
        lambda chain: chain.outage_seconds or 0.0,
    ),
    _Row(
        "rpcproxy_chain_panic",
        "1 while so few upstreams are usable that ejected ones are asked as well.",
        lambda chain: chain.is_panicking,
    ),
    _Row(
        "rpcproxy_audit_calls",
        "Calls made to compare an answer with another company's.",
        lambda chain: chain.audits.asked,
        is_counter=True,
    ),
)


@dataclass(frozen=True, slots=True)
class _StoreRow:
    name: str
    help: str
    read: Callable[[StoreFigures], float | None]
    is_counter: bool = True


_STORES: Final = (
    _StoreRow("rpcproxy_cache_hits", "Look-ups that found an answer.", lambda store: store.hits),
    _StoreRow("rpcproxy_cache_misses", "Look-ups that found none.", lambda store: store.misses),
    _StoreRow(
        "rpcproxy_cache_evicted", "Answers that others pushed out.", lambda store: store.evicted
    ),
    _StoreRow(
        "rpcproxy_cache_rejected",
        "Answers that were not kept: too large, or too many at once.",
        lambda store: store.rejected,
    ),
    _StoreRow(
        "rpcproxy_cache_entries",
        "Answers kept.",
        lambda store: store.entries,
        is_counter=False,
    ),
    _StoreRow(
        "rpcproxy_cache_bytes",
        "What keeping them takes.",
        lambda store: store.size_bytes,
        is_counter=False,
    ),
)


def families(chains: Chains) -> Iterator[Metric]:
    """One family after the other, each with all chains."""
    for row in _CHAIN:
        family = _family(row.name, row.help, ["chain"], is_counter=row.is_counter)
        for chain, figures in chains.items():
            _add(family, [chain], row.read(figures))
        yield family
    for store_row in _STORES:
        family = _family(
            store_row.name, store_row.help, ["chain", "store"], is_counter=store_row.is_counter
        )
        for chain, figures in chains.items():
            for place, store in figures.stores.items():
                _add(family, [chain, place], store_row.read(store))
        yield family
    yield from _audits(chains)
    live = GaugeMetricFamily(
        "rpcproxy_upstream_feed_live",
        "1 while its new heads arrive over WebSocket.",
        labels=["chain", "upstream"],
    )
    for chain, figures in chains.items():
        for upstream, is_live in figures.feeds.items():
            live.add_metric([chain, upstream], is_live)
    yield live


def _audits(chains: Chains) -> Iterator[Metric]:
    ended = CounterMetricFamily(
        "rpcproxy_audits", "Audits that ended, by what they found.", labels=["chain", "finding"]
    )
    odd = CounterMetricFamily(
        "rpcproxy_audits_odd",
        "Audits in which this upstream stood alone against two others.",
        labels=["chain", "upstream"],
    )
    for chain, figures in chains.items():
        audits = figures.audits
        for finding in ("agreed", "differed", "unanswered", "voided"):
            ended.add_metric([chain, finding], getattr(audits, finding))
        for upstream, count in audits.odd.items():
            odd.add_metric([chain, upstream], count)
    yield ended
    yield odd


def _family(
    name: str, text: str, labels: list[str], *, is_counter: bool
) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if is_counter else GaugeMetricFamily
    return kind(name, text, labels=labels)


def _add(
    family: CounterMetricFamily | GaugeMetricFamily, labels: list[str], value: float | None
) -> None:
    if value is not None:
        family.add_metric(labels, float(value))
