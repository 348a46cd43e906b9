"""The transactions that wallets were told are sent: what is known of each, and its journal.

The one door for whatever changes them: each word of an upstream, each block and each end goes
through here, to memory and to disk.

A transaction whose hash the proxy computes is written down before its first copy goes out. One of a
type that only its chain can hash is written once an upstream told its hash. Bundles, conditional
and other special sends are never written.

State: the pool in memory, the journal once it is open, which transactions are private, and the
hashes of those that are known by their bytes alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Final

from rpcproxy.chains.parts.transactions import DecodedTransaction, Sends
from rpcproxy.clock import Clock
from rpcproxy.edges.disk.journal import DiskJournal, JournalBroken, JournalRow
from rpcproxy.edges.logs import event
from rpcproxy.edges.metrics.metrics import ChainCounters
from rpcproxy.engine.sends.denials import OPENING, UNUSABLE, Denial, Unwritten
from rpcproxy.engine.sends.privacy import Privacy
from rpcproxy.engine.sends.shown_transactions import ShownTransactions
from rpcproxy.messages import Judgement, Verdict
from rpcproxy.reasons import Reason
from rpcproxy.rules.sends.ballot import ACCEPTED
from rpcproxy.rules.sends.journaled import PoolEntry, TransactionState
from rpcproxy.rules.sends.pool import Pool

_log = logging.getLogger("rpcproxy.transactions")

# Told of each step by its name: "before broadcast", "before answer", "in rebroadcast". Who ends the
# process in it learns what a crash there leaves behind.
OnStep = Callable[[str], None]

# How long a send waits for a journal that is being opened: another process may be leaving.
OPENING_SECONDS: Final = 5.0
# Of transactions of a chain's own type, found by their bytes without a look at the disk.
MOST_HASHES: Final = 10_000
# One that nobody may include: who says so, and who says yes, cannot both be right.
_HARD: Final = (Verdict.SEND_REFUSED, Verdict.INVALID_PARAMS)
_HARD_LABELS: Final = frozenset(verdict.label for verdict in _HARD)


def unheard(_step: str) -> None:
    """Nobody wants to know of steps."""


class Ledger:
    """See the module's docstring. One per chain; it outlives reloads.

    ``needs_journal``: what cannot be written down is not sent. ``opening_seconds``: how long a
    send waits for a journal that is being opened. ``on_step`` is told of the steps of sends.
    ``sends`` is ``None`` where the chain's kind has none: nothing is ever in it then. ``shown``:
    what is shown of those that wait.
    """

    def __init__(
        self,
        chain_name: str,
        identity: str,
        counters: ChainCounters,
        sends: Sends | None,
        *,
        clock: Clock,
        on_step: OnStep = unheard,
    ) -> None:
        self._chain_name = chain_name
        self.identity = identity
        self._counters = counters
        self._now, self._unix = clock.monotonic, clock.unix
        self.on_step = on_step
        self._sends = sends
        self.pool = Pool() if sends is None else Pool(sends.lifetime_seconds)
        self.journal: DiskJournal | None = None
        self.needs_journal = False
        self.privacy = Privacy(self.pool, None if sends is None else sends.names)
        self.shown = ShownTransactions(self.pool, self.privacy, sends, identity)
        self.opening_seconds = OPENING_SECONDS
        self._refusal: Reason | None = None
        self._told_reason = ""
        self._is_settled = asyncio.Event()  # the journal is open, refused, or not wanted
        self._is_settled.set()
        self._hashes: OrderedDict[bytes, str] = OrderedDict()  # by a digest of the bytes
        self._looked_to: int | None = None
        self._look = asyncio.Event()  # set once, at the next look
        self._being_written: dict[str, asyncio.Event] = {}  # by hash

    # ---- the journal comes and goes

    def await_journal(self) -> None:
        """One is being opened: sends wait for it for a while."""
        if self.journal is None:
            self._is_settled.clear()
            self.privacy.await_journal(is_awaited=True)

    def on_journal(self, journal: DiskJournal) -> None:
        """It is open: what a process before this one left is taken up."""
        self.journal = journal
        self._refusal = None
        self.pool.restore(journal.open_rows, self._unix(), self._now())
        for hash, start in reversed(journal.secrets):
            self.privacy.restore(hash, start, self._now())
        for row in journal.open_rows:
            if row.is_private:
                self.privacy.remember(row.hash, row.raw)
            if not row.lane:
                self._remember_bytes(row.hash, row.raw)
        self._settle()

    def on_no_journal(self, refusal: str, public: str = UNUSABLE) -> None:
        """There is none: in words why, empty where none is wanted; ``public``: for wallets."""
        self._refusal = Reason(public, refusal) if refusal else None
        self._settle()

    def _settle(self) -> None:
        self.privacy.await_journal(is_awaited=False)
        self._is_settled.set()

    async def wait_for_journal(self, seconds: float) -> bool:
        """Until it is open, or known not to be; whether that was in time."""
        try:
            async with asyncio.timeout(seconds):
                await self._is_settled.wait()
        except TimeoutError:
            return False
        return True

    @property
    def trouble(self) -> str:
        """What is wrong with the journal, in words for operators."""
        if self.journal is not None:
            return self.journal.trouble
        return "" if self._refusal is None else self._refusal.for_operators

    @property
    def public_trouble(self) -> str:
        """The same, for wallets and for whoever sees a page."""
        if self.journal is not None:
            return self.journal.public_trouble
        return "" if self._refusal is None else self._refusal.public

    # ---- a send

    async def begin(self, tx: DecodedTransaction, *, is_private: bool) -> PoolEntry:
        """Take up a transaction; a new one is written down, durably, where there is a journal.
        Raises ``Unwritten`` where there must be one, and it cannot be.
        """
        unix = self._unix()
        entry, is_new = self.pool.add(tx, unix, self._now(), is_private=is_private)
        if not is_new:
            being_written = self._being_written.get(tx.hash)
            if being_written is not None:
                await being_written.wait()
                # It could not be written: this one tries again.
                if entry.state is TransactionState.REFUSED:
                    return await self.begin(tx, is_private=is_private)
            await self._write_moved()
            return entry
        if is_private:
            self.privacy.remember(tx.hash, tx.raw)
        if not tx.lane:
            self._remember_bytes(tx.hash, tx.raw)
        row = JournalRow(tx.hash, tx.raw, tx.lane, tx.order, unix, entry.state.value)
        row.is_private = is_private
        is_written = self._being_written[tx.hash] = asyncio.Event()
        try:
            await self._write(row)
        except BaseException:
            self._hashes.pop(sha256(tx.raw).digest(), None)
            self.pool.refuse(tx.hash)
            self.privacy.forget(tx.hash)
            raise
        finally:
            del self._being_written[tx.hash]
            is_written.set()
        return entry

    async def _write(self, row: JournalRow) -> None:
        if not await self.wait_for_journal(self.opening_seconds):
            self._fail(Reason(OPENING))
            return
        if self.journal is None:
            if self._refusal is not None:
                self._fail(self._refusal)
            return
        try:
            await self.journal.add(row)
        except JournalBroken as broken:
            self._fail(broken.told)

    def _fail(self, why: Reason) -> None:
        self._counters.sends.on_unwritten()
        if self.needs_journal:
            raise Unwritten(why.for_operators, why.public)
        reason = why.for_operators
        if reason == self._told_reason:
            return  # told once; the metric counts each
        self._told_reason = reason
        event(
            _log,
            logging.WARNING,
            "journal",
            "transactions are sent without having been written down",
            chain=self._chain_name,
            reason=reason,
        )

    def on_said(self, hash: str, upstream: str, judgement: Judgement) -> None:
        """What an upstream said of a transaction that it was sent."""
        verdict = judgement.verdict
        entry = self.pool.get(hash)
        is_yes = verdict in ACCEPTED
        if entry is None:
            if is_yes and self.pool.end_of(hash) is TransactionState.REFUSED:
                self._contradict(hash, upstream, verdict)
            return
        if verdict is Verdict.CANCELLED:
            return
        had_yes = entry.state is not TransactionState.JOURNALED
        had_refusal = any(word in _HARD_LABELS for word in entry.said.values())
        self.pool.on_said(hash, upstream, verdict.label, self._now(), is_yes=is_yes)
        self._note_moved()
        if (is_yes and had_refusal) or (verdict in _HARD and had_yes):
            self._contradict(hash, upstream, verdict)
        self._note(entry)

    def _contradict(self, hash: str, upstream: str, verdict: Verdict) -> None:
        self._counters.sends.on_contradiction()
        event(
            _log,
            logging.WARNING,
            "transaction_contradiction",
            f"{upstream} says {verdict.label} of a transaction that others see otherwise",
            chain=self._chain_name,
            upstream=upstream,
            hash=hash,
        )

    async def refuse(self, entry: PoolEntry) -> Denial:
        """The client is to be told no, and it is never sent again."""
        if not self.pool.refuse(entry.hash):
            return Denial.TOO_LATE
        return Denial.FIRM if await self._close(entry) else Denial.UNWRITTEN

    def keep(self, entry: PoolEntry) -> None:
        """The client is told its hash though nobody said yes: it is sent as soon as can be."""
        self.pool.keep(entry.hash)
        self._note_moved()

    # ---- the wallet's last word

    def on_denied(self, entry: PoolEntry) -> None:
        """All refuse what nobody ever took."""
        self.pool.on_denied(entry.hash)
        self._note_moved()

    async def on_word_elsewhere(self, tx: DecodedTransaction) -> None:
        """It was taken, and is not written down here: those in its place are not sent again."""
        self.pool.on_word_elsewhere(tx)
        await self._write_moved()

    async def on_taken_back(self, hash: str) -> None:
        """Its wallet had it cancelled by those who were to include it."""
        self.pool.on_taken_back(hash)
        await self._write_moved()

    def due(self, served: int, now: float, limit: int) -> list[PoolEntry]:
        """Those to be sent again now; see the pool."""
        due = self.pool.due(served, now, limit)
        self._note_moved()
        return due

    # ---- blocks

    def on_block(self, number: int, block_hash: str, hashes: Iterable[str]) -> list[PoolEntry]:
        """A block of our chain: those of its transactions that are ours."""
        hashes = tuple(hashes)
        self.privacy.on_block(hashes)
        mined = self.pool.on_block(number, block_hash, hashes)
        unix = self._unix()
        for entry in mined:
            self._counters.sends.on_mined(max(0.0, unix - entry.created_unix))
            self._note(entry)
        return mined

    def on_turn(self, ancestor: int) -> None:
        """A reorg took the blocks above ``ancestor``: what was in them is sent again."""
        for entry in self.pool.on_turn(ancestor, self._now()):
            self._note(entry)
        self._note_moved()

    def on_missing(self, entry: PoolEntry) -> None:
        """It is in no block after all."""
        if self.pool.on_missing(entry.hash, self._now()):
            self._note(entry)
            self._note_moved()

    async def on_final(self, hash: str) -> None:
        """Its block cannot go any more, nor can those that it replaced come."""
        final = self.pool.get(hash)
        replaced = self.pool.on_final(hash)
        if final is not None:
            await self._close(final)
        for entry in replaced:
            await self._close(entry)

    async def on_replaced(self, hash: str) -> None:
        """Another transaction has its place, for good."""
        entry = self.pool.on_replaced(hash)
        if entry is not None:
            await self._close(entry)

    async def expire(self, now: float) -> None:
        """Give up those that nobody included for too long."""
        for entry in self.pool.expire(now):
            self._counters.sends.on_expired()
            event(
                _log,
                logging.WARNING,
                "transaction_expired",
                f"transaction {entry.hash} was not included for too long: it is sent no more",
                chain=self._chain_name,
                hash=entry.hash,
            )
            await self._close(entry)

    # ---- transactions whose hash is not ours to compute

    async def hash_of(self, raw: bytes) -> str:
        """The hash that these bytes were told under before, empty where they are new."""
        hash = self._hashes.get(sha256(raw).digest(), "")
        if hash:
            return hash
        await self.wait_for_journal(self.opening_seconds)
        if self.journal is None:
            return ""
        try:
            row = await self.journal.find_raw(raw)
        except JournalBroken:
            return ""
        return "" if row is None else row.hash

    def _remember_bytes(self, hash: str, raw: bytes) -> None:
        self._hashes[sha256(raw).digest()] = hash
        if len(self._hashes) > MOST_HASHES:
            self._hashes.popitem(last=False)

    # ---- up to where blocks were looked through

    def has_looked_to(self, block: int) -> bool:
        """Whether all of our chain up to there was looked through, as far as anybody looks."""
        return self._looked_to is None or self._looked_to >= block

    def on_looked(self, block: int) -> None:
        """All up to there was."""
        self._looked_to = block
        self._look.set()
        self._look = asyncio.Event()

    async def look_to(self, block: int, seconds: float) -> None:
        """Wait until it was, for so long at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.has_looked_to(block):
                    await self._look.wait()

    # ---- what is private

    def watch_private(self, params: bytes) -> None:
        """Whatever transactions are in it go to private upstreams, and are not written down."""
        for hash, raw in () if self._sends is None else self._sends.names.transactions_in(params):
            self.privacy.watch(hash, raw, self._now())

    def is_private(self, hash: str) -> bool:
        """Whether nobody but private upstreams may hear of it now."""
        return self.privacy.is_private(hash, self._now())

    def names_private(self, params: bytes) -> bool:
        """Whether something in the params is for private upstreams alone."""
        return self.privacy.has_any and self.privacy.is_named(params, self._now())

    def is_entry_private(self, entry: PoolEntry) -> bool:
        """``is_private`` of one that is open."""
        return self.privacy.is_entry_private(entry, self._now())

    @property
    def is_looking(self) -> bool:
        """Whether blocks are to be looked through."""
        return bool(len(self.pool)) or self.privacy.is_looking(self._now())

    # ---- to disk

    def _note(self, entry: PoolEntry) -> None:
        if self.journal is not None:
            self.journal.note(entry.hash, entry.state.value, entry.block, entry.said)

    def _note_moved(self) -> None:
        for entry in self.pool.take_moved():
            self._note(entry)

    async def _write_moved(self) -> None:
        """What a wallet said last is on the disk before it is told so, as far as can be."""
        for entry in self.pool.take_moved():
            if self.journal is not None:
                with contextlib.suppress(JournalBroken):  # it is written with the next that can be
                    await self.journal.settle(
                        entry.hash, entry.state.value, entry.block, entry.said
                    )

    async def _close(self, entry: PoolEntry) -> bool:
        """Whether that is on the disk."""
        self.privacy.on_closed(entry, self._now())
        if self.journal is None:
            return True
        try:
            await self.journal.settle(entry.hash, entry.state.value, entry.block, entry.said)
        except JournalBroken:
            return False  # it is written with the next that can be
        return True
