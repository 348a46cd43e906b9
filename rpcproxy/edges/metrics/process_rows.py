"""Rows of the table of metrics: the process, its configuration, its clients' connections."""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Final

from rpcproxy import __version__
from rpcproxy.edges.metrics.metric_row import (
    NO_LABELS,
    MetricKind,
    MetricRow,
    MetricUnit,
    Scrape,
    Values,
    by_key,
    once,
)

_COUNTER, _GAUGE = MetricKind.COUNTER, MetricKind.GAUGE


def _build(_: Scrape) -> Values:
    yield (__version__, platform.python_version()), 1


def _front(key: str) -> Callable[[Scrape], Values]:
    return once(lambda scrape: scrape.front.get(key, 0))


PROCESS_ROWS: Final = (
    MetricRow(
        "rpcproxy_build_info",
        MetricKind.INFO,
        MetricUnit.FLAG,
        ("version", "python"),
        "What runs here.",
        _build,
    ),
    MetricRow(
        "rpcproxy_config_reloads_total",
        _COUNTER,
        MetricUnit.COUNT,
        ("result",),
        "Reloads of the configuration.",
        lambda scrape: by_key(scrape.counters.reloads),
    ),
    MetricRow(
        "rpcproxy_notices_total",
        _COUNTER,
        MetricUnit.COUNT,
        ("result",),
        "Changes that webhooks were to be told of, by what became of it.",
        lambda scrape: by_key(scrape.counters.notices),
    ),
    MetricRow(
        "rpcproxy_event_loop_lag_seconds",
        _GAUGE,
        MetricUnit.SECONDS,
        NO_LABELS,
        "How late the event loop woke, the worst since the last scrape.",
        once(lambda scrape: scrape.loop_lag_seconds),
    ),
    MetricRow(
        "rpcproxy_client_connections",
        _GAUGE,
        MetricUnit.COUNT,
        NO_LABELS,
        "Open connections of clients.",
        _front("client_connections"),
    ),
    MetricRow(
        "rpcproxy_client_connections_refused_total",
        _COUNTER,
        MetricUnit.COUNT,
        NO_LABELS,
        "Connections of clients refused over the limit.",
        _front("client_connections_refused"),
    ),
    MetricRow(
        "rpcproxy_held_bytes",
        _GAUGE,
        MetricUnit.BYTES,
        NO_LABELS,
        "Memory held for clients and from upstreams.",
        _front("held_bytes"),
    ),
    MetricRow(
        "rpcproxy_client_requests_crowded_out_total",
        _COUNTER,
        MetricUnit.COUNT,
        NO_LABELS,
        "Requests refused because too much is held for their client.",
        _front("client_requests_crowded_out"),
    ),
    MetricRow(
        "rpcproxy_timeline_trouble",
        _GAUGE,
        MetricUnit.FLAG,
        NO_LABELS,
        "1 while what happens cannot be written to the timeline's file.",
        _front("timeline_trouble"),
    ),
    MetricRow(
        "rpcproxy_refusing",
        _GAUGE,
        MetricUnit.FLAG,
        ("what",),
        "1 while clients are turned away, or upstreams cannot be asked, for a reason of our own.",
        lambda scrape: by_key(
            {what: scrape.front.get(f"refusing_{what}", 0.0) for what in ("attempts", "clients")}
        ),
    ),
)
