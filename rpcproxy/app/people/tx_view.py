"""What people are told of transactions: by ``rpcproxy tx``, from the journals on disk, and by the
admin port, from the pool and the journal of a chain at work.

Rendering is pure: ``unix_seconds`` is now, by the wall clock. Reading changes nothing, and may go
on beside a running proxy. No state.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

from rpcproxy.app.storage.state_place import (
    JOURNALS,
    NO_HOME,
    StatePlace,
    expanded,
    places_in,
    shared_place,
    state_directory,
)
from rpcproxy.app.storage.transaction_journal import journal_path
from rpcproxy.config.model import Config
from rpcproxy.edges.disk.journal import JournalRefused, JournalRow, read_rows
from rpcproxy.edges.logs import utc
from rpcproxy.front.operators.admin_transactions import TransactionEntry
from rpcproxy.rules.sends.journaled import PoolEntry, TransactionState

SUFFIX: Final = ".sqlite"
FOUND, NOT_FOUND, TO_BE_MENDED = 0, 1, 2  # exit codes

MINUTE, HOUR, DAY = 60, 3600, 86_400
_MEANINGS: Final = {
    TransactionState.JOURNALED: "written down, and no upstream has taken it so far",
    TransactionState.SENT: "an upstream has taken it, and it waits for its block",
    TransactionState.RESTING: (
        "its wallet sent another one in its place: it is watched, and sent no more"
    ),
    TransactionState.MINED: "it is in a block that may still be replaced",
    TransactionState.FINAL: "its block is final",
    TransactionState.REPLACED: "another transaction has its nonce, for good",
    TransactionState.REFUSED: "the wallet was told no, and it is not sent",
    TransactionState.EXPIRED: "no block took it for too long: it is sent no more",
}
_COLUMNS: Final = ("state", "age", "chain", "hash", "sender", "nonce", "block")
_LONG: Final[tuple[Literal["hash", "sender"], ...]] = ("hash", "sender")
_ELSEWHERE: Final = (
    "a proxy that runs as a service or as another user may keep it elsewhere: "
    "give the place with --journal, or its configuration with -c"
)


class NoJournal(Exception):
    """There is nothing to read. Its text says why, and what to do."""


class ToldLines(NamedTuple):
    """Lines for the standard output, notes for the standard error, and the exit code."""

    lines: Sequence[str]
    notes: Sequence[str]
    code: int


class ChainJournal(NamedTuple):
    """A chain's journal, and where it is; ``owner`` is whose, in words, where that is known."""

    chain: str
    path: Path
    owner: str = ""


# --------------------------------------------------------------------------
# Entries


def entry_of_row(chain: str, row: JournalRow, unix_seconds: float) -> TransactionEntry:
    """A row of the journal."""
    updated = utc(row.updated) if row.updated else None
    return {
        "hash": row.hash,
        "chain": chain,
        "state": row.state,
        "created": utc(row.created),
        "age_seconds": round(max(0.0, unix_seconds - row.created), 1),
        "updated": updated,
        "sender": row.lane or None,
        "nonce": row.order if row.order >= 0 else None,
        "block": row.block if row.block >= 0 else None,
        "private": row.is_private,
        "size_bytes": len(row.raw),
        "upstreams": dict(row.said),
    }


def entry_of_pool(chain: str, entry: PoolEntry, unix_seconds: float) -> TransactionEntry:
    """An entry of the pool, which does not say when it changed."""
    row = JournalRow(
        entry.hash,
        entry.raw,
        entry.lane,
        entry.order,
        entry.created_unix,
        entry.state.value,
        entry.block,
        entry.is_private,
        entry.said,
    )
    return entry_of_row(chain, row, unix_seconds)


# --------------------------------------------------------------------------
# In words


def age_words(seconds: float) -> str:
    """How long ago, in the two largest units at most."""
    whole = max(0, int(seconds))
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min"
    if whole < DAY:
        minutes = whole % HOUR // MINUTE
        return f"{whole // HOUR} h" + (f" {minutes} min" if minutes else "")
    days = whole // DAY
    return f"{days} day" + ("s" if days > 1 else "")


def table(entries: Sequence[TransactionEntry], columns: int | None = None) -> list[str]:
    """One line for each, below a head; none where there are none. Where that is wider than so many
    ``columns``, a transaction's hash and sender stand below its line.
    """
    if not entries:
        return []
    lines = _lines(entries, range(len(_COLUMNS)))
    if columns is None or max(map(len, lines)) <= columns:
        return lines
    head, *lines = _lines(entries, [_COLUMNS.index(name) for name in _COLUMNS if name not in _LONG])
    told = [head]
    for line, entry in zip(lines, entries, strict=True):
        told.append(line)
        told += [plain(f"  {name:<8}{_or_unknown(entry[name])}") for name in _LONG]
    return told


def _lines(entries: Sequence[TransactionEntry], shown: Sequence[int]) -> list[str]:
    cells = [
        (
            entry["state"],
            age_words(entry["age_seconds"]),
            entry["chain"],
            entry["hash"],
            _or_unknown(entry["sender"]),
            _or_unknown(entry["nonce"]),
            "-" if entry["block"] is None else str(entry["block"]),
        )
        for entry in entries
    ]
    rows = [
        tuple(row[column] for column in shown)
        for row in (_COLUMNS, *(tuple(map(plain, row)) for row in cells))
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def details(entry: TransactionEntry) -> list[str]:
    """Everything known of one."""
    block = "none yet" if entry["block"] is None else str(entry["block"])
    said = [f"{name or 'one of them'}: {words}" for name, words in entry["upstreams"].items()]
    facts = [
        ("transaction", entry["hash"]),
        ("chain", entry["chain"]),
        ("state", f"{entry['state']}: {_MEANINGS[TransactionState(entry['state'])]}"),
        ("arrived", f"{entry['created']}, {age_words(entry['age_seconds'])} ago"),
        ("last news", entry["updated"] or "none"),
        ("sender", _or_unknown(entry["sender"])),
        ("nonce", _or_unknown(entry["nonce"])),
        ("block", block),
        ("private", "yes" if entry["private"] else "no"),
        ("size", f"{entry['size_bytes']} bytes"),
    ]
    names = ["upstreams said", *[""] * (len(said) - 1)]
    facts += zip(names, said or ["nothing so far"], strict=True)
    return [plain(f"{name:<16}{fact}") for name, fact in facts]


def json_line(entry: TransactionEntry) -> str:
    """ASCII alone, whatever a file is called."""
    return json.dumps(entry)


def plain(text: str) -> str:
    """Nothing that a terminal would take for an order, or could not show."""
    return text if text.isascii() and text.isprintable() else ascii(text)[1:-1]


def _or_unknown(value: object) -> str:
    return "unknown" if value is None else str(value)


# --------------------------------------------------------------------------
# Where journals are


def places_of(
    *, config: Config | None = None, path: str | None = None, chain: str | None = None
) -> list[ChainJournal]:
    """The journals of a configuration, else those at ``path`` (a file, or a directory of them),
    else those of all configurations of this user; of one ``chain`` only where it is named. Raises
    ``NoJournal``.
    """
    if config is not None:
        return _places_configured(config, chain)
    directory, why = (state_directory(), NO_HOME) if path is None else expanded(path)
    if directory is None:
        raise NoJournal(f"the journal: {why}")
    hint = f"; {_ELSEWHERE}" if path is None else ""
    try:
        places = _places_of_user(directory) if path is None else _places_at(directory)
    except OSError as error:
        raise NoJournal(f"{directory} cannot be read: {error.strerror}{hint}") from None
    if not places:
        where = str(directory)
        if path is None:
            where = f"{directory / JOURNALS}, nor of any configuration in {directory}"
        raise NoJournal(f"there is no journal at {where}{hint}")
    chosen = [place for place in places if chain in (None, place.chain)]
    if not chosen:
        names = ", ".join(place.chain for place in places)
        raise NoJournal(f"there is no journal of chain {chain!r} at {directory}, but of {names}")
    return chosen


def _places_configured(config: Config, chain: str | None) -> list[ChainJournal]:
    chosen = [each for each in config.chains if chain in (None, each.name)]
    if not chosen:
        names = ", ".join(each.name for each in config.chains)
        raise NoJournal(f"the configuration has no chain {chain!r}, but {names}")
    journals = [(each.name, each.journal or config.server.journal) for each in chosen]
    place = StatePlace.of(config)
    places = []
    for name, journal in journals:
        path, why = journal_path(name, journal, place) if journal.is_on else (None, "")
        if why:
            raise NoJournal(f"the journal: {why}")
        if path is not None and not path.exists() and journal.path is None and place.base:
            shared = place.base / JOURNALS / path.name
            path = shared if shared.exists() else path  # until the next start of the proxy
        if path is not None:
            places.append(ChainJournal(name, path))
    if not places:
        names = ", ".join(name for name, _ in journals)
        raise NoJournal(f"the journal is off for {names}: no transaction is written down")
    return places


def _places_of_user(state: Path) -> list[ChainJournal]:
    """Of all configurations, with their owners where there is more than one."""
    found = []
    for place in (shared_place(state), *places_in(state)):
        directory = place.journal_directory
        if directory is not None and directory.is_dir():
            found += [each._replace(owner=place.owner.words) for each in _places_at(directory)]
    has_several = len({each.owner for each in found}) > 1
    return found if has_several else [each._replace(owner="") for each in found]


def _places_at(path: Path) -> list[ChainJournal]:
    if path.is_dir():
        files = [file for file in path.iterdir() if file.name.endswith(SUFFIX) and file.is_file()]
        return sorted(ChainJournal(file.name.removesuffix(SUFFIX), file) for file in files)
    # One that was set aside is called CHAIN.sqlite.damaged-….
    return [ChainJournal(path.name.partition(SUFFIX)[0], path)] if path.is_file() else []


# --------------------------------------------------------------------------
# The commands


def list_transactions(
    places: Sequence[ChainJournal],
    unix_seconds: float,
    *,
    limit: int,
    is_pending: bool,
    is_json: bool,
    columns: int | None = None,
) -> ToldLines:
    """The newest ``limit`` of all places, the newest first; those that wait for their block only
    where ``is_pending``. ``columns``: how wide a table may be.
    """
    found, notes, code = _read(places, None)
    if is_pending:
        found = [(chain, row) for chain, row in found if TransactionState(row.state).is_pending]
    newest = heapq.nlargest(limit, found, key=lambda pair: pair[1].created)
    entries = [entry_of_row(chain, row, unix_seconds) for chain, row in newest]
    if len(found) > limit:
        notes.append(f"the newest {limit} of {len(found)}: --limit N shows more")
    if not found and not code:
        notes.append("no pending transactions" if is_pending else "no transactions")
    return ToldLines(
        [json_line(each) for each in entries] if is_json else table(entries, columns), notes, code
    )


def show_transaction(
    places: Sequence[ChainJournal], hash: str, unix_seconds: float, *, is_json: bool
) -> ToldLines:
    """Everything known of one, of each chain that has it. ``hash`` in lower case."""
    found, notes, code = _read(places, hash)
    entries = [entry_of_row(chain, row, unix_seconds) for chain, row in found]
    if not entries:
        names = ", ".join(place.chain for place in places)
        notes.append(f"transaction {hash} is not in the journal of {names}")
        return ToldLines([], notes, code or NOT_FOUND)
    if is_json:
        return ToldLines([json_line(entry) for entry in entries], notes, FOUND)
    return ToldLines(list(_separated(map(details, entries))), notes, FOUND)


def _read(
    places: Sequence[ChainJournal], hash: str | None
) -> tuple[list[tuple[str, JournalRow]], list[str], int]:
    """Rows with their chains; what could not be read, in words; and the exit code for it. A
    journal that is not there is a chain that was not served so far, unless it is the only one.
    """
    found: list[tuple[str, JournalRow]] = []
    notes: list[str] = []
    missing = 0
    code = FOUND
    for place in places:
        try:
            if not place.path.exists():
                missing += 1
                notes.append(f"there is no journal of {place.chain} at {place.path}")
                continue
            rows = read_rows(place.path, hash)
            found += [(place.chain, row) for row in rows]
            if place.owner and rows:
                notes.append(f"{place.chain}: {len(rows)} of {place.owner}, in {place.path}")
        except (JournalRefused, OSError) as error:
            notes.append(str(error))
            code = TO_BE_MENDED
    if missing == len(places):
        notes.append(_ELSEWHERE)
        code = TO_BE_MENDED
    return found, [plain(note) for note in notes], code


def _separated(blocks: Iterable[Sequence[str]]) -> Iterator[str]:
    for position, block in enumerate(blocks):
        if position:
            yield ""
        yield from block
