"""One question, many askers: what is kept, who follows whom, and that nobody waits for nobody."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as run_with
from hypothesis import strategies as st

from rpcproxy.chains.evm.methods import describe
from rpcproxy.config import model
from rpcproxy.engine.answers.sharing import (
    LARGEST_LATELY_BYTES,
    Follower,
    SlowFlight,
    pending_answer,
)
from rpcproxy.engine.attempts.calls import SingleCall
from rpcproxy.engine.attempts.executor import Settled
from rpcproxy.engine.reads.endings import OpenRead
from rpcproxy.engine.reads.profiles import Profile
from rpcproxy.messages import Answer, FailureKind, Judgement, Reply, Request, Verdict
from rpcproxy.rules.answers.caching import AnswerCache
from rpcproxy.rules.heads.heads import Heads
from rpcproxy.rules.standing.selection import Need
from tests.kits.engine_kit import (
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
    hash_of,
    head_of,
    in_turn,
    now,
    on_chain,
    refusing,
    request,
    run_virtual,
    silent,
    to_head,
    virtual,
)
from tests.kits.fleet import four
from tests.kits.truth_kit import new_sharing

BALANCE = b'["0x1","latest"]'
TX = b'["0x%064x"]' % 7
RECEIPT = "eth_getTransactionReceipt"


def balances(engine: Engine, count: int, params: bytes = BALANCE) -> list[Handle]:
    return [
        engine.handle(request("eth_getBalance", params, b"%d" % number)) for number in range(count)
    ]


def test_what_was_given_lately_is_bounded_in_bytes_too() -> None:
    sharing = new_sharing(Heads(0.0))
    method = describe("eth_getTransactionByHash")
    call = SingleCall(method, Need(LIGHT, method.name), b"[]")
    sharing.remember(b"short", call, b"1")
    sharing.remember(b"x" * LARGEST_LATELY_BYTES, call, b"1")
    sharing.remember(b"large", call, b"x" * LARGEST_LATELY_BYTES)
    assert list(sharing.lately) == [b"short"]


async def results(handles: list[Handle]) -> list[Any]:
    replies = [await handle.reply() for handle in handles]
    assert [reply["id"] for reply in replies] == list(range(len(handles)))
    return [reply.get("result") for reply in replies]


def receipt(number: int, hash: str | None = None) -> bytes:
    return b'{"blockNumber":"0x%x","blockHash":"%b"}' % (
        number,
        (hash_of(number) if hash is None else hash).encode(),
    )


# ---- one upstream call for many


@virtual
async def test_a_thousand_that_ask_the_same_are_one_upstream_call() -> None:
    engine = Engine()
    handles = balances(engine, 1000)
    assert await results(handles) == ["0x1"] * 1000
    assert engine.asked == "a"
    assert engine.counters.joined == 999
    assert engine.pipeline.sharing.flights == {}
    engine.assert_idle()


@virtual
async def test_other_spellings_of_the_same_share_an_answer() -> None:
    engine = Engine()
    spellings = [b'["0x1","latest"]', b'["0x1", "latest" ]', b'["0x1"]', b'["0x1","0x64"]']
    handles = [engine.ask("eth_getBalance", params) for params in spellings]
    for handle in handles:
        assert (await handle.reply())["result"] == "0x1"
    for params in spellings:
        assert engine.ask("eth_getBalance", params).is_done
    assert engine.asked == "a"
    assert engine.counters.kept_answers == {"block": 4}


@virtual
async def test_what_differs_is_asked_apart() -> None:
    engine = Engine()
    for params in (b'["0x1","0x64"]', b'["0x1","0x63"]', b'["0x2","0x64"]'):
        engine.ask("eth_getBalance", params)
    engine.ask("eth_getCode", b'["0x1","0x64"]')
    assert engine.asked == "aaaa"
    await engine.assert_soon_idle()


@virtual
async def test_who_wants_it_fresh_gets_neither_what_is_kept_nor_anothers() -> None:
    engine = Engine()
    body = request("eth_getBalance", BALANCE)
    for _ in range(2):
        Handle(engine.pipeline.handle(body, "t", is_fresh=True))
    assert engine.asked == "aa"
    await asyncio.sleep(0.1)
    assert not engine.ask("eth_getBalance", BALANCE).is_done
    await engine.assert_soon_idle()


@virtual
async def test_the_slow_way_is_followed_as_well() -> None:
    engine = Engine(are_admitted=False)
    handles = [engine.ask("eth_getCode", b'["0x1","0x5"]') for _ in range(10)]
    await asyncio.sleep(1)
    handles.append(engine.ask("eth_getCode", b'["0x1","0x5"]'))
    assert not isinstance(handles[-1].pending, Follower)  # no head yet: nothing to share by
    engine.admit("a")
    for handle in handles:
        assert "result" in await handle.reply()
    engine.assert_idle()


@virtual
async def test_while_nobody_can_be_asked_one_waits_for_all() -> None:
    engine = Engine()
    engine.eject(*engine.wires)
    first = engine.ask("eth_getBalance", BALANCE)
    await asyncio.sleep(0.01)
    others = [engine.ask("eth_getBalance", BALANCE) for _ in range(10)]
    assert all(isinstance(handle.pending, Follower) for handle in others)
    await asyncio.sleep(1.5)
    engine.recover("b")
    for handle in (first, *others):
        assert (await handle.reply())["result"] == "0x1"
    assert len(engine.asked) == 1
    engine.assert_idle()


# ---- what ends otherwise


@virtual
async def test_a_revert_is_shared_and_not_kept() -> None:
    engine = Engine()
    engine.all_behave(refusing(3, "execution reverted"))
    handles = [engine.ask("eth_call", b'[{},"latest"]') for _ in range(20)]
    for handle in handles:
        assert (await handle.reply())["error"]["message"] == "execution reverted"
    assert engine.asked == "a"
    assert not engine.ask("eth_call", b'[{},"latest"]').is_done
    await engine.assert_soon_idle()


@virtual
async def test_a_leader_that_hangs_up_does_not_end_it_for_its_followers() -> None:
    engine = Engine()
    handles = balances(engine, 5)
    handles[0].hang_up()
    handles[3].hang_up()
    for number in (1, 2, 4):
        assert (await handles[number].reply())["result"] == "0x1"
    assert handles[0].answers == handles[3].answers == []
    assert engine.asked == "a"
    engine.assert_idle()


@virtual
async def test_a_leader_that_hangs_up_alone_makes_room_for_others() -> None:
    engine = Engine()
    engine.behave(a=silent)
    (leader,) = balances(engine, 1)
    leader.hang_up()
    assert engine.pipeline.sharing.flights == {}
    engine.behave(a=answering())
    assert await results(balances(engine, 1)) == ["0x1"]
    await engine.assert_soon_idle()


@pytest.mark.parametrize("behaviour", [failing(), silent, refusing(-32005, "rate limit")])
@virtual
async def test_a_muted_leader_goes_on_by_a_plan(behaviour: Behaviour) -> None:
    engine = Engine()
    engine.behave(a=behaviour)
    handles = balances(engine, 3)
    handles[0].hang_up()
    for handle in handles[1:]:
        assert (await handle.reply())["result"] == "0x1"
    assert handles[0].answers == []
    assert engine.asked == "ab"
    await engine.assert_soon_idle()


@virtual
async def test_a_leader_that_hangs_up_on_the_slow_way_leaves_its_followers_to_themselves() -> None:
    engine = Engine()
    engine.eject(*engine.wires)
    first = engine.ask("eth_getBalance", BALANCE)
    await asyncio.sleep(0.01)
    others = [engine.ask("eth_getBalance", BALANCE) for _ in range(3)]
    first.hang_up()
    await asyncio.sleep(1.5)
    engine.recover("c")
    for handle in others:
        assert (await handle.reply())["result"] == "0x1"
    assert len(engine.asked) == 1
    engine.assert_idle()


@virtual
async def test_a_leader_that_fails_does_not_fail_those_who_have_time_left() -> None:
    engine = Engine()
    engine.all_behave(silent)
    leader = balances(engine, 1)[0]
    await asyncio.sleep(2)
    followers = balances(engine, 3)
    assert "error" in await leader.reply()
    asked = len(engine.sent)
    engine.all_behave(answering())
    for handle in followers:
        assert (await handle.reply())["result"] == "0x1"
        assert handle.at - leader.at < 2
    assert len(engine.sent) - asked <= 3  # for all of them together
    await engine.assert_soon_idle()


@virtual
async def test_where_all_fail_each_is_told_so_in_its_time() -> None:
    engine = Engine()
    engine.all_behave(silent)
    handles = balances(engine, 1)
    await asyncio.sleep(1)
    handles += balances(engine, 2)
    started = now()
    for handle in handles:
        assert "no upstream of test" in (await handle.reply())["error"]["message"]
    assert now() - started < 5
    assert engine.pipeline.sharing.flights == {}
    await engine.assert_soon_idle()


def outcomes(engine: Engine) -> dict[str, int]:
    labels = engine.executor.counters.requests[LIGHT].labels
    return {str(outcome): count for outcome, count in labels.items() if count}


@virtual
async def test_everybody_is_counted_once_as_it_ended() -> None:
    engine = Engine()
    engine.all_behave(answering(seconds=0.02))
    for handle in balances(engine, 3):
        await handle.reply()
    assert outcomes(engine) == {"ok": 1, "kept": 2}
    engine.all_behave(refusing(3, "execution reverted"))
    for handle in balances(engine, 3, b'["0x2","latest"]'):
        assert "error" in await handle.reply()
    assert outcomes(engine) == {"ok": 1, "kept": 2, "rpc_error": 3}
    engine.all_behave(silent)
    handles = balances(engine, 1, b'["0x3","latest"]')
    await asyncio.sleep(1)
    handles += balances(engine, 2, b'["0x3","latest"]')
    for handle in handles:
        assert "error" in await handle.reply()
    assert outcomes(engine) == {"ok": 1, "kept": 2, "rpc_error": 3, "own_error": 3}
    await engine.assert_soon_idle()


@pytest.mark.parametrize("where", ["run", "again", "encode", "prepare"])
def test_a_bug_while_followers_ask_again_is_logged_and_each_is_answered(where: str) -> None:
    async def main() -> None:
        engine = Engine()
        engine.all_behave(silent)
        engine.eject(*engine.wires)
        leader = engine.ask("eth_getBalance", BALANCE)
        await asyncio.sleep(0.01)
        followers = [engine.ask("eth_getBalance", BALANCE) for _ in range(3)]

        engine.all_behave(refusing(-32000, "query returned more than 10000 results"))
        reads = engine.pipeline.reads
        owner = {"run": reads.executor, "again": reads.patience, "encode": engine.pipeline.encoder}

        async def changed(*_: object, **__: object) -> Settled:
            """The question has changed on the way, and what it is now cannot be told."""
            reads.profiles.prepare = broken  # type: ignore[assignment]
            return Settled(Judgement(Verdict.OK, result=msgspec.Raw(b"1")), key=b"another")

        if where == "prepare":
            engine.executor.run = changed  # type: ignore[method-assign,assignment]
        else:
            setattr(owner[where], where, broken)
        if where == "again":
            engine.executor.run = off_chain  # type: ignore[method-assign,assignment]
        leader.hang_up()
        await asyncio.sleep(0.05)
        engine.recover("c")
        for handle in followers:
            assert "the proxy failed on this request" in (await handle.reply())["error"]["message"]
        assert engine.pipeline.sharing.flights == {}
        assert outcomes(engine) == {"own_error": 3}

    records = run_virtual(main)
    assert {record.getMessage() for record in records} == {"request failed"}


def broken(*_: object, **__: object) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize("behaviour", [answering(), refusing(3, "execution reverted")])
def test_one_whose_answer_cannot_be_written_or_delivered_leaves_the_others_theirs(
    behaviour: Behaviour,
) -> None:
    async def main() -> None:
        engine = Engine()
        engine.all_behave(behaviour)
        handles = balances(engine, 4)
        unwritable, unreachable = handles[1].pending, handles[2].pending
        assert isinstance(unwritable, Follower)
        assert isinstance(unreachable, Follower)
        unwritable.request = Request("eth_getBalance", "no bytes", BALANCE)  # type: ignore[arg-type]
        unreachable.deliver = broken
        replies = [await handles[n].reply() for n in (0, 3)]
        assert [reply["id"] for reply in replies] == [0, 3]
        assert engine.pipeline.sharing.flights == {}
        assert sum(outcomes(engine).values()) == 4
        await engine.assert_soon_idle()

    records = run_virtual(main)
    assert len(records) == 2


class Full(AnswerCache):
    """Takes nothing, by a bug."""

    def put_brief(self, key: bytes, text: bytes, block: int, now: float) -> None:
        raise ZeroDivisionError


def test_what_cannot_be_kept_is_answered_all_the_same() -> None:
    async def main() -> None:
        engine = Engine()
        engine.pipeline.sharing.cache = Full(1_000_000)
        assert await results(balances(engine, 3)) == ["0x1"] * 3
        engine.eject(*engine.wires)
        handles = balances(engine, 3, b'["0x2","latest"]')
        await asyncio.sleep(1.5)
        engine.recover("b")
        assert await results(handles) == ["0x1"] * 3
        assert engine.pipeline.sharing.flights == {}
        engine.assert_idle()

    records = run_virtual(main)
    assert {record.getMessage() for record in records} == {"an answer was not kept"}


@pytest.mark.parametrize("when", ["relaunch", "afterwards"])
def test_one_whose_question_cannot_be_told_any_more_leaves_the_others_theirs(when: str) -> None:
    async def main() -> None:
        engine = Engine()
        engine.eject(*engine.wires)
        leader = engine.ask("eth_getBalance", BALANCE)
        await asyncio.sleep(0.01)
        followers = balances(engine, 4)
        profiles = engine.pipeline.profiles
        prepare = profiles.prepare

        def prepare_others(request: Request, profile: Profile) -> SingleCall:
            if request.id in {b"1", b"2"}:
                raise ZeroDivisionError
            return prepare(request, profile)

        async def another(*_: object, **__: object) -> Settled:
            """The question has changed on the way."""
            profiles.prepare = prepare_others  # type: ignore[method-assign]
            del engine.executor.run
            return Settled(Judgement(Verdict.OK, result=msgspec.Raw(b"1")), key=b"another")

        if when == "relaunch":
            profiles.prepare = prepare_others  # type: ignore[method-assign]
        else:
            engine.executor.run = another  # type: ignore[method-assign,assignment]
        leader.hang_up()
        await asyncio.sleep(1.5)
        engine.recover("b")
        replies = [await handle.reply() for handle in followers]
        assert ["result" in reply for reply in replies] == [True, False, False, True]
        assert engine.pipeline.sharing.flights == {}
        assert outcomes(engine)["own_error"] == 2
        engine.assert_idle()

    records = run_virtual(main)
    assert [record.getMessage() for record in records] == ["request failed"]  # once for both


@virtual
async def test_what_is_left_of_an_answer_is_closed_where_another_way_fails() -> None:
    engine = Engine()
    rest = Rest()
    endings = engine.pipeline.reads.endings
    call = SingleCall(describe("eth_getBalance"), Need(LIGHT, "eth_getBalance"), b"[]")
    profile = engine.pipeline.profiles.of("eth_getBalance")
    read = OpenRead(Request("eth_getBalance", b"1"), profile, call, SlowFlight(), now(), "t")
    engine.pipeline.reads.patience.again = broken  # type: ignore[method-assign,assignment]

    async def ask() -> Settled:
        return Settled(Judgement(Verdict.OFF_CHAIN), Reply(200, b"", rest=rest))

    with pytest.raises(ZeroDivisionError):
        await endings.reach(read, ask)
    assert rest.is_closed


async def off_chain(*_: object, **__: object) -> Settled:
    return Settled(Judgement(Verdict.OFF_CHAIN))


@virtual
async def test_followers_that_have_all_hung_up_ask_nobody() -> None:
    engine = Engine()
    engine.all_behave(silent)
    handles = balances(engine, 3)
    await asyncio.sleep(4)
    for handle in handles[1:]:
        handle.hang_up()
    assert "error" in await handles[0].reply()
    asked = len(engine.sent)
    await engine.assert_soon_idle()
    assert len(engine.sent) == asked


@virtual
async def test_what_no_upstream_may_say_is_null_for_the_followers_too() -> None:
    engine = on_chain()
    engine.all_behave(answering(receipt(100)))
    assert (await engine.ask(RECEIPT, TX).reply())["result"] is not None
    engine.pipeline.sharing.cache.clear()
    engine.all_behave(answering(b"null"))
    handles = [engine.ask(RECEIPT, TX) for _ in range(3)]
    for handle in handles:
        assert (await handle.reply())["result"] is None
    assert len(engine.sent) < 60  # asked again for a while, together
    await engine.assert_soon_idle()


@virtual
async def test_what_is_too_large_to_hold_goes_to_each_by_itself() -> None:
    engine = Engine()
    rests: list[Rest] = []

    def large(sent: Sent) -> None:
        rests.append(Rest())
        sent.end(Reply(200, b'{"jsonrpc":"2.0","id":%d,"result":"' % sent.id, rest=rests[-1]))

    engine.all_behave(after(0.01, large))
    params = b'[{"fromBlock":"0x1","toBlock":"0x64"}]'
    handles = [engine.ask("eth_getLogs", params) for _ in range(4)]
    handles[3].hang_up()
    for handle in handles[:3]:
        answer = await handle.answer()
        assert answer.rest is not None
        answer.rest.close()
    await engine.assert_soon_idle()
    assert len(engine.sent) == len(rests) == 3
    assert all(rest.is_closed for rest in rests)
    assert len(engine.pipeline.sharing.cache) == 0


@virtual
async def test_a_large_answer_that_all_have_left_is_let_go() -> None:
    engine = Engine()
    rest = Rest()
    handles: list[Handle] = []

    def large(sent: Sent) -> None:
        for handle in handles:
            handle.hang_up()
        sent.end(Reply(200, b'{"jsonrpc":"2.0","id":%d,"result":"' % sent.id, rest=rest))

    engine.behave(a=silent, b=after(0.01, large), c=silent, d=silent)
    handles += [engine.ask("eth_getLogs", b'[{"fromBlock":"0x1","toBlock":"0x64"}]')] * 1
    handles += [engine.ask("eth_getLogs", b'[{"fromBlock":"0x1","toBlock":"0x64"}]')]
    handles[0].hang_up()
    await engine.assert_soon_idle()
    assert rest.is_closed
    assert not handles[1].answers


# ---- reorgs


@virtual
async def test_a_reorg_in_flight_clears_the_flights() -> None:
    engine = on_chain()
    to_head(engine, head_of(101))
    engine.all_behave(answering(b'"0xa"', 0.1))
    before = balances(engine, 3)
    await asyncio.sleep(0.05)
    engine.all_behave(answering(b'"0xb"', 0.02))
    to_head(engine, head_of(101, 1, 100))
    assert "a reorg" not in engine.changes
    assert engine.standings.heads.last_reorg is not None
    after_it = balances(engine, 3)
    assert len(engine.sent) == 2  # nobody follows what was asked before
    assert await results(after_it) == ["0xb"] * 3
    assert await results(before) == ["0xb"] * 3
    await engine.assert_soon_idle()


@virtual
async def test_what_was_asked_anew_after_a_reorg_is_not_kept_as_what_was_asked_before() -> None:
    engine = on_chain()
    to_head(engine, head_of(101))
    engine.all_behave(answering(b'"0xa"', 0.1))
    latest = engine.ask("eth_getBalance", BALANCE)
    follower = engine.ask("eth_getBalance", BALANCE)
    await asyncio.sleep(0.05)

    def by_block(sent: Sent) -> None:
        sent.reply(b'"%b"' % sent.params[1].encode())

    engine.all_behave(after(0.02, by_block))
    to_head(engine, head_of(100, 1, 99))
    assert engine.standings.heads.served == 100
    assert (await latest.reply())["result"] == "0x64"
    assert (await follower.reply())["result"] == "0x64"
    to_head(engine, head_of(101, 1, 99))
    assert (await engine.ask("eth_getBalance", b'["0x1","0x65"]').reply())["result"] == "0x65"
    await engine.assert_soon_idle()


@virtual
async def test_followers_that_ask_another_thing_by_now_ask_apart() -> None:
    engine = on_chain()
    engine.all_behave(silent)
    leader = engine.ask("eth_getBalance", BALANCE)
    await asyncio.sleep(2)
    latest = engine.ask("eth_getBalance", BALANCE)
    numbered = engine.ask("eth_getBalance", b'["0x1","0x64"]')
    await asyncio.sleep(1)
    to_head(engine, head_of(101))
    assert "error" in await leader.reply()

    def by_block(sent: Sent) -> None:
        sent.reply(b'"%b"' % sent.params[1].encode())

    engine.all_behave(after(0.02, by_block))
    assert (await latest.reply())["result"] == "0x65"
    assert (await numbered.reply())["result"] == "0x64"
    await engine.assert_soon_idle()


@virtual
async def test_a_reorg_takes_what_was_kept_above_its_ancestor() -> None:
    engine = on_chain()
    for name in "abcd":
        engine.observe(name, Verdict.OK, seconds=None, anchors=(head_of(50),))
    to_head(engine, head_of(101))
    for params in (b'["0x1","0x10"]', b'["0x1","0x65"]'):
        await engine.ask("eth_getBalance", params).answer()
    to_head(engine, head_of(101, 1, 100))
    assert engine.ask("eth_getBalance", b'["0x1","0x10"]').is_done
    assert not engine.ask("eth_getBalance", b'["0x1","0x65"]').is_done
    await engine.assert_soon_idle()


# ---- what is kept


class Kept:
    """A ``Sharing`` at served head 100, with its door for answers."""

    def __init__(self, max_bytes: int = 1_000_000) -> None:
        self.heads = Heads(12.0)
        self.heads.served = 100
        self.sharing = new_sharing(self.heads, max_bytes)

    def keep(self, name: str, result: bytes, block: int = 100) -> bool:
        method = describe(name)
        call = SingleCall(method, Need(LIGHT, name, block=block), b"[]", key=name.encode())
        self.sharing.keep(call, result, now())
        return self.sharing.cache.get(call.key, now()) == result


@pytest.mark.parametrize(
    ("name", "result", "block", "is_kept"),
    [
        ("eth_getBalance", b'"0x5"', 100, True),
        ("eth_getBalance", b'"0x5"', 101, False),  # a reorg has taken it meanwhile
        ("eth_getBalance", b'"0x5"', -1, False),
        ("eth_getCode", b'"0x"', 100, False),
        ("eth_getLogs", b"[]", 100, False),
        ("eth_getLogs", b"[1]", 100, True),
        (RECEIPT, b"null", 100, False),
        (RECEIPT, receipt(99), 100, True),
        (RECEIPT, receipt(101), 100, False),
        ("eth_getTransactionByHash", b'{"blockNumber":null,"blockHash":null}', 100, False),
        ("eth_getTransactionByHash", b'{"blockNumber":"nonsense"}', 100, False),
        ("eth_getBlockByHash", b'{"number":"0x5","hash":"0x6"}', 100, True),
        ("eth_getBlockByHash", b'{"number":"0x65","hash":"0x6"}', 100, False),
        ("eth_getBlockTransactionCountByHash", b'"0x5"', 100, True),
        ("web3_sha3", b'"0x5"', -1, True),
        ("eth_gasPrice", b'"0x5"', 100, True),
    ],
)
@virtual
async def test_what_is_kept(name: str, result: bytes, block: int, is_kept: bool) -> None:
    assert Kept().keep(name, result, block) == is_kept


@virtual
async def test_a_receipt_depends_on_its_own_block() -> None:
    kept = Kept()
    assert kept.keep(RECEIPT, receipt(90))
    assert kept.keep("eth_getTransactionByHash", receipt(98))
    assert kept.keep("web3_sha3", b'"0x5"')
    kept.sharing.on_turn(97)
    assert kept.sharing.cache.get(RECEIPT.encode(), now()) is not None
    assert kept.sharing.cache.get(b"eth_getTransactionByHash", now()) is None
    assert kept.sharing.cache.get(b"web3_sha3", now()) is not None


@virtual
async def test_a_reload_keeps_what_is_kept_where_the_budget_stays() -> None:
    old, same, other = Kept(), Kept(), Kept(500_000)
    old.keep("eth_getBalance", b'"0x5"')
    same.sharing.adopt(old.sharing)
    other.sharing.adopt(old.sharing)
    assert len(same.sharing.cache) == 1
    assert len(other.sharing.cache) == 0


# ---- on disk


class Disk:
    """In place of ``DiskCache``."""

    def __init__(self, **kept: bytes) -> None:
        self.kept = {name.encode(): text for name, text in kept.items()}
        self.asked = 0

    def put(self, key: bytes, text: bytes) -> None:
        self.kept[key] = text

    def has(self, key: bytes) -> bool:
        return key in self.kept

    async def get(self, key: bytes) -> bytes | None:
        self.asked += 1
        await asyncio.sleep(0.01)
        return self.kept[key] or None


def with_disk(engine: Engine) -> Disk:
    disk = Disk()
    engine.pipeline.sharing.disk = disk  # type: ignore[assignment]
    engine.standings.heads.finality.anchors = (head_of(90), None)
    return disk


@virtual
async def test_what_is_final_is_kept_on_disk() -> None:
    engine = on_chain()
    disk = with_disk(engine)
    for params in (b'["0x1","0x5a"]', b'["0x1","0x5b"]', BALANCE):
        await engine.ask("eth_getBalance", params).answer()
    await engine.ask().answer()
    assert list(disk.kept) == [b'eth_getBalance ["0x1","0x5a"]']
    engine.pipeline.sharing.cache.clear()
    handles = balances(engine, 3, b'["0x1","0x5a"]')
    assert await results(handles) == ["0x1"] * 3
    assert len(engine.sent) == 4
    assert engine.counters.kept_answers["disk"] >= 1
    assert engine.ask("eth_getBalance", b'["0x1","0x5a"]').is_done  # in memory again
    engine.assert_idle()


@virtual
async def test_what_the_disk_does_not_bring_is_asked() -> None:
    engine = on_chain()
    disk = with_disk(engine)
    disk.kept[b'eth_getBalance ["0x1","0x5a"]'] = b""
    disk.kept[RECEIPT.encode() + b" " + TX] = receipt(101)  # of a chain that is no more
    assert await results(balances(engine, 3, b'["0x1","0x5a"]')) == ["0x1"] * 3
    assert engine.asked == "a"
    engine.all_behave(answering(receipt(100)))
    assert (await engine.ask(RECEIPT, TX).reply())["result"]["blockNumber"] == "0x64"
    engine.assert_idle()


@virtual
async def test_a_batch_has_its_members_from_disk() -> None:
    engine = on_chain()
    disk = with_disk(engine)
    disk.kept[b'eth_getBalance ["0x1","0x5a"]'] = b'"0x9"'
    body = request("eth_getBalance", b'["0x1","0x5a"]')
    answer = await engine.handle(b"[%b]" % body).answer()
    assert msgspec.json.decode(answer.body)[0]["result"] == "0x9"
    assert not engine.sent


# ---- flights by themselves


@virtual
async def test_nobody_can_be_followed_before_the_pipeline_is_there() -> None:
    kept = Kept()
    flight = SlowFlight()
    kept.sharing.flights[b"k"] = flight
    follower = kept.sharing.join(b"k", Request("eth_getBalance", b"1"), "t", now())
    assert follower is not None
    assert kept.sharing.join(b"other", follower.request, "t", now()) is None
    with pytest.raises(RuntimeError, match="1 followers of nobody"):
        kept.sharing.land(b"k", flight, None)
    assert flight.is_landed


@virtual
async def test_a_flight_lands_under_its_own_key_alone() -> None:
    kept = Kept()
    first, second = SlowFlight(), SlowFlight()
    kept.sharing.flights[b"k"] = second
    kept.sharing.land(b"k", first, b"1")
    assert kept.sharing.flights == {b"k": second}


@virtual
async def test_a_pending_answer_is_awaited_and_cancelled() -> None:
    follower = Follower(Request("m", b"5"), "t", now())
    future = pending_answer(follower)
    follower.give(b"1", None)
    follower.give(b"2", None)
    assert (await future).body == b'{"jsonrpc":"2.0","id":5,"result":1}'
    follower = Follower(Request("m", b"5"), "t", now())
    future = pending_answer(follower)
    future.cancel()
    await asyncio.sleep(0)
    assert follower.is_over
    rest = Rest()
    follower.deliver(Answer(b"", rest=rest))
    follower.deliver(Answer(b""))
    assert rest.is_closed


# ---- whatever happens

behaviours = st.one_of(
    st.just(silent),
    st.builds(answering, st.sampled_from([b'"0x1"', b"null"]), st.floats(0, 2)),
    st.builds(failing, st.sampled_from(list(FailureKind)), st.floats(0, 2)),
    st.builds(
        refusing,
        st.sampled_from([-32603, -32005, -32602, 3]),
        st.sampled_from(["internal error", "rate limit", "execution reverted"]),
        st.floats(0, 2),
    ),
)
askers = st.tuples(
    st.floats(0, 3),
    st.sampled_from([("eth_getBalance", BALANCE), (RECEIPT, TX), ("eth_gasPrice", b"[]")]),
    st.booleans(),
    st.one_of(st.none(), st.floats(0, 3)),
)


@run_with(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(behaviours, min_size=1, max_size=4), min_size=1, max_size=4),
    st.lists(askers, min_size=1, max_size=16),
    st.lists(st.floats(0, 4), max_size=2),
)
def test_everybody_is_answered_once_and_in_time(
    scripts: list[list[Behaviour]],
    wanted: list[tuple[float, tuple[str, bytes], bool, float | None]],
    reorgs: list[float],
) -> None:
    async def main() -> None:
        engine = on_chain(upstreams=four()[: len(scripts)])
        for wire, script in zip(engine.wires.values(), scripts, strict=True):
            wire.behaviour = in_turn(*script)
        for branch, at in enumerate(reorgs, 1):
            current_loop().call_later(at, to_head, engine, head_of(100, branch, 99))
        handles: list[tuple[Handle, bool]] = []

        async def one(
            at: float, what: tuple[str, bytes], is_batch: bool, hang_up: float | None
        ) -> None:
            await asyncio.sleep(at)
            body = request(*what)
            handle = engine.handle(b"[%b,%b]" % (body, body) if is_batch else body)
            handles.append((handle, hang_up is not None))
            if hang_up is not None:
                await asyncio.sleep(hang_up)
                if not handle.is_done:
                    handle.hang_up()
                return
            started = now()
            await handle.answer()
            assert handle.at - started < 10.0

        await asyncio.gather(*(one(*asker) for asker in wanted))
        await engine.assert_soon_idle()
        for handle, is_left in handles:
            assert len(handle.answers) == 1 or (is_left and not handle.answers)
        assert engine.pipeline.sharing.flights == {}
        engine.close()

    assert not run_virtual(main)


def test_the_cache_has_its_budget_from_the_server() -> None:
    async def main() -> None:
        engine = Engine()
        cache = engine.pipeline.sharing.cache
        room = cache._room + 2 * cache._brief_room
        assert 0.9 < room / model.Server().cache.memory_bytes <= 1.0

    assert not run_virtual(main)
