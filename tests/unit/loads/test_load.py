"""The load client measures what happened."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator

import pytest

from rpcproxy.drills.scenarios import faults
from rpcproxy.drills.scenarios.fault import Fault
from tests.kits.waiting import LIMIT_SECONDS, wait_until
from tests.loads.load import Load, run_load, start_load
from tests.loads.load_report import Report, Sample
from tests.sockets.providers import ProviderProcess


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
    left = report.outside([(10.0, 11.0), (11.4, 11.6)])
    assert (left.count, left.error_count) == (80, 0)
    assert report.summary().startswith("200 requests, 1 errors, p50 100.0 ms")


@pytest.fixture(scope="module")
def providers() -> Iterator[ProviderProcess]:
    with ProviderProcess("a", latency_seconds=0.01, block_time_seconds=0.2) as process:
        yield process


@pytest.fixture
def url(providers: ProviderProcess) -> Iterator[str]:
    """Of a provider that is well, until the test says otherwise."""
    yield providers.urls["a"]
    providers.clear()


RATE_PER_SECOND = 200


@contextlib.contextmanager
def loading(url: str) -> Iterator[Load]:
    """A load of this process, which is seen while it goes on, and ends with the block."""
    begun = threading.Event()
    loads: list[tuple[Load, asyncio.AbstractEventLoop]] = []

    async def run() -> None:
        load = Load(url, RATE_PER_SECOND, 10 * LIMIT_SECONDS, 4, limit_seconds=LIMIT_SECONDS)
        await load.prepare(LIMIT_SECONDS)
        loads.append((load, asyncio.get_running_loop()))
        begun.set()
        await load.run()
        load.close()
        await asyncio.sleep(0)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    assert begun.wait(2 * LIMIT_SECONDS)
    [(load, loop)] = loads
    try:
        yield load
    finally:
        loop.call_soon_threadsafe(load.finish)
        thread.join(2 * LIMIT_SECONDS)
    assert not thread.is_alive()


def begun_since(load: Load, moment: float) -> int:
    """How many requests that were due after a moment have begun."""
    return int((load.report.started_at - moment) * RATE_PER_SECOND) + load._started


def test_a_well_provider_is_measured_without_errors(providers: ProviderProcess, url: str) -> None:
    before = providers.forwarded()
    report = run_load(url, rate_per_second=200, seconds=1, connections=8)
    forwarded = providers.forwarded() - before
    assert report.total == 200
    assert report.errors == []
    assert len(report.by_method) >= 6
    assert report.forwardable <= forwarded <= report.forwardable + 5  # what it asks beforehand
    assert report.whole.p50_seconds >= 0.008
    assert report.backward_heads == 0
    assert report.ended_at - report.started_at >= 0.9


def test_faults_are_seen_when_they_happen_and_time_counts_from_the_schedule(
    providers: ProviderProcess, url: str
) -> None:
    with loading(url) as load:
        samples = load.report.samples
        wait_until(lambda: len(samples) >= 20, "answers")
        providers.set_fault("a", faults.FREEZE)
        frozen = time.monotonic()
        # A busy machine begins late: what was due before waits as well.
        wait_until(lambda: begun_since(load, frozen) >= 20, "requests that wait")
        thaws = time.monotonic()
        providers.set_fault("a", None)
        thawed = len(samples)
        wait_until(lambda: len(samples) >= thawed + 30, "answers again")
        refuses = time.monotonic()
        providers.set_fault("a", faults.REFUSE)
        refused = time.monotonic()
        wait_until(
            lambda: sum(not sample.is_ok and sample.at >= refused for sample in samples) > 20,
            "errors",
        )
        comes_back = time.monotonic()
        providers.set_fault("a", None)
        wait_until(lambda: all(sample.is_ok for sample in samples[-20:]), "no more errors")
    ended = [(sample.at, sample.at + sample.seconds, sample) for sample in samples]
    assert all(sample.is_ok for _, end, sample in ended if end < refuses)
    stalled = [(at, end) for at, end, _ in ended if frozen <= at < thaws]
    assert len(stalled) >= 10
    assert min(end for _, end in stalled) >= thaws, "each waits, from its schedule on"
    refusals = [sample for at, end, sample in ended if refused <= at and end < comes_back]
    assert len(refusals) > 5
    assert not any(sample.is_ok for sample in refusals)
    assert "cannot connect" in " ".join(load.report.errors)


def test_what_it_begins_late_itself_is_counted(url: str) -> None:
    with loading(url) as load:
        samples = load.report.samples
        wait_until(lambda: len(samples) >= 20, "answers")
        load._loop.call_soon_threadsafe(time.sleep, 0.4)
        wait_until(lambda: load.report.late >= 40, "late requests")


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (faults.WRONG_ID, "id 987654321"),
        (faults.NULL_RESULTS, "not sane"),
        (faults.HTML_200, "not JSON"),
        (faults.KEY_REFUSED, "HTTP 401"),
    ],
)
def test_wrong_answers_are_errors(
    providers: ProviderProcess, url: str, fault: Fault, text: str
) -> None:
    with loading(url) as load:
        providers.set_fault("a", fault)
        wait_until(lambda: text in " ".join(load.report.errors), text)
    assert any(not sample.is_ok for sample in load.report.samples)


def test_a_load_on_nothing_says_so() -> None:
    with ProviderProcess("a", latency_seconds=0) as providers:
        url = providers.urls["a"]
    with pytest.raises(RuntimeError, match="did not start"):
        start_load(url, patience_seconds=0.2)


def test_a_load_that_does_not_end_is_named(url: str) -> None:
    load = start_load(url, seconds=3600)
    load._seconds = load._rest_seconds = 0.0
    try:
        with pytest.raises(
            AssertionError, match=rf"process {load._process.pid} was left after 0 s"
        ):
            load.result()
        assert load._process.poll() is not None
    finally:
        load.stop()
