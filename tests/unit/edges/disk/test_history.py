"""The history on disk: bounded, shared, and never in anybody's way."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from pathlib import Path

import msgspec
import pytest

from rpcproxy.app.people.history_writer import (
    FILE_NAME,
    HistoryWriter,
    RunFacts,
    history_path,
    read_history,
)
from rpcproxy.app.storage.state_place import StateOwner, StatePlace
from rpcproxy.config import model
from rpcproxy.edges.disk import history as edge
from rpcproxy.edges.disk import history_file
from rpcproxy.edges.disk.history import (
    DiskHistory,
    HistoryRefused,
    OlderHistory,
    OutageRow,
    ProcessRun,
    TallyRow,
    read_file,
)
from rpcproxy.edges.disk.history_file import APPLICATION_ID, KEPT_SECONDS, HistoryFile
from rpcproxy.edges.logs import Redactor
from rpcproxy.rules.telling.sample import Sample
from rpcproxy.rules.telling.tallies import HourRow
from tests.kits.waiting import LIMIT_SECONDS, until
from tests.unit.rules.telling.test_tallies import NOON, chain, upstream

PLACE = StatePlace(StateOwner(), None)
HOUR = 3600
MIB = 1 << 20
ME = ProcessRun("me", b"{}")
DATA = b"x" * 400


def tally(hour: int, upstream: str = "a", data: bytes = DATA, part: int = 0) -> TallyRow:
    return TallyRow(hour, part, "eth", upstream, data)


def garbage(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"garbage" * 1000)


def of_another_program(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (a)")
    db.close()
    return path.read_bytes()


def bytes_of(path: Path) -> bytes:
    return path.read_bytes()


def remove(path: Path) -> None:
    path.unlink()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "history" / FILE_NAME


# ---- the file


def test_a_row_replaces_what_its_process_wrote_before(path: Path) -> None:
    file, other = HistoryFile(path, MIB), HistoryFile(path, MIB)
    file.write(ME, [tally(NOON, data=b"1")], [OutageRow("eth", "a", NOON + 5.0, b"open")], NOON)
    other.write(ProcessRun("other", b"o"), [tally(NOON, data=b"2")], [], NOON)
    file.write(ME, [tally(NOON, data=b"3")], [OutageRow("eth", "a", NOON + 5.0, b"over")], NOON)
    found = read_file(path, NOON)  # beside those that write it
    assert found.runs == {"me": b"{}", "other": b"o"}
    assert sorted((name, row.data) for name, row in found.tallies) == [
        ("me", b"3"),
        ("other", b"2"),
    ]
    assert found.outages == [("me", OutageRow("eth", "a", NOON + 5.0, b"over"))]
    file.close()
    other.close()
    assert read_file(path, NOON) == found
    assert read_file(path, NOON + HOUR).tallies == []
    assert len(read_file(path, NOON + HOUR - 1).tallies) == 2, "the hour that it lies in"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_it_keeps_90_days(path: Path) -> None:
    file = HistoryFile(path, MIB)
    old = NOON - KEPT_SECONDS
    file.write(
        ProcessRun("old", b""),
        [tally(old - 2 * HOUR)],
        [OutageRow("eth", "a", old - HOUR - 1.0, b"")],
        old,
    )
    file.write(ME, [tally(old)], [], old)
    file.write(ME, [tally(NOON - HOUR)], [], NOON)
    assert len(read_file(path, 0).tallies) == 3, "the hour before is needed for it"
    file.write(ME, [tally(NOON)], [], NOON)
    found = read_file(path, 0)
    assert [row.hour for _, row in found.tallies] == [old, NOON - HOUR, NOON]
    assert (found.outages, set(found.runs)) == ([], {"me"})
    file.close()


@pytest.mark.parametrize("wrong", [NOON + 10 * KEPT_SECONDS, 0])
def test_a_clock_that_was_wrong_for_a_moment_ages_nothing(path: Path, wrong: int) -> None:
    file = HistoryFile(path, MIB)
    hours = [NOON - n * HOUR for n in range(3)]
    file.write(ME, [tally(hour) for hour in hours], [], NOON)
    file.write(ME, [tally(wrong)], [], wrong)
    file.write(ME, [tally(NOON + HOUR)], [], NOON + HOUR)
    assert {row.hour for _, row in read_file(path, -HOUR).tallies} >= {*hours, NOON + HOUR}
    file.close()


def test_its_size_is_bounded_and_the_oldest_go_first(path: Path) -> None:
    file = HistoryFile(path, 256 * 1024)
    for hour in range(0, 100 * HOUR, HOUR):
        file.write(ME, [tally(NOON + hour, str(n)) for n in range(20)], [], NOON + hour)
        assert path.stat().st_size <= 256 * 1024
    hours = sorted({row.hour for _, row in read_file(path, 0).tallies})
    assert hours[-1] == NOON + 99 * HOUR
    assert hours == list(range(hours[0], hours[-1] + 1, HOUR))
    assert 10 < len(hours) < 30
    # An hour too large for it is kept, and nothing else.
    file.write(ME, [tally(NOON + 100 * HOUR, str(n)) for n in range(900)], [], NOON)
    assert {row.hour for _, row in read_file(path, 0).tallies} == {NOON + 100 * HOUR}
    file.close()


def test_what_is_not_ours_is_refused_in_words(path: Path) -> None:
    with pytest.raises(HistoryRefused, match="there is no history at"):
        read_file(path, 0)
    path.parent.mkdir(parents=True)
    path.touch()
    assert read_file(path, 0).tallies == []
    of_another_program(path)
    for action in (lambda: HistoryFile(path, MIB), lambda: read_file(path, 0)):
        with pytest.raises(HistoryRefused, match="a database of another program"):
            action()
    newer = path.with_name("newer.sqlite")
    with sqlite3.connect(newer) as db:
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("PRAGMA user_version = 9")
    db.close()
    for action in (lambda: HistoryFile(newer, MIB), lambda: read_file(newer, 0)):
        with pytest.raises(HistoryRefused, match="newer version"):
            action()
    damaged = path.with_name("damaged.sqlite")
    damaged.write_bytes(b"no database at all, whatever its name says" * 200)
    with pytest.raises(HistoryRefused, match="it is damaged"):
        read_file(damaged, 0)


# ---- the thread


async def test_a_damaged_file_is_set_aside(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    garbage(path)
    history = DiskHistory(path, MIB, ME)
    history.put([tally(NOON)], [], NOON)
    await history.close()
    assert len(read_file(path, 0).tallies) == 1
    [aside] = path.parent.glob("*.damaged-*")
    assert aside.read_bytes().startswith(b"garbage")
    assert "begun anew" in caplog.text


async def test_a_file_that_is_removed_is_begun_anew(path: Path) -> None:
    history = DiskHistory(path, MIB, ME)
    history.put([tally(NOON)], [], NOON)
    await until(path.exists)
    await until(lambda: history._taken == 1)
    remove(path)
    history.put([tally(NOON + HOUR)], [], NOON)
    await history.close()
    await history.close()
    assert [row.hour for _, row in read_file(path, 0).tallies] == [NOON + HOUR]
    assert not history.has_room


async def test_a_directory_that_became_a_file_is_said(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    history = DiskHistory(path, MIB, ME)
    history.put([tally(NOON)], [], NOON)
    await until(lambda: history._taken == 1)
    moved = path.parent.with_name("moved")
    path.parent.rename(moved)
    path.parent.write_text("in the way")
    history.put([tally(NOON + HOUR)], [], NOON)
    await until(lambda: history._taken == 2)
    assert [vars(record)["event"] for record in caplog.records] == ["history_broken"]
    path.parent.unlink()
    moved.rename(path.parent)
    history.put([tally(NOON + 2 * HOUR)], [], NOON)
    await history.close()
    assert [row.hour for _, row in read_file(path, 0).tallies] == [
        NOON,
        NOON + HOUR,
        NOON + 2 * HOUR,
    ], "what was held is written"
    assert vars(caplog.records[-1])["event"] == "history_well"


async def test_a_full_disk_costs_figures_for_a_while(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    history = DiskHistory(path, MIB, ME, held_rows=3)
    whole = HistoryFile.write
    is_full = threading.Event()
    is_full.set()

    def write(self: HistoryFile, *arguments: object) -> None:
        if is_full.is_set():
            self._db.execute("PRAGMA max_page_count = 1")
        whole(self, *arguments)

    monkeypatch.setattr(HistoryFile, "write", write)
    for hour in range(5):
        history.put([tally(NOON + hour * HOUR, data=b"x" * 9000)], [], NOON)
        await until(lambda: history.has_room and history._queued == history._taken)
    assert [record.getMessage() for record in caplog.records].count(
        "figures cannot be written: they are held for a while, and tried again"
    ) == 1
    assert "database or disk is full" in str([vars(record) for record in caplog.records])
    is_full.clear()
    history.put([tally(NOON + 5 * HOUR)], [], NOON)
    await history.close()
    assert [(row.hour - NOON) // HOUR for _, row in read_file(path, 0).tallies] == [3, 4, 5]
    assert "figures are written again" in caplog.text


async def test_a_place_that_cannot_be_made_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    history = DiskHistory(tmp_path / "file" / FILE_NAME, MIB, ME)
    for _ in range(3):
        history.put([tally(NOON)], [], NOON)
    await history.close()
    assert len(caplog.records) == 1


async def test_another_programs_file_is_left_alone(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = of_another_program(path)
    history = DiskHistory(path, MIB, ME)
    history.put([tally(NOON)], [], NOON)
    await history.close()
    assert bytes_of(path) == before
    assert "another program" in caplog.text


async def test_a_disk_that_hangs_holds_up_nobody(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    whole = HistoryFile.write

    def write(self: HistoryFile, *arguments: object) -> None:
        go_on.wait(LIMIT_SECONDS)
        whole(self, *arguments)

    monkeypatch.setattr(HistoryFile, "write", write)
    history = DiskHistory(path, MIB, ME, close_seconds=0.05)
    put = 0
    while history.has_room:
        history.put([tally(NOON, str(put))], [], NOON)
        put += 1
    assert put == edge.QUEUED
    await history.close()
    assert history._worker.is_alive
    go_on.set()
    await until(lambda: not history._worker.is_alive)
    assert len(read_file(path, 0).tallies) == put


async def test_two_processes_share_a_file(path: Path) -> None:
    one, two = DiskHistory(path, MIB, ME), DiskHistory(path, MIB, ProcessRun("two", b"{}"))
    for hour in range(3):
        one.put([tally(NOON + hour * HOUR)], [], NOON)
        two.put([tally(NOON + hour * HOUR)], [], NOON)
    await asyncio.gather(one.close(), two.close())
    assert len(read_file(path, 0).tallies) == 6


# ---- at work


def sample(seconds: float, state: str = "up", **fields: object) -> Sample:
    chains = (chain(upstream("a", state, since=1.0, **fields)),)
    return Sample(unix_seconds=NOON + seconds, seconds=seconds, chains=chains)


async def test_samples_become_figures_on_disk(path: Path) -> None:
    settings = model.History(path=str(path.parent))
    writer = HistoryWriter(settings, Redactor(["s3cret-key"]), PLACE)
    assert writer.path == path
    writer.on_sample(sample(0.0))  # before the start: nobody keeps it
    writer.start(float(NOON))
    writer.start(float(NOON))
    writer.on_sample(sample(0.0, attempts={"ok": 1}))
    await until(lambda: path.exists() and read_file(path, 0).tallies)
    # Not again for a minute, but at once where an outage begins.
    writer.on_sample(sample(5.0, attempts={"ok": 2}))
    writer.on_sample(sample(10.0, "ejected", reason="refused at https://x/s3cret-key"))
    await until(lambda: read_file(path, 0).outages)
    writer.on_sample(sample(15.0, attempts={"ok": 9}))
    await writer.close()
    kept = read_history(path, NOON)
    [(run, facts)] = kept.runs.items()
    assert facts.started == NOON
    assert facts.bounds[-1] == 30.0
    rows = {row.upstream: row for name, row in kept.rows if name == run}
    assert rows["a"].attempts == {"ok": 11}  # fell, and began anew
    assert rows[""].watched_seconds == 15.0
    [(_, outage)] = kept.outages
    assert (outage.start, outage.end) == (NOON + 9.0, NOON + 14.0)
    assert "s3cret" not in outage.reason
    await writer.close()


async def test_off_is_off(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(path.parent))
    writer = HistoryWriter(model.History(is_on=False), Redactor(), PLACE)
    writer.start(float(NOON))
    writer.on_sample(sample(0.0))
    await writer.close()
    assert not path.parent.exists()
    place = StatePlace.of(model.Config(chains=()))
    own = history_path(model.History(), place)
    assert own is not None
    assert own.parent.parent.parent == path.parent / "rpcproxy"
    assert own.name == FILE_NAME


def test_what_is_damaged_in_a_sound_file_is_left_out(path: Path) -> None:
    file = HistoryFile(path, MIB)
    row = HourRow(hour=NOON, part=0, chain="eth", upstream="a")
    good = msgspec.json.encode(row)
    mine = ProcessRun("me", msgspec.json.encode(RunFacts(float(NOON))))
    no_text = good.replace(b'"eth"', b'"\xa4th"')
    rows = [tally(NOON, "a", good), tally(NOON, "b", good[:-9]), tally(NOON, "c", no_text)]
    file.write(mine, rows, [], NOON)
    file.write(
        ProcessRun("torn", b"{"),
        [tally(NOON, "c", good)],
        [OutageRow("eth", "a", 1.0, b"{}")],
        NOON,
    )
    file.close()
    kept = read_history(path, NOON)
    assert kept.rows == [("me", row)]
    assert (set(kept.runs), kept.outages) == ({"me"}, [])


def test_its_numbers_are_told() -> None:
    assert history_file.KEPT_SECONDS == 90 * 86_400
    assert model.History().size_bytes == 64 * MIB


# ---- a file that several configurations shared


def rows_of(path: Path) -> set[tuple[str, str, int]]:
    found = read_file(path, 0)
    return {(name, row.chain, row.hour) for name, row in found.tallies}


def test_what_is_ours_of_a_shared_file_is_taken_over_once(path: Path) -> None:
    shared = path.with_name("shared.sqlite")
    older = HistoryFile(shared, MIB)
    base = tally(NOON)._replace(chain="base")
    older.write(ME, [tally(NOON), base], [OutageRow("eth", "a", NOON + 5.0, b"1")], NOON)
    file = HistoryFile(path, MIB)
    ours = OlderHistory(shared, ("eth",))
    file.write(ProcessRun("new", b"n"), [tally(NOON)], [], NOON)
    with pytest.raises(sqlite3.OperationalError):
        file.take_over(ours)  # a process has it
    assert rows_of(shared) == {("me", "eth", NOON), ("me", "base", NOON)}
    older.close()
    file.take_over(ours)
    assert rows_of(path) == {("new", "eth", NOON), ("me", "eth", NOON)}
    assert read_file(path, 0).outages == [("me", OutageRow("eth", "a", NOON + 5.0, b"1"))]
    assert rows_of(shared) == {("me", "base", NOON)}
    file.take_over(ours)
    file.take_over(OlderHistory(path, ("eth",)))
    assert rows_of(path) == {("new", "eth", NOON), ("me", "eth", NOON)}
    file.close()
    other = HistoryFile(path.with_name("other.sqlite"), MIB)
    other.take_over(OlderHistory(shared, ("base",)))
    other.close()
    assert rows_of(path.with_name("other.sqlite")) == {("me", "base", NOON)}
    assert not shared.exists()


async def test_a_shared_file_that_is_in_use_is_taken_over_later(path: Path) -> None:
    shared = path.with_name("shared.sqlite")
    older = HistoryFile(shared, MIB)
    older.write(ME, [tally(NOON)], [], NOON)
    history = DiskHistory(path, MIB, ProcessRun("new", b""), older=OlderHistory(shared, ("eth",)))
    history.put([tally(NOON)], [], NOON)
    await until(lambda: history._taken == 1)
    assert rows_of(path) == {("new", "eth", NOON)}
    older.close()
    history.put([tally(NOON)], [], NOON)
    await history.close()
    assert rows_of(path) == {("new", "eth", NOON), ("me", "eth", NOON)}
