"""A journal's file opened, whatever state it is in, and read beside the process that writes it.

A damaged file is set aside under another name, never deleted, after what is sound of it was
written to a new one. The new one takes the old one's place in steps of which each can be the last
before a crash: ``.part`` is being written, ``.new`` is complete and on the disk.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import sqlite3
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from rpcproxy.edges.disk.disk_file import FileTrouble, connect_read_only, set_aside, trouble
from rpcproxy.edges.disk.file_lock import beside, sync_directory
from rpcproxy.edges.disk.journal_file import PAGE_BYTES, JournalFile
from rpcproxy.edges.disk.journal_row import COLUMNS, JournalRow, Values, row_of
from rpcproxy.edges.disk.journal_schema import (
    USUAL,
    JournalRefused,
    JournalSettings,
    Migrations,
    check,
    migrate,
    words_of,
)

_CARRIED_AT_ONCE: Final = 1024
_LAST_SEQ: Final = (1 << 63) - 1
_SUFFIXES: Final = ("", "-wal", "-shm")
# By their place: in a file of an older version some columns have other names.
_SPAN: Final = "SELECT * FROM transactions WHERE seq BETWEEN ? AND ? ORDER BY seq"


def open_journal(
    path: Path,
    identity: str,
    settings: JournalSettings = USUAL,
    fault: Callable[[str], None] | None = None,
) -> tuple[JournalFile, Path | None]:
    """The file, and under which name a damaged one was set aside. ``fault`` is for the file.

    Raises ``JournalRefused``, ``sqlite3.Error`` and ``OSError``.
    """
    aside = _finish(path)
    try:
        return JournalFile(path, identity, settings, fault), aside
    except sqlite3.Error as error:
        if trouble(error) is not FileTrouble.DAMAGED:
            raise
    aside = renew(path, identity, settings)
    return JournalFile(path, identity, settings, fault), aside


def renew(path: Path, identity: str, settings: JournalSettings) -> Path | None:
    """Set a damaged file aside, under the name returned, and put what is sound of it in its
    place. Nobody may have it open. Raises ``sqlite3.Error`` and ``OSError``.
    """
    part = beside(path, ".part")
    _remove(part)
    fresh = JournalFile(part, identity, settings)
    fresh.close()  # complete, without a log: its first page is what any journal begins with
    rows = list(salvaged(path, part, settings.most_failed_reads))
    fresh = JournalFile(part, identity, settings)
    try:
        for start in range(0, len(rows), _CARRIED_AT_ONCE):
            fresh.write(rows[start : start + _CARRIED_AT_ONCE], [])
    finally:
        fresh.close()
    if beside(part, "-wal").exists():
        raise OSError(errno.EIO, "what is sound of the journal could not be written anew", part)
    part.rename(beside(path, ".new"))
    sync_directory(path.parent)
    return _finish(path)


def _finish(path: Path) -> Path | None:
    new = beside(path, ".new")
    if not new.exists():
        return None
    aside = set_aside(path) if path.exists() else None
    new.rename(path)
    sync_directory(path.parent)
    return aside


def _remove(path: Path) -> None:
    for suffix in _SUFFIXES:
        beside(path, suffix).unlink(missing_ok=True)


# --------------------------------------------------------------------------
# What is sound of a damaged file


def salvaged(path: Path, sample: Path, most_failed_reads: int) -> Iterator[Values]:
    """Rows of a damaged file, in the order of their creation. ``sample`` is an empty journal."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(connect_read_only(path)) as db:
        db.execute("SELECT seq FROM transactions LIMIT 0")
        yield from _sound_values(db, most_failed_reads)
        return
    # The first page is gone, which says where everything else is: lend it another one's.
    copy = beside(path, ".copy")
    try:
        for suffix in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(beside(path, suffix), beside(copy, suffix))
        _lend_first_page(copy, sample)
        with contextlib.suppress(sqlite3.Error), contextlib.closing(connect_read_only(copy)) as db:
            yield from _sound_values(db, most_failed_reads)
    finally:
        _remove(copy)


def _lend_first_page(path: Path, sample: Path) -> None:
    page = bytearray(sample.read_bytes()[:PAGE_BYTES])
    # SQLite's file format, 1.3: the file's size in pages, and an empty list of free pages.
    page[28:40] = struct.pack(">III", path.stat().st_size // PAGE_BYTES, 0, 0)
    with path.open("r+b") as file:
        file.write(page)


def _sound_values(db: sqlite3.Connection, most_failed_reads: int) -> Iterator[Values]:
    """Halves the span of rows wherever reading fails, until what is damaged is narrowed down."""
    spans = [(1, _LAST_SEQ)]
    failed = 0
    while spans and failed < most_failed_reads:
        low, high = spans.pop()
        try:
            for seq, *values in db.execute(_SPAN, (low, high)):
                low = seq + 1
                with contextlib.suppress(sqlite3.DatabaseError):
                    row_of(tuple(values))
                    yield tuple(values)
        except sqlite3.Error:
            failed += 1
            if low < high:
                middle = (low + high) // 2
                spans += [(middle + 1, high), (low, middle)]


# --------------------------------------------------------------------------
# For the command line


def read_rows(
    path: str | Path, hash: str | None = None, settings: JournalSettings = USUAL
) -> list[JournalRow]:
    """The rows of a journal, or the one of ``hash``, the newest first; a process may be writing
    it, and nothing is changed. Rows that are damaged are left out.

    Raises ``JournalRefused`` where there is no journal that can be read.
    """
    path = Path(path)
    if not path.is_file():
        raise JournalRefused(f"there is no journal at {path}")
    try:
        return [
            row for values in _values(path, hash, settings) if (row := _row(values)) is not None
        ]
    except (sqlite3.Error, OSError) as error:
        raise JournalRefused(f"{path} cannot be read: {words_of(error)}") from error


def _values(path: Path, hash: str | None, settings: JournalSettings) -> list[Values]:
    while True:
        has_log = beside(path, "-wal").exists()
        try:
            with contextlib.closing(connect_read_only(path)) as db:
                found = _select(db, path, hash, settings.migrations)
        except sqlite3.Error:
            if has_log == beside(path, "-wal").exists():
                raise
        # One that was opened or closed meanwhile may have been read half.
        if has_log == beside(path, "-wal").exists():
            return found


def _select(
    db: sqlite3.Connection, path: Path, hash: str | None, migrations: Migrations
) -> list[Values]:
    version = check(db, path, None, migrations)
    if not version:
        return []
    if version == len(migrations):
        return _newest(db, hash)
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
        db.backup(copy)
        migrate(copy, migrations)
        return _newest(copy, hash)


def _newest(db: sqlite3.Connection, hash: str | None) -> list[Values]:
    every = f"SELECT {COLUMNS} FROM transactions"  # noqa: S608 - constants
    if hash is None:
        return db.execute(f"{every} ORDER BY seq DESC").fetchall()
    return db.execute(f"{every} WHERE hash = ?", (hash,)).fetchall()


def _row(values: Values) -> JournalRow | None:
    try:
        return row_of(values)
    except sqlite3.DatabaseError:
        return None
