"""The last 24 hours of one upstream or chain, in cells of five minutes: how long it was well,
troubled, down. Pure.

State: the cells of each ``Strip``, written by ``rules.telling.chronicle``. A strip takes under 4
kB, however long the process lives.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Final

from rpcproxy.states import LEVELS, UPSTREAM_STATES, Level

# Those that a cell has seconds of.
KNOWN: Final = (Level.WELL, Level.TROUBLED, Level.DOWN)

CELL_SECONDS: Final = 300
CELLS: Final = 288
# What a cell is called after: a tenth of it down, or a hundredth not well.
DOWN_SHARE: Final = 0.1
TROUBLED_SHARE: Final = 0.01

_STATE_LEVELS: Final[Mapping[str, Level]] = {
    state: meaning.level for state, meaning in UPSTREAM_STATES.items()
}
_EMPTY: Final = array("f", bytes(4 * len(KNOWN)))
WORDS: Final[Mapping[str, Level]] = {meaning.letter: level for level, meaning in LEVELS.items()}


def level_of(state: str) -> Level:
    """How bad an upstream's state is, that of another version included."""
    return _STATE_LEVELS.get(state, Level.UNKNOWN)


class Strip:
    """Seconds at each level, in the cells of the last day. Times are Unix seconds; a clock set back
    adds to the last cell.
    """

    __slots__ = ("_last", "_seconds")

    def __init__(self) -> None:
        self._seconds = array("f", bytes(4 * len(KNOWN) * CELLS))
        self._last = -1

    def add(self, unix_seconds: float, level: Level, seconds: float) -> None:
        """It was ``level`` for the ``seconds`` until ``unix_seconds``."""
        index = int(unix_seconds // CELL_SECONDS)
        if self._last - index > CELLS:
            self._last = -1  # the clock had been far ahead: nothing of that can be placed
        if index > self._last:
            first = max(self._last + 1, index - CELLS + 1)
            for position in range(first, index + 1):
                start = (position % CELLS) * len(KNOWN)
                self._seconds[start : start + len(KNOWN)] = _EMPTY
            self._last = index
        if level != Level.UNKNOWN:
            at = (self._last % CELLS) * len(KNOWN) + KNOWN.index(level)
            self._seconds[at] += seconds

    def _of(self, index: int) -> Sequence[float]:
        if not self._last - CELLS < index <= self._last:
            return (0.0,) * len(KNOWN)
        start = (index % CELLS) * len(KNOWN)
        return self._seconds[start : start + len(KNOWN)]

    def letters(self, unix_seconds: float) -> str:
        """A letter for each cell, the oldest first, see ``WORDS``."""
        last = int(unix_seconds // CELL_SECONDS)
        return "".join(_letter(self._of(index)) for index in range(last - CELLS + 1, last + 1))

    def well_share(self, unix_seconds: float) -> tuple[float | None, float]:
        """Which part of the seconds that are known it was well, and how many these are; ``None``
        where nothing is known.
        """
        last = int(unix_seconds // CELL_SECONDS)
        cells = [self._of(index) for index in range(last - CELLS + 1, last + 1)]
        known = sum(sum(cell) for cell in cells)
        return (sum(cell[0] for cell in cells) / known if known > 0 else None), known

    def packed(self) -> tuple[int, bytes]:
        """What ``unpack`` takes."""
        return self._last, self._seconds.tobytes()

    @classmethod
    def unpack(cls, last: int, cells: bytes) -> Strip:
        """Raises ``ValueError`` where that is no strip."""
        seconds = array("f")
        seconds.frombytes(cells)
        # A clock that was set may bring the time of several days into one cell, and no more.
        if len(seconds) != len(KNOWN) * CELLS or not all(0.0 <= each < 1e6 for each in seconds):
            raise ValueError("not the cells of a strip")
        strip = cls()
        strip._last = last
        strip._seconds = seconds
        return strip


def _letter(cell: Sequence[float]) -> str:
    well, troubled, down = cell
    known = well + troubled + down
    if known <= 0:
        level = Level.UNKNOWN
    elif down >= DOWN_SHARE * known:
        level = Level.DOWN
    else:
        is_troubled = troubled + down >= TROUBLED_SHARE * known
        level = Level.TROUBLED if is_troubled else Level.WELL
    return LEVELS[level].letter
