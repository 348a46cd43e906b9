"""Every fault of the catalogue, one provider after the other, under load: nobody notices.

One proxy and one load for all of them. Each fault meets an upstream without a past (renamed by a
reload, under the same load), is there for a while, and is cleared.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from rpcproxy.drills.scenarios.fault import Fault
from rpcproxy.drills.scenarios.faults import CATALOGUE
from tests.exam.conftest import note_seen
from tests.exam.fault_bench import BLOCK_TIME_SECONDS, NORMAL_P99_SECONDS, Bench, Seen
from tests.exam.judging import (
    IS_SHORT,
    Sheet,
    assert_at_most,
    assert_never,
    assert_no_errors,
    assert_within,
)
from tests.integration.wire import Wire

FAULT_SECONDS = 0.4 if IS_SHORT else 0.8
RETURN_SECONDS = 0.6
P99_SECONDS = 0.075
CALLS_PER_REQUEST = 1.1
CALLS_PER_REQUEST_WHEN_WELL = 1.05

# Told by the heads alone. An upstream is asked for its head once per block, just after the next
# is due: until then nobody can know.
HEAD_FAULTS = ("lagging", "frozen_head")
UNTIL_HEADS_TELL_SECONDS = BLOCK_TIME_SECONDS + 0.5
# Nothing is wrong with single calls: batches are sent besides.
BATCH_FAULTS = ("single_for_batch", "half_batch")
ADDRESS = "0x00000000000000000000000000000000000ca5e1"
BATCH = [
    {"jsonrpc": "2.0", "id": 1, "method": "eth_getBalance", "params": [ADDRESS, "latest"]},
    {"jsonrpc": "2.0", "id": "2", "method": "eth_gasPrice", "params": []},
    {"jsonrpc": "2.0", "id": 3, "method": "eth_getTransactionCount", "params": [ADDRESS, "latest"]},
    {"jsonrpc": "2.0", "id": 4.5, "method": "eth_getCode", "params": [ADDRESS, "latest"]},
]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench(tmp_path_factory.mktemp("faults")) as bench:
        yield bench


def test_without_faults(bench: Bench, sheet: Sheet) -> None:
    with bench.judged(sheet):
        with bench.watch() as seen:
            bench.pass_time(2.0)
        note_seen(sheet, seen)
        assert_nobody_noticed(seen)
        assert_within(seen.latency.p99_seconds, seen.granted(NORMAL_P99_SECONDS), str(seen))
        assert_at_most(seen.calls_per_request, CALLS_PER_REQUEST_WHEN_WELL, str(seen))


@pytest.mark.parametrize("fault", CATALOGUE.values(), ids=CATALOGUE)
def test_one_provider(bench: Bench, sheet: Sheet, fault: Fault) -> None:
    with bench.judged(sheet):
        seen = _suffer(bench, fault)
        note_seen(sheet, seen)
        assert_within(seen.latency.p99_seconds, seen.granted(P99_SECONDS), str(seen))
        assert_at_most(seen.calls_per_request, CALLS_PER_REQUEST, str(seen))


def test_nothing_was_lost_in_between(bench: Bench, sheet: Sheet) -> None:
    """Not while upstreams were renamed, either."""
    bench.assert_nothing_was_lost(sheet)


def _suffer(bench: Bench, fault: Fault) -> Seen:
    """One provider has the fault for a while and is then well again."""
    victim = bench.next_victim()
    bench.refresh(victim)
    is_of_heads = fault.name in HEAD_FAULTS
    with bench.watch() as seen:
        bench.providers.set_fault(victim, fault)
        if fault.name in BATCH_FAULTS:
            batches = _ask_batches(bench, FAULT_SECONDS)
        else:
            batches = 0
            bench.pass_time(UNTIL_HEADS_TELL_SECONDS if is_of_heads else FAULT_SECONDS)
    seen.forwardable += batches * len(BATCH)
    assert_nobody_noticed(seen, may_be_stale=is_of_heads)
    if is_of_heads:
        with bench.watch() as seen:
            bench.pass_time(FAULT_SECONDS)
        assert_nobody_noticed(seen)
    with bench.watch() as after:
        bench.providers.set_fault(victim, None)
        end = time.monotonic() + RETURN_SECONDS
        while not bench.are_up(victim) and time.monotonic() < end:
            bench.pass_time(0.05)
    assert_nobody_noticed(after)
    return seen


def _ask_batches(bench: Bench, seconds: float) -> int:
    """Ask batch after batch; how many. Every member has its reply, in order."""
    wire = Wire(bench.proxy.url)
    end = time.monotonic() + seconds
    count = 0
    try:
        while time.monotonic() < end:
            status, replies = wire.post(BATCH)
            count += 1
            assert status == 200
            assert [reply["id"] for reply in replies] == [call["id"] for call in BATCH]
            assert all("result" in reply for reply in replies), replies
            bench.pass_time(0.01)
    finally:
        wire.close()
    return count


def assert_nobody_noticed(seen: Seen, *, may_be_stale: bool = False) -> None:
    """No error, and no answer older than what was told before."""
    assert_no_errors(seen.errors)
    assert_no_errors(seen.errors, seen.latency.error_count)
    assert_never(seen.backward_heads, seen)
    assert may_be_stale or seen.staleness_blocks == 0, str(seen)
