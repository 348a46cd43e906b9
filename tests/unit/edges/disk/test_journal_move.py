"""A journal that moves is in one place at any moment, and nothing of it is lost or doubled."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rpcproxy.edges.disk.file_lock import FileLock
from rpcproxy.edges.disk.journal_file import JournalFile
from rpcproxy.edges.disk.journal_move import (
    JournalMove,
    JournalSource,
    is_held,
    lock_journal,
    pending_in,
)
from rpcproxy.edges.disk.journal_row import values_of
from rpcproxy.edges.disk.journal_schema import JournalInUse
from tests.unit.edges.disk.test_journal_file import CHAIN, kept, row, written


class Crash(Exception):
    """The process ends here."""


@pytest.fixture
def older(tmp_path: Path) -> Path:
    return tmp_path / "journal" / "ethereum.sqlite"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "mine-1234" / "journal" / "ethereum.sqlite"


def take(own: Path, *sources: JournalSource, crash_at: str = "") -> list[int]:
    def fault(point: str) -> None:
        if point == crash_at:
            raise Crash(point)

    lock = FileLock(own)
    try:
        taken = JournalMove(own, CHAIN, fault=fault).take_over(sources)
    finally:
        lock.release()
    return [each.pending for each in taken]


def numbers(path: Path) -> list[int]:
    return sorted(each.order for each in kept(path)) if path.exists() else []


def test_a_whole_journal_becomes_ours(older: Path, own: Path) -> None:
    written(older, [row(1), row(2), row(3, state="final")])
    source = JournalSource(older, "somebody")
    assert take(own, source) == [2]
    assert numbers(own) == [1, 2, 3]
    assert [each.name for each in older.parent.iterdir()] == ["ethereum.sqlite.lock"]
    assert take(own, source) == []
    assert numbers(own) == [1, 2, 3]


def test_what_is_there_already_stays_as_it_is(older: Path, own: Path) -> None:
    written(older, [row(1, state="sent"), row(2)])
    written(own, [row(1, state="mined"), row(9)])
    assert take(own, JournalSource(older, "somebody")) == [2]
    assert numbers(own) == [1, 2, 9]
    assert {each.order: each.state for each in kept(own)}[1] == "mined"
    assert not older.exists()


def test_several_are_put_together(tmp_path: Path, own: Path) -> None:
    places = [tmp_path / str(n) / "ethereum.sqlite" for n in range(3)]
    for n, place in enumerate(places):
        written(place, [row(n)])
    assert take(own, *(JournalSource(place, "", is_whole=False) for place in places)) == [1, 1, 1]
    assert numbers(own) == [0, 1, 2]


@pytest.mark.parametrize("has_own", [False, True])
@pytest.mark.parametrize("point", ["before move", "after move", "after merge"])
def test_a_crash_at_any_step_loses_nothing(
    point: str, has_own: bool, older: Path, own: Path
) -> None:
    written(older, [row(1), row(2)])
    if has_own:
        written(own, [row(7)])
    source = JournalSource(older, "somebody")
    if has_own or point != "after merge":
        with pytest.raises(Crash):
            take(own, source, crash_at=point)
    in_one_place = older.exists() + own.with_name(f"{own.name}.incoming").exists()
    assert in_one_place == 1 or not has_own
    take(own, source)
    assert numbers(own) == [1, 2, *([7] if has_own else [])]
    assert not older.exists()
    assert [each.name for each in own.parent.glob("*incoming*")] == []


def test_one_that_a_process_has_is_left_or_waited_for(older: Path, own: Path) -> None:
    written(older, [row(1)])
    lock = lock_journal(older)
    assert is_held(older)
    assert take(own, JournalSource(older, "")) == []
    with pytest.raises(JournalInUse):
        take(own, JournalSource(older, "", is_awaited=True))
    assert numbers(older) == [1]
    lock.release()
    assert not is_held(older)
    assert take(own, JournalSource(older, "", is_awaited=True)) == [1]


def test_one_that_is_being_read_is_waited_for(older: Path, own: Path) -> None:
    written(older, [row(1)])
    with closing(JournalFile(older, CHAIN)) as reader:
        reader.write([values_of(row(2))], [])
        with pytest.raises(JournalInUse, match="is being read"):
            take(own, JournalSource(older, "", is_awaited=True))
    assert take(own, JournalSource(older, "", is_awaited=True)) == [2]


def test_what_is_not_ours_stays(older: Path, own: Path, tmp_path: Path) -> None:
    with closing(JournalFile(older, "evm:5")) as file:
        file.write([values_of(row(1))], [])
    closed = tmp_path / "closed" / "ethereum.sqlite"
    written(closed, [row(2, state="final")])
    program = tmp_path / "theirs.sqlite"
    with closing(sqlite3.connect(program)) as db:
        db.execute("CREATE TABLE theirs (a)")
        db.commit()
    sources = [
        JournalSource(older, ""),
        JournalSource(closed, "", is_whole=False),
        JournalSource(program, ""),
        JournalSource(tmp_path / "none.sqlite", ""),
        JournalSource(own, "itself"),
    ]
    assert take(own, *sources) == []
    assert not own.exists()
    assert numbers(older) == [1]
    assert [pending_in(each.path, CHAIN) for each in sources] == [0, 0, 0, 0, 0]
    assert pending_in(older, "evm:5") == 1


def test_a_damaged_one_gives_what_is_sound_of_it(older: Path, own: Path) -> None:
    written(older, [row(n) for n in range(40)])
    data = bytearray(older.read_bytes())
    data[-4096:] = os.urandom(4096)
    older.write_bytes(data)
    assert take(own, JournalSource(older, "")) != []
    assert len(numbers(own)) > 10
    assert list(older.parent.glob("*.damaged-*"))


def test_another_file_system_gets_a_copy(
    older: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(older, [row(1)])
    rename = Path.rename

    def within_one(self: Path, target: Path) -> Path:
        if self.parent != Path(target).parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", within_one)
    assert take(own, JournalSource(older, "")) == [1]
    assert numbers(own) == [1]
    assert not older.exists()
    assert older.with_name("ethereum.sqlite.taken-over").exists()


def test_one_that_may_not_be_touched_stays_and_is_told(
    older: Path, own: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    written(older, [row(1)])

    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(errno.EACCES, "Permission denied", str(self), None, str(target))

    monkeypatch.setattr(Path, "rename", refuse)
    assert take(own, JournalSource(older, "")) == []
    assert vars(caplog.records[0])["event"] == "journal_left"
    assert numbers(older) == [1]
