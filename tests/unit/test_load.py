"""The load client measures what happened."""

from __future__ import annotations

import time

import pytest

from rpcproxy.drills import faults
from tests.load import run_load, start_load
from tests.load_report import Report, Sample
from tests.providers import ProviderProcess


def test_reports_cut_time_into_windows() -> None:
    samples = [Sample(10 + n / 100, n / 1000, n != 150) for n in range(200)]
    report = Report(10, 12, samples, ["x"], {"eth_call": 190, "eth_chainId": 10}, 1, 0, 0, 0)
    assert (report.total, report.error_count, report.forwardable) == (200, 1, 190)
    assert (report.whole.p50_seconds, report.whole.p99_seconds) == (0.1, 0.198)
    assert report.whole.max_seconds == 0.199
    assert [(w.start, w.count, w.error_count) for w in report.windows()] == [
        (10, 100, 0),
        (11, 100, 1),
    ]
    assert report.between(10.5, 10.6).count == 10
    assert report.between(50, 60).count == 0
    assert report.summary().startswith("200 requests, 1 errors, p50 100.0 ms")


def test_a_well_provider_is_measured_without_errors() -> None:
    with ProviderProcess("a", latency_seconds=0.01, block_time_seconds=0.2) as providers:
        report = run_load(providers.urls["a"], rate_per_second=200, seconds=1, connections=8)
        forwarded = providers.forwarded()
    assert report.total == 200
    assert report.errors == []
    assert len(report.by_method) >= 6
    assert report.forwardable <= forwarded <= report.forwardable + 5  # what it asks beforehand
    assert report.whole.p50_seconds >= 0.008
    assert report.backward_heads == 0
    assert report.ended_at - report.started_at >= 0.9


def test_faults_are_seen_when_they_happen_and_time_counts_from_the_schedule() -> None:
    with ProviderProcess("a", latency_seconds=0.001) as providers:
        load = start_load(providers.urls["a"], rate_per_second=200, seconds=1.2, connections=4)
        try:
            moments = []
            for fault in (faults.FREEZE, None, faults.REFUSE, None):
                time.sleep(max(0, load.started_at + 0.2 * (len(moments) + 1) - time.monotonic()))
                moments.append(time.monotonic())
                providers.set_fault("a", fault)
            report = load.result()
        finally:
            load.stop()
    frozen, thawed, refused, back = moments
    assert report.between(report.started_at, frozen - 0.05).error_count == 0
    stalled = report.between(frozen + 0.02, thawed)
    assert stalled.error_count == 0
    assert stalled.max_seconds > (thawed - frozen) * 0.7
    assert stalled.p50_seconds < stalled.max_seconds * 0.8
    refusals = report.between(refused + 0.02, back - 0.02)
    assert refusals.error_count == refusals.count > 5
    assert "cannot connect" in " ".join(report.errors)
    assert report.between(back + 0.05, report.ended_at).error_count == 0


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (faults.WRONG_ID, "id 987654321"),
        (faults.NULL_RESULTS, "not sane"),
        (faults.HTML_200, "not JSON"),
        (faults.KEY_REFUSED, "HTTP 401"),
    ],
)
def test_wrong_answers_are_errors(fault: faults.Fault, text: str) -> None:
    with ProviderProcess("a", latency_seconds=0) as providers:
        load = start_load(providers.urls["a"], rate_per_second=100, seconds=0.5, connections=2)
        try:
            providers.set_fault("a", fault)
            report = load.result()
        finally:
            load.stop()
    assert report.error_count
    assert text in " ".join(report.errors)


def test_a_load_on_nothing_says_so() -> None:
    with ProviderProcess("a", latency_seconds=0) as providers:
        url = providers.urls["a"]
    with pytest.raises(RuntimeError, match="did not start"):
        start_load(url, patience_seconds=0.2)
