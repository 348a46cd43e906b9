"""Heads that were told at different moments; how far back to ask."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcproxy.rules.telling import survey
from rpcproxy.rules.telling.survey import SeenHead


@pytest.mark.parametrize(
    ("own", "others", "lag"),
    [
        ([(100, 1.0)], [(100, 1.0)], 0),
        ([(100, 1.0)], [(103, 1.0)], 3),
        ([(105, 1.0)], [(103, 1.0)], 0),
        # Told later: as many blocks less as may have come meanwhile, and one.
        ([(100, 1.0)], [(103, 5.0)], 0),
        ([(100, 1.0)], [(110, 5.0)], 7),
        # Told before: all of it counts.
        ([(100, 9.0)], [(103, 1.0)], 3),
        # Machines behind one URL: the median, the better one of two.
        ([(90, 1.0), (100, 1.0), (100, 1.0)], [(100, 1.0)], 0),
        ([(90, 1.0), (90, 1.0), (100, 1.0)], [(100, 1.0)], 10),
        ([(90, 1.0), (100, 1.0)], [(100, 1.0)], 0),
        ([], [(1, 1.0)], None),
        ([(1, 1.0)], [], None),
    ],
)
def test_lag(
    own: list[tuple[int, float]], others: list[tuple[int, float]], lag: int | None
) -> None:
    told = [SeenHead(*each) for each in own], [SeenHead(*each) for each in others]
    assert survey.lag_of(*told, block_time_seconds=2.0) == lag
    is_same = survey.is_same_head(*told, block_time_seconds=2.0)
    assert is_same == survey.is_same_head(*told[::-1], block_time_seconds=2.0)


@pytest.mark.parametrize(
    ("told", "leads"),
    [
        ({"a": [(100, 1.0)], "b": [(100, 1.0)], "c": [(2**64, 1.0)]}, [0, 0, 2**64 - 100]),
        ({"a": [(100, 1.0)], "b": [(100, 1.0)], "c": [(40, 1.0)]}, [0, 0, 0]),
        # Half of them have it: the others may be behind.
        ({"a": [(100, 1.0)], "b": [(100, 1.0)], "c": [(40, 1.0)], "d": [(40, 1.0)]}, [0] * 4),
        # Told four seconds later: three blocks may have come.
        ({"a": [(100, 1.0)], "b": [(100, 1.0)], "c": [(110, 5.0)]}, [0, 0, 7]),
        ({"a": [(100, 1.0)], "b": [(2**64, 1.0)]}, [0, 0]),
        ({"a": [(100, 1.0)], "b": []}, [0, 0]),
    ],
)
def test_leads(told: dict[str, list[tuple[int, float]]], leads: list[int]) -> None:
    seen = {name: [SeenHead(*each) for each in heads] for name, heads in told.items()}
    assert list(survey.leads_of(seen, block_time_seconds=2.0).values()) == leads


@pytest.mark.parametrize(
    ("lag", "max_lag", "block_time", "is_far"),
    [(5, 1, 12.0, False), (6, 1, 12.0, True), (6, 8, 12.0, False), (240, 2, 0.25, False)],
)
def test_too_far(lag: int, max_lag: int, block_time: float, is_far: bool) -> None:
    assert survey.is_too_far(lag, max_lag, block_time) is is_far


def explored(kept: int, deepest: int) -> tuple[int, int | None, list[int]]:
    """What is found of an upstream that keeps this many states, and what was asked."""
    served, missed, asked = 0, None, []
    while (depth := survey.next_depth(served, missed, deepest, len(asked))) is not None:
        asked.append(depth)
        if depth < kept:
            served = depth
        else:
            missed = depth
    return served, missed, asked


@pytest.mark.parametrize(
    ("kept", "deepest", "words"),
    [
        (10**9, 20_000_000, "all 20,000,000 blocks: an archive"),
        (128, 20_000_000, "at least 100 blocks back, not 214"),
        (64, 20_000_000, "no state 100 blocks back"),
        (10_000, 20_000_000, "at least 9,723 blocks back, not 20,852"),
        (10**9, 5, "all 5 blocks: an archive"),
        (0, 5, "no state 5 blocks back"),
        (0, 0, "nothing to ask for yet"),
        (0, -1, "nothing to ask for yet"),
    ],
)
def test_how_far_back(kept: int, deepest: int, words: str) -> None:
    served, missed, _ = explored(kept, deepest)
    assert survey.reach_words(served, missed, deepest) == words


@given(kept=st.integers(0, 10**9), deepest=st.integers(-1, 10**9))
def test_asking_for_depths_ends_and_never_asks_twice(kept: int, deepest: int) -> None:
    served, missed, asked = explored(kept, deepest)
    assert len(asked) <= survey.HISTORY_STEPS
    assert len(set(asked)) == len(asked)
    assert all(0 < depth <= deepest for depth in asked)
    assert served < max(kept, 1)
    assert missed is None or missed >= kept
