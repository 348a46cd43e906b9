"""Lanes: transactions that come one after the other, and which of several in one place is sent.

Where accounts count their transactions, a lane is an account and the order in it is that number. A
wallet that speeds a transaction up, or cancels it, signs another one for the same *place*. Once
that one was *taken* (an upstream said yes, or its hash was promised), the earlier ones *rest*: they
are watched, since one of them may still be mined, and never sent again. Nodes' pools forget and
fees fall, so that a payment that was cancelled could otherwise be carried out (MetaMask 7305,
MyCrypto 2517).

Which is the later one, wallets say by sending: the last that was sent, or sent once more. What
was refused was not taken, and what ends without a block (it expired) stays the last word.

State: the entries by lane and order, and the last word of each place where one was taken; one
``Lanes`` per pool, written by it alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rpcproxy.rules.sends.journaled import (
    JournaledRow,
    LanePlace,
    PoolEntry,
    Shelves,
    TransactionState,
)


class Lanes:
    """Entries by lane and order, with the last word for each place. ``len`` is 0 when nothing is
    left of any.
    """

    __slots__ = ("_lanes", "_last", "_spoken")

    def __init__(self) -> None:
        self._lanes: dict[str, Shelves] = {}
        self._last: dict[LanePlace, PoolEntry] = {}
        self._spoken = 0

    def __len__(self) -> int:
        return len(self._lanes) + len(self._last)

    # ---- places

    def put(self, entry: PoolEntry) -> None:
        if entry.lane:
            self._lanes.setdefault(entry.lane, Shelves()).put(entry, entry.order)

    def drop(self, entry: PoolEntry) -> None:
        """It has ended. Those that rest go on resting."""
        self.forget_word(entry)
        if entry.lane:
            shelves = self._lanes[entry.lane]
            shelves.drop(entry, entry.order)
            if not shelves:
                del self._lanes[entry.lane]

    def at(self, lane: str, order: int) -> list[PoolEntry]:
        """All that ask for a place."""
        shelves = self._lanes.get(lane)
        return [] if shelves is None else shelves.at(order)

    def beside(self, entry: PoolEntry) -> list[PoolEntry]:
        """All that ask for its place, with itself."""
        return self.at(entry.lane, entry.order) if entry.lane else [entry]

    def has_rivals(self, entry: PoolEntry) -> bool:
        """Whether others ask for its place."""
        return bool(entry.lane) and self._lanes[entry.lane].count(entry.order) > 1

    def next_free(self, lane: str, order: int) -> int:
        """The first place from ``order`` on that nobody asks for."""
        shelves = self._lanes.get(lane)
        if shelves is not None:
            while order in shelves:
                order += 1
        return order

    # ---- words

    def speak(self, entry: PoolEntry) -> None:
        """Its wallet sent it just now."""
        self._spoken += 1
        entry.word = self._spoken

    @staticmethod
    def recalled(rows: Iterable[JournaledRow]) -> Iterator[tuple[int, JournaledRow]]:
        """Rows of an earlier process with their words: earlier than any of this one, in their
        order; those that rest first.
        """
        found = sorted(rows, key=lambda row: row.state != TransactionState.RESTING.value)
        return zip(range(-len(found), 0), found, strict=True)

    def take(self, entry: PoolEntry) -> PoolEntry | None:
        """It was taken: the one that is to rest from now on, itself or the one before it."""
        last = self._last.get(entry.place)
        if last is not None and last.word > entry.word:
            return entry
        self._last[entry.place] = entry
        return last if last is not entry else None

    def last(self, entry: PoolEntry) -> PoolEntry | None:
        """The last word for its place that was taken, while that has not ended."""
        return self._last.get(entry.place)

    def is_overtaken(self, entry: PoolEntry) -> bool:
        """Whether a later one was taken."""
        last = self._last.get(entry.place)
        return last is not None and last.word > entry.word

    def forget_word(self, entry: PoolEntry) -> None:
        """It is the last word no more."""
        if self._last.get(entry.place) is entry:
            del self._last[entry.place]
