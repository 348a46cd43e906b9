"""The journal as the event loop sees it: groups, notes, kills, full and broken disks, company."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from rpcproxy.edges.disk import disk_file, journal_file
from rpcproxy.edges.disk.journal import (
    DiskJournal,
    JournalBroken,
    JournalRefused,
    JournalRow,
    JournalSettings,
    read_rows,
)
from rpcproxy.edges.disk.journal_place import JournalPlace
from rpcproxy.edges.disk.worker import Worker
from tests.kits.waiting import LIMIT_SECONDS, limited, until
from tests.sockets.scripted import on_both_loops

CHAIN = "evm:1"
DAY = 86_400


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Faults:
    """What happens at the fault points of the journals of a test, in their threads."""

    def __init__(self) -> None:
        self.act: Callable[[str], None] | None = None

    def __call__(self, where: str) -> None:
        if self.act is not None:
            self.act(where)


faults = Faults()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ethereum.sqlite"


QUICK = JournalSettings(note_seconds=0.01, busy_seconds=0.02)


@pytest.fixture(autouse=True)
def without_faults() -> Iterator[None]:
    yield
    faults.act = None


@asynccontextmanager
async def opened(
    path: Path, clock: Clock | None = None, settings: JournalSettings = QUICK
) -> AsyncIterator[DiskJournal]:
    opened = await DiskJournal.open(
        path, CHAIN, clock=clock or Clock(), fault=faults, settings=settings
    )
    try:
        yield opened
    finally:
        await opened.close()
        assert not opened._worker.is_alive


def hash_of(n: int) -> str:
    return f"0x{n:064x}"


def row(n: int, *, state: str = "journaled", size: int = 100) -> JournalRow:
    return JournalRow(
        hash=hash_of(n),
        raw=random.Random(n).randbytes(size),
        lane="0x" + "ab" * 20,
        order=n,
        created=1_700_000_000.0 + n,
        state=state,
        updated=1_700_000_000.0 + n,
    )


def orders(path: Path) -> list[int]:
    return sorted(each.order for each in read_rows(path))


def other(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def free_pages(path: Path) -> int:
    with closing(other(path)) as db:
        return int(db.execute("PRAGMA freelist_count").fetchone()[0])


def fill(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def content(path: Path) -> bytes:
    return path.read_bytes()


def remove(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.event for record in caplog.records if hasattr(record, "event")]


@contextmanager
def hanging(at: str = "before commit") -> Iterator[threading.Event]:
    """The disk hangs; the event is set once the thread hangs on it."""
    go_on, is_held = threading.Event(), threading.Event()

    def hold(where: str) -> None:
        if where == at:
            is_held.set()
            go_on.wait(LIMIT_SECONDS)

    faults.act = hold
    try:
        yield is_held
    finally:
        faults.act = None
        go_on.set()


@asynccontextmanager
async def elsewhere(one: DiskJournal) -> AsyncIterator[None]:
    """The thread does something else: what is asked for meanwhile waits, and goes together."""
    go_on, is_held = threading.Event(), threading.Event()

    def hold() -> None:
        is_held.set()
        go_on.wait(LIMIT_SECONDS)

    holding = one._worker.ask(hold)
    try:
        await until(is_held.is_set)
        yield
    finally:
        go_on.set()
    await holding


async def added_together(one: DiskJournal, *rows: JournalRow) -> list[BaseException | None]:
    """What became of each, where all waited before the thread looked."""
    async with elsewhere(one):
        adding = [asyncio.ensure_future(one.add(each)) for each in rows]
        await asyncio.sleep(0)  # each has its turn
    return await asyncio.gather(*adding, return_exceptions=True)


class Held(NamedTuple):
    """One commit: whether the disk hangs on it, and its way on."""

    is_held: threading.Event
    go_on: threading.Event


@contextmanager
def hanging_twice() -> Iterator[tuple[Held, Held]]:
    """The disk hangs on the next commit, and on the one after it."""
    both = (Held(threading.Event(), threading.Event()), Held(threading.Event(), threading.Event()))
    left = iter(both)

    def hold(where: str) -> None:
        if where == "before commit" and (held := next(left, None)) is not None:
            held.is_held.set()
            held.go_on.wait(LIMIT_SECONDS)

    faults.act = hold
    try:
        yield both
    finally:
        faults.act = None
        for held in both:
            held.go_on.set()


# --------------------------------------------------------------------------
# Add, settle, note, find


@on_both_loops
async def test_rows_survive_a_restart_in_full(path: Path) -> None:
    odd = row(2)
    odd.order, odd.is_private, odd.said, odd.block = (1 << 64) - 2, True, {"a": "no"}, 1 << 63
    async with opened(path) as first:
        assert first.open_rows == []
        await first.add(odd)
        await first.add(row(1))
        await first.add(row(3, state="refused"))
        assert await first.find(odd.hash) == odd
        assert await first.find(hash_of(9)) is None
        assert (first.trouble, first.set_aside, first.commits) == ("", None, 3)
    async with opened(path) as second:
        assert second.open_rows == [odd, row(1)]
        assert await second.find(hash_of(3)) == row(3, state="refused")


@on_both_loops
async def test_a_thousand_at_once_are_few_commits(path: Path) -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with opened(path) as opened_journal:
        turning = asyncio.ensure_future(count_turns())
        await asyncio.gather(*(opened_journal.add(row(n)) for n in range(1000)))
        turning.cancel()
        assert opened_journal.commits < 20
        assert turns > 1
        assert orders(path) == list(range(1000))


@on_both_loops
async def test_what_waits_while_the_disk_hangs_goes_into_one_commit(path: Path) -> None:
    async with opened(path) as held:
        with hanging() as is_held:
            first = asyncio.ensure_future(held.add(row(0)))
            await until(is_held.is_set)
            rest = [asyncio.ensure_future(held.add(row(n))) for n in range(1, 200)]
            rest.append(asyncio.ensure_future(held.settle(hash_of(0), "sent", -1, {})))
            await asyncio.sleep(0.02)  # the loop turns all the while
            assert not first.done()
            assert not any(each.done() for each in rest)
        await asyncio.gather(first, *rest)
        assert held.commits == 2
    assert orders(path) == list(range(200))


async def test_the_loop_is_told_once_per_commit(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    tell = Worker.tell

    def counted(self: Worker, answers: list[tuple[asyncio.Future[None], object]]) -> None:
        told.append(len(answers))
        tell(self, answers)

    async with opened(path) as one:
        monkeypatch.setattr(Worker, "tell", counted)
        await asyncio.gather(*(one.add(row(n)) for n in range(300)))
        assert len(told) == one.commits
        assert sum(told) == 300


async def test_a_hash_that_is_there_is_no_new_row(path: Path) -> None:
    async with opened(path) as one:
        await asyncio.gather(*(one.add(row(1, state=state)) for state in ("journaled", "sent")))
        await one.add(row(1, state="expired"))
        assert await one.find(hash_of(1)) == row(1)
    assert len(read_rows(path)) == 1


@on_both_loops
async def test_a_settled_row_is_on_the_disk(path: Path) -> None:
    clock = Clock()
    async with opened(path, clock) as one:
        await one.add(row(1))
        clock.now += 5
        await one.settle(hash_of(1), "final", 1234, {"a": "accepted", "b": "already known"})
        await one.settle(hash_of(2), "final", 1, {})  # of nothing
        [kept] = read_rows(path)
    said = {"a": "accepted", "b": "already known"}
    assert (kept.state, kept.block, kept.said, kept.updated) == ("final", 1234, said, clock.now)
    async with opened(path) as one:
        assert one.open_rows == []


@on_both_loops
async def test_notes_are_written_soon_and_the_last_wins(path: Path) -> None:
    async with opened(path) as one:
        await asyncio.gather(one.add(row(1)), one.add(row(2)))
        async with elsewhere(one):
            for n in range(50):
                one.note(hash_of(1), "sent", n, {"a": str(n)})
            one.note(hash_of(2), "mined", 7, {})
        found = await one.find(hash_of(1))
        assert found is not None
        assert (found.state, found.block, found.said) == ("sent", 49, {"a": "49"})
        await until(lambda: read_rows(path, hash_of(2))[0].block == 7)
        assert read_rows(path, hash_of(1))[0].block == 49
        assert one.commits <= 3
        one.note(hash_of(1), "mined", 50, {})
        await one.settle(hash_of(1), "final", 51, {})
        one.note(hash_of(2), "sent", 8, {})  # close writes it
    one.note(hash_of(2), "mined", 9, {})  # too late
    assert {(each.order, each.state, each.block) for each in read_rows(path)} == {
        (1, "final", 51),
        (2, "sent", 8),
    }


async def test_a_note_waits_for_company(path: Path) -> None:
    async with opened(path, settings=replace(QUICK, note_seconds=60.0)) as one:
        await one.add(row(1))
        one.note(hash_of(1), "sent", -1, {})
        assert await one.find(hash_of(1)) is not None
        await one.add(row(2))
        assert read_rows(path, hash_of(1))[0].state == "sent"
        assert one.commits == 2


@on_both_loops
async def test_look_ups_wait_for_no_commit_that_has_not_begun(path: Path) -> None:
    async with opened(path) as one:
        await one.add(row(1))
        with hanging_twice() as (first, second):
            under_way = asyncio.ensure_future(one.add(row(2)))
            await until(first.is_held.is_set)
            adding = asyncio.ensure_future(one.add(row(3)))
            settling = asyncio.ensure_future(one.settle(hash_of(1), "final", 7, {}))
            await asyncio.sleep(0)
            finding = [asyncio.ensure_future(one.find(hash_of(1))) for _ in range(3)]
            await asyncio.sleep(0)
            first.go_on.set()
            async with limited():
                found = await asyncio.gather(*finding)
            await until(second.is_held.is_set)
            assert not adding.done()
        await asyncio.gather(under_way, adding, settling)
        assert [each and (each.state, each.block) for each in found] == [("final", 7)] * 3
        assert one.commits == 3, "all that waited is one commit, whoever looked meanwhile"


async def test_what_is_no_row_is_told_and_fails_nobody_else(path: Path) -> None:
    async with opened(path) as one:
        bad = row(2, state="lost")
        results = await asyncio.gather(one.add(row(1)), one.add(bad), return_exceptions=True)
        assert results[0] is None
        assert isinstance(results[1], ValueError)
        with pytest.raises(ValueError, match="'gone' is no state"):
            one.note(hash_of(1), "gone", -1, {})
    assert orders(path) == [1]


async def test_a_row_the_file_refuses_fails_alone(path: Path) -> None:
    async with opened(path) as one:
        with closing(other(path)) as db:
            db.execute(
                "CREATE TRIGGER picky BEFORE INSERT ON transactions WHEN new.lane_order = '2'"
                " BEGIN SELECT RAISE(ABORT, 'not this one'); END"
            )
        results = await added_together(one, *(row(n) for n in range(4)))
        assert [str(each) for each in results if each] == ["it cannot be journaled (not this one)"]
        assert isinstance(results[2], JournalBroken)
        assert (one.trouble, one.commits) == ("", 1)
    assert orders(path) == [0, 1, 3]


async def test_closed_rows_go_after_a_week(path: Path) -> None:
    clock = Clock()
    async with opened(path, clock, settings=replace(QUICK, sweep_seconds=0.01)) as one:
        await asyncio.gather(*(one.add(row(n, size=2000)) for n in range(1000)))
        for n in range(900):
            one.note(hash_of(n), ("final", "replaced", "refused", "expired")[n % 4], n, {})
        await until(lambda: sum(each.block >= 0 for each in read_rows(path)) == 900)
        clock.now -= 3600  # a clock put right
        await one.settle(hash_of(950), "mined", 1, {})
        clock.now += 7 * DAY + 7200
        await until(lambda: len(read_rows(path)) == 100)
        assert orders(path) == list(range(900, 1000))
        await until(lambda: free_pages(path) == 0, "their room to be given back")
    assert len(content(path)) < 700_000
    assert one.size_bytes > 100_000


# --------------------------------------------------------------------------
# The end


@on_both_loops
async def test_closed_it_takes_nothing(path: Path) -> None:
    one = await DiskJournal.open(path, CHAIN, settings=QUICK)
    adding = [asyncio.ensure_future(one.add(row(n))) for n in range(20)]
    await asyncio.sleep(0)
    await asyncio.gather(one.close(), one.close())
    await one.close()
    await asyncio.gather(*adding)
    for late in (one.add(row(99)), one.settle(hash_of(1), "sent", 1, {}), one.find(hash_of(1))):
        with pytest.raises(JournalBroken, match="the journal is closed") as caught:
            await late
        assert caught.value.reason == "the journal is closed"
    assert orders(path) == list(range(20))
    async with opened(path) as again:
        assert len(again.open_rows) == 20


async def test_close_gives_up_on_a_disk_that_hangs(path: Path) -> None:
    soon = replace(QUICK, close_seconds=0.02)
    one = await DiskJournal.open(path, CHAIN, fault=faults, settings=soon)
    with hanging() as is_held:
        adding = asyncio.ensure_future(one.add(row(1)))
        await until(is_held.is_set)
        finding = asyncio.ensure_future(one.find(hash_of(1)))
        await asyncio.sleep(0)
        await one.close()
        for each in (adding, finding):
            with pytest.raises(JournalBroken, match="did not answer before the end"):
                await each
        assert one._worker.is_alive
    await until(lambda: not one._worker.is_alive)


async def test_a_client_that_goes_away_leaves_its_row(path: Path) -> None:
    async with opened(path) as one:
        with hanging() as is_held:
            adding = asyncio.ensure_future(one.add(row(1)))
            await until(is_held.is_set)
            adding.cancel()
            await asyncio.wait([adding])
        await one.add(row(2))
    assert orders(path) == [1, 2]


def test_a_loop_that_is_gone_is_no_trouble(path: Path) -> None:
    async def leave() -> DiskJournal:
        one = await DiskJournal.open(path, CHAIN, settings=QUICK)
        await one.add(row(1))
        one.note(hash_of(1), "sent", 1, {})
        return one

    one = asyncio.run(leave())
    one._worker.begin_close()
    one._worker._thread.join(LIMIT_SECONDS)
    assert not one._worker.is_alive
    assert read_rows(path)[0].state == "sent"


async def test_an_opening_given_up_ends_its_thread(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    found: list[DiskJournal] = []
    begin = DiskJournal._open

    def slow(self: DiskJournal) -> None:
        found.append(self)
        go_on.wait(LIMIT_SECONDS)
        begin(self)

    monkeypatch.setattr(DiskJournal, "_open", slow)
    opening = asyncio.ensure_future(DiskJournal.open(path, CHAIN, settings=QUICK))
    await until(lambda: bool(found))
    opening.cancel()
    await asyncio.wait([opening])
    go_on.set()
    await until(lambda: not found[0]._worker.is_alive)
    monkeypatch.undo()
    async with opened(path) as one:
        assert one.open_rows == []


async def test_a_bug_at_the_opening_is_told_to_who_opens(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JournalPlace, "open", lambda _: 1 / 0)
    async with limited():
        with pytest.raises(ZeroDivisionError):
            await DiskJournal.open(path, CHAIN, settings=QUICK)
    monkeypatch.undo()
    async with opened(path) as one:
        assert one.trouble == ""


async def test_a_bug_in_the_thread_leaves_nobody_waiting(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(path) as one:
        await one.add(row(1))

        def fail(_: str) -> None:
            raise ZeroDivisionError

        faults.act = fail
        adding = [asyncio.ensure_future(one.add(row(n))) for n in (2, 3)]
        for each in adding:
            with pytest.raises(JournalBroken, match="stopped by a fault of its own"):
                await each
        with pytest.raises(JournalBroken, match="the journal is closed"):
            await one.add(row(4))
        assert one.trouble == "the journal stopped by a fault of its own"
    assert events(caplog) == ["journal_stopped"]
    assert orders(path) == [1]


# --------------------------------------------------------------------------
# Kills

_WRITER = """
import asyncio, os, random, sys
from rpcproxy.edges.disk.journal import DiskJournal, JournalRow

path, start, where, at = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
seen = 0

def crash(place):
    global seen
    seen += place == where
    if seen == at:
        os._exit(9)

async def main():
    journal = await DiskJournal.open(path, "evm:1", fault=crash)

    async def client(first):
        for n in range(first, first + 1000):
            hash = f"0x{n:064x}"
            await journal.add(JournalRow(hash, random.Random(n).randbytes(300), "0xab", n, 1.5, "journaled"))
            os.write(1, b"add %d\\n" % n)
            if n % 3 == 0:
                await journal.settle(hash, "mined", n, {"a": "yes"})
                os.write(1, b"settle %d\\n" % n)
            else:
                journal.note(hash, "sent", -1, {"a": "yes"})

    await asyncio.gather(*(client(start + 1000 * each) for each in range(8)))

asyncio.run(main())
"""


def writer(path: Path, start: int, where: str = "", at: int = -1) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path), str(start), where, str(at)],
        stdout=subprocess.PIPE,
    )


def check_promises(path: Path, out: bytes) -> int:
    """Every row whose ``add`` had returned is there, whole; so are settled changes."""
    lines = [line.split() for line in out.decode().splitlines()]
    kept = {each.order: each for each in read_rows(path)}
    for what, number in lines:
        n = int(number)
        assert kept[n].raw == random.Random(n).randbytes(300)
        if what == "settle":
            assert (kept[n].state, kept[n].block, kept[n].said) == ("mined", n, {"a": "yes"})
    return len(lines)


def test_a_kill_at_any_moment_loses_no_row(path: Path) -> None:
    rng = random.Random(5)
    out = b""
    for turn in range(4):
        with writer(path, turn * 10_000) as process:
            assert process.stdout is not None
            for _ in range(rng.randint(30, 150)):  # it is under way
                out += process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            out += process.stdout.read()
        assert process.returncode == -signal.SIGKILL
        out = out[: out.rindex(b"\n") + 1]
    assert check_promises(path, out) > 100

    async def reopen() -> list[JournalRow]:
        async with opened(path) as one:
            assert one.set_aside is None
            return one.open_rows

    assert len(asyncio.run(reopen())) == len(read_rows(path))


@pytest.mark.parametrize("where", ["before commit", "after commit"])
@pytest.mark.parametrize("at", [1, 7])
def test_a_crash_at_a_commit_loses_no_row(path: Path, where: str, at: int) -> None:
    with writer(path, 0, where, at) as process:
        out, _ = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 9
    done = check_promises(path, out)
    assert (done > 0) == (at > 1)
    assert (len(read_rows(path)) > 0) == (at > 1 or where == "after commit")


# --------------------------------------------------------------------------
# Company


@on_both_loops
async def test_a_journal_in_use_is_refused_in_words(path: Path) -> None:
    async with opened(path) as one:
        with pytest.raises(JournalRefused, match=r"in use by another rpcproxy .*`journal: off`"):
            await DiskJournal.open(path, CHAIN, settings=QUICK)
        await one.add(row(1))
    with pytest.raises(JournalRefused, match="the journal of evm:1, not of evm:2"):
        await DiskJournal.open(path, "evm:2")
    async with opened(path) as one:
        assert one.open_rows == [row(1)]


def test_another_process_has_it_until_it_is_killed(path: Path) -> None:
    async def open_and_close() -> int:
        async with opened(path) as one:
            return len(one.open_rows)

    with writer(path, 0) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(JournalRefused, match=rf"\(process {process.pid}\)"):
            asyncio.run(open_and_close())
        process.kill()
    assert asyncio.run(open_and_close()) > 0


async def test_a_file_locked_by_another_program_is_said_and_waited_for(path: Path) -> None:
    async with opened(path) as one:
        with closing(other(path)) as db:
            db.execute("BEGIN IMMEDIATE")
            with pytest.raises(JournalBroken, match="another program holds the file locked"):
                await one.add(row(1))
            db.execute("ROLLBACK")
        await one.add(row(2))
    assert orders(path) == [2]


# --------------------------------------------------------------------------
# A disk that fails


@contextmanager
def connecting(
    monkeypatch: pytest.MonkeyPatch, *pragmas: str
) -> Iterator[list[sqlite3.Connection]]:
    connect = disk_file.connect
    found: list[sqlite3.Connection] = []

    def connect_and(path: Path, busy_seconds: float) -> sqlite3.Connection:
        db = sqlite3.connect(
            path, timeout=busy_seconds, isolation_level=None, check_same_thread=False
        )
        for pragma in pragmas:
            db.execute(f"PRAGMA {pragma}")
        found.append(db)
        return db

    monkeypatch.setattr(journal_file, "connect", connect_and)
    yield found
    monkeypatch.setattr(journal_file, "connect", connect)


async def test_a_full_disk_fails_the_group_and_recovers(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with connecting(monkeypatch) as found:
        async with opened(path) as one:
            await one.add(row(0))
            [db] = found
            pages = db.execute("PRAGMA page_count").fetchone()[0]
            db.execute(f"PRAGMA max_page_count = {pages + 10}")
            results = await added_together(one, *(row(n, size=2000) for n in range(1, 60)))
            assert {str(each) for each in results} == {"the disk is full"}
            assert one.trouble == "the disk is full"
            assert orders(path) == [0]
            assert await one.find(hash_of(0)) == row(0)
            with pytest.raises(JournalBroken):
                await one.add(row(61, size=100_000))
            db.execute("PRAGMA max_page_count = 1000000")
            await asyncio.gather(*(one.add(row(n, size=2000)) for n in range(1, 60, 2)))
            assert one.trouble == ""
    assert orders(path) == [0, *range(1, 60, 2)]
    assert events(caplog) == ["journal_broken", "journal_well"]


async def test_notes_wait_for_a_disk_that_fails(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with connecting(monkeypatch) as found:
        async with opened(path, settings=replace(QUICK, notes_held=3)) as one:
            await asyncio.gather(*(one.add(row(n)) for n in range(5)))
            [db] = found
            db.execute("PRAGMA query_only = ON")
            async with elsewhere(one):
                for n in range(5):
                    one.note(hash_of(n), "sent", n, {})
            await until(lambda: "cannot be written" in one.trouble)
            assert one.notes_dropped == 2
            one.note(hash_of(3), "mined", 33, {})
            with pytest.raises(JournalBroken, match="the file cannot be written"):
                await one.settle(hash_of(4), "final", 44, {})
            found_row = await one.find(hash_of(4))
            assert found_row is not None
            assert found_row.state == "final"
            with pytest.raises(JournalBroken, match="the file cannot be written"):
                await one.add(row(7))
            db.execute("PRAGMA query_only = OFF")
            await until(lambda: one.trouble == "")
            states = [each.state for each in read_rows(path)[::-1]]
            assert states == ["journaled", "journaled", "sent", "mined", "final"]
    assert events(caplog) == ["journal_broken", "journal_well"]


async def test_a_change_dropped_is_never_called_durable(path: Path) -> None:
    async with opened(path, settings=replace(QUICK, notes_held=2)) as one:
        await asyncio.gather(*(one.add(row(n)) for n in range(4)))
        with hanging() as is_held:
            adding = asyncio.ensure_future(one.add(row(4, state="final")))
            await until(is_held.is_set)
            settling = [
                asyncio.ensure_future(one.settle(hash_of(n), "final", n, {})) for n in range(4)
            ]
            await asyncio.sleep(0)
        results = await asyncio.gather(*settling, return_exceptions=True)
        await adding
        assert [isinstance(each, JournalBroken) for each in results] == [True, True, False, False]
        assert "too many changes" in str(results[0])
    states = [each.state for each in read_rows(path)]
    assert states == ["final", "final", "final", "journaled", "journaled"]


_LIMITED = """
import asyncio, resource, sys
from rpcproxy.edges.disk.journal import DiskJournal, JournalBroken, JournalRow

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

async def main():
    journal = await DiskJournal.open(sys.argv[1], "evm:1")
    limit(400_000)
    done, reason = [], ""
    for n in range(200):
        try:
            await journal.add(JournalRow(f"0x{n:064x}", b"x" * 10_000, "0xab", n, 1.5, "journaled"))
            done.append(n)
        except JournalBroken as broken:
            reason = broken.reason
            assert journal.trouble == reason
            if n > 150:
                limit(resource.RLIM_INFINITY)
    await journal.close()
    print(*done)
    print(reason)

asyncio.run(main())
"""


def test_a_disk_that_takes_no_more_loses_nothing_it_took(path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    command = [sys.executable, "-c", _LIMITED, str(path)]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    assert ended.returncode == 0, ended.stderr
    done, reason = ended.stdout.splitlines()
    kept = [int(n) for n in done.split()]
    assert orders(path) == kept
    assert 20 < len(kept) < 190
    assert kept[-1] == 199
    assert reason.startswith("the disk ")


@on_both_loops
async def test_a_path_that_cannot_be_opened_is_said_in_words(path: Path) -> None:
    file = path / "file"
    path.parent.mkdir()
    fill(file, b"")
    with pytest.raises(OSError, match=r"cannot be opened: the disk fails \(unable to open"):
        await DiskJournal.open(path, CHAIN, settings=QUICK)
    with pytest.raises(NotADirectoryError):
        await DiskJournal.open(file / "deep" / "j.sqlite", CHAIN)


async def test_a_disk_read_only_from_the_start_is_said_in_words(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        connecting(monkeypatch, "query_only = ON"),
        pytest.raises(OSError, match="the file cannot be written"),
    ):
        await DiskJournal.open(path, CHAIN, settings=QUICK)
    async with opened(path) as one:
        await one.add(row(1))


async def test_a_size_that_cannot_be_seen_is_no_trouble(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> int:
        raise OSError(5, "Input/output error")

    async with opened(path) as one:
        monkeypatch.setattr(journal_file.JournalFile, "size_bytes", fail)
        await one.add(row(1))
        await one.add(row(2))
        assert one.trouble == ""


# --------------------------------------------------------------------------
# A file that is damaged, or gone


async def test_noise_is_set_aside_and_said(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(path, b"noise" * 5000)
    async with opened(path) as one:
        assert one.set_aside is not None
        assert one.set_aside.read_bytes() == b"noise" * 5000
        assert one.open_rows == []
        await one.add(row(1))
    assert events(caplog) == ["journal_set_aside"]
    assert one.set_aside.name in caplog.text
    assert orders(path) == [1]


async def test_damage_found_at_the_start_carries_over_what_is_sound(path: Path) -> None:
    async with opened(path) as one:
        await asyncio.gather(*(one.add(row(n, size=600)) for n in range(300)))
    whole = content(path)
    page = whole.index(row(150, size=600).raw) // 4096
    fill(path, whole[: page * 4096] + os.urandom(4096) + whole[(page + 1) * 4096 :])
    async with opened(path) as one:
        assert one.set_aside is not None
        assert 290 < len(one.open_rows) < 300
        await one.add(row(150, size=600))
        assert await one.find(hash_of(150)) == row(150, size=600)


async def test_damage_under_way_costs_no_row_that_is_sound(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(path) as one:
        await asyncio.gather(*(one.add(row(n)) for n in range(50)))
        with closing(other(path)) as db:
            db.execute("UPDATE transactions SET raw = x'00' WHERE lane_order = '7'")
        assert await one.find(hash_of(7)) is None
        assert one.set_aside is not None
        assert await one.find(hash_of(8)) == row(8)
        with closing(other(path)) as db:
            db.execute("DROP TABLE about")
            db.execute("ALTER TABLE transactions RENAME COLUMN raw TO gone")
        await one.add(row(60))
        assert one.trouble == ""
    assert events(caplog) == ["journal_set_aside"] * 2
    assert orders(path) == [*range(7), *range(8, 50), 60]


async def test_a_disk_that_damages_everything_is_not_filled(path: Path) -> None:
    async with opened(path, settings=replace(QUICK, most_set_aside=1)) as one:
        for n in range(2):
            await one.add(row(n))
            with closing(other(path)) as db:
                db.execute("DROP TABLE transactions")
        for _ in range(2):
            with pytest.raises(JournalBroken, match=r"the file is damaged \(no such table"):
                await one.add(row(5))
        with pytest.raises(JournalBroken, match="the file is damaged"):
            await one.find(hash_of(1))
    assert len([name for name in path.parent.iterdir() if ".damaged-" in name.name]) == 1


@pytest.mark.parametrize("what", ["file", "log", "everything", "directory"])
async def test_what_was_removed_is_written_again(
    path: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    async with opened(path) as one:
        await asyncio.gather(*(one.add(row(n)) for n in range(20)))
        if what == "directory":
            path.parent.rename(path.parent.with_name("moved"))
        else:
            names = {"file": [path], "log": [Path(f"{path}-wal")]}
            remove(*names.get(what, list(path.parent.iterdir())))
        await one.add(row(20))
        await one.settle(hash_of(3), "mined", 5, {})
        with pytest.raises(JournalRefused, match="in use"):
            await DiskJournal.open(path, CHAIN, settings=QUICK)
    assert orders(path) == list(range(21))
    assert read_rows(path, hash_of(3))[0].block == 5
    assert set(events(caplog)) == {"journal_moved"}


async def test_a_place_taken_by_another_chain_is_left_to_it(path: Path) -> None:
    async with opened(path) as one:
        with hanging("after commit") as is_held:
            adding = asyncio.ensure_future(one.add(row(1)))
            await until(is_held.is_set)
            path.parent.rename(path.parent.with_name("moved"))
            second = await DiskJournal.open(path, "evm:2")
        await adding
        with pytest.raises(JournalBroken, match="in use by another rpcproxy"):
            await one.add(row(2))
        await second.close()
        with pytest.raises(JournalBroken, match="the journal of evm:2, not of evm:1"):
            await one.add(row(2))
        remove(path)
        await one.add(row(3))
    assert orders(path) == [1, 3]


# ---- a second time


@on_both_loops
async def test_what_was_refused_begins_anew_and_what_is_final_stays(path: Path) -> None:
    async with opened(path) as one:
        for n in (1, 2, 3):
            await one.add(row(n))
        await one.settle(hash_of(1), "refused", -1, {"a": "underpriced"})
        await one.settle(hash_of(2), "final", 7, {})
    async with opened(path) as two:
        for n in (1, 2, 3):
            await two.add(row(n))
        await two.add(row(4))
    assert {each.order: each.state for each in read_rows(path)} == {
        1: "journaled",
        2: "final",
        3: "journaled",
        4: "journaled",
    }
    async with opened(path) as three:
        assert [each.order for each in three.open_rows] == [3, 1, 4]
