"""The file of the history (SQLite), as the one thread that writes it sees it, and as ``rpcproxy
report`` reads it beside that.

Processes share a file by SQLite's locks. Each has rows of its own, so that none counts what
another counts: a *run* is one process, from its start to its end. What is in a row is not for us
to know: ``data`` goes in and out as it is.

State: one ``HistoryFile`` per connection, used by one thread.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from rpcproxy.edges.disk.disk_file import FileTrouble, connect, connect_read_only, trouble

# Marks a file as ours: "RPCH" in ASCII.
APPLICATION_ID: Final = 0x52504348
SCHEMA_VERSION: Final = 1
KEPT_SECONDS: Final = 90 * 86_400
# The write-ahead log beside the file; it is not counted in its size.
WAL_BYTES: Final = 1024 * 1024

_PAGE_BYTES: Final = 4096
_HOUR_SECONDS: Final = 3600
_READ_TRIES: Final = 3

_KEYS: Final = (("tallies", "part, chain, upstream"), ("outages", "chain, upstream, start"))
_SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS runs (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, data BLOB NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS tallies (
        hour INTEGER NOT NULL, run INTEGER NOT NULL, part INTEGER NOT NULL, chain TEXT NOT NULL,
        upstream TEXT NOT NULL, data BLOB NOT NULL,
        UNIQUE (hour, run, part, chain, upstream))""",
    """CREATE TABLE IF NOT EXISTS outages (
        hour INTEGER NOT NULL, run INTEGER NOT NULL, chain TEXT NOT NULL, upstream TEXT NOT NULL,
        start REAL NOT NULL, data BLOB NOT NULL,
        UNIQUE (hour, run, chain, upstream, start))""",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


class HistoryRefused(Exception):
    """The file is a newer version's or another program's, or cannot be read. Its text says what
    to do.
    """


class ProcessRun(NamedTuple):
    """One process. Its ``name`` is like no other's."""

    name: str
    data: bytes


class TallyRow(NamedTuple):
    """What one upstream did in one hour (Unix seconds of its beginning)."""

    hour: int
    part: int
    chain: str
    upstream: str
    data: bytes


class OutageRow(NamedTuple):
    """An outage that began at ``start`` (Unix seconds)."""

    chain: str
    upstream: str
    start: float
    data: bytes

    @property
    def hour(self) -> int:
        return int(self.start // _HOUR_SECONDS) * _HOUR_SECONDS


class Found(NamedTuple):
    """What is in a file, each with the name of its run."""

    runs: dict[str, bytes]
    tallies: list[tuple[str, TallyRow]]
    outages: list[tuple[str, OutageRow]]


class OlderHistory(NamedTuple):
    """A file that several configurations shared; ours are these chains."""

    path: Path
    chains: tuple[str, ...]


class HistoryFile:
    """One connection to the file. Every method may raise ``sqlite3.Error``.

    ``max_bytes`` bounds the file, whoever writes to it, but for the rows of the newest hour.
    Opening makes the file where it is missing; it raises ``HistoryRefused`` and ``OSError``.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        # One transaction may go past the room before the next makes some.
        self._room = max_bytes - max_bytes // 8
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # For nobody else's eyes; SQLite gives its log the same mode.
        path.touch(mode=0o600)
        self._db = connect(path)
        try:
            self._prepare()
            self._inode = path.stat().st_ino
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        db = self._db
        _check(db, self._path)
        for pragma in (
            # Before the first table: what is dropped gives its room back.
            "auto_vacuum = INCREMENTAL",
            "journal_mode = WAL",
            # A power cut may take the last minutes, never the file.
            "synchronous = NORMAL",
            f"wal_autocheckpoint = {WAL_BYTES // 2 // _PAGE_BYTES}",
            f"journal_size_limit = {WAL_BYTES}",
        ):
            db.execute(f"PRAGMA {pragma}").fetchall()
        with self._transaction():
            # Again, now that no other process is at it.
            _check(db, self._path)
            for statement in _SCHEMA:
                db.execute(statement)

    def write(
        self, run: ProcessRun, tallies: Iterable[TallyRow], outages: Iterable[OutageRow], now: float
    ) -> None:
        """Write all in one transaction, in place of what ``run`` wrote of them before, and drop
        what is too old at ``now`` (Unix seconds), or too much.
        """
        db = self._db
        with self._transaction():
            db.execute("INSERT OR IGNORE INTO runs (name, data) VALUES (?, ?)", run)
            id = db.execute("SELECT id FROM runs WHERE name = ?", (run.name,)).fetchone()[0]
            db.executemany(
                "INSERT OR REPLACE INTO tallies VALUES (?, ?, ?, ?, ?, ?)",
                [(row.hour, id, row.part, row.chain, row.upstream, row.data) for row in tallies],
            )
            db.executemany(
                "INSERT OR REPLACE INTO outages VALUES (?, ?, ?, ?, ?, ?)",
                [(row.hour, id, row.chain, row.upstream, row.start, row.data) for row in outages],
            )
            self._drop_old(now)
            self._make_room()
        # Not execute(): of a pragma that gives no columns it makes one step, a page.
        db.executescript("PRAGMA incremental_vacuum")

    def take_over(self, other: OlderHistory) -> None:
        """Put what is ours of another file into this one, and out of that; a file that is empty
        then goes. Raises ``HistoryRefused``, and ``sqlite3.Error`` where somebody has it.
        """
        older, chains = other
        if not older.is_file() or older.samefile(self._path):
            return
        with contextlib.closing(connect_read_only(older)) as db:
            _check(db, older)
        self._db.execute("ATTACH ? AS older", (str(older),))
        try:
            # Nobody else can have it open for that.
            self._db.execute("PRAGMA older.journal_mode = DELETE").fetchall()
            with self._transaction():
                for statement in _taking(len(chains)):
                    self._db.execute(statement, chains)
                left = self._db.execute("SELECT count(*) FROM older.tallies").fetchone()[0]
        finally:
            self._db.execute("DETACH older")
        if not left:
            older.unlink(missing_ok=True)

    def _drop_old(self, now: float) -> None:
        newest = self._newest_hours()
        # A clock that is wrong for a moment must not age everything: the last hour but one has to
        # be that much later, too. What it wrote in the future stays, and hurts nobody.
        if len(newest) == 2:
            self._drop_before(min(newest[1], now) - KEPT_SECONDS)

    def _make_room(self) -> None:
        while self._used_bytes() > self._room:
            oldest, newest = self._db.execute("SELECT min(hour), max(hour) FROM tallies").fetchone()
            if oldest is None or oldest == newest:
                return
            self._drop_before(oldest + _HOUR_SECONDS)

    def _drop_before(self, hour: float) -> None:
        dropped = sum(
            self._db.execute(f"DELETE FROM {table} WHERE hour < ?", (hour,)).rowcount  # noqa: S608 - constants
            for table in ("tallies", "outages")
        )
        if dropped:
            self._db.execute(
                "DELETE FROM runs WHERE id NOT IN (SELECT run FROM tallies)"
                " AND id NOT IN (SELECT run FROM outages)"
            )

    def _newest_hours(self) -> list[int]:
        found = self._db.execute("SELECT DISTINCT hour FROM tallies ORDER BY hour DESC LIMIT 2")
        return [hour for (hour,) in found]

    def _used_bytes(self) -> int:
        pages = self._pragma("page_count") - self._pragma("freelist_count")
        return pages * self._pragma("page_size")

    def _pragma(self, name: str) -> int:
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])

    def is_in_place(self) -> bool:
        """No other process has set it aside, or removed it."""
        try:
            return self._path.stat().st_ino == self._inode
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True

    def close(self) -> None:
        self._db.close()

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


def _taking(count: int) -> Iterator[str]:
    ours = f"chain IN ({', '.join('?' * count)})"
    runs = f"SELECT run FROM older.tallies WHERE {ours} UNION SELECT run FROM older.outages"  # noqa: S608 - constants
    known = "INSERT OR IGNORE INTO main.runs (name, data) SELECT name, data FROM older.runs"
    yield f"{known} WHERE id IN ({runs})"
    for table, columns in _KEYS:
        yield (
            f"INSERT OR IGNORE INTO main.{table} (hour, run, {columns}, data)"  # noqa: S608 - constants
            f" SELECT hour, ours.id, {columns}, rows.data FROM older.{table} AS rows"
            " JOIN older.runs AS theirs ON theirs.id = rows.run"
            f" JOIN main.runs AS ours ON ours.name = theirs.name WHERE {ours}"
        )
        yield f"DELETE FROM older.{table} WHERE {ours}"  # noqa: S608 - constants


def read_file(path: Path, since: float) -> Found:
    """What a file holds of the hours after ``since`` (Unix seconds) and of the one it lies in; a
    process may be writing it, and nothing is changed. Of outages all: they may
    have gone on since.

    Raises ``HistoryRefused`` where there is nothing to read, or it cannot be read.
    """
    try:
        is_there = path.is_file()
    except OSError as error:
        raise HistoryRefused(f"{path} cannot be read: {error.strerror}") from None
    if not is_there:
        raise HistoryRefused(f"there is no history at {path}")
    tries_left = _READ_TRIES
    while True:
        try:
            with contextlib.closing(connect_read_only(path)) as db:
                _check(db, path)
                return _found(db, since)
        except (sqlite3.Error, OSError) as error:
            tries_left -= 1
            # One that was opened or closed meanwhile is another kind of file now.
            if not tries_left:
                is_damaged = (
                    isinstance(error, sqlite3.Error) and trouble(error) is FileTrouble.DAMAGED
                )
                words = "it is damaged" if is_damaged else str(error)
                raise HistoryRefused(f"{path} cannot be read: {words}") from error


def _found(db: sqlite3.Connection, since: float) -> Found:
    if not _has_tables(db):
        return Found({}, [], [])
    names = dict(_rows(db, "SELECT id, name FROM runs"))
    tallies = _rows(
        db,
        "SELECT run, hour, part, chain, upstream, data FROM tallies WHERE hour > ?",
        since - _HOUR_SECONDS,
    )
    outages = _rows(db, "SELECT run, chain, upstream, start, data FROM outages ORDER BY start")
    return Found(
        dict(_rows(db, "SELECT name, data FROM runs")),
        [(names[run], TallyRow(*values)) for run, *values in tallies if run in names],
        [(names[run], OutageRow(*values)) for run, *values in outages if run in names],
    )


def _rows(db: sqlite3.Connection, statement: str, *values: float) -> Sequence[Any]:
    return db.execute(statement, values).fetchall()


def _check(db: sqlite3.Connection, path: Path) -> None:
    # Asked first: another process of ours may be making the file, its tables and marks at once.
    has_tables = _has_tables(db)
    application = int(db.execute("PRAGMA application_id").fetchone()[0])
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if application not in (0, APPLICATION_ID) or (application == 0 and has_tables):
        raise HistoryRefused(
            f"{path} is a database of another program: give the history another path"
        )
    if version > SCHEMA_VERSION:
        raise HistoryRefused(
            f"{path} was written by a newer version of rpcproxy (its schema is {version}, this"
            f" version knows {SCHEMA_VERSION}): update, or give the history another path"
        )


def _has_tables(db: sqlite3.Connection) -> bool:
    return bool(db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
