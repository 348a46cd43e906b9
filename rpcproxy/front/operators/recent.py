"""The last things that happened, of every kind: many of one kind push out their own only.

State: ``RecentEntries``, one per list that is shown, written by whoever is told.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from itertools import count
from typing import Generic, TypeVar

Entry = TypeVar("Entry")


class RecentEntries(Generic[Entry]):
    """At most ``kept`` entries. Where it is full, the kind that has the most loses its oldest."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._numbers = count()
        self._by_kind: OrderedDict[Hashable, deque[tuple[int, Entry]]] = OrderedDict()
        self._size = 0

    def add(self, entry: Entry, kind: Hashable) -> None:
        """Remember what happened just now."""
        kept = self._by_kind.setdefault(kind, deque())
        kept.append((next(self._numbers), entry))
        # Where several kinds have as many, the one that was heard of longest ago.
        self._by_kind.move_to_end(kind)
        self._size += 1
        if self._size > self._kept:
            fullest = max(self._by_kind, key=lambda each: len(self._by_kind[each]))
            self._by_kind[fullest].popleft()
            if not self._by_kind[fullest]:
                del self._by_kind[fullest]
            self._size -= 1

    def latest_first(self) -> list[Entry]:
        numbered = [each for kept in self._by_kind.values() for each in kept]
        return [entry for _, entry in sorted(numbered, key=lambda each: -each[0])]
