"""What a check makes of heads that were told at different moments; how far back it asks. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

HISTORY_STEPS: Final = 6
# Full nodes keep the state of the last 128 blocks (geth), some 64 (Nethermind).
FIRST_DEPTH: Final = 100


class SeenHead(msgspec.Struct, frozen=True):
    """A head as it was told. ``at`` in monotonic seconds."""

    number: int
    at: float


def lag_of(
    own: Sequence[SeenHead], others: Sequence[SeenHead], block_time_seconds: float
) -> int | None:
    """Blocks behind the others, the median of all that was told; ``None`` where there is nothing
    to compare. What the others told later counts for less, by the blocks that time may have
    brought.
    """
    if not own or not others:
        return None
    behind = sorted(_behind(each, others, block_time_seconds) for each in own)
    return behind[(len(behind) - 1) // 2]


def _behind(own: SeenHead, others: Sequence[SeenHead], block_time_seconds: float) -> int:
    expected = max(
        other.number - _possible(other.at - own.at, block_time_seconds) for other in others
    )
    return max(0, expected - own.number)


def leads_of(told: Mapping[str, Sequence[SeenHead]], block_time_seconds: float) -> dict[str, int]:
    """Blocks that each claims above what at least half of all have reached, itself among them.
    Of two, nobody is above: half of them have reached the higher one.
    """
    return {
        name: max((_above(each, name, told, block_time_seconds) for each in own), default=0)
        for name, own in told.items()
    }


def _above(
    own: SeenHead, name: str, told: Mapping[str, Sequence[SeenHead]], block_time_seconds: float
) -> int:
    reached = [own.number]
    for other, heads in told.items():
        if other != name and heads:
            reached.append(
                max(head.number + _possible(own.at - head.at, block_time_seconds) for head in heads)
            )
    reached.sort(reverse=True)
    return max(0, own.number - reached[(len(reached) - 1) // 2])


def _possible(seconds: float, block_time_seconds: float) -> int:
    """How many blocks may have come in that time."""
    return 0 if seconds <= 0 else math.ceil(seconds / block_time_seconds) + 1


def is_same_head(
    first: Sequence[SeenHead], second: Sequence[SeenHead], block_time_seconds: float
) -> bool:
    """Whether neither was ever seen behind the other."""
    if not first or not second:
        return False
    return not any(
        _behind(each, others, block_time_seconds)
        for these, others in ((first, second), (second, first))
        for each in these
    )


def is_too_far(blocks: int, max_lag_blocks: int, block_time_seconds: float) -> bool:
    """Whether nobody would be served from there, behind or above: more than a minute of blocks,
    and more than the configuration allows.
    """
    return blocks > max(max_lag_blocks, math.ceil(60.0 / block_time_seconds))


def next_depth(served: int, missed: int | None, deepest: int, steps: int) -> int | None:
    """How many blocks below the head to ask next, ``None`` when enough is known. ``served`` is
    the greatest depth that was answered (0: none), ``missed`` the least that was not, ``steps``
    how often was asked.

    The oldest block first, since an archive has it; then the least that any full node has; then
    the middle between what was there and what was not, in powers.
    """
    if steps >= HISTORY_STEPS or deepest <= 0:
        return None
    if missed is None:
        return deepest if served < deepest else None
    if served == 0:
        return FIRST_DEPTH if missed > FIRST_DEPTH else None
    middle = math.isqrt(served * missed)
    return middle if missed > 2 * served and served < middle < missed else None


def reach_words(served: int, missed: int | None, deepest: int) -> str:
    """What the steps of ``next_depth`` found."""
    if missed is None:
        return f"all {deepest:,} blocks: an archive" if served else "nothing to ask for yet"
    if not served:
        return f"no state {missed:,} blocks back"
    return f"at least {served:,} blocks back, not {missed:,}"
