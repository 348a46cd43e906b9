"""The timeline on disk: what happened, and what became of requests, as they happen.

What ``written("")`` was called for survives a kill at any moment, once and not twice. Whatever is
wrong with the disk costs no request, and never holds up the event loop: all of SQLite happens in a
worker's thread. What could not be written is held, within bounds, and tried again.

A file that is damaged is set aside under another name, never deleted, and a new one begun.

State: entries on their way, put by the loop and taken by the thread; ``_outstanding`` and what
their callers were told are the loop's; the lock, the file and what is held for it the thread's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from rpcproxy.clock import SYSTEM_CLOCK
from rpcproxy.edges.disk.disk_file import FileTrouble, set_aside, trouble
from rpcproxy.edges.disk.file_lock import FileInUse, FileLock
from rpcproxy.edges.disk.journal_schema import words_of
from rpcproxy.edges.disk.timeline_file import (
    StoredEntry,
    TimelineFile,
    TimelineRefused,
    read_timeline,
)
from rpcproxy.edges.disk.worker import DISK_ERRORS, Duties, Worker, WorkerStopped
from rpcproxy.edges.logs import event

__all__ = [
    "StoredEntry",
    "TimelineInUse",
    "TimelineRefused",
    "TimelineSettings",
    "TimelineStore",
    "read_timeline",
]

# A disk that damages one file after another is not to be filled with what was set aside.
MOST_SET_ASIDE: Final = 3

_HANGS: Final = "the disk does not answer"
_TOO_MANY: Final = "too many entries wait for the disk: the oldest are dropped"
_CLOSED: Final = "the timeline is closed"

_log = logging.getLogger("rpcproxy.timeline")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TimelineSettings:
    """``held_entries`` wait at most for a disk that fails, the oldest of the shelf that has the
    most are dropped; it is tried again every ``retry_seconds``. A disk that takes
    ``patience_seconds`` hangs, and must not keep the process from ending longer than
    ``close_seconds``.
    """

    held_entries: int = 10_000
    retry_seconds: float = 1.0
    patience_seconds: float = 2.0
    close_seconds: float = 5.0


USUAL_TIMELINE: Final = TimelineSettings()


class TimelineInUse(Exception):
    """Another process writes it, and may be about to leave. Its text says which."""


class _Put:
    """Entries of one call, which ``began`` at a monotonic time; ``told`` is what its caller
    heard last, ``None`` before the first; ``shelf``: of the first of them.
    """

    __slots__ = ("began", "entries", "is_dropped", "shelf", "told", "written")

    def __init__(
        self, entries: Sequence[StoredEntry], written: Callable[[str], None], began: float
    ) -> None:
        self.entries = tuple(entries)
        self.shelf = self.entries[0].shelf if self.entries else ""
        self.written = written
        self.began = began
        self.told: str | None = None
        self.is_dropped = False  # written by the loop, read by the thread

    def tell(self, reason: str) -> None:
        if reason != self.told:
            self.told = reason
            self.written(reason)


class TimelineStore:
    """See the module's docstring. ``open`` it on the loop, then ``put``, ``load`` and ``find``,
    then ``close``.
    """

    def __init__(
        self,
        path: Path,
        bounds: Mapping[str, int],
        settings: TimelineSettings,
        now: Callable[[], float],
        on_new: Callable[[], None],
    ) -> None:
        self._path = path
        self._on_new = on_new
        self._bounds = dict(bounds)
        self._settings = settings
        self._now = now
        self._coming: deque[_Put] = deque()
        self._loop = asyncio.get_running_loop()
        # The loop's.
        self._outstanding: dict[_Put, None] = {}  # the oldest first
        self._count = 0  # of their entries
        self._counts: Counter[str] = Counter()  # the same, by shelf
        self._patience: asyncio.TimerHandle | None = None
        self._is_closing = False
        # The thread's.
        self._holding: list[_Put] = []
        self._lock: FileLock | None = None
        self._file: TimelineFile | None = None
        self._times_set_aside = 0
        self._trouble = ""
        duties = Duties(
            open=self._open,
            finish=self._write_coming,
            leave=self._leave,
            on_crash=self._on_crash,
            on_end=self._on_end,
        )
        self._worker = Worker("rpcproxy-timeline", duties, settings.close_seconds)

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        bounds: Mapping[str, int],
        settings: TimelineSettings = USUAL_TIMELINE,
        now: Callable[[], float] = SYSTEM_CLOCK.monotonic,
        on_new: Callable[[], None] = lambda: None,
    ) -> TimelineStore:
        """Open or begin the file. ``bounds``: how many entries each shelf keeps, beside those that
        are held. ``now`` tells monotonic seconds. ``on_new`` is called on the loop whenever the
        file is a new one: whoever knows what was in another puts it again.

        Raises ``TimelineInUse`` where another process has it, and ``OSError`` in words where it is
        not for us or cannot be opened; it may take as long as a disk that hangs, so set a deadline.
        """
        store = cls(path, bounds, settings, now, on_new)
        try:
            await store._worker.open()
        except WorkerStopped as stopped:
            raise OSError(str(stopped)) from None
        return store

    # ----------------------------------------------------------------------
    # On the loop

    async def load(self, shelf: str, most: int) -> list[StoredEntry]:
        """The newest first: so many, and those that are held besides. Raises ``OSError`` in words,
        ``TimeoutError`` where the disk hangs.
        """
        return await self._read(lambda file: file.load(shelf, most))

    async def find(self, shelf: str, key: str) -> list[StoredEntry]:
        """Those of the shelf that have the key, the newest first. Raises as ``load``."""
        return await self._read(lambda file: file.find(shelf, key))

    def put(self, entries: Sequence[StoredEntry], written: Callable[[str], None]) -> None:
        """Write them soon, all or none, in the order of the calls.

        ``written("")`` is called on the loop once they are on the disk. Where that fails it is
        called before with the reason in words, again only for another reason; what was dropped
        is never called for with "".
        """
        put = _Put(entries, written, self._now())
        if self._is_closing:
            self._loop.call_soon(put.tell, _CLOSED)
            return
        self._outstanding[put] = None
        self._count += len(put.entries)
        self._counts[put.shelf] += len(put.entries)
        while self._count > self._settings.held_entries and len(self._outstanding) > 1:
            self._drop(self._most_dispensable())
        self._coming.append(put)
        self._worker.schedule(self._write_coming)
        self._watch()

    async def close(self) -> None:
        """Write what waits, and close; gives up after ``close_seconds``. Idempotent."""
        self._is_closing = True
        if not await self._worker.close():
            self._on_given_up(_HANGS)

    async def _read(self, look: Callable[[TimelineFile], list[StoredEntry]]) -> list[StoredEntry]:
        try:
            async with asyncio.timeout(self._settings.patience_seconds):
                return await self._worker.ask(partial(self._on_held_file, look))
        except TimeoutError:
            raise TimeoutError(f"{self._path} cannot be read: {_HANGS}") from None
        except WorkerStopped as stopped:
            raise OSError(str(stopped)) from None
        except sqlite3.Error as error:
            raise OSError(f"{self._path} cannot be read: {words_of(error)}") from error

    def _watch(self) -> None:
        if self._patience is None:
            self._patience = self._loop.call_later(
                self._settings.patience_seconds, self._on_patience_over
            )

    def _on_patience_over(self) -> None:
        self._patience = None
        untold = [put for put in self._outstanding if put.told is None]
        now = self._now()
        for put in untold:
            if now - put.began >= self._settings.patience_seconds:
                put.tell(_HANGS)
        if untold:
            self._watch()

    def _most_dispensable(self) -> _Put:
        """The oldest of the shelf that has the most: many requests that fail push out no order."""
        fullest = max(self._counts, key=lambda shelf: self._counts[shelf])
        return next(put for put in self._outstanding if put.shelf == fullest)

    def _drop(self, put: _Put) -> None:
        put.is_dropped = True
        self._forget(put)
        put.tell(_TOO_MANY)

    def _forget(self, put: _Put) -> None:
        del self._outstanding[put]
        self._count -= len(put.entries)
        self._counts[put.shelf] -= len(put.entries)

    def _on_written(self, puts: Sequence[_Put]) -> None:
        for put in puts:
            if put in self._outstanding:
                self._forget(put)
                put.tell("")

    def _on_failed(self, puts: Sequence[_Put], reason: str) -> None:
        for put in puts:
            if put in self._outstanding:
                put.tell(reason)

    def _on_end(self) -> None:
        self._is_closing = True
        self._on_given_up(self._trouble or _CLOSED)

    def _on_given_up(self, reason: str) -> None:
        """Nobody must wait for ever."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        left, self._outstanding, self._count = self._outstanding, {}, 0
        self._counts.clear()
        for put in left:
            put.tell(reason)

    # ----------------------------------------------------------------------
    # In the thread

    def _open(self) -> None:
        try:
            self._on_file(lambda _: None)
        except sqlite3.Error as error:
            raise OSError(f"{self._path} cannot be opened: {words_of(error)}") from error
        except TimelineRefused:
            raise
        except OSError as error:
            raise OSError(f"{self._path} cannot be opened: {words_of(error)}") from error

    def _write_coming(self) -> None:
        while self._coming:
            self._holding.append(self._coming.popleft())
        puts = self._holding = [put for put in self._holding if not put.is_dropped]
        if not puts:
            return
        entries = [entry for put in puts for entry in put.entries]
        try:
            self._on_held_file(lambda file: file.write(entries))
        except DISK_ERRORS as error:
            reason = words_of(error)
            self._leave_file()
            self._on_trouble(reason)
            self._worker.schedule(self._write_coming, self._settings.retry_seconds)
            self._worker.call_on_loop(self._on_failed, puts, reason)
            return
        self._holding = []
        self._worker.call_on_loop(self._on_written, puts)
        if self._trouble:
            self._trouble = ""
            event(_log, logging.INFO, "timeline_well", "it is written again", file=self._place)

    def _on_held_file(self, action: Callable[[TimelineFile], T]) -> T:
        try:
            return self._on_file(action)
        except TimelineInUse as other:  # the lock was removed, and another took its place
            raise OSError(str(other)) from None

    def _on_file(self, action: Callable[[TimelineFile], T]) -> T:
        """Do it, a second time where the file was damaged and could be set aside."""
        try:
            return action(self._usable_file())
        except sqlite3.Error as error:
            if trouble(error) is not FileTrouble.DAMAGED or self._times_set_aside >= MOST_SET_ASIDE:
                raise
            self._leave_file()
            self._times_set_aside += 1
            aside = set_aside(self._path)
            message = f"it is damaged: set aside as {aside.name}, and begun anew"
            self._warn("timeline_set_aside", message, str(error))
        return action(self._usable_file())

    def _usable_file(self) -> TimelineFile:
        if self._file is not None and not self._file.is_in_place():
            self._leave_file()
        if self._file is None:
            if self._lock is not None and not self._lock.is_in_place():
                self._lock.release()
                self._lock = None
            if self._lock is None:
                self._lock = self._taken_lock()
            self._file = TimelineFile(self._path, self._bounds)
            if self._file.is_new:
                self._worker.call_on_loop(self._on_new)
        return self._file

    def _taken_lock(self) -> FileLock:
        try:
            return FileLock(self._path)
        except FileInUse as other:
            raise TimelineInUse(
                f"{self._path} is in use by another rpcproxy (process {other.holder})"
            ) from None

    def _on_trouble(self, reason: str) -> None:
        if self._trouble != reason:
            self._trouble = reason
            message = "the timeline cannot be written: it is held for a while, and tried again"
            self._warn("timeline_broken", message, reason)

    def _on_crash(self, error: Exception) -> None:
        self._trouble = "the timeline stopped by a fault of its own"
        event(_log, logging.ERROR, "timeline_stopped", self._trouble, exc_info=error)

    def _leave(self) -> None:
        self._leave_file()
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()

    def _leave_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(sqlite3.Error):
                file.close()

    def _warn(self, name: str, message: str, reason: str) -> None:
        event(_log, logging.WARNING, name, message, file=self._place, reason=reason)

    @property
    def _place(self) -> str:
        return str(self._path)
