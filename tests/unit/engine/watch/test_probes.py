"""Probes: one question to one upstream, judged, and given up in time."""

from __future__ import annotations

import asyncio

import pytest

from rpcproxy.chains.evm.questions import CHAIN_ID, LOGS, NEWEST
from rpcproxy.chains.parts.inquiries import Inquiry, single
from rpcproxy.engine.watch.probes import PROBE_SECONDS, Probes
from rpcproxy.messages import FailureKind, Reply, Verdict
from rpcproxy.rules.heads.cadence import DARK_PAUSE_SECONDS
from tests.kits.engine_kit import (
    Behaviour,
    Engine,
    Rest,
    Sent,
    after,
    answering,
    failing,
    in_turn,
    now,
    refusing,
    silent,
    virtual,
)

HEAD, HEAVY = NEWEST, LOGS


@virtual
async def test_an_answer_is_judged_and_timed() -> None:
    engine = Engine()
    probes = Probes(engine.executor, clock=engine.clock)
    engine.behave(a=answering(b'{"number":"0x5"}', 0.3))
    probed = await probes.ask(engine.members["a"], HEAD)
    assert probed.judgement.verdict is Verdict.OK
    assert bytes(probed.judgement.result or b"") == b'{"number":"0x5"}'
    assert probed.seconds == pytest.approx(0.3, abs=0.001)
    (sent,) = engine.sent
    assert (sent.method, sent.params) == ("eth_getBlockByNumber", ["latest", False])
    await probes.ask(engine.members["b"], HEAD)
    assert engine.wires["b"].sent[0].id != sent.id
    assert engine.in_flight() == {}  # it is no client's


@pytest.mark.parametrize(
    ("behaviour", "verdict"),
    [
        (failing(FailureKind.CONNECT), Verdict.UNREACHABLE),
        (refusing(-32005, "rate limit"), Verdict.RATE_LIMITED),
        (answering(b"null"), Verdict.MISSING_DATA),
        (after(0.01, lambda sent: sent.say(b"<html>")), Verdict.NOT_JSON),
    ],
)
@virtual
async def test_whatever_comes_back_is_judged(behaviour: object, verdict: Verdict) -> None:
    engine = Engine()
    engine.behave(a=behaviour)  # type: ignore[arg-type]
    probed = await Probes(engine.executor, clock=engine.clock).ask(engine.members["a"], HEAD)
    assert probed.judgement.verdict is verdict


@pytest.mark.parametrize("limit_seconds", [PROBE_SECONDS, 5.0])
@virtual
async def test_no_answer_in_time_is_a_timeout(limit_seconds: float) -> None:
    engine = Engine()
    engine.behave(a=silent)
    started = now()
    probed = await Probes(engine.executor, clock=engine.clock).ask(
        engine.members["a"], HEAD, limit_seconds
    )
    assert now() - started == pytest.approx(limit_seconds, abs=0.01)
    assert probed.judgement.verdict is Verdict.TIMEOUT
    assert len(engine.sent) == 1
    assert engine.sent[0].is_open  # what it takes is worth knowing


@virtual
async def test_in_the_dark_copies_follow_and_the_first_answer_counts() -> None:
    engine = Engine()
    probes = Probes(engine.executor, clock=engine.clock)
    assert not probes.is_dark()
    engine.eject(*engine.wires)
    assert probes.is_dark()
    engine.behave(a=in_turn(silent, silent, answering(seconds=0.01)))
    probed = await probes.ask(engine.members["a"], HEAD)
    assert probed.judgement.verdict is Verdict.OK
    assert probed.seconds == pytest.approx(0.01, abs=0.001)  # of the one that was answered
    sent = engine.wires["a"].sent
    assert [round(each.at - sent[0].at, 3) for each in sent] == [
        0,
        DARK_PAUSE_SECONDS,
        2 * DARK_PAUSE_SECONDS,
    ]
    assert [each.is_abandoned for each in sent] == [True, True, False]


@virtual
async def test_heavy_questions_and_strangers_have_no_copies() -> None:
    engine = Engine(are_admitted=False)
    engine.all_behave(silent)
    await Probes(engine.executor, clock=engine.clock).ask(engine.members["a"], HEAD)
    assert len(engine.sent) == 1
    engine.admit("b")
    engine.eject("b")
    await Probes(engine.executor, clock=engine.clock).ask(engine.members["b"], HEAVY)
    assert len(engine.sent) == 2


@virtual
async def test_large_replies_are_let_go_the_late_ones_too() -> None:
    engine = Engine()
    rests: list[Rest] = []

    def large(sent: Sent) -> None:
        rests.append(Rest())
        sent.end(Reply(200, b'{"id":%d,"result":"' % sent.id, rest=rests[-1]))

    def both(sent: Sent) -> None:
        for each in engine.wires["a"].open:
            large(each)

    engine.eject(*engine.wires)
    engine.behave(a=in_turn(silent, after(0.01, both)))
    await Probes(engine.executor, clock=engine.clock).ask(engine.members["a"], HEAD)
    assert len(rests) == 2
    assert all(rest.is_closed for rest in rests)


@virtual
async def test_a_probe_that_is_cancelled_is_given_up() -> None:
    engine = Engine()
    engine.behave(a=silent)
    task = asyncio.get_running_loop().create_task(
        Probes(engine.executor, clock=engine.clock).ask(engine.members["a"], HEAD)
    )
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.sent[0].is_abandoned


# ---- inquiries


def newest_by_steps() -> Inquiry[str]:
    """The hash of the newest block, and then its header, as on a chain without tags."""
    identity = yield CHAIN_ID
    assert identity == "5"
    head = yield NEWEST
    return f"block {head.number}"


@virtual
async def test_what_takes_two_steps_is_asked_in_two_and_has_one_value() -> None:
    engine = Engine()
    engine.behave(a=in_turn(answering(b'"0x5"', 0.2), answering(b'{"number":"0x7"}', 0.3)))
    found = await Probes(engine.executor, clock=engine.clock).inquire(
        engine.members["a"], newest_by_steps()
    )
    assert found.value == "block 7"
    assert [each.method for each in engine.sent] == ["eth_chainId", "eth_getBlockByNumber"]
    assert found.question is NEWEST
    assert found.text == b'{"number":"0x7"}'
    assert found.seconds == pytest.approx(0.3, abs=0.001)  # of the last


@pytest.mark.parametrize(
    ("behaviour", "verdict"),
    [(answering(b'"five"'), Verdict.OK), (failing(), Verdict.UNREACHABLE)],
)
@virtual
async def test_an_inquiry_ends_where_an_answer_is_missing_or_says_nothing(
    behaviour: Behaviour, verdict: Verdict
) -> None:
    engine = Engine()
    engine.behave(a=behaviour)
    found = await Probes(engine.executor, clock=engine.clock).inquire(
        engine.members["a"], newest_by_steps()
    )
    assert found.value is None
    assert found.question is CHAIN_ID
    assert found.judgement.verdict is verdict
    assert len(engine.sent) == 1


@virtual
async def test_an_answer_that_cannot_be_read_has_no_value() -> None:
    engine = Engine()
    engine.behave(a=answering(b"{}"))
    found = await Probes(engine.executor, clock=engine.clock).inquire(
        engine.members["a"], single(NEWEST)
    )
    assert found.value is None
    assert found.judgement.verdict is Verdict.OK
