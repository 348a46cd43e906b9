"""The watcher: who is on the right chain, where the heads are, and who has come back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from rpcproxy.chains.evm.feed import NEW_HEADS
from rpcproxy.chains.evm.questions import QUESTIONS
from rpcproxy.chains.kind import Questions
from rpcproxy.engine.watch.feeds import Feeds
from rpcproxy.engine.watch.watcher import IDENTITY_SECONDS, Watcher
from rpcproxy.messages import FailureKind, Head, Reply, Verdict
from rpcproxy.rules.heads.cadence import DARK_PAUSE_SECONDS
from tests.kits.engine_kit import (
    CHAIN_ID,
    HEAVY,
    LIGHT,
    Engine,
    FakeWire,
    Rest,
    Sent,
    failing,
    now,
    run_virtual,
    silent,
    virtual,
)
from tests.kits.fleet import four, upstream
from tests.kits.word_kind import WORD_KIND, WordChain


def block(number: int) -> bytes:
    return b'{"number":"0x%x","hash":"0x%064x","parentHash":"0x%064x"}' % (
        number,
        number,
        number - 1,
    )


class Node:
    """A well upstream: answers probes at once. ``number`` may be a function of time."""

    def __init__(self, number: Callable[[], int] = lambda: 100) -> None:
        self.number = number
        self.chain_id = b'"0x%x"' % CHAIN_ID

    def __call__(self, sent: Sent) -> None:
        asyncio.get_running_loop().call_later(0.01, self._answer, sent)

    def _answer(self, sent: Sent) -> None:
        if sent.method == "eth_chainId":
            sent.reply(self.chain_id)
        elif sent.method == "eth_getLogs":
            sent.reply(b"[]")
        elif sent.method == "eth_getBlockByHash":
            sent.reply(block(int(sent.params[0], 16)))
        else:
            sent.reply(block(self.number() - {"safe": 4, "finalized": 8}.get(sent.params[0], 0)))


@contextlib.asynccontextmanager
async def watching(engine: Engine, questions: Questions = QUESTIONS) -> AsyncIterator[Watcher]:
    feeds = Feeds(engine.chain, engine.members, engine.executor, NEW_HEADS, clock=engine.clock)
    watcher = Watcher(
        engine.chain,
        engine.members,
        engine.executor,
        engine.told,
        feeds,
        questions,
        clock=engine.clock,
    )
    engine.executor.listeners.append(watcher.on_changes)
    watcher.start()
    try:
        yield watcher
    finally:
        await watcher.stop()
        engine.assert_idle()


def cold(behaviour: Callable[[Sent], None] | None = None, count: int = 4, **chain: Any) -> Engine:
    engine = Engine(four()[:count], are_admitted=False, **chain)
    engine.all_behave(behaviour or Node())
    return engine


def methods(wire: FakeWire) -> list[str]:
    return [sent.method for sent in wire.sent]


# ---- verification


@virtual
async def test_everyone_is_verified_and_then_asked_for_its_head() -> None:
    engine = cold()
    async with watching(engine):
        await asyncio.sleep(0.05)
        for name, wire in engine.wires.items():
            asked = [sent.params[0] for sent in wire.sent[1:] if "Hash" not in sent.method]
            assert methods(wire)[0] == "eth_chainId"
            assert asked == ["latest", "safe", "finalized"]
            assert engine.standings[name].state == "up"
        heads = engine.standings.heads
        assert (heads.served, heads.hash_at(100)) == (100, f"0x{100:064x}")
        assert heads.finality.named("safe") == Head(96, f"0x{96:064x}", f"0x{95:064x}")
        assert heads.finality.floor == 92
        assert engine.counters.probes["a"]["ok"] >= 4
        assert len({sent.id for sent in engine.sent}) == len(engine.sent)
        assert engine.told.block(100) is not None
        assert engine.told.fresh_number(now()) == b'"0x64"'


@pytest.mark.parametrize("status", [401, 403])
@virtual
async def test_who_is_there_for_sends_may_refuse_all_reads(status: int) -> None:
    engine = Engine([*four()[:2], upstream("c", role="sends")], are_admitted=False)
    engine.all_behave(Node())
    well = Node()
    engine.behave(
        c=lambda sent: well(sent) if sent.method == "eth_chainId" else sent.say(b"no", status)
    )
    async with watching(engine):
        await asyncio.sleep(3)
        assert engine.standings["c"].state == "up"
        engine.behave(c=lambda sent: sent.say(b"no", status))  # its key is refused after all
        await asyncio.sleep(8)
        assert engine.standings["c"].state == "quarantined"


@virtual
async def test_the_chain_id_is_believed_for_a_while() -> None:
    engine = cold(count=1)
    async with watching(engine):
        await engine.rest(IDENTITY_SECONDS - 5)
        assert methods(engine.wires["a"]).count("eth_chainId") == 1
        await asyncio.sleep(10)
        assert methods(engine.wires["a"]).count("eth_chainId") == 2


@virtual
async def test_another_chain_is_quarantined_and_readmitted_when_it_is_right() -> None:
    engine = cold()
    wrong = Node()
    wrong.chain_id = b'"0x1"'
    engine.behave(b=wrong)
    async with watching(engine):
        await asyncio.sleep(0.1)
        b = engine.standings["b"]
        assert b.state == "quarantined"
        assert "chain id 1, configured 7" in b.reason
        await asyncio.sleep(5)
        assert "eth_getBlockByNumber" not in methods(engine.wires["b"])
        wrong.chain_id = b'"0x7"'
        await asyncio.sleep(3)
        assert b.state == "up"


@virtual
async def test_a_refused_key_that_works_again_is_asked_now_and_then() -> None:
    engine = cold()
    async with watching(engine):
        await asyncio.sleep(1)
        engine.observe("b", Verdict.KEY_REFUSED)
        engine.observe("b", Verdict.KEY_REFUSED)
        assert engine.standings["b"].state == "quarantined"
        before = len(engine.wires["b"].sent)
        await engine.rest(50)
        assert engine.standings["b"].state == "quarantined"
        assert 60 < len(engine.wires["b"].sent) - before < 130  # two questions a second
        await asyncio.sleep(15)
        assert engine.standings["b"].state == "up"


@virtual
async def test_a_chain_id_that_cannot_be_read_is_no_other_chain() -> None:
    engine = cold()
    odd = Node()
    odd.chain_id = b'"seven"'
    engine.behave(b=odd)
    async with watching(engine):
        await asyncio.sleep(0.1)
        assert engine.standings["b"].state == "unknown"
        assert "quarantined" not in " ".join(engine.changes)
        assert engine.counters.probes["b"] == {"bad_result": 1}


@virtual
async def test_a_chain_may_be_told_apart_by_a_word() -> None:
    engine = Engine(four(), are_admitted=False, kind=WORD_KIND, chain_class=WordChain, word="toy-1")
    nodes = {name: Node() for name in "abcd"}
    for name, word in zip("abcd", (b'"toy-1"', b'"toy-2"', b"1", b'"toy-1"'), strict=True):
        nodes[name].chain_id = word
    engine.behave(**nodes)
    async with watching(engine, WORD_KIND.questions):
        await asyncio.sleep(0.1)
        states = {name: engine.standings[name].state for name in nodes}
        assert states == {"a": "up", "b": "quarantined", "c": "unknown", "d": "up"}
        assert "chain id toy-2, configured toy-1" in engine.standings["b"].reason
        assert (await engine.ask("eth_chainId").reply())["result"] == "toy-1"
        nodes["b"].chain_id = b'"toy-1"'
        await asyncio.sleep(8)
        assert engine.standings["b"].state == "up"


@virtual
async def test_who_is_ejected_is_verified_again() -> None:
    engine = cold()
    async with watching(engine):
        await asyncio.sleep(0.1)
        asked = len(engine.wires["a"].sent)
        engine.eject("a")
        await asyncio.sleep(0.1)  # at once, not at the next round
        assert methods(engine.wires["a"])[asked] == "eth_chainId"


# ---- recoveries


@virtual
async def test_an_ejected_upstream_is_back_after_its_time_and_two_clean_probes() -> None:
    engine = cold()
    async with watching(engine):
        await asyncio.sleep(1)
        engine.behave(a=failing())
        engine.eject("a")
        await engine.rest(60)
        assert engine.standings["a"].state == "ejected"
        engine.behave(a=Node())
        await asyncio.sleep(1.0 + 2 * DARK_PAUSE_SECONDS + 0.5)
        assert engine.standings["a"].state == "up"


@virtual
async def test_in_the_dark_everyone_is_asked_often() -> None:
    engine = cold()
    async with watching(engine):
        await asyncio.sleep(1)
        engine.all_behave(failing())
        engine.eject(*engine.wires)
        await asyncio.sleep(1)
        asked = [len(wire.sent) for wire in engine.wires.values()]
        await asyncio.sleep(10)
        for wire, before in zip(engine.wires.values(), asked, strict=True):
            assert 30 <= len(wire.sent) - before <= 60
        engine.all_behave(Node())
        await asyncio.sleep(1.5)
        assert all(standing.state == "up" for standing in engine.standings)


@virtual
async def test_in_the_dark_a_probe_without_an_answer_holds_up_nobody() -> None:
    engine = cold()
    async with watching(engine):
        await asyncio.sleep(1)
        engine.all_behave(silent)
        engine.eject(*engine.wires)
        await asyncio.sleep(2.8)
        for wire in engine.wires.values():
            assert 1 < len(wire.open) <= 6
        engine.all_behave(Node())
        await asyncio.sleep(0.7)  # less than the time of a probe
        assert engine.standings.has_usable(LIGHT, now())


@virtual
async def test_while_others_serve_a_probe_has_no_copies() -> None:
    engine = cold()
    async with watching(engine):
        await asyncio.sleep(1)
        engine.behave(b=silent)
        engine.eject("b")
        await asyncio.sleep(5)
        assert len(engine.wires["b"].open) <= 2  # one, and one that is late


@virtual
async def test_while_others_serve_the_sick_are_asked_once_a_second() -> None:
    engine = cold()
    engine.behave(b=failing())
    async with watching(engine):
        await asyncio.sleep(1)
        before = len(engine.wires["b"].sent)
        await asyncio.sleep(20)
        assert 15 <= len(engine.wires["b"].sent) - before <= 25


@virtual
async def test_a_heavy_breaker_gets_a_heavy_probe() -> None:
    engine = cold()
    async with watching(engine):
        await asyncio.sleep(1)
        for _ in range(6):
            engine.observe("a", Verdict.SERVER_ERROR, method_class=HEAVY)
        assert engine.standings["a"].classes[HEAVY].breaker.is_open
        await asyncio.sleep(4)
        assert "eth_getLogs" in methods(engine.wires["a"])
        assert not engine.standings["a"].classes[HEAVY].breaker.is_open


# ---- probes that go wrong


@virtual
async def test_a_probe_that_never_returns_is_given_up() -> None:
    engine = cold(silent)
    async with watching(engine):
        await asyncio.sleep(1.4)
        assert [len(wire.open) for wire in engine.wires.values()] == [1] * 4
        await asyncio.sleep(20)
        for name, wire in engine.wires.items():
            assert len(wire.open) <= 2  # and one that is late
            assert set(engine.counters.probes[name]) == {"timeout"}
        assert not engine.standings.has_usable(HEAVY, now())


@virtual
async def test_a_probe_under_way_is_given_up_at_the_end() -> None:
    engine = cold(silent)
    async with watching(engine) as watcher:
        await asyncio.sleep(0.1)
        assert engine.wires["a"].open
        await watcher.stop()
        assert not any(wire.open for wire in engine.wires.values())


@virtual
async def test_a_large_reply_to_a_probe_is_let_go() -> None:
    rests = []

    def large(sent: Sent) -> None:
        rests.append(Rest())
        reply = Reply(200, b'{"id":%d,"result":"' % sent.id, rest=rests[-1])
        asyncio.get_running_loop().call_later(0.01, sent.end, reply)

    engine = cold(large)
    async with watching(engine):
        await asyncio.sleep(3)
    assert rests
    assert all(rest.is_closed for rest in rests[:-4])
    assert not engine.standings.has_usable(HEAVY, now())


@pytest.mark.parametrize("result", [b"[]", b'"0x64"', b"{}", b'{"number":"x"}'])
@virtual
async def test_a_head_that_is_none_is_a_failure(result: bytes) -> None:
    engine = cold()

    def odd(sent: Sent) -> None:
        answer = b'"0x7"' if sent.method == "eth_chainId" else result
        asyncio.get_running_loop().call_later(0.01, sent.reply, answer)

    engine.behave(b=odd)
    async with watching(engine):
        await asyncio.sleep(10)
        assert engine.standings["b"].head is None
        assert engine.standings["b"].state == "ejected"


def test_a_bug_while_looking_is_logged_and_looking_goes_on() -> None:
    async def main() -> None:
        engine = cold(count=1)
        node = Node()
        left = [ZeroDivisionError()]

        def buggy(sent: Sent) -> None:
            if left:
                raise left.pop()
            node(sent)

        engine.all_behave(buggy)
        async with watching(engine):
            await asyncio.sleep(3)
            assert engine.standings["a"].state == "up"

    (record,) = run_virtual(main)
    assert record.getMessage() == "watching a failed; it goes on"


# ---- what is final, and feeds


@virtual
async def test_what_is_final_is_asked_for_seldom() -> None:
    start = now()
    engine = cold(Node(lambda: 100 + int((now() - start) / 2)), block_time_seconds=2.0)
    async with watching(engine):
        await engine.rest(60)
        finals = [sent for sent in engine.wires["a"].sent if "finalized" in sent.params]
        assert 5 <= len(finals) <= 9  # of 30 blocks
        served = engine.standings.heads.served
        assert served - 16 <= engine.standings.heads.finality.floor <= served - 8


@virtual
async def test_who_does_not_tell_what_is_final_is_no_worse_and_is_not_asked_again_soon() -> None:
    engine = cold()

    def without(sent: Sent) -> None:
        if sent.method == "eth_getBlockByNumber" and sent.params[0] in ("safe", "finalized"):
            sent.refuse(-32602, "unknown tag")
        else:
            Node()(sent)

    engine.behave(b=without)
    async with watching(engine):
        await engine.rest(100)
        asked = [sent for sent in engine.wires["b"].sent if "finalized" in sent.params]
        assert len(asked) == 1
        assert engine.standings["b"].state == "up"
        assert engine.standings.heads.finality.floor == 92


class Announcing(Feeds):
    """Feeds that are live where a test says so."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(
            engine.chain, engine.members, engine.executor, NEW_HEADS, clock=engine.clock
        )
        self.live: set[str] = set()

    def is_reliable(self, name: str, now: float) -> bool:
        return name in self.live and now > 0


@virtual
async def test_who_announces_its_blocks_is_asked_seldom_and_those_below_soon() -> None:
    engine = cold(block_time_seconds=12.0)
    feeds = Announcing(engine)
    watcher = Watcher(
        engine.chain,
        engine.members,
        engine.executor,
        engine.told,
        feeds,
        QUESTIONS,
        clock=engine.clock,
    )
    watcher._rng.seed(7)  # the test looks in between the rounds
    watcher.start()
    feeds.live = {"a"}
    await asyncio.sleep(20)
    asked = {name: len(wire.sent) for name, wire in engine.wires.items()}
    await asyncio.sleep(20)
    assert len(engine.wires["a"].sent) - asked["a"] <= 6
    engine.all_behave(Node(lambda: 101))
    before = {name: len(wire.sent) for name, wire in engine.wires.items()}
    head = Head(101, f"0x{101:064x}", f"0x{100:064x}")
    engine.observe("a", Verdict.OK, seconds=None, head=head)
    feeds.on_head("a", head)
    await asyncio.sleep(0.3)
    assert engine.standings.heads.served == 101
    assert all(len(engine.wires[name].sent) > before[name] for name in "bcd")
    asked_a = len(engine.wires["a"].sent)
    feeds.on_lost("a")  # it is asked again at once
    await asyncio.sleep(0.4)
    assert len(engine.wires["a"].sent) > asked_a
    await watcher.stop()
    engine.assert_idle()


@virtual
async def test_who_left_our_chain_is_verified_again() -> None:
    engine = cold()
    async with watching(engine):
        await asyncio.sleep(1)
        asked = len(engine.wires["b"].sent)
        engine.observe(
            "b", Verdict.OK, seconds=None, head=Head(100, f"0xf{100:063x}", f"0xf{99:063x}")
        )
        assert engine.standings["b"].is_forked
        await asyncio.sleep(0.3)
        assert "eth_chainId" in methods(engine.wires["b"])[asked:]


# ---- heads and pace


@virtual
async def test_heads_are_followed_in_step_with_the_chain() -> None:
    start = now()
    engine = cold(Node(lambda: 100 + int((now() - start) / 4)), block_time_seconds=12.0)
    async with watching(engine) as watcher:
        await engine.rest(300)
        assert watcher.cadence.interval_seconds == pytest.approx(4, rel=0.15)
        served = []
        asked = len(engine.sent)
        for _ in range(100):
            await asyncio.sleep(0.4)
            served.append(engine.standings.heads.served - (100 + int((now() - start) / 4)))
        assert min(served) >= -1
        assert served.count(0) > 60
        # The probe budget: a few questions per block and upstream.
        assert (len(engine.sent) - asked) / 4 / 10 < 6


@virtual
async def test_a_lone_lying_head_moves_neither_pace_nor_blocks() -> None:
    start = now()
    node = Node(lambda: 100 + int((now() - start) / 4))
    engine = cold(node, block_time_seconds=4.0)
    engine.behave(a=Node(lambda: 1_000_000))
    async with watching(engine) as watcher:
        await engine.rest(120)
        assert engine.standings.heads.served == pytest.approx(130, abs=2)
        assert watcher.cadence.interval_seconds == pytest.approx(4, rel=0.2)
        assert engine.told.block(1_000_000) is None
        assert engine.told.block(engine.standings.heads.served) is not None
        asked = len(engine.wires["c"].sent)
        await asyncio.sleep(40)
        assert len(engine.wires["c"].sent) - asked < 50


@virtual
async def test_stop_ends_all_even_in_the_turn_of_a_wake_up() -> None:
    engine = cold()
    async with watching(engine) as watcher:
        await asyncio.sleep(0.5)
        for turns in range(6):
            engine.eject("a")
            watcher._wake["b"].set()
            for _ in range(turns):
                await asyncio.sleep(0)
            await asyncio.wait_for(watcher.stop(), 1)
            assert all(task.done() for task in watcher._tasks)
            watcher.start()
            await asyncio.sleep(0.5)


@virtual
async def test_a_loop_that_was_blocked_ejects_nobody() -> None:
    from tests.kits.engine_kit import current_loop

    engine = cold()
    async with watching(engine):
        await asyncio.sleep(0.5)
        for _ in range(20):
            current_loop().block(0.2)
            await asyncio.sleep(0.1)
        assert all(standing.state == "up" for standing in engine.standings)
        assert not [change for change in engine.changes if "ejected" in change]


@virtual
async def test_changes_of_strangers_are_no_concern() -> None:
    from rpcproxy.states import Change

    engine = cold(failing(FailureKind.CONNECT), count=1)
    async with watching(engine) as watcher:
        watcher.on_changes([Change("nobody", "ejected", ""), Change("a", "cooled", "")])
        await asyncio.sleep(0.1)
        sent = engine.wires["a"].sent[0]
        assert msgspec.json.decode(sent.payload)["method"] == "eth_chainId"


@virtual
async def test_what_a_kind_of_chain_lacks_is_not_asked() -> None:
    engine = cold(block_time_seconds=1.0, genesis_hash="0xaa", consistency="pinned")
    bare = Questions(identity=QUESTIONS.identity, head=QUESTIONS.head, header=QUESTIONS.header)
    async with watching(engine, bare):
        await asyncio.sleep(5)
        for _ in range(5):
            engine.observe("a", Verdict.TIMEOUT, method_class=HEAVY)
        assert engine.standings["a"].classes[HEAVY].breaker.is_open
        await asyncio.sleep(5)
        assert engine.standings.heads.served == 100
    asked = {(each.method, str(each.params)) for each in engine.sent}
    assert asked - {("eth_chainId", "[]"), ("eth_getBlockByNumber", "['latest', False]")} == {
        each for each in asked if each[0] == "eth_getBlockByHash"
    }
