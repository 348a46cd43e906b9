"""Rows of the table of metrics: each upstream's place, state, latency and connections.

Standings come as ``rules.telling.snapshot`` gives them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rpcproxy.edges.metrics.metric_row import (
    UPSTREAM,
    UPSTREAM_CLASS,
    MetricKind,
    MetricRow,
    MetricUnit,
    Scrape,
    StandingSnapshot,
    Values,
    named,
    per_class,
    per_upstream,
)
from rpcproxy.states import UPSTREAM_STATES, BreakerState, UpstreamState

_GAUGE: Final = MetricKind.GAUGE
_PLACE: Final = ("provider", "cloud", "region", "tier", "role")


def _upstreams_by_state(scrape: Scrape) -> Values:
    for chain, upstreams in scrape.standings.items():
        states = [upstream.get("state") for upstream in upstreams]
        # Zeros included.
        for state in UpstreamState:
            yield (chain, state), states.count(state)


def _places(scrape: Scrape) -> Values:
    for labels, upstream in named(scrape):
        yield (*labels, *(str(upstream.get(key, "")) for key in _PLACE)), 1


def _states(scrape: Scrape) -> Values:
    for labels, upstream in named(scrape):
        for state in UpstreamState if "state" in upstream else ():
            yield (*labels, state), upstream["state"] == state


def _is_up(upstream: StandingSnapshot) -> bool | None:
    return UPSTREAM_STATES[upstream["state"]].is_well if "state" in upstream else None


def _is_forked(upstream: StandingSnapshot) -> bool | None:
    return upstream["state"] == UpstreamState.FORKED if "state" in upstream else None


def _unsupported(upstream: StandingSnapshot) -> int | None:
    return len(upstream["unsupported"]) if "unsupported" in upstream else None


def _latency_seconds(standing: StandingSnapshot) -> float | None:
    latency_ms: float | None = standing.get("latency_ms")
    return None if latency_ms is None else latency_ms / 1000


def _is_breaker_open(standing: StandingSnapshot) -> bool | None:
    return standing["breaker"] != BreakerState.CLOSED if "breaker" in standing else None


def _connections(read: Callable[[int, int], int]) -> Callable[[Scrape], Values]:
    """A value for each upstream, from the numbers of its open and idle connections."""
    return lambda scrape: (
        ((chain, upstream), read(open_count, idle_count))
        for chain, upstreams in scrape.connections.items()
        for upstream, (open_count, idle_count) in upstreams.items()
    )


UPSTREAM_ROWS: Final = (
    MetricRow(
        "rpcproxy_chain_upstreams",
        _GAUGE,
        MetricUnit.COUNT,
        ("chain", "state"),
        "Upstreams by state.",
        _upstreams_by_state,
    ),
    MetricRow(
        "rpcproxy_upstream_info",
        MetricKind.INFO,
        MetricUnit.FLAG,
        (*UPSTREAM, *_PLACE),
        "Where an upstream runs.",
        _places,
    ),
    MetricRow(
        "rpcproxy_upstream_state",
        _GAUGE,
        MetricUnit.FLAG,
        (*UPSTREAM, "state"),
        "1 for the state that the upstream is in, 0 for the others.",
        _states,
    ),
    MetricRow(
        "rpcproxy_upstream_up",
        _GAUGE,
        MetricUnit.FLAG,
        UPSTREAM,
        "1 while the upstream is well, 0 in any other state.",
        per_upstream(_is_up),
    ),
    MetricRow(
        "rpcproxy_upstream_forked",
        _GAUGE,
        MetricUnit.FLAG,
        UPSTREAM,
        "1 while it is not on our chain.",
        per_upstream(_is_forked),
    ),
    MetricRow(
        "rpcproxy_upstream_head_number",
        _GAUGE,
        MetricUnit.COUNT,
        UPSTREAM,
        "Highest block it told.",
        per_upstream(lambda upstream: upstream.get("head")),
    ),
    MetricRow(
        "rpcproxy_upstream_lag_blocks",
        _GAUGE,
        MetricUnit.BLOCKS,
        UPSTREAM,
        "Blocks behind the served head.",
        per_upstream(lambda upstream: upstream.get("lag")),
    ),
    MetricRow(
        "rpcproxy_upstream_in_flight",
        _GAUGE,
        MetricUnit.COUNT,
        UPSTREAM,
        "Attempts under way.",
        per_upstream(lambda upstream: upstream.get("in_flight")),
    ),
    MetricRow(
        "rpcproxy_upstream_cooldown_seconds",
        _GAUGE,
        MetricUnit.SECONDS,
        UPSTREAM,
        "Time left until it is asked again after it refused.",
        per_upstream(lambda upstream: upstream.get("cooldown_seconds")),
    ),
    MetricRow(
        "rpcproxy_upstream_suspect",
        _GAUGE,
        MetricUnit.FLAG,
        UPSTREAM,
        "1 while its fault domain is distrusted.",
        per_upstream(lambda upstream: upstream.get("suspect")),
    ),
    MetricRow(
        "rpcproxy_upstream_unsupported_methods",
        _GAUGE,
        MetricUnit.COUNT,
        UPSTREAM,
        "Methods it is not asked for, because it said that it lacks them.",
        per_upstream(_unsupported),
    ),
    MetricRow(
        "rpcproxy_upstream_cost",
        _GAUGE,
        MetricUnit.COUNT,
        UPSTREAM_CLASS,
        "What selection weighs: latency in ms, times load and penalties, over weight.",
        per_class(lambda standing: standing.get("cost")),
    ),
    MetricRow(
        "rpcproxy_upstream_latency_seconds",
        _GAUGE,
        MetricUnit.SECONDS,
        UPSTREAM_CLASS,
        "Peak-sensitive moving average of its answers' latency.",
        per_class(_latency_seconds),
    ),
    MetricRow(
        "rpcproxy_upstream_failure_ratio",
        _GAUGE,
        MetricUnit.RATIO,
        UPSTREAM_CLASS,
        "Decaying share of attempts that failed by its own fault.",
        per_class(lambda standing: standing.get("failure_share")),
    ),
    MetricRow(
        "rpcproxy_upstream_breaker_open",
        _GAUGE,
        MetricUnit.FLAG,
        UPSTREAM_CLASS,
        "1 while the breaker keeps requests away, half-open included.",
        per_class(_is_breaker_open),
    ),
    MetricRow(
        "rpcproxy_upstream_connections",
        _GAUGE,
        MetricUnit.COUNT,
        UPSTREAM,
        "Open connections, idle ones included.",
        _connections(lambda open_count, _: open_count),
    ),
    MetricRow(
        "rpcproxy_upstream_connections_idle",
        _GAUGE,
        MetricUnit.COUNT,
        UPSTREAM,
        "Connections that wait for work.",
        _connections(lambda _, idle_count: idle_count),
    ),
)
