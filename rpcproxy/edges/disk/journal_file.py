"""The journal's file (SQLite), as its one thread sees it.

One process at a time writes a file (``JournalPlace`` holds its lock); others may read.

State: one ``JournalFile`` per connection, used by one thread.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

from rpcproxy.edges.disk.disk_file import connect
from rpcproxy.edges.disk.file_lock import (
    beside,
    is_same_file,
    make_directory,
    make_file,
    sync_directory,
)
from rpcproxy.edges.disk.journal_row import (
    COLUMNS,
    JournalRow,
    RowChange,
    Values,
    damaged,
    flat,
    insert_sql,
    pieces,
    row_of,
    update_sql,
)
from rpcproxy.edges.disk.journal_schema import (
    CLOSED,
    GIVEN_UP,
    USUAL,
    WHAT_TO_DO,
    JournalRefused,
    JournalSettings,
    check,
    migrate,
)

# Closed rows are kept so long after the last word about them.
CLOSED_SECONDS: Final = 7 * 86_400
# Of private ones that were given up, so much is told: hashes, and how their bytes begin.
MOST_SECRETS: Final = 20_000
SECRET_BYTES: Final = 128
# A row from further in the future was written by a clock that has been put right since.
AHEAD_SECONDS: Final = 86_400
# Checked page by page at opening up to that size; larger ones show their damage when it is met.
CHECKED_BYTES: Final = 64 * 1024 * 1024

PAGE_BYTES: Final = 4096
_DELETED_AT_ONCE: Final = 256
_VACUUMED_PAGES: Final = 256
# Of one row alone: the others of its group need not fail with it.
_OF_A_ROW: Final = (sqlite3.IntegrityError, sqlite3.DataError)

T = TypeVar("T")


class JournalFile:
    """One connection to the file. Every method may raise ``sqlite3.Error``.

    Opening makes the directory and the file where missing, and raises ``JournalRefused`` and
    ``OSError``. ``open_rows`` were open then, in the order of their creation; ``secrets`` are the
    private ones that no block took, the newest first, each with the beginning of its bytes.
    ``fault`` is called with "before commit" and "after commit", so that tests can crash there.
    """

    def __init__(
        self,
        path: Path,
        identity: str,
        settings: JournalSettings = USUAL,
        fault: Callable[[str], None] | None = None,
    ) -> None:
        self._path = path
        self._settings = settings
        self._identity = identity
        self._fault = fault
        # After a commit that failed, the log may still hold it, and a later opening would find
        # rows beyond the last one known to be committed: they are deleted first thing.
        self._last_seq = 0
        self._may_have_ghosts = False
        self._logged_bytes = 0
        make_directory(path.parent)
        make_file(path)
        self._db = connect(path, settings.busy_seconds)
        try:
            self._prepare()
            self._found = path.stat()
            self._found_log = beside(path, "-wal").stat()
            sync_directory(path.parent)
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        db, migrations = self._db, self._settings.migrations
        version = check(db, self._path, self._identity, migrations)
        if not version:
            # Before the first table: dropped rows are to give their room back.
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        for pragma in (
            "synchronous = FULL",
            # Where the system's own sync leaves data in the disk's cache (macOS).
            "fullfsync = ON",
            "cell_size_check = ON",
            # ``tidy`` does it when nobody waits; this is for a group far too large.
            f"wal_autocheckpoint = {8 * self._settings.wal_bytes // PAGE_BYTES}",
            f"journal_size_limit = {self._settings.wal_bytes}",
        ):
            db.execute(f"PRAGMA {pragma}").fetchall()
        if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise JournalRefused(
                f"{self._path} is on a file system without shared memory: {WHAT_TO_DO}"
            )
        # Nothing is written to a file that is as it should be: it may turn out to be damaged.
        if version < len(migrations):
            with self._transaction():
                migrate(db, migrations)
                about = ("identity", self._identity)
                db.execute("INSERT INTO about VALUES (?, ?) ON CONFLICT DO NOTHING", about)
        if self._path.stat().st_size <= CHECKED_BYTES:
            words = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if words != "ok":
                raise damaged(words)
        self._last_seq = db.execute("SELECT ifnull(max(seq), 0) FROM transactions").fetchone()[0]
        found = db.execute(f"SELECT {COLUMNS} FROM transactions WHERE NOT {CLOSED} ORDER BY seq")  # noqa: S608 - constants
        self.open_rows = [row_of(values) for values in found]
        secrets = db.execute(
            f"SELECT hash, substr(raw, 1, ?) FROM transactions WHERE {GIVEN_UP}"  # noqa: S608 - constants
            " ORDER BY seq DESC LIMIT ?",
            (SECRET_BYTES, MOST_SECRETS),
        )
        self.secrets = [(str(hash), bytes(raw)) for hash, raw in secrets]

    # ---- writing

    def write(self, rows: Sequence[Values], changes: Sequence[RowChange]) -> dict[int, str]:
        """Write all in one commit, durable on return. A row whose hash is there changes nothing
        (but what was refused or has expired begins anew), nor does a change of a hash that is not.

        Returns what was wrong with single rows, by their place; where an error is raised, nothing
        was written.
        """
        wrong: dict[int, str] = {}
        try:
            with self._committing() as insert:
                insert(rows)
                self._update(changes)
        except _OF_A_ROW:
            with self._committing() as insert:
                for place, values in enumerate(rows):
                    try:
                        insert([values])
                    except _OF_A_ROW as error:
                        wrong[place] = f"it cannot be journaled ({error})"
                for change in changes:
                    with contextlib.suppress(*_OF_A_ROW):
                        self._update([change])
        size = sum(len(values[1]) for values in rows)
        self._logged_bytes += size + 2 * PAGE_BYTES * (1 + len(rows) + len(changes))
        return wrong

    @contextlib.contextmanager
    def _committing(self) -> Iterator[Callable[[Sequence[Values]], None]]:
        last_seq = self._last_seq

        def insert(rows: Sequence[Values]) -> None:
            nonlocal last_seq
            for some in pieces(rows):
                cursor = self._db.execute(insert_sql(len(some)), flat(some))
                if cursor.rowcount:
                    # Not lastrowid: of a row that began anew it says nothing.
                    last_seq = self._db.execute("SELECT max(seq) FROM transactions").fetchone()[0]

        with self._transaction():
            yield insert
            if self._fault is not None:
                self._fault("before commit")
        self._last_seq = last_seq
        if self._fault is not None:
            self._fault("after commit")

    def _update(self, changes: Sequence[RowChange]) -> None:
        for some in pieces(changes):
            self._db.execute(update_sql(len(some)), flat(some))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        is_committing = False
        try:
            if self._may_have_ghosts:
                self._db.execute("DELETE FROM transactions WHERE seq > ?", (self._last_seq,))
            yield
            is_committing = True
            self._db.execute("COMMIT")
        except BaseException:
            self._may_have_ghosts = self._may_have_ghosts or is_committing
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise
        self._may_have_ghosts = False

    # ---- reading

    def find(self, hash: str) -> JournalRow | None:
        found = self._db.execute(
            f"SELECT {COLUMNS} FROM transactions WHERE hash = ?",  # noqa: S608 - constants
            (hash,),
        ).fetchone()
        return None if found is None else row_of(found)

    def find_raw(self, raw: bytes) -> JournalRow | None:
        """Of those whose lane is not known."""
        found = self._db.execute(
            f"SELECT {COLUMNS} FROM transactions WHERE lane = '' AND raw = ?",  # noqa: S608 - constants
            (raw,),
        ).fetchone()
        return None if found is None else row_of(found)

    def all_values(self) -> Iterator[Values]:
        """Of all rows committed, in the order of their creation."""
        return self._db.execute(
            f"SELECT {COLUMNS} FROM transactions WHERE seq <= ? ORDER BY seq",  # noqa: S608 - constants
            (self._last_seq,),
        )

    # ---- upkeep

    def tidy(self) -> None:
        """Move the log into the file once it is long."""
        if self._logged_bytes >= self._settings.wal_bytes:
            self._logged_bytes = 0
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def sweep(self, now: float) -> bool:
        """Drop some of the closed rows that are due, and give room back; whether there is more.
        ``now`` in Unix seconds.
        """
        with self._transaction():
            self._db.execute(
                f"UPDATE transactions SET updated = ? WHERE {CLOSED} AND updated > ?",  # noqa: S608 - constants
                (now, now + AHEAD_SECONDS),
            )
            due = self._db.execute(
                f"SELECT seq FROM transactions WHERE {CLOSED} AND updated < ?"  # noqa: S608 - constants
                " ORDER BY updated LIMIT ?",
                (now - CLOSED_SECONDS, _DELETED_AT_ONCE),
            ).fetchall()
            if not due:
                due = self._db.execute(
                    f"SELECT seq FROM transactions WHERE {CLOSED}"  # noqa: S608 - constants
                    " ORDER BY updated DESC LIMIT ? OFFSET ?",
                    (_DELETED_AT_ONCE, self._settings.closed_rows),
                ).fetchall()
            self._db.executemany("DELETE FROM transactions WHERE seq = ?", due)
        free_pages = self._pragma("freelist_count")
        if free_pages >= _VACUUMED_PAGES or not due:
            # Not execute(): of a pragma that gives no columns it makes one step, a page.
            self._db.executescript(f"PRAGMA incremental_vacuum({_VACUUMED_PAGES})")
        self._logged_bytes += 2 * PAGE_BYTES * (len(due) + min(free_pages, _VACUUMED_PAGES))
        return bool(due) or free_pages > _VACUUMED_PAGES

    def _pragma(self, name: str) -> int:
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])

    def size_bytes(self) -> int:
        """Of the file and its log. Raises ``OSError``."""
        return self._path.stat().st_size + beside(self._path, "-wal").stat().st_size

    def is_in_place(self) -> bool:
        """Neither the file nor its log was removed or replaced: both could still be written, and
        all of it would be gone with the process.
        """
        log = beside(self._path, "-wal")
        return is_same_file(self._path, self._found) and is_same_file(log, self._found_log)

    def close(self) -> None:
        try:
            if self._may_have_ghosts:
                self.write([], [])
        finally:
            self._db.close()
