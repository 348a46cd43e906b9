"""What Prometheus reads of each upstream: where it runs, its state, latency, connections.

``families`` writes standings, as ``Standings.snapshot`` gives them, at scrape time. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric

from rpcproxy.states import UPSTREAM_STATES, BreakerState, UpstreamState

StandingSnapshot = Mapping[str, Any]

_LABELS: Final = ("provider", "cloud", "region", "tier", "role")


@dataclass(frozen=True, slots=True)
class _Gauge:
    """One figure per upstream, or per upstream and method class; ``None`` is left out."""

    name: str
    help: str
    read: Callable[[StandingSnapshot], Any]


_UPSTREAM_GAUGES: Final = (
    _Gauge(
        "up",
        "1 while the upstream is well, 0 in any other state.",
        lambda standing: (
            UPSTREAM_STATES[standing["state"]].is_well if "state" in standing else None
        ),
    ),
    _Gauge(
        "forked",
        "1 while it is not on our chain.",
        lambda standing: standing["state"] == UpstreamState.FORKED if "state" in standing else None,
    ),
    _Gauge("head_number", "Highest block it told.", lambda standing: standing.get("head")),
    _Gauge("lag_blocks", "Blocks behind the served head.", lambda standing: standing.get("lag")),
    _Gauge("in_flight", "Attempts under way.", lambda standing: standing.get("in_flight")),
    _Gauge(
        "cooldown_seconds",
        "Time left until it is asked again after it refused.",
        lambda standing: standing.get("cooldown_seconds"),
    ),
    _Gauge(
        "suspect",
        "1 while its fault domain is distrusted.",
        lambda standing: standing.get("suspect"),
    ),
    _Gauge(
        "unsupported_methods",
        "Methods it is not asked for, because it said that it lacks them.",
        lambda standing: len(standing["unsupported"]) if "unsupported" in standing else None,
    ),
)

_CLASS_GAUGES: Final = (
    _Gauge(
        "cost",
        "What selection weighs: latency in ms, times load and penalties, over weight.",
        lambda standing: standing.get("cost"),
    ),
    _Gauge(
        "latency_seconds",
        "Peak-sensitive moving average of its answers' latency.",
        lambda standing: (
            None if standing.get("latency_ms") is None else standing["latency_ms"] / 1000
        ),
    ),
    _Gauge(
        "failure_ratio",
        "Decaying share of attempts that failed by its own fault.",
        lambda standing: standing.get("failure_share"),
    ),
    _Gauge(
        "breaker_open",
        "1 while the breaker keeps requests away, half-open included.",
        lambda standing: (
            standing["breaker"] != BreakerState.CLOSED if "breaker" in standing else None
        ),
    ),
)


def families(
    standings: Mapping[str, Sequence[StandingSnapshot]],
    connections: Mapping[str, Mapping[str, tuple[int, int]]],
) -> Iterator[Metric]:
    """One family after the other, each with all upstreams. ``connections``: chain → upstream →
    (open, idle) ones.
    """
    yield _states(standings)
    yield from _upstreams(standings)
    yield from _connections(connections)


def _states(standings: Mapping[str, Sequence[StandingSnapshot]]) -> Metric:
    by_state = GaugeMetricFamily(
        "rpcproxy_chain_upstreams", "Upstreams by state.", labels=["chain", "state"]
    )
    for chain, upstreams in standings.items():
        states = [upstream.get("state") for upstream in upstreams]
        # Zeros included.
        for state in UpstreamState:
            by_state.add_metric([chain, state], states.count(state))
    return by_state


def _upstreams(standings: Mapping[str, Sequence[StandingSnapshot]]) -> Iterator[Metric]:
    named = [
        (chain, str(upstream["name"]), upstream)
        for chain, upstreams in standings.items()
        for upstream in upstreams
        if "name" in upstream
    ]
    info = InfoMetricFamily(
        "rpcproxy_upstream", "Where an upstream runs.", labels=["chain", "upstream"]
    )
    for chain, name, upstream in named:
        info.add_metric([chain, name], {key: str(upstream.get(key, "")) for key in _LABELS})
    yield info
    now = GaugeMetricFamily(
        "rpcproxy_upstream_state",
        "1 for the state that the upstream is in, 0 for the others.",
        labels=["chain", "upstream", "state"],
    )
    for chain, name, upstream in named:
        for state in UpstreamState if "state" in upstream else ():
            now.add_metric([chain, name, state], upstream["state"] == state)
    yield now
    for gauge in _UPSTREAM_GAUGES:
        family = _family(gauge, "chain", "upstream")
        for chain, name, upstream in named:
            _add(family, [chain, name], gauge.read(upstream))
        yield family
    for gauge in _CLASS_GAUGES:
        family = _family(gauge, "chain", "upstream", "method_class")
        for chain, name, upstream in named:
            for class_name, standing in upstream.get("classes", {}).items():
                _add(family, [chain, name, class_name], gauge.read(standing))
        yield family


def _connections(chains: Mapping[str, Mapping[str, tuple[int, int]]]) -> Iterator[Metric]:
    labels = ["chain", "upstream"]
    opened = GaugeMetricFamily(
        "rpcproxy_upstream_connections", "Open connections, idle ones included.", labels=labels
    )
    idle = GaugeMetricFamily(
        "rpcproxy_upstream_connections_idle", "Connections that wait for work.", labels=labels
    )
    for chain, upstreams in chains.items():
        for upstream, (open_count, idle_count) in upstreams.items():
            opened.add_metric([chain, upstream], open_count)
            idle.add_metric([chain, upstream], idle_count)
    yield opened
    yield idle


def _family(gauge: _Gauge, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"rpcproxy_upstream_{gauge.name}", gauge.help, labels=labels)


def _add(family: GaugeMetricFamily, labels: Sequence[str], value: float | None) -> None:
    if value is not None:
        family.add_metric(labels, float(value))
