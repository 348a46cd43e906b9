"""The file of the timeline (SQLite), as the one thread that writes it sees it, and as commands read
it beside that.

One process writes a file, held to it by a lock beside it; a successor of it has its entries. What
is in an entry is not for us to know: ``data`` goes in and out as it is.

State: one ``TimelineFile`` per connection, used by one thread.
"""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from rpcproxy.edges.disk.disk_file import connect, connect_read_only
from rpcproxy.edges.disk.file_lock import is_same_file, make_directory, make_file
from rpcproxy.edges.disk.journal_schema import words_of

# Marks a file as ours: "RPCT" in ASCII.
APPLICATION_ID: Final = 0x52504354
SCHEMA_VERSION: Final = 1
# The write-ahead log beside the file.
WAL_BYTES: Final = 1024 * 1024

_PAGE_BYTES: Final = 4096
_READ_TRIES: Final = 3
_COLUMNS: Final = "id, shelf, pack, unix_seconds, keys, data, is_held"
_EXCLUDED: Final = ", ".join(f"excluded.{name}" for name in _COLUMNS.split(", "))
_NEWEST: Final = "ORDER BY unix_seconds DESC, seq DESC"

_SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS entries (
        seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, shelf TEXT NOT NULL, pack TEXT NOT NULL,
        unix_seconds REAL NOT NULL, keys BLOB NOT NULL, data BLOB NOT NULL,
        is_held INTEGER NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS by_time ON entries (shelf, unix_seconds)",
    "CREATE INDEX IF NOT EXISTS by_pack ON entries (shelf, is_held, pack, unix_seconds)",
    """CREATE TABLE IF NOT EXISTS entry_keys (
        key TEXT NOT NULL, entry INTEGER NOT NULL, PRIMARY KEY (key, entry)) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS by_entry ON entry_keys (entry)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

_keys_decoder = msgspec.json.Decoder(tuple[str, ...])


class StoredEntry(NamedTuple):
    """One row. ``id`` is its own for ever: an entry that comes again replaces the one before.

    ``shelf``: each has a bound of its own. ``group``: many of one push out their own only; "" is
    one, too. ``keys``: by what it is found. ``is_held``: never pruned while so; whoever holds an
    entry lets go of it at last, by writing it again.
    """

    id: str
    shelf: str
    group: str
    unix_seconds: float
    keys: tuple[str, ...]
    data: bytes
    is_held: bool = False


class TimelineRefused(OSError):
    """The file is a newer version's or another program's. Its text says what to do."""


class TimelineFile:
    """One connection to the file. Every method may raise ``sqlite3.Error``.

    Each shelf keeps as many entries as ``bounds`` say of it, beside those that are held; where it
    has more, the group that has the most loses its oldest. Opening makes the file where it is
    missing (it ``is_new`` then); it raises ``TimelineRefused`` and ``OSError``.
    """

    def __init__(self, path: Path, bounds: Mapping[str, int]) -> None:
        self._path = path
        self._bounds = bounds
        make_directory(path.parent)
        make_file(path)
        self._db = connect(path)
        try:
            self._prepare()
            self._found = path.stat()
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        db = self._db
        _check(db, self._path)
        self.is_new = not _has_tables(db)
        for pragma in (
            # Before the first table: what is dropped gives its room back.
            "auto_vacuum = INCREMENTAL",
            "journal_mode = WAL",
            # A kill takes nothing, a power cut the last moments, and neither takes the file.
            "synchronous = NORMAL",
            f"wal_autocheckpoint = {WAL_BYTES // 2 // _PAGE_BYTES}",
            f"journal_size_limit = {WAL_BYTES}",
        ):
            db.execute(f"PRAGMA {pragma}").fetchall()
        with self._transaction():
            for statement in _SCHEMA:
                db.execute(statement)

    def write(self, entries: Iterable[StoredEntry]) -> None:
        """Write all in one transaction, in their order, and drop what is too much."""
        with self._transaction():
            for entry in entries:
                self._put(entry)
            for shelf, bound in self._bounds.items():
                self._prune(shelf, bound)
        # Not execute(): of a pragma that gives no columns it makes one step, a page.
        self._db.executescript("PRAGMA incremental_vacuum")

    def _put(self, entry: StoredEntry) -> None:
        keys = [_text(key) for key in entry.keys]
        found = self._db.execute(
            f"INSERT INTO entries ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants
            f" ON CONFLICT (id) DO UPDATE SET ({_COLUMNS}) = ({_EXCLUDED}) RETURNING seq",
            (
                _text(entry.id),
                _text(entry.shelf),
                _text(entry.group),
                # A row that no column takes would keep all others from being written.
                entry.unix_seconds if math.isfinite(entry.unix_seconds) else 0.0,
                msgspec.json.encode(keys),
                entry.data,
                entry.is_held,
            ),
        ).fetchall()
        seq = found[0][0]
        self._db.execute("DELETE FROM entry_keys WHERE entry = ?", (seq,))
        self._db.executemany(
            "INSERT OR IGNORE INTO entry_keys VALUES (?, ?)", [(key, seq) for key in keys]
        )

    def _prune(self, shelf: str, bound: int) -> None:
        counts = dict(
            self._db.execute(
                "SELECT pack, count(*) FROM entries WHERE shelf = ? AND is_held = 0"
                " GROUP BY pack ORDER BY max(unix_seconds)",
                (shelf,),
            ).fetchall()
        )
        for pack, count in _excess(counts, bound).items():
            found = self._db.execute(
                "SELECT seq FROM entries WHERE shelf = ? AND is_held = 0 AND pack = ?"
                " ORDER BY unix_seconds, seq LIMIT ?",
                (shelf, pack, count),
            ).fetchall()
            self._db.executemany("DELETE FROM entry_keys WHERE entry = ?", found)
            self._db.executemany("DELETE FROM entries WHERE seq = ?", found)

    def load(self, shelf: str, most: int) -> list[StoredEntry]:
        """The newest first: so many, and those that are held besides, however old they are."""
        newest = f"SELECT seq FROM entries WHERE shelf = ? {_NEWEST} LIMIT {int(most)}"  # noqa: S608 - constants
        where = f"WHERE shelf = ? AND (is_held OR seq IN ({newest}))"
        return _entries(self._db, where, (shelf, shelf))

    def find(self, shelf: str, key: str) -> list[StoredEntry]:
        """Those that have the key, the newest first."""
        return _entries(
            self._db,
            "WHERE shelf = ? AND seq IN (SELECT entry FROM entry_keys WHERE key = ?)",
            (shelf, _text(key)),
        )

    def is_in_place(self) -> bool:
        """Nobody has set it aside, or removed it."""
        return is_same_file(self._path, self._found)

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


def read_timeline(path: Path, shelf: str, since_unix: float) -> list[StoredEntry]:
    """The entries of a shelf since then (Unix seconds), and those that are held, the newest first;
    a process may be writing the file, and nothing is changed.

    Raises ``FileNotFoundError`` where there is none, and ``OSError`` in words where it cannot be
    read.
    """
    try:
        path.stat()
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no timeline at {path}") from None
    except OSError as error:
        raise OSError(f"{path} cannot be read: {words_of(error)}") from None
    tries_left = _READ_TRIES
    while True:
        try:
            with contextlib.closing(connect_read_only(path)) as db:
                _check(db, path)
                if not _has_tables(db):
                    return []
                where = "WHERE shelf = ? AND (unix_seconds >= ? OR is_held)"
                return _entries(db, where, (shelf, since_unix))
        except sqlite3.Error as error:
            tries_left -= 1
            # One that was opened or closed meanwhile is another kind of file now.
            if not tries_left:
                raise OSError(f"{path} cannot be read: {words_of(error)}") from error


def _entries(db: sqlite3.Connection, where: str, values: tuple[object, ...]) -> list[StoredEntry]:
    rows = db.execute(f"SELECT {_COLUMNS} FROM entries {where} {_NEWEST}", values)  # noqa: S608 - constants
    found = []
    for id, shelf, pack, unix_seconds, keys, data, is_held in rows:
        try:
            told = _keys_decoder.decode(keys)
        except (msgspec.MsgspecError, TypeError):
            continue  # damaged: the others are not
        if isinstance(data, bytes):
            found.append(
                StoredEntry(id, shelf, pack, unix_seconds, told, data, is_held=bool(is_held))
            )
    return found


def _excess(counts: Mapping[str, int], bound: int) -> dict[str, int]:
    """How many each group loses. ``counts``: the one heard of longest ago first, which also loses
    first where several have as many.
    """
    excess = max(0, sum(counts.values()) - bound)
    left = dict(counts)
    while excess:
        fullest = max(left, key=lambda each: left[each])
        second = max((count for pack, count in left.items() if pack != fullest), default=0)
        cut = min(excess, max(1, left[fullest] - second))
        left[fullest] -= cut
        excess -= cut
    return {pack: counts[pack] - count for pack, count in left.items() if count < counts[pack]}


def _check(db: sqlite3.Connection, path: Path) -> None:
    db.execute("BEGIN")  # one look at all of it
    application: Any = db.execute("PRAGMA application_id").fetchone()[0]
    version: Any = db.execute("PRAGMA user_version").fetchone()[0]
    has_tables = _has_tables(db)
    db.execute("COMMIT")
    if application not in (0, APPLICATION_ID) or (application == 0 and has_tables):
        raise TimelineRefused(f"{path} is a database of another program: move it away")
    if version > SCHEMA_VERSION:
        raise TimelineRefused(
            f"{path} was written by a newer version of rpcproxy (its schema is {version}, this"
            f" version knows {SCHEMA_VERSION}): update, or move it away"
        )


def _has_tables(db: sqlite3.Connection) -> bool:
    return bool(db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


def _text(value: str) -> str:
    """Without what no UTF-8 is: half a character of a peer's is to cost nobody else anything."""
    return value.encode("utf-8", "replace").decode()
