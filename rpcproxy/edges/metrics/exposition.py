"""What Prometheus reads: the counters and the standings as metric families.

``ProxyCollector`` reads ``Counters``, and what others tell it through callables, at scrape
time (heads, kept answers and audits: see ``figures``; transactions: ``send_exposition``);
``Exposition`` writes the families in the format that was asked for. Labels are bounded: chains and
upstreams come from the configuration, everything else from fixed tables. No state of its own.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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

from rpcproxy import __version__
from rpcproxy.edges.metrics import figures, send_exposition, upstream_exposition
from rpcproxy.edges.metrics.metrics import ChainCounters, Counters
from rpcproxy.edges.metrics.upstream_exposition import StandingSnapshot
from rpcproxy.messages import CLASS_NAMES, MethodClass, Verdict
from rpcproxy.states import RequestOutcome

__all__ = ["Exposition", "ProxyCollector", "Sources", "StandingSnapshot"]

_EOF: Final = b"# EOF\n"


def _nothing() -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the collector asks at scrape time; all are called on the event loop's thread.

    ``standings``: chain → one mapping per upstream, as ``Standings.snapshot`` gives it; keys
    that are missing leave their sample out. ``front``: ``client_connections`` and ``held_bytes``
    now, ``client_connections_refused`` and ``client_requests_crowded_out`` so far. ``chains``:
    chain → its heads, kept answers, audits, feeds and transactions. ``connections``: chain →
    upstream → (open, idle) connections.
    """

    standings: Callable[[], Mapping[str, Sequence[StandingSnapshot]]] = _nothing
    front: Callable[[], Mapping[str, float]] = _nothing
    chains: Callable[[], figures.Chains] = _nothing
    connections: Callable[[], Mapping[str, Mapping[str, tuple[int, int]]]] = _nothing


# Counters by upstream, by reason, and plain: attribute of ChainCounters, name, help.
_BY_UPSTREAM: Final = (
    ("hedges", "rpcproxy_hedges", "Second copies sent while the first was awaited."),
    ("hedges_won", "rpcproxy_hedges_won", "Second copies that answered first."),
)
_PLAIN: Final = (
    ("local_answers", "rpcproxy_local_answers", "Requests answered by the proxy itself."),
    ("joined", "rpcproxy_joined_requests", "Requests that followed another in flight."),
    ("batches", "rpcproxy_batches", "Batches received."),
    ("batch_members", "rpcproxy_batch_members", "Requests received inside batches."),
    (
        "budget_exhausted",
        "rpcproxy_retry_budget_exhausted",
        "Retries and hedges not made because the retry budget was used up.",
    ),
    (
        "unserved",
        "rpcproxy_unserved",
        "Requests whose wallet was told that nobody could serve them.",
    ),
    (
        "waited_for_recovery",
        "rpcproxy_waited_for_recovery",
        "Requests that found nobody to ask and waited for the first recovery.",
    ),
)


class ProxyCollector(Collector):
    """The proxy's own metric families. Scraping takes the worst event loop lag with it."""

    def __init__(self, counters: Counters, sources: Sources | None = None) -> None:
        self._counters = counters
        self._sources = sources or Sources()

    def collect(self) -> Iterator[Metric]:
        yield from self._process()
        chains = self._counters.chains
        yield from _requests(chains)
        yield from _attempts(chains)
        yield from _events(chains)
        yield from _plain(chains)
        standings = self._sources.standings()
        known = self._sources.chains()
        yield from figures.families(known)
        yield from send_exposition.families(
            {chain: counters.sends for chain, counters in chains.items()},
            {chain: now.sends for chain, now in known.items()},
        )
        yield from upstream_exposition.families(standings, self._sources.connections())

    def _process(self) -> Iterator[Metric]:
        build = {"version": __version__, "python": platform.python_version()}
        yield InfoMetricFamily("rpcproxy_build", "What runs here.", value=build)
        reloads = CounterMetricFamily(
            "rpcproxy_config_reloads", "Reloads of the configuration.", labels=["result"]
        )
        for result, count in self._counters.reloads.items():
            reloads.add_metric([result], count)
        yield reloads
        notices = CounterMetricFamily(
            "rpcproxy_notices",
            "Changes that webhooks were to be told of, by what became of it.",
            labels=["result"],
        )
        for result, count in self._counters.notices.items():
            notices.add_metric([result], count)
        yield notices
        yield GaugeMetricFamily(
            "rpcproxy_event_loop_lag_seconds",
            "How late the event loop woke, the worst since the last scrape.",
            value=self._counters.take_loop_lag(),
        )
        front = self._sources.front()
        yield GaugeMetricFamily(
            "rpcproxy_client_connections",
            "Open connections of clients.",
            value=front.get("client_connections", 0),
        )
        yield CounterMetricFamily(
            "rpcproxy_client_connections_refused",
            "Connections of clients refused over the limit.",
            value=front.get("client_connections_refused", 0),
        )
        yield GaugeMetricFamily(
            "rpcproxy_held_bytes",
            "Memory held for clients and from upstreams.",
            value=front.get("held_bytes", 0),
        )
        yield CounterMetricFamily(
            "rpcproxy_client_requests_crowded_out",
            "Requests refused because too much is held for their client.",
            value=front.get("client_requests_crowded_out", 0),
        )


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


def _requests(chains: Mapping[str, ChainCounters]) -> Iterator[Metric]:
    count = CounterMetricFamily(
        "rpcproxy_requests",
        "Requests answered: ok, rpc_error of an upstream, own_error, local without an upstream,"
        " kept without a new question.",
        labels=["chain", "method_class", "outcome"],
    )
    seconds = HistogramMetricFamily(
        "rpcproxy_request_seconds",
        "Time from a request to its answer; local answers are mostly not timed.",
        labels=["chain", "method_class"],
    )
    for chain, counters in chains.items():
        for name, tally in zip(CLASS_NAMES, counters.requests, strict=True):
            for outcome, number in tally.labels.items():
                count.add_metric([chain, name, outcome], number + _untimed(counters, name, outcome))
            seconds.add_metric([chain, name], tally.cumulative(), tally.seconds)
    yield count
    yield seconds


def _untimed(counters: ChainCounters, class_name: str, outcome: str) -> int:
    """Local answers that were not timed: they are light reads."""
    is_light = class_name == CLASS_NAMES[MethodClass.LIGHT]
    return counters.local_answers if is_light and outcome == RequestOutcome.LOCAL else 0


def _attempts(chains: Mapping[str, ChainCounters]) -> Iterator[Metric]:
    labels = ["chain", "upstream", "verdict"]
    count = CounterMetricFamily("rpcproxy_attempts", "Attempts that ended.", labels=labels)
    probes = CounterMetricFamily("rpcproxy_probes", "Probes that ended.", labels=labels)
    seconds = HistogramMetricFamily(
        "rpcproxy_attempt_seconds",
        "Time from sending an attempt to its end; cancelled ones are not timed.",
        labels=["chain", "upstream"],
    )
    for chain, counters in chains.items():
        for upstream, tally in counters.attempts.items():
            for verdict, number in tally.labels.items():
                # Of some thirty verdicts most upstreams show five.
                if number or verdict == Verdict.OK.label:
                    count.add_metric([chain, upstream, verdict], number)
            seconds.add_metric([chain, upstream], tally.cumulative(), tally.seconds)
        for upstream, verdicts in counters.probes.items():
            for verdict, number in verdicts.items():
                probes.add_metric([chain, upstream, verdict], number)
    yield count
    yield probes
    yield seconds


def _events(chains: Mapping[str, ChainCounters]) -> Iterator[Metric]:
    failovers = CounterMetricFamily(
        "rpcproxy_failovers",
        "Requests that went on to another upstream, by what the one before answered.",
        labels=["chain", "reason"],
    )
    changes = CounterMetricFamily(
        "rpcproxy_state_changes",
        "Changes of an upstream's standing.",
        labels=["chain", "upstream", "kind"],
    )
    kept = CounterMetricFamily(
        "rpcproxy_kept_answers",
        "Requests answered from what was kept, by what it depends on.",
        labels=["chain", "reason"],
    )
    for chain, counters in chains.items():
        for reason, number in counters.failovers.items():
            failovers.add_metric([chain, reason], number)
        for (upstream, kind), number in counters.changes.items():
            changes.add_metric([chain, upstream, kind], number)
        for reason, number in counters.kept_answers.items():
            kept.add_metric([chain, reason], number)
    yield failovers
    yield changes
    yield kept
    for attribute, name, text in _BY_UPSTREAM:
        family = CounterMetricFamily(name, text, labels=["chain", "upstream"])
        for chain, counters in chains.items():
            for upstream, number in getattr(counters, attribute).items():
                family.add_metric([chain, upstream], number)
        yield family


def _plain(chains: Mapping[str, ChainCounters]) -> Iterator[Metric]:
    for attribute, name, text in _PLAIN:
        family = CounterMetricFamily(name, text, labels=["chain"])
        for chain, counters in chains.items():
            number = getattr(counters, attribute)
            if attribute == "local_answers":  # those that were timed are in the requests
                number += sum(tally.labels[RequestOutcome.LOCAL] for tally in counters.requests)
            family.add_metric([chain], number)
        yield family
