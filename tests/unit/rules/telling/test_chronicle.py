"""rules.telling.chronicle and app.people.recorder: samples over time, and the file they go through a restart in."""

from __future__ import annotations

import asyncio
import stat
import time

import msgspec
import pytest

from rpcproxy.app.people.recorder import (
    FILE_NAME,
    LOOK_SECONDS,
    WRITE_SECONDS,
    OlderDay,
    Recorder,
    beside,
)
from rpcproxy.messages import MethodClass
from rpcproxy.rules.telling.chronicle import Chronicle, Traffic, read_packed
from rpcproxy.rules.telling.sample import Sample
from rpcproxy.states import Change
from tests.kits.jumping import on_a_jumping_loop
from tests.kits.samples import START, a_chain, a_sample, an_upstream, with_state
from tests.kits.waiting import until


def test_strips_follow_the_states() -> None:
    chronicle = Chronicle()
    for second in range(0, 100, 5):
        state = "ejected" if second >= 50 else "up"
        chronicle.add(a_sample(second, with_state({"a": state, "b": "up"})))
    assert chronicle.upstream_strip("ethereum", "a").letters(START + 99)[-1] == "d"
    assert chronicle.upstream_strip("ethereum", "b").letters(START + 99)[-1] == "w"
    assert chronicle.chain_strip("ethereum").letters(START + 99)[-1] == "w"
    assert chronicle.chain_strip("?").letters(START + 99).strip(".") == ""
    share, known = chronicle.upstream_strip("ethereum", "a").well_share(START + 99)
    assert (share, known) == (pytest.approx(45 / 95), 95)


def test_a_machine_that_slept_is_not_told_of() -> None:
    chronicle = Chronicle()
    chronicle.add(a_sample(0))
    chronicle.add(a_sample(7200))
    share, known = chronicle.chain_strip("ethereum").well_share(START + 7200)
    assert (share, known) == (1.0, 30.0)


@pytest.mark.parametrize(
    ("fields", "letter"),
    [
        ({}, "w"),
        ({"halted_seconds": 30.0}, "t"),
        ({"is_split": True}, "t"),
        ({"outage_seconds": 3.0}, "d"),
    ],
)
def test_the_chain_as_wallets_see_it(fields, letter) -> None:
    chronicle = Chronicle()
    for second in (0, 5, 10):
        chronicle.add(a_sample(second, a_chain(**fields)))
    assert chronicle.chain_strip("ethereum").letters(START + 10)[-1] == letter


def test_an_error_in_trouble_is_seen_and_a_clients_own_is_not() -> None:
    chronicle = Chronicle()
    chronicle.add(a_sample(0))
    chronicle.add(a_sample(5, a_chain(unserved=1)))
    assert chronicle.chain_strip("ethereum").letters(START + 5)[-1] == "w"
    chronicle.on_change("ethereum", "a", "ejected", "reset")
    chronicle.on_change("ethereum", "a", "recovered", "not a turn for the worse")
    chronicle.add(a_sample(10, a_chain(unserved=3)))
    assert chronicle.chain_strip("ethereum").letters(START + 10)[-1] == "d"
    (incident,) = chronicle.incidents()
    assert (incident.kind, incident.unserved) == ("errors", 2)
    assert incident.cause == "a ejected: reset"


def test_the_last_minute() -> None:
    chronicle = Chronicle()
    chain = a_chain()
    for second in range(0, 305, 5):
        a = an_upstream("a", attempts={"ok": second * 3, "timeout": second}, probes={"ok": second})
        b = an_upstream("b", attempts={"ok": second * 4, "reverted": 7})
        chain = a_chain(a, b, requests={"ok": second * 10}, unserved=second)
        chronicle.add(a_sample(second, chain))
    recent = chronicle.recent(chain, 300.0)
    assert (recent.seconds, recent.requests, recent.unserved) == (60.0, 600, 60)
    a = recent.traffic["a"]
    assert (a.attempts, a.failures, a.share) == (240, 60, 0.5)
    assert (a.probes, a.failed_probes) == (60, 0)
    assert a.heard == {"ok", "timeout"}
    assert recent.traffic["b"].heard == {"ok"}
    assert recent.traffic["b"].failures == 0


def test_a_moment_after_the_start_nothing_is_known_of_the_last_minute() -> None:
    chronicle = Chronicle()
    assert chronicle.recent(a_chain(), 3.0).traffic == {}
    chronicle.add(a_sample(0))
    told = chronicle.recent(a_chain(an_upstream("new", attempts={"ok": 2})), 3.0)
    assert told.traffic == {"new": Traffic(attempts=2, share=1.0, heard=frozenset({"ok"}))}


def test_what_is_not_configured_any_more_is_forgotten() -> None:
    chronicle = Chronicle()
    chronicle.add(a_sample(0, with_state({"a": "ejected", "b": "up"})))
    chronicle.add(a_sample(5, with_state({"a": "ejected", "b": "up"})))
    chronicle.add(a_sample(10, a_chain(an_upstream("c"), name="base")))
    packed = chronicle.packed()
    assert (list(packed.chains), [each[:2] for each in packed.upstreams]) == (
        ["base"],
        [("base", "c")],
    )
    assert [each.ended_unix for each in chronicle.incidents()] == [START + 10]


def test_what_cannot_be_written_is_an_incident_of_the_process() -> None:
    chronicle = Chronicle()
    full = msgspec.structs.replace(a_sample(0), unwritten={"the history": "the disk is full"})
    chronicle.add(full)
    (incident,) = chronicle.incidents()
    assert (incident.chain, incident.subject, incident.kind, incident.cause) == (
        "",
        "the history",
        "disk_trouble",
        "the disk is full",
    )
    chronicle.add(a_sample(5))
    assert [each.ended_unix for each in chronicle.incidents()] == [START + 5]


# ---- the file


def test_an_incident_of_a_kind_that_a_newer_version_wrote_is_left_out() -> None:
    chronicle = Chronicle()
    chronicle.add(a_sample(0, with_state({"a": "ejected", "b": "up"})))
    chronicle.add(a_sample(100, with_state({"a": "ejected", "b": "ejected"})))
    chronicle.add(a_sample(200, with_state({"a": "up", "b": "up"})))
    packed = chronicle.packed()
    assert len(packed.incidents) >= 2
    text = msgspec.json.encode(packed)
    told = Chronicle.unpack(read_packed(text.replace(b'"ejected"', b'"moonstruck"', 1)))
    assert len(told.incidents()) == len(packed.incidents) - 1
    known = chronicle.chain_strip("ethereum").letters(START + 200)
    assert told.chain_strip("ethereum").letters(START + 200) == known
    with pytest.raises(msgspec.MsgspecError):
        read_packed(b'{"incidents":[]}')


def a_sample_of_now() -> Sample:
    return a_sample(7.0, with_state({"a": "ejected", "b": "up"}))


def a_recorder(path) -> Recorder:
    return Recorder(
        a_sample_of_now, beside(path / "history.sqlite"), lambda text: text.replace("SECRET", "***")
    )


async def test_the_last_day_goes_through_a_restart(tmp_path) -> None:
    directory = tmp_path / "history"
    recorder = a_recorder(directory)
    recorder.open()
    failing = an_upstream("a", "ejected", reason="no answer from SECRET", since_seconds=9.0)
    for second in range(0, 40, 5):
        recorder.add(a_sample(second, a_chain(failing, an_upstream("b"))))
    recorder.add(a_sample(45, with_state({"a": "up", "b": "up"})))
    await recorder.close()
    file = directory / FILE_NAME
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "SECRET" not in file.read_text()
    assert [each.name for each in directory.iterdir()] == [FILE_NAME]
    again = a_recorder(directory)
    again.open()
    letters = recorder.chronicle.upstream_strip("ethereum", "a").letters(START + 45)
    assert again.chronicle.upstream_strip("ethereum", "a").letters(START + 45) == letters
    assert letters[-1] == "d"
    (incident,) = again.chronicle.incidents()
    assert incident.cause == "no answer from ***"
    # The one that is under way in memory keeps its words.
    assert recorder.chronicle.incidents()[0].cause == "no answer from SECRET"


async def test_what_is_ours_of_a_day_that_was_shared_is_taken_over(tmp_path) -> None:
    shared = tmp_path / "shared"
    old = a_recorder(shared)
    failing = an_upstream("a", "ejected", reason="no answer")
    for second in range(0, 40, 5):
        old.add(a_sample(second, a_chain(failing, an_upstream("b"))))
    old.add(a_sample(45, with_state({"a": "up", "b": "up"})))
    await old.close()
    file = shared / FILE_NAME
    stranger = a_recorder(tmp_path / "stranger")
    stranger.open(OlderDay(file, frozenset({"base"})))
    assert stranger.chronicle.incidents() == []
    assert file.exists()
    mine = a_recorder(tmp_path / "mine")
    mine.open(OlderDay(file, frozenset({"ethereum", "base"})))
    assert len(mine.chronicle.incidents()) == 1
    assert not file.exists()
    mine.open(OlderDay(file, frozenset({"ethereum"})))


async def test_it_is_written_now_and_then(tmp_path) -> None:
    recorder = a_recorder(tmp_path)
    recorder.add(a_sample(0))
    recorder.add(a_sample(WRITE_SECONDS - 1))
    assert recorder._writing is None
    recorder.add(a_sample(WRITE_SECONDS))
    assert recorder._writing is not None
    await recorder._writing
    assert (tmp_path / FILE_NAME).exists()


@pytest.mark.parametrize("content", ["", "[]", '{"chains": {"a": [1, "AAAA"]}}', None])
async def test_a_file_that_cannot_be_read_is_nothing_to_fail_for(tmp_path, content) -> None:
    if content is not None:
        (tmp_path / FILE_NAME).write_text(content)
    recorder = a_recorder(tmp_path)
    recorder.open()
    assert recorder.chronicle.incidents() == []


async def test_a_disk_that_cannot_be_written_is_nothing_to_fail_for(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "below", None):
        recorder = Recorder(
            a_sample_of_now, beside(None if path is None else path / "history.sqlite")
        )
        recorder.open()
        recorder.add(a_sample(0))
        await recorder.close()


@on_a_jumping_loop
async def test_a_change_is_looked_at_at_once_and_not_too_often() -> None:
    recorder = Recorder(a_sample_of_now, settle_seconds=0.0)
    change = Change("a", "ejected", "reset", MethodClass.LIGHT)
    recorder.on_changes("ethereum", [change])
    first = recorder._look
    recorder.on_changes("ethereum", [change])
    assert recorder._look is first
    await until(lambda: recorder._look is None)
    assert [each.subject for each in recorder.chronicle.incidents()] == ["a"]
    recorder._looked = time.monotonic()
    recorder.on_changes("ethereum", [change])
    loop = asyncio.get_running_loop()
    assert recorder._look is not None
    assert recorder._look.when() > loop.time() + LOOK_SECONDS / 2
    recorder.on_changes("ethereum", [])
    await recorder.close()
    assert recorder._look.cancelled()
