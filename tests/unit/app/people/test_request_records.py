"""What is kept of requests that failed or were slow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rpcproxy.app.people.request_records import (
    MOST_AT_ONCE,
    TRACE_SHELF,
    WRITE_SECONDS,
    RequestRecords,
)
from rpcproxy.clock import Clock
from rpcproxy.edges.disk.timeline_store import StoredEntry, TimelineStore, read_timeline
from rpcproxy.engine.attempts.request_log import REFUSALS_PER_SECOND
from rpcproxy.front.operators.access import Denied
from rpcproxy.front.operators.admin_failures import failures_page
from rpcproxy.messages import Answer
from rpcproxy.rules.answers.holding import crowded_out
from rpcproxy.rules.telling.request_traces import (
    MOST_ATTEMPTS,
    AttemptTrace,
    Trace,
    TraceOutcome,
    bounded,
)
from tests.kits.engine_kit import EPOCH, virtual
from tests.kits.waiting import until

HASH = "0x" + "ab" * 32


def trace(trace_id: str = "t1", **given: Any) -> Trace:
    usual = {
        "trace_id": trace_id,
        "chain": "ethereum",
        "method": "eth_call",
        "outcome": TraceOutcome.FAILED,
        "started_unix": EPOCH,
        "seconds": 1.0,
        "reason": "nobody could answer",
    }
    return Trace(**{**usual, **given})


def records(kept: int = 100, redact: Callable[[str], str] = str) -> RequestRecords:
    return RequestRecords(redact, Clock(lambda: 0.0, lambda: EPOCH + 10.0), kept)


class Store:
    """In place of the file: what was put is there at once."""

    def __init__(self) -> None:
        self.entries: dict[str, StoredEntry] = {}
        self.puts = 0
        self.reason = ""

    async def load(self, shelf: str, most: int) -> list[StoredEntry]:
        assert shelf == TRACE_SHELF
        return list(self.entries.values())[::-1][:most]

    def put(self, entries: Sequence[StoredEntry], written: Callable[[str], None]) -> None:
        self.puts += 1
        self.entries |= {entry.id: entry for entry in entries}
        written(self.reason)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_found_by_id_by_hash_by_time_and_by_chain() -> None:
    known = records()
    known.on_trace(trace("a"))
    known.on_trace(trace("b", transaction=HASH, chain="base"))
    known.on_trace(trace("b", method="eth_chainId", started_unix=EPOCH + 5))
    assert [each.trace_id for each in known.find()] == ["b", "b", "a"]
    assert len(known.find(trace_id="b")) == 2, "one id may be of several requests"
    assert [each.chain for each in known.find(transaction=HASH.upper().replace("X", "x"))] == [
        "base"
    ]
    assert [each.method for each in known.find(since=EPOCH + 4)] == ["eth_chainId"]
    assert [each.trace_id for each in known.find(chain="base")] == ["b"]
    assert known.find(trace_id="c") == []


def test_what_the_wallet_port_refuses_by_itself_is_found() -> None:
    known = records()
    known.on_refusal("t9", crowded_out())
    known.on_refusal("t8", Answer(b"<html>", 400))
    (found,) = known.find(trace_id="t9")
    assert found.outcome is TraceOutcome.REFUSED
    assert "more bytes are waiting" in found.reason
    assert known.find(trace_id="t8")[0].reason == "HTTP 400"


def test_what_a_client_makes_up_is_kept_so_often_and_no_more() -> None:
    known = records()
    for number in range(3 * int(REFUSALS_PER_SECOND)):
        known.on_refusal(f"t{number}", Answer(b"<html>", 400))
    assert len(known.find()) == REFUSALS_PER_SECOND


def test_many_of_one_kind_push_out_their_own_only() -> None:
    known = records(100)
    known.on_trace(trace("a"))
    for number in range(500):
        known.on_trace(trace("b", method=f"own_{number}"), is_known=False)
    assert len(known.find()) == 100
    assert len(known.find(trace_id="a")) == 1


def test_a_trace_is_bounded_and_without_secrets() -> None:
    attempt = AttemptTrace(upstream="a", began_seconds=0.0, why="first", detail=f"KEY {'x' * 999}")
    whole = trace(reason="KEY " + "x" * 9999, params="KEY" * 999, attempts=(attempt,) * 999)
    assert len(bounded(whole).attempts) == MOST_ATTEMPTS
    known = records(redact=lambda text: text.replace("KEY", "[secret]"))
    known.on_trace(whole)
    (kept,) = known.find()
    assert b"KEY" not in msgspec.json.encode(kept)
    assert len(msgspec.json.encode(kept)) < 16 * 1024


@virtual
async def test_what_came_before_the_file_was_open_is_written_and_what_was_there_is_known() -> None:
    store = Store()
    old = records()
    old.keep_in(store)
    await settled()
    old.on_trace(trace("old", transaction=HASH))
    await settled()
    (entry,) = store.entries.values()
    assert entry.keys == ("old", HASH)
    new = records()
    new.on_trace(trace("early"))
    new.keep_in(store)
    await settled()
    assert [each.trace_id for each in new.find()] == ["early", "old"]
    assert len(store.entries) == 2
    assert new.trouble == ""


@virtual
async def test_a_storm_is_a_few_writes() -> None:
    store = Store()
    known = records(50)
    known.keep_in(store)
    await settled()
    for number in range(500):
        known.on_trace(trace(str(number)))
    await settled()
    assert store.puts == 1
    assert len(store.entries) == 50
    known.on_trace(trace("last"))
    await settled()
    assert store.puts == 1
    known.leave()
    assert store.puts == 2


@virtual
async def test_what_is_written_at_once_is_bounded_and_all_is_written_at_last() -> None:
    store = Store()
    known = records(10 * MOST_AT_ONCE)
    known.keep_in(store)
    await settled()
    for number in range(5 * MOST_AT_ONCE):
        known.on_trace(trace(str(number)))
    await settled()
    assert len(store.entries) == MOST_AT_ONCE
    await asyncio.sleep(10 * WRITE_SECONDS)
    assert (store.puts, len(store.entries)) == (5, 5 * MOST_AT_ONCE)


@virtual
async def test_a_disk_that_takes_nothing_is_said_and_what_is_of_another_version_left_out() -> None:
    store = Store()
    store.entries["x"] = StoredEntry("x", TRACE_SHELF, "", EPOCH, (), b'{"odd":1}')
    known = records()
    known.keep_in(store)
    await settled()
    assert known.find() == []
    store.reason = "the disk is full"
    known.on_trace(trace("a"))
    await settled()
    assert known.trouble == "the disk is full"
    assert len(known.find()) == 1


async def test_they_are_in_the_timelines_file(tmp_path: Path) -> None:
    path, bounds = tmp_path / "timeline.sqlite", {TRACE_SHELF: 10}
    store = await TimelineStore.open(path, bounds=bounds)
    known = records()
    known.keep_in(store)
    known.on_trace(trace("a", transaction=HASH))
    await until(lambda: bool(read_timeline(path, TRACE_SHELF, 0.0)))
    known.leave()
    await store.close()
    store = await TimelineStore.open(path, bounds=bounds)
    after = records()
    after.keep_in(store)
    await until(lambda: len(after.find(transaction=HASH)) == 1)
    assert after.find(trace_id="a") == known.find()
    await store.close()


# ---- GET /failures


def read_hash(text: str) -> str | None:
    return text.lower() if text.startswith("0x") else None


def page_of(known: RequestRecords, **query: str) -> dict[str, Any]:
    return dict(failures_page(known, query, ["ethereum", "base"], read_hash))


def test_the_page_has_the_fields_of_old_and_the_attempts() -> None:
    known = records()
    attempt = AttemptTrace(upstream="a", began_seconds=0.25, why="hedge", verdict="ok")
    known.on_trace(trace("a", attempts=(attempt,), told="nobody"))
    (entry,) = page_of(known)["failures"]
    assert entry["time"].startswith("2027-01-15T08:00:00")
    assert {key: entry[key] for key in ("chain", "method", "reason", "trace_id")} == {
        "chain": "ethereum",
        "method": "eth_call",
        "reason": "nobody could answer",
        "trace_id": "a",
    }
    assert (entry["outcome"], entry["seconds"], entry["told"]) == ("failed", 1.0, "nobody")
    assert "params" not in entry
    (told,) = entry["attempts"]
    assert (told["upstream"], told["why"], told["began_seconds"]) == ("a", "hedge", 0.25)
    assert told["seconds"] is None


def test_an_unknown_one_is_an_empty_list_and_words() -> None:
    assert page_of(records()) == {"failures": []}
    for query in ({"trace_id": "nobody"}, {"tx": HASH}, {"since": "1h"}):
        told = page_of(records(), **query)
        assert told["failures"] == []
        assert "is known" in told["words"]
    assert "another process served it" in page_of(records(), trace_id="nobody")["words"]


def test_what_was_rightly_refused_is_shown_to_who_asks_for_it() -> None:
    known = records()
    known.on_trace(trace("a", outcome=TraceOutcome.REFUSED))
    known.on_trace(trace("b"))
    assert [each["trace_id"] for each in page_of(known)["failures"]] == ["b"]
    assert len(page_of(known, trace_id="a")["failures"]) == 1
    assert len(page_of(known, outcome="refused")["failures"]) == 1
    assert len(page_of(known, limit="1", since="2027-01-15T08:00:00Z")["failures"]) == 1


@pytest.mark.parametrize(
    "query",
    [
        *({"since": "yesterday"}, {"limit": "0"}, {"limit": "x"}, {"tx": "zz"}),
        *({"trace_id": "a b"}, {"outcome": "odd"}, {"chains": "base"}, {"chain": "nowhere"}),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(query: dict[str, str]) -> None:
    with pytest.raises(Denied) as caught:
        page_of(records(), **query)
    assert caught.value.status in (400, 404)
