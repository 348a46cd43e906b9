"""The file of answers on disk (SQLite), as its one thread sees it.

Whatever is damaged is told apart from whatever cannot be written: ``trouble`` says what an error
means. What an answer is kept under is a digest; its key, its identity and a checksum are compared
before it is given, so that neither a collision nor half a row ever leaves the file.

State: one ``AnswerFile`` per connection, used by one thread. Processes and chains share a file by
SQLite's locks.
"""

from __future__ import annotations

import contextlib
import enum
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

# Marks a file as ours: "RPCA" in ASCII.
APPLICATION_ID: Final = 0x52504341
SCHEMA_VERSION: Final = 1
# How far "last used" may be behind the truth: a read is not to become a write.
USED_SECONDS: Final = 600
# Another process that holds the file's lock longer costs us the transaction.
BUSY_SECONDS: Final = 1.0
OPEN_TRIES: Final = 5
# The write-ahead log beside the file; it is not counted in the budget.
WAL_BYTES: Final = 4 * 1024 * 1024

_PAGE_BYTES: Final = 4096
# A row's own columns, its cell and its place in the index.
_ROW_BYTES: Final = 100
_DELETED_AT_ONCE: Final = 64
_VACUUMED_PAGES: Final = 1024

_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS spaces (id INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE)",
    """CREATE TABLE IF NOT EXISTS answers (
        digest INTEGER PRIMARY KEY, space INTEGER NOT NULL, used INTEGER NOT NULL,
        checksum INTEGER NOT NULL, key BLOB NOT NULL, result BLOB NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS by_use ON answers (space, used)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


@dataclass(frozen=True, slots=True)
class AnswerFileSettings:
    """``max_rows``: each of ours takes about 100 bytes of memory, so that what is not there costs
    no read. ``loaded_at_once``: of those, at the start. ``touched_rows``: that many reads are
    written down together. ``busy_seconds``: another process that holds the lock longer costs us
    the transaction. ``pause_seconds``: between two tries of an opening.
    """

    max_rows: int = 1_000_000
    loaded_at_once: int = 4096
    touched_rows: int = 256
    busy_seconds: float = BUSY_SECONDS
    pause_seconds: float = 0.1


USUAL_FILE: Final = AnswerFileSettings()


class DiskCacheRefused(Exception):
    """The file is a newer version's, or another program's. Its text says what to do."""


class AnswerRow(NamedTuple):
    """``digest``: 8 bytes that stand for key and identity."""

    digest: bytes
    key: bytes
    result: bytes


class FileTrouble(enum.Enum):
    """What an error of the file means."""

    BUSY = "busy"  # another process was at it; the next try may do
    DAMAGED = "damaged"  # it is no sound database
    UNWRITABLE = "unwritable"  # the disk is full, or not ours to write; reads may go on
    LOST = "lost"  # it cannot be opened or read


_TROUBLES: Final = {
    sqlite3.SQLITE_BUSY: FileTrouble.BUSY,
    sqlite3.SQLITE_LOCKED: FileTrouble.BUSY,
    sqlite3.SQLITE_CORRUPT: FileTrouble.DAMAGED,
    sqlite3.SQLITE_NOTADB: FileTrouble.DAMAGED,
    # A table that is not as we made it.
    sqlite3.SQLITE_ERROR: FileTrouble.DAMAGED,
    sqlite3.SQLITE_FULL: FileTrouble.UNWRITABLE,
    sqlite3.SQLITE_READONLY: FileTrouble.UNWRITABLE,
}


def trouble(error: sqlite3.Error | OSError) -> FileTrouble:
    # The low byte is the primary code; errors of the module itself have none.
    code = getattr(error, "sqlite_errorcode", None)
    return FileTrouble.LOST if code is None else _TROUBLES.get(code & 0xFF, FileTrouble.LOST)


def connect(path: Path, busy_seconds: float = BUSY_SECONDS) -> sqlite3.Connection:
    """``busy_seconds``: how long another process's lock is waited for."""
    return sqlite3.connect(path, timeout=busy_seconds, isolation_level=None)


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Makes no file: one without a log is at rest, and is read as if it could not change."""
    is_at_rest = not Path(f"{path}-wal").exists()
    uri = path.absolute().as_uri() + ("?mode=ro&immutable=1" if is_at_rest else "?mode=ro")
    return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)


def set_aside(path: Path) -> Path:
    """Rename a file with what belongs to it, for people to look at. Raises ``OSError``."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    names = (path.with_name(f"{path.name}.damaged-{stamp}-{n}") for n in count(1))
    aside = next(name for name in names if not name.exists())
    # The log first: beside a new file, it would be taken for that one's.
    for suffix in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    return aside


class AnswerFile:
    """One connection to the file. Every method may raise ``sqlite3.Error``.

    ``max_bytes`` bounds the file, whoever writes to it (an empty one takes 24 KiB of it);
    ``clock`` gives Unix seconds. Opening raises ``DiskCacheRefused``, and ``OSError``.
    """

    def __init__(
        self,
        path: Path,
        max_bytes: int,
        identity: str,
        clock: Callable[[], float],
        settings: AnswerFileSettings,
    ) -> None:
        self._path = path
        self._settings = settings
        self._identity = identity
        self._clock = clock
        # One transaction may go past the room before the next makes some.
        self._room = max_bytes - max_bytes // 8
        self._max_bytes = max_bytes
        self._touched: set[int] = set()
        self._rows = 0
        self._loaded_to = (1 << 62, 0)
        self._inode = 0
        self._db = connect(path, settings.busy_seconds)
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        db = self._db
        # One look at all of it: another process may be about to make this file ours.
        db.execute("BEGIN")
        self._check(self._pragma("application_id"), self._pragma("user_version"))
        db.execute("COMMIT")
        for pragma in (
            # Before the first table: a smaller budget is to give room back to the disk.
            "auto_vacuum = INCREMENTAL",
            "journal_mode = WAL",
            # A power cut may take the last answers, never the file.
            "synchronous = NORMAL",
            f"wal_autocheckpoint = {WAL_BYTES // 4 // _PAGE_BYTES}",
            f"journal_size_limit = {WAL_BYTES}",
        ):
            db.execute(f"PRAGMA {pragma}").fetchall()
        with self._transaction():
            # Again, now that no other process is at it.
            self._check(self._pragma("application_id"), self._pragma("user_version"))
            for statement in _SCHEMA:
                db.execute(statement)
            db.execute("INSERT OR IGNORE INTO spaces (identity) VALUES (?)", (self._identity,))
        found = db.execute("SELECT id FROM spaces WHERE identity = ?", (self._identity,))
        self._space: int = found.fetchone()[0]
        self._page_bytes = self._pragma("page_size")
        self._inode = self._path.stat().st_ino

    def _check(self, application: int, version: int) -> None:
        if application not in (0, APPLICATION_ID) or (application == 0 and self._has_tables()):
            raise DiskCacheRefused(
                f"{self._path} is a database of another program: give the cache another path"
            )
        if version > SCHEMA_VERSION:
            raise DiskCacheRefused(
                f"{self._path} was written by a newer version of rpcproxy (its schema is {version},"
                f" this version knows {SCHEMA_VERSION}): update, or give the cache another path"
            )

    def _has_tables(self) -> bool:
        return bool(self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])

    def next_digests(self) -> list[bytes]:
        """Some more of what is kept for this identity, the last used first; none at the end."""
        if self._rows >= self._settings.max_rows:
            return []
        rows = self._db.execute(
            "SELECT used, digest FROM answers WHERE space = ? AND (used, digest) < (?, ?)"
            " ORDER BY used DESC, digest DESC LIMIT ?",
            (self._space, *self._loaded_to, self._settings.loaded_at_once),
        ).fetchall()
        if rows:
            self._loaded_to = rows[-1]
            self._rows += len(rows)
        return [_digest(number) for _, number in rows]

    def read(self, digest: bytes, key: bytes) -> tuple[bytes | None, bool]:
        """The answer, and whether what is there is damaged."""
        number = _number(digest)
        row = self._db.execute(
            "SELECT key, result, checksum, used FROM answers WHERE digest = ? AND space = ?",
            (number, self._space),
        ).fetchone()
        if row is None:
            return None, False
        kept_key, result, checksum, used = row
        if not isinstance(result, bytes) or kept_key != key:
            return None, kept_key == key
        if self._checksum(key, result) != checksum:
            return None, True
        if self._clock() - used > USED_SECONDS:
            self._touched.add(number)
        return result, False

    def delete(self, digest: bytes) -> None:
        self._db.execute("DELETE FROM answers WHERE digest = ?", (_number(digest),))

    def write(self, rows: list[AnswerRow]) -> list[bytes]:
        """Write rows, and make room for them before. Returns the digests that had to go."""
        now = int(self._clock())
        values = [
            (_number(r.digest), self._space, now, self._checksum(r.key, r.result), r.key, r.result)
            for r in rows
        ]
        with self._transaction():
            touched = [(now, number) for number in self._touched]
            self._db.executemany("UPDATE answers SET used = ? WHERE digest = ?", touched)
            gone = self._make_room(sum(len(r.key) + len(r.result) + _ROW_BYTES for r in rows))
            gone += self._keep_rows_under(self._settings.max_rows - len(rows))
            self._db.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)", values)
        self._touched.clear()
        self._rows += len(rows)
        if self._pragma("page_count") * self._page_bytes > self._max_bytes:
            # Not execute(): of a pragma that gives no columns it makes one step, a page.
            self._db.executescript(f"PRAGMA incremental_vacuum({_VACUUMED_PAGES})")
        return gone

    @property
    def needs_write(self) -> bool:
        """Enough was read for "last used" to be written down."""
        return len(self._touched) >= self._settings.touched_rows

    def close(self) -> None:
        try:
            if self._touched:
                self.write([])
        finally:
            self._db.close()

    def is_in_place(self) -> bool:
        """No other process has set it aside, or removed it."""
        try:
            return self._path.stat().st_ino == self._inode
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True

    def _make_room(self, coming_bytes: int) -> list[bytes]:
        gone: list[bytes] = []
        while self._used_bytes() + coming_bytes > self._room:
            oldest = self._db.execute(
                "SELECT id FROM (SELECT id, (SELECT min(used) FROM answers WHERE space = spaces.id)"
                " AS used FROM spaces) WHERE used IS NOT NULL ORDER BY used LIMIT 1"
            ).fetchone()
            if oldest is None:
                break
            gone += self._delete_oldest(oldest[0], _DELETED_AT_ONCE)
        return gone

    def _keep_rows_under(self, count: int) -> list[bytes]:
        excess = self._rows - count
        return self._delete_oldest(self._space, excess) if excess > 0 else []

    def _delete_oldest(self, space: int, count: int) -> list[bytes]:
        found = self._db.execute(
            "SELECT digest FROM answers WHERE space = ? ORDER BY used LIMIT ?", (space, count)
        ).fetchall()
        self._db.executemany("DELETE FROM answers WHERE digest = ?", found)
        if space != self._space:
            return []
        self._rows -= len(found)
        return [_digest(number) for (number,) in found]

    def _used_bytes(self) -> int:
        return (self._pragma("page_count") - self._pragma("freelist_count")) * self._page_bytes

    def _pragma(self, name: str) -> int:
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])

    def _checksum(self, key: bytes, result: bytes) -> int:
        return zlib.crc32(result, zlib.crc32(key, zlib.crc32(self._identity.encode())))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise


def open_file(
    path: Path,
    max_bytes: int,
    identity: str,
    clock: Callable[[], float],
    settings: AnswerFileSettings,
) -> AnswerFile:
    """Two that begin one file at once can find it busy in ways that SQLite does not wait out."""
    tries_left = OPEN_TRIES
    while True:
        try:
            return AnswerFile(path, max_bytes, identity, clock, settings)
        except sqlite3.Error as error:
            tries_left -= 1
            if trouble(error) is not FileTrouble.BUSY or not tries_left:
                raise
        time.sleep(settings.pause_seconds)


def _number(digest: bytes) -> int:
    return int.from_bytes(digest, "big", signed=True)


def _digest(number: int) -> bytes:
    return number.to_bytes(8, "big", signed=True)
