"""Answers on disk: restart, budget, damage, a full disk, company on the same file."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpcproxy.edges.disk import disk_cache, disk_file
from rpcproxy.edges.disk.disk_cache import DiskCache, DiskCacheRefused, DiskCacheSettings
from rpcproxy.edges.disk.disk_file import AnswerFileSettings
from tests.kits.waiting import LIMIT_SECONDS, until
from tests.sockets.scripted import on_both_loops

MIB = 1024 * 1024
CHAIN = "1:0xd4e5"


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.db"


# Writes are not gathered, locks not waited for, and no slow machine makes a read late.
QUICK_FILE = AnswerFileSettings(busy_seconds=0.02, pause_seconds=0.01)
QUICK = DiskCacheSettings(gather_seconds=0.0, read_seconds=20.0, file=QUICK_FILE)


@asynccontextmanager
async def opened(
    path: Path,
    max_bytes: int = MIB,
    identity: str = CHAIN,
    clock: Clock | None = None,
    settings: DiskCacheSettings = QUICK,
) -> AsyncIterator[DiskCache]:
    cache = await DiskCache.open(
        path, max_bytes, identity, clock=clock or Clock(), settings=settings
    )
    try:
        await until(lambda: not cache._is_loading)
        yield cache
    finally:
        await cache.close()
        assert await joined(cache)


async def joined(cache: DiskCache) -> bool:
    await until(lambda: not cache._worker.is_alive)
    return True


async def put(cache: DiskCache, *pairs: tuple[bytes, bytes]) -> None:
    for key, result in pairs:
        cache.put(key, result)
    await until(lambda: cache._queued_rows == cache._taken_rows)


@contextmanager
def other(path: Path) -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(path, isolation_level=None)
    try:
        yield db
    finally:
        db.close()


def content(path: Path) -> bytes:
    return path.read_bytes()


def fill(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.event for record in caplog.records if hasattr(record, "event")]


def aside(path: Path) -> list[Path]:
    found = path.parent.glob(f"{path.name}.damaged-*")
    return sorted(name for name in found if not name.name.endswith(("-wal", "-shm")))


# --------------------------------------------------------------------------
# Put and get


@on_both_loops
async def test_an_answer_comes_back(path: Path) -> None:
    async with opened(path) as cache:
        assert not cache.has(b"a")
        await put(cache, (b"a", b'{"x":1}'), (b"b", b""))
        assert cache.has(b"a")
        assert not cache.has(b"c")
        assert await cache.get(b"a") == b'{"x":1}'
        assert await cache.get(b"b") == b""
        assert await cache.get(b"c") is None
        assert (cache.hits, cache.misses, cache.written, len(cache)) == (2, 1, 2, 2)


@on_both_loops
async def test_it_survives_a_restart(path: Path) -> None:
    async with opened(path) as cache:
        for n in range(5000):
            cache.put(b"%d" % n, b"answer %d" % n)
            if n % 1000 == 999:
                await until(lambda: cache._queued_rows == cache._taken_rows)
        cache.put(b"last", b"1")  # what still waits is written by close
    async with opened(path) as cache:
        assert len(cache) == 5001
        assert await cache.get(b"last") == b"1"
        assert await cache.get(b"4321") == b"answer 4321"
        assert (cache.dropped, cache.damaged) == (0, 0)


@on_both_loops
async def test_another_chain_is_another_matter(path: Path) -> None:
    async with opened(path) as cache, opened(path, identity="1:0xother") as second:
        await put(cache, (b"a", b"1"))
        await put(second, (b"a", b"2"), (b"b", b"3"))
        assert not cache.has(b"b")
        assert await cache.get(b"a") == b"1"
        assert await second.get(b"a") == b"2"
    async with opened(path, identity="56:0xd4e5") as third:
        assert len(third) == 0
    async with opened(path) as cache:
        assert len(cache) == 1


async def test_a_colliding_digest_never_gives_anothers_answer(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DiskCache, "_digest", lambda self, key: b"same for" if key else b"12345678")
    async with opened(path) as cache, opened(path, identity="56") as second:
        await put(cache, (b"a", b"1"))
        assert await cache.get(b"a") == b"1"
        assert await cache.get(b"b") is None
        assert cache.damaged == 0
        second._digests.add(b"same for")
        assert await second.get(b"a") is None
        assert second.damaged == 0


async def test_what_is_there_is_not_written_again(path: Path) -> None:
    async with opened(path) as cache:
        await put(cache, (b"a", b"1"))
        await put(cache, (b"a", b"1"))
        assert cache.written == 1


async def test_an_answer_too_large_is_refused(path: Path) -> None:
    async with opened(path, max_bytes=MIB) as cache:
        cache.put(b"a", b"x" * (MIB // 32))
        assert cache.dropped == 1
        await put(cache, (b"a", b"x" * (MIB // 32 - 1)))
        assert cache.has(b"a")


async def test_too_many_that_wait_are_dropped_and_counted(path: Path) -> None:
    async with opened(path, settings=replace(QUICK, queued_rows=5)) as cache:
        with held_up(cache):
            for n in range(8):
                cache.put(b"%d" % n, b"1")
            assert cache.dropped == 3
        await until(lambda: cache.written == 5)
        cache.put(b"8", b"1")
        assert cache.dropped == 3
    async with opened(path, settings=replace(QUICK, queued_bytes=1000)) as cache:
        with held_up(cache):
            cache.put(b"long", b"x" * 900)
            cache.put(b"longer", b"x" * 900)
            assert cache.dropped == 1


@contextmanager
def held_up(cache: DiskCache) -> Iterator[None]:
    """The thread stands still, as on a disk that hangs."""
    go_on = threading.Event()
    is_held = threading.Event()
    write, read = cache._write, cache._read

    def hold() -> None:
        is_held.set()
        go_on.wait(LIMIT_SECONDS)

    def held_write(rows: list[disk_file.AnswerRow]) -> None:
        hold()
        write(rows)

    def held_read(digest: bytes, key: bytes) -> bytes | None:
        hold()
        return read(digest, key)

    cache._write, cache._read = held_write, held_read  # type: ignore[method-assign]
    try:
        yield
    finally:
        go_on.set()
        cache._write, cache._read = write, read  # type: ignore[method-assign]


@on_both_loops
async def test_a_disk_that_hangs_holds_up_nobody(path: Path) -> None:
    async with opened(path) as cache:
        await put(cache, (b"a", b"1"))
        cache._settings = replace(QUICK, read_seconds=0.01)
        with held_up(cache):
            assert await cache.get(b"a") is None
            assert (cache.late, cache.misses) == (1, 1)
            waiting = asyncio.ensure_future(cache.get(b"a"))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
        cache._settings = QUICK
        assert await cache.get(b"a") == b"1"


async def test_close_gives_up_on_a_disk_that_hangs(path: Path) -> None:
    cache = await DiskCache.open(path, MIB, CHAIN, settings=replace(QUICK, close_seconds=0.01))
    with held_up(cache):
        cache.put(b"a", b"1")
        await cache.close()
        assert cache._worker.is_alive
    assert await joined(cache)


@on_both_loops
async def test_closed_it_is_quiet(path: Path) -> None:
    cache = await DiskCache.open(path, MIB, CHAIN, settings=QUICK)
    cache.put(b"a", b"1")
    await cache.close()
    await cache.close()
    cache.put(b"b", b"1")
    assert await cache.get(b"a") is None
    assert cache.written == 1
    assert await joined(cache)


async def test_reads_under_way_are_answered_before_the_end(path: Path) -> None:
    async with opened(path) as cache:
        await put(cache, (b"a", b"1"))
        reads = [asyncio.ensure_future(cache.get(b"a")) for _ in range(10)]
        await asyncio.sleep(0)
    assert [await read for read in reads] == [b"1"] * 10


def test_a_loop_that_is_gone_is_no_trouble(path: Path) -> None:
    async def leave() -> DiskCache:
        cache = await DiskCache.open(path, MIB, CHAIN, settings=QUICK)
        cache.put(b"a", b"1")
        return cache

    cache = asyncio.run(leave())
    cache._worker.begin_close()
    cache._worker._thread.join(LIMIT_SECONDS)
    assert not cache._worker.is_alive
    assert cache.written == 1


async def test_an_opening_given_up_ends_its_thread(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    caches: list[DiskCache] = []
    open_file = disk_cache.open_file

    def slow(*args: object) -> object:
        go_on.wait(LIMIT_SECONDS)
        return open_file(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(disk_cache, "open_file", slow)
    begin = DiskCache._open
    monkeypatch.setattr(DiskCache, "_open", lambda self: (caches.append(self), begin(self)))
    opening = asyncio.ensure_future(DiskCache.open(path, MIB, CHAIN, settings=QUICK))
    await until(lambda: bool(caches))
    opening.cancel()
    await asyncio.wait([opening])
    go_on.set()
    assert await joined(caches[0])


async def test_a_bug_in_the_thread_ends_the_cache_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(path) as cache:
        await put(cache, (b"a", b"1"))
        monkeypatch.setattr(cache, "_batch", lambda: 1 / 0)
        cache.put(b"b", b"1")
        assert await joined(cache)
        assert await cache.get(b"a") is None
        assert not cache.has(b"a")
        cache.put(b"c", b"1")
    assert events(caplog) == ["disk_cache_stopped"]


# --------------------------------------------------------------------------
# Budget


def size_on_disk(path: Path) -> int:
    return path.stat().st_size


@on_both_loops
async def test_the_file_stays_within_its_budget(path: Path) -> None:
    clock = Clock()
    async with opened(path, MIB, clock=clock) as cache:
        for n in range(800):
            clock.now += 1
            await put(cache, (b"%d" % n, os.urandom(2000)))
        assert cache.written == 800
        assert await cache.get(b"799") is not None
        assert not cache.has(b"0")
        kept = [n for n in range(800) if cache.has(b"%d" % n)]
        assert kept == list(range(kept[0], 800))
        assert len(kept) > 250
    assert MIB // 2 < size_on_disk(path) <= MIB
    async with opened(path, MIB, clock=clock) as cache:
        assert len(cache) == len(kept)


async def test_the_last_used_stay(path: Path) -> None:
    clock = Clock()
    async with opened(path, MIB, clock=clock) as cache:
        await put(cache, (b"old", b"1"))
        for n in range(600):
            clock.now += disk_file.USED_SECONDS + 1
            await put(cache, (b"%d" % n, os.urandom(2000)))
            assert await cache.get(b"old") == b"1"
        assert not cache.has(b"0")


async def test_reads_are_written_down_in_time_and_at_the_end(path: Path) -> None:
    soon = replace(QUICK, file=replace(QUICK_FILE, touched_rows=2))
    clock = Clock()
    started = int(clock.now)

    def used() -> list[int]:
        with other(path) as db:
            return [used for (used,) in db.execute("SELECT used FROM answers ORDER BY key")]

    async with opened(path, clock=clock, settings=soon) as cache:
        await put(cache, (b"a", b"1"), (b"b", b"1"), (b"c", b"1"))
        await cache.get(b"a")
        await cache.get(b"b")
        clock.now += 1000
        for key in (b"a", b"b", b"c"):
            await cache.get(key)
        await until(lambda: used() == [started + 1000, started + 1000, started])
    assert used() == [started + 1000] * 3


async def test_the_oldest_of_all_chains_go_first(path: Path) -> None:
    clock = Clock()
    async with opened(path, identity="retired", clock=clock) as cache:
        for n in range(200):
            await put(cache, (b"%d" % n, os.urandom(2000)))
    clock.now += 1
    async with opened(path, clock=clock) as cache:
        for n in range(200):
            await put(cache, (b"%d" % n, os.urandom(2000)))
        assert len(cache) == 200
    async with opened(path, identity="retired", clock=clock) as cache:
        assert len(cache) < 200


async def test_a_smaller_budget_gives_room_back(path: Path) -> None:
    async with opened(path, 4 * MIB) as cache:
        for n in range(1000):
            cache.put(b"%d" % n, os.urandom(2000))
    assert size_on_disk(path) > 2 * MIB
    async with opened(path, MIB) as cache:
        for n in range(20):
            await put(cache, (b"new %d" % n, b"1"))
        assert cache.has(b"new 19")
    assert size_on_disk(path) <= MIB


async def test_the_number_of_rows_is_bounded(path: Path) -> None:
    ten = replace(QUICK, file=replace(QUICK_FILE, max_rows=10))
    four = replace(QUICK, file=replace(QUICK_FILE, max_rows=4, loaded_at_once=2))
    clock = Clock()
    async with opened(path, clock=clock, settings=ten) as cache:
        for n in range(30):
            clock.now += 1
            await put(cache, (b"%d" % n, b"1"))
        assert len(cache) == 10
        assert cache.has(b"29")
    async with opened(path, clock=clock, settings=four) as cache:
        assert len(cache) == 4
        assert cache.has(b"26")


async def test_a_budget_that_an_empty_file_fills_is_no_endless_matter(path: Path) -> None:
    async with opened(path, 24 * 1024) as cache:
        await put(cache, (b"a", b"1"))
        await put(cache, (b"b", b"1"))
        assert [cache.has(b"a"), cache.has(b"b")] == [False, True]


async def test_a_budget_of_nothing_keeps_nothing(path: Path) -> None:
    async with opened(path, 0) as cache:
        cache.put(b"a", b"1")
        assert cache.dropped == 1


@given(
    budget=st.integers(64 * 1024, 512 * 1024),
    asks=st.lists(
        st.tuples(st.integers(0, 30), st.sampled_from([0, 10, 900, 5000, 9000])),
        min_size=1,
        max_size=80,
    ),
)
@settings(max_examples=15, deadline=None)
def test_against_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, budget: int, asks: list[tuple[int, int]]
) -> None:
    """Fewer answers than in a dictionary, but never another one, before and after restarts."""
    path = tmp_path_factory.mktemp("model") / "answers.db"

    def answer(n: int, size: int) -> bytes:
        return b"%d:%d:" % (n, size) + bytes([n]) * size

    async def run() -> None:
        model: dict[bytes, set[bytes]] = {}
        clock = Clock()
        for part in (asks[::2], asks[1::2]):
            async with opened(path, budget, clock=clock) as cache:
                for n, size in part:
                    clock.now += 1
                    key, result = b"k%d" % n, answer(n, size)
                    model.setdefault(key, set()).add(result)
                    await put(cache, (key, result))
                    given = await cache.get(key)
                    assert given is None or given in model[key]
                for key, results in model.items():
                    given = await cache.get(key)
                    assert given is None or given in results
                assert await cache.get(b"never put") is None
                assert cache.damaged == 0
            assert size_on_disk(path) <= budget

    asyncio.run(run())


# --------------------------------------------------------------------------
# Damage


@on_both_loops
async def test_half_a_row_is_never_given(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()
    async with opened(path) as cache:
        await put(cache, *((b"%d" % n, b"0123456789") for n in range(6)))
        with other(path) as db:
            db.execute("UPDATE answers SET result = CAST('01234' AS BLOB) WHERE key = ?", (b"0",))
            db.execute("UPDATE answers SET result = 'text' WHERE key = ?", (b"1",))
            db.execute("UPDATE answers SET checksum = checksum + 1 WHERE key = ?", (b"2",))
        for n in range(3):
            assert await cache.get(b"%d" % n) is None
            assert not cache.has(b"%d" % n)
        assert await cache.get(b"3") == b"0123456789"
        assert cache.damaged == 3
        await put(cache, (b"0", b"anew"))
        assert await cache.get(b"0") == b"anew"
    assert events(caplog) == ["disk_cache_damaged"]
    async with opened(path) as cache:
        assert len(cache) == 4


@on_both_loops
async def test_a_file_that_is_no_database_is_set_aside(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    for left in aside(path):
        left.unlink()
    fill(path, b"this is no database at all" * 100)
    async with opened(path) as cache:
        await put(cache, (b"a", b"1"))
        assert await cache.get(b"a") == b"1"
    assert events(caplog) == ["disk_cache_set_aside"]
    [kept] = aside(path)
    assert kept.read_bytes() == b"this is no database at all" * 100
    assert kept.name in caplog.text


async def test_damage_under_way_begins_a_new_file(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(path) as cache:
        for n in range(200):
            cache.put(b"%d" % n, os.urandom(3000))
    whole = content(path)
    fill(path, whole[: 3 * 4096] + os.urandom(len(whole) - 3 * 4096))
    async with opened(path) as cache:
        for n in range(200):
            await cache.get(b"%d" % n)
            await put(cache, (b"new %d" % n, b"1"))
        assert await cache.get(b"new 199") == b"1"
    assert events(caplog)[0] in ("disk_cache_set_aside", "disk_cache_damaged")
    assert "disk_cache_set_aside" in events(caplog)
    assert aside(path)[0].stat().st_size >= len(whole) // 2


def test_two_set_aside_in_one_second_keep_their_own_names(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    names = []
    for n in range(3):
        path.write_bytes(b"%d" % n)
        (tmp_path / "answers.db-wal").write_bytes(b"log %d" % n)
        names.append(disk_file.set_aside(path))
    assert [name.read_bytes() for name in names] == [b"0", b"1", b"2"]
    assert Path(f"{names[2]}-wal").read_bytes() == b"log 2"
    assert not path.exists()


async def test_a_disk_that_damages_everything_is_left_alone(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(path) as cache:
        for n in range(disk_cache.MOST_SET_ASIDE + 1):
            await put(cache, (b"%d" % n, b"1"))
            with other(path) as db:
                db.execute("DROP TABLE answers")
            cache.put(b"more %d" % n, b"1")
            await until(lambda n=n: len(caplog.records) == n + 1)
        assert not cache.has(b"0")
        assert await cache.get(b"0") is None
        cache.put(b"a", b"1")
    assert len(aside(path)) == disk_cache.MOST_SET_ASIDE
    assert events(caplog) == ["disk_cache_set_aside"] * 2 + ["disk_cache_stopped"]


async def test_a_file_that_another_process_set_aside_is_not_set_aside_again(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(path) as cache:
        await put(cache, (b"a", b"1"))
        with other(path) as db:
            db.execute("DROP TABLE answers")
        disk_file.set_aside(path)
        async with opened(path) as newer:
            await put(newer, (b"b", b"2"))
            cache.put(b"c", b"3")  # fails on the old file
            await until(lambda: cache.has(b"b"))
            await put(cache, (b"d", b"4"))
            assert await cache.get(b"b") == b"2"
    assert len(aside(path)) == 1
    assert not events(caplog)


async def test_a_file_that_was_removed_is_begun_anew_once_it_fails(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(path) as cache:
        await put(cache, (b"a", b"1"))
        with other(path) as db:
            db.execute("DROP TABLE answers")
        for file in list(path.parent.iterdir()):
            file.unlink()
        await put(cache, (b"b", b"1"))
        await put(cache, (b"c", b"1"))
        assert await cache.get(b"c") == b"1"
    assert not events(caplog)
    assert not aside(path)


async def test_a_disk_that_is_lost_under_way_is_said_once(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    async with opened(path) as cache:
        await put(cache, (b"a", b"1"))
        monkeypatch.setattr(disk_file.AnswerFile, "write", fail)
        monkeypatch.setattr(Path, "stat", fail)
        with held_up(cache):
            cache.put(b"b", b"1")
            reading = asyncio.ensure_future(cache.get(b"a"))  # finds no file any more
            await asyncio.sleep(0)
        assert await reading in (b"1", None)
        await until(lambda: events(caplog) == ["disk_cache_stopped"])
        cache._digests.add(cache._digest(b"a"))
        assert await cache.get(b"a") is None
        assert cache.dropped == 1
        monkeypatch.undo()


async def test_a_file_that_cannot_be_set_aside_stops_the_cache(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fill(path, b"this is no database at all" * 100)

    def refuse(path: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(disk_cache, "set_aside", refuse)
    async with opened(path) as cache:
        cache.put(b"a", b"1")
        assert not cache.has(b"a")
    assert events(caplog) == ["disk_cache_stopped"]
    assert content(path).startswith(b"this is no")


# --------------------------------------------------------------------------
# Refused


async def test_a_newer_versions_file_is_refused_in_words(path: Path) -> None:
    async with opened(path) as cache:
        await put(cache, (b"a", b"1"))
    with other(path) as db:
        db.execute("PRAGMA user_version = 2")
    before = content(path)
    with pytest.raises(DiskCacheRefused, match=r"newer version of rpcproxy .*update, or give"):
        await DiskCache.open(path, MIB, CHAIN, settings=QUICK)
    assert content(path) == before


@pytest.mark.parametrize("application", [0, 77])
async def test_another_programs_database_is_refused_in_words(path: Path, application: int) -> None:
    with other(path) as db:
        db.execute("CREATE TABLE customers (name)")
        db.execute(f"PRAGMA application_id = {application}")
    with pytest.raises(DiskCacheRefused, match="database of another program"):
        await DiskCache.open(path, MIB, CHAIN, settings=QUICK)
    with other(path) as db:
        assert db.execute("SELECT count(*) FROM customers").fetchone() == (0,)


async def test_a_file_that_turns_newer_while_it_is_renewed_stops_the_cache(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(path) as cache:
        await put(cache, (b"a", b"1"))
        with other(path) as db:
            db.execute("DROP TABLE answers")
        disk_file.set_aside(path)
        with other(path) as db:
            db.execute(f"PRAGMA application_id = {disk_file.APPLICATION_ID}")
            db.execute("PRAGMA user_version = 2")
        cache.put(b"c", b"3")
        await until(lambda: events(caplog) == ["disk_cache_stopped"])
        assert "newer version" in str(caplog.records[0].__dict__)
        assert not cache.has(b"a")


# --------------------------------------------------------------------------
# A disk that cannot be written


def connecting(monkeypatch: pytest.MonkeyPatch, then: Callable[[sqlite3.Connection], None]) -> None:
    connect = disk_file.connect

    def connect_and(path: Path, busy_seconds: float) -> sqlite3.Connection:
        db = connect(path, busy_seconds)
        then(db)
        return db

    monkeypatch.setattr(disk_file, "connect", connect_and)


async def test_a_full_disk_is_said_once_and_reads_go_on(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    connecting(monkeypatch, lambda db: db.execute("PRAGMA max_page_count = 40"))
    async with opened(path) as cache:
        await put(cache, (b"a", b"1"))
        for n in range(100):
            await put(cache, (b"%d" % n, os.urandom(5000)))
        assert events(caplog) == ["disk_cache_stopped"]
        assert "full" in str(caplog.records[0].__dict__)
        assert await cache.get(b"a") == b"1"
        assert 0 < cache.written < 40
        assert cache.dropped == 1
    monkeypatch.undo()
    async with opened(path) as cache:
        assert await cache.get(b"a") == b"1"


async def test_a_read_only_file_is_read(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    async with opened(path, clock=clock) as cache:
        await put(cache, (b"a", b"1"), (b"b", b"2"), (b"c", b"3"))
        with other(path) as db:
            db.execute("UPDATE answers SET checksum = 1 WHERE key = ?", (b"b",))
        do_read = disk_file.AnswerFile.read

        def read_only(
            self: disk_file.AnswerFile, digest: bytes, key: bytes
        ) -> tuple[bytes | None, bool]:
            self._db.execute("PRAGMA query_only = ON")
            return do_read(self, digest, key)

        monkeypatch.setattr(disk_file.AnswerFile, "read", read_only)
        clock.now += 10_000
        assert await cache.get(b"a") == b"1"
        await put(cache, (b"d", b"4"))
        assert events(caplog) == ["disk_cache_stopped"]
        assert await cache.get(b"b") is None  # damaged, and it cannot be deleted
        assert await cache.get(b"c") == b"3"
        cache.put(b"e", b"5")
        assert cache._queued_rows == 4
    assert events(caplog) == ["disk_cache_stopped", "disk_cache_damaged"]


@on_both_loops
async def test_a_path_that_cannot_be_opened_keeps_nothing_and_is_said_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    cache = await DiskCache.open(path / "missing" / "answers.db", MIB, CHAIN)
    cache.put(b"a", b"1")
    assert await cache.get(b"a") is None
    await cache.close()
    assert events(caplog) == ["disk_cache_stopped"]


def test_what_errors_mean(tmp_path: Path) -> None:
    bare = sqlite3.ProgrammingError("Cannot operate on a closed database.")
    assert disk_file.trouble(bare) is disk_file.FileTrouble.LOST
    assert disk_file.trouble(OSError(5, "Input/output error")) is disk_file.FileTrouble.LOST
    for code, expected in {
        sqlite3.SQLITE_IOERR_READ: disk_file.FileTrouble.LOST,
        sqlite3.SQLITE_BUSY_SNAPSHOT: disk_file.FileTrouble.BUSY,
        sqlite3.SQLITE_CORRUPT_INDEX: disk_file.FileTrouble.DAMAGED,
        sqlite3.SQLITE_READONLY_DBMOVED: disk_file.FileTrouble.UNWRITABLE,
        sqlite3.SQLITE_FULL: disk_file.FileTrouble.UNWRITABLE,
    }.items():
        error = sqlite3.OperationalError("words")
        error.sqlite_errorcode = code
        assert disk_file.trouble(error) is expected


# --------------------------------------------------------------------------
# Company on one file


@on_both_loops
async def test_two_on_one_file(path: Path) -> None:
    async with opened(path) as one, opened(path) as two:
        for n in range(50):
            one.put(b"one %d" % n, b"1")
            two.put(b"two %d" % n, b"2")
            two.put(b"both %d" % n, b"3")
            one.put(b"both %d" % n, b"3")
        for cache in (one, two):
            await until(lambda cache=cache: cache._queued_rows == cache._taken_rows)
        assert all(
            [await one.get(b"one %d" % n) == b"1" for n in range(50) if one.has(b"one %d" % n)]
        )
        lost = one.dropped + two.dropped
    async with opened(path) as cache:
        assert len(cache) >= 150 - lost
        assert cache.damaged == 0
        assert await cache.get(b"both 7") in (b"3", None)


async def test_what_another_process_evicted_is_a_miss(path: Path) -> None:
    async with opened(path) as cache:
        await put(cache, (b"a", b"1"))
        with other(path) as db:
            db.execute("DELETE FROM answers")
        assert cache.has(b"a")
        assert await cache.get(b"a") is None
        assert not cache.has(b"a")
        assert cache.damaged == 0


@on_both_loops
async def test_a_file_locked_by_another_costs_the_rows_and_nothing_else(path: Path) -> None:
    async with opened(path) as cache:
        await put(cache, (b"a", b"1"))
        with other(path) as db:
            db.execute("BEGIN IMMEDIATE")
            dropped = cache.dropped
            await put(cache, (b"lost", b"1"))
            assert cache.dropped == dropped + 1
            assert await cache.get(b"a") == b"1"
            db.execute("ROLLBACK")
        await put(cache, (b"lost", b"1"))
        assert await cache.get(b"lost") == b"1"


async def test_a_file_locked_for_good_is_not_opened(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(path) as cache:
        await put(cache, (b"a", b"1"))
    with other(path) as db:
        db.execute("BEGIN IMMEDIATE")
        async with opened(path) as cache:
            assert len(cache) == 0
    assert events(caplog) == ["disk_cache_stopped"]
    assert not aside(path)


_OTHER_PROCESS = """
import asyncio, sys
from rpcproxy.edges.disk.disk_cache import DiskCache

async def main(path, name):
    cache = await DiskCache.open(path, 1 << 20, "1:0xd4e5")
    for n in range(300):
        cache.put(b"%s %d" % (name, n), name * 100)
        if n % 50 == 49:
            await asyncio.sleep(0.01)
    await cache.close()
    print(cache.written, cache.dropped)

asyncio.run(main(sys.argv[1], sys.argv[2].encode()))
"""


def test_two_processes_begin_and_fill_one_file(path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _OTHER_PROCESS, str(path), name],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("x", "y")
    ]
    ended = [process.communicate(timeout=LIMIT_SECONDS) for process in processes]
    assert [errors for _, errors in ended] == ["", ""]
    written = 0
    for out, _ in ended:
        counts = [int(word) for word in out.split()]
        assert sum(counts) == 300
        written += counts[0]

    async def check() -> None:
        async with opened(path) as cache:
            assert len(cache) == written > 0
            for name in (b"x", b"y"):
                for n in range(300):
                    key = b"%s %d" % (name, n)
                    if cache.has(key):
                        assert await cache.get(key) == name * 100

    asyncio.run(check())
    assert not aside(path)
