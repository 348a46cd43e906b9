"""Safe and finalized blocks: what the chain has settled for good.

Each moves to what a majority of those that tell it has reached, and never falls. Who holds
another block at a finalized height, or falls below one, contradicts what cannot change: a hard
alarm against that upstream, never a reorg.

State: ``Finality``, one per chain, written by ``heads.Heads`` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rpcproxy.messages import Head
from rpcproxy.rules.heads.head_track import HeadTrack
from rpcproxy.rules.heads.support import Vote


class Finality:
    """``safe`` is never below ``finalized``; both are ``None`` while nobody told them."""

    __slots__ = ("finalized", "safe")

    def __init__(self) -> None:
        self.safe: Head | None = None
        self.finalized: Head | None = None

    @property
    def floor(self) -> int:
        """The number of the finalized block, −1 while none is known."""
        return -1 if self.finalized is None else self.finalized.number

    def settle(
        self, votes: Sequence[Vote], count: int, served: int, hash_at: Callable[[int], str]
    ) -> None:
        """Recompute from the votes of those on our chain; ``count`` is how many may vote."""
        tracks = [vote.claimant.track for vote in votes if not vote.is_forked]

        def agreed(told: Sequence[Head | None], before: Head | None) -> Head | None:
            known = sorted(
                (head for head in told if head is not None),
                key=lambda head: head.number,
                reverse=True,
            )
            if not known or (len(known) == 1 and count > 2):
                return before
            head = known[len(known) // 2]
            if head.number > served or (before is not None and head.number <= before.number):
                return before
            ours = hash_at(head.number)
            return head if not ours or not head.hash or ours == head.hash else before

        final = agreed([track.finalized for track in tracks], self.finalized)
        safe = agreed([track.safe for track in tracks], self.safe)
        if final is not None and (safe is None or safe.number < final.number):
            safe = final
        self.finalized, self.safe = final, safe

    def contradiction(self, track: HeadTrack, hash_at: Callable[[int], str]) -> str:
        """How an upstream's words contradict what is finalized, ``""`` where they do not."""
        final = self.finalized
        if final is None:
            return ""
        last = track.last
        # Whoever was never there is only late; who was, and is no more, lost final blocks.
        if last is not None and last.number < final.number <= track.number:
            return f"its head fell to {last.number}, below the finalized block {final.number}"
        for told in (last, track.finalized):
            if told is None or told.number > final.number or not told.hash:
                continue
            ours = final.hash if told.number == final.number else hash_at(told.number)
            if ours and told.hash != ours:
                return f"its block {told.number} is not the finalized one"
        return ""
