"""Statements of a journal's file that write several rows at once. Pure."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

from rpcproxy.edges.disk.journal_row import COLUMNS, Values

# Rows per statement, the largest that fits first: each statement gives up the interpreter's lock
# once, which a busy event loop may take some milliseconds to hand back.
_AT_ONCE: Final = (256, 32, 4, 1)

T = TypeVar("T")


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
