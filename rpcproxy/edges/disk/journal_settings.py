"""How much a journal keeps and holds, and how long it waits. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rpcproxy.edges.disk.disk_file import BUSY_SECONDS
from rpcproxy.edges.disk.journal_schema import MIGRATIONS, Migrations


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
