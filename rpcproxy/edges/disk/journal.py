"""The journal of a chain's transactions on disk, as the event loop sees it: what ``add`` has
returned for survives a kill and a power cut, and no disk holds up the loop.

The file is read and written in a worker's thread. Everything that waits when the thread is free
goes into one commit, and one sync of the disk; the thread then tells the loop once.

While the disk fails, ``add`` and ``settle`` say why and ``trouble`` too; what was noted waits, and
each later commit tries again. A file that is damaged is set aside, never deleted, and what is
sound of it goes on in a new one; so it does when the file was removed while open.

State: ``_waiting`` is filled by the loop and taken by the thread, under ``_lock``; counters
and flags are written by the thread, or as said beside them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from rpcproxy.edges.disk.journal_file import JournalFile
from rpcproxy.edges.disk.journal_move import JournalSource, TakenJournal, no_sources
from rpcproxy.edges.disk.journal_place import JournalPlace
from rpcproxy.edges.disk.journal_row import JournalRow, RowChange, Values, values_of
from rpcproxy.edges.disk.journal_salvage import read_rows
from rpcproxy.edges.disk.journal_schema import (
    USUAL,
    JournalInUse,
    JournalRefused,
    JournalSettings,
    public_words_of,
    reason_of,
    words_of,
)
from rpcproxy.edges.disk.worker import DISK_ERRORS, Duties, Worker, WorkerStopped, settle
from rpcproxy.edges.logs import event
from rpcproxy.reasons import Reason, Worded

__all__ = [
    "DiskJournal",
    "JournalBroken",
    "JournalInUse",
    "JournalRefused",
    "JournalRow",
    "JournalSettings",
    "JournalSource",
    "TakenJournal",
    "read_rows",
]

_DROPPED: Final = "too many changes waited for the disk, and this one was dropped"
_CLOSED: Final = "the journal is closed"
_SILENT: Final = "the disk did not answer before the end"
_NO_ROW: Final = "it takes no such transaction"
_TROUBLES: Final = (*DISK_ERRORS, JournalRefused)

_log = logging.getLogger("rpcproxy.journal")


class JournalBroken(Worded):
    """It is not on the disk. ``reason`` is for operators."""

    usual = "it cannot be written at this moment"

    def __init__(self, reason: str, public: str = "") -> None:
        super().__init__(reason, public)
        self.reason = reason


class _Add(NamedTuple):
    values: Values
    done: asyncio.Future[None]


class _Settle(NamedTuple):
    hash: str
    done: asyncio.Future[None]


class _Waiting(msgspec.Struct):
    """``changes``: the last of each hash; ``settles`` wait for theirs to be written."""

    adds: list[_Add] = []
    settles: list[_Settle] = []
    changes: dict[str, RowChange] = {}

    @property
    def is_urgent(self) -> bool:
        """Whether somebody waits for it to be written."""
        return bool(self.adds or self.settles)

    @property
    def done(self) -> list[asyncio.Future[None]]:
        return [add.done for add in self.adds] + [settle.done for settle in self.settles]


class DiskJournal:
    """See the module's docstring. ``trouble`` is what is wrong with the disk, "" when it is well,
    and ``public_trouble`` the same for wallets; ``set_aside`` where a damaged file went;
    ``commits`` those that took rows or changes; ``size_bytes`` of the file and its log, after the
    last commit. ``open_rows`` were not closed when it was opened, in the order of their creation;
    nothing keeps them up to date, nor ``secrets``: hashes of private ones that no block took, with
    the first bytes of each.
    """

    def __init__(
        self,
        place: JournalPlace,
        path: Path,
        clock: Callable[[], float],
        settings: JournalSettings,
    ) -> None:
        self._path = path
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting = _Waiting()
        self._loop = asyncio.get_running_loop()
        # The loop's.
        self._is_closing = False
        # The thread's.
        self._taken = _Waiting()
        self._place = place
        self.open_rows: list[JournalRow] = []
        self.secrets: list[tuple[str, bytes]] = []
        self.trouble = self.public_trouble = ""
        self.commits = 0
        self.notes_dropped = 0
        self.size_bytes = 0
        duties = Duties(
            open=self._open,
            finish=self._commit,
            leave=place.leave,
            on_crash=self._on_crash,
            on_end=self._on_end,
        )
        self._worker = Worker("rpcproxy-journal", duties, settings.close_seconds)

    @classmethod
    async def open(
        cls,
        path: str | Path,
        identity: str,
        *,
        clock: Callable[[], float] = time.time,
        fault: Callable[[str], None] | None = None,
        settings: JournalSettings = USUAL,
        sources: Callable[[], Sequence[JournalSource]] = no_sources,
    ) -> DiskJournal:
        """Open or begin the file, which is of one ``identity`` (the chain's kind and id) for ever.
        ``clock`` gives Unix seconds; ``fault`` is called in the thread with "before commit" and
        "after commit", so that tests can crash there. What is ours of ``sources``, which are asked
        for in the thread, is put into it first; ``taken`` says what that was.

        Raises ``JournalRefused`` where it is in use, or not for us, and ``OSError`` where the disk
        does not let us.
        """
        path = Path(path)
        journal = cls(JournalPlace(path, identity, settings, fault, sources), path, clock, settings)
        await journal._worker.open()
        return journal

    @property
    def set_aside(self) -> Path | None:
        return self._place.set_aside

    @property
    def taken(self) -> list[TakenJournal]:
        return self._place.taken

    async def add(self, row: JournalRow) -> None:
        """The row is on the disk on return. One whose hash is there already changes nothing, but
        what was refused or has expired begins anew.

        Raises ``JournalBroken``, and the row is not on the disk; ``ValueError`` for what is no row.
        """
        values = values_of(row)
        done: asyncio.Future[None] = self._loop.create_future()
        self._check_open()
        with self._lock:
            self._waiting.adds.append(_Add(values, done))
        self._worker.schedule(self._commit)
        await done

    async def settle(self, hash: str, state: str, block: int, said: dict[str, str]) -> None:
        """The change is on the disk on return; of a hash that is not there, nothing is written.

        Raises ``JournalBroken``, and the change waits as one that was noted.
        """
        done: asyncio.Future[None] = self._loop.create_future()
        change = RowChange.of(hash, state, block, said, self._clock())
        self._check_open()
        with self._lock:
            self._hold(change)
            self._waiting.settles.append(_Settle(hash, done))
        self._worker.schedule(self._commit)
        await done

    def note(self, hash: str, state: str, block: int, said: dict[str, str]) -> None:
        """Write the change with the next commit, or within ``note_seconds``. The last of a hash
        wins; after ``close`` nothing is written.
        """
        change = RowChange.of(hash, state, block, said, self._clock())
        if self._is_closing:
            return
        with self._lock:
            self._hold(change)
        self._worker.schedule(self._commit, self._settings.note_seconds)

    async def find(self, hash: str) -> JournalRow | None:
        """The row, with everything noted by now; a row that is still being added need not be found.
        Raises ``JournalBroken``.
        """
        return await self._found(lambda file: file.find(hash))

    async def find_raw(self, raw: bytes) -> JournalRow | None:
        """The row of these bytes, where its lane is not known. Raises ``JournalBroken``."""
        return await self._found(lambda file: file.find_raw(raw))

    async def _found(self, look: Callable[[JournalFile], JournalRow | None]) -> JournalRow | None:
        self._check_open()
        try:
            return await self._worker.ask(partial(self._look, look))
        except WorkerStopped as stopped:
            raise JournalBroken(self.trouble or str(stopped), self.public_trouble) from None
        except DISK_ERRORS as error:
            raise JournalBroken(words_of(error), public_words_of(error)) from error

    async def close(self) -> None:
        """Write what waits, and close; gives up after ``close_seconds``. Idempotent."""
        self._is_closing = True
        if not await self._worker.close():
            self._give_up(_SILENT, _SILENT)

    def _check_open(self) -> None:
        if self._is_closing:
            raise JournalBroken(_CLOSED, _CLOSED)

    def _hold(self, change: RowChange) -> None:
        changes = self._waiting.changes
        changes.pop(change.hash, None)
        changes[change.hash] = change
        self._bound_notes()

    def _bound_notes(self) -> None:
        changes = self._waiting.changes
        while len(changes) > self._settings.notes_held:
            del changes[next(iter(changes))]
            self.notes_dropped += 1

    # ----------------------------------------------------------------------
    # In the thread

    def _open(self) -> None:
        try:
            self.open_rows = self._place.open()
            self.secrets = self._place.secrets
            self.size_bytes = self._place.on_file(JournalFile.size_bytes)
        except sqlite3.Error as error:
            raise OSError(f"{self._path} cannot be opened: {words_of(error)}") from error
        self._worker.schedule(self._sweep)

    def _commit(self) -> None:
        """Write all that waits in one commit, and say so before anything else is done."""
        with self._lock:
            batch = self._taken = self._waiting
            self._waiting = _Waiting()
        if not (batch.is_urgent or batch.changes):
            return
        rows = [add.values for add in batch.adds]
        try:
            wrong = self._place.on_file(lambda file: file.write(rows, list(batch.changes.values())))
        except _TROUBLES as error:
            self._on_failed(batch, reason_of(error))
        else:
            self._on_committed(batch, wrong)
        self._tidy()

    def _on_failed(self, batch: _Waiting, reason: Reason) -> None:
        self._on_trouble(reason)
        with self._lock:
            self._waiting.changes = batch.changes | self._waiting.changes
            self._bound_notes()
        self._worker.schedule(self._commit, self._settings.note_seconds)
        self._worker.tell(
            [(done, JournalBroken(reason.detail, reason.public)) for done in batch.done]
        )

    def _on_committed(self, batch: _Waiting, wrong: dict[int, str]) -> None:
        self.commits += 1
        self._on_well()
        outcomes = [(add.done, wrong.get(place, "")) for place, add in enumerate(batch.adds)]
        outcomes += [
            (settle.done, "" if settle.hash in batch.changes else _DROPPED)
            for settle in batch.settles
        ]
        self._worker.tell(
            [
                (done, JournalBroken(reason, _NO_ROW) if reason else None)
                for done, reason in outcomes
            ]
        )

    def _look(self, look: Callable[[JournalFile], JournalRow | None]) -> JournalRow | None:
        """What was noted counts, written or not: no look waits for a commit."""
        try:
            row = self._place.on_file(look)
        except JournalRefused as refusal:
            raise OSError(str(refusal)) from refusal
        with self._lock:
            change = None if row is None else self._waiting.changes.get(row.hash)
        return row if row is None or change is None else change.applied_to(row)

    def _tidy(self) -> None:
        """What nobody waits for: the log, and what there is of it."""
        with self._upkeep():
            self._place.on_file(JournalFile.tidy)
            self.size_bytes = self._place.on_file(JournalFile.size_bytes)

    def _sweep(self) -> None:
        """Some of the rows that are due to go; the rest after what waits."""
        has_more = False
        with self._upkeep():
            has_more = self._place.on_file(lambda file: file.sweep(self._clock()))
        self._worker.schedule(self._sweep, 0.0 if has_more else self._settings.sweep_seconds)
        self._tidy()

    @contextlib.contextmanager
    def _upkeep(self) -> Iterator[None]:
        try:
            yield
        except _TROUBLES as error:
            # Where it is more than upkeep, the next commit says so.
            event(_log, logging.DEBUG, "journal_upkeep_failed", words_of(error))

    # ----------------------------------------------------------------------
    # What can go wrong, in the thread

    def _on_trouble(self, reason: Reason) -> None:
        if not self.trouble:
            self._warn("journal_broken", "transactions cannot be journaled", reason.detail)
        self.trouble, self.public_trouble = reason.for_operators, reason.public

    def _on_well(self) -> None:
        if self.trouble:
            event(_log, logging.INFO, "journal_well", "it can be written again")
        self.trouble = self.public_trouble = ""

    def _warn(self, name: str, message: str, reason: str | None = None) -> None:
        event(_log, logging.WARNING, name, message, file=str(self._path), reason=reason)

    def _on_crash(self, error: Exception) -> None:
        self.trouble = self.public_trouble = "the journal stopped by a fault of its own"
        event(_log, logging.ERROR, "journal_stopped", self.trouble, exc_info=error)

    # ----------------------------------------------------------------------
    # On the loop, at the end

    def _on_end(self) -> None:
        self._is_closing = True
        self._give_up(self.trouble or _CLOSED, self.public_trouble or _CLOSED)

    def _give_up(self, reason: str, public: str) -> None:
        """Nobody must wait for ever."""
        for left in (self._taken, self._waiting):
            settle([(done, JournalBroken(reason, public)) for done in left.done])
