"""Settled blocks: what the chain does not take back.

Each of them moves to what a majority of those that tell it has reached, and never falls. Where a
kind's blocks are final by their depth, or at once, that counts as well, once a majority has them.
Who holds another block at a final height, or falls below one that was told, contradicts what cannot
change: a hard alarm against that upstream, never a reorg.

State: ``Finality``, one per chain, written by ``heads.Heads`` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rpcproxy.messages import Head
from rpcproxy.rules.heads.head_track import HeadTrack
from rpcproxy.rules.heads.support import Vote


class Finality:
    """``anchors`` are the settled blocks, the lowest first and none below the one before it;
    ``None`` while nobody told them; ``names`` is what nodes call them. The first one is final.
    The tuple is a new one when any of them moved.
    """

    __slots__ = ("_final_depth", "anchors", "names")

    def __init__(self, names: Sequence[str] = ("final",), final_depth: int | None = None) -> None:
        """``names`` and ``final_depth`` are those of the kind's ``Traits``."""
        self.names = tuple(names)
        self._final_depth = final_depth
        self.anchors: tuple[Head | None, ...] = (None,) * len(self.names)

    @property
    def final(self) -> Head | None:
        """The highest block that is final, ``None`` while none is known."""
        return self.anchors[0]

    @property
    def floor(self) -> int:
        """The number of that block, −1 while none is known."""
        final = self.anchors[0]
        return -1 if final is None else final.number

    def named(self, name: str) -> Head | None:
        """The settled block of that name, ``None`` where it is not known, or the kind has none."""
        return self.anchors[self.names.index(name)] if name in self.names else None

    def settle(
        self,
        votes: Sequence[Vote],
        count: int,
        served: int,
        hash_at: Callable[[int], str],
        *,
        is_backed: bool,
    ) -> None:
        """Recompute from the votes of those on our chain; ``count`` is how many may vote.
        ``is_backed``: two of different providers have had the served head. A lone claim makes
        nothing final by its depth.
        """
        ours = [vote for vote in votes if not vote.is_forked]
        tracks = [vote.claimant.track for vote in ours]
        settled: list[Head | None] = []
        for index, before in enumerate(self.anchors):
            told = [track.anchors[index] for track in tracks if len(track.anchors) > index]
            head = _agreed(told, before, count, served, hash_at)
            if index == 0 and is_backed:
                head = self._deepest(head, ours, count, served, hash_at)
            below = settled[-1] if settled else None
            if below is not None and (head is None or head.number < below.number):
                head = below
            settled.append(head)
        if any(new is not old for new, old in zip(settled, self.anchors, strict=True)):
            self.anchors = tuple(settled)

    def _deepest(
        self,
        told: Head | None,
        ours: Sequence[Vote],
        count: int,
        served: int,
        hash_at: Callable[[int], str],
    ) -> Head | None:
        """What is final by its depth, where that is higher and a majority has come to it. Fewer may
        be wrong together, and what is final is never left.
        """
        if self._final_depth is None:
            return told
        number = served - self._final_depth
        if number < 0 or (told is not None and told.number >= number):
            return told
        having = sum(vote.head.number >= number for vote in ours)
        return Head(number, hash_at(number)) if having * 2 > count else told

    def contradiction(self, track: HeadTrack, hash_at: Callable[[int], str]) -> str:
        """How an upstream's words contradict what is final, ``""`` where they do not."""
        final = self.final
        if final is None:
            return ""
        last = track.last
        # Whoever was never there is only late; who was, and is no more, lost final blocks. Where
        # these are as high as the head, another machine behind its URL is a block behind.
        is_far_below = self._final_depth is None
        if is_far_below and last is not None and last.number < final.number <= track.number:
            return f"its head fell to {last.number}, below the finalized block {final.number}"
        for told in (last, *track.anchors[:1]):
            if told is None or told.number > final.number or not told.hash:
                continue
            ours = final.hash if told.number == final.number else hash_at(told.number)
            if ours and told.hash != ours:
                return f"its block {told.number} is not the finalized one"
        return ""


def _agreed(
    told: Sequence[Head | None],
    before: Head | None,
    count: int,
    served: int,
    hash_at: Callable[[int], str],
) -> Head | None:
    """What a majority of those that tell it has reached, where that is higher than ``before``."""
    known = sorted(
        (head for head in told if head is not None), key=lambda head: head.number, reverse=True
    )
    if not known or (len(known) == 1 and count > 2):
        return before
    head = known[len(known) // 2]
    if head.number > served or (before is not None and head.number <= before.number):
        return before
    ours = hash_at(head.number)
    return head if not ours or not head.hash or ours == head.hash else before
