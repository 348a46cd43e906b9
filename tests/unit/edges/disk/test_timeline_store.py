"""``edges.disk.timeline_store`` and ``timeline_file``: what was told to be written is there."""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from rpcproxy.edges.disk import timeline_file
from rpcproxy.edges.disk.file_lock import FileInUse, FileLock
from rpcproxy.edges.disk.timeline_file import APPLICATION_ID, TimelineFile
from rpcproxy.edges.disk.timeline_store import (
    StoredEntry,
    TimelineInUse,
    TimelineRefused,
    TimelineSettings,
    TimelineStore,
    read_timeline,
)
from tests.kits.waiting import LIMIT_SECONDS, limited, until

BOUNDS = {"happening": 1000, "trace": 1000}


def entry(
    id: str,
    seconds: float = 1.0,
    data: bytes = b"{}",
    shelf: str = "happening",
    group: str = "",
    keys: tuple[str, ...] = (),
    *,
    is_held: bool = False,
) -> StoredEntry:
    return StoredEntry(id, shelf, group, seconds, keys, data, is_held)


def ids(entries: list[StoredEntry]) -> list[str]:
    return [each.id for each in entries]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "timeline.sqlite"


async def put(store: TimelineStore, *entries: StoredEntry) -> str:
    """The first word of what became of it."""
    told: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def on_told(words: str) -> None:
        if not told.done():
            told.set_result(words)

    store.put(entries, on_told)
    async with limited():
        return await told


# ---- what it is for


async def test_what_is_put_is_found_again_by_another_process(path: Path) -> None:
    store = await TimelineStore.open(path, bounds=BOUNDS)
    first = entry("a", 5.0, b'{"n":1}', keys=("t-1", "h-1"), is_held=True)
    assert await put(store, first, entry("b", 7.0, group="g"), entry("c", 6.0)) == ""
    assert await put(store, entry("t", 9.0, shelf="trace", keys=("t-1",))) == ""
    assert ids(await store.load("happening", 10)) == ["b", "c", "a"], "the newest first"
    assert ids(await store.load("happening", 1)) == ["b", "a"], "what is held, too"
    assert await store.find("happening", "h-1") == [first]
    assert ids(await store.find("trace", "t-1")) == ["t"]
    assert await store.find("trace", "h-1") == []
    assert ids(read_timeline(path, "happening", 6.0)) == ["b", "c", "a"], "what is held, too"
    assert ids(read_timeline(path, "happening", 6.5)) == ["b", "a"]
    await store.close()
    await store.close()
    assert read_timeline(path, "trace", 0.0) == [entry("t", 9.0, shelf="trace", keys=("t-1",))]
    again = await TimelineStore.open(path, bounds=BOUNDS)
    assert ids(await again.load("happening", 10)) == ["b", "c", "a"]
    await again.close()
    assert (_mode(path), _mode(path.parent)) == (0o600, 0o700)


async def test_an_entry_that_comes_again_replaces_the_one_before(path: Path) -> None:
    store = await TimelineStore.open(path, bounds=BOUNDS)
    await put(store, entry("a", 1.0, b"begun", keys=("old", "both"), is_held=True))
    await put(store, entry("a", 2.0, b"over", group="g", keys=("both", "new")))
    over = entry("a", 2.0, b"over", group="g", keys=("both", "new"))
    assert await store.load("happening", 9) == [over]
    assert await store.find("happening", "old") == []
    assert await store.find("happening", "both") == [over]
    assert await store.find("happening", "new") == [over]
    # Twice in one call: the last one counts.
    await put(store, entry("a", 3.0, b"1"), entry("a", 4.0, b"2"))
    assert await store.load("happening", 9) == [entry("a", 4.0, b"2")]
    await store.close()


async def test_each_shelf_has_its_bound_and_each_group_pushes_out_its_own(path: Path) -> None:
    store = await TimelineStore.open(path, bounds={"happening": 5, "trace": 3})
    await put(store, entry("rare", 0.0, group="rare", keys=("k",)))
    await put(store, entry("held", -1.0, group="often", is_held=True, keys=("k",)))
    for n in range(20):
        await put(store, entry(f"o{n}", 10.0 + n, group="often", keys=("k",)))
        await put(store, entry(f"t{n}", 10.0 + n, shelf="trace"))
    assert ids(await store.load("happening", 99)) == ["o19", "o18", "o17", "o16", "rare", "held"]
    assert set(ids(await store.find("happening", "k"))) == set(
        ids(await store.load("happening", 99))
    )
    assert ids(await store.load("trace", 99)) == ["t19", "t18", "t17"]
    # Let go of, it is as old as it is.
    await put(store, entry("held", -1.0, group="often"))
    assert "held" not in ids(await store.load("happening", 99))
    # All at once, from several groups.
    many = [entry(f"{group}{n}", 50.0 + n, group=group) for n in range(4) for group in "xyz"]
    await put(store, *many)
    left = ids(await store.load("happening", 99))
    assert len(left) == 5
    assert {"rare", "o19", "z3"} <= set(left), left
    await store.close()


def test_the_fullest_group_loses_first() -> None:
    assert timeline_file._excess({"a": 5, "b": 2, "c": 1}, 8) == {}
    assert timeline_file._excess({"a": 5, "b": 2, "c": 1}, 6) == {"a": 2}
    assert timeline_file._excess({"a": 5, "b": 2, "c": 1}, 4) == {"a": 4}
    assert timeline_file._excess({"a": 5, "b": 2, "c": 1}, 3) == {"a": 4, "b": 1}
    assert timeline_file._excess({"a": 2, "b": 2}, 3) == {"a": 1}, "heard of longest ago"
    assert timeline_file._excess({"a": 9}, 0) == {"a": 9}
    assert timeline_file._excess({}, 0) == {}


async def test_no_entry_keeps_others_from_being_written(path: Path) -> None:
    store = await TimelineStore.open(path, bounds=BOUNDS)
    odd = entry("\ud800", math.nan, group="\udfff", keys=("\ud800", "\ud800", ""))
    assert await put(store, odd, entry("b", math.inf)) == ""
    assert len(await store.load("happening", 9)) == 2
    assert len(await store.find("happening", "\ud800")) == 1
    await store.close()


async def test_its_room_is_given_back(path: Path) -> None:
    store = await TimelineStore.open(path, bounds={"trace": 20})
    for n in range(200):
        await put(store, entry(str(n), float(n), b"x" * 20_000, shelf="trace"))
    await store.close()
    assert len(await asyncio.to_thread(path.read_bytes)) < 1 << 20


# ---- what can be wrong with a file


async def test_one_process_writes_it(path: Path) -> None:
    store = await TimelineStore.open(path, bounds=BOUNDS)
    with pytest.raises(TimelineInUse, match=rf"{path} is in use by .* \(process {os.getpid()}\)"):
        await TimelineStore.open(path, bounds=BOUNDS)
    with pytest.raises(FileInUse):
        FileLock(path)
    await put(store, entry("a"))
    await store.close()
    again = await TimelineStore.open(path, bounds=BOUNDS)
    assert ids(await again.load("happening", 9)) == ["a"]
    await again.close()


@pytest.mark.parametrize("is_running", [False, True])
async def test_a_damaged_file_is_set_aside(
    path: Path, is_running: bool, caplog: pytest.LogCaptureFixture
) -> None:
    if is_running:
        store = await TimelineStore.open(path, bounds=BOUNDS)
        await put(store, entry("old"))
        await asyncio.to_thread(_drop_tables, path)
    else:
        _write(path, b"garbage" * 1000)
        store = await TimelineStore.open(path, bounds=BOUNDS)
    assert await put(store, entry("new")) == ""
    assert ids(await store.load("happening", 9)) == ["new"]
    await store.close()
    assert len(list(path.parent.glob("*.damaged-*"))) == 1
    assert "begun anew" in caplog.text
    assert ids(read_timeline(path, "happening", 0.0)) == ["new"]


async def test_a_file_that_is_removed_is_begun_anew(path: Path) -> None:
    store = await TimelineStore.open(path, bounds=BOUNDS)
    await put(store, entry("a"))
    for each in tuple(_files(path)):
        each.unlink()
    assert await put(store, entry("b")) == ""
    await store.close()
    assert ids(read_timeline(path, "happening", 0.0)) == ["b"]


async def test_one_that_another_has_taken_meanwhile_is_left_to_it(path: Path) -> None:
    store = await TimelineStore.open(
        path, bounds=BOUNDS, settings=TimelineSettings(retry_seconds=0.01)
    )
    for each in tuple(_files(path)):
        each.unlink()
    other = await TimelineStore.open(path, bounds=BOUNDS)
    assert "is in use by another rpcproxy" in await put(store, entry("a"))
    with pytest.raises(OSError, match="is in use by"):
        await store.load("happening", 1)
    await other.close()
    assert await put(store, entry("b")) in ("", f"{path} is in use by another rpcproxy")
    await store.close()
    assert set(ids(read_timeline(path, "happening", 0.0))) == {"a", "b"}


async def test_what_is_not_ours_is_refused_in_words(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no timeline at"):
        read_timeline(path, "happening", 0.0)
    _write(path, b"")
    assert read_timeline(path, "happening", 0.0) == []
    before = _of_another_program(path, "CREATE TABLE theirs (a)")
    with pytest.raises(TimelineRefused, match="a database of another program"):
        await TimelineStore.open(path, bounds=BOUNDS)
    with pytest.raises(OSError, match="a database of another program"):
        read_timeline(path, "happening", 0.0)
    assert await asyncio.to_thread(path.read_bytes) == before
    newer = path.with_name("newer.sqlite")
    pragmas = (f"PRAGMA application_id = {APPLICATION_ID}", "PRAGMA user_version = 9")
    _of_another_program(newer, *pragmas)
    with pytest.raises(OSError, match="newer version"):
        await TimelineStore.open(newer, bounds=BOUNDS)
    damaged = path.with_name("damaged.sqlite")
    _write(damaged, b"no database at all" * 500)
    with pytest.raises(OSError, match=r"damaged\.sqlite cannot be read: the file is damaged"):
        read_timeline(damaged, "happening", 0.0)
    blocked = path / "below" / "timeline.sqlite"
    with pytest.raises(OSError, match="cannot be read: Not a directory"):
        read_timeline(blocked, "happening", 0.0)


async def test_a_row_that_is_damaged_is_left_out(path: Path) -> None:
    store = await TimelineStore.open(path, bounds=BOUNDS)
    await put(store, entry("a"), entry("b"), entry("c"))
    await store.close()
    db = sqlite3.connect(path)
    db.execute("UPDATE entries SET keys = x'00' WHERE id = 'a'")
    db.execute("UPDATE entries SET data = 7 WHERE id = 'b'")
    db.commit()
    db.close()
    assert ids(read_timeline(path, "happening", 0.0)) == ["c"]


# ---- what can be wrong with a disk


async def test_a_place_that_is_no_directory_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "timeline.sqlite", tmp_path / "file" / "x" / "t.sqlite"):
        with pytest.raises(OSError, match=r"cannot be opened: (it is no|Not a) directory"):
            await TimelineStore.open(place, bounds=BOUNDS)


async def test_a_read_only_directory_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(timeline_file, "make_file", read_only)
    with pytest.raises(OSError, match="cannot be opened: Read-only file system"):
        await TimelineStore.open(path, bounds=BOUNDS)
    monkeypatch.undo()
    store = await TimelineStore.open(path, bounds=BOUNDS)  # its lock was released
    await store.close()


def _fail_while(
    monkeypatch: pytest.MonkeyPatch, is_wrong: threading.Event, sql: str, then: Callable[[], object]
) -> None:
    whole = TimelineFile.write

    def write(self: TimelineFile, entries: list[StoredEntry]) -> None:
        if is_wrong.is_set():
            self._db.execute(sql)
            then()
        whole(self, entries)

    monkeypatch.setattr(TimelineFile, "write", write)


async def test_a_full_disk_loses_nothing_that_is_held(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    is_full = threading.Event()
    is_full.set()
    _fail_while(monkeypatch, is_full, "PRAGMA max_page_count = 1", lambda: None)
    store = await TimelineStore.open(
        path, bounds=BOUNDS, settings=TimelineSettings(held_entries=3, retry_seconds=0.001)
    )
    told: dict[int, list[str]] = {n: [] for n in range(5)}
    for n in range(5):
        store.put([entry(str(n), float(n), b"x" * 9000)], told[n].append)
        await until(lambda n=n: told[n])  # type: ignore[misc]
    assert [words[0] for words in told.values()] == ["the disk is full"] * 5
    assert "the oldest are dropped" in told[0][1]
    assert told[4] == ["the disk is full"], "said once"
    is_full.clear()
    await until(lambda: all(told[n][-1] == "" for n in (2, 3, 4)))
    assert "the oldest are dropped" in told[1][-1]
    await store.close()
    assert ids(read_timeline(path, "happening", 0.0)) == ["4", "3", "2"]
    events = [vars(record)["event"] for record in caplog.records]
    assert events == ["timeline_broken", "timeline_well"]


async def test_many_requests_that_fail_push_out_no_order_while_the_disk_is_full(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_full = threading.Event()
    is_full.set()
    _fail_while(monkeypatch, is_full, "PRAGMA max_page_count = 1", lambda: None)
    store = await TimelineStore.open(
        path, bounds=BOUNDS, settings=TimelineSettings(held_entries=10, retry_seconds=0.001)
    )
    told: list[str] = []
    store.put([entry("order", data=b"x" * 9000, is_held=True)], told.append)
    for n in range(100):
        store.put([entry(str(n), float(n), shelf="trace")], lambda _: None)
    assert store._count == 10
    is_full.clear()
    await until(lambda: told[-1:] == [""])
    await store.close()
    assert ids(read_timeline(path, "happening", 0.0)) == ["order"]
    assert len(read_timeline(path, "trace", 0.0)) == 9


async def test_a_disk_that_is_full_at_the_end_ends_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_full = threading.Event()
    _fail_while(monkeypatch, is_full, "PRAGMA max_page_count = 1", lambda: None)
    store = await TimelineStore.open(path, bounds=BOUNDS)
    await put(store, entry("a"))
    is_full.set()
    told: list[str] = []
    store.put([entry("b", data=b"x" * 9000)], told.append)
    await store.close()
    assert told == ["the disk is full"]
    store.put([entry("c")], told.append)
    await until(lambda: len(told) > 1)
    assert told[1:] == ["the timeline is closed"]
    with pytest.raises(OSError, match="closed"):
        await store.load("happening", 1)


async def test_a_disk_that_hangs_holds_up_nobody(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, go_on = threading.Event(), threading.Event()
    hangs.set()
    _fail_while(monkeypatch, hangs, "SELECT 1", lambda: go_on.wait(LIMIT_SECONDS))
    store = await TimelineStore.open(
        path,
        bounds=BOUNDS,
        settings=TimelineSettings(held_entries=10, patience_seconds=0.01, close_seconds=0.05),
    )
    assert await put(store, entry("a")) == "the disk does not answer"
    with pytest.raises(TimeoutError, match="the disk does not answer"):
        await store.load("happening", 9)
    told: list[str] = []
    for n in range(20):
        store.put([entry(str(n), float(n))], told.append)
    assert store._count == 10, "what waits is bounded"
    assert len(told) == 10
    await until(lambda: len(told) == 20)
    assert told[10:] == ["the disk does not answer"] * 10
    late: list[str] = []
    store.put([entry("late", 99.0)], late.append)
    await store.close()
    assert late == ["the disk does not answer"]
    go_on.set()
    await until(lambda: not store._worker.is_alive)
    assert set(ids(read_timeline(path, "happening", 0.0))) >= {"late", "19"}


async def test_a_fault_of_its_own_leaves_nobody_waiting(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    store = await TimelineStore.open(path, bounds=BOUNDS)
    monkeypatch.setattr(TimelineFile, "write", broken)
    assert await put(store, entry("a")) == "the timeline stopped by a fault of its own"
    assert "a fault of its own" in caplog.text
    await store.close()
    caplog.clear()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def _files(path: Path) -> list[Path]:
    return [each for each in path.parent.iterdir() if each.name.startswith(path.name)]


def _drop_tables(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("DROP TABLE entries")
    db.commit()
    db.close()


def _of_another_program(path: Path, *statements: str) -> bytes:
    db = sqlite3.connect(path)
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()
    return path.read_bytes()
