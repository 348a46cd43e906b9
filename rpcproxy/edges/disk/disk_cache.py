"""Answers that cannot change, kept on disk through a restart.

Only a convenience: whatever goes wrong here costs an answer from disk, never a request. The event
loop never waits for the disk: all of it happens in a worker's thread, reads before writes; a read
that takes too long is answered with nothing; writes are gathered, and dropped when too many wait.
Several processes, and several chains, can share one file.

A file that is damaged is set aside under another name, never deleted, and a new one begun. One
that cannot be written any more is said once, and left alone until the next start.

State: counters and flags are written either by the event loop or by the thread, as said beside
them; ``_digests`` by the thread, one operation of a set at a time, and read by both; ``_rows`` is
filled by the loop and emptied by the thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

from rpcproxy.edges.disk.disk_file import (
    USUAL_FILE,
    AnswerFile,
    AnswerFileSettings,
    AnswerRow,
    DiskCacheRefused,
    FileTrouble,
    open_file,
    set_aside,
    trouble,
)
from rpcproxy.edges.disk.worker import DISK_ERRORS, Duties, Worker, WorkerStopped, settle
from rpcproxy.edges.logs import event

__all__ = ["DiskCache", "DiskCacheRefused", "DiskCacheSettings"]

BATCH_ROWS: Final = 256
# Larger answers are refused, and a transaction is full at that: it must not push out the rest.
LARGEST_SHARE: Final = 1 / 32
# A disk that damages one file after another is not to be filled with what was set aside.
MOST_SET_ASIDE: Final = 2

_log = logging.getLogger("rpcproxy.disk_cache")
T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class DiskCacheSettings:
    """``read_seconds``: a read that takes longer is given up, as an upstream would have answered by
    then. ``queued_rows`` and ``queued_bytes``: what waits to be written, at most; it is gathered
    for ``gather_seconds``, or until one transaction is full.
    """

    read_seconds: float = 0.1
    queued_rows: int = 4096
    queued_bytes: int = 16 * 1024 * 1024
    gather_seconds: float = 0.1
    close_seconds: float = 5.0
    file: AnswerFileSettings = USUAL_FILE


class DiskCache:
    """Answers (the JSON text of ``result``) by key, on disk.

    ``hits`` and ``misses`` count ``get`` (a read given up is a miss, and in ``late``); ``written``
    rows; ``dropped`` those that were not, because too many waited, they were too large, or the
    file was busy; ``damaged`` rows that were there and did not match their checksum.
    """

    def __init__(
        self,
        path: Path,
        max_bytes: int,
        identity: str,
        clock: Callable[[], float],
        settings: DiskCacheSettings,
    ) -> None:
        self._path = path
        self._settings = settings
        self._max_bytes = max_bytes
        self._identity = identity
        self._clock = clock
        self._largest = int(max_bytes * LARGEST_SHARE)
        namespace = hashlib.blake2b(identity.encode(), digest_size=32).digest()
        self._hasher = hashlib.blake2b(digest_size=8, key=namespace)
        self._digests: set[bytes] = set()
        self._rows: deque[AnswerRow] = deque()
        self._loop = asyncio.get_running_loop()
        # The loop's.
        self._is_closing = False
        self._queued_rows = 0
        self._queued_bytes = 0
        self._refused = 0
        self.hits = 0
        self.misses = 0
        self.late = 0
        # The thread's.
        self._file: AnswerFile | None = None
        self._is_loading = False
        self._can_write = True
        self._taken_rows = 0
        self._taken_bytes = 0
        self._lost = 0
        self._set_aside = 0
        self.written = 0
        self.damaged = 0
        duties = Duties(
            open=self._open,
            finish=self._write_all,
            leave=self._leave,
            on_crash=self._on_crash,
        )
        self._worker = Worker("rpcproxy-disk", duties, settings.close_seconds)

    @classmethod
    async def open(
        cls,
        path: str | Path,
        max_bytes: int,
        identity: str,
        *,
        clock: Callable[[], float] = time.time,
        settings: DiskCacheSettings | None = None,
    ) -> DiskCache:
        """Open or begin the file. Answers of another ``identity`` (the chain's id and what its
        first block is known by) are never given. ``max_bytes`` (64 KiB or more) bounds the file,
        shared or not; its write-ahead log takes up to about 4 MiB more.

        Raises ``DiskCacheRefused`` where it is a newer version's or another program's. Where it
        cannot be opened for other reasons that is logged, and nothing is kept.
        """
        cache = cls(Path(path), max_bytes, identity, clock, settings or DiskCacheSettings())
        await cache._worker.open()
        return cache

    @property
    def dropped(self) -> int:
        return self._refused + self._lost

    def __len__(self) -> int:
        """Answers known to be on disk; it grows for a while after ``open``."""
        return len(self._digests)

    def has(self, key: bytes) -> bool:
        """Whether ``get`` is worth its while: nothing is read for this."""
        return bool(self._digests) and self._digest(key) in self._digests

    async def get(self, key: bytes) -> bytes | None:
        """The answer, ``None`` where there is none, or none within ``read_seconds``."""
        digest = self._digest(key)
        if self._is_closing or digest not in self._digests:
            self.misses += 1
            return None
        done = self._worker.ask(partial(self._read, digest, key))
        timer = self._loop.call_later(self._settings.read_seconds, self._give_up, done)
        try:
            result = await done
        except WorkerStopped:
            result = None
        finally:
            timer.cancel()
        if result is None:
            self.misses += 1
        else:
            self.hits += 1
        return result

    def put(self, key: bytes, result: bytes) -> None:
        """Write it soon, unless it is there already. Only for what can never change."""
        if self._is_closing or not self._can_write:
            return
        digest = self._digest(key)
        if digest in self._digests:
            return
        size = len(key) + len(result)
        if (
            size > self._largest
            or self._queued_rows - self._taken_rows >= self._settings.queued_rows
            or self._queued_bytes - self._taken_bytes + size > self._settings.queued_bytes
        ):
            self._refused += 1
            return
        self._queued_rows += 1
        self._queued_bytes += size
        self._rows.append(AnswerRow(digest, key, result))
        is_full = len(self._rows) >= BATCH_ROWS
        self._worker.schedule(self._write_some, 0.0 if is_full else self._settings.gather_seconds)

    async def close(self) -> None:
        """Write what waits, and close; gives up after ``close_seconds``. Idempotent."""
        self._is_closing = True
        await self._worker.close()

    def _give_up(self, done: asyncio.Future[bytes | None]) -> None:
        self.late += not done.done()
        settle([(done, None)])

    def _digest(self, key: bytes) -> bytes:
        hasher = self._hasher.copy()
        hasher.update(key)
        return hasher.digest()

    # ----------------------------------------------------------------------
    # In the thread

    def _open(self) -> None:
        try:
            self._open_file()
        except DISK_ERRORS as error:
            self._on_error(error)

    def _open_file(self) -> None:
        self._file = open_file(
            self._path, self._max_bytes, self._identity, self._clock, self._settings.file
        )
        self._is_loading = True
        self._worker.schedule(self._load)

    def _load(self) -> None:
        """Some more of what is known to be on disk, and the rest after what waits."""
        if not self._is_loading:
            return
        piece = self._try(AnswerFile.next_digests)
        if piece is not None:
            self._is_loading = bool(piece)
            self._digests.update(piece)
        if self._is_loading:
            self._worker.schedule(self._load)

    def _read(self, digest: bytes, key: bytes) -> bytes | None:
        found = self._try(AnswerFile.read, digest, key)
        result, is_damaged = found or (None, False)
        if is_damaged:
            self._on_damaged_row(digest)
        if result is None:
            self._digests.discard(digest)
        if self._has_uses:
            self._worker.schedule(self._write_some)
        return result

    @property
    def _has_uses(self) -> bool:
        return self._can_write and self._file is not None and self._file.needs_write

    def _on_damaged_row(self, digest: bytes) -> None:
        self.damaged += 1
        if self.damaged == 1:
            reason = "an answer does not match its checksum and is dropped, and so are others"
            self._warn("disk_cache_damaged", reason)
        if self._can_write:
            self._try(AnswerFile.delete, digest)

    def _write_some(self) -> None:
        """One transaction, and the rest after the reads that came meanwhile."""
        if not self._rows:
            if self._has_uses:
                self._try(AnswerFile.write, [])
            return
        batch = self._batch()
        if self._rows:
            has_time = len(batch) == BATCH_ROWS > len(self._rows)
            self._worker.schedule(
                self._write_some, self._settings.gather_seconds if has_time else 0.0
            )
        self._write(batch)

    def _write_all(self) -> None:
        while self._rows:
            self._write(self._batch())

    def _batch(self) -> list[AnswerRow]:
        """Take one transaction's worth of what waits, the oldest first."""
        batch: list[AnswerRow] = []
        size = 0
        while self._rows and len(batch) < BATCH_ROWS:
            size += len(self._rows[0].key) + len(self._rows[0].result)
            if batch and size > self._largest:
                break
            batch.append(self._rows.popleft())
        return batch

    def _write(self, rows: list[AnswerRow]) -> None:
        gone = self._try(AnswerFile.write, rows) if self._can_write else None
        if gone is None:
            self._lost += len(rows)
        else:
            self._digests.difference_update(gone)
            self._digests.update(row.digest for row in rows)
            self.written += len(rows)
        self._taken_rows += len(rows)
        self._taken_bytes += sum(len(row.key) + len(row.result) for row in rows)

    # ----------------------------------------------------------------------
    # What can go wrong, in the thread

    def _try(
        self, action: Callable[Concatenate[AnswerFile, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T | None:
        if self._file is None:
            return None
        try:
            return action(self._file, *args, **kwargs)
        except DISK_ERRORS as error:
            self._on_error(error)
            return None

    def _on_error(self, error: sqlite3.Error | OSError) -> None:
        what = trouble(error)
        if what is FileTrouble.BUSY and self._file is not None:
            return
        if what is FileTrouble.DAMAGED or (self._file is not None and not self._file.is_in_place()):
            self._renew(error)
        elif what is FileTrouble.UNWRITABLE and self._file is not None:
            self._can_write = self._is_loading = False
            reason = "it cannot be written: no answer is kept on disk from now on"
            self._warn("disk_cache_stopped", reason, error)
        else:
            self._stop(error)

    def _renew(self, error: sqlite3.Error | OSError) -> None:
        """Set the file aside, unless another process has, and begin a new one."""
        is_replaced = self._file is not None and not self._file.is_in_place()
        self._leave_file()
        if not is_replaced and self._set_aside >= MOST_SET_ASIDE:
            self._stop(error)
            return
        try:
            if not is_replaced:
                self._set_aside += 1
                aside = set_aside(self._path)
                reason = f"it is damaged: set aside as {aside.name}, and begun anew"
                self._warn("disk_cache_set_aside", reason, error)
            self._open_file()
        except (*DISK_ERRORS, DiskCacheRefused) as next_error:
            self._stop(next_error)

    def _stop(self, error: Exception) -> None:
        self._leave_file()
        self._can_write = False
        self._warn("disk_cache_stopped", "it cannot be used: nothing is kept on disk", error)

    def _on_crash(self, error: Exception) -> None:
        # A bug here must not hold up a request.
        event(_log, logging.ERROR, "disk_cache_stopped", "it failed", exc_info=error)

    def _leave(self) -> None:
        self._can_write = False
        self._leave_file()

    def _leave_file(self) -> None:
        file, self._file, self._is_loading = self._file, None, False
        self._digests.clear()
        if file is not None:
            with contextlib.suppress(*DISK_ERRORS):
                file.close()

    def _warn(self, name: str, message: str, error: Exception | None = None) -> None:
        reason = None if error is None else str(error)
        event(_log, logging.WARNING, name, message, file=str(self._path), reason=reason)
