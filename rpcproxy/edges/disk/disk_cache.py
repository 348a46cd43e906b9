"""Answers that cannot change, kept on disk through a restart.

Only a convenience: whatever goes wrong here costs an answer from disk, never a request. The event
loop never waits for the disk: all of it happens in one thread of the cache's own, reads before
writes; a read that takes too long is answered with nothing; writes are gathered, and dropped when
too many wait. Several processes, and several chains, can share one file.

A file that is damaged is set aside under another name, never deleted, and a new one begun. One
that cannot be written any more is said once, and left alone until the next start.

State: counters and flags are written either by the event loop or by the thread, as said beside
them; ``_digests`` by the thread, one operation of a set at a time, and read by both.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, Final, NamedTuple, ParamSpec, TypeVar

from rpcproxy.edges.disk.awaited import fail, resolve
from rpcproxy.edges.disk.disk_file import (
    AnswerFile,
    AnswerRow,
    DiskCacheRefused,
    FileTrouble,
    open_file,
    set_aside,
    trouble,
)
from rpcproxy.edges.logs import event

__all__ = ["DiskCache", "DiskCacheRefused"]

# A read that takes longer is given up: an upstream would have answered by then.
READ_SECONDS: Final = 0.1
# What waits to be written, at most.
QUEUED_ROWS: Final = 4096
QUEUED_BYTES: Final = 16 * 1024 * 1024
# Writes are gathered for so long, or until one transaction is full.
GATHER_SECONDS: Final = 0.1
BATCH_ROWS: Final = 256
# Larger answers are refused, and a transaction is full at that: it must not push out the rest.
LARGEST_SHARE: Final = 1 / 32
CLOSE_SECONDS: Final = 5.0
# A disk that damages one file after another is not to be filled with what was set aside.
MOST_SET_ASIDE: Final = 2

_log = logging.getLogger("rpcproxy.disk_cache")
T = TypeVar("T")
P = ParamSpec("P")


class _Read(NamedTuple):
    digest: bytes
    key: bytes
    done: asyncio.Future[bytes | None]


class DiskCache:
    """Answers (the JSON text of ``result``) by key, on disk.

    ``hits`` and ``misses`` count ``get`` (a read given up is a miss, and in ``late``); ``written``
    rows; ``dropped`` those that were not, because too many waited, they were too large, or the
    file was busy; ``damaged`` rows that were there and did not match their checksum.
    """

    def __init__(
        self, path: Path, max_bytes: int, identity: str, clock: Callable[[], float]
    ) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._identity = identity
        self._clock = clock
        self._largest = int(max_bytes * LARGEST_SHARE)
        namespace = hashlib.blake2b(identity.encode(), digest_size=32).digest()
        self._hasher = hashlib.blake2b(digest_size=8, key=namespace)
        self._digests: set[bytes] = set()
        self._items: queue.SimpleQueue[_Read | AnswerRow | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
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
        # A daemon: a disk that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="rpcproxy-disk", daemon=True)

    @classmethod
    async def open(
        cls,
        path: str | Path,
        max_bytes: int,
        identity: str,
        *,
        clock: Callable[[], float] = time.time,
    ) -> DiskCache:
        """Open or begin the file. Answers of another ``identity`` (the chain's id and what its
        first block is known by) are never given. ``max_bytes`` (64 KiB or more) bounds the file,
        shared or not; its write-ahead log takes up to about 4 MiB more.

        Raises ``DiskCacheRefused`` where it is a newer version's or another program's. Where it
        cannot be opened for other reasons that is logged, and nothing is kept.
        """
        cache = cls(Path(path), max_bytes, identity, clock)
        cache._thread.start()
        try:
            await cache._opened
        except asyncio.CancelledError:
            cache._begin_close()
            raise
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
        """The answer, ``None`` where there is none, or none within ``READ_SECONDS``."""
        digest = self._digest(key)
        if self._is_closing or digest not in self._digests:
            self.misses += 1
            return None
        done: asyncio.Future[bytes | None] = self._loop.create_future()
        timer = self._loop.call_later(READ_SECONDS, self._give_up, done)
        self._items.put(_Read(digest, key, done))
        try:
            result = await done
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
            or self._queued_rows - self._taken_rows >= QUEUED_ROWS
            or self._queued_bytes - self._taken_bytes + size > QUEUED_BYTES
        ):
            self._refused += 1
            return
        self._queued_rows += 1
        self._queued_bytes += size
        self._items.put(AnswerRow(digest, key, result))

    async def close(self) -> None:
        """Write what waits, and close; gives up after ``CLOSE_SECONDS``. Idempotent."""
        self._begin_close()
        await asyncio.wait([self._ended], timeout=CLOSE_SECONDS)

    def _begin_close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._items.put(None)

    def _give_up(self, done: asyncio.Future[bytes | None]) -> None:
        self.late += not done.done()
        resolve(done, None)

    def _digest(self, key: bytes) -> bytes:
        hasher = self._hasher.copy()
        hasher.update(key)
        return hasher.digest()

    # ----------------------------------------------------------------------
    # In the thread

    def _run(self) -> None:
        try:
            if self._open_first():
                self._serve()
        except Exception as error:  # noqa: BLE001 - a bug here must not hold up a request
            event(_log, logging.ERROR, "disk_cache_stopped", "it failed", exc_info=error)
        finally:
            self._can_write = False
            self._leave_file()
            self._tell(self._settle, [(read, None) for read in self._take(0.0)[0]])
            self._tell(resolve, self._ended, None)

    def _open_first(self) -> bool:
        try:
            self._open_file()
        except DiskCacheRefused as refusal:
            self._tell(fail, self._opened, refusal)
            return False
        except (sqlite3.Error, OSError) as error:
            self._on_error(error)
        self._tell(resolve, self._opened, None)
        return True

    def _open_file(self) -> None:
        self._file = open_file(self._path, self._max_bytes, self._identity, self._clock)
        self._is_loading = True

    def _serve(self) -> None:
        rows: list[AnswerRow] = []
        due = 0.0
        is_last = False
        while rows or not is_last:
            wait_seconds = max(0.0, due - time.monotonic()) if rows else None
            if is_last or self._is_loading:
                wait_seconds = 0.0
            reads, new_rows, is_end = self._take(wait_seconds)
            is_last = is_last or is_end
            if new_rows and not rows:
                due = time.monotonic() + GATHER_SECONDS
            rows += new_rows
            if reads:
                self._answer(reads)
            if rows and (is_last or len(rows) >= BATCH_ROWS or time.monotonic() >= due):
                self._write(self._batch(rows))
            if self._is_loading:
                piece = self._try(AnswerFile.next_digests)
                if piece is not None:
                    self._is_loading = bool(piece)
                    self._digests.update(piece)

    def _take(self, wait_seconds: float | None) -> tuple[list[_Read], list[AnswerRow], bool]:
        """What came: reads, rows, and whether that was all. Waits for the first of it."""
        reads: list[_Read] = []
        rows: list[AnswerRow] = []
        with contextlib.suppress(queue.Empty):
            item = self._items.get(wait_seconds != 0.0, wait_seconds)
            while item is not None:
                if isinstance(item, _Read):
                    reads.append(item)
                else:
                    rows.append(item)
                item = self._items.get_nowait()
            return reads, rows, True
        return reads, rows, False

    def _answer(self, reads: list[_Read]) -> None:
        answers: list[tuple[_Read, bytes | None]] = []
        for read in reads:
            if read.done.done():
                continue
            found = self._try(AnswerFile.read, read.digest, read.key)
            result, is_damaged = found or (None, False)
            if is_damaged:
                self._on_damaged_row(read.digest)
            if result is None:
                self._digests.discard(read.digest)
            answers.append((read, result))
        self._tell(self._settle, answers)
        if self._can_write and self._file is not None and self._file.needs_write:
            self._try(AnswerFile.write, [])

    def _on_damaged_row(self, digest: bytes) -> None:
        self.damaged += 1
        if self.damaged == 1:
            reason = "an answer does not match its checksum and is dropped, and so are others"
            self._warn("disk_cache_damaged", reason)
        if self._can_write:
            self._try(AnswerFile.delete, digest)

    def _batch(self, rows: list[AnswerRow]) -> list[AnswerRow]:
        """Take one transaction's worth off the front of ``rows``."""
        size = count = 0
        for row in rows[:BATCH_ROWS]:
            size += len(row.key) + len(row.result)
            if count and size > self._largest:
                break
            count += 1
        batch = rows[:count]
        del rows[:count]
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
        except (sqlite3.Error, OSError) as error:
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
        except (sqlite3.Error, OSError, DiskCacheRefused) as next_error:
            self._stop(next_error)

    def _stop(self, error: Exception) -> None:
        self._leave_file()
        self._can_write = False
        self._warn("disk_cache_stopped", "it cannot be used: nothing is kept on disk", error)

    def _leave_file(self) -> None:
        file, self._file, self._is_loading = self._file, None, False
        self._digests.clear()
        if file is not None:
            with contextlib.suppress(sqlite3.Error, OSError):
                file.close()

    def _warn(self, name: str, message: str, error: Exception | None = None) -> None:
        reason = None if error is None else str(error)
        event(_log, logging.WARNING, name, message, file=str(self._path), reason=reason)

    # ----------------------------------------------------------------------
    # From the thread to the loop

    def _tell(self, callback: Callable[..., None], *args: object) -> None:
        # The loop may be gone by now, and nobody waits any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *args)

    def _settle(self, answers: list[tuple[_Read, bytes | None]]) -> None:
        for read, result in answers:
            resolve(read.done, result)
