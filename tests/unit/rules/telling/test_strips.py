"""rules.telling.strips: a day in cells."""

from __future__ import annotations

import pytest

from rpcproxy.rules.telling.strips import CELL_SECONDS, CELLS, WORDS, Strip, level_of
from tests.kits.samples import START


def test_states_have_levels() -> None:
    levels = {state: level_of(state) for state in ("up", "cooling", "forked", "drained", "?")}
    assert levels == {
        "up": "well",
        "cooling": "troubled",
        "forked": "down",
        "drained": "unknown",
        "?": "unknown",
    }
    assert set(WORDS.values()) == {"well", "troubled", "down", "unknown"}


@pytest.mark.parametrize(
    ("well", "troubled", "down", "letter"),
    [
        (0, 0, 0, "."),
        (300, 0, 0, "w"),
        (298, 2, 0, "w"),  # less than a hundredth
        (290, 10, 0, "t"),
        (280, 0, 20, "t"),
        (270, 0, 30, "d"),
        (0, 5, 0, "t"),
    ],
)
def test_a_cell_is_called_after_what_was_worst_in_it(well, troubled, down, letter) -> None:
    strip = Strip()
    for level, seconds in (("well", well), ("troubled", troubled), ("down", down)):
        strip.add(START, level, seconds)
    assert strip.letters(START)[-1] == letter
    assert strip.letters(START) == "." * (CELLS - 1) + letter


def test_it_goes_round_and_forgets_what_is_older_than_a_day() -> None:
    strip = Strip()
    for cell in range(3 * CELLS):
        strip.add(START + cell * CELL_SECONDS, "down" if cell < 2 * CELLS + 1 else "well", 300.0)
    now = START + (3 * CELLS - 1) * CELL_SECONDS
    assert strip.letters(now) == "d" + "w" * (CELLS - 1)
    share, known = strip.well_share(now)
    assert share == pytest.approx((CELLS - 1) / CELLS)
    assert known == CELLS * CELL_SECONDS


def test_what_was_not_seen_is_unknown() -> None:
    strip = Strip()
    strip.add(START, "well", 5)
    strip.add(START + 3 * CELL_SECONDS, "well", 5)
    strip.add(START + 3 * CELL_SECONDS, "unknown", 5)
    assert strip.letters(START + 4 * CELL_SECONDS).lstrip(".") == "w..w."
    assert strip.letters(START + 600 * CELL_SECONDS) == "." * CELLS
    assert strip.well_share(START + 600 * CELL_SECONDS) == (None, 0)
    assert Strip().letters(START) == "." * CELLS


def test_clocks_may_jump() -> None:
    strip = Strip()
    strip.add(START, "well", 5)
    strip.add(START - 2 * CELL_SECONDS, "down", 50)  # set back: into the last cell
    assert strip.letters(START).lstrip(".") == "d"
    strip.add(START - 2 * CELLS * CELL_SECONDS, "well", 5)  # it had been far ahead
    assert strip.letters(START - 2 * CELLS * CELL_SECONDS).lstrip(".") == "w"


def test_it_goes_through_a_restart() -> None:
    strip = Strip()
    strip.add(START, "well", 5)
    strip.add(START + CELL_SECONDS, "down", 5)
    again = Strip.unpack(*strip.packed())
    assert again.letters(START + CELL_SECONDS) == strip.letters(START + CELL_SECONDS)
    last, cells = strip.packed()
    assert len(cells) < 4096
    for bad in (cells[:-4], b"", cells[:-4] + b"\xff\xff\xff\xff"):
        with pytest.raises(ValueError, match="cells"):
            Strip.unpack(last, bad)
