"""app.people.timeline: what is told once it is written, and what goes through a restart."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from rpcproxy import __version__
from rpcproxy.app.people.timeline import COUNT_SECONDS, SEEN_SECONDS, Timeline
from rpcproxy.app.people.timeline_book import OrderPlace, TimelineBook, latest_first
from rpcproxy.app.people.timeline_disk import (
    BOUNDS,
    HAPPENINGS,
    DiskTimes,
    entry_of,
    timeline_place,
)
from rpcproxy.app.storage.state_place import StatePlace
from rpcproxy.app.storage.transaction_journal import Resumed
from rpcproxy.clock import Clock
from rpcproxy.config.model import Chain, Config, History, Server
from rpcproxy.edges.disk.timeline_store import TimelineStore, read_timeline
from rpcproxy.edges.logs import utc
from rpcproxy.rules.telling.happenings import HandKind, Happening, sentence_of
from rpcproxy.rules.telling.incidents import Incident, Incidents
from rpcproxy.states import Change, ChangeKind
from rpcproxy.words import OrderNote
from tests.kits.jumping import on_a_jumping_loop
from tests.kits.samples import START, a_sample, with_state
from tests.kits.waiting import until


@dataclass
class Proxy:
    """``timeline.Resuming``, and the clock."""

    upstreams: set[tuple[str, str]] = field(default_factory=lambda: {("ethereum", "a")})
    standing: dict[OrderPlace, OrderNote] = field(default_factory=dict)
    incidents: Incidents = field(default_factory=Incidents)
    died: list[str] = field(default_factory=list)
    now: float = 0.0

    def resume(self, known: Iterable[Incident], seen_unix: float) -> set[str]:
        return self.incidents.resume(known, seen_unix)

    def standing_orders(self) -> Mapping[OrderPlace, OrderNote]:
        return self.standing

    def follow(self, place: OrderPlace, note: OrderNote) -> bool:
        if (place.chain, place.upstream) not in self.upstreams:
            return False
        self.standing[place] = note
        return True

    def on_died(self, words: str) -> None:
        self.died.append(words)

    def order(self, timeline: Timeline, order: Any, by: str = "alice") -> None:
        place = OrderPlace("ethereum", "a", "drain" if "drain" in order else "cordon")
        if order.startswith("un"):
            self.standing.pop(place, None)
        else:
            self.standing[place] = OrderNote(order, START + self.now, by)
        timeline.on_order("ethereum", "a", order, by)

    def look(self, timeline: Timeline, states: Mapping[str, str], unserved: int = 0) -> None:
        self.incidents.step(with_state(states), START + self.now, 10, unserved)
        timeline.on_incidents(self.incidents.every())


def a_timeline(proxy: Proxy, path: Path | None, why: str = "") -> Timeline:
    clock = Clock(lambda: proxy.now, lambda: START + proxy.now)
    times = DiskTimes(soon_seconds=0.001, again_seconds=0.01)
    return Timeline(path, why, lambda text: text.replace("SECRET", "***"), proxy, clock, times)


@contextlib.asynccontextmanager
async def running(
    path: Path, proxy: Proxy | None = None, *, is_killed: bool = False
) -> AsyncIterator[tuple[Timeline, Proxy]]:
    """``is_killed``: it ends without a word."""
    proxy = proxy or Proxy()
    timeline = a_timeline(proxy, path)
    timeline.start()
    await timeline.disk.opened()
    timeline.on_started()
    try:
        yield timeline, proxy
    finally:
        await timeline.settle()
        if not is_killed:
            timeline.on_end(HandKind.STOPPED, "SIGTERM")
        await timeline.close()


def told(timeline: Timeline, most: int = 100, **asked: Any) -> list[str]:
    return [each.kind for each in timeline.latest_first(most, **asked)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "timeline.sqlite"


# ---- shown once it is written


async def test_it_is_shown_once_it_is_written(path: Path) -> None:
    async with running(path) as (timeline, _):
        assert timeline.kept == ""
        await timeline.settle()
        assert told(timeline) == ["started"]
        timeline.on_happened(HandKind.LOG_LEVEL, words="debug, info before", by="SECRET")
        assert told(timeline) == ["started"], "it is not on the disk yet"
        await timeline.settle()
        (level, _) = timeline.latest_first(2)
        assert (level.kind, level.by) == ("log_level", "***")
        assert len(read_timeline(path, "happening", 0.0)) == 2


async def test_where_nothing_can_be_kept_it_is_shown_from_memory(tmp_path: Path) -> None:
    for where, why, words in (
        (None, "there is no place", "there is no place"),
        (tmp_path / "file" / "t.sqlite", "", "file"),
    ):
        (tmp_path / "file").write_text("")
        proxy = Proxy()
        timeline = a_timeline(proxy, where, why)
        timeline.start()
        await timeline.disk.opened()
        timeline.on_started()
        proxy.order(timeline, "drain")
        proxy.look(timeline, {"a": "ejected", "b": "up"})
        assert words in timeline.kept
        assert sorted(told(timeline)) == ["drained", "ejected", "started"]
        await timeline.settle()
        await timeline.close()


async def test_a_disk_that_fails_and_is_well_again(path: Path) -> None:
    async with running(path) as (timeline, _):
        timeline._on_written((), "the disk is full")
        assert timeline.kept == "the disk is full"
        timeline.on_happened(HandKind.LOG_LEVEL, words="debug")
        assert told(timeline)[0] == "log_level"
        await timeline.settle()
        assert timeline.kept == ""
        assert told(timeline)[0] == "log_level"


@on_a_jumping_loop
async def test_a_disk_that_hangs_for_an_hour_is_asked_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    async def hangs(path: Path, **_: object) -> TimelineStore:
        asked.append(path)
        await asyncio.sleep(3600.0)
        raise OSError("it is read-only now")

    monkeypatch.setattr(TimelineStore, "open", hangs)
    timeline = a_timeline(Proxy(), path)
    timeline.start()
    await timeline.disk.opened()
    await asyncio.sleep(60.0)
    assert "does not answer" in timeline.kept
    timeline.on_happened(HandKind.LOG_LEVEL, words="debug")
    assert told(timeline) == ["log_level"]
    await asyncio.sleep(3500.0)
    assert asked == [path], "each try would leave a thread with the disk"
    await asyncio.sleep(39.0)
    assert timeline.kept == "it is read-only now"
    await timeline.close()


async def test_another_who_keeps_something_in_it_gets_the_store(path: Path) -> None:
    stores: list[TimelineStore] = []
    timeline = a_timeline(Proxy(), path)
    left: list[bool] = []
    timeline.disk.share(stores.append, lambda: left.append(timeline.store is not None))
    timeline.start()
    await timeline.disk.opened()
    timeline.disk.share(stores.append)
    assert stores == [timeline.store, timeline.store]
    await timeline.close()
    assert left == [True], "it may write its last words"


# ---- incidents


async def test_counts_of_an_incident_are_written_now_and_then(path: Path) -> None:
    async with running(path) as (timeline, proxy):

        async def unserved() -> int:
            await timeline.settle()
            return next(each.unserved for each in timeline.latest_first(9, subject="a"))

        down = {"a": "ejected", "b": "up"}
        proxy.look(timeline, down, unserved=1)
        assert await unserved() == 1
        proxy.now += 1.0
        proxy.look(timeline, down, unserved=1)
        assert await unserved() == 1
        proxy.now += COUNT_SECONDS
        proxy.look(timeline, down, unserved=1)
        assert await unserved() == 3
        proxy.now += 1.0
        proxy.look(timeline, {"a": "up", "b": "up"}, unserved=1)
        assert await unserved() == 4
        (incident,) = timeline.latest_first(9, subject="a")
        assert incident.ended_unix is not None


async def test_a_clock_that_is_set_back_holds_up_nothing(path: Path) -> None:
    async with running(path, is_killed=True) as (timeline, proxy):
        proxy.look(timeline, {"a": "ejected", "b": "up"}, unserved=1)
        proxy.now -= 3600.0
        proxy.look(timeline, {"a": "ejected", "b": "up"}, unserved=1)
        timeline.on_change("ethereum", Change("", ChangeKind.REORG, "2 blocks"))
        timeline.on_sample(a_sample(0.0))
        await timeline.settle()
        (incident,) = timeline.latest_first(9, subject="a")
        assert incident.unserved == 2
        proxy.now -= 3600.0
        timeline.on_change("ethereum", Change("", ChangeKind.REORG, "3 blocks"))
        await timeline.settle()
        assert told(timeline).count("reorg") == 2
    async with running(path) as (timeline, proxy):
        assert utc(START - 3600.0) in proxy.died[0]


async def test_incidents_that_are_over_are_not_made_anew_at_every_look() -> None:
    proxy, read = Proxy(), []

    def redact(text: str) -> str:
        read.append(text)
        return text

    timeline = Timeline(None, "nowhere", redact, proxy, Clock(lambda: 0.0, lambda: START))
    proxy.look(timeline, {"a": "ejected", "b": "up"}, unserved=1)
    proxy.now += 30.0
    proxy.look(timeline, {"a": "up", "b": "up"})
    count = len(read)
    proxy.look(timeline, {"a": "up", "b": "up"})
    assert len(read) == count
    assert told(timeline) == ["ejected"]


async def test_an_incident_goes_on_after_a_kill(path: Path) -> None:
    async with running(path, is_killed=True) as (timeline, proxy):
        proxy.look(timeline, {"a": "ejected", "b": "up"}, unserved=2)
        await timeline.settle()
        (before,) = timeline.latest_first(9, subject="a")
    new = Proxy(now=100.0)
    async with running(path, new) as (timeline, proxy):
        assert told(timeline, subject="a") == ["ejected"]
        proxy.look(timeline, {"a": "ejected", "b": "up"}, unserved=1)
        await timeline.settle()
        (after,) = timeline.latest_first(9, subject="a")
        assert (after.id, after.started_unix, after.unserved) == (
            before.id,
            before.started_unix,
            3,
        )
        assert told(timeline) == ["started", "died", "started", "ejected"]
        assert new.died == [f"version {__version__}, last heard of at 2027-01-15T08:00:00.000Z"]
    # And it is told once.
    async with running(path, Proxy(now=200.0)) as (timeline, proxy):
        await timeline.settle()
        assert proxy.died == []
        assert told(timeline).count("died") == 1


async def test_one_that_is_over_ended_when_the_process_was_last_heard_of(path: Path) -> None:
    async with running(path, is_killed=True) as (timeline, proxy):
        proxy.look(timeline, {"a": "ejected", "b": "up"})
        proxy.now += SEEN_SECONDS
        timeline.on_sample(a_sample(proxy.now))
        await timeline.settle()
    async with running(path, Proxy(now=100.0)) as (timeline, proxy):
        proxy.look(timeline, {"a": "up", "b": "up"})
        await timeline.settle()
        (incident,) = timeline.latest_first(9, subject="a")
        assert incident.ended_unix == START + SEEN_SECONDS


async def test_what_it_wrote_last_is_a_word_of_the_process(path: Path) -> None:
    async with running(path, is_killed=True) as (timeline, proxy):
        proxy.now += SEEN_SECONDS / 2
        proxy.look(timeline, {"a": "ejected", "b": "up"})
        await timeline.settle()
    async with running(path, Proxy(now=100.0)) as (timeline, _):
        await timeline.settle()
        (died,) = (each for each in timeline.latest_first(9) if each.kind == "died")
        (incident,) = timeline.latest_first(9, subject="a")
        assert died.started_unix == incident.started_unix > START


async def test_a_successor_waits_and_nothing_is_counted_twice(path: Path) -> None:
    down = {"a": "ejected", "b": "up"}
    async with running(path, is_killed=True) as (old, proxy):
        proxy.look(old, down, unserved=2)
        await old.settle()
        new_proxy = Proxy(now=5.0)
        new = a_timeline(new_proxy, path)
        new.start(predecessor_seconds=30.0)
        new.on_started()
        new_proxy.look(new, down, unserved=1)
        await until(lambda: told(new) == ["started", "ejected"], "what the old one wrote")
        assert new.kept == ""
        old.on_end(HandKind.TAKEN_OVER, "")
    await until(lambda: new.store is not None)
    assert new_proxy.died == []
    new_proxy.now += 5.0
    new_proxy.look(new, down, unserved=1)
    await new.settle()
    (incident,) = new.latest_first(9, subject="a")
    assert (incident.requests, incident.unserved, incident.times) == (30, 4, 1)
    assert sorted(told(new)) == ["ejected", "started", "started", "taken_over"]
    words = new.latest_first(9)[0].words
    assert words == f"version {__version__}, in the place of another process"
    await new.close()


async def test_one_in_use_is_said_and_tried_again(path: Path) -> None:
    second = a_timeline(Proxy(), path)
    async with running(path):
        second.start()
        await second.disk.opened()
        assert "is in use by another rpcproxy" in second.kept
        second.on_happened(HandKind.LOG_LEVEL, words="debug")
        assert told(second) == ["log_level"]
    await until(lambda: second.kept == "")
    await second.settle()
    assert sorted(told(second)) == ["log_level", "started", "stopped"]
    await second.close()


# ---- orders


async def test_orders_stand_through_a_kill_and_are_taken_back_for_ever(path: Path) -> None:
    async with running(path, is_killed=True) as (timeline, proxy):
        proxy.order(timeline, "drain")
        proxy.order(timeline, "cordon", by="bob")
        proxy.order(timeline, "uncordon", by="bob")
    place = OrderPlace("ethereum", "a", "drain")
    async with running(path, is_killed=True) as (timeline, proxy):
        assert proxy.standing == {place: OrderNote("drain", START, "alice")}
        proxy.order(timeline, "undrain")
    async with running(path) as (timeline, proxy):
        assert proxy.standing == {}
        assert told(timeline).count("drained") == 1


async def test_an_order_stands_however_much_happened_since(path: Path) -> None:
    async with running(path) as (timeline, proxy):
        proxy.now = -1.0
        proxy.order(timeline, "drain")
        proxy.now = 0.0
    store = await TimelineStore.open(path, bounds=BOUNDS)
    later = [
        entry_of(
            Happening(id=str(unix), kind="reorg", started_unix=unix, ended_unix=unix), is_held=False
        )
        for unix in range(int(START) + 1, int(START) + 1 + BOUNDS[HAPPENINGS])
    ]
    store.put(later, lambda _: None)
    await store.close()
    async with running(path) as (_, proxy):
        assert proxy.standing == {
            OrderPlace("ethereum", "a", "drain"): OrderNote("drain", START - 1.0, "alice")
        }


async def test_an_order_stands_though_the_file_is_removed(path: Path) -> None:
    async with running(path) as (timeline, proxy):
        proxy.order(timeline, "drain")
        await timeline.settle()
        os.unlink(path)  # noqa: PTH108 -- at once
        timeline.on_happened(HandKind.LOG_LEVEL, words="debug")
        await timeline.settle()
        await timeline.settle()
        assert len(read_timeline(path, "happening", 0.0)) == 3
    async with running(path) as (_, proxy):
        assert [place.order for place in proxy.standing] == ["drain"]


async def test_an_upstream_that_left_and_comes_back_is_not_drained(path: Path) -> None:
    async with running(path) as (timeline, proxy):
        proxy.order(timeline, "drain")
    async with running(path, Proxy(upstreams=set())):
        pass
    async with running(path) as (_, proxy):
        assert proxy.standing == {}
    # By a reload, too.
    async with running(path) as (timeline, proxy):
        proxy.order(timeline, "drain")
        proxy.standing.clear()
        timeline.on_configured()
    async with running(path) as (_, proxy):
        assert proxy.standing == {}


async def test_after_a_takeover_the_orders_are_those_that_were_told(path: Path) -> None:
    drain = OrderPlace("ethereum", "a", "drain")
    cordon = OrderPlace("ethereum", "a", "cordon")
    async with running(path) as (timeline, proxy):
        proxy.order(timeline, "drain")
    new = Proxy(standing={cordon: OrderNote("cordon", 0.0, "")}, now=3.0)
    timeline = a_timeline(new, path)
    timeline.are_orders_told = True
    timeline.start()
    await timeline.disk.opened()
    await timeline.settle()
    assert set(new.standing) == {cordon}
    assert told(timeline)[0] == "cordoned"
    await timeline.close()
    async with running(path) as (_, proxy):
        assert set(proxy.standing) == {cordon}
        assert drain not in proxy.standing


# ---- the rest


async def test_reorgs_of_a_minute_are_one_entry() -> None:
    proxy = Proxy()
    timeline = a_timeline(proxy, None, "nowhere")
    for seconds in (0.0, 50.0, 50.0, 100.0):
        proxy.now += seconds
        timeline.on_change("ethereum", Change("", ChangeKind.REORG, "2 blocks"))
    timeline.on_change("ethereum", Change("a", ChangeKind.EJECTED, "told elsewhere"))
    assert [(each.kind, each.times) for each in timeline.latest_first(9)] == [
        ("reorg", 1),
        ("reorg", 3),
    ]


async def test_resumed_transactions_are_told() -> None:
    timeline = a_timeline(Proxy(), None, "nowhere")
    timeline.on_resumed(Resumed("ethereum", 3, "3 pending transactions of ethereum resumed"))
    (told,) = timeline.latest_first(9)
    assert (told.chain, told.words) == ("ethereum", "3 pending, found in the journal")


def test_what_is_asked_for() -> None:
    entries = [
        Happening(
            id="1", kind="ejected", started_unix=1.0, ended_unix=None, chain="c", subject="a"
        ),
        Happening(id="2", kind="reorg", started_unix=2.0, ended_unix=2.0, chain="c"),
        Happening(id="3", kind="started", started_unix=3.0, ended_unix=3.0),
        Happening(id="4", kind="lagging", started_unix=0.0, ended_unix=4.0, chain="d"),
        Happening(id="5", kind="log_level", started_unix=3.0, ended_unix=3.0),
    ]

    def ids(**asked: Any) -> str:
        return "".join(each.id for each in latest_first(entries, **{"most": 9, **asked}))

    assert ids() == "53214"
    assert ids(most=2) == "53"
    assert ids(since_unix=2.5) == "5314"
    assert ids(chain="c") == "21"
    assert ids(chain="c", subject="a") == "1"


def test_many_of_one_group_push_out_their_own_only() -> None:
    book = TimelineBook(20)
    book.held.add("first")
    for id, kind in (("first", "drained"), ("reload", "config_reload")):
        book.put(Happening(id=id, kind=kind, started_unix=0.0, ended_unix=0.0))
    lasting = Happening(id="lasts", kind="ejected", started_unix=0.0, ended_unix=None)
    book.put(lasting)
    for n in range(200):
        book.put(Happening(id=f"n{n}", kind="reorg", started_unix=n, ended_unix=n, chain="c"))
    ids = {each.id for each in book}
    assert {"first", "reload", "lasts", "n199"} <= ids
    assert len(book) < 30


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"kind": "ejected", "subject": "a", "words": "reset", "requests": 9, "unserved": 2},
            "c: a fails: reset; 2 of 9 requests were not served",
        ),
        (
            {"kind": "outage", "ended_unix": 3.0, "times": 2},
            "c: Nobody could serve it (2 times); no wallet noticed",
        ),
        (
            {"kind": "errors", "ended_unix": 3.0, "unserved": 1},
            "c: Requests failed; 1 request was not served",
        ),
        (
            {"kind": "drained", "ended_unix": 1.0, "subject": "a", "by": "alice"},
            "c: a was drained by alice",
        ),
        ({"kind": "newer", "ended_unix": 1.0, "words": "what"}, "c: newer: what"),
    ],
)
def test_an_entry_in_words(fields: dict[str, Any], words: str) -> None:
    told = {"id": "1", "started_unix": 1.0, "ended_unix": None, "chain": "c", **fields}
    assert sentence_of(Happening(**told)) == words


def test_where_it_is_kept() -> None:
    config = Config(chains=(Chain(name="c", chain_id=1, upstreams=()),))
    place = StatePlace.of(config, {"STATE_DIRECTORY": "/state"})
    path, why = timeline_place(config, place)
    assert path is not None
    assert (path.name, why) == ("timeline.sqlite", "")
    off = config.model_copy(update={"server": Server(history=History(is_on=False))})
    assert timeline_place(off, place)[0] is None
    nowhere = replace(place, directory=None, why="no home")
    assert timeline_place(config, nowhere) == (None, "no home")
    assert BOUNDS["happening"] >= 1000
