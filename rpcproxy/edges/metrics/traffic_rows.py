"""Rows of the table of metrics: requests of clients, attempts at upstreams, what became of them."""

from __future__ import annotations

from typing import Final

from rpcproxy.edges.metrics.metric_row import (
    CHAIN,
    UPSTREAM,
    Durations,
    MetricKind,
    MetricRow,
    MetricUnit,
    Values,
    by_key,
    counted,
    counted_by,
)
from rpcproxy.edges.metrics.metrics import BUCKET_SECONDS, ChainCounters
from rpcproxy.messages import CLASS_NAMES, MethodClass, Verdict
from rpcproxy.states import RequestOutcome

_COUNTER, _HISTOGRAM = MetricKind.COUNTER, MetricKind.HISTOGRAM
_COUNT, _SECONDS = MetricUnit.COUNT, MetricUnit.SECONDS
_VERDICT: Final = (*UPSTREAM, "verdict")


def _requests(chain: ChainCounters) -> Values:
    for name, tally in zip(CLASS_NAMES, chain.requests, strict=True):
        for outcome, number in tally.labels.items():
            yield (name, outcome), number + _untimed(chain, name, outcome)


def _untimed(chain: ChainCounters, class_name: str, outcome: str) -> int:
    """Local answers that were not timed: they are light reads."""
    is_light = class_name == CLASS_NAMES[MethodClass.LIGHT]
    return chain.local_answers if is_light and outcome == RequestOutcome.LOCAL else 0


def _request_seconds(chain: ChainCounters) -> Values:
    for name, tally in zip(CLASS_NAMES, chain.requests, strict=True):
        yield (name,), Durations(tally.buckets, tally.seconds)


def _attempts(chain: ChainCounters) -> Values:
    for upstream, tally in chain.attempts.items():
        for verdict, number in tally.labels.items():
            # Of some thirty verdicts most upstreams show five.
            if number or verdict == Verdict.OK.label:
                yield (upstream, verdict), number


def _probes(chain: ChainCounters) -> Values:
    for upstream, verdicts in chain.probes.items():
        for verdict, number in verdicts.items():
            yield (upstream, verdict), number


def _attempt_seconds(chain: ChainCounters) -> Values:
    for upstream, tally in chain.attempts.items():
        yield (upstream,), Durations(tally.buckets, tally.seconds)


def _local_answers(chain: ChainCounters) -> int:
    """Those that were timed are in the requests."""
    timed = sum(tally.labels[RequestOutcome.LOCAL] for tally in chain.requests)
    return chain.local_answers + timed


TRAFFIC_ROWS: Final = (
    MetricRow(
        "rpcproxy_requests_total",
        _COUNTER,
        _COUNT,
        ("chain", "method_class", "outcome"),
        "Requests answered: ok, rpc_error of an upstream, own_error, local without an upstream,"
        " kept without a new question.",
        counted_by(_requests),
    ),
    MetricRow(
        "rpcproxy_request_seconds",
        _HISTOGRAM,
        _SECONDS,
        ("chain", "method_class"),
        "Time from a request to its answer; local answers are mostly not timed.",
        counted_by(_request_seconds),
        BUCKET_SECONDS,
    ),
    MetricRow(
        "rpcproxy_attempts_total",
        _COUNTER,
        _COUNT,
        _VERDICT,
        "Attempts that ended.",
        counted_by(_attempts),
    ),
    MetricRow(
        "rpcproxy_probes_total",
        _COUNTER,
        _COUNT,
        _VERDICT,
        "Probes that ended.",
        counted_by(_probes),
    ),
    MetricRow(
        "rpcproxy_attempt_seconds",
        _HISTOGRAM,
        _SECONDS,
        UPSTREAM,
        "Time from sending an attempt to its end; cancelled ones are not timed.",
        counted_by(_attempt_seconds),
        BUCKET_SECONDS,
    ),
    MetricRow(
        "rpcproxy_failovers_total",
        _COUNTER,
        _COUNT,
        ("chain", "reason"),
        "Requests that went on to another upstream, by what the one before answered.",
        counted_by(lambda chain: by_key(chain.failovers)),
    ),
    MetricRow(
        "rpcproxy_state_changes_total",
        _COUNTER,
        _COUNT,
        (*UPSTREAM, "kind"),
        "Changes of an upstream's standing.",
        counted_by(lambda chain: chain.changes.items()),
    ),
    MetricRow(
        "rpcproxy_kept_answers_total",
        _COUNTER,
        _COUNT,
        ("chain", "reason"),
        "Requests answered from what was kept, by what it depends on.",
        counted_by(lambda chain: by_key(chain.kept_answers)),
    ),
    MetricRow(
        "rpcproxy_hedges_total",
        _COUNTER,
        _COUNT,
        UPSTREAM,
        "Second copies sent while the first was awaited.",
        counted_by(lambda chain: by_key(chain.hedges)),
    ),
    MetricRow(
        "rpcproxy_hedges_won_total",
        _COUNTER,
        _COUNT,
        UPSTREAM,
        "Second copies that answered first.",
        counted_by(lambda chain: by_key(chain.hedges_won)),
    ),
    MetricRow(
        "rpcproxy_local_answers_total",
        _COUNTER,
        _COUNT,
        CHAIN,
        "Requests answered by the proxy itself.",
        counted(_local_answers),
    ),
    MetricRow(
        "rpcproxy_joined_requests_total",
        _COUNTER,
        _COUNT,
        CHAIN,
        "Requests that followed another in flight.",
        counted(lambda chain: chain.joined),
    ),
    MetricRow(
        "rpcproxy_batches_total",
        _COUNTER,
        _COUNT,
        CHAIN,
        "Batches received.",
        counted(lambda chain: chain.batches),
    ),
    MetricRow(
        "rpcproxy_batch_members_total",
        _COUNTER,
        _COUNT,
        CHAIN,
        "Requests received inside batches.",
        counted(lambda chain: chain.batch_members),
    ),
    MetricRow(
        "rpcproxy_retry_budget_exhausted_total",
        _COUNTER,
        _COUNT,
        CHAIN,
        "Retries and hedges not made because the retry budget was used up.",
        counted(lambda chain: chain.budget_exhausted),
    ),
    MetricRow(
        "rpcproxy_unserved_total",
        _COUNTER,
        _COUNT,
        CHAIN,
        "Requests whose wallet was told that nobody could serve them.",
        counted(lambda chain: chain.unserved),
    ),
    MetricRow(
        "rpcproxy_waited_for_recovery_total",
        _COUNTER,
        _COUNT,
        CHAIN,
        "Requests that found nobody to ask and waited for the first recovery.",
        counted(lambda chain: chain.waited_for_recovery),
    ),
)
