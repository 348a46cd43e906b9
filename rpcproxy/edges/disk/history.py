"""The history: figures of the last weeks on disk, for ``rpcproxy report``.

Only a convenience: whatever goes wrong here costs figures, never a request. The event loop never
waits for the disk: all of it happens in a worker's thread. What could not be written is held,
within bounds, and written with the next figures.

A file that is damaged is set aside under another name, never deleted, and a new one begun.

State: figures on their way, put by the loop and taken by the thread, counted by each for itself;
the file and what is held for it are the thread's.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections import deque
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from rpcproxy.edges.disk.disk_file import FileTrouble, set_aside, trouble
from rpcproxy.edges.disk.history_file import (
    Found,
    HistoryFile,
    HistoryRefused,
    OlderHistory,
    OutageRow,
    ProcessRun,
    TallyRow,
    read_file,
)
from rpcproxy.edges.disk.worker import DISK_ERRORS, Duties, Worker
from rpcproxy.edges.logs import event

__all__ = [
    "DiskHistory",
    "Found",
    "HistoryRefused",
    "OlderHistory",
    "OutageRow",
    "ProcessRun",
    "TallyRow",
    "read_file",
]

# Below this a file holds next to nothing.
LEAST_BYTES: Final = 256 * 1024
# What waits for a disk that is full: more is dropped, the oldest first.
_HELD_ROWS: Final = 20_000
# Figures on their way to the thread, in pieces; where it hangs, the loop keeps them.
QUEUED: Final = 4
_CLOSE_SECONDS: Final = 5.0
# An older file that another process has is looked for so often, at writes.
_LOOKS: Final = 10
# A disk that damages one file after another is not to be filled with what was set aside.
MOST_SET_ASIDE: Final = 3

_log = logging.getLogger("rpcproxy.history")


class _Figures(NamedTuple):
    tallies: Sequence[TallyRow]
    outages: Sequence[OutageRow]
    unix_seconds: float


class DiskHistory:
    """See the module's docstring. Made on the event loop's thread; ``put``, then ``close``."""

    def __init__(
        self,
        path: Path,
        max_bytes: int,
        run: ProcessRun,
        *,
        older: OlderHistory | None = None,
        held_rows: int = _HELD_ROWS,
        close_seconds: float = _CLOSE_SECONDS,
    ) -> None:
        """What is ours in an ``older`` file is taken over, as soon as nobody has that."""
        self._older = older
        self._looks_left = _LOOKS
        self._path = path
        self._held_rows = held_rows
        self._max_bytes = max(LEAST_BYTES, max_bytes)
        self._me = run
        self._coming: deque[_Figures] = deque()
        # The loop's.
        self._is_closing = False
        self._queued = 0
        # The thread's.
        self._taken = 0
        self._file: HistoryFile | None = None
        self._tallies: dict[tuple[object, ...], TallyRow] = {}
        self._outages: dict[tuple[object, ...], OutageRow] = {}
        self._times_set_aside = 0
        self._trouble = ""
        duties = Duties(finish=self._write_coming, leave=self._leave_file, on_crash=self._on_crash)
        self._worker = Worker("rpcproxy-history", duties, close_seconds)
        self._worker.start()

    @property
    def trouble(self) -> str:
        """Why figures cannot be written, empty while they can."""
        return self._trouble

    @property
    def has_room(self) -> bool:
        """Whether ``put`` may be called: the disk is not that far behind."""
        return not self._is_closing and self._queued - self._taken < QUEUED

    def put(
        self, tallies: Sequence[TallyRow], outages: Sequence[OutageRow], unix_seconds: float
    ) -> None:
        """Write them soon, in place of what they were before."""
        self._queued += 1
        self._coming.append(_Figures(tallies, outages, unix_seconds))
        self._worker.schedule(self._write_coming)

    async def close(self) -> None:
        """Write what waits, and close; gives up after ``close_seconds``. Idempotent."""
        self._is_closing = True
        await self._worker.close()

    # ----------------------------------------------------------------------
    # In the thread

    def _write_coming(self) -> None:
        while self._coming:
            figures = self._coming.popleft()
            self._hold(figures)
            self._write(figures.unix_seconds)
            self._taken += 1

    def _on_crash(self, error: Exception) -> None:
        if isinstance(error, HistoryRefused):
            event(_log, logging.WARNING, "history_refused", str(error))
        else:  # a bug here must not hold up a request
            event(_log, logging.ERROR, "history_stopped", "it failed", exc_info=error)

    def _hold(self, figures: _Figures) -> None:
        for row in figures.tallies:
            self._tallies[row.hour, row.part, row.chain, row.upstream] = row
        for outage in figures.outages:
            self._outages[outage.chain, outage.upstream, outage.start] = outage
        for held in (self._tallies, self._outages):
            for key in tuple(islice(held, max(0, len(held) - self._held_rows))):
                del held[key]

    def _write(self, unix_seconds: float) -> None:
        try:
            self._try(unix_seconds)
        except DISK_ERRORS as error:
            self._leave_file()
            self._on_trouble(str(error))
            return
        self._tallies.clear()
        self._outages.clear()
        if self._trouble:
            self._trouble = ""
            event(_log, logging.INFO, "history_well", "figures are written again", file=self._place)

    def _try(self, unix_seconds: float) -> None:
        try:
            self._write_file(unix_seconds)
        except sqlite3.Error as error:
            if trouble(error) is not FileTrouble.DAMAGED or self._times_set_aside >= MOST_SET_ASIDE:
                raise
            self._leave_file()
            self._times_set_aside += 1
            aside = set_aside(self._path)
            message = f"it is damaged: set aside as {aside.name}, and begun anew"
            self._warn("history_set_aside", message, str(error))
            self._write_file(unix_seconds)

    def _write_file(self, unix_seconds: float) -> None:
        if self._file is not None and not self._file.is_in_place():
            self._leave_file()
        if self._file is None:
            self._file = HistoryFile(self._path, self._max_bytes)
        tallies, outages = self._tallies.values(), self._outages.values()
        self._file.write(self._me, tallies, outages, unix_seconds)
        self._take_older(self._file)

    def _take_older(self, file: HistoryFile) -> None:
        if self._older is None or not self._looks_left:
            return
        self._looks_left -= 1
        # In use, most often: another process is about to leave it.
        with contextlib.suppress(*DISK_ERRORS, HistoryRefused):
            file.take_over(self._older)
            self._older = None

    def _on_trouble(self, reason: str) -> None:
        if self._trouble != reason:
            self._trouble = reason
            message = "figures cannot be written: they are held for a while, and tried again"
            self._warn("history_broken", message, reason)

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
