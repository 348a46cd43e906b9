"""How much of what an upstream pushes becomes work: counted, on a clock of the test's own."""

import pytest

from rpcproxy.edges.ws.pace import (
    BURST,
    BURST_BYTES,
    BYTES_PER_SECOND,
    LEAST_PER_SECOND,
    MOST_SURPLUS,
    Meter,
    Pace,
)


def push(pace: Pace, per_second: int, seconds: int, start: float = 0.0) -> int:
    """How many are looked at of so many a second."""
    looked = 0
    for number in range(per_second * seconds):
        if pace.is_beyond_reason:
            break
        looked += pace.admits(start + number / per_second)
    return looked


# web3.py 3221, stacks-blockchain-api 1427, solana-py 703: what subscribes cannot keep up.
def test_five_thousand_heads_a_second_are_left_after_a_few():
    pace = Pace(12.0, 0.0)
    assert push(pace, 5000, 60) <= BURST + LEAST_PER_SECOND
    assert pace.is_beyond_reason


@pytest.mark.parametrize(
    ("block_time", "per_second"),
    [(12.0, 1), (2.0, 4), (0.4, 10), (0.25, 16), (0.1, 20), (0.05, 60), (0.001, 79)],
)
def test_a_chain_with_fast_blocks_is_heard_as_it_is(block_time, per_second):
    pace = Pace(block_time, 0.0)
    assert push(pace, per_second, 300) == 300 * per_second
    assert not pace.is_beyond_reason


def test_what_gathered_in_a_pause_is_taken():
    pace = Pace(2.0, 0.0)
    assert all(pace.admits(100.0) for _ in range(BURST))
    assert not pace.admits(100.0)
    assert 0.0 < pace.seconds_to_next(100.0) <= 1 / LEAST_PER_SECOND
    assert pace.admits(100.1)


def test_a_little_too_much_for_long_is_thinned_and_not_left():
    pace = Pace(12.0, 0.0)
    looked = push(pace, 24, 600)
    assert not pace.is_beyond_reason
    assert looked < 24 * 600


def test_surplus_is_bounded_and_forgiven():
    pace = Pace(12.0, 0.0)
    for _ in range(BURST + MOST_SURPLUS):
        pace.admits(0.0)
    assert not pace.is_beyond_reason
    pace.admits(0.0)
    assert pace.is_beyond_reason
    pace.admits(60.0)
    assert not pace.is_beyond_reason


def test_bytes_are_taken_at_a_pace():
    meter = Meter()
    assert meter.take(BURST_BYTES, 100.0) == 0.0
    assert meter.take(BYTES_PER_SECOND, 100.0) == 1.0
    assert meter.take(0, 101.0) == 0.0
    assert meter.take(BYTES_PER_SECOND, 102.0) == 0.0
