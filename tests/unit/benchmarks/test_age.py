"""The benchmark of what wallets see: its arithmetic, and one short run against a fleet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import pytest

from benchmarks import age
from benchmarks.age import Age, Fleet, Scene


def test_ages_are_blocks_behind_and_never_below_zero() -> None:
    assert age.age([0, 1, -1, 2]) == Age(4, 0.75, 2, 2, 0.5)
    assert age.age([0]) == Age(1, 0.0, 0, 0, 0.0)


def test_calls_per_upstream_and_day() -> None:
    assert age.per_day(calls=40, upstreams=4, seconds=10) == 86400


def test_moments_come_once_a_step_at_all_phases() -> None:
    found = age.moments(10)
    assert len(found) == 100
    assert all(index <= moment * 10 < index + 1 for index, moment in enumerate(found))
    phases = sorted(moment * 10 % 1 for moment in found)
    assert all(abs(phase - index / 100) < 0.03 for index, phase in enumerate(phases))


def test_a_scene_is_young_when_head_and_state_are() -> None:
    young, old = Age(100, 0.15, 1, 1, 0.15), Age(100, 0.16, 1, 1, 0.16)
    scenes = [
        Scene("together", 2.0, head, state, 1000.0, 2000.0)
        for head, state in ((young, young), (young, old), (old, young))
    ]
    assert [scene.is_young for scene in scenes] == [True, False, False]
    text = age.text_of(scenes[:1])
    assert "0.150 (1, 1), 15.0% of 100 answers behind" in text
    assert "1,000 while nobody asks, 2,000 for heads" in text
    assert asdict(scenes[0])["head"]["mean"] == 0.15


def test_the_command_line() -> None:
    options = age.parse(["--seconds", "3", "--block-time", "1"])
    assert (options.seconds, options.block_time, options.spread) == (3.0, 1.0, 0.3)


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    fleet = Fleet(block_seconds=0.2)
    yield fleet
    fleet.close()


def test_straight_at_an_upstream_that_is_early_and_at_one_that_is_late(fleet: Fleet) -> None:
    fleet.spread(0.15)
    head, state = age.watch(fleet, fleet.urls["one"], 0.5)
    assert (head.samples, head.worst, state.worst) == (5, 0, 0)
    fleet.spread(0.4)
    head, _ = age.watch(fleet, fleet.urls["four"], 0.5)
    assert 1 <= head.mean <= 2.5
    calls, heads = fleet.calls()
    assert (calls, heads) == (20, 10)
