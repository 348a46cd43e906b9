"""What one upstream told of its heads.

State: ``HeadTrack``, one per upstream, written by ``Standings.observe`` alone.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from itertools import zip_longest
from typing import Final

from rpcproxy.messages import Head

REPORTS: Final = 10


class HeadTrack:
    """The last ten head reports of one upstream.

    ``head`` is the highest of them, ``last`` the latest. ``low_water`` is how far up it can be
    relied on: behind one URL may stand several machines, and where reports fell back by d blocks
    within the last ten, a request may meet a machine d blocks behind. A row of growing numbers
    falls back by nothing. ``anchors`` are its last words on what is settled, the lowest first.
    """

    __slots__ = (
        "_reports",
        "anchors",
        "head",
        "last",
        "low_water",
        "moved_at",
        "number",
        "reported_at",
    )

    def __init__(self) -> None:
        self.head: Head | None = None
        self.last: Head | None = None
        self.anchors: tuple[Head | None, ...] = ()
        self.number = -1
        self.low_water = -1
        self.moved_at = -math.inf
        self.reported_at = -math.inf
        self._reports: deque[Head] = deque(maxlen=REPORTS)

    def report(self, head: Head, now: float) -> bool:
        """Take in a report; whether the head, its hash or ``low_water`` changed."""
        if head.number < 0:
            return False
        before = (self.number, self.low_water)
        told = self.last
        self.last = head
        self._reports.append(head)
        self.reported_at = now
        top = fallen = -1
        highest = head
        for told_head in self._reports:
            if told_head.number >= top:
                top = told_head.number
                highest = told_head
            fallen = max(fallen, top - told_head.number)
        if top != self.number:
            self.moved_at = now
        self.head = highest
        self.number = top
        self.low_water = max(0, top - fallen)
        return before != (self.number, self.low_water) or told is None or told.hash != head.hash

    def report_anchors(self, told: Sequence[Head | None]) -> bool:
        """Take in what it said of settled blocks, the lowest first; whether anything changed. Of
        what it did not tell now, its earlier word stands.
        """
        before = self.anchors
        self.anchors = tuple(new or old for new, old in zip_longest(told, before))
        return before != self.anchors

    def still_seconds(self) -> float:
        """For how long its reports have said the same, by the last of them."""
        return self.reported_at - self.moved_at if self.head is not None else 0.0

    def copy(self) -> HeadTrack:
        twin = HeadTrack()
        for name in self.__slots__:
            setattr(twin, name, getattr(self, name))
        twin._reports = self._reports.copy()
        return twin
