"""Upstreams that are slow and sound, on the virtual clock, with and without a watcher.

Members of the kind are named in tests/integration/test_slow_answers.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from rpcproxy.chains.evm.questions import QUESTIONS
from rpcproxy.engine.answers.batch_sizes import GROUP_BYTES
from rpcproxy.engine.answers.streaming import TailStream
from rpcproxy.engine.watch.feeds import Feeds
from rpcproxy.engine.watch.watcher import Watcher
from rpcproxy.messages import Answer, Reply, Request, StreamBroken
from rpcproxy.rules.requests.steps import MAX_ATTEMPTS, Policy
from tests.kits.engine_kit import (
    CHAIN_ID,
    ONE,
    Behaviour,
    Engine,
    Sent,
    after,
    answering,
    current_loop,
    failing,
    in_turn,
    now,
    result,
    silent,
    virtual,
)

PROBED = ("eth_chainId", "eth_getBlockByNumber", "eth_getBlockByHash")


def node(seconds: float, probe_seconds: float = 0.01) -> Behaviour:
    """Well, and slow: so much for what clients ask, and for probes."""

    def block(number: int) -> bytes:
        return b'{"number":"0x%x","hash":"0x%064x","parentHash":"0x%064x"}' % (
            *(number, number, number - 1),
        )

    def behave(sent: Sent) -> None:
        if sent.is_batch or sent.method not in PROBED:
            answering(seconds=seconds)(sent)
        elif sent.method == "eth_chainId":
            answering(b'"0x%x"' % CHAIN_ID, probe_seconds)(sent)
        else:
            answering(block(100), probe_seconds)(sent)

    return behave


@contextlib.asynccontextmanager
async def watched(behaviour: Behaviour, **chain: Any) -> AsyncIterator[Engine]:
    engine = Engine(**chain)
    engine.all_behave(behaviour)
    feeds = Feeds(engine.chain, engine.members, engine.executor, None, clock=engine.clock)
    watcher = Watcher(
        engine.chain,
        engine.members,
        engine.executor,
        engine.told,
        feeds,
        QUESTIONS,
        clock=engine.clock,
    )
    watcher.start()
    try:
        yield engine
    finally:
        await watcher.stop()
        engine.close()


def assert_nobody_is_blamed(engine: Engine) -> None:
    assert not [change for change in engine.changes if "ejected" in change or "panic" in change]
    for standing in engine.standings:
        for record in standing.classes:
            assert record.breaker.streak == 0, (standing, record.method_class)


async def ask_many(engine: Engine, count: int, **given: Any) -> None:
    settled = await asyncio.gather(*(engine.run(**given) for _ in range(count)))
    assert [result(each) for each in settled] == [ONE] * count


# ---- an attempt past its time goes on


@virtual
async def test_a_call_that_takes_longer_than_an_attempt_is_answered() -> None:
    async with watched(node(2.0)) as engine:
        await ask_many(engine, 21)
        assert_nobody_is_blamed(engine)


@virtual
async def test_the_last_attempt_runs_to_the_deadline() -> None:
    async with watched(node(4.4)) as engine:
        started = now()
        await ask_many(engine, 1)
        assert now() - started == pytest.approx(4.4, abs=0.05)
        assert_nobody_is_blamed(engine)


@virtual
async def test_so_many_attempts_are_in_flight_at_most() -> None:
    engine = Engine()
    engine.all_behave(silent)
    policy = Policy(30.0, 0.2)
    task = asyncio.get_running_loop().create_task(engine.run(policy=policy))
    most = 0
    while not task.done():
        await asyncio.sleep(0.05)
        most = max(most, sum(len(wire.open) for wire in engine.wires.values()))
    assert most <= MAX_ATTEMPTS
    assert task.result().exhausted
    await engine.assert_soon_idle()


@pytest.mark.parametrize("status", [401, 402, 403])
@virtual
async def test_a_slow_answer_beats_refusals_by_status_alone(status: int) -> None:
    refused = after(0.01, lambda sent: sent.say(b"<html>no</html>", status))
    async with watched(node(0.01)) as engine:
        engine.behave(a=refused, b=refused, c=node(2.0), d=refused)
        asked = b'[{"data":"0x1"},"latest"]'
        assert (await engine.ask("eth_call", asked).reply()).get("result") == "0x1"


@virtual
async def test_what_was_lost_on_the_way_is_asked_again() -> None:
    """One upstream, which is well: its first reply never comes."""
    engine = Engine(Engine().chain.upstreams[:1])
    engine.behave(a=in_turn(silent, answering()))
    settled = await engine.run()
    assert result(settled) == ONE


@virtual
async def test_an_answer_that_is_still_worked_on_beats_the_errors_of_the_others() -> None:
    missing = after(0.01, lambda sent: sent.refuse(-32000, "missing trie node"))
    async with watched(node(0.01)) as engine:
        engine.behave(b=missing, c=missing, d=missing)
        engine.behave(a=node(2.0))
        settled = await engine.run("eth_getStorageAt")
        assert result(settled) == ONE


# ---- whose fault


@virtual
async def test_what_nobody_answers_in_time_is_nobodys_fault() -> None:
    async with watched(node(60.0)) as engine:
        for _ in range(6):
            settled = await engine.run("eth_gasPrice")
            assert settled.exhausted
        assert_nobody_is_blamed(engine)
        assert engine.executor.poison.is_poison(b"eth_gasPrice []", now())


@pytest.mark.parametrize("hedge", ["auto", "off"])
@virtual
async def test_who_hangs_where_another_answers_is_blamed(hedge: str) -> None:
    async with watched(node(0.02), hedge=hedge) as engine:
        alive = node(0.02)

        def hang(sent: Sent) -> None:
            if sent.method in PROBED:
                alive(sent)  # its front lives, and what is behind does not

        engine.behave(a=hang)
        await ask_many(engine, 4, policy=Policy(4.5, 1.5, can_hedge=hedge == "auto"))
        await asyncio.sleep(0.3)
        assert engine.standings["a"].light.breaker.streak >= 2  # probes are answered in between
        assert engine.standings["b"].light.breaker.streak == 0


@virtual
async def test_a_frozen_one_is_found_out_by_a_probe_where_nobody_else_is_asked() -> None:
    async with watched(node(0.02)) as engine:
        for name in "bcd":
            engine.standings[name].is_drained = True
        engine.behave(a=silent)
        engine.standings._ranking.mark()
        tasks = [asyncio.get_running_loop().create_task(engine.run()) for _ in range(4)]
        await asyncio.sleep(2.0)
        assert "a ejected" in engine.changes  # as soon as ever: an attempt's time
        await asyncio.gather(*tasks)


@virtual
async def test_who_is_a_little_slower_than_another_slow_one_is_not_blamed() -> None:
    async with watched(node(1.2)) as engine:
        engine.behave(a=node(1.6))
        for _ in range(4):
            await ask_many(engine, 6)
        await asyncio.sleep(5)
        assert_nobody_is_blamed(engine)


@virtual
async def test_where_everything_becomes_slow_at_once_nobody_is_dead() -> None:
    """What others answer meanwhile was asked before."""
    async with watched(node(0.02)) as engine:
        await ask_many(engine, 40)
        engine.all_behave(node(1.8, 1.8))
        tasks = []
        for _ in range(60):
            tasks.append(asyncio.get_running_loop().create_task(engine.run()))
            await asyncio.sleep(0.1)
        assert all(result(settled) == ONE for settled in await asyncio.gather(*tasks))
        assert [said for said in engine.changes if "ejected" in said] == []


@virtual
async def test_probes_that_are_slow_and_answered_are_given_time() -> None:
    """From the first: nobody was ever admitted where every answer takes two seconds."""
    async with watched(node(2.0, 2.0)) as engine:
        await asyncio.sleep(30)
        engine.changes.clear()
        await ask_many(engine, 12)
        await asyncio.sleep(30)
        assert_nobody_is_blamed(engine)
        assert {standing.state for standing in engine.standings} == {"up"}


@pytest.mark.parametrize("seconds", [1.0, 4.0])
@virtual
async def test_a_loop_that_stood_still_counts_against_nobody(seconds: float) -> None:
    async with watched(node(0.3)) as engine:
        tasks = [asyncio.get_running_loop().create_task(engine.run()) for _ in range(20)]
        await asyncio.sleep(0.01)
        current_loop().block(seconds)
        await asyncio.gather(*tasks)
        await asyncio.sleep(5)
        assert_nobody_is_blamed(engine)


# ---- heavy work


@virtual
async def test_a_trace_that_takes_longer_than_an_attempt_is_made_once() -> None:
    async with watched(node(11.0)) as engine:
        trace = engine.ask("debug_traceTransaction", b'["0x%064x"]' % 1)
        assert (await trace.reply())["result"] == "0x1"
        assert [s.method for s in engine.sent if s.method not in PROBED] == [
            "debug_traceTransaction"
        ]
        assert_nobody_is_blamed(engine)


@pytest.mark.parametrize("behaviour", [silent, failing()], ids=["frozen", "gone"])
@virtual
async def test_a_trace_has_a_second_copy_where_the_first_upstream_is_in_doubt(
    behaviour: Behaviour,
) -> None:
    async with watched(node(3.0)) as engine:
        engine.behave(a=behaviour)
        started = now()
        trace = engine.ask("debug_traceTransaction", b'["0x%064x"]' % 1)
        assert (await trace.reply())["result"] == "0x1"
        assert now() - started < 6.0


@virtual
async def test_a_trace_that_was_lost_is_asked_of_another_in_the_end() -> None:
    async with watched(node(1.0)) as engine:
        alive = node(1.0)
        engine.behave(a=lambda sent: alive(sent) if sent.method in PROBED else None)
        trace = engine.ask("debug_traceTransaction", b'["0x%064x"]' % 1)
        assert (await trace.reply())["result"] == "0x1"


# ---- learned


@virtual
async def test_a_method_that_is_known_to_take_long_is_asked_once() -> None:
    async with watched(node(2.0)) as engine:
        for _ in range(30):
            await asyncio.gather(engine.ask_new().reply(), engine.ask_new().reply())
        before = sum(s.method == "eth_call" for s in engine.sent)
        await asyncio.gather(*(engine.ask_new().reply() for _ in range(5)))
        assert sum(s.method == "eth_call" for s in engine.sent) == before + 5
        assert_nobody_is_blamed(engine)


@virtual
async def test_it_has_as_much_time_at_the_pending_block() -> None:
    async with watched(node(2.0)) as engine:
        for _ in range(30):
            await asyncio.gather(engine.ask_new().reply(), engine.ask_new().reply())
        pipeline = engine.pipeline
        profile = pipeline.profiles.of("eth_call")
        usual, pending = (
            pipeline.reads.terms.policy_for(pipeline.profiles.prepare(request, profile), profile)
            for request in (
                Request("eth_call", b"1", b'[{},"latest"]'),
                Request("eth_call", b"1", b'[{},"pending"]'),
            )
        )
        assert pending.attempt_seconds == usual.attempt_seconds > profile.policy.attempt_seconds
        assert pending.confirm_nulls


@virtual
async def test_one_slow_upstream_makes_no_method_slow() -> None:
    async with watched(node(0.02)) as engine:
        engine.behave(a=node(1.4))
        for _ in range(40):
            await asyncio.gather(*(engine.ask_new().reply() for _ in range(3)))
        seconds = engine.executor.paces.hedge_seconds("eth_call", 0.15)
        assert seconds == 0.15


# ---- sends


@pytest.mark.parametrize("seconds", [3.0, 10.0])
@virtual
async def test_a_slow_sequencer_is_waited_for(seconds: float) -> None:
    async with watched(node(seconds)) as engine:
        send = engine.ask("eth_sendUserOperation", b"[{}]")
        assert (await send.reply())["result"] == "0x1"
        assert_nobody_is_blamed(engine)


@virtual
async def test_a_send_that_was_lost_goes_to_another() -> None:
    async with watched(node(0.1)) as engine:
        alive = node(0.1)
        engine.behave(a=lambda sent: alive(sent) if sent.method in PROBED else None)
        send = engine.ask("eth_sendUserOperation", b"[{}]")
        assert (await send.reply())["result"] == "0x1"


# ---- batches


class Whole:
    """A rest that is closed, and never read."""

    is_closed = False

    async def read(self) -> bytes:
        raise AssertionError("it is too large to be held")

    def close(self) -> None:
        self.is_closed = True


def large_from(members: int, rests: list[Whole]) -> Behaviour:
    """Batches of so many members have an answer that is too large to hold."""

    def behave(sent: Sent) -> None:
        if sent.is_batch and len(sent.calls) >= members:
            rests.append(Whole())
            sent.end(Reply(200, b'[{"id":', rest=rests[-1]))
        else:
            sent.reply(b'"0x' + b"ab" * 100_000 + b'"')

    return after(0.05, behave)


def batch_of(count: int, since: int = 0) -> bytes:
    calls = [
        b'{"jsonrpc":"2.0","id":%d,"method":"eth_getStorageAt","params":["0x1","0x%x","0x5"]}'
        % (number, since + number)
        for number in range(count)
    ]
    return b"[%b]" % b",".join(calls)


async def whole(answer: Answer) -> bytes:
    """An answer that may leave in pieces."""
    pieces = [answer.body]
    while answer.rest is not None and (piece := await answer.rest.read()):
        pieces.append(piece)
    return b"".join(pieces)


@virtual
async def test_an_answer_too_large_to_take_apart_is_asked_for_in_parts() -> None:
    engine = Engine()
    rests: list[Whole] = []
    engine.all_behave(large_from(40, rests))
    replies = msgspec.json.decode(await whole(await engine.handle(batch_of(60)).answer()))
    assert [reply["id"] for reply in replies] == list(range(60))
    assert all("result" in reply for reply in replies)
    assert all(rest.is_closed for rest in rests)
    assert len(rests) == 1  # nobody else is asked for as much
    assert [len(sent.calls) for sent in engine.sent] == [60, 15, 15, 15, 15]
    assert not any(standing.exclusions.batch_until for standing in engine.standings)

    before = len(engine.sent)
    await whole(await engine.handle(batch_of(60, 100)).answer())
    sizes = [len(sent.calls) for sent in engine.sent[before:]]
    assert sum(sizes) == 60
    assert max(sizes) * 200_000 <= GROUP_BYTES  # as much as is known to come at once
    assert_nobody_is_blamed(engine)


@virtual
async def test_answers_that_are_small_again_go_in_large_batches_again() -> None:
    engine = Engine()
    engine.all_behave(large_from(40, []))
    await engine.handle(batch_of(60)).answer()
    engine.all_behave(answering())
    for since in (100, 200):
        before = len(engine.sent)
        await engine.handle(batch_of(60, since)).answer()
    assert [len(sent.calls) for sent in engine.sent[before:]] == [60]


@virtual
async def test_a_batch_has_time_by_its_members() -> None:
    async with watched(node(2.9)) as engine:
        answer = await engine.handle(batch_of(100)).answer()
        assert all("result" in reply for reply in msgspec.json.decode(answer.body))
        assert all(sent.is_batch for sent in engine.sent if len(sent.payload) > 200)
        assert_nobody_is_blamed(engine)


# ---- answers in pieces


class Steady:
    """So many bytes each second, for a while."""

    def __init__(self, size: int, count: int) -> None:
        self._size = size
        self._left = count

    async def read(self) -> bytes:
        if not self._left:
            return b""
        self._left -= 1
        await asyncio.sleep(1.0)
        return b"a" * (self._size - 1) + b"}"

    def close(self) -> None:
        pass


async def size_of(rest: Steady) -> int:
    stream = TailStream(b"", rest, 1, is_told=True, clock=current_loop().clock)
    size = 0
    while piece := await stream.read():
        size += len(piece)
    return size


@virtual
async def test_a_large_answer_that_comes_steadily_is_not_cut() -> None:
    assert await size_of(Steady(4096, 600)) == 600 * 4096  # for ten minutes


@virtual
async def test_a_trickle_is_cut() -> None:
    started = now()
    with pytest.raises(StreamBroken, match="stopped in the middle"):
        await size_of(Steady(100, 600))
    assert now() - started < 60


# ---- memory of what is in doubt


@virtual
async def test_doubts_end_with_their_attempts() -> None:
    async with watched(node(60.0)) as engine:
        await asyncio.gather(*(engine.run("eth_gasPrice") for _ in range(100)))
        await asyncio.sleep(5)
        assert not engine.executor.doubts
