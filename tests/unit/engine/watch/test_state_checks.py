"""The same piece of state asked of all: who differs is set apart until it agrees again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rpcproxy.chains.evm.questions import QUESTIONS
from rpcproxy.engine.watch.probes import Probes
from rpcproxy.engine.watch.state_checks import EVERY_REQUESTS, EVERY_SECONDS, StateChecks
from rpcproxy.messages import FailureKind
from tests.kits.engine_kit import (
    Behaviour,
    Engine,
    Sent,
    after,
    answering,
    failing,
    head_of,
    now,
    on_chain,
    refusing,
    silent,
    to_head,
    virtual,
)

BALANCE = "eth_getBalance"
PAYEE = f"0x{0xFEE:040x}"


def checking(engine: Engine) -> StateChecks:
    probes = Probes(engine.executor, clock=engine.clock)
    return StateChecks(
        engine.members, engine.executor, probes, engine.told, QUESTIONS, clock=engine.clock
    )


class Checked:
    """An engine at block 100, whose head block pays somebody."""

    def __init__(self, **chain: Any) -> None:
        self.engine = on_chain(**chain)
        self.told = self.engine.told
        self.checks = checking(self.engine)
        self.engine.all_behave(answering(b'"0x5"'))
        self.tell(100)

    def tell(self, number: int) -> None:
        to_head(self.engine, head_of(number))
        text = b'{"number":"0x%x","miner":"%b"}' % (number, PAYEE.encode())
        self.told.on_report(head_of(number), now(), text)

    async def look(self, names: str = "abcd") -> None:
        for name in names:
            await self.checks.look(self.engine.members[name])

    def serve(self, count: int) -> None:
        for _ in range(count):
            self.engine.counters.on_local()

    @property
    def faults(self) -> dict[str, str]:
        return {s.name: s.state_fault for s in self.engine.standings if s.state_fault}


@virtual
async def test_all_are_asked_for_the_same_at_the_same_block() -> None:
    checked = Checked()
    await checked.look()
    sent = checked.engine.sent
    assert [(each.method, each.params) for each in sent] == [(BALANCE, [PAYEE, "0x64"])] * 4
    assert checked.faults == {}
    assert checked.engine.counters.probes["a"] == {"ok": 1}
    await checked.look()  # each has answered at this block
    assert len(sent) == len(checked.engine.sent) == 4


@virtual
async def test_who_differs_is_set_apart_until_it_agrees_again() -> None:
    checked = Checked()
    checked.engine.behave(c=answering(b'"0x4"'))
    await checked.look()
    assert checked.faults == {"c": "its state at block 100 is not the others'"}
    assert not checked.engine.standings["c"].is_trusted
    assert any(change.startswith("c ") for change in checked.engine.changes)
    checked.engine.behave(c=answering(b'"0x5"'))
    checked.tell(101)
    await checked.look()  # without waiting for requests: somebody is in doubt
    assert checked.faults == {}


@virtual
async def test_it_costs_a_small_part_of_what_is_served() -> None:
    checked = Checked()
    await checked.look()
    checked.tell(101)
    await checked.look()
    assert len(checked.engine.sent) == 4
    checked.serve(EVERY_REQUESTS)
    await checked.look()
    assert len(checked.engine.sent) == 8


@virtual
async def test_on_a_fast_chain_not_every_block_is_compared() -> None:
    checked = Checked(block_time_seconds=0.25)
    for number in range(101, 109):
        await asyncio.sleep(1)
        checked.tell(number)
        checked.serve(EVERY_REQUESTS)
        await checked.look("a")
    asked = [int(sent.params[1], 16) for sent in checked.engine.sent]
    assert asked == list(range(100, 109, round(EVERY_SECONDS / 0.25)))


@virtual
async def test_all_are_asked_at_once_when_the_served_head_moves() -> None:
    checked = Checked()
    checked.engine.behave(b=silent)
    checked.checks.on_served()
    checked.checks.on_served()  # under way
    await asyncio.sleep(0.1)
    assert checked.engine.asked == "abcd"
    checked.tell(101)
    checked.serve(EVERY_REQUESTS)
    await checked.look("b")  # still being asked
    assert checked.engine.asked == "abcd"
    await checked.checks.stop()
    checked.engine.assert_idle()
    checked.engine.all_behave(answering(b'"0x5"'))
    checked.checks.on_served()
    await asyncio.sleep(0.1)
    assert checked.engine.asked == "abcdabcd"


@virtual
async def test_who_is_not_there_yet_is_not_asked() -> None:
    checked = Checked()
    to_head(checked.engine, head_of(101), "abc")
    checked.told.on_report(head_of(101), now(), b'{"number":"0x65","miner":"%b"}' % PAYEE.encode())
    await checked.look()
    assert "d" not in checked.engine.asked


@virtual
async def test_where_nobody_is_paid_nothing_is_asked() -> None:
    engine = on_chain()
    checks = checking(engine)
    await checks.look(engine.members["a"])
    assert not engine.sent
    cold = Engine(are_admitted=False)
    checks = checking(cold)
    await checks.look(cold.members["a"])
    assert not cold.sent


@pytest.mark.parametrize(
    "behaviour",
    [
        failing(FailureKind.CONNECT),
        silent,
        answering(b'"nonsense"'),
        refusing(-32000, "missing trie node"),
    ],
)
@virtual
async def test_who_does_not_say_is_not_compared(behaviour: Behaviour) -> None:
    checked = Checked()
    checked.engine.behave(b=behaviour)
    await checked.look()
    assert checked.faults == {}


@virtual
async def test_an_answer_for_a_block_that_is_past_is_not_compared() -> None:
    checked = Checked()

    def late(sent: Sent) -> None:
        checked.tell(101)
        checked.serve(EVERY_REQUESTS)
        sent.reply(b'"0x9"')

    checked.engine.behave(a=after(0.01, late))
    task = asyncio.ensure_future(checked.look("a"))
    await asyncio.sleep(0.02)
    await task
    await checked.look("bcd")
    assert checked.faults == {}
