"""Reach: how far back an upstream's data goes, learned from what it served and what it missed.

Depths are blocks below the upstream's own head, since what pruned nodes keep moves with it. Three
kinds of data are told apart: nodes that prune state mostly keep blocks, receipts and logs.

State: one ``Reach`` per upstream, written by ``Standings`` alone.
"""

from __future__ import annotations

from typing import Final

from rpcproxy.chains.method import Data

# Every full node has this many states (Nethermind keeps 64, geth 128). What is missing nearer to
# the head is a matter of lag.
NEAR_BLOCKS: Final = 64
# Plans change, and so do the machines behind one URL: what was missed is asked again, less often
# each time it is still missing.
FORGET_SECONDS: Final = 600.0
LONGEST_FORGET_SECONDS: Final = 4 * 3600.0
# Above what any chain has: among those who missed a depth, who missed less of it comes first.
_BEYOND: Final = 2**62


class _Depths:
    """Of one kind of data: the greatest depth it served, and the least it missed (0: none), which
    counts until ``until``.
    """

    __slots__ = ("level", "missed", "served", "until")

    def __init__(self) -> None:
        self.served = -1
        self.missed = 0
        self.until = 0.0
        self.level = -1  # how often it was still missing when asked again

    def copy(self) -> _Depths:
        twin = _Depths()
        twin.served, twin.missed = self.served, self.missed
        twin.until, twin.level = self.until, self.level
        return twin


class Reach:
    """The depths at which one upstream answered, and missed, for each kind of data.
    ``block`` is the lowest one that was asked for, ``head`` the number of the upstream's head, −1
    where unknown; nothing can be said of a depth then.
    """

    __slots__ = ("_kinds",)

    def __init__(self) -> None:
        self._kinds = tuple(_Depths() for _ in Data)

    def on_served(self, block: int, head: int, data: Data) -> None:
        """It answered at that block."""
        depth = head - block
        known = self._kinds[data]
        if block < 0 or depth <= known.served:
            return
        known.served = depth
        if 0 < known.missed <= depth:
            known.missed = depth + 1
            known.level = -1

    def on_missed(self, block: int, head: int, data: Data, now: float) -> None:
        """It said that it has no data at that block. Near the head nothing is learned."""
        depth = head - block
        if block < 0 or head < 0 or depth < NEAR_BLOCKS:
            return
        known = self._kinds[data]
        if known.missed == 0 or now >= known.until:
            known.level += 1
            known.missed = depth
        else:
            known.missed = min(known.missed, depth)
        known.served = min(known.served, depth - 1)
        seconds = FORGET_SECONDS * 2.0 ** min(max(known.level, 0), 10)
        known.until = now + min(seconds, LONGEST_FORGET_SECONDS)

    def may_have(self, block: int, head: int, data: Data, now: float) -> bool:
        """False where it lately missed that depth."""
        known = self._kinds[data]
        return not 0 < known.missed <= head - block or now >= known.until

    def doubt(self, block: int, head: int, data: Data, now: float) -> int:
        """How much speaks against asking it for that block: 0 where it has served that depth, 1
        where nothing is known, more where it missed it, least for whoever reaches deepest.
        """
        depth = head - block
        if depth < NEAR_BLOCKS or depth <= self._kinds[data].served:
            return 0
        if self.may_have(block, head, data, now):
            return 1
        return _BEYOND - min(self._kinds[data].missed, _BEYOND - 2)

    def missed_depth(self, data: Data, now: float) -> int | None:
        """From which depth on data is missing, in blocks below its head; ``None`` where it is not
        known to miss any.
        """
        known = self._kinds[data]
        return known.missed if known.missed and now < known.until else None

    def copy(self) -> Reach:
        twin = Reach()
        twin._kinds = tuple(known.copy() for known in self._kinds)
        return twin
