"""Outages of several providers at once, under load, and of all of them.

While one upstream can serve, no wallet sees an error; afterwards all is as before within
seconds. While none can, requests wait; when that lasts, people are told why.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from rpcproxy.drills.scenarios import faults
from rpcproxy.drills.scenarios.fault import Fault
from tests.exam.conftest import note_seen
from tests.exam.fault_bench import LATENCY_SECONDS, NORMAL_P99_SECONDS, PLACES, Bench, Seen
from tests.exam.judging import (
    IS_SHORT,
    Sheet,
    assert_at_most,
    assert_never,
    assert_no_errors,
    assert_within,
)
from tests.integration.wire import Answered, ask_together
from tests.kits.waiting import wait_until
from tests.loads.load import run_load

OUTAGE_SECONDS = 4.0
NORMAL_WITHIN_SECONDS = 5.0
# What is known to be dead after so long is not waited for any more.
KNOWN_AFTER_SECONDS = 1.0
CALLS_PER_REQUEST = 1.1
CALLS_PER_REQUEST_WHEN_WELL = 1.05
FEW_SECONDS = 0.075
MOST_SECONDS = 0.150

BURST_BOUND_SECONDS = 0.4  # of the control, while all that waited are answered
DARK_SECONDS = 3.0
FOUND_WELL_SECONDS = 1.0  # after that nobody waits any more
LIGHT_DEADLINE_SECONDS = 4.5
YOUNG_OUTAGE_SECONDS = 15.0
OLD_OUTAGE_ANSWER_SECONDS = 1.0
GONE_BY = (faults.REFUSE, faults.BLACKHOLE, faults.HTTP_503, faults.FREEZE)
GONE_WORDS = ("not reachable", "no answer in time", "error of its own", "no answer in time")
ADDRESS = "0x00000000000000000000000000000000000ca5e1"
# What a busy machine may add to a deadline.
GRACE_SECONDS = 0.5


class Outage(NamedTuple):
    """``happen`` takes its time; ``p99_seconds`` bounds it, and, once the dead are known to be
    dead, every single request.
    """

    happen: Callable[[Bench], None]
    p99_seconds: float


def lasting(fault: Fault, *providers: str, seconds: float = OUTAGE_SECONDS) -> Any:
    def happen(bench: Bench) -> None:
        for provider in providers:
            bench.providers.set_fault(provider, fault)
        bench.pass_time(seconds)

    return happen


def rolling(fault: Fault) -> Any:
    """Through all four, each for its part of the time."""

    def happen(bench: Bench) -> None:
        for provider in PLACES:
            bench.providers.set_fault(provider, fault)
            bench.pass_time(OUTAGE_SECONDS / len(PLACES))
            bench.providers.set_fault(provider, None)

    return happen


# "Half of the connections reset": of all four, since one such provider is in the catalogue.
OUTAGES = {
    "two_blackholed": Outage(lasting(faults.BLACKHOLE, "a", "b"), MOST_SECONDS),
    "three_blackholed": Outage(lasting(faults.BLACKHOLE, "a", "b", "c"), MOST_SECONDS),
    "brownout_of_two": Outage(lasting(faults.brownout(0.5), "a", "b"), FEW_SECONDS),
    "flapping": Outage(lasting(faults.flapping(1.5), "a", seconds=4.5), FEW_SECONDS),
    "half_of_connections_reset": Outage(lasting(faults.reset_share(0.5), *PLACES), FEW_SECONDS),
    "rolling": Outage(rolling(faults.REFUSE), FEW_SECONDS),
    "rolling_blackhole": Outage(rolling(faults.BLACKHOLE), MOST_SECONDS),
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench(tmp_path_factory.mktemp("outages")) as bench:
        yield bench


class Gone:
    """A proxy of its own whose four providers went away for good. ``young`` are answers to what
    was asked before and after this was known.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.began_at = time.monotonic()
        wire = bench.proxy.wire()
        before = wire.result("eth_blockNumber")
        # The next block is a whole block time away: none comes while they go, one after the other.
        wait_until(lambda: wire.result("eth_blockNumber") != before, "a block that just came")
        self._told = wire.result("eth_blockNumber")
        self._block = wire.result("eth_getBlockByNumber", self._told, False)
        for provider, fault in zip(PLACES, GONE_BY, strict=True):
            bench.providers.set_fault(provider, fault)
        self.young = [self.ask()]
        wait_until(lambda: outage_seconds(bench) > 0, "the proxy knows that nobody is left")
        self.young.append(self.ask())

    def ask(self) -> list[Future[Answered]]:
        """What nobody can answer, and at the end what the proxy knows."""
        return ask_together(
            self.bench.proxy.url,
            ("eth_getBalance", (ADDRESS, "latest")),
            ("eth_gasPrice", ()),
            ("eth_call", ({"to": ADDRESS, "data": "0x"}, "latest")),
            ("eth_getTransactionReceipt", (self._block["transactions"][0],)),
            ("eth_blockNumber", ()),
            ("eth_getBlockByNumber", (self._told, False)),
        )

    def assert_told_why(self, answers: Sequence[Answered]) -> None:
        """In words: what failed where, and never by URL."""
        *unknown, number, block = answers
        assert number.reply["result"] == self._told
        assert block.reply["result"] == self._block
        for answered in unknown:
            assert answered.status == 200
            error = answered.reply["error"]
            reason = error["data"]["reason"]
            assert error["code"] == -32603
            assert error["message"] == reason
            assert reason.startswith("no upstream of sim could answer")
            assert "127.0.0.1" not in reason
            assert failed_where(reason) == dict(
                zip(self.bench.names.values(), GONE_WORDS, strict=True)
            ), reason


def failed_where(reason: str) -> dict[str, str]:
    """Upstream → what it did, from "… (a, b: not reachable; c: no answer in time) …"."""
    parts = reason.partition("(")[2].partition(")")[0].split("; ")
    return {
        name: words
        for names, _, words in (part.partition(": ") for part in parts)
        for name in names.split(", ")
    }


@pytest.fixture(scope="module", autouse=True)
def gone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gone]:
    """Begins before all tests here: it takes 15 s until an outage is old. It costs next to
    nothing beside them, since nobody asks meanwhile.
    """
    with Bench(tmp_path_factory.mktemp("gone"), with_load=False) as bench:
        yield Gone(bench)


@pytest.mark.parametrize("outage", OUTAGES.values(), ids=OUTAGES)
def test_nobody_notices(bench: Bench, sheet: Sheet, outage: Outage) -> None:
    with bench.judged(sheet):
        seen = _suffer(bench, outage)
        note_seen(sheet, seen)
        slowest = _slowest_when_known(bench, seen)
        assert_within(seen.latency.p99_seconds, seen.granted(outage.p99_seconds), str(seen))
        assert_within(slowest, seen.granted_worst(outage.p99_seconds), str(seen))
        assert_at_most(seen.calls_per_request, CALLS_PER_REQUEST, str(seen))


@pytest.mark.parametrize("fault", [faults.REFUSE, faults.BLACKHOLE], ids=["refuse", "blackhole"])
def test_all_gone_for_three_seconds(bench: Bench, sheet: Sheet, fault: Fault) -> None:
    """Requests wait, and then succeed: nine hundred at once, in which the control has its part."""
    with bench.judged(sheet, bound_seconds=BURST_BOUND_SECONDS):
        bench.refresh(*PLACES)
        with bench.watch() as seen:
            lasting(fault, *PLACES, seconds=DARK_SECONDS)(bench)
            bench.providers.clear()
        note_seen(sheet, seen)
        assert_no_error(seen)
        assert seen.latency.max_seconds > DARK_SECONDS - 2 * LATENCY_SECONDS  # they did wait
        bound = seen.granted_worst(DARK_SECONDS + FOUND_WELL_SECONDS)
        assert_within(seen.latency.max_seconds, bound, str(seen))
        assert_back_to_normal(bench)


def test_nothing_was_lost_in_between(bench: Bench, sheet: Sheet) -> None:
    bench.assert_nothing_was_lost(sheet)


def test_gone_for_good(gone: Gone, sheet: Sheet) -> None:
    """Young, the outage is waited out; old, it is told at once. The head and its block are known."""
    with gone.bench.judged(sheet, since=gone.began_at):
        _assert_told_in_time(gone)
        gone.bench.providers.clear()
        wait_until(gone.bench.are_up, "all upstreams are up")
        _assert_quick_again(gone.bench)


def _assert_told_in_time(gone: Gone) -> None:
    """While the outage is young, and when it is old."""
    control = gone.bench.control
    for answers in gone.young:
        turn = [future.result() for future in answers]
        slowest = max(answered.seconds for answered in turn)
        bound = control.granted_worst(LIGHT_DEADLINE_SECONDS + GRACE_SECONDS, gone.began_at)
        assert_within(slowest, bound, "while it is young")
        gone.assert_told_why(turn)

    wait_until(
        lambda: outage_seconds(gone.bench) > YOUNG_OUTAGE_SECONDS,
        "the outage is old",
    )
    asked_at = time.monotonic()
    turns = [[future.result() for future in answers] for answers in [gone.ask() for _ in range(3)]]
    bound = control.granted_worst(OLD_OUTAGE_ANSWER_SECONDS, asked_at)
    for answers in zip(*turns, strict=True):
        # The quickest: a busy machine may hold up one.
        quickest = min(answered.seconds for answered in answers)
        assert_within(quickest, bound, "when it is old")
    for turn in turns:
        gone.assert_told_why(turn)


def _assert_quick_again(bench: Bench) -> None:
    """In one window at least: a busy machine may slow down another. No window has errors."""
    end = time.monotonic() + NORMAL_WITHIN_SECONDS
    while True:
        began_at = time.monotonic()
        report = run_load(bench.proxy.url, rate_per_second=300, seconds=1.0)
        assert_no_errors(report.errors, report.error_count)
        assert_never(report.backward_heads, report)
        bound = bench.control.granted_worst(NORMAL_P99_SECONDS, began_at)
        if IS_SHORT or report.whole.p99_seconds < bound:
            return
        assert time.monotonic() < end, report.whole


def _suffer(bench: Bench, outage: Outage) -> Seen:
    """An outage of upstreams without a past, and the return to normal."""
    bench.refresh(*PLACES)
    with bench.watch() as seen:
        outage.happen(bench)
    assert_no_error(seen)
    bench.providers.clear()
    assert_back_to_normal(bench)
    return seen


def _slowest_when_known(bench: Bench, seen: Seen) -> float:
    assert bench.load is not None
    known_at = seen.began_at + KNOWN_AFTER_SECONDS
    return bench.load.report.between(known_at, seen.ended_at).max_seconds


def assert_no_error(seen: Seen) -> None:
    """None, and no answer older than what was told before."""
    assert_no_errors(seen.errors)
    assert_no_errors(seen.errors, seen.latency.error_count)
    assert_never(seen.backward_heads, seen)
    assert seen.staleness_blocks == 0, str(seen)


def assert_back_to_normal(bench: Bench) -> None:
    last = bench.wait_until_normal(NORMAL_WITHIN_SECONDS)
    assert_no_error(last)
    assert_at_most(last.calls_per_request, CALLS_PER_REQUEST_WHEN_WELL, str(last))


def outage_seconds(bench: Bench) -> float:
    """For how long nobody has been usable."""
    since = bench.proxy.status()["chains"][0]["outage_since"]
    if since is None:
        return 0.0
    return (datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds()
