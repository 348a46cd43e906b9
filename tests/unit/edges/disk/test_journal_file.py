"""The journal's file: rows, schema, whose it is, what is sound of a damaged one, and reading it."""

from __future__ import annotations

import fcntl
import math
import os
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from rpcproxy.edges.disk import disk_file, journal_file, journal_salvage, journal_schema
from rpcproxy.edges.disk.journal_file import JournalFile
from rpcproxy.edges.disk.journal_place import lock_journal
from rpcproxy.edges.disk.journal_row import (
    CLOSED_STATES,
    SAID_CHARACTERS,
    STATES,
    JournalRow,
    RowChange,
    row_of,
    values_of,
)
from rpcproxy.edges.disk.journal_salvage import open_journal, read_rows
from rpcproxy.edges.disk.journal_schema import USUAL, JournalRefused, JournalSettings, words_of

CHAIN = "evm:1"
GIVEN_UP = ("replaced", "refused", "expired")
NOW = 1_700_000_000.0
DAY = 86_400


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ethereum.sqlite"


def hash_of(n: int) -> str:
    return f"0x{n:064x}"


def row(n: int, *, state: str = "journaled", size: int = 100, updated: float = NOW) -> JournalRow:
    return JournalRow(
        hash=hash_of(n),
        raw=random.Random(n).randbytes(size),
        lane="0x" + "ab" * 20,
        order=n,
        created=NOW + n / 8,
        state=state,
        updated=updated,
    )


def written(path: Path, rows: list[JournalRow], changes: list[RowChange] | None = None) -> None:
    with closing(JournalFile(path, CHAIN)) as file:
        assert file.write([values_of(each) for each in rows], changes or []) == {}


def kept(path: Path, settings: JournalSettings = USUAL) -> list[JournalRow]:
    return read_rows(path, settings=settings)[::-1]


def other(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def beside(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.parent.iterdir()}


# --------------------------------------------------------------------------
# Rows


@settings(max_examples=60, deadline=None)
@given(
    st.builds(
        JournalRow,
        hash=st.text("0123456789abcdefx", min_size=1),
        raw=st.binary(max_size=200),
        lane=st.text("0123456789abcdefx"),
        order=st.integers(-1, (1 << 64) - 1),
        created=st.floats(0, 1e11),
        state=st.sampled_from(STATES),
        block=st.integers(-1, (1 << 64) - 1),
        is_private=st.booleans(),
        said=st.dictionaries(st.text(st.characters(codec="utf-8")), st.text("aé\0\n\u2028")),
        updated=st.floats(1, 1e11),
    )
)
def test_every_field_comes_back(
    tmp_path_factory: pytest.TempPathFactory, original: JournalRow
) -> None:
    path = tmp_path_factory.mktemp("row") / "j.sqlite"
    written(path, [original])
    assert read_rows(path, original.hash) == [original]


def test_a_row_never_updated_is_as_old_as_its_creation(path: Path) -> None:
    written(path, [row(8, updated=0.0)])
    assert kept(path) == [row(8, updated=NOW + 1)]


def test_what_upstreams_said_is_made_fit(path: Path) -> None:
    odd = row(1)
    odd.said = {"a\ud800": "lone \udfff", "b": "x" * 10_000}
    written(path, [odd])
    assert kept(path)[0].said == {"a?": "lone ?", "b": "x" * SAID_CHARACTERS}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("hash", ""), ("state", "lost"), ("created", math.nan), ("updated", math.inf)),
        ("raw", "0x00"),
    ],
)
def test_what_is_no_row_is_told_at_once(field: str, value: object) -> None:
    bad = row(1)
    setattr(bad, field, value)
    with pytest.raises(ValueError, match="transaction"):
        values_of(bad)


@pytest.mark.parametrize("place", range(11))
def test_a_damaged_column_never_passes(place: int) -> None:
    values = list(values_of(row(1)))
    for damage in (b"\x00", "{", None):
        values[place] = damage
        with pytest.raises(sqlite3.DatabaseError, match="damaged") as caught:
            row_of(tuple(values))
        assert disk_file.trouble(caught.value) is disk_file.FileTrouble.DAMAGED


# --------------------------------------------------------------------------
# Writing


def test_files_are_for_nobody_elses_eyes(path: Path) -> None:
    deep = path.parent / "deep" / "er" / "j.sqlite"
    with closing(JournalFile(deep, CHAIN)) as file:
        file.write([values_of(row(1))], [])
        modes = {each.name: each.stat().st_mode & 0o777 for each in deep.parent.iterdir()}
        assert modes == dict.fromkeys(("j.sqlite", "j.sqlite-wal", "j.sqlite-shm"), 0o600)
    assert deep.parent.stat().st_mode & 0o777 == 0o700
    assert deep.parent.parent.stat().st_mode & 0o777 == 0o700


def test_commits_are_synced_to_the_disk(path: Path) -> None:
    with closing(JournalFile(path, CHAIN)) as file:
        db = file._db
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert db.execute("PRAGMA auto_vacuum").fetchone() == (2,)


def test_a_hash_that_is_there_changes_nothing(path: Path) -> None:
    written(path, [row(1), row(2), row(1, state="sent")])
    written(path, [row(2, state="sent"), row(3)])
    assert kept(path) == [row(1), row(2), row(3)]


@pytest.mark.parametrize("count", [0, 1, 3, 4, 31, 37, 256, 700])
def test_rows_of_any_number_are_written_and_changed(path: Path, count: int) -> None:
    rows = [row(n) for n in range(count)]
    changes = [RowChange.of(hash_of(n), "mined", n, {"a": str(n)}, NOW + n) for n in range(count)]
    written(path, rows, [*changes, RowChange.of(hash_of(count), "sent", 1, {}, NOW)])
    found = kept(path)
    assert [each.hash for each in found] == [each.hash for each in rows]
    assert all(
        (each.state, each.block, each.said, each.updated) == ("mined", n, {"a": str(n)}, NOW + n)
        for n, each in enumerate(found)
    )
    assert found == [change.applied_to(each) for change, each in zip(changes, rows, strict=True)]


def test_open_rows_are_those_not_closed_in_their_order(path: Path) -> None:
    rows = [row(n, state=STATES[n % len(STATES)]) for n in range(40)]
    random.Random(1).shuffle(rows)
    written(path, rows)
    with closing(JournalFile(path, CHAIN)) as file:
        assert file.open_rows == [each for each in rows if each.state not in CLOSED_STATES]


def test_one_bad_row_does_not_fail_the_others(path: Path) -> None:
    with closing(JournalFile(path, CHAIN)) as file:
        with closing(other(path)) as db:
            db.execute(
                "CREATE TRIGGER picky BEFORE INSERT ON transactions WHEN new.lane_order = '2'"
                " BEGIN SELECT RAISE(ABORT, 'not this one'); END"
            )
            db.execute(
                "CREATE TRIGGER picky_too BEFORE UPDATE ON transactions WHEN new.block = '7'"
                " BEGIN SELECT RAISE(ABORT, 'nor this'); END"
            )
        changes = [RowChange.of(hash_of(n), "sent", 6 + n, {}, NOW) for n in (0, 1, 3)]
        wrong = file.write([values_of(row(n)) for n in range(4)], changes)
        assert wrong == {2: "it cannot be journaled (not this one)"}
        assert [file.find(hash_of(n)) is None for n in range(4)] == [False, False, True, False]
    assert [each.state for each in kept(path)] == ["sent", "journaled", "sent"]


class Broken(sqlite3.Connection):
    """A disk whose sync fails after the log was written: a later opening would find the commit."""

    is_failing = False

    def execute(self, sql: str, *arguments: object) -> sqlite3.Cursor:  # type: ignore[override]
        if sql == "COMMIT" and Broken.is_failing:
            super().execute(sql)
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            raise error
        return super().execute(sql, *arguments)  # type: ignore[arg-type]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def connect(path: Path, _: float) -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=0.02, isolation_level=None, factory=Broken)

    monkeypatch.setattr(journal_file, "connect", connect)
    yield
    Broken.is_failing = False


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("is_ended", [False, True])
def test_a_commit_that_failed_does_not_come_back(path: Path, is_ended: bool) -> None:
    written(path, [row(1)])
    with closing(JournalFile(path, CHAIN)) as file:
        Broken.is_failing = True
        with pytest.raises(sqlite3.OperationalError):
            file.write([values_of(row(n)) for n in (2, 3)], [])
        Broken.is_failing = False
        assert [values[0] for values in file.all_values()] == [hash_of(1)]
        if not is_ended:
            file.write([values_of(row(3))], [])
            file.write([values_of(row(4))], [])
    assert kept(path) == ([row(1)] if is_ended else [row(1), row(3), row(4)])


# --------------------------------------------------------------------------
# Upkeep


def swept(file: JournalFile, now: float) -> int:
    rounds = 1
    while file.sweep(now):
        rounds += 1
    return rounds


def test_closed_rows_go_after_a_week_and_give_room_back(path: Path) -> None:
    old, young = NOW - 8 * DAY, NOW - 6 * DAY
    with closing(JournalFile(path, CHAIN)) as file:
        rows = [
            row(n, state=STATES[n % len(STATES)], size=3000, updated=young if n % 50 == 3 else old)
            for n in range(1400)
        ]
        file.write([values_of(each) for each in rows], [])
        file._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        before = file.size_bytes()
        assert swept(file, NOW) > 3
        file._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        assert file.size_bytes() < before * 0.55
        assert file._pragma("freelist_count") == 0
        expected = [r for r in rows if r.state not in CLOSED_STATES or r.updated == young]
        assert [values[0] for values in file.all_values()] == [r.hash for r in expected]
        assert swept(file, NOW) == 1
        swept(file, NOW + 2 * DAY)
        left = {"journaled", "sent", "resting", "mined"}
        assert {row_of(v).state for v in file.all_values()} == left


def test_closed_rows_are_bounded_in_number(path: Path) -> None:
    rows = [row(n, state="refused" if n % 2 else "sent", updated=NOW + n) for n in range(600)]
    with closing(JournalFile(path, CHAIN, JournalSettings(closed_rows=10))) as file:
        file.write([values_of(each) for each in rows], [])
        swept(file, NOW + 600)
        left = [row_of(values) for values in file.all_values()]
    assert [each.order for each in left if each.state == "refused"] == list(range(581, 600, 2))
    assert sum(each.state == "sent" for each in left) == 300


def test_a_clock_that_jumped_back_keeps_nothing_for_ever(path: Path) -> None:
    rows = [row(1, state="final", updated=NOW + 900 * DAY), row(2, updated=NOW + 900 * DAY)]
    with closing(JournalFile(path, CHAIN)) as file:
        file.write([values_of(each) for each in rows], [])
        swept(file, NOW)
        assert file.find(hash_of(1)) is not None
        swept(file, NOW + 8 * DAY)
        assert file.find(hash_of(1)) is None
        assert file.find(hash_of(2)) == rows[1]


def test_the_log_is_bounded(path: Path) -> None:
    longest = 0
    with closing(JournalFile(path, CHAIN, JournalSettings(wal_bytes=256 * 1024))) as file:
        for n in range(300):
            file.write([values_of(row(n, size=8000))], [])
            file.tidy()
            longest = max(longest, Path(f"{path}-wal").stat().st_size)
        assert path.stat().st_size > 2_000_000
    assert longest < 600_000
    assert not Path(f"{path}-wal").exists()


# --------------------------------------------------------------------------
# Whose it is


def test_a_file_of_another_chain_is_refused_in_words(path: Path) -> None:
    written(path, [row(1)])
    before = path.read_bytes()
    with pytest.raises(JournalRefused, match=r"journal of evm:1, not of evm:10: give .*`journal:`"):
        open_journal(path, "evm:10")
    assert path.read_bytes() == before
    assert kept(path) == [row(1)]


def test_a_newer_versions_file_is_refused_in_words(path: Path) -> None:
    written(path, [row(1)])
    with closing(other(path)) as db:
        db.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(JournalRefused, match=r"newer version .*schema is 99.*: update, or give"):
        open_journal(path, CHAIN)
    with pytest.raises(JournalRefused, match="newer version"):
        read_rows(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("application", [0, 77])
def test_another_programs_database_is_refused_in_words(path: Path, application: int) -> None:
    path.parent.mkdir()
    with closing(other(path)) as db:
        db.execute("CREATE TABLE customers (name)")
        db.execute(f"PRAGMA application_id = {application}")
    before = path.read_bytes()
    for use in (lambda: open_journal(path, CHAIN), lambda: read_rows(path)):
        with pytest.raises(
            JournalRefused, match=r"database of another program: give .*journal: off"
        ):
            use()
    assert path.read_bytes() == before


def test_a_file_system_without_a_log_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoLog(sqlite3.Connection):
        def execute(self, sql: str, *arguments: object) -> sqlite3.Cursor:  # type: ignore[override]
            sql = sql.replace("= WAL", "= DELETE")
            return super().execute(sql, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(
        journal_file, "connect", lambda path, _: sqlite3.connect(path, factory=NoLog)
    )
    with pytest.raises(JournalRefused, match="file system without shared memory: give"):
        open_journal(path, CHAIN)


def test_one_process_holds_the_lock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = lock_journal(path)
    assert lock.is_in_place()
    with pytest.raises(
        JournalRefused, match=rf"in use by another rpcproxy \(process {os.getpid()}"
    ):
        lock_journal(path)
    lock.release()
    lock = lock_journal(path)
    Path(f"{path}.lock").unlink()
    assert not lock.is_in_place()
    lock.release()

    def no_locks(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(OSError, match="No locks available"):
        lock_journal(path)


# --------------------------------------------------------------------------
# An older schema

OLDER = (
    "CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE transactions (
        seq INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, raw BLOB NOT NULL,
        sender TEXT NOT NULL, nonce TEXT NOT NULL, created REAL NOT NULL,
        is_private INTEGER NOT NULL, checksum INTEGER NOT NULL, state TEXT NOT NULL)""",
    f"PRAGMA application_id = {journal_schema.APPLICATION_ID}",
)
TO_THIS = (
    "ALTER TABLE transactions ADD COLUMN block TEXT NOT NULL DEFAULT '-1'",
    "ALTER TABLE transactions ADD COLUMN said TEXT NOT NULL DEFAULT '{}'",
    "ALTER TABLE transactions ADD COLUMN updated REAL NOT NULL DEFAULT 0",
    f"CREATE INDEX by_close ON transactions (updated) WHERE {journal_schema.CLOSED}",
    *journal_schema.MIGRATIONS[2],
)
OF_TWO_VERSIONS = JournalSettings(migrations=(OLDER, TO_THIS))


@pytest.fixture
def older(path: Path) -> Path:
    """A file of a made-up older version; ``OF_TWO_VERSIONS`` know how to bring it up to date."""
    path.parent.mkdir()
    with closing(other(path)) as db:
        for statement in OLDER:
            db.execute(statement)
        db.execute("PRAGMA user_version = 1")
        db.execute("INSERT INTO about VALUES ('identity', ?)", (CHAIN,))
        rows = [(n, *values_of(row(n))[:8]) for n in (1, 2, 3)]
        db.executemany(f"INSERT INTO transactions VALUES ({', '.join('?' * 9)})", rows)
    return path


def test_an_older_schema_is_migrated(older: Path) -> None:
    file, aside = open_journal(older, CHAIN, OF_TWO_VERSIONS)
    with closing(file):
        assert aside is None
        assert file.open_rows == [row(n, updated=0.0) for n in (1, 2, 3)]
        file.write([values_of(row(4))], [RowChange.of(hash_of(1), "mined", 7, {}, NOW)])
    with closing(other(older)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
    assert [each.block for each in kept(older, OF_TWO_VERSIONS)] == [7, -1, -1, -1]


def test_an_older_schema_is_read_as_it_is(older: Path) -> None:
    before = beside(older)
    assert kept(older, OF_TWO_VERSIONS) == [row(n, updated=0.0) for n in (1, 2, 3)]
    assert beside(older) == before


def written_by(path: Path, version: int, rows: list[JournalRow]) -> None:
    """A file as that version left it, closed."""
    path.parent.mkdir()
    with closing(other(path)) as db:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        for statements in journal_schema.MIGRATIONS[:version]:
            for statement in statements:
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {version}")
        db.execute("INSERT INTO about VALUES ('identity', ?)", (CHAIN,))
        values = [(n, *values_of(each)) for n, each in enumerate(rows, 1)]
        db.executemany(f"INSERT INTO transactions VALUES ({', '.join('?' * 12)})", values)


def test_a_file_of_the_first_version_loses_no_row(path: Path) -> None:
    states = [row(n, state=state) for n, state in enumerate(STATES) if state != "resting"]
    written_by(path, 1, states)
    assert kept(path) == states  # by `rpcproxy tx`, which changes nothing
    file, aside = open_journal(path, CHAIN)
    with closing(file):
        assert aside is None
        assert [each.hash for each in file.open_rows] == [hash_of(n) for n in (0, 1, 3)]
        file.write([], [RowChange.of(hash_of(1), "resting", -1, {}, NOW)])
    assert [each.state for each in kept(path)] == ["journaled", "resting", *STATES[3:]]
    with closing(other(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (3,)


# Written when the columns were called ``sender`` and ``nonce``.
SECOND: Final = Path(__file__).parent / "journal_of_version_2.sqlite"


def of_the_second() -> list[JournalRow]:
    """What is in that file: one of each state, private ones, and two of no known lane."""
    states = [
        replace(row(n, state=state), said={"a": "ok"}, is_private=n % 2 == 1, block=n - 1)
        for n, state in enumerate(STATES)
    ]
    return [*states, *(replace(row(n), lane="", order=-1) for n in (100, 101))]


def test_a_file_that_the_second_version_wrote_loses_no_row(path: Path) -> None:
    rows = of_the_second()
    path.parent.mkdir()
    path.write_bytes(SECOND.read_bytes())
    assert kept(path) == rows
    assert path.read_bytes() == SECOND.read_bytes()
    file, aside = open_journal(path, CHAIN)
    with closing(file):
        assert aside is None
        assert file.open_rows == [each for each in rows if each.state not in CLOSED_STATES]
        given_up = [each for each in rows if each.is_private and each.state in GIVEN_UP]
        assert given_up
        assert file.secrets == [(each.hash, each.raw) for each in reversed(given_up)]
        assert file.find_raw(rows[-1].raw) == rows[-1]
        assert file.find_raw(rows[0].raw) is None
        assert file.write([values_of(row(9))], []) == {}
    assert kept(path) == [*rows, row(9)]


@pytest.mark.parametrize("version", [1, 2])
def test_what_is_sound_of_an_older_version_is_taken(path: Path, version: int) -> None:
    rows = [row(n) for n in range(50)]
    written_by(path, version, rows)
    sample = path.with_name("sample.sqlite")
    JournalFile(sample, CHAIN).close()
    found = journal_salvage.salvaged(path, sample, JournalSettings().most_failed_reads)
    assert [row_of(values) for values in found] == rows


def test_one_that_begins_anew_is_the_latest(path: Path) -> None:
    """Of two in one place the last row is what the wallet sent last."""
    written(path, [row(1, state="refused"), row(2), row(3)])
    written(path, [row(4), row(1), row(5)])
    assert [each.hash for each in kept(path)] == [hash_of(n) for n in (2, 3, 4, 1, 5)]
    written(path, [row(2), row(6)])
    assert [each.hash for each in kept(path)] == [hash_of(n) for n in (2, 3, 4, 1, 5, 6)]


def test_a_migration_that_fails_changes_nothing(older: Path) -> None:
    failing = (*TO_THIS, "INSERT INTO transactions (hash) VALUES (NULL)")
    with pytest.raises(sqlite3.IntegrityError):
        open_journal(older, CHAIN, JournalSettings(migrations=(OLDER, failing)))
    file, _ = open_journal(older, CHAIN, OF_TWO_VERSIONS)
    file.close()
    assert len(kept(older, OF_TWO_VERSIONS)) == 3


# --------------------------------------------------------------------------
# What is sound of a damaged file


def filled(path: Path, count: int = 400) -> list[JournalRow]:
    rows = [row(n, size=600 if n % 100 else 20_000) for n in range(count)]
    written(path, rows)
    return rows


def page_of(path: Path, seq: int) -> int:
    """The page that holds the row: found by its bytes."""
    return path.read_bytes().index(row(seq, size=600).raw) // 4096


def damage(path: Path, page: int, count: int = 1) -> None:
    with path.open("r+b") as file:
        file.seek(page * 4096)
        file.write(random.Random(page).randbytes(4096 * count))


def reopened(path: Path, settings: JournalSettings = USUAL) -> tuple[list[JournalRow], Path]:
    content = path.read_bytes()
    file, aside = open_journal(path, CHAIN, settings)
    with closing(file):
        assert aside is not None
        assert aside.read_bytes() == content
        assert aside.parent == path.parent
        assert file.write([values_of(row(9999))], []) == {}
        left = {each.name for each in path.parent.iterdir()}
        assert left >= {path.name, aside.name}
        assert not [name for name in left if name.endswith((".part", ".new", ".copy"))]
        return file.open_rows, aside


def test_a_damaged_page_costs_its_own_rows_alone(path: Path) -> None:
    rows = filled(path)
    damage(path, page_of(path, 150))
    damage(path, page_of(path, 250))
    found, _ = reopened(path)
    assert row(150, size=600) not in found
    assert len(rows) - 20 < len(found) < len(rows)
    assert found == [each for each in rows if each in found]


def test_a_truncated_file_keeps_what_is_left(path: Path) -> None:
    rows = filled(path)
    cut = page_of(path, 300)
    with path.open("r+b") as file:
        file.truncate(cut * 4096 + 1000)
    found, _ = reopened(path)
    assert len(found) > 200
    assert found == [each for each in rows if each in found]


def test_a_lost_first_page_is_lent(path: Path) -> None:
    rows = filled(path)
    damage(path, 0)
    assert reopened(path)[0] == rows


def test_a_lost_first_page_is_lent_though_the_log_is_still_needed(
    path: Path, tmp_path: Path
) -> None:
    rows = filled(path, 100)
    with closing(JournalFile(path, CHAIN)) as file:
        file.write([values_of(row(n, size=600)) for n in range(200, 300)], [])
        for name in (path.name, f"{path.name}-wal"):  # as a kill leaves them
            (tmp_path / name).write_bytes((path.parent / name).read_bytes())
    crashed = tmp_path / path.name
    damage(crashed, 0)
    file, aside = open_journal(crashed, CHAIN)
    with closing(file):
        # The log may hold the first page, and then nothing is lost at all.
        assert len(file.open_rows) == 200
        assert file.open_rows[:100] == rows
    if aside is not None:
        assert Path(f"{aside}-wal").exists()


@pytest.mark.parametrize("size", [0, 100, 4096, 50_000])
def test_noise_is_set_aside(path: Path, size: int) -> None:
    filled(path, 10)
    path.write_bytes(b"noise " * (size // 6))
    if size == 0:
        file, aside = open_journal(path, CHAIN)
        file.close()
        assert aside is None
    else:
        assert reopened(path)[0] == []


def test_a_damaged_value_is_noticed(path: Path) -> None:
    """SQLite itself does not: such a page is sound to it."""
    rows = filled(path)
    content = bytearray(path.read_bytes())
    content[content.index(rows[77].raw[100:200])] ^= 1
    path.write_bytes(content)
    found, _ = reopened(path)
    assert found == [each for each in rows if each.order != 77]


def test_a_missing_table_is_damage(path: Path) -> None:
    filled(path, 10)
    with closing(other(path)) as db:
        db.execute("DROP TABLE transactions")
    assert reopened(path)[0] == []


def test_a_table_without_bottom_ends(path: Path) -> None:
    rows = filled(path)
    with closing(other(path)) as db:
        [root] = db.execute("SELECT rootpage FROM sqlite_master WHERE name='transactions'")
    damage(path, root[0] - 1)
    found, _ = reopened(path, JournalSettings(most_failed_reads=100))
    assert len(found) < len(rows)


@pytest.mark.parametrize("step", ["write", "part", "aside", "new"])
def test_a_crash_while_it_is_renewed_loses_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    rows = filled(path)
    damage(path, page_of(path, 150))
    expected = len(rows)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    rename = Path.rename

    def crash_at(self: Path, target: Path) -> Path:
        if str(self).endswith(f".{step}"):
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", crash_at)
        if step == "write":
            patch.setattr(JournalFile, "write", crash)
        if step == "aside":
            patch.setattr(journal_salvage, "set_aside", crash)
        with pytest.raises(KeyboardInterrupt):
            open_journal(path, CHAIN)
    file, _ = open_journal(path, CHAIN)
    with closing(file):
        assert expected - 10 < len(file.open_rows) < expected
    asides = [name for name in path.parent.iterdir() if ".damaged-" in name.name]
    assert len(asides) == 1


def test_what_cannot_be_written_anew_stays_where_it_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(path)
    damage(path, page_of(path, 150))
    before = path.read_bytes()
    close = JournalFile.close

    def leave_log(self: JournalFile) -> None:
        close(self)
        Path(f"{self._path}-wal").touch()

    with monkeypatch.context() as patch:
        patch.setattr(JournalFile, "close", leave_log)
        with pytest.raises(OSError, match="could not be written anew"):
            open_journal(path, CHAIN)
    assert path.read_bytes() == before
    assert len(reopened(path)[0]) > 380


def test_a_directory_in_its_place_is_no_damage(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(sqlite3.OperationalError) as caught:
        open_journal(path, CHAIN)
    assert words_of(caught.value) == "the disk fails (unable to open database file)"


# --------------------------------------------------------------------------
# Reading beside a process


def test_reading_changes_nothing_and_sees_the_last_commit(path: Path) -> None:
    with closing(JournalFile(path, CHAIN)) as file:
        for n in range(5):
            file.write([values_of(row(n))], [])
            assert kept(path) == [row(each) for each in range(n + 1)]
        names = set(beside(path))
        assert read_rows(path, hash_of(3)) == [row(3)]
        assert read_rows(str(path), hash_of(7)) == []
        assert set(beside(path)) == names
    before = beside(path)
    assert set(before) == {path.name}
    assert [each.order for each in read_rows(path)] == [4, 3, 2, 1, 0]
    assert beside(path) == before


def test_reading_what_a_kill_left_behind(path: Path, tmp_path: Path) -> None:
    with closing(JournalFile(path, CHAIN)) as file:
        file.write([values_of(row(1))], [])
        for suffix in ("", "-wal", "-shm"):
            (tmp_path / f"j{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
    left = tmp_path / "j"
    assert kept(left) == [row(1)]
    assert {name.name for name in tmp_path.iterdir() if name.is_file()} == {"j", "j-wal", "j-shm"}
    written(left, [row(2)])
    assert kept(left) == [row(1), row(2)]


def test_reading_leaves_damaged_rows_out(path: Path) -> None:
    written(path, [row(1), row(2)])
    with closing(other(path)) as db:
        db.execute("UPDATE transactions SET raw = x'00' WHERE lane_order = '1'")
    assert kept(path) == [row(2)]


@pytest.mark.parametrize("is_foreign", [False, True])
def test_reading_what_is_no_journal_is_refused_in_words(path: Path, is_foreign: bool) -> None:
    if is_foreign:
        path.parent.mkdir()
        path.write_bytes(b"this is a shopping list, and a long one" * 100)
        before = beside(path)
        with pytest.raises(JournalRefused, match=r"cannot be read: the file is damaged \(file is"):
            read_rows(path)
        assert beside(path) == before
    else:
        with pytest.raises(JournalRefused, match="there is no journal at"):
            read_rows(path)
        assert not path.parent.exists()


def test_reading_an_empty_file_finds_nothing(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    assert read_rows(path) == []
    assert beside(path) == {path.name: b""}


@pytest.mark.parametrize("is_failing", [False, True])
def test_a_journal_that_opens_or_closes_meanwhile_is_read_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, is_failing: bool
) -> None:
    written(path, [row(1)])
    writers: list[JournalFile] = []
    select = journal_salvage._select

    def interrupted(*asked: Any) -> list[tuple[object]]:
        if not writers:
            writers.append(JournalFile(path, CHAIN))
            writers[0].write([values_of(row(2))], [])
            if is_failing:
                raise sqlite3.DatabaseError("database disk image is malformed")
        return select(*asked)

    monkeypatch.setattr(journal_salvage, "_select", interrupted)
    assert kept(path) == [row(1), row(2)]
    writers[0].close()


def test_errors_in_words() -> None:
    for code, words in {
        sqlite3.SQLITE_FULL: "the disk is full",
        sqlite3.SQLITE_IOERR_FSYNC: "the disk fails (x)",
        sqlite3.SQLITE_READONLY_DBMOVED: "the file cannot be written (x)",
        sqlite3.SQLITE_BUSY_SNAPSHOT: "another program holds the file locked (x)",
        sqlite3.SQLITE_CORRUPT_INDEX: "the file is damaged (x)",
    }.items():
        error = sqlite3.OperationalError("x")
        error.sqlite_errorcode = code
        assert words_of(error) == words
    assert words_of(OSError(28, "No space left on device")) == "No space left on device"
    assert words_of(OSError("bare")) == "bare"
    assert words_of(JournalRefused("do this")) == "do this"
