"""The executor: attempts, time, hedges, late answers, recoveries; and nothing is left in flight."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as run_with
from hypothesis import strategies as st

from rpcproxy.chains.evm.methods import describe
from rpcproxy.engine.attempts.attempts import Settled
from rpcproxy.engine.attempts.calls import SingleCall
from rpcproxy.messages import FailureKind, Judgement, MethodClass, Reply, Verdict
from rpcproxy.rules.requests.steps import Policy
from rpcproxy.rules.standing.selection import Need
from tests.kits.engine_kit import (
    HEAVY,
    LIGHT,
    ONE,
    POLICY,
    SEND,
    Behaviour,
    Engine,
    Rest,
    Sent,
    after,
    answering,
    current_loop,
    failing,
    in_turn,
    now,
    refusing,
    result,
    run_virtual,
    silent,
    virtual,
)
from tests.kits.fleet import four, upstream

NO_HEDGE = Policy(4.5, 1.5, can_hedge=False)


def verdicts(engine: Engine) -> dict[str, dict[str, int]]:
    """What the counters say of attempts, without zeros."""
    return {
        name: {label: count for label, count in tally.labels.items() if count}
        for name, tally in engine.counters.attempts.items()
    }


# ---- attempts


@virtual
async def test_the_first_answer_is_the_answer() -> None:
    engine = Engine()
    settled = await engine.run()
    assert result(settled) == ONE
    assert settled.standing is engine.standings["a"]
    assert settled.first_id == engine.sent[0].id
    assert settled.seconds == pytest.approx(0.02, abs=0.002)
    assert (engine.asked, settled.exhausted, list(settled.failures)) == ("a", False, [])
    assert verdicts(engine) == {"a": {"ok": 1}}
    engine.assert_idle()


@virtual
async def test_every_attempt_has_an_id_of_its_own() -> None:
    engine = Engine()
    await asyncio.gather(*(engine.run() for _ in range(20)))
    assert len({sent.id for sent in engine.sent}) == 20
    engine.assert_idle()


@pytest.mark.parametrize(
    "behaviour",
    [
        failing(FailureKind.CONNECT),
        failing(FailureKind.RESET),
        failing(FailureKind.TRUNCATED),
        refusing(-32603, "internal error"),
        refusing(-32005, "rate limit exceeded"),
        after(0.01, lambda sent: sent.say(b"<html>", 502)),
        after(0.01, lambda sent: sent.say(b"")),
    ],
)
@virtual
async def test_who_fails_is_followed_by_another(behaviour: Behaviour) -> None:
    engine = Engine()
    engine.behave(a=behaviour)
    settled = await engine.run()
    assert result(settled) == ONE
    assert engine.asked == "ab"
    assert [name for name, _ in settled.failures] == ["a"]
    assert sum(engine.counters.failovers.values()) == 1
    engine.assert_idle()


@virtual
async def test_an_answer_that_is_final_is_not_asked_again() -> None:
    engine = Engine()
    engine.behave(a=refusing(3, "execution reverted"))
    settled = await engine.run("eth_call")
    assert settled.judgement is not None
    assert settled.judgement.verdict is Verdict.REVERTED
    assert engine.asked == "a"
    engine.assert_idle()


@virtual
async def test_an_attempt_has_its_time_and_is_given_up_then() -> None:
    engine = Engine()
    engine.behave(a=silent)
    started = now()
    settled = await engine.run(policy=NO_HEDGE)
    assert result(settled) == ONE
    assert now() - started == pytest.approx(1.52, abs=0.01)
    assert engine.wires["a"].sent[0].is_abandoned
    assert verdicts(engine)["a"] == {"timeout": 1}
    engine.assert_idle()


@virtual
async def test_nobody_answers_and_the_request_ends_by_its_deadline() -> None:
    engine = Engine()
    engine.all_behave(silent)
    started = now()
    settled = await engine.run()
    assert settled.exhausted
    assert result(settled) is None
    assert now() - started <= 4.5 + 0.01
    await engine.assert_soon_idle()


@virtual
async def test_a_deadline_that_is_over_asks_nobody() -> None:
    engine = Engine()
    settled = await engine.run(policy=Policy(-1.0, 1.5))
    assert settled.exhausted
    assert engine.asked == ""
    engine.assert_idle()


@virtual
async def test_members_of_a_batch_that_failed_elsewhere_are_asked_of_others() -> None:
    engine = Engine()
    call = SingleCall(describe("eth_gasPrice"), Need(LIGHT, "eth_gasPrice"), b"[]")
    judgement = Judgement(Verdict.SERVER_ERROR)
    a, b = engine.standings["a"], engine.standings["b"]
    settled = await engine.executor.run(call, POLICY, (b,), (a, judgement))
    assert settled.standing is engine.standings["c"]
    assert engine.asked == "c"
    assert settled.failures[0] == ("a", judgement)
    engine.assert_idle()


@virtual
async def test_ask_asks_this_very_upstream_once() -> None:
    engine = Engine()
    engine.behave(c=refusing(-32603, "internal error"))
    call = SingleCall(describe("eth_gasPrice"), Need(LIGHT, "eth_gasPrice"), b"[]")
    settled = await engine.executor.ask(call, POLICY, engine.standings["c"])
    assert settled.judgement is not None
    assert settled.judgement.verdict is Verdict.SERVER_ERROR
    engine.behave(c=silent)
    settled = await engine.executor.ask(call, POLICY, engine.standings["c"])
    assert settled.judgement is not None
    assert settled.judgement.verdict is Verdict.TIMEOUT
    assert engine.asked == "cc"
    engine.assert_idle()


@virtual
async def test_a_batch_counts_whole_against_a_rate() -> None:
    from rpcproxy.engine.attempts.calls import BATCH_METHOD, BatchCall, SingleCall

    engine = Engine([upstream("a", rate_limit_per_second=10.0), upstream("b")])
    method = describe("eth_gasPrice")
    members = [SingleCall(method, Need(LIGHT), b"[]")] * 9
    call = BatchCall(BATCH_METHOD, Need(LIGHT, "batch", batch=True), members)
    await engine.executor.run(call, POLICY)
    assert engine.asked == "a"
    assert engine.standings["a"].rates.level(now()) < 0.2
    assert len({c["id"] for c in engine.sent[0].calls}) == 9
    settled = await engine.run()
    assert settled.first_id > max(c["id"] for c in engine.sent[0].calls)
    engine.assert_idle()


# ---- hedges


@virtual
async def test_a_slow_attempt_is_hedged_on_another_and_the_first_answer_counts() -> None:
    engine = Engine()
    engine.behave(a=answering(b'"0x2"', 0.5))
    started = now()
    settled = await engine.run()
    assert result(settled) == ONE
    assert now() - started == pytest.approx(0.17, abs=0.01)  # 150 ms, and then b's 20
    assert engine.asked == "ab"
    assert engine.counters.hedges == {"b": 1}
    assert engine.counters.hedges_won == {"b": 1}
    # The first goes on, so that we learn: it is in flight until it answers.
    assert engine.in_flight() == {"a": 1}
    assert not engine.wires["a"].sent[0].is_abandoned
    await asyncio.sleep(0.5)
    engine.assert_idle()
    assert verdicts(engine)["a"] == {"ok": 1}


@virtual
async def test_the_first_may_still_win_over_its_hedge() -> None:
    engine = Engine()
    engine.behave(a=answering(b'"0x2"', 0.16), b=answering(seconds=0.1))
    settled = await engine.run()
    assert result(settled) == b'"0x2"'
    assert engine.counters.hedges == {"b": 1}
    assert engine.counters.hedges_won == {}
    await engine.assert_soon_idle()


@virtual
async def test_both_answers_in_one_turn_count_once() -> None:
    engine = Engine()
    ended: list[Sent] = []

    def both(_: Sent) -> None:
        for sent in engine.sent:
            ended.append(sent)
            sent.reply()

    engine.behave(a=silent, b=after(0.01, both))
    settled = await engine.run()
    assert settled.standing is engine.standings["a"]
    assert len(ended) == 2
    engine.assert_idle()
    assert verdicts(engine) == {"a": {"ok": 1}, "b": {"ok": 1}}


@virtual
async def test_no_hedge_where_every_call_is_paid_for() -> None:
    engine = Engine()
    engine.behave(a=answering(seconds=1.0))
    await engine.run(policy=NO_HEDGE)
    assert engine.asked == "a"
    engine.assert_idle()


@virtual
async def test_a_large_reply_on_its_way_is_not_hedged_and_gets_its_time() -> None:
    engine = Engine()

    def dribble(sent: Sent) -> None:
        for n in range(1, 40):
            current_loop().call_later(0.1 * n, arrive, sent)
        current_loop().call_later(4.0, sent.reply)

    def arrive(sent: Sent) -> None:
        sent.received_bytes += 100_000

    engine.behave(a=dribble)
    settled = await engine.run(policy=Policy(10.0, 1.5))
    assert settled.seconds == pytest.approx(4.0, abs=0.01)
    assert engine.asked == "a"
    engine.assert_idle()


@virtual
async def test_a_reply_that_stops_in_the_middle_is_hedged_and_timed_out() -> None:
    engine = Engine()

    def stall(sent: Sent) -> None:
        sent.received_bytes = 1_000_000

    engine.behave(a=stall, b=answering(seconds=3.0), c=answering())
    settled = await engine.run()
    assert settled.standing is engine.standings["c"]
    assert settled.seconds < 0.6
    await engine.assert_soon_idle()


@virtual
async def test_a_single_attempt_that_stops_in_the_middle_ends_at_its_deadline() -> None:
    engine = Engine()

    def stall(sent: Sent) -> None:
        sent.received_bytes += 100_000

    engine.behave(a=after(1.0, stall))
    call = SingleCall(describe("eth_gasPrice"), Need(LIGHT, "eth_gasPrice"), b"[]")
    policy = Policy(60.0, 6.0, can_hedge=False)
    settled = await engine.executor.ask(call, policy, engine.standings["a"])
    assert settled.judgement is not None
    assert settled.judgement.verdict is Verdict.TIMEOUT
    assert settled.seconds == pytest.approx(60, abs=0.1)
    engine.assert_idle()


# ---- late answers


@virtual
async def test_who_is_overtaken_and_never_answers_is_counted_once() -> None:
    engine = Engine()
    engine.behave(a=silent)
    await engine.run()
    record = engine.standings["a"].classes[LIGHT]
    assert record.breaker.balance == 0
    await asyncio.sleep(0.3)  # past another hedge delay
    assert record.breaker.balance == 1
    assert engine.in_flight() == {"a": 1}
    await asyncio.sleep(2)  # past the attempt's own time
    assert record.breaker.balance == 1
    assert verdicts(engine)["a"] == {"overtaken": 1}
    engine.assert_idle()
    assert engine.wires["a"].sent[0].is_abandoned


@virtual
async def test_who_is_overtaken_and_breaks_then_is_counted_once() -> None:
    engine = Engine()
    engine.behave(a=failing(FailureKind.RESET, 0.9))
    await engine.run()
    await asyncio.sleep(2)
    assert engine.standings["a"].classes[LIGHT].breaker.balance == 1
    assert verdicts(engine)["a"] == {"overtaken": 1}
    engine.assert_idle()


@virtual
async def test_who_answers_late_after_all_is_credited() -> None:
    engine = Engine()
    engine.behave(a=answering(seconds=0.9))
    await engine.run()
    await asyncio.sleep(2)
    assert engine.standings["a"].classes[LIGHT].breaker.balance == 0
    assert verdicts(engine)["a"] == {"ok": 1}
    engine.assert_idle()


@virtual
async def test_a_large_late_reply_is_let_go() -> None:
    engine = Engine()
    rest = Rest()
    large = Reply(200, b'{"id":1,"result":"', rest=rest)
    engine.behave(a=after(0.5, lambda sent: sent.end(large)))
    await engine.run()
    await asyncio.sleep(1)
    assert rest.is_closed
    engine.assert_idle()


@virtual
async def test_a_large_reply_that_is_not_the_answer_is_let_go() -> None:
    engine = Engine()
    rest = Rest()
    engine.behave(a=after(0.01, lambda sent: sent.end(Reply(500, b"<html>", rest=rest))))
    settled = await engine.run()
    assert settled.standing is engine.standings["b"]
    assert rest.is_closed
    engine.assert_idle()


@virtual
async def test_a_large_answer_is_handed_on_open() -> None:
    engine = Engine()
    rest = Rest()

    def large(sent: Sent) -> None:
        sent.end(Reply(200, b'{"id":%d,"result":"' % sent.id, rest=rest))

    engine.behave(a=after(0.01, large))
    settled = await engine.run()
    assert settled.reply is not None
    assert settled.reply.rest is rest
    assert not rest.is_closed
    settled.close()
    assert rest.is_closed
    engine.assert_idle()


@virtual
async def test_a_large_answer_that_comes_as_the_client_hangs_up_is_let_go() -> None:
    engine = Engine()
    rest = Rest()
    task = asyncio.get_running_loop().create_task(engine.run())
    await asyncio.sleep(0.01)
    sent = engine.sent[0]
    sent.end(Reply(200, b'{"id":%d,"result":"' % sent.id, rest=rest))
    task.cancel()  # before the run woke
    with pytest.raises(asyncio.CancelledError):
        await task
    assert rest.is_closed
    engine.assert_idle()


# ---- clients that hang up


@pytest.mark.parametrize("method", ["eth_gasPrice", "eth_getLogs"])
@virtual
async def test_after_a_hang_up_nothing_is_left_in_flight(method: str) -> None:
    engine = Engine()
    engine.all_behave(silent)
    tasks = [asyncio.get_running_loop().create_task(engine.run(method)) for _ in range(10)]
    await asyncio.sleep(0.01)
    assert sum(engine.in_flight().values()) == 10
    tasks[0].cancel()
    await asyncio.sleep(0.2)  # others have hedged meanwhile
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert all(task.cancelled() for task in tasks)
    await engine.assert_soon_idle()


@virtual
async def test_heavy_work_that_nobody_waits_for_is_given_up_at_once() -> None:
    engine = Engine()
    engine.all_behave(silent)
    task = asyncio.get_running_loop().create_task(engine.run("eth_getLogs"))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    engine.assert_idle()
    assert verdicts(engine) == {"a": {"cancelled": 1}}
    assert engine.standings["a"].classes[HEAVY].breaker.samples == 0


@virtual
async def test_light_work_goes_on_so_that_a_dead_upstream_is_found_out() -> None:
    engine = Engine()
    engine.all_behave(silent)
    task = asyncio.get_running_loop().create_task(engine.run())
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.sleep(1.4)
    assert engine.in_flight() == {"a": 1}
    await asyncio.sleep(0.2)
    assert verdicts(engine) == {"a": {"timeout": 1}}
    engine.assert_idle()


@virtual
async def test_a_cancelled_wait_for_a_recovery_leaves_nothing() -> None:
    engine = Engine(are_admitted=False)
    tasks = [
        asyncio.get_running_loop().create_task(engine.run()),
        asyncio.get_running_loop().create_task(engine.executor.wait_for_recovery(60)),
    ]
    await asyncio.sleep(0.01)
    assert engine.executor._waiting
    assert engine.executor._recovery_waiters
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    engine.assert_idle()


# ---- ejections and recoveries


@virtual
async def test_an_ejection_wakes_the_runs_that_wait_there() -> None:
    engine = Engine()
    engine.behave(a=silent)
    tasks = [asyncio.get_running_loop().create_task(engine.run()) for _ in range(5)]
    await asyncio.sleep(0.01)
    engine.eject("a")
    assert engine.wires["a"].drops == 1
    started = now()
    settled = await asyncio.gather(*tasks)
    assert all(result(s) == ONE and s.standing is not engine.standings["a"] for s in settled)
    assert now() - started < 0.03  # nobody waited for the hedge time
    await engine.assert_soon_idle()


@virtual
async def test_an_early_request_waits_for_the_first_upstream() -> None:
    engine = Engine(are_admitted=False)
    task = asyncio.get_running_loop().create_task(engine.run())
    await asyncio.sleep(2.0)
    assert engine.asked == ""
    assert engine.counters.waited_for_recovery > 0
    started = now()
    engine.admit("c")
    settled = await task
    assert settled.standing is engine.standings["c"]
    assert now() - started < 0.03
    engine.assert_idle()


@virtual
async def test_a_recovery_ends_the_wait_of_a_broadcast() -> None:
    engine = Engine(are_admitted=False)
    started = now()
    waiting = asyncio.get_running_loop().create_task(engine.executor.wait_for_recovery(60))
    await asyncio.sleep(1)
    engine.admit("a")
    await waiting
    assert now() - started < 1.1
    await engine.executor.wait_for_recovery(0.5)
    assert now() - started == pytest.approx(1.5, abs=0.01)
    engine.assert_idle()


@virtual
async def test_all_gone_for_three_seconds_costs_no_request() -> None:
    engine = Engine()
    engine.all_behave(failing())
    engine.eject(*engine.wires)
    tasks = [asyncio.get_running_loop().create_task(engine.run()) for _ in range(20)]
    await asyncio.sleep(3)
    engine.all_behave(answering())
    engine.recover("b")
    settled = await asyncio.gather(*tasks)
    assert all(result(s) == ONE for s in settled)
    await engine.assert_soon_idle()


# ---- what is learned


@virtual
async def test_a_request_that_fails_everywhere_is_remembered_and_hurts_nobody_again() -> None:
    engine = Engine()
    engine.all_behave(refusing(-32603, "internal error: trace too deep"))
    settled = await engine.run()
    assert settled.judgement is not None
    assert settled.judgement.error is not None
    key = b"eth_gasPrice []"
    assert engine.executor.poison.is_poison(key, now())
    before = [s.classes[LIGHT].breaker.samples for s in engine.standings]
    await engine.run(policy=Policy(4.5, 1.5, single_attempt=True))
    assert sum(s.classes[LIGHT].breaker.samples for s in engine.standings) <= sum(before)
    engine.assert_idle()


@virtual
async def test_a_request_that_one_failed_at_and_others_had_no_room_for_is_not_remembered() -> None:
    engine = Engine()
    engine.all_behave(refusing(-32005, "rate limit exceeded"))
    engine.wires["a"].behaviour = refusing(-32603, "internal error")
    settled = await engine.run()
    assert settled.judgement is not None
    assert settled.judgement.verdict is Verdict.SERVER_ERROR
    assert not engine.executor.poison.is_poison(b"eth_gasPrice []", now())
    await engine.assert_soon_idle()


@virtual
async def test_budgets_grow_with_the_requests() -> None:
    engine = Engine()
    while engine.budgets.hedges.take():
        pass
    for _ in range(40):
        await engine.run()
    assert engine.budgets.hedges.left() == pytest.approx(2.0)
    assert engine.budgets.retries.left(now()) > 100


# ---- our own loop


@pytest.mark.parametrize("seconds", [0.2, 1.0])
@virtual
async def test_a_timer_held_up_by_our_own_loop_hedges_nobody(seconds: float) -> None:
    engine = Engine()
    engine.all_behave(answering(seconds=0.05))
    tasks = [asyncio.get_running_loop().create_task(engine.run()) for _ in range(50)]
    await asyncio.sleep(0.01)
    current_loop().block(seconds)
    settled = await asyncio.gather(*tasks)
    assert engine.asked == "a" * 50
    assert engine.counters.hedges == {}
    assert all(result(s) == ONE for s in settled)
    assert not engine.changes
    engine.assert_idle()


@virtual
async def test_overtaken_attempts_are_not_blamed_for_our_own_loop() -> None:
    engine = Engine()
    engine.behave(a=answering(seconds=0.25))
    await asyncio.gather(*(engine.run() for _ in range(8)))  # b overtakes
    assert engine.in_flight() == {"a": 8}
    current_loop().block(0.2)  # their answers are in the sockets
    await asyncio.sleep(0.1)
    assert engine.standings["a"].classes[LIGHT].breaker.balance == 0
    assert not engine.changes
    engine.assert_idle()


@virtual
async def test_a_loop_that_is_always_late_still_ends_requests() -> None:
    engine = Engine()
    engine.all_behave(silent)
    loop = current_loop()

    end = now() + 30

    def slow() -> None:
        loop.block(0.03)
        if now() < end:
            loop.call_soon(slow)

    loop.call_soon(slow)
    settled = await engine.run()
    assert settled.exhausted
    assert settled.seconds < 6


# ---- the end


@virtual
async def test_close_gives_up_what_is_in_flight() -> None:
    engine = Engine()
    engine.all_behave(silent)
    task = asyncio.get_running_loop().create_task(engine.run())
    await asyncio.sleep(0.01)
    engine.close()
    assert not [sent for wire in engine.wires.values() for sent in wire.open]
    settled = await task  # by its own deadline: nobody is left hanging
    assert settled.exhausted
    engine.executor.close()  # idempotent


@virtual
async def test_a_settled_run_keeps_no_reply_alive() -> None:
    import gc
    import weakref

    class Body(Rest):
        pass

    engine = Engine()
    seen: list[weakref.ref[Body]] = []

    def large(sent: Sent) -> None:
        rest = Body()
        seen.append(weakref.ref(rest))
        sent.end(Reply(200, b'{"id":%d,"result":"' % sent.id, rest=rest))

    engine.behave(a=after(0.01, large))
    gc.collect()
    gc.disable()
    try:
        settled = await engine.run()
        assert seen[0]() is not None
        engine.wires["a"].sent.clear()
        del settled
        assert seen[0]() is None
    finally:
        gc.enable()


# ---- whatever happens

behaviours = st.one_of(
    st.just(silent),
    st.builds(answering, seconds=st.floats(0, 3)),
    st.builds(failing, st.sampled_from(list(FailureKind)), seconds=st.floats(0, 3)),
    st.builds(
        refusing,
        st.sampled_from([-32603, -32005, -32601, -32602, 3]),
        st.sampled_from(["internal error", "rate limit", "execution reverted", "no"]),
        seconds=st.floats(0, 3),
    ),
)
requests = st.tuples(
    st.floats(0, 2),
    st.sampled_from(["eth_gasPrice", "eth_getLogs", "eth_getTransactionByHash", "eth_call"]),
    st.one_of(st.none(), st.floats(0, 4)),
    st.booleans(),
)


@run_with(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(behaviours, min_size=1, max_size=4), min_size=1, max_size=4),
    st.lists(requests, min_size=1, max_size=12),
    st.lists(st.tuples(st.floats(0, 4), st.floats(0, 0.4)), max_size=3),
)
def test_every_request_ends_in_time_and_nothing_stays_in_flight(
    scripts: list[list[Any]], wanted: list[Any], blocks: list[tuple[float, float]]
) -> None:
    async def main() -> None:
        engine = Engine(four()[: len(scripts)])
        for wire, script in zip(engine.wires.values(), scripts, strict=True):
            wire.behaviour = in_turn(*script)
        loop = current_loop()
        for at, seconds in blocks:
            loop.call_later(at, loop.block, seconds)
        slack = sum(seconds for _, seconds in blocks) + 0.05

        async def one(at: float, method: str, hang_up: float | None, can_hedge: bool) -> None:
            await asyncio.sleep(at)
            policy = Policy(4.5, 1.5, can_hedge=can_hedge, confirm_nulls=True)
            started = now()
            task = loop.create_task(engine.run(method, policy))
            if hang_up is not None:
                loop.call_later(hang_up, task.cancel)
            settled: Settled | BaseException
            (settled,) = await asyncio.gather(task, return_exceptions=True)
            assert now() - started <= 4.5 + slack
            if isinstance(settled, BaseException):
                assert isinstance(settled, asyncio.CancelledError), settled

        await asyncio.gather(*(one(*request) for request in wanted))
        await asyncio.sleep(3)
        engine.assert_idle()
        engine.close()

    assert not run_virtual(main)


def test_the_classes_are_what_this_file_thinks() -> None:
    assert describe("eth_getLogs").method_class is HEAVY
    assert describe("eth_gasPrice").method_class is LIGHT
    assert describe("eth_sendRawTransaction").method_class is SEND is MethodClass.SEND


# ---- after a reload


@virtual
async def test_a_retired_one_without_work_lets_time_pass_at_no_cost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = Engine()
    engine.behave(a=silent, b=silent, c=silent, d=silent)
    ticks = 0
    tick = type(engine.standings).tick

    def counted(standings: Any, now: float) -> Any:
        nonlocal ticks
        ticks += 1
        return tick(standings, now)

    monkeypatch.setattr(type(engine.standings), "tick", counted)
    running = asyncio.ensure_future(engine.run())
    await asyncio.sleep(0.01)
    engine.executor.retire()
    await running
    assert ticks > 10  # it has a request to end
    await asyncio.sleep(2)
    ticks = 0
    await asyncio.sleep(60)
    engine.assert_idle()
    assert ticks == 0
