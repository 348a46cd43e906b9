"""The transactions that wallets were told are sent: what is known of each, and its journal.

The one door for whatever changes them: a transaction is written down before its copies go out,
and each word of an upstream, each block and each end goes through here, to memory and to disk.

State: the pool in memory, the journal once it is open, and which transactions are private.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import re
import time
from collections.abc import Callable, Iterable
from typing import Final

from rpcproxy.chains import evm
from rpcproxy.edges.journal import Journal, JournalBroken, Row
from rpcproxy.edges.logs import event
from rpcproxy.edges.metrics import ChainCounters
from rpcproxy.messages import Judgement, Verdict
from rpcproxy.rules.ballot import ACCEPTED
from rpcproxy.rules.journaled import Entry, State
from rpcproxy.rules.pool import Pool

_log = logging.getLogger("rpcproxy.transactions")

# Called at "before broadcast", "before answer" and "in rebroadcast": tests crash there.
fault: Callable[[str], None] | None = None

# How long a send waits for a journal that is being opened: another process may be leaving.
OPENING_SECONDS: Final = 5.0
# A transaction is known by its first bytes: they hold its nonce and its fees.
START_DIGITS: Final = 160
_ANY_HASH: Final = re.compile(rb"(?<![0-9a-fA-F])([0-9a-fA-F]{64})(?![0-9a-fA-F])")
_ANY_RAW: Final = re.compile(rb"[0-9a-fA-F]{%d}" % START_DIGITS)
# Hashes of private ones that were given up.
MOST_PRIVATE: Final = 20_000
_HASH: Final = re.compile(rb'"0[xX]([0-9a-fA-F]{64})"')
# One that nobody may include: who says so, and who says yes, cannot both be right.
_HARD: Final = (Verdict.SEND_REFUSED, Verdict.INVALID_PARAMS)
_HARD_LABELS: Final = frozenset(verdict.label for verdict in _HARD)


class Refusal(enum.Enum):
    """Whether a client can be told no. ``UNWRITTEN``: a restart may forget that it was."""

    FIRM = enum.auto()
    UNWRITTEN = enum.auto()
    TOO_LATE = enum.auto()


class Unwritten(Exception):
    """A transaction could not be written down. Its text says why, for the wallet."""


class Ledger:
    """See the module's docstring. One per chain; it outlives reloads.

    ``needs_journal``: what cannot be written down is not sent. ``private_fallback_seconds``: when
    a private transaction goes to everybody, 0 for never. ``opening_seconds``: how long a send waits
    for a journal that is being opened.
    """

    def __init__(self, chain_name: str, chain_id: int, counters: ChainCounters) -> None:
        self._chain_name = chain_name
        self.chain_id = chain_id
        self._counters = counters
        self.pool = Pool()
        self.journal: Journal | None = None
        self.needs_journal = False
        self.private_fallback_seconds = 0.0
        self.opening_seconds = OPENING_SECONDS
        self._refusal = ""
        self._told_reason = ""
        self._is_settled = asyncio.Event()  # the journal is open, refused, or not wanted
        self._is_settled.set()
        self._private: dict[str, bytes] = {}  # how each begins, by hash
        self._private_starts: dict[bytes, str] = {}  # the other way round
        self.has_private = False  # looked at for every read: plain
        self._being_written: dict[str, asyncio.Event] = {}  # by hash

    # ---- the journal comes and goes

    def await_journal(self) -> None:
        """One is being opened: sends wait for it for a while."""
        if self.journal is None:
            self._is_settled.clear()

    def on_journal(self, journal: Journal) -> None:
        """It is open: what a process before this one left is taken up."""
        self.journal = journal
        self._refusal = ""
        self.pool.restore(journal.open_rows, time.time(), time.monotonic())
        for row in journal.open_rows:
            if row.is_private:
                self._remember_private(row.hash, row.raw)
        self._is_settled.set()

    def on_no_journal(self, refusal: str) -> None:
        """There is none: in words why, empty where none is wanted."""
        self._refusal = refusal
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
        """What is wrong with the journal, in words."""
        return self._refusal if self.journal is None else self.journal.trouble

    # ---- a send

    async def begin(self, tx: evm.Transaction, *, is_private: bool) -> Entry:
        """Take up a transaction; a new one is written down, durably. Raises ``Unwritten``."""
        unix = time.time()
        entry, is_new = self.pool.add(tx, unix, time.monotonic(), is_private=is_private)
        if not is_new:
            being_written = self._being_written.get(tx.hash)
            if being_written is not None:
                await being_written.wait()
                if entry.state is State.REFUSED:  # it could not be written: this one tries again
                    return await self.begin(tx, is_private=is_private)
            return entry
        if is_private:
            self._remember_private(tx.hash, tx.raw)
        row = Row(tx.hash, tx.raw, tx.sender, tx.nonce, unix, entry.state.value)
        row.is_private = is_private
        is_written = self._being_written[tx.hash] = asyncio.Event()
        try:
            await self._write(row)
        except BaseException:
            self.pool.refuse(tx.hash)
            self._forget_private(tx.hash)
            raise
        finally:
            del self._being_written[tx.hash]
            is_written.set()
        return entry

    async def _write(self, row: Row) -> None:
        if not await self.wait_for_journal(self.opening_seconds):
            self._fail("the journal of transactions is still being opened")
            return
        if self.journal is None:
            if self._refusal:
                self._fail(self._refusal)
            return
        try:
            await self.journal.add(row)
        except JournalBroken as broken:
            self._fail(str(broken))

    def _fail(self, reason: str) -> None:
        self._counters.sends.on_unwritten()
        if self.needs_journal:
            raise Unwritten(reason)
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
            if is_yes and self.pool.end_of(hash) is State.REFUSED:
                self._contradict(hash, upstream, verdict)
            return
        if verdict is Verdict.CANCELLED:
            return
        had_yes = entry.state is not State.JOURNALED
        had_refusal = any(word in _HARD_LABELS for word in entry.said.values())
        self.pool.on_said(hash, upstream, verdict.label, time.monotonic(), is_yes=is_yes)
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

    async def refuse(self, entry: Entry) -> Refusal:
        """The client is to be told no, and it is never sent again."""
        if not self.pool.refuse(entry.hash):
            return Refusal.TOO_LATE
        return Refusal.FIRM if await self._close(entry) else Refusal.UNWRITTEN

    def keep(self, entry: Entry) -> None:
        """The client is told its hash though nobody said yes: it is sent as soon as can be."""
        self.pool.keep(entry.hash)

    # ---- blocks

    def on_block(self, number: int, block_hash: str, hashes: Iterable[str]) -> list[Entry]:
        """A block of our chain: those of its transactions that are ours."""
        mined = self.pool.on_block(number, block_hash, hashes)
        unix = time.time()
        for entry in mined:
            self._counters.sends.on_mined(max(0.0, unix - entry.created_unix))
            self._note(entry)
        return mined

    def on_turn(self, ancestor: int) -> None:
        """A reorg took the blocks above ``ancestor``: what was in them is sent again."""
        for entry in self.pool.on_turn(ancestor, time.monotonic()):
            self._note(entry)

    def on_missing(self, entry: Entry) -> None:
        """It is in no block after all."""
        if self.pool.on_missing(entry.hash, time.monotonic()):
            self._note(entry)

    async def on_final(self, hash: str) -> None:
        """Its block cannot go any more, nor can those that it replaced come."""
        final = self.pool.get(hash)
        replaced = self.pool.on_final(hash)
        if final is not None:
            await self._close(final)
        for entry in replaced:
            await self._close(entry)

    async def on_replaced(self, hash: str) -> None:
        """Another transaction has its nonce, for good."""
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

    # ---- what wallets see

    def is_private(self, hash: str) -> bool:
        """Whether nobody but private upstreams may hear of it now."""
        if hash not in self._private:
            return False
        entry = self.pool.get(hash)
        return entry is None or self.is_entry_private(entry)

    def names_private(self, params: bytes) -> bool:
        """Whether something in the params is for private upstreams alone."""
        return any(
            self.is_private("0x" + found.decode().lower()) for found in _ANY_HASH.findall(params)
        ) or any(
            self.is_private(self._private_starts.get(found.lower(), ""))
            for found in _ANY_RAW.findall(params)
        )

    def is_entry_private(self, entry: Entry) -> bool:
        fallback = self.private_fallback_seconds
        if not entry.is_private or entry.state is State.MINED:
            return False
        return not fallback or self.pool.age_seconds(entry, time.monotonic()) < fallback

    def object_of(self, entry: Entry) -> bytes:
        """The JSON text of a transaction as it is while it waits, empty where it is of a chain's
        own type.
        """
        return evm.pending_object(evm.decode("0x" + entry.raw.hex(), self.chain_id))

    def object_in(self, params: bytes) -> bytes:
        """``object_of`` the hash in the params, where nobody else can say more; empty where it is
        not open here.
        """
        found = _HASH.search(params)
        entry = None if found is None else self.pool.get("0x" + found[1].decode().lower())
        return b"" if entry is None else self.object_of(entry)

    # ---- to disk

    def _note(self, entry: Entry) -> None:
        if self.journal is not None:
            self.journal.note(entry.hash, entry.state.value, entry.block, entry.said)

    def _remember_private(self, hash: str, raw: bytes) -> None:
        start = raw.hex()[:START_DIGITS].encode()
        self._private[hash] = start
        self._private_starts[start] = hash
        self.has_private = True
        if len(self._private) > MOST_PRIVATE:
            self._forget_private(next(iter(self._private)))

    def _forget_private(self, hash: str) -> None:
        self._private_starts.pop(self._private.pop(hash, b""), None)
        self.has_private = bool(self._private)

    async def _close(self, entry: Entry) -> bool:
        """Whether that is on the disk."""
        # Of what was refused or given up, copies may still be in private pools.
        if entry.state in (State.FINAL, State.REPLACED):
            self._forget_private(entry.hash)
        if self.journal is None:
            return True
        try:
            await self.journal.settle(entry.hash, entry.state.value, entry.block, entry.said)
        except JournalBroken:
            return False  # it is written with the next that can be
        return True
