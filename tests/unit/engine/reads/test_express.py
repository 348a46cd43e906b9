"""The express lane: one answer per request, whatever happens, and exact counts in flight."""

from __future__ import annotations

import asyncio
import gc
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as run_with
from hypothesis import strategies as st

from rpcproxy.engine.answers.carried import Carried
from rpcproxy.engine.reads.express import FirstTry
from rpcproxy.messages import FailureKind, Reply, Verdict
from tests.kits.engine_kit import (
    HEAVY,
    LIGHT,
    Behaviour,
    Engine,
    Handle,
    Rest,
    Sent,
    after,
    answering,
    current_loop,
    failing,
    in_turn,
    now,
    refusing,
    request,
    result_of,
    run_virtual,
    silent,
    virtual,
)
from tests.kits.fleet import four

METHODS = ("eth_gasPrice", "debug_traceCall", "eth_getTransactionByHash", "eth_call")


def warm(engine: Engine) -> Engine:
    """The methods are known: from now on reads go by the lane."""
    for method in METHODS:
        engine.pipeline.profiles.of(method)
    return engine


def pending(handle: Handle) -> FirstTry:
    assert isinstance(handle.pending, FirstTry)
    return handle.pending


# ---- the usual


@virtual
async def test_a_success_is_one_call_and_no_task() -> None:
    engine = warm(Engine())
    before = asyncio.all_tasks()
    handle = engine.handle(request("eth_gasPrice", id=b'"a 1"'))
    assert asyncio.all_tasks() == before
    assert engine.in_flight() == {"a": 1}
    assert not handle.is_done
    answer = await handle.answer()
    assert answer.body == b'{"jsonrpc":"2.0","id":"a 1","result":"0x1"}'
    assert not pending(handle).is_promoted
    engine.assert_idle()
    assert engine.counters.requests[LIGHT].labels["ok"] == 1
    assert engine.counters.attempts["a"].labels["ok"] == 1


@virtual
async def test_what_has_ended_is_let_go_of_by_the_next() -> None:
    engine = warm(Engine())
    handle = engine.handle(request("eth_gasPrice", id=b"0"))
    await handle.answer()
    lane = pending(handle).lane
    for number in range(20):
        await engine.handle(request("eth_gasPrice", id=b"%d" % number)).answer()
    held = [o for o in gc.get_objects() if isinstance(o, FirstTry) and o.lane is lane]
    assert len(held) <= 2 + 1  # the last, and the one that the handle above holds


@virtual
async def test_nothing_is_delivered_from_inside_the_start() -> None:
    engine = warm(Engine())
    engine.behave(a=after(0, lambda sent: sent.reply()))
    handle = engine.ask()
    assert handle.answers == []
    await handle.answer()
    engine.assert_idle()


@virtual
async def test_its_requests_count_for_the_budgets() -> None:
    engine = warm(Engine())
    while engine.budgets.hedges.take():
        pass
    for _ in range(40):
        await engine.ask_new().answer()
    await asyncio.sleep(0.1)
    assert engine.budgets.hedges.left() == pytest.approx(2.0)
    engine.assert_idle()


@virtual
async def test_nobody_to_ask_goes_the_slow_way_and_waits() -> None:
    engine = warm(Engine(are_admitted=False))
    handle = engine.ask()
    assert isinstance(handle.pending, Carried)
    await asyncio.sleep(1)
    engine.admit("d")
    assert (await handle.reply())["result"] == "0x1"
    engine.assert_idle()


@virtual
async def test_a_call_that_worked_makes_refusals_of_its_kind_doubtful() -> None:
    engine = warm(Engine())
    await engine.ask("eth_call").answer()
    engine.behave(a=refusing(-32602, "invalid params"))
    handle = engine.ask("eth_call")
    assert (await handle.reply())["result"] == "0x1"
    assert engine.asked == "aab"
    engine.assert_idle()


# ---- promotion by outcome


@pytest.mark.parametrize(
    ("behaviour", "asked", "wanted"),
    [
        (failing(FailureKind.CONNECT), "ab", "0x1"),
        (failing(FailureKind.TRUNCATED), "ab", "0x1"),
        (refusing(-32603, "internal error"), "ab", "0x1"),
        (refusing(-32005, "rate limit"), "ab", "0x1"),
        (after(0.01, lambda sent: sent.say(b"<html>")), "ab", "0x1"),
        (after(0.01, lambda sent: sent.say(b"", 429)), "ab", "0x1"),
        (after(0.01, lambda sent: sent.say(result_of({"id": 0}))), "ab", "0x1"),
        (refusing(3, "execution reverted"), "a", None),
    ],
)
@virtual
async def test_what_is_no_plain_success_is_promoted(
    behaviour: Behaviour, asked: str, wanted: str | None
) -> None:
    engine = warm(Engine())
    engine.behave(a=behaviour)
    handle = engine.ask("eth_call")
    reply = await handle.reply()
    assert reply.get("result") == wanted
    assert pending(handle).is_promoted
    assert engine.asked == asked
    engine.assert_idle()
    assert engine.standings["a"].in_flight == 0
    assert sum(sum(t.labels.values()) for t in engine.counters.attempts.values()) == len(asked)
    assert sum(engine.counters.requests[LIGHT].labels.values()) == 1


@virtual
async def test_a_null_is_asked_of_one_more() -> None:
    engine = warm(Engine())
    engine.behave(a=answering(b"null"))
    handle = engine.ask("eth_getTransactionByHash", b'["0x1"]')
    assert (await handle.reply())["result"] == "0x1"
    assert engine.asked == "ab"
    engine.assert_idle()


@virtual
async def test_a_large_answer_is_streamed_under_the_clients_id() -> None:
    engine = warm(Engine())
    rest = Rest()

    def large(sent: Sent) -> None:
        sent.end(Reply(200, b'{"jsonrpc":"2.0","id":%d,"result":"' % sent.id, rest=rest))

    engine.behave(a=after(0.01, large))
    answer = await engine.ask("debug_traceCall").answer()
    assert answer.rest is not None
    assert answer.body == b'{"jsonrpc":"2.0","id":1,"result":'
    assert not rest.is_closed
    answer.rest.close()
    engine.assert_idle()


# ---- promotion by time


@virtual
async def test_a_slow_first_try_is_hedged() -> None:
    engine = warm(Engine())
    engine.behave(a=answering(b'"0x2"', 0.9))
    handle = engine.ask()
    assert (await handle.reply())["result"] == "0x1"
    assert handle.at - engine.sent[0].at == pytest.approx(0.17, abs=0.01)
    assert engine.asked == "ab"
    assert engine.standings["a"].classes[LIGHT].overdue == 1
    await engine.assert_soon_idle()
    assert len(handle.answers) == 1


@virtual
async def test_a_light_request_is_not_looked_at_late_because_of_a_heavy_one() -> None:
    engine = warm(Engine())
    for _ in range(30):
        engine.observe("a", Verdict.OK, seconds=0.01)
        engine.observe("a", Verdict.OK, method_class=HEAVY, seconds=0.8)
    assert engine.standings.hedge_delay(HEAVY) == 1.0
    engine.behave(a=silent)
    heavy = engine.ask("eth_getBlockReceipts", b'["latest"]')
    await asyncio.sleep(0.001)
    light = engine.ask()
    started = now()
    assert (await light.reply())["result"] == "0x1"
    assert light.at - started < 0.05  # hedged after 20 ms, and 20 for the answer
    assert (await heavy.reply())["result"] == "0x1"
    assert heavy.at - started == pytest.approx(1.02, abs=0.02)
    await engine.assert_soon_idle()


@virtual
async def test_a_long_fixed_hedge_time_does_not_prolong_the_attempt() -> None:
    engine = warm(Engine(hedge=60.0))
    engine.behave(a=silent)
    handle = engine.ask()
    assert (await handle.reply())["result"] == "0x1"
    assert handle.at - engine.sent[0].at == pytest.approx(1.52, abs=0.05)
    engine.assert_idle()


@virtual
async def test_requests_in_a_row_are_each_looked_at_in_their_time() -> None:
    engine = warm(Engine())
    engine.behave(a=in_turn(answering(), silent, answering(), silent, answering()))
    handles = []
    for _ in range(20):
        handles.append(engine.ask_new())
        await asyncio.sleep(0.03)
    await asyncio.gather(*(handle.answer() for handle in handles))
    assert sum(engine.counters.hedges.values()) == 2
    await engine.assert_soon_idle()
    assert all(not tries for tries in engine.pipeline.reads.express._under_way)
    assert engine.pipeline.reads.express._timers == [None, None]


@virtual
async def test_what_arrives_in_large_pieces_is_promoted_and_not_hedged() -> None:
    engine = warm(Engine())

    def arrive(sent: Sent) -> None:
        sent.received_bytes += 50_000
        if sent.received_bytes < 500_000:
            current_loop().call_later(0.1, arrive, sent)
        else:
            sent.reply()

    engine.behave(a=after(0.01, arrive))
    handle = engine.ask()
    assert (await handle.reply())["result"] == "0x1"
    assert pending(handle).is_promoted
    assert engine.asked == "a"
    engine.assert_idle()


@pytest.mark.parametrize("seconds", [0.2, 2.0])
@virtual
async def test_a_loop_that_was_blocked_hedges_and_ejects_nobody(seconds: float) -> None:
    engine = warm(Engine())
    engine.all_behave(answering(seconds=0.05))
    handles = [engine.ask_new() for _ in range(50)]
    await asyncio.sleep(0.01)
    current_loop().block(seconds)
    await asyncio.gather(*(handle.answer() for handle in handles))
    assert engine.asked == "a" * 50
    assert not any(pending(handle).is_promoted for handle in handles)
    assert not engine.changes
    engine.assert_idle()


@virtual
async def test_a_loop_that_is_always_late_still_hedges() -> None:
    engine = warm(Engine())
    engine.behave(a=silent)
    loop = current_loop()

    end = now() + 30

    def slow() -> None:
        loop.block(0.03)
        if now() < end:
            loop.call_soon(slow)

    loop.call_soon(slow)
    handle = engine.ask()
    await handle.answer()
    assert handle.at - engine.sent[0].at < 1.5


# ---- promotion by ejection


@virtual
async def test_an_ejection_sends_the_waiting_to_others_at_once() -> None:
    engine = warm(Engine())
    engine.behave(a=silent)
    handles = [engine.ask_new() for _ in range(5)] + [engine.ask("debug_traceCall")]
    await asyncio.sleep(0.01)
    engine.eject("a")
    started = now()
    for handle in handles:
        assert (await handle.reply())["result"] == "0x1"
    assert now() - started < 0.05
    await engine.assert_soon_idle()


@virtual
async def test_the_outcome_that_ejects_delivers_its_own_answer_too() -> None:
    engine = warm(Engine())
    engine.behave(a=in_turn(failing(), failing(), failing(), silent))
    handles = [engine.ask_new() for _ in range(4)]
    for handle in handles:
        assert (await handle.reply())["result"] == "0x1"
    assert "a ejected" in engine.changes
    assert handles[3].at - engine.sent[0].at < 0.1
    await engine.assert_soon_idle()
    assert [len(handle.answers) for handle in handles] == [1] * 4


# ---- the client hangs up


@pytest.mark.parametrize("method", ["eth_gasPrice", "debug_traceCall"])
@virtual
async def test_a_hang_up_before_the_answer(method: str) -> None:
    engine = warm(Engine())
    engine.behave(a=silent)
    handle = engine.ask(method)
    await asyncio.sleep(0.01)
    handle.hang_up()
    if method == "debug_traceCall":
        engine.assert_idle()  # heavy work that nobody waits for
    else:
        assert engine.in_flight() == {"a": 1}
    await engine.assert_soon_idle()
    assert handle.answers == []
    assert engine.asked == "a"


@virtual
async def test_a_late_answer_after_a_hang_up_teaches_and_is_not_delivered() -> None:
    engine = warm(Engine())
    engine.behave(a=answering(seconds=0.3))
    handle = engine.ask()
    await asyncio.sleep(0.01)
    handle.hang_up()
    await asyncio.sleep(0.4)
    engine.assert_idle()
    assert handle.answers == []
    assert engine.counters.attempts["a"].labels["ok"] == 1


@pytest.mark.parametrize("seconds", [0.0, 0.155, 0.3])
@virtual
async def test_a_hang_up_after_the_promotion(seconds: float) -> None:
    engine = warm(Engine())
    engine.all_behave(silent)
    handle = engine.ask()
    await asyncio.sleep(0.155)
    assert pending(handle).is_promoted
    await asyncio.sleep(seconds)
    handle.hang_up()
    await engine.assert_soon_idle()
    assert handle.answers == []


@virtual
async def test_nothing_is_left_of_what_clients_hung_up_on() -> None:
    """The collector does not watch what is asked: a cycle through it would stay for ever."""
    engine = warm(Engine())
    engine.all_behave(silent)

    async def ask_and_hang_up() -> None:
        handle = engine.ask()
        await asyncio.sleep(0.155)
        assert pending(handle).is_promoted
        handle.hang_up()

    for _ in range(3):
        await ask_and_hang_up()
    await engine.assert_soon_idle()
    for wire in engine.wires.values():
        wire.sent.clear()
    gc.collect()
    tries = [each for each in gc.get_objects() if type(each) is FirstTry]
    assert [each for each in tries if each.lane.executor is engine.executor] == []


@virtual
async def test_a_hang_up_in_the_very_turn_of_the_promotion() -> None:
    engine = warm(Engine())
    handle: Handle

    def fail_and_hang_up(sent: Sent) -> None:
        sent.fail()
        handle.hang_up()  # the task has not begun

    engine.behave(a=after(0.01, fail_and_hang_up))
    handle = engine.ask()
    await asyncio.sleep(0.1)
    assert engine.asked == "a"
    assert handle.answers == []
    engine.assert_idle()


@virtual
async def test_a_large_answer_is_let_go_when_the_client_hangs_up_as_it_comes() -> None:
    engine = warm(Engine())
    rest = Rest()
    handle: Handle

    def large_and_hang_up(sent: Sent) -> None:
        sent.end(Reply(200, b'{"jsonrpc":"2.0","id":%d,"result":"' % sent.id, rest=rest))
        handle.hang_up()

    engine.behave(a=after(0.01, large_and_hang_up))
    handle = engine.ask("debug_traceCall")
    await asyncio.sleep(0.1)
    assert handle.answers == []
    assert rest.is_closed
    engine.assert_idle()


# ---- when something breaks


def test_a_bug_on_the_slow_way_is_logged_and_answered() -> None:
    async def main() -> None:
        engine = warm(Engine())
        engine.behave(a=failing())

        def broken(*_: object) -> None:
            raise ZeroDivisionError

        engine.pipeline.encoder.encode = broken  # type: ignore[assignment]
        handle = engine.ask()
        answer = await handle.answer()
        assert "the proxy failed on this request" in answer.body.decode()
        engine.assert_idle()

    (record,) = run_virtual(main)
    assert record.getMessage() == "request failed"


@virtual
async def test_close_stops_the_clocks() -> None:
    engine = warm(Engine())
    engine.all_behave(silent)
    engine.ask()
    engine.ask("debug_traceCall")
    engine.close()
    assert engine.pipeline.reads.express._timers == [None, None]
    engine.pipeline.close()  # idempotent


# ---- whatever happens

behaviours = st.one_of(
    st.just(silent),
    st.builds(answering, st.sampled_from([b'"0x1"', b"null", b"[]"]), st.floats(0, 2)),
    st.builds(failing, st.sampled_from(list(FailureKind)), st.floats(0, 2)),
    st.builds(
        refusing,
        st.sampled_from([-32603, -32005, -32601, -32602, 3]),
        st.sampled_from(["internal error", "rate limit", "execution reverted"]),
        st.floats(0, 2),
    ),
)
requests = st.tuples(
    st.floats(0, 1), st.sampled_from(METHODS), st.one_of(st.just(math.inf), st.floats(0, 3))
)
upsets = st.tuples(st.floats(0, 3), st.sampled_from(["block", "eject", "recover"]))


@run_with(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(behaviours, min_size=1, max_size=4), min_size=1, max_size=4),
    st.lists(requests, min_size=1, max_size=12),
    st.lists(upsets, max_size=3),
)
def test_every_request_is_delivered_once_or_cancelled(
    scripts: list[list[Behaviour]],
    wanted: list[tuple[float, str, float]],
    upset: list[tuple[float, str]],
) -> None:
    async def main() -> None:
        engine = warm(Engine(four()[: len(scripts)], deadlines={"heavy_seconds": 6.0}))
        for wire, script in zip(engine.wires.values(), scripts, strict=True):
            wire.behaviour = in_turn(*script)
        loop = current_loop()
        for at, what in upset:
            act = {
                "block": lambda: loop.block(0.2),
                "eject": lambda: engine.eject("a"),
                "recover": lambda: engine.recover("a"),
            }[what]
            loop.call_later(at, act)
        handles: list[tuple[Handle, float]] = []

        async def one(at: float, method: str, hang_up: float) -> None:
            await asyncio.sleep(at)
            handle = engine.ask(method)
            handles.append((handle, hang_up))
            if hang_up < math.inf:
                await asyncio.sleep(hang_up)
                if not handle.is_done:
                    handle.hang_up()

        await asyncio.gather(*(one(*request) for request in wanted))
        await engine.rest(16)
        for handle, hang_up in handles:
            assert len(handle.answers) == 1 or (hang_up < math.inf and not handle.answers)
            for answer in handle.answers:
                reply = msgspec.json.decode(answer.body)
                assert reply["id"] == 1
                assert ("result" in reply) != ("error" in reply)
        engine.assert_idle()
        assert not [t for t in asyncio.all_tasks() if "promoted" in t.get_name()]
        engine.close()

    assert not run_virtual(main)
