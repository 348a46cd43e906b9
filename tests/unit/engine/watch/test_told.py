"""The head as clients were told it: never falls, asked once for many, and what it keeps."""

from __future__ import annotations

import asyncio

import pytest
from msgspec import structs

from rpcproxy.chains.evm.questions import CHAIN_ID, NEWEST
from rpcproxy.chains.parts.inquiries import Inquiry
from rpcproxy.chains.registry import EVM
from rpcproxy.config.model import Deadlines
from rpcproxy.engine.watch.told import BLOCKS_KEPT, ToldHead
from rpcproxy.messages import Head, Verdict
from tests.kits.engine_kit import (
    POLICY,
    Behaviour,
    Engine,
    answering,
    failing,
    in_turn,
    now,
    refusing,
    result,
    silent,
    virtual,
)

BLOCK = b'{"number":"0x64"}'
HEAD = ("eth_getBlockByNumber", ["latest", False])


def head(engine: Engine, number: int) -> None:
    for name in engine.wires:
        engine.observe(name, Verdict.OK, head=Head(number), is_probe=True)
        engine.told.on_report(Head(number), now())


@virtual
async def test_it_is_the_served_head_while_somebody_confirmed_it_lately() -> None:
    engine = Engine()
    assert engine.told.number == -1
    assert engine.told.fresh_number(now()) is None  # served, and not confirmed to us
    head(engine, 101)
    assert engine.told.fresh_number(now()) == b'"0x65"'
    assert engine.told.number == 101
    assert engine.told.fresh_number(now() + 0.99) == b'"0x65"'
    assert engine.told.fresh_number(now() + 1.01) is None
    assert engine.told.text() == b'"0x65"'  # however old


@virtual
async def test_a_fast_chain_is_fresh_for_half_a_block() -> None:
    engine = Engine(block_time_seconds=0.25)
    head(engine, 101)
    assert engine.told.fresh_number(now() + 0.12) is not None
    assert engine.told.fresh_number(now() + 0.13) is None


@virtual
async def test_nothing_is_told_before_the_first_head() -> None:
    engine = Engine(are_admitted=False)
    assert engine.told.text() is None
    assert engine.told.fresh_number(now()) is None


@virtual
async def test_who_is_behind_confirms_nothing() -> None:
    engine = Engine()
    head(engine, 105)
    later = now() + 5
    engine.told.on_report(Head(104), later)
    assert engine.told.fresh_number(later) is None
    engine.told.on_report(Head(105), later)
    assert engine.told.fresh_number(later) == b'"0x69"'


@virtual
async def test_it_falls_with_the_served_head_alone() -> None:
    engine = Engine()
    head(engine, 105)
    assert engine.told.text() == b'"0x69"'
    engine.observe("a", Verdict.OK, head=Head(90), is_probe=True)
    assert engine.told.text() == b'"0x69"'
    heads = engine.standings.heads
    heads.served = heads.shown = 104  # as in a reorg
    assert engine.told.text() == b'"0x68"'
    assert engine.told.number == 104
    twin = ToldHead(engine.standings, 12.0, EVM, clock=engine.clock)  # a reload
    twin.adopt(engine.told)
    assert twin.text() == b'"0x68"'
    assert twin.number == 104
    assert twin.fresh_number(now()) is None


@virtual
async def test_the_last_blocks_are_kept() -> None:
    engine = Engine()
    for number in range(100, 120):
        engine.told.on_report(Head(number), now(), b'{"n":%d}' % number)
    assert engine.told.block(119) == b'{"n":119}'
    assert engine.told.block(119 - BLOCKS_KEPT) is None
    assert engine.told.block(5) is None
    twin = ToldHead(engine.standings, 12.0, EVM, clock=engine.clock)
    twin.adopt(engine.told)
    assert twin.block(119) == b'{"n":119}'


@virtual
async def test_a_block_that_is_not_on_our_chain_is_not_given() -> None:
    engine = Engine(are_admitted=False)
    for name in engine.wires:
        engine.admit(name)
        engine.observe(name, Verdict.OK, head=Head(101, "0xa1", "0xa0"), is_probe=True)
    engine.told.on_report(Head(101, "0xa1"), now(), b"ours")
    assert engine.told.block(101) == b"ours"
    engine.told.on_report(Head(101, "0xb1"), now(), b"another")
    assert engine.told.block(101) is None
    engine.told.on_report(Head(101), now(), b"of no hash")
    assert engine.told.block(101) is None


# ---- the question


@virtual
async def test_a_hundred_askers_are_one_question() -> None:
    engine = Engine()
    handles = [engine.ask("eth_blockNumber") for _ in range(100)]
    engine.behave(a=answering(BLOCK))
    for handle in handles:
        assert (await handle.reply())["result"] == "0x64"
    assert engine.asked == "a"
    assert (engine.sent[0].method, engine.sent[0].params) == HEAD
    assert engine.told.block(100) == BLOCK
    engine.assert_idle()


@virtual
async def test_what_it_brings_is_learned_and_confirms() -> None:
    engine = Engine()
    engine.all_behave(answering(b'{"number":"0x66"}'))
    assert (await engine.ask("eth_blockNumber").reply())["result"] == "0x64"
    a = engine.standings["a"]
    assert a.head is not None
    assert a.head.number == 102
    # Served is 100 as long as one alone says otherwise; a hundred more are asked of nobody.
    assert engine.told.fresh_number(now()) == b'"0x64"'
    asked = len(engine.sent)
    assert engine.ask("eth_blockNumber").is_done
    assert len(engine.sent) == asked
    engine.assert_idle()


@virtual
async def test_the_next_question_is_a_new_one() -> None:
    engine = Engine()
    engine.all_behave(answering(BLOCK))
    await engine.ask("eth_blockNumber").answer()
    await asyncio.sleep(2)
    await engine.ask("eth_blockNumber").answer()
    assert engine.asked == "aa"
    engine.assert_idle()


@virtual
async def test_one_that_hangs_up_does_not_end_it_for_the_others() -> None:
    engine = Engine()
    engine.all_behave(answering(BLOCK, 0.1))
    first, second = engine.ask("eth_blockNumber"), engine.ask("eth_blockNumber")
    await asyncio.sleep(0.01)
    first.hang_up()
    assert (await second.reply())["result"] == "0x64"
    assert first.answers == []
    assert first.task is not None
    assert first.task.cancelled()
    engine.assert_idle()


@virtual
async def test_a_failure_is_answered_with_the_last_told_head() -> None:
    engine = Engine()
    head(engine, 101)
    await asyncio.sleep(2)
    engine.all_behave(failing())
    assert (await engine.ask("eth_blockNumber").reply())["result"] == "0x65"
    await engine.assert_soon_idle()


@virtual
async def test_a_failure_before_the_first_head_is_an_error_in_words() -> None:
    engine = Engine(are_admitted=False)
    handles = [engine.ask("eth_blockNumber") for _ in range(3)]
    for handle in handles:
        reply = await handle.reply()
        assert reply["error"]["code"] == -32603
        assert "no upstream of test could answer" in reply["error"]["message"]
    await engine.assert_soon_idle()


@pytest.mark.parametrize(
    "behaviour",
    [
        answering(b'"nonsense"'),
        answering(b'{"number":"nonsense"}'),
        answering(b"null"),
        refusing(-32601, "method not found"),
    ],
)
@virtual
async def test_nonsense_moves_nothing(behaviour: object) -> None:
    engine = Engine()
    engine.all_behave(behaviour)  # type: ignore[arg-type]
    settled = await engine.told.ask(engine.executor, POLICY)
    assert result(settled) is None
    assert engine.told.fresh_number(now()) is None
    await engine.assert_soon_idle()


@virtual
async def test_before_the_first_head_nonsense_is_no_answer() -> None:
    engine = Engine(are_admitted=False)
    for name in engine.wires:
        engine.observe(name, Verdict.OK, is_probe=True, is_identity=True)
    engine.all_behave(answering(b'{"number":"nonsense"}'))
    error = (await engine.ask("eth_blockNumber").reply())["error"]
    assert "a: answered something that cannot be right" in error["message"]
    await engine.assert_soon_idle()


@virtual
async def test_at_the_start_one_voice_waits_for_the_others() -> None:
    engine = Engine(are_admitted=False)
    for name in engine.wires:
        engine.observe(name, Verdict.OK, is_probe=True, is_identity=True)
    engine.all_behave(answering(b'{"number":"0x3e8"}'))
    handle = engine.ask("eth_blockNumber")
    await asyncio.sleep(0.5)
    assert not handle.is_done
    for name in "bcd":
        engine.observe(name, Verdict.OK, head=Head(100), is_probe=True)
    assert (await handle.reply())["result"] == "0x64"
    engine.assert_idle()


@virtual
async def test_at_the_start_nobody_is_waited_for_longer_than_the_deadline() -> None:
    engine = Engine(are_admitted=False)
    engine.all_behave(failing())
    started = now()
    assert "error" in await engine.ask("eth_blockNumber").reply()
    assert now() - started < Deadlines().light_seconds + 0.1


@virtual
async def test_close_answers_those_who_wait() -> None:
    engine = Engine(are_admitted=False)
    engine.told.close()  # nothing was asked
    engine.all_behave(silent)
    handles = [engine.ask("eth_blockNumber") for _ in range(3)]
    await asyncio.sleep(0.01)
    engine.told.close()
    for handle in handles:
        assert (await handle.reply())["error"]["code"] == -32603
    engine.assert_idle()


# ---- a chain that tells its head in two steps


def in_two_steps(engine: Engine) -> ToldHead:
    def newest() -> Inquiry[Head]:
        yield CHAIN_ID
        return (yield NEWEST)

    questions = structs.replace(EVM.questions, head=newest)
    return ToldHead(
        engine.standings, 12.0, structs.replace(EVM, questions=questions), clock=engine.clock
    )


@virtual
async def test_the_second_step_is_asked_of_whom_the_first_was() -> None:
    engine = Engine()
    engine.behave(b=in_turn(answering(b'"0x7"'), answering(BLOCK)))
    engine.behave(a=failing())
    told = in_two_steps(engine)
    settled = await told.ask(engine.executor, POLICY)
    assert bytes(settled.judgement.result) == b'"0x64"'  # type: ignore[union-attr, arg-type]
    assert [each.method for each in engine.wires["b"].sent] == ["eth_chainId", HEAD[0]]
    assert told.block(100) == BLOCK
    await engine.assert_soon_idle()


@pytest.mark.parametrize("second", [answering(b"{}"), failing()])
@virtual
async def test_a_step_that_fails_moves_nothing(second: Behaviour) -> None:
    engine = Engine()
    engine.all_behave(in_turn(answering(b'"0x7"'), second))
    told = in_two_steps(engine)
    settled = await told.ask(engine.executor, POLICY)
    assert result(settled) is None
    assert told.fresh_number(now()) is None
    await engine.assert_soon_idle()
