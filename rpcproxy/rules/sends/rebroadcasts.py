"""When which pending transaction is broadcast again.

At each of the first three new blocks after it was sent; then after 2, 4, 8 … blocks, but at least
2 s and at most 10 minutes later. While no block comes, time alone asks for it, at growing
intervals too. Blocks are counted by how much the served head rose, so that a head that falls (a
reorg, a chain that begins anew) delays nothing.

Several that are due: the oldest first, and with it whatever else of its lane is due, in order.

Who is due is *handed out*, once: the caller tells ``on_rebroadcast`` when it was carried out.
Where he never does, it is handed out again half a minute later.

State: ``Rebroadcasts``, one per pool, written by it alone.
"""

from __future__ import annotations

from typing import Final

from rpcproxy.rules.sends.journaled import EntryQueue, PoolEntry

NEAR_BLOCKS: Final = 3
SHORTEST_SECONDS: Final = 2.0
LONGEST_SECONDS: Final = 600.0
# Without a new block. More than two of the slowest usual block times (12 s), so that a chain that
# moves is followed by its blocks.
STILL_SECONDS: Final = 30.0
# Longer than the first broadcast takes, whose outcome decides: the client may be told no only as
# long as nobody else sends.
HELD_SECONDS: Final = 120.0
UNANSWERED_SECONDS: Final = 30.0
_MOST_DOUBLINGS: Final = 20  # by then 10 minutes are the shorter


class Rebroadcasts:
    """Queues of pending entries, by the block and by the time at which each is due.
    ``blocks`` is how far the served head has risen so far.
    """

    __slots__ = ("_by_block", "_by_time", "_ready", "_ready_of", "_served", "blocks")

    def __init__(self) -> None:
        self._served = -1
        self.blocks = 0
        # An entry is either ready (in both of these) or waits (in one or both of the others).
        self._ready = EntryQueue()  # by when it was created
        self._ready_of: dict[str, EntryQueue] = {}  # of one owner, in order
        self._by_block = EntryQueue()
        self._by_time = EntryQueue()  # handed out ones too: for when nobody reports them

    @property
    def is_empty(self) -> bool:
        return not (self._ready or self._ready_of or self._by_block or self._by_time)

    def hold(self, entry: PoolEntry, now: float) -> None:
        """It is being broadcast for the first time: it is not due meanwhile."""
        self.drop(entry)
        entry.turns = -1
        entry.due_block = self.blocks
        self._by_time.put(entry, now + HELD_SECONDS)

    def start(self, entry: PoolEntry, now: float) -> None:
        """It was sent just now: three new blocks are to come."""
        self.drop(entry)
        entry.turns = entry.stills = 0
        self._wait(entry, self.blocks, now)

    def begin(self, entry: PoolEntry) -> None:
        """It is due at once, and then at three new blocks."""
        self.drop(entry)
        entry.turns, entry.stills = -1, 0
        entry.due_block = self.blocks
        self._make_ready(entry)

    def drop(self, entry: PoolEntry) -> None:
        """It is not to be broadcast any more."""
        entry.handed_block = -1
        self._by_block.drop(entry)
        self._by_time.drop(entry)
        if entry in self._ready:
            self._ready.drop(entry)
            line = self._ready_of[entry.owner]
            line.drop(entry)
            if not line:
                del self._ready_of[entry.owner]

    def on_rebroadcast(self, entry: PoolEntry, now: float) -> None:
        """A turn was carried out. Without effect on what was not handed out, or has been sent
        anew or mined since.
        """
        since = entry.handed_block
        if since < 0:
            return
        self.drop(entry)
        if entry.due_block <= since:
            entry.turns += 1
        else:
            entry.stills += 1
        self._wait(entry, since, now)

    def hand_out(self, served: int, now: float, limit: int) -> list[PoolEntry]:
        """Those that are due, at most ``limit``. ``served`` is the number of the served head, −1
        where it is not known.
        """
        if served >= 0:
            if self._served >= 0:
                self.blocks += max(0, served - self._served)
            self._served = served
        for entry in self._by_block.take(self.blocks):
            if now >= entry.earliest_at:
                self._make_ready(entry)
            else:
                self._by_time.put(entry, entry.earliest_at)
        for entry in self._by_time.take(now):
            self._make_ready(entry)
        handed: list[PoolEntry] = []
        while len(handed) < limit and (oldest := self._ready.first()) is not None:
            owner = oldest[1].owner
            line = self._ready_of[owner]
            for entry in line.take(float("inf")):
                self._ready.drop(entry)
                self._hand(entry, now)
                handed.append(entry)
                if len(handed) == limit:
                    break
            if not line:
                del self._ready_of[owner]
        return handed

    def _hand(self, entry: PoolEntry, now: float) -> None:
        if entry.due_block > self.blocks or entry.turns >= NEAR_BLOCKS:
            # Pools forget, and by now there was time for it: all are asked again.
            entry.knowing.clear()
        entry.handed_block = self.blocks
        self._by_time.put(entry, now + UNANSWERED_SECONDS)

    def _make_ready(self, entry: PoolEntry) -> None:
        self._by_block.drop(entry)
        self._by_time.drop(entry)
        self._ready.put(entry, entry.created_unix)
        self._ready_of.setdefault(entry.owner, EntryQueue()).put(entry, entry.order)

    def _wait(self, entry: PoolEntry, since: int, now: float) -> None:
        """Until its next turn; the last one was when ``since`` blocks had come."""
        turns = entry.turns
        if turns < NEAR_BLOCKS:
            entry.due_block = since + 1
            entry.earliest_at = now
        else:
            entry.due_block = since + (2 << min(turns - NEAR_BLOCKS, _MOST_DOUBLINGS))
            entry.earliest_at = now + SHORTEST_SECONDS
        pause = STILL_SECONDS * (1 << min(turns + entry.stills, _MOST_DOUBLINGS))
        self._by_block.put(entry, entry.due_block)
        self._by_time.put(entry, now + min(pause, LONGEST_SECONDS))
