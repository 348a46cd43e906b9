"""Blocks above the served head that clients may be shown, where ``latest`` is left to upstreams.

An upstream that is asked for ``latest`` answers from its own head, and on fast chains that is
often above the served one. Such a block is shown where its parent hashes link it to the served
head, or where it is no further than time allows above what a second provider told. From then on
nothing lower is told. What nobody else comes to was a claim: it is taken back, and its teller is
not believed for a while.

State: ``Ahead``, one per chain, at most one entry per upstream; written by ``heads.Heads`` alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from rpcproxy.rules.heads.support import Claimant

STEP_BLOCKS: Final = 1  # between any two heads, however slow the chain
STEP_SECONDS: Final = 1.0  # and as many as come while the others are on their way
MOST_STEP_SECONDS: Final = 5.0
# Others have come to an honest block by then. On fast chains they are there by themselves, even
# where it was invented.
CLAIM_SECONDS: Final = 2.0
FAST_CLAIM_SECONDS: Final = 4.0
FAST_BLOCK_SECONDS: Final = 2.0
DOUBTED_SECONDS: Final = 15.0


class Ahead:
    """``is_allowed``: anything may be shown above the served head at all."""

    __slots__ = ("_doubted", "_since", "_teller", "is_allowed")

    def __init__(self, *, is_allowed: bool) -> None:
        self.is_allowed = is_allowed
        self._teller = ""
        self._since = -math.inf
        self._doubted: dict[str, float] = {}  # until when, by the upstream's name

    def believes(self, teller: str, now: float) -> bool:
        """Whether this upstream's word counts at present."""
        return self.is_allowed and now >= self._doubted.get(teller, -math.inf)

    def on_shown(self, teller: str, now: float) -> None:
        """A block of this upstream was shown."""
        self._teller, self._since = teller, now

    def adopt(self, old: Ahead) -> None:
        """A reload: what is shown is no claim that is due because of it."""
        self._teller, self._since, self._doubted = old._teller, old._since, old._doubted

    def has_lapsed(
        self, number: int, voters: Iterable[Claimant], block_time_seconds: float, now: float
    ) -> bool:
        """Whether the others had time enough to come to the block that was shown, and more than
        half of them have reported since that they have not. Who was not asked contradicts nobody.
        """
        is_fast = block_time_seconds < FAST_BLOCK_SECONDS
        due = self._since + (FAST_CLAIM_SECONDS if is_fast else CLAIM_SECONDS)
        if now < due:
            return False
        others = [voter.track for voter in voters if voter.name != self._teller]
        against = sum(track.reported_at >= due and track.number < number for track in others)
        if others and against * 2 <= len(others):
            return False
        self._doubted[self._teller] = now + DOUBTED_SECONDS
        return True


def reach(block_time_seconds: float, passed_seconds: float) -> int:
    """How many blocks an upstream may be ahead, when the head was last seen to move so long ago."""
    seconds = STEP_SECONDS + min(MOST_STEP_SECONDS, max(0.0, passed_seconds))
    return STEP_BLOCKS + int(seconds / block_time_seconds)


def second_height(claimants: Iterable[Claimant]) -> int:
    """The highest block that two providers have come to, −1 where there are not two."""
    heights: dict[str, int] = {}
    for claimant in claimants:
        provider, number = claimant.provider, claimant.track.number
        heights[provider] = max(number, heights.get(provider, -1))
    return sorted(heights.values(), reverse=True)[1] if len(heights) > 1 else -1
