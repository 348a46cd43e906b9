"""How a journal's file is laid out, how much it keeps, whose it is, and what its errors mean in
words.
"""

from __future__ import annotations

import errno
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rpcproxy.edges.disk.disk_file import BUSY_SECONDS, FileTrouble, trouble
from rpcproxy.edges.disk.journal_row import CLOSED_STATES
from rpcproxy.reasons import Reason, Worded

# Marks a file as ours: "RPCJ" in ASCII.
APPLICATION_ID: Final = 0x5250434A
CLOSED: Final = "state IN ({})".format(", ".join(f"'{state}'" for state in CLOSED_STATES))
# Private ones that no block took: copies of them may still be in private pools.
GIVEN_UP: Final = "is_private = 1 AND state IN ('replaced', 'refused', 'expired')"
# Each brings a file to the next version. Numbers of the chain are text: a uint64 is more than an
# integer of SQLite's holds.
Migrations = tuple[tuple[str, ...], ...]
MIGRATIONS: Final[Migrations] = (
    (
        "CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
        """CREATE TABLE transactions (
            seq INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, raw BLOB NOT NULL,
            sender TEXT NOT NULL, nonce TEXT NOT NULL, created REAL NOT NULL,
            is_private INTEGER NOT NULL, checksum INTEGER NOT NULL, state TEXT NOT NULL,
            block TEXT NOT NULL, said TEXT NOT NULL, updated REAL NOT NULL)""",
        f"CREATE INDEX by_close ON transactions (updated) WHERE {CLOSED}",
        f"PRAGMA application_id = {APPLICATION_ID}",
    ),
    # Version 2: rows may be ``resting``, which older versions take for damaged. A transaction that
    # no sender is known of (a chain's own type) is found by its bytes, and those that are private
    # for good by that.
    (
        "CREATE INDEX by_raw ON transactions (raw) WHERE sender = ''",
        f"CREATE INDEX by_secret ON transactions (seq) WHERE {GIVEN_UP}",
    ),
    # Version 3: other kinds of chain have no senders and no nonces. Where a column stands, and what
    # it is in the checksum, stays.
    (
        "ALTER TABLE transactions RENAME COLUMN sender TO lane",
        "ALTER TABLE transactions RENAME COLUMN nonce TO lane_order",
    ),
)
WHAT_TO_DO: Final = "give this chain another path with `journal:`, or set `journal: off`"


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """``note_seconds``: what was noted is written at the latest after so long, and tried again as
    often while it fails; ``notes_held`` wait for a disk that fails, the oldest go first.
    ``close_seconds``: a disk that hangs must not keep the process from ending.
    ``most_set_aside``: a disk that damages one file after another is not to be filled with what
    was set aside. ``most_failed_reads`` in a damaged file, each page of which costs about two per
    row on it. ``closed_rows`` are kept at most, and a log of ``wal_bytes`` is moved into the file.
    ``migrations`` bring a file to the layout that is written.
    """

    note_seconds: float = 1.0
    notes_held: int = 100_000
    sweep_seconds: float = 600.0
    close_seconds: float = 10.0
    busy_seconds: float = BUSY_SECONDS
    most_set_aside: int = 3
    most_failed_reads: int = 20_000
    closed_rows: int = 500_000
    wal_bytes: int = 8 * 1024 * 1024
    migrations: Migrations = MIGRATIONS


USUAL: Final = JournalSettings()


class JournalRefused(Worded):
    """The file is not one we may use. Its text says what to do, for operators."""

    usual = "it cannot be used as it is"


class JournalInUse(JournalRefused):
    """Another process has it, and may be about to leave."""

    usual = "another process of this proxy has it"


def check(
    db: sqlite3.Connection, path: Path, identity: str | None, migrations: Migrations = MIGRATIONS
) -> int:
    """The version of a journal's schema, 0 where there is none yet; of any chain's where
    ``identity`` is ``None``. ``migrations`` are those known. Raises ``JournalRefused`` where it is
    not for us.
    """
    db.execute("BEGIN")  # one look at all of it
    application = _number(db, "PRAGMA application_id")
    version = _number(db, "PRAGMA user_version")
    has_tables = _number(db, "SELECT count(*) FROM sqlite_master") > 0
    written: str | None = None
    if application == APPLICATION_ID and 0 < version <= len(migrations):
        found = db.execute("SELECT value FROM about WHERE name = 'identity'").fetchone()
        written = found[0] if found else None
    db.execute("COMMIT")
    if application not in (0, APPLICATION_ID) or (application == 0 and has_tables):
        raise JournalRefused(
            f"{path} is a database of another program: {WHAT_TO_DO}",
            "in its place is a file of another program",
        )
    if version > len(migrations):
        raise JournalRefused(
            f"{path} was written by a newer version of rpcproxy (its schema is {version}, this"
            f" version knows {len(migrations)}): update, or {WHAT_TO_DO}",
            "it was written by a newer version of this proxy",
        )
    if None not in (identity, written) and identity != written:
        raise JournalRefused(
            f"{path} is the journal of {written}, not of {identity}: {WHAT_TO_DO}",
            "it is the one of another chain",
        )
    return version


def migrate(db: sqlite3.Connection, migrations: Migrations = MIGRATIONS) -> None:
    """To the last version's schema, from any older; inside the caller's transaction."""
    for statements in migrations[_number(db, "PRAGMA user_version") :]:
        for statement in statements:
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {len(migrations)}")


_TROUBLES: Final = {
    FileTrouble.BUSY: "another program holds the file locked",
    FileTrouble.DAMAGED: "the file is damaged",
    FileTrouble.UNWRITABLE: "the file cannot be written",
    FileTrouble.LOST: "the disk fails",
}
_NOT_PERMITTED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def words_of(error: sqlite3.Error | OSError | JournalRefused) -> str:
    """What is wrong, for operators."""
    if isinstance(error, JournalRefused):
        return str(error)
    if isinstance(error, OSError):
        return error.strerror or str(error)
    words = public_words_of(error)
    return words if _is_full(error) else f"{words} ({error})"


def public_words_of(error: Exception) -> str:
    """What is wrong, for wallets: whatever it was."""
    if isinstance(error, Worded):
        return error.public
    if isinstance(error, sqlite3.Error):
        return "the disk is full" if _is_full(error) else _TROUBLES[trouble(error)]
    if not isinstance(error, OSError):
        return "by a fault of our own"
    cause = error.__cause__
    if error.errno is None and isinstance(cause, (sqlite3.Error, OSError, JournalRefused)):
        return public_words_of(cause)
    if error.errno in _FULL:
        return "the disk is full"
    if error.errno in _NOT_PERMITTED:
        return "the file cannot be written: that is not permitted"
    return _TROUBLES[FileTrouble.LOST]


def reason_of(error: sqlite3.Error | OSError | JournalRefused) -> Reason:
    """What is wrong, for both."""
    return Reason(public_words_of(error), words_of(error))


def _is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL


def _number(db: sqlite3.Connection, query: str) -> int:
    return int(db.execute(query).fetchone()[0])
