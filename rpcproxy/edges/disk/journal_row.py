"""One row of the journal, as it is kept: its columns, its changes, and how many are written.

A row carries a checksum of what never changes about it, for SQLite does not notice a damaged byte
inside a value.
"""

from __future__ import annotations

import functools
import math
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

STATES: Final = (
    *("journaled", "sent", "resting", "mined", "final", "replaced", "refused", "expired"),
)
CLOSED_STATES: Final = ("final", "replaced", "refused", "expired")
# Of what one upstream said, that much is kept.
SAID_CHARACTERS: Final = 500
COLUMNS: Final = (
    "hash, raw, lane, lane_order, created, is_private, checksum, state, block, said, updated"
)

Values = tuple[Any, ...]

# Rows per statement, the largest that fits first: each statement gives up the interpreter's lock
# once, which a busy event loop may take some milliseconds to hand back.
_AT_ONCE: Final = (256, 32, 4, 1)

T = TypeVar("T")

_said_decoder = msgspec.json.Decoder(dict[str, str])


class JournalRow(msgspec.Struct):
    """One transaction. ``created`` and ``updated`` are Unix seconds; ``order`` and ``block`` are
    -1 where unknown; ``state`` is one of ``STATES``; ``said`` is what each upstream said last.
    A row written with ``updated`` 0 is as old as its creation.
    """

    hash: str
    raw: bytes
    lane: str
    order: int
    created: float
    state: str
    block: int = -1
    is_private: bool = False
    said: dict[str, str] = {}
    updated: float = 0.0


class RowChange(NamedTuple):
    """What is new about a row: its columns as they are written, ``updated`` in Unix seconds."""

    hash: str
    state: str
    block: str
    said: str
    updated: float

    @classmethod
    def of(
        cls, hash: str, state: str, block: int, said: dict[str, str], updated: float
    ) -> RowChange:
        """Raises ``ValueError`` for a state or a time that is none."""
        if state not in STATES:
            raise ValueError(f"{state!r} is no state of a transaction")
        if not math.isfinite(updated):
            raise ValueError("a transaction's time must be finite")
        text = msgspec.json.encode(
            {_clean(name): _clean(words[:SAID_CHARACTERS]) for name, words in said.items()}
        )
        return cls(hash, state, str(int(block)), text.decode(), float(updated))

    def applied_to(self, row: JournalRow) -> JournalRow:
        return msgspec.structs.replace(
            row,
            state=self.state,
            block=int(self.block),
            said=_said_decoder.decode(self.said),
            updated=self.updated,
        )


def values_of(row: JournalRow) -> Values:
    """The row's columns. Raises ``ValueError`` for one that could not be written or read back."""
    if not row.hash or not isinstance(row.raw, bytes):
        raise ValueError("a transaction without hash or bytes cannot be journaled")
    if not math.isfinite(row.created):
        raise ValueError("a transaction's time must be finite")
    fixed = (
        *(_clean(row.hash), row.raw, _clean(row.lane), str(int(row.order))),
        *(float(row.created), int(row.is_private)),
    )
    updated = row.updated or row.created
    changing = RowChange.of(row.hash, row.state, row.block, row.said, updated)
    return (*fixed, _checksum(fixed), *changing[1:])


def row_of(values: Values) -> JournalRow:
    """Raises ``sqlite3.DatabaseError`` where they are damaged."""
    *fixed, checksum, state, block, said, updated = values
    try:
        if _checksum(fixed) == checksum and state in STATES:
            hash, raw, lane, order, created, is_private = fixed
            changing = (state, int(block), bool(is_private), _said_decoder.decode(said))
            return JournalRow(
                hash, raw, lane, int(order), created, *changing, updated=float(updated)
            )
    except (TypeError, ValueError, msgspec.MsgspecError):  # a column of another type
        pass
    raise damaged(f"the row of transaction {str(fixed[0])[:66]!r} is damaged")


def damaged(words: str) -> sqlite3.DatabaseError:
    """An error as SQLite raises it for a damaged file."""
    error = sqlite3.DatabaseError(words)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _checksum(fixed: tuple[Any, ...] | list[Any]) -> int:
    hash, raw, *rest = fixed
    return zlib.crc32(raw, zlib.crc32(repr((hash, *rest)).encode()))


def _clean(text: str) -> str:
    """Without lone surrogates, which cannot be written."""
    return text.encode(errors="replace").decode()


# --------------------------------------------------------------------------
# Statements that write several rows at once


@functools.cache
def insert_sql(count: int) -> str:
    """Write so many rows; one whose hash is there changes nothing, unless it was closed."""
    row = "({})".format(", ".join("?" * (COLUMNS.count(",") + 1)))
    rows = ", ".join([row] * count)
    excluded = ", ".join(f"excluded.{name}" for name in COLUMNS.split(", "))
    # Not OR IGNORE, which would pass over a row that breaks another rule.
    return (
        f"INSERT INTO transactions ({COLUMNS}) VALUES {rows} ON CONFLICT (hash) DO UPDATE"  # noqa: S608 - constants
        # It is as new as the others of its group: rows are in the order in which wallets sent.
        f" SET seq = (SELECT max(seq) + 1 FROM transactions), ({COLUMNS}) = ({excluded})"
        " WHERE transactions.state IN ('refused', 'expired')"
    )


@functools.cache
def update_sql(count: int) -> str:
    """Write so many changes; one of a hash that is not there changes nothing."""
    rows = ", ".join(["(?, ?, ?, ?, ?)"] * count)
    return (
        "UPDATE transactions SET state = new.column2, block = new.column3, said = new.column4,"  # noqa: S608 - constants
        f" updated = new.column5 FROM (VALUES {rows}) AS new WHERE hash = new.column1"
    )


def pieces(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """As many as one statement takes, again and again."""
    start = 0
    for size in _AT_ONCE:
        while len(items) - start >= size:
            yield items[start : start + size]
            start += size


def flat(rows: Sequence[Values]) -> list[Any]:
    """All values of all rows, one after the other."""
    return [value for row in rows for value in row]
