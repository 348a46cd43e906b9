"""A journaled transaction as far as its fate is concerned, and the orders it is kept in.

State: entries are written by ``pool.Pool`` and by its ``rebroadcasts.Rebroadcasts``; others read.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Final, Protocol

import msgspec


class TransactionState(Enum):
    """What became of a transaction. The values are the journal's words."""

    JOURNALED = "journaled"  # on disk; no upstream has said yes
    SENT = "sent"  # some upstream said yes
    RESTING = "resting"  # its wallet's last word for its place in the lane is another one
    MINED = "mined"  # seen in a block of our chain
    FINAL = "final"  # its block is finalized
    REPLACED = "replaced"  # another transaction took its place in the lane, for good
    REFUSED = "refused"  # the client was told no
    EXPIRED = "expired"  # given up

    @property
    def is_closed(self) -> bool:
        """Whether nothing more is done for it."""
        return self in _CLOSED

    @property
    def is_pending(self) -> bool:
        """Whether a wallet should see it as waiting for its block."""
        return self in _PENDING

    @property
    def is_sent_again(self) -> bool:
        """Whether it is broadcast until it is in a block."""
        return self is TransactionState.JOURNALED or self is TransactionState.SENT


_PENDING: Final = frozenset(
    (TransactionState.JOURNALED, TransactionState.SENT, TransactionState.RESTING)
)
_CLOSED: Final = frozenset(
    (
        TransactionState.FINAL,
        TransactionState.REPLACED,
        TransactionState.REFUSED,
        TransactionState.EXPIRED,
    )
)


class JournaledRow(Protocol):
    """What is needed of a row of the journal. ``created`` in Unix seconds; ``lane`` is ``""`` and
    ``order`` −1 where they are unknown.
    """

    @property
    def hash(self) -> str: ...
    @property
    def lane(self) -> str: ...
    @property
    def order(self) -> int: ...
    @property
    def raw(self) -> bytes: ...
    @property
    def created(self) -> float: ...
    @property
    def state(self) -> str: ...
    @property
    def block(self) -> int: ...
    @property
    def is_private(self) -> bool: ...
    @property
    def said(self) -> Mapping[str, str]: ...


class PoolEntry(msgspec.Struct, eq=False):
    """One transaction of the pool.

    ``block`` is −1 and ``block_hash`` empty until it is mined (and the hash also after a restart,
    until its block is seen again). ``word`` counts the wishes of wallets: the higher, the later.
    ``said``: what each upstream said last. ``knowing``: the upstreams that are known to have it.
    ``is_promised``: it may be out, or its client was told its hash, so nobody can be told no any
    more. ``turns`` counts rebroadcasts at new blocks since it was last sent anew, −1 while even
    the first copies are still to go out; ``stills`` those that time alone asked for.
    """

    hash: str
    lane: str
    order: int
    raw: bytes
    created_unix: float
    is_private: bool = False
    state: TransactionState = TransactionState.JOURNALED
    block: int = -1
    block_hash: str = ""
    word: int = 0
    said: dict[str, str] = {}
    knowing: set[str] = set()
    is_promised: bool = False
    expires_at: float = 0.0  # monotonic seconds
    turns: int = 0
    stills: int = 0
    due_block: int = 0  # counted as ``Rebroadcasts`` counts blocks
    earliest_at: float = 0.0  # monotonic seconds
    handed_block: int = -1  # −1 where it is not handed out

    @property
    def owner(self) -> str:
        """The lane it belongs to, or itself where that is unknown."""
        return self.lane or self.hash

    @property
    def place(self) -> LanePlace:
        """Which of all sends it is instead of: one of them alone can ever be in a block."""
        return self.owner, self.order


# A lane in which transactions come one after the other, and the order in it.
LanePlace = tuple[str, int]


class EntryQueue:
    """Entries by a number, the lowest first, equal ones in the order they came. Each is in it at
    most once, and may be taken out from the middle.

    What is taken out leaves a stale item in the heap; these never outnumber the rest for long,
    and none is left when the queue is empty.
    """

    __slots__ = ("_count", "_heap", "_places")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, PoolEntry]] = []
        self._places: dict[str, int] = {}  # of each entry's one item that counts, by hash
        self._count = 0

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, entry: PoolEntry) -> bool:
        return entry.hash in self._places

    def put(self, entry: PoolEntry, key: float) -> None:
        """Give an entry its key, in place of an earlier one."""
        self._count += 1
        self._places[entry.hash] = self._count
        heapq.heappush(self._heap, (key, self._count, entry))
        self._tidy()

    def drop(self, entry: PoolEntry) -> None:
        """Take an entry out, if it is in."""
        if self._places.pop(entry.hash, None) is not None:
            self._tidy()

    def first(self) -> tuple[float, PoolEntry] | None:
        """The lowest key and its entry."""
        while self._heap:
            key, place, entry = self._heap[0]
            if self._places.get(entry.hash) == place:
                return key, entry
            heapq.heappop(self._heap)
        return None

    def take(self, key: float) -> Iterator[PoolEntry]:
        """Take out the entries up to and with this key, as far as the caller goes."""
        while (first := self.first()) is not None and first[0] <= key:
            del self._places[first[1].hash]
            heapq.heappop(self._heap)
            self._tidy()
            yield first[1]

    def _tidy(self) -> None:
        if not self._places:
            self._heap.clear()
        elif len(self._heap) > 2 * len(self._places) + 64:
            places = self._places
            self._heap = [item for item in self._heap if places.get(item[2].hash) == item[1]]
            heapq.heapify(self._heap)


class Shelves:
    """Entries by a whole number (a block, an order), several of them on one shelf."""

    __slots__ = ("_numbers", "_shelves")

    def __init__(self) -> None:
        self._numbers: list[int] = []  # sorted
        self._shelves: dict[int, dict[str, PoolEntry]] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def __contains__(self, number: int) -> bool:
        return number in self._shelves

    def put(self, entry: PoolEntry, number: int) -> None:
        shelf = self._shelves.get(number)
        if shelf is None:
            insort(self._numbers, number)
            shelf = self._shelves[number] = {}
        shelf[entry.hash] = entry

    def drop(self, entry: PoolEntry, number: int) -> None:
        """Take out an entry that was put there."""
        shelf = self._shelves[number]
        del shelf[entry.hash]
        if not shelf:
            del self._shelves[number]
            del self._numbers[bisect_left(self._numbers, number)]

    def at(self, number: int) -> list[PoolEntry]:
        return list(self._shelves.get(number, {}).values())

    def count(self, number: int) -> int:
        return len(self._shelves.get(number, ()))

    def below(self, number: int) -> list[PoolEntry]:
        """Those with a lower number, the lowest first."""
        return self._of(self._numbers[: bisect_left(self._numbers, number)])

    def above(self, number: int) -> list[PoolEntry]:
        """Those with a higher number, the lowest first."""
        return self._of(self._numbers[bisect_right(self._numbers, number) :])

    def _of(self, numbers: list[int]) -> list[PoolEntry]:
        return [entry for number in numbers for entry in self._shelves[number].values()]
