"""The place of a journal: its lock and its file, usable again whatever happened to them meanwhile.

A file found damaged is set aside, and what is sound of it goes on in a new one; one that was
removed while open is written again from what the open one still holds.

State: the lock, the file, and rows on their way from one file to the next; all of one thread.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from rpcproxy.edges.disk.disk_file import FileTrouble, trouble
from rpcproxy.edges.disk.file_lock import FileLock
from rpcproxy.edges.disk.journal_file import JournalFile
from rpcproxy.edges.disk.journal_move import (
    JournalMove,
    JournalSource,
    TakenJournal,
    lock_journal,
    no_sources,
)
from rpcproxy.edges.disk.journal_row import JournalRow, Values
from rpcproxy.edges.disk.journal_salvage import open_journal, renew
from rpcproxy.edges.disk.journal_schema import USUAL, JournalSettings, words_of
from rpcproxy.edges.logs import event

_log = logging.getLogger("rpcproxy.journal")
T = TypeVar("T")


class JournalPlace:
    """See the module's docstring. ``set_aside`` is where the last damaged file went;
    ``secrets`` as the file told at ``open``. ``fault`` is for the file, and for what is taken over
    from ``sources`` at ``open``: ``taken`` is what that was.
    """

    def __init__(
        self,
        path: Path,
        identity: str,
        settings: JournalSettings = USUAL,
        fault: Callable[[str], None] | None = None,
        sources: Callable[[], Sequence[JournalSource]] = no_sources,
    ) -> None:
        self._sources = sources
        self._path = path
        self._settings = settings
        self._identity = identity
        self._fault = fault
        self._lock: FileLock | None = None
        self._file: JournalFile | None = None
        self._carried: list[Values] = []
        self._times_set_aside = 0
        self.set_aside: Path | None = None
        self.taken: list[TakenJournal] = []
        self.secrets: list[tuple[str, bytes]] = []

    def open(self) -> list[JournalRow]:
        """Take the lock, and open or begin the file; its open rows, in the order of their
        creation. Raises ``JournalRefused``, ``OSError`` and ``sqlite3.Error``.
        """
        self._lock = self._lock or lock_journal(self._path)
        move = JournalMove(self._path, self._identity, self._settings, self._fault)
        self.taken = move.take_over(self._sources())
        file = self._open_file()
        rows, file.open_rows = file.open_rows, []
        self.secrets, file.secrets = file.secrets, []
        return rows

    def on_file(self, action: Callable[[JournalFile], T]) -> T:
        """Do it, a second time where the file was damaged and could be set aside. Raises as
        ``open``; nothing was written then.
        """
        try:
            return action(self._usable_file())
        except sqlite3.Error as error:
            has_room = self._times_set_aside < self._settings.most_set_aside
            if trouble(error) is not FileTrouble.DAMAGED or not has_room:
                raise
            self._leave_file()
            self._on_set_aside(renew(self._path, self._identity, self._settings), words_of(error))
        return action(self._usable_file())

    def leave(self) -> None:
        """Close the file and release the lock."""
        self._leave_file()
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()

    def _usable_file(self) -> JournalFile:
        file = self._file
        if file is not None and not file.is_in_place():
            with contextlib.suppress(sqlite3.Error):
                self._carried += file.all_values()
            self._leave_file()
            file = None
            self._warn("journal_moved", "its file was removed: begun anew with what was in it")
        if file is None:
            if self._lock is not None and not self._lock.is_in_place():
                self.leave()
            file = self._open_file()
        if self._carried:
            file.write(self._carried, [])
            self._carried = []
        return file

    def _open_file(self) -> JournalFile:
        if self._lock is None:
            self._lock = lock_journal(self._path)
        self._file, aside = open_journal(self._path, self._identity, self._settings, self._fault)
        self._on_set_aside(aside, "it was found damaged when it was opened")
        return self._file

    def _leave_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(sqlite3.Error):
                file.close()

    def _on_set_aside(self, aside: Path | None, reason: str) -> None:
        if aside is not None:
            self._times_set_aside += 1
            self.set_aside = aside
            message = f"set aside as {aside.name}, and begun anew with what is sound of it"
            self._warn("journal_set_aside", message, reason)

    def _warn(self, name: str, message: str, reason: str | None = None) -> None:
        event(_log, logging.WARNING, name, message, file=str(self._path), reason=reason)
