"""When heads are asked for: in step with the chain, whatever was configured, seen or lied."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcproxy.rules.heads.cadence import (
    LONGEST_PAUSE_SECONDS,
    NEWS_SECONDS,
    NEWS_STEP_SECONDS,
    SHORTEST_PAUSE_SECONDS,
    STEPS_PER_BLOCK,
    Cadence,
)

NOW = 5000.0


def follow(cadence: Cadence, block_seconds: float, blocks: int, now: float, first: int) -> float:
    """Heads seen as they come. Returns the time of the last."""
    for number in range(first, first + blocks):
        now += block_seconds
        cadence.on_head(number, now)
    return now


def test_the_configured_block_time_is_where_it_starts() -> None:
    cadence = Cadence(12.0)
    assert cadence.interval_seconds == 12.0
    assert cadence.pause(-1, NOW) == 12.0 / STEPS_PER_BLOCK


def test_it_asks_when_the_next_block_is_due() -> None:
    cadence = Cadence(2.0)
    cadence.on_head(100, NOW)
    assert cadence.pause(100, NOW) == 2.0
    assert cadence.pause(100, NOW + 1.5) == 0.5
    assert cadence.pause(101, NOW + 1.5) == 0.5


def test_and_then_in_short_steps_until_it_is_there() -> None:
    cadence = Cadence(4.0)
    cadence.on_head(100, NOW)
    for late in (3.9, 4.0, 5.0, 60.0):
        assert cadence.pause(100, NOW + late) == 0.5


def test_one_that_is_behind_is_asked_in_short_steps() -> None:
    cadence = Cadence(12.0)
    cadence.on_head(100, NOW)
    assert cadence.pause(99, NOW) == NEWS_STEP_SECONDS
    assert cadence.pause(99, NOW + NEWS_SECONDS) == 1.5  # late for longer: it is slow, or ill


@pytest.mark.parametrize(
    ("block_seconds", "pause"),
    [(0.25, SHORTEST_PAUSE_SECONDS), (60.0, LONGEST_PAUSE_SECONDS), (1.0, 1.0)],
)
def test_pauses_stay_within_the_probe_budget(block_seconds: float, pause: float) -> None:
    cadence = Cadence(block_seconds)
    cadence.on_head(1, NOW)
    assert cadence.pause(1, NOW) == pause


def test_a_head_seen_again_or_lower_teaches_nothing() -> None:
    cadence = Cadence(2.0)
    cadence.on_head(100, NOW)
    cadence.on_head(100, NOW + 1.0)
    cadence.on_head(90, NOW + 1.5)
    assert cadence.interval_seconds == 2.0
    assert cadence.pause(100, NOW + 1.5) == 0.5
    cadence.on_head(101, NOW)  # at the same moment
    assert cadence.interval_seconds == 2.0


@pytest.mark.parametrize(
    ("configured", "true"), [(12.0, 2.0), (2.0, 12.0), (12.0, 0.25), (1.0, 3.0)]
)
def test_a_wrong_block_time_is_unlearned(configured: float, true: float) -> None:
    """Driven as the watcher does it: several blocks may have come between two questions."""
    cadence = Cadence(configured)
    now = NOW
    for _ in range(300):
        number = int((now - NOW) / true)
        cadence.on_head(number, now)
        now += cadence.pause(number, now)
    assert cadence.interval_seconds == pytest.approx(true, rel=0.25)


@pytest.mark.parametrize("block_seconds", [0.25, 2.0, 12.0])
def test_a_halt_of_hours_is_forgotten_within_a_few_blocks(block_seconds: float) -> None:
    cadence = Cadence(block_seconds)
    now = follow(cadence, block_seconds, 50, NOW, 1)
    now = follow(cadence, 5 * 3600.0, 1, now, 51)
    assert cadence.interval_seconds < 2 * block_seconds
    follow(cadence, block_seconds, 10, now, 52)
    assert cadence.interval_seconds == pytest.approx(block_seconds, rel=0.1)


def test_a_head_that_jumped_does_not_make_it_frantic() -> None:
    cadence = Cadence(12.0)
    cadence.on_head(100, NOW)
    cadence.on_head(1_000_100, NOW + 1.0)
    assert cadence.interval_seconds > 10.0


@given(
    st.floats(0.1, 60.0),
    st.lists(st.tuples(st.integers(0, 2**64), st.floats(0, 1e6)), max_size=30),
    st.integers(-1, 2**64),
    st.floats(-1e6, 1e7),
)
def test_a_pause_is_always_within_bounds(
    configured: float, heads: list[tuple[int, float]], number: int, now: float
) -> None:
    cadence = Cadence(configured)
    for head, at in heads:
        cadence.on_head(head, at)
    assert cadence.interval_seconds > 0
    assert NEWS_STEP_SECONDS <= cadence.pause(number, now) <= LONGEST_PAUSE_SECONDS
