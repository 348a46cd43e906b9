"""The pool of one chain: every journaled transaction that is not closed, and what is due for it.

The pool decides, others do: they write the journal, ask the upstreams and tell it what came of
it. A transaction leaves it only with a reason (``TransactionState``): its block is final, another
one took its place for good, its client was told no, or it is a day old. Until then it is broadcast
again and again (``rebroadcasts``), or it is in a block, or it rests for its wallet's last word
(``lanes``).

*No* can be told only while nobody but the first broadcast sends it: once an upstream said yes,
once its hash was promised (``keep``), after a restart (nobody knows what the client was told) and
once it was due, ``refuse`` closes it no more.

*Age* is counted in monotonic seconds from when a transaction came here: a wall clock that jumps
ages nothing. Only after a restart does the wall clock say how old a row is already, and even then
it stays for ten minutes at least, in which it is broadcast anew; so a clock that is wrong by
years, or an outage of days, never closes anything unseen. Time in which the machine sleeps does
not count.

No event looks at all entries: each costs the logarithm of their number, and what it returns
(``all_open`` and ``all_pending`` alone are one pass).

State: one ``Pool`` per chain, written by its owner's event loop alone. ``now`` is in monotonic
seconds, ``unix`` in Unix seconds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from rpcproxy.chains.parts.transactions import DecodedTransaction
from rpcproxy.messages import Verdict
from rpcproxy.rules.sends.journaled import (
    EntryQueue,
    JournaledRow,
    PoolEntry,
    Shelves,
    TransactionState,
)
from rpcproxy.rules.sends.lanes import Lanes
from rpcproxy.rules.sends.rebroadcasts import Rebroadcasts

EXPIRY_SECONDS: Final = 86400.0
# What is restored, or falls out of the chain, is broadcast anew for so long, however old it is.
GRACE_SECONDS: Final = 600.0
MOST_ENDS: Final = 4096
# What an upstream said that has the transaction already, as opposed to a fresh yes, which proves
# nothing for later: some say yes and keep nothing.
ALREADY_KNOWN: Final = Verdict.ALREADY_KNOWN.label
# What may be tried once more under the same hash: the reasons may be gone.
_MAY_RETURN: Final = (TransactionState.REFUSED, TransactionState.EXPIRED)


class Pool:
    """Every transaction that is not closed, by hash, with the times at which each is due.
    ``len`` counts all entries; ``count`` those that are pending.
    """

    __slots__ = (
        "_doubted",
        "_ends",
        "_entries",
        "_expiring",
        "_expiry_seconds",
        "_lanes",
        "_mined",
        "_moved",
        "_pending",
        "_rebroadcasts",
    )

    def __init__(self, expiry_seconds: float = EXPIRY_SECONDS) -> None:
        self._expiry_seconds = expiry_seconds
        self._entries: dict[str, PoolEntry] = {}
        self._lanes = Lanes()
        self._mined = Shelves()  # by block
        self._doubted: dict[str, PoolEntry] = {}  # mined before a restart, and not seen since
        self._pending = EntryQueue()  # by when they were created
        self._expiring = EntryQueue()  # the pending ones, by when they expire
        self._rebroadcasts = Rebroadcasts()
        self._moved: list[PoolEntry] = []  # came to rest or to life, and nobody was told yet
        self._ends: OrderedDict[str, TransactionState] = OrderedDict()  # how the last ones ended

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def count(self) -> int:
        """How many are pending: journaled or sent, and not mined."""
        return len(self._pending)

    @property
    def oldest_unix(self) -> float | None:
        """When the oldest pending one was created."""
        first = self._pending.first()
        return None if first is None else first[0]

    # ---- coming in

    def add(
        self, transaction: DecodedTransaction, unix: float, now: float, *, is_private: bool = False
    ) -> tuple[PoolEntry, bool]:
        """The entry of a transaction that a client sends, and whether it is a new one (which is
        to be journaled). One that ended is not new either: its entry is closed, says how, and is
        not in the pool; only what was refused or has expired begins anew. ``ValueError`` where
        the transaction has no hash. Sent once more it is its wallet's last word, and does not
        rest any longer.

        The caller broadcasts a new one at once, and ends that with ``on_said``, ``refuse`` or
        ``keep``; until then it is not due (for two minutes, in case he never does).
        """
        if not transaction.hash:
            raise ValueError("a transaction without a hash cannot be kept")
        known = self._entries.get(transaction.hash)
        if known is not None:
            if known.state is TransactionState.RESTING or self._lanes.has_rivals(known):
                self._lanes.speak(known)
                self._take(known)
            return known, False
        entry = PoolEntry(
            transaction.hash,
            transaction.lane,
            transaction.order,
            transaction.raw,
            unix,
            is_private,
        )
        end = self._ends.get(entry.hash)
        if end is not None and end not in _MAY_RETURN:
            entry.state = end
            return entry, False
        self._ends.pop(entry.hash, None)
        entry.expires_at = now + self._expiry_seconds
        self._lanes.speak(entry)
        self._enter(entry)
        self._rebroadcasts.hold(entry, now)
        return entry, True

    def restore(self, rows: Iterable[JournaledRow], unix: float, now: float) -> None:
        """Take over the journal's rows after a restart, in the order in which wallets sent them.
        Pending ones are due at once but for those that rest, and mined ones await a receipt,
        since nobody knows what happened meanwhile. Of closed rows the end is remembered.
        ``ValueError`` where a row's state is none.
        """
        for word, row in self._lanes.recalled(rows):
            state = TransactionState(row.state)
            if row.hash in self._entries:
                continue
            if state.is_closed:
                self._remember(row.hash, state)
                continue
            age = max(0.0, unix - row.created)
            entry = PoolEntry(
                row.hash, row.lane, row.order, row.raw, row.created, row.is_private, state
            )
            entry.said.update(row.said)
            entry.is_promised = True
            entry.word = word
            entry.expires_at = now + max(self._expiry_seconds - age, GRACE_SECONDS)
            self._enter(entry)
            if state is TransactionState.RESTING:
                continue
            if state is TransactionState.MINED:
                self._leave_pending(entry)
                entry.block = row.block
                self._mined.put(entry, row.block)
                self._doubted[entry.hash] = entry
            else:
                self._rebroadcasts.begin(entry)
            self._take(entry)

    def _enter(self, entry: PoolEntry) -> None:
        self._entries[entry.hash] = entry
        self._lanes.put(entry)
        self._wait_for_block(entry)

    # ---- what is known

    def get(self, hash: str) -> PoolEntry | None:
        """The entry, unless it is closed."""
        return self._entries.get(hash)

    def pending(self, hash: str) -> PoolEntry | None:
        """The entry, while a wallet should see it as pending."""
        entry = self._entries.get(hash)
        return entry if entry is not None and entry.state.is_pending else None

    def age_seconds(self, entry: PoolEntry, now: float) -> float:
        """For how long it has been here, by the monotonic clock alone."""
        return self._expiry_seconds - (entry.expires_at - now)

    def all_open(self) -> list[PoolEntry]:
        """Every one, pending or mined."""
        return list(self._entries.values())

    def all_pending(self) -> list[PoolEntry]:
        """Every pending one; a look at all entries, for rare occasions."""
        return [entry for entry in self._entries.values() if entry.state.is_pending]

    def beside(self, entry: PoolEntry) -> list[PoolEntry]:
        """All that ask for its place in its lane, with itself."""
        return self._lanes.beside(entry)

    def end_of(self, hash: str) -> TransactionState | None:
        """How it was closed, where that is not too long ago."""
        return self._ends.get(hash)

    def next_order(self, lane: str, base: int) -> int:
        """The lane's next order, where an upstream or the chain says ``base``: the entries that
        follow on it without a gap are counted. Mined ones too, since the upstream may be behind.
        """
        return self._lanes.next_free(lane, base)

    # ---- what upstreams and clients were told

    def on_said(self, hash: str, upstream: str, word: str, now: float, *, is_yes: bool) -> bool:
        """An upstream answered a broadcast: ``word`` is what it said, in short. Whether this was
        the first yes.
        """
        entry = self._entries.get(hash)
        if entry is None:
            return False
        entry.said[upstream] = word
        if is_yes and word == ALREADY_KNOWN:
            entry.knowing.add(upstream)
        else:
            entry.knowing.discard(upstream)
        if not is_yes or entry.state is not TransactionState.JOURNALED:
            return False
        entry.state = TransactionState.SENT
        entry.is_promised = True
        self._rebroadcasts.start(entry, now)
        self._take(entry)
        return True

    def on_denied(self, hash: str) -> None:
        """Nobody ever took it (its client may have been told its hash before a restart), and now
        all refuse it: what rests for it goes on.
        """
        entry = self._entries.get(hash)
        if entry is None or entry.state is not TransactionState.JOURNALED:
            return
        resting = [other for other in self.beside(entry) if other.state is TransactionState.RESTING]
        if resting and self._lanes.last(entry) is entry:
            self._lanes.forget_word(entry)
            self._take(max(resting, key=lambda other: other.word))

    def on_word_elsewhere(self, transaction: DecodedTransaction) -> None:
        """It was taken by another way than ours, as its wallet's last word for its place."""
        for entry in self._lanes.at(transaction.lane, transaction.order):
            if entry.hash != transaction.hash:
                self.on_taken_back(entry.hash)

    def on_taken_back(self, hash: str) -> None:
        """Its wallet took it back: it rests, unless it is sent once more."""
        entry = self._entries.get(hash)
        if entry is not None:
            self._lanes.forget_word(entry)
            self._rest(entry)

    def is_overtaken(self, entry: PoolEntry) -> bool:
        """Whether it is not to be sent, since a later word of its wallet was taken."""
        return entry.state is TransactionState.RESTING or self._lanes.is_overtaken(entry)

    def take_moved(self) -> list[PoolEntry]:
        """Those that came to rest, or go on, since this was asked last."""
        moved, self._moved = self._moved, []
        return moved

    def keep(self, hash: str) -> None:
        """Its client is told its hash, though no upstream has said yes: it is due at once."""
        entry = self._entries.get(hash)
        if entry is not None and entry.state is TransactionState.JOURNALED:
            entry.is_promised = True
            self._rebroadcasts.begin(entry)
            self._take(entry)

    def refuse(self, hash: str) -> bool:
        """Its client is to be told no. False where it is too late for that: it may be out, and
        stays (or has ended otherwise), so the client is told its hash.
        """
        entry = self._entries.get(hash)
        if entry is None:
            return self._ends.get(hash, TransactionState.REFUSED) in _MAY_RETURN
        if entry.is_promised or entry.state is not TransactionState.JOURNALED:
            return False
        self._close(entry, TransactionState.REFUSED)
        return True

    # ---- what is due

    def due(self, served: int, now: float, limit: int) -> list[PoolEntry]:
        """Hand out those to be broadcast again now, at most ``limit``: the oldest first, with it
        what else of its lane is due, in order. ``served`` is the served head's number, −1 where
        it is not known. The caller sends each to its ``targets`` and reports ``on_rebroadcast``
        (also where there was none to send it to, but not where none could be reached).
        """
        handed = self._rebroadcasts.hand_out(served, now, limit)
        for entry in handed:
            if not entry.is_promised:
                entry.is_promised = True
                self._take(entry)
        return [entry for entry in handed if entry.state.is_sent_again]

    @staticmethod
    def targets(entry: PoolEntry, upstreams: Iterable[str]) -> list[str]:
        """Those of the upstreams that are not known to have it. That somebody has it is believed
        while the first three blocks come; later each turn asks all, since pools forget.
        """
        return [upstream for upstream in upstreams if upstream not in entry.knowing]

    def on_rebroadcast(self, hash: str, now: float) -> None:
        """What ``due`` handed out was sent: its turn is over."""
        entry = self._entries.get(hash)
        if entry is not None:
            self._rebroadcasts.on_rebroadcast(entry, now)

    def expire(self, now: float) -> list[PoolEntry]:
        """Close those that are too old, and give them back. Mined ones never are."""
        expired = list(self._expiring.take(now))
        for entry in expired:
            self._close(entry, TransactionState.EXPIRED)
        return expired

    # ---- blocks

    def on_block(self, number: int, block_hash: str, hashes: Iterable[str]) -> list[PoolEntry]:
        """A block of our chain, with the hashes of its transactions. Those that are mined now, or
        now in this block instead of another.
        """
        return [self._entries[hash] for hash in hashes if self.on_mined(hash, number, block_hash)]

    def on_mined(self, hash: str, block: int, block_hash: str) -> bool:
        """It was seen in a block of our chain. Whether that is news."""
        entry = self._entries.get(hash)
        if entry is None:
            return False
        self._doubted.pop(hash, None)
        if entry.state is TransactionState.MINED:
            if (entry.block, entry.block_hash) == (block, block_hash):
                return False
            self._mined.drop(entry, entry.block)
        else:
            self._leave_pending(entry)
            entry.state = TransactionState.MINED
        entry.block, entry.block_hash = block, block_hash
        self._mined.put(entry, block)
        return True

    def on_turn(self, ancestor: int, now: float) -> list[PoolEntry]:
        """A reorg took the blocks above ``ancestor``: those that were in them are sent, and due at
        once, or rest again.
        """
        fallen = self._mined.above(ancestor)
        for entry in fallen:
            self._fall(entry, now)
        return fallen

    def on_missing(self, hash: str, now: float) -> bool:
        """A mined one has no receipt after all: it is sent, and due at once. Whether it was
        mined.
        """
        entry = self._entries.get(hash)
        if entry is None or entry.state is not TransactionState.MINED:
            return False
        self._fall(entry, now)
        return True

    # ---- for good

    def to_confirm(self, floor: int) -> list[PoolEntry]:
        """Mined ones that await a receipt: those at or below the finalized height, and after a
        restart those that were not seen again. The same ones until they are settled: with a
        receipt at or below the floor by ``on_final``, above it by ``on_mined``, without one by
        ``on_missing``.
        """
        final = self._mined.below(floor + 1)
        return [*final, *(entry for entry in self._doubted.values() if entry.block > floor)]

    def on_final(self, hash: str) -> list[PoolEntry]:
        """Its block is final: it is closed. Those that are closed with it as replaced, since they
        have its place.
        """
        entry = self._entries.get(hash)
        if entry is None:
            return []
        self._close(entry, TransactionState.FINAL)
        replaced = self._lanes.at(entry.lane, entry.order)
        for other in replaced:
            self._close(other, TransactionState.REPLACED)
        return replaced

    def on_replaced(self, hash: str) -> PoolEntry | None:
        """Another transaction has its place for good: it is closed."""
        entry = self._entries.get(hash)
        if entry is not None:
            self._close(entry, TransactionState.REPLACED)
        return entry

    # ---- moves

    def _wait_for_block(self, entry: PoolEntry) -> None:
        self._pending.put(entry, entry.created_unix)
        self._expiring.put(entry, entry.expires_at)

    def _leave_pending(self, entry: PoolEntry) -> None:
        self._pending.drop(entry)
        self._expiring.drop(entry)
        self._rebroadcasts.drop(entry)

    def _leave_block(self, entry: PoolEntry) -> None:
        self._mined.drop(entry, entry.block)
        self._doubted.pop(entry.hash, None)

    def _fall(self, entry: PoolEntry, now: float) -> None:
        self._leave_block(entry)
        entry.state, entry.block, entry.block_hash = TransactionState.SENT, -1, ""
        entry.is_promised = True
        entry.knowing.clear()
        entry.expires_at = max(entry.expires_at, now + GRACE_SECONDS)
        self._wait_for_block(entry)
        self._rebroadcasts.begin(entry)
        self._take(entry)
        last = self._lanes.last(entry)
        if last is not None and last is not entry and last.state.is_sent_again:
            self._rebroadcasts.begin(last)

    def _take(self, entry: PoolEntry) -> None:
        """It was taken, or its wallet sent it once more: one of its place goes on, others rest."""
        if not entry.is_promised:
            return
        resting = self._lanes.take(entry)
        if resting is not None:
            self._rest(resting)
        if resting is not entry and entry.state is TransactionState.RESTING:
            entry.state = TransactionState.SENT
            self._rebroadcasts.begin(entry)
            self._moved.append(entry)

    def _rest(self, entry: PoolEntry) -> None:
        if entry.is_promised and entry.state.is_sent_again:
            entry.state = TransactionState.RESTING
            self._rebroadcasts.drop(entry)
            self._moved.append(entry)

    def _close(self, entry: PoolEntry, end: TransactionState) -> None:
        if entry.state is TransactionState.MINED:
            self._leave_block(entry)
        else:
            self._leave_pending(entry)
        entry.state = end
        self._lanes.drop(entry)
        del self._entries[entry.hash]
        self._remember(entry.hash, end)

    def _remember(self, hash: str, end: TransactionState) -> None:
        self._ends[hash] = end
        self._ends.move_to_end(hash)
        if len(self._ends) > MOST_ENDS:
            self._ends.popitem(last=False)
