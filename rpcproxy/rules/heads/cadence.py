"""When to ask for heads: in step with the chain.

Learns the time between blocks and when the last one came. Asks when the next is expected, then in
short steps until it is there, and in any case every few seconds, so that an upstream without
traffic is not forgotten. Registries are wrong about several chains: the configured block time is
where learning starts.
"""

from __future__ import annotations

from typing import Final

SHORTEST_PAUSE_SECONDS: Final = 0.25
# For so long after a block is out, those that lack it are asked in short steps.
NEWS_SECONDS: Final = 1.0
NEWS_STEP_SECONDS: Final = 0.08
LONGEST_PAUSE_SECONDS: Final = 3.0
STEPS_PER_BLOCK: Final = 8
LEARNING: Final = 0.2  # weight of a new interval
# One sample counts for at most this many times what is known, and at least for this part: a halt
# of hours, or a head that jumped, is forgotten within a few blocks.
SURPRISE: Final = 4.0
SICK_PAUSE_SECONDS: Final = 1.0  # an upstream that failed is asked again this often
DARK_PAUSE_SECONDS: Final = 0.25  # when no upstream is usable, each is


class Cadence:
    """One per chain. State: the learned interval and when the last new head came.

    ``shortest_seconds``: the pause between questions to one upstream that its budget allows on
    average.
    """

    __slots__ = ("_last_new_at", "_number", "interval_seconds", "shortest_seconds")

    def __init__(
        self, block_time_seconds: float, shortest_seconds: float = SHORTEST_PAUSE_SECONDS
    ) -> None:
        self.interval_seconds = block_time_seconds
        self.shortest_seconds = shortest_seconds
        self._number = -1
        self._last_new_at = 0.0

    def on_head(self, number: int, now: float) -> bool:
        """Some usable upstream's head is ``number``; whether that is a new one."""
        if number <= self._number:
            return False
        if self._number >= 0 and now > self._last_new_at:
            known = self.interval_seconds
            seen = (now - self._last_new_at) / (number - self._number)
            seen = min(known * SURPRISE, max(known / SURPRISE, seen))
            self.interval_seconds += LEARNING * (seen - known)
        self._number = number
        self._last_new_at = now
        return True

    def pause(self, number: int, now: float) -> float:
        """Seconds until an upstream whose head is ``number`` is asked again."""
        if number < self._number and now - self._last_new_at < NEWS_SECONDS:
            return NEWS_STEP_SECONDS  # others have it: it is there in a moment
        step = self.interval_seconds / STEPS_PER_BLOCK
        expected = self._last_new_at + self.interval_seconds - now
        pause = expected if number >= self._number and expected > step else step
        shortest = min(self.shortest_seconds, SHORTEST_PAUSE_SECONDS)
        return max(shortest, min(LONGEST_PAUSE_SECONDS, pause))
