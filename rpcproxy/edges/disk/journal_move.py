"""A journal that moves: from where another configuration, or an older version, had it.

It becomes ours by one rename, under its lock and that of our own: before it, all of it is there,
after it, all of it is here, whenever the process ends. What came is put into our own journal after
that, as often as it takes.

No state.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from rpcproxy.edges.disk.disk_file import connect_read_only
from rpcproxy.edges.disk.file_lock import FileInUse, FileLock, beside, sync_directory
from rpcproxy.edges.disk.journal_salvage import open_journal
from rpcproxy.edges.disk.journal_schema import (
    CLOSED,
    USUAL,
    WHAT_TO_DO,
    JournalInUse,
    JournalRefused,
    JournalSettings,
    check,
    words_of,
)
from rpcproxy.edges.disk.worker import DISK_ERRORS
from rpcproxy.edges.logs import event

_log = logging.getLogger("rpcproxy.journal")

_AT_ONCE: Final = 1024
_SUFFIXES: Final = ("", "-wal", "-shm")
# Somebody else's, and no trouble of our disk's: it stays where it is.
_NOT_OURS: Final = (errno.EACCES, errno.EPERM, errno.EROFS)


class JournalSource(NamedTuple):
    """Where transactions of ours may be. ``owner``: whose place it is, in words. ``is_whole``: all
    of it is ours, not only what is pending. ``is_awaited``: whoever has it is about to leave.
    """

    path: Path
    owner: str
    is_whole: bool = True
    is_awaited: bool = False


def no_sources() -> Sequence[JournalSource]:
    """There is no other place."""
    return ()


class TakenJournal(NamedTuple):
    """What was taken over: so many transactions that are not closed."""

    source: JournalSource
    pending: int


class JournalMove:
    """To the journal at ``path``, whose lock the caller has, and which nobody has open.

    ``fault`` is called with "before move", "after move" and "after merge", so that tests can crash
    there. Every method may raise ``sqlite3.Error``, ``OSError`` and ``JournalRefused``.
    """

    def __init__(
        self,
        path: Path,
        identity: str,
        settings: JournalSettings = USUAL,
        fault: Callable[[str], None] | None = None,
    ) -> None:
        self._path = path
        self._incoming = beside(path, ".incoming")
        self._identity = identity
        self._settings = settings
        self._fault = fault or (lambda _: None)

    def take_over(self, sources: Sequence[JournalSource]) -> list[TakenJournal]:
        """What is ours of each; what cannot be had stays. Raises ``JournalInUse`` where one that
        is awaited is in use.
        """
        self._finish()
        taken = []
        for source in sources:
            pending = self._taken_from(source)
            if pending is not None:
                taken.append(TakenJournal(source, pending))
        return taken

    def _taken_from(self, source: JournalSource) -> int | None:
        path = source.path
        is_there = path.is_file() or beside(path, ".new").is_file()
        if not is_there or path.resolve() == self._path.resolve():
            return None
        if not source.is_whole and not pending_in(path, self._identity):
            return None
        try:
            lock = lock_journal(path)
            try:
                return self._move(path)
            finally:
                lock.release()
        except JournalInUse:
            if source.is_awaited:
                raise
            return None
        except JournalRefused:  # another chain's of that name
            return None
        except OSError as error:
            if error.errno not in _NOT_OURS:
                raise
            message = "a journal of this chain cannot be taken over, and stays where it is"
            reason = words_of(error)
            event(_log, logging.WARNING, "journal_left", message, file=str(path), reason=reason)
            return None

    def _move(self, path: Path) -> int:
        file, _ = open_journal(path, self._identity, self._settings)
        pending = len(file.open_rows)
        file.close()
        log = beside(path, "-wal")
        if log.exists() and log.stat().st_size:
            raise JournalInUse(f"{path} is being read by another program")
        self._fault("before move")
        try:
            path.rename(self._incoming)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self._copy(path)
        sync_directory(self._path.parent)
        sync_directory(path.parent)
        for suffix in _SUFFIXES[1:]:
            beside(path, suffix).unlink(missing_ok=True)
        self._fault("after move")
        self._finish()
        return pending

    def _copy(self, path: Path) -> None:
        """To another file system. Where the process ends in between it is done again."""
        part = beside(self._path, ".part")
        shutil.copyfile(path, part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.rename(self._incoming)
        sync_directory(self._path.parent)
        path.rename(beside(path, ".taken-over"))

    def _finish(self) -> None:
        """What has come is put into our own."""
        if not self._incoming.exists():
            return
        if not self._path.exists() and not beside(self._path, ".new").exists():
            for suffix in _SUFFIXES[1:]:
                beside(self._path, suffix).unlink(missing_ok=True)
            self._incoming.rename(self._path)
        else:
            self._merge()
            self._fault("after merge")
            for suffix in reversed(_SUFFIXES):
                beside(self._incoming, suffix).unlink(missing_ok=True)
        sync_directory(self._path.parent)

    def _merge(self) -> None:
        """A row that is there already stays as it is, unless it was given up."""
        came, _ = open_journal(self._incoming, self._identity, self._settings)
        try:
            ours, _ = open_journal(self._path, self._identity, self._settings)
            try:
                rows = came.all_values()
                while some := list(islice(rows, _AT_ONCE)):
                    ours.write(some, [])
            finally:
                ours.close()
        finally:
            came.close()


def lock_journal(path: Path) -> FileLock:
    """Raises ``JournalInUse`` where another process has it, and ``OSError``."""
    try:
        return FileLock(path)
    except FileInUse as other:
        raise JournalInUse(
            f"{path} is in use by another rpcproxy (process {other.holder}):"
            f" stop that one, or {WHAT_TO_DO}"
        ) from None


def pending_in(path: Path, identity: str) -> int:
    """How many transactions of a journal are not closed; 0 where it is another chain's, or there
    is none that can be read. Nothing is changed, and a process may be writing it.
    """
    if not path.is_file():
        return 0
    try:
        with contextlib.closing(connect_read_only(path)) as db:
            if not check(db, path, identity):
                return 0
            query = f"SELECT count(*) FROM transactions WHERE NOT ({CLOSED})"  # noqa: S608 - constants
            return int(db.execute(query).fetchone()[0])
    except (*DISK_ERRORS, JournalRefused):
        return 0


def is_held(path: Path) -> bool:
    """Whether a process has a journal."""
    try:
        lock = FileLock(path)
    except FileInUse:
        return True
    except OSError:
        return False
    lock.release()
    return False
