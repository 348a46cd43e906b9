"""The journal of a chain's transactions on disk, as the event loop sees it: what ``add`` has
returned for survives a kill and a power cut, and no disk holds up the loop.

The file is read and written in one thread of the journal's own. Everything that waits when the
thread is free goes into one commit, and one sync of the disk; the thread then tells the loop once.

While the disk fails, ``add`` and ``settle`` say why and ``trouble`` too; what was noted waits, and
each later commit tries again. A file that is damaged is set aside, never deleted, and what is
sound of it goes on in a new one; so it does when the file was removed while open.

State: ``_waiting`` is filled by the loop and taken by the thread, under ``_condition``; counters
and flags are written by the thread, or as said beside them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from rpcproxy.edges.disk.awaited import fail, resolve
from rpcproxy.edges.disk.journal_file import JournalFile
from rpcproxy.edges.disk.journal_place import JournalPlace
from rpcproxy.edges.disk.journal_row import JournalRow, RowChange, Values, values_of
from rpcproxy.edges.disk.journal_salvage import read_rows
from rpcproxy.edges.disk.journal_schema import JournalInUse, JournalRefused, words_of
from rpcproxy.edges.logs import event

__all__ = [
    "DiskJournal",
    "JournalBroken",
    "JournalInUse",
    "JournalRefused",
    "JournalRow",
    "read_rows",
]

# What was noted is written at the latest after so long; tried again as often while it fails.
NOTE_SECONDS: Final = 1.0
# Notes that wait for a disk that fails; the oldest go first.
NOTES_HELD: Final = 100_000
SWEEP_SECONDS: Final = 600.0
# A disk that hangs must not keep the process from ending.
CLOSE_SECONDS: Final = 10.0
_DROPPED: Final = "too many changes waited for the disk, and this one was dropped"
_CLOSED: Final = "the journal is closed"
_TROUBLES: Final = (sqlite3.Error, OSError, JournalRefused)

_log = logging.getLogger("rpcproxy.journal")


class JournalBroken(Exception):
    """It is not on the disk. ``reason`` is for people."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Add(NamedTuple):
    values: Values
    done: asyncio.Future[None]


class _Settle(NamedTuple):
    hash: str
    done: asyncio.Future[None]


class _Find(NamedTuple):
    """By its hash, or by its bytes where they are given."""

    hash: str
    raw: bytes
    done: asyncio.Future[JournalRow | None]


class _Waiting(msgspec.Struct):
    """``changes``: the last of each hash; ``settles`` wait for theirs to be written."""

    adds: list[_Add] = []
    settles: list[_Settle] = []
    finds: list[_Find] = []
    changes: dict[str, RowChange] = {}

    @property
    def done(self) -> list[asyncio.Future[None]]:
        return [add.done for add in self.adds] + [settle.done for settle in self.settles]


class DiskJournal:
    """See the module's docstring. ``trouble`` is what is wrong with the disk, "" when it is well;
    ``set_aside`` where a damaged file went; ``commits`` those that took rows or changes;
    ``size_bytes`` of the file and its log, after the last commit. ``open_rows`` were not closed
    when it was opened, in the order of their creation; nothing keeps them up to date, nor
    ``secrets``: hashes of private ones that no block took, with the first bytes of each.
    """

    def __init__(self, place: JournalPlace, path: Path, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._condition = threading.Condition()
        self._waiting = _Waiting()
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        # The loop's.
        self._is_closing = False
        # The thread's.
        self._taken = _Waiting()
        self._place = place
        self._notes_due: float | None = None
        self._sweep_due = 0.0
        self.open_rows: list[JournalRow] = []
        self.secrets: list[tuple[str, bytes]] = []
        self.trouble = ""
        self.commits = 0
        self.notes_dropped = 0
        self.size_bytes = 0
        self._thread = threading.Thread(target=self._run, name="rpcproxy-journal", daemon=True)

    @classmethod
    async def open(
        cls,
        path: str | Path,
        identity: str,
        *,
        clock: Callable[[], float] = time.time,
        fault: Callable[[str], None] | None = None,
    ) -> DiskJournal:
        """Open or begin the file, which is of one ``identity`` (the chain's kind and id) for ever.
        ``clock`` gives Unix seconds; ``fault`` is called in the thread with "before commit" and
        "after commit", so that tests can crash there.

        Raises ``JournalRefused`` where it is in use, or not for us, and ``OSError`` where the disk
        does not let us.
        """
        path = Path(path)
        journal = cls(JournalPlace(path, identity, fault), path, clock)
        journal._thread.start()
        try:
            await journal._opened
        except asyncio.CancelledError:
            journal._begin_close()
            raise
        return journal

    @property
    def set_aside(self) -> Path | None:
        return self._place.set_aside

    async def add(self, row: JournalRow) -> None:
        """The row is on the disk on return. One whose hash is there already changes nothing, but
        what was refused or has expired begins anew.

        Raises ``JournalBroken``, and the row is not on the disk; ``ValueError`` for what is no row.
        """
        values = values_of(row)
        done: asyncio.Future[None] = self._loop.create_future()
        with self._condition:
            self._check_open()
            self._waiting.adds.append(_Add(values, done))
            self._condition.notify()
        await done

    async def settle(self, hash: str, state: str, block: int, said: dict[str, str]) -> None:
        """The change is on the disk on return; of a hash that is not there, nothing is written.

        Raises ``JournalBroken``, and the change waits as one that was noted.
        """
        done: asyncio.Future[None] = self._loop.create_future()
        change = RowChange.of(hash, state, block, said, self._clock())
        with self._condition:
            self._check_open()
            self._hold(change)
            self._waiting.settles.append(_Settle(hash, done))
            self._condition.notify()
        await done

    def note(self, hash: str, state: str, block: int, said: dict[str, str]) -> None:
        """Write the change with the next commit, or within ``NOTE_SECONDS``. The last of a hash
        wins; after ``close`` nothing is written.
        """
        change = RowChange.of(hash, state, block, said, self._clock())
        with self._condition:
            if self._is_closing:
                return
            is_first = not self._waiting.changes
            self._hold(change)
            if is_first:
                self._condition.notify()

    async def find(self, hash: str) -> JournalRow | None:
        """The row, with everything noted by now. Raises ``JournalBroken``."""
        return await self._found(hash, b"")

    async def find_raw(self, raw: bytes) -> JournalRow | None:
        """The row of these bytes, where its sender is not known. Raises ``JournalBroken``."""
        return await self._found("", raw)

    async def _found(self, hash: str, raw: bytes) -> JournalRow | None:
        done: asyncio.Future[JournalRow | None] = self._loop.create_future()
        with self._condition:
            self._check_open()
            self._waiting.finds.append(_Find(hash, raw, done))
            self._condition.notify()
        return await done

    async def close(self) -> None:
        """Write what waits, and close; gives up after ``CLOSE_SECONDS``. Idempotent."""
        self._begin_close()
        await asyncio.wait([self._ended], timeout=CLOSE_SECONDS)
        if self._ended.done():
            self._thread.join()  # it has said its last word
        else:
            self._give_up("the disk did not answer before the end")

    def _begin_close(self) -> None:
        with self._condition:
            self._is_closing = True
            self._condition.notify()

    def _check_open(self) -> None:
        if self._is_closing:
            raise JournalBroken(_CLOSED)

    def _hold(self, change: RowChange) -> None:
        changes = self._waiting.changes
        changes.pop(change.hash, None)
        changes[change.hash] = change
        self._bound_notes()

    def _bound_notes(self) -> None:
        changes = self._waiting.changes
        while len(changes) > NOTES_HELD:
            del changes[next(iter(changes))]
            self.notes_dropped += 1

    # ----------------------------------------------------------------------
    # In the thread

    def _run(self) -> None:
        try:
            if self._open_first():
                self._serve()
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody must wait for ever
            self.trouble = "the journal stopped by a fault of its own"
            event(_log, logging.ERROR, "journal_stopped", self.trouble, exc_info=error)
        finally:
            self._place.leave()
            self._tell(self._on_end)

    def _open_first(self) -> bool:
        try:
            self.open_rows = self._place.open()
            self.secrets = self._place.secrets
            self.size_bytes = self._place.on_file(JournalFile.size_bytes)
        except _TROUBLES as error:
            refusal: Exception = error
            if isinstance(error, sqlite3.Error):
                refusal = OSError(f"{self._path} cannot be opened: {words_of(error)}")
            self._place.leave()  # before it is told: another try may follow at once
            self._tell(fail, self._opened, refusal)
            return False
        self._tell(resolve, self._opened, None)
        return True

    def _serve(self) -> None:
        is_last = False
        while not is_last:
            batch, is_last = self._take()
            if batch.adds or batch.settles or batch.changes:
                self._commit(batch)
            for find in batch.finds:
                self._answer(find)
            self._keep_up()

    def _take(self) -> tuple[_Waiting, bool]:
        """What waits, once there is something to be done; and whether it is the last. Notes stay
        where nothing else is to be written: a look is not to become a commit.
        """
        with self._condition:
            while True:
                waiting, now = self._waiting, time.monotonic()
                if waiting.changes and self._notes_due is None:
                    self._notes_due = now + NOTE_SECONDS
                notes_due = math.inf if self._notes_due is None else self._notes_due
                if self._is_closing or waiting.adds or waiting.settles or notes_due <= now:
                    self._taken, self._waiting, self._notes_due = waiting, _Waiting(), None
                    break
                if waiting.finds or self._sweep_due <= now:
                    self._taken, waiting.finds = _Waiting(finds=waiting.finds), []
                    break
                self._condition.wait(min(notes_due, self._sweep_due) - now)
            return self._taken, self._is_closing

    def _commit(self, batch: _Waiting) -> None:
        rows = [add.values for add in batch.adds]
        try:
            wrong = self._place.on_file(lambda file: file.write(rows, list(batch.changes.values())))
        except _TROUBLES as error:
            reason = words_of(error)
            self._on_trouble(reason)
            with self._condition:
                self._waiting.changes = batch.changes | self._waiting.changes
                self._bound_notes()
            self._tell(_settle, [(done, reason) for done in batch.done])
            return
        self.commits += 1
        self._on_well()
        outcomes = [(add.done, wrong.get(place, "")) for place, add in enumerate(batch.adds)]
        outcomes += [
            (settle.done, "" if settle.hash in batch.changes else _DROPPED)
            for settle in batch.settles
        ]
        self._tell(_settle, outcomes)

    def _answer(self, find: _Find) -> None:
        try:
            row = self._place.on_file(
                lambda file: file.find_raw(find.raw) if find.raw else file.find(find.hash)
            )
        except _TROUBLES as error:
            self._tell(fail, find.done, JournalBroken(words_of(error)))
            return
        with self._condition:
            change = None if row is None else self._waiting.changes.get(row.hash)
        if row is not None and change is not None:
            row = change.applied_to(row)
        self._tell(resolve, find.done, row)

    def _keep_up(self) -> None:
        """What nobody waits for: the log, the rows that are due to go."""
        try:
            self._place.on_file(JournalFile.tidy)
            if time.monotonic() >= self._sweep_due:
                self._sweep_due = time.monotonic() + SWEEP_SECONDS
                if self._place.on_file(lambda file: file.sweep(self._clock())):
                    self._sweep_due = 0.0
            self.size_bytes = self._place.on_file(JournalFile.size_bytes)
        except _TROUBLES as error:
            # Where it is more than upkeep, the next commit says so.
            event(_log, logging.DEBUG, "journal_upkeep_failed", words_of(error))

    # ----------------------------------------------------------------------
    # What can go wrong, in the thread

    def _on_trouble(self, reason: str) -> None:
        if not self.trouble:
            self._warn("journal_broken", "transactions cannot be journaled", reason)
        self.trouble = reason

    def _on_well(self) -> None:
        if self.trouble:
            event(_log, logging.INFO, "journal_well", "it can be written again")
        self.trouble = ""

    def _warn(self, name: str, message: str, reason: str | None = None) -> None:
        event(_log, logging.WARNING, name, message, file=str(self._path), reason=reason)

    # ----------------------------------------------------------------------
    # From the thread to the loop

    def _tell(self, callback: Callable[..., None], *args: object) -> None:
        # The loop may be gone by now, and nobody waits any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *args)

    def _on_end(self) -> None:
        self._is_closing = True
        self._give_up(self.trouble or _CLOSED)
        resolve(self._ended, None)

    def _give_up(self, reason: str) -> None:
        """Nobody must wait for ever."""
        for left in (self._taken, self._waiting):
            _settle([(done, reason) for done in left.done])
            for find in left.finds:
                fail(find.done, JournalBroken(reason))


def _settle(outcomes: Iterable[tuple[asyncio.Future[None], str]]) -> None:
    for done, reason in outcomes:
        if reason:
            fail(done, JournalBroken(reason))
        else:
            resolve(done, None)
