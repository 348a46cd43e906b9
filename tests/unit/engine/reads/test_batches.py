"""Batches: one reply per request with id, in order, whatever becomes of each member."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as run_with
from hypothesis import strategies as st

from rpcproxy.engine.answers.batch_sizes import GROUP
from rpcproxy.engine.attempts.executor import Settled
from rpcproxy.engine.reads.batch_sorting import BatchSorter
from rpcproxy.engine.reads.batches import Batches
from rpcproxy.messages import FailureKind, Head, Reply, Request, Verdict
from rpcproxy.rules.requests.steps import Policy
from tests.kits.engine_kit import (
    LIGHT,
    Behaviour,
    Engine,
    Handle,
    Rest,
    Sent,
    after,
    answering,
    error_of,
    failing,
    hash_of,
    in_turn,
    now,
    on_chain,
    refusing,
    request,
    result_of,
    run_virtual,
    silent,
    virtual,
)
from tests.kits.fleet import four
from tests.kits.sends_kit import signed


def batch(*members: bytes) -> bytes:
    return b"[%b]" % b",".join(members)


def prices(count: int, first: int = 0) -> list[bytes]:
    return [
        request("eth_getBalance", b'["0x%x","0x1"]' % n, b"%d" % n)
        for n in range(first, first + count)
    ]


def echo(sent: Sent) -> None:
    """Answers every member with its own first parameter."""
    texts = [result_of(c, b'"%b"' % str(c["params"][0]).encode()) for c in sent.calls]
    body = batch(*texts) if sent.is_batch else texts[0]
    asyncio.get_running_loop().call_later(0.01, sent.say, body)


def only_singles(sent: Sent) -> None:
    if sent.is_batch:
        sent.say(b'{"id":null,"error":{"code":-32600,"message":"no batches"}}')
    else:
        echo(sent)


def half(sent: Sent) -> None:
    """Answers the first half of the members and no others."""
    texts = [result_of(c, b'"%b"' % c["params"][0].encode()) for c in sent.calls]
    sent.say(batch(*texts[: len(texts) // 2]))


def shapes(engine: Engine) -> list[tuple[str, int]]:
    """Who was asked for how many, in order; 0 is a single."""
    ordered = sorted(engine.sent, key=lambda sent: sent.at)
    return [(sent.wire.name, len(sent.calls) if sent.is_batch else 0) for sent in ordered]


async def replies(handle: Handle) -> list[dict[str, Any]]:
    decoded: list[dict[str, Any]] = msgspec.json.decode((await handle.answer()).body)
    return decoded


def echoes(told: list[dict[str, Any]]) -> list[tuple[Any, Any]]:
    return [(reply["id"], reply.get("result")) for reply in told]


def wanted(count: int, first: int = 0) -> list[tuple[int, str]]:
    return [(n, f"0x{n:x}") for n in range(first, first + count)]


# ---- the whole


@virtual
async def test_light_reads_travel_together_and_come_back_in_order() -> None:
    engine = Engine()
    engine.all_behave(echo)
    told = await replies(engine.handle(batch(*prices(20))))
    assert echoes(told) == wanted(20)
    assert shapes(engine) == [("a", 20)]
    assert engine.counters.batch_members == 20
    assert engine.counters.requests[LIGHT].labels["ok"] == 20
    engine.assert_idle()


@pytest.mark.parametrize("behaviour", [echo, only_singles], ids=["together", "alone"])
def test_a_bug_at_one_member_is_its_error_alone(behaviour: Behaviour) -> None:
    async def main() -> None:
        engine = Engine()
        engine.all_behave(behaviour)
        encode = engine.pipeline.encoder.encode

        def broken(request: Request, settled: Settled) -> Any:
            if request.id == b"2":
                raise ZeroDivisionError
            return encode(request, settled)

        engine.pipeline.encoder.encode = broken  # type: ignore[method-assign]
        told = await replies(engine.handle(batch(*prices(4))))
        assert [reply["id"] for reply in told] == [0, 1, 2, 3]
        assert "the proxy failed on this request" in told[2]["error"]["message"]
        assert [n for n, reply in enumerate(told) if "result" in reply] == [0, 1, 3]
        labels = engine.counters.requests[LIGHT].labels
        assert (labels["ok"], labels["own_error"]) == (3, 1)
        assert engine.pipeline.sharing.flights == {}

    (record,) = run_virtual(main)
    assert record.getMessage() == "request failed"


@virtual
async def test_replies_out_of_order_are_put_in_order() -> None:
    engine = Engine()

    def backward(sent: Sent) -> None:
        texts = [result_of(c, b'"%b"' % c["params"][0].encode()) for c in sent.calls]
        sent.say(batch(*reversed(texts)))

    engine.all_behave(after(0.01, backward))
    assert echoes(await replies(engine.handle(batch(*prices(5))))) == wanted(5)
    engine.assert_idle()


@virtual
async def test_what_needs_nobody_is_answered_at_once() -> None:
    engine = Engine()
    handle = engine.handle(batch(request("eth_chainId"), b"5", request("net_version", id=b'"b"')))
    assert handle.is_done
    told = await replies(handle)
    assert [reply.get("result") for reply in told] == ["0x7", None, "7"]
    assert told[1]["error"]["code"] == -32600
    assert told[1]["id"] is None
    assert not engine.sent


@virtual
async def test_notifications_have_no_reply() -> None:
    engine = Engine()
    note, local = b'{"method":"eth_gasPrice"}', b'{"method":"eth_chainId"}'
    assert (await engine.handle(batch(note, local)).answer()).body == b""
    told = await replies(engine.handle(batch(note, request("eth_chainId"), local)))
    assert len(told) == 1
    assert not engine.sent


@virtual
async def test_every_kind_of_member_gets_its_reply_in_its_place() -> None:
    engine = Engine()
    members = [
        request("eth_chainId", id=b"1"),
        request("eth_getBalance", b'["0x1","0x1"]', b'"two"'),
        request("debug_traceCall", id=b"3"),
        request("eth_blockNumber", id=b"4"),
        request("eth_sendRawTransaction", signed().params, b"5"),
        request("eth_newFilter", id=b"6"),
        b'{"id":7}',
        request("eth_gasPrice", id=b"null"),
        request("eth_gasPrice", id=b"1"),
    ]
    told = await replies(engine.handle(batch(*members)))
    assert [reply["id"] for reply in told] == [1, "two", 3, 4, 5, 6, 7, None, 1]
    assert [i for i, reply in enumerate(told) if "error" in reply] == [5, 6]
    assert [sent.method for sent in engine.sent].count("eth_getBalance") == 1
    await engine.assert_soon_idle()


@virtual
async def test_a_send_without_id_is_sent() -> None:
    engine = Engine()
    note = b'{"method":"eth_sendRawTransaction","params":%b}' % signed().params
    assert (await engine.handle(batch(note)).answer()).body == b""
    assert [sent.method for sent in engine.sent] == ["eth_sendRawTransaction"] * 3
    await engine.assert_soon_idle()


@virtual
async def test_a_lone_member_is_asked_as_a_single() -> None:
    engine = Engine()
    engine.all_behave(echo)
    assert echoes(await replies(engine.handle(batch(*prices(1, 5))))) == wanted(1, 5)
    assert shapes(engine) == [("a", 0)]
    engine.assert_idle()


@virtual
async def test_large_ones_go_in_groups() -> None:
    engine = Engine()
    engine.all_behave(echo)
    told = await replies(engine.handle(batch(*prices(950))))
    assert echoes(told) == wanted(950)
    assert [size for _, size in shapes(engine)] == [GROUP] * 9 + [50]
    engine.assert_idle()


# ---- members that fail


@virtual
async def test_only_failed_members_are_asked_again_and_elsewhere() -> None:
    engine = Engine()

    def odd(sent: Sent) -> None:
        sent.say(
            batch(
                *(
                    result_of(c, b'"%b"' % c["params"][0].encode())
                    if int(c["params"][0], 16) % 5
                    else error_of(c, -32603, "internal error")
                    for c in sent.calls
                )
            )
        )

    engine.all_behave(echo)
    engine.behave(a=after(0.01, odd))
    assert echoes(await replies(engine.handle(batch(*prices(20))))) == wanted(20)
    assert shapes(engine)[0] == ("a", 20)
    assert len(shapes(engine)) == 5  # four left over, as singles
    assert all(name != "a" and size == 0 for name, size in shapes(engine)[1:])
    engine.assert_idle()


@virtual
async def test_many_left_overs_travel_together_again() -> None:
    engine = Engine()
    engine.all_behave(echo)
    engine.behave(a=after(0.01, half))
    assert echoes(await replies(engine.handle(batch(*prices(40))))) == wanted(40)
    assert [size for _, size in shapes(engine)] == [40, 20]
    assert shapes(engine)[1][0] != "a"
    engine.assert_idle()


@pytest.mark.parametrize(
    "behaviour",
    [
        failing(FailureKind.CONNECT),
        failing(FailureKind.TRUNCATED),
        after(0.01, lambda sent: sent.say(b"<html>", 502)),
        after(0.01, lambda sent: sent.say(b"{}")),
        after(0.01, lambda sent: sent.say(b"[]")),
        after(0.01, lambda sent: sent.say(b"", 429)),
        refusing(-32603, "internal error"),
    ],
)
@virtual
async def test_an_upstream_that_fails_the_whole_is_followed_by_another(
    behaviour: Behaviour,
) -> None:
    engine = Engine()
    engine.all_behave(echo)
    engine.behave(a=behaviour)
    assert echoes(await replies(engine.handle(batch(*prices(20))))) == wanted(20)
    engine.assert_idle()


@pytest.mark.parametrize(
    "behaviour",
    [
        after(0.01, lambda sent: sent.say(error_of(sent.calls[0], -32600, "batch too large"))),
        after(0.01, lambda sent: sent.say(b'{"id":null,"error":{"code":-32600,"message":"x"}}')),
        after(0.01, lambda sent: sent.say(b"not here", 405)),
        after(0.01, half),
    ],
)
@virtual
async def test_who_takes_no_batches_is_known_after_one(behaviour: Behaviour) -> None:
    engine = Engine()
    engine.all_behave(echo)
    engine.behave(a=lambda sent: (behaviour if sent.is_batch else echo)(sent))
    assert echoes(await replies(engine.handle(batch(*prices(10))))) == wanted(10)
    assert echoes(await replies(engine.handle(batch(*prices(10))))) == wanted(10)
    assert [name for name, size in shapes(engine) if size].count("a") == 1
    assert engine.standings["a"].state == "up"
    engine.assert_idle()


@virtual
async def test_where_nobody_takes_batches_members_go_one_by_one() -> None:
    engine = Engine()

    engine.all_behave(only_singles)
    for _ in range(3):
        assert echoes(await replies(engine.handle(batch(*prices(12))))) == wanted(12)
    assert [size for _, size in shapes(engine)[-12:]] == [0] * 12
    assert [size for _, size in shapes(engine)].count(12) <= 4
    engine.assert_idle()


@virtual
async def test_a_final_error_of_a_member_is_its_answer() -> None:
    engine = Engine()
    engine.all_behave(refusing(3, "execution reverted"))
    told = await replies(engine.handle(batch(*prices(3))))
    assert [reply["error"]["message"] for reply in told] == ["execution reverted"] * 3
    assert shapes(engine) == [("a", 3)]
    engine.assert_idle()


@virtual
async def test_a_null_is_confirmed_by_one_more() -> None:
    engine = Engine()
    engine.behave(a=answering(b"null"), b=answering(b'{"found":1}'))
    engine.behave(c=answering(b'{"found":1}'), d=answering(b'{"found":1}'))
    members = [request("eth_getTransactionByHash", b'["0x%x"]' % n) for n in range(3)]
    told = await replies(engine.handle(batch(*members)))
    assert [reply["result"] for reply in told] == [{"found": 1}] * 3
    assert shapes(engine)[0] == ("a", 3)
    engine.assert_idle()


@virtual
async def test_a_refusal_is_confirmed_where_such_calls_have_worked() -> None:
    engine = Engine()
    members = [request("eth_call", b'[{},"0x1"]', b"%d" % n) for n in range(2)]
    await replies(engine.handle(batch(*members)))
    engine.behave(a=refusing(-32602, "missing value"))
    told = await replies(engine.handle(batch(*members)))
    assert [reply["result"] for reply in told] == ["0x1"] * 2
    engine.assert_idle()


# ---- time


@virtual
async def test_all_attempts_of_a_member_share_one_deadline() -> None:
    engine = Engine()
    engine.all_behave(silent)
    started = now()
    told = await replies(engine.handle(batch(*prices(30))))
    assert now() - started < 4.7
    assert all("no upstream of test could answer" in r["error"]["message"] for r in told)
    await engine.assert_soon_idle()


@virtual
async def test_one_slow_member_holds_up_no_longer_than_its_own_time() -> None:
    engine = Engine(deadlines={"heavy_seconds": 2.0})
    engine.all_behave(lambda sent: (silent if "trace" in sent.method else echo)(sent))
    started = now()
    told = await replies(engine.handle(batch(*prices(2), request("debug_traceCall", id=b"9"))))
    assert echoes(told)[:2] == wanted(2)
    assert "error" in told[2]
    assert now() - started < 2.2
    await engine.assert_soon_idle()


@virtual
async def test_a_silent_upstream_is_hedged_for_the_whole_group() -> None:
    engine = Engine()
    engine.all_behave(echo)
    engine.behave(a=silent)
    started = now()
    assert echoes(await replies(engine.handle(batch(*prices(20))))) == wanted(20)
    assert now() - started < 0.3
    await engine.assert_soon_idle()


@virtual
async def test_before_anybody_is_admitted_a_batch_waits() -> None:
    engine = Engine(are_admitted=False)
    engine.all_behave(echo)
    handle = engine.handle(batch(*prices(10)))
    await asyncio.sleep(1)
    engine.admit("b")
    assert echoes(await replies(handle)) == wanted(10)
    engine.assert_idle()


@virtual
async def test_a_hang_up_leaves_nothing() -> None:
    engine = Engine()
    engine.all_behave(silent)
    handle = engine.handle(batch(*prices(250), request("debug_traceCall")))
    await asyncio.sleep(0.01)
    assert sum(engine.in_flight().values()) == 4
    handle.hang_up()
    await engine.assert_soon_idle()
    assert handle.answers == []


# ---- what is kept, and who follows whom


@virtual
async def test_members_that_are_kept_are_answered_at_once() -> None:
    engine = Engine()
    engine.all_behave(echo)
    await replies(engine.handle(batch(*prices(5))))
    handle = engine.handle(batch(*prices(5)))
    assert handle.is_done
    assert echoes(await replies(handle)) == wanted(5)
    assert engine.counters.kept_answers == {"block": 5}
    assert echoes(await replies(engine.handle(batch(*prices(8))))) == wanted(8)
    assert shapes(engine) == [("a", 5), ("a", 3)]
    assert engine.ask("eth_getBalance", b'["0x2","0x1"]').is_done
    engine.assert_idle()


@virtual
async def test_who_wants_it_fresh_gets_nothing_that_was_kept() -> None:
    engine = Engine()
    engine.all_behave(echo)
    for _ in range(2):
        handle = Handle(engine.pipeline.handle(batch(*prices(5)), "t", is_fresh=True))
        assert echoes(await replies(handle)) == wanted(5)
    assert shapes(engine) == [("a", 5)] * 2


@virtual
async def test_members_follow_what_is_in_flight_and_are_followed() -> None:
    engine = Engine()
    engine.all_behave(echo)
    before = engine.ask("eth_getBalance", b'["0x0","0x1"]')
    whole_batch = engine.handle(batch(*prices(5)))
    await asyncio.sleep(0.001)
    after_it = engine.ask("eth_getBalance", b'["0x3","0x1"]')
    another = engine.handle(batch(*prices(5)))
    assert echoes(await replies(whole_batch)) == wanted(5)
    assert echoes(await replies(another)) == wanted(5)
    assert (await before.reply())["result"] == "0x0"
    assert (await after_it.reply())["result"] == "0x3"
    assert shapes(engine) == [("a", 0), ("a", 4)]
    assert engine.pipeline.sharing.flights == {}
    engine.assert_idle()


@virtual
async def test_members_that_ask_the_same_are_asked_once() -> None:
    engine = Engine()
    engine.all_behave(echo)
    told = await replies(engine.handle(batch(*prices(3), *prices(3), *prices(1))))
    assert echoes(told) == [*wanted(3), *wanted(3), *wanted(1)]
    assert shapes(engine) == [("a", 3)]
    engine.assert_idle()


@virtual
async def test_a_batch_that_is_given_up_leaves_its_followers_to_themselves() -> None:
    engine = Engine()
    engine.all_behave(silent)
    handle = engine.handle(batch(*prices(5)))
    await asyncio.sleep(0.01)
    followers = [engine.ask("eth_getBalance", b'["0x%x","0x1"]' % n) for n in range(3)]
    assert len(engine.sent) == 1
    handle.hang_up()
    engine.all_behave(echo)
    for number, follower in enumerate(followers):
        assert (await follower.reply())["result"] == f"0x{number:x}"
    assert handle.answers == []
    assert engine.pipeline.sharing.flights == {}
    await engine.assert_soon_idle()


@virtual
async def test_a_batch_that_is_given_up_before_it_began_is_followed_by_nobody() -> None:
    engine = Engine()
    engine.all_behave(echo)
    handle = engine.handle(batch(*prices(5), *prices(5)))
    assert len(engine.pipeline.sharing.flights) == 5
    handle.hang_up()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert engine.pipeline.sharing.flights == {}
    assert engine.asked == ""
    assert (await engine.ask("eth_getBalance", b'["0x1","0x1"]').reply())["result"] == "0x1"


@virtual
async def test_batches_that_come_in_one_turn_share_their_members() -> None:
    engine = Engine()
    engine.all_behave(echo)
    handles = [engine.handle(batch(*prices(5))) for _ in range(4)]
    for handle in handles:
        assert echoes(await replies(handle)) == wanted(5)
    assert shapes(engine) == [("a", 5)]


@virtual
async def test_others_follow_a_batch_that_was_given_up_before_it_began() -> None:
    engine = Engine()
    engine.all_behave(echo)
    handle = engine.handle(batch(*prices(5)))
    follower = engine.ask("eth_getBalance", b'["0x1","0x1"]')
    handle.hang_up()
    assert (await follower.reply())["result"] == "0x1"
    engine.assert_idle()


@virtual
async def test_a_refusal_of_a_member_is_its_followers_answer() -> None:
    engine = Engine()
    engine.all_behave(refusing(3, "execution reverted"))
    handle = engine.handle(batch(*prices(2)))
    await asyncio.sleep(0.001)
    follower = engine.ask("eth_getBalance", b'["0x1","0x1"]')
    assert (await follower.reply())["error"]["message"] == "execution reverted"
    await replies(handle)
    assert shapes(engine) == [("a", 2)]


# ---- the chain


@virtual
async def test_members_are_pinned_like_any_request() -> None:
    engine = Engine()
    members = [
        request("eth_getBalance", b'["0x1","latest"]', b"1"),
        request("eth_getBalance", b'["0x2"]', b"2"),
    ]
    await replies(engine.handle(batch(*members)))
    assert [call["params"] for call in engine.sent[0].calls] == [["0x1", "0x64"], ["0x2", "0x64"]]


@virtual
async def test_all_members_are_asked_at_one_head_whatever_way_they_go() -> None:
    engine = Engine()
    engine.all_behave(after(0.01, answering(b"[]")))
    span = b'[{"fromBlock":"latest","toBlock":"latest"}]'
    members = [
        request("eth_getLogs", span, b"1"),
        request("eth_getBalance", b'["0x1","latest"]', b"2"),
        request("eth_getLogs", span.replace(b"[{", b'[{"address":"0x2",'), b"3"),
    ]
    handle = engine.handle(batch(*members))
    for name in "abcd":  # in the very turn in which it was read
        engine.observe(name, Verdict.OK, head=Head(101), is_probe=True)
    await replies(handle)
    asked = [call["params"] for sent in engine.sent for call in sent.calls]
    logs = {"fromBlock": "0x64", "toBlock": "0x64"}
    assert ["0x1", "0x64"] in asked
    assert [logs] in asked
    assert [{"address": "0x2", **logs}] in asked


@virtual
async def test_a_member_just_above_the_head_waits_by_itself() -> None:
    engine = Engine()
    engine.all_behave(echo)
    above = request("eth_getBlockTransactionCountByNumber", b'["0x65"]', b"9")
    handle = engine.handle(batch(*prices(2), above))
    await asyncio.sleep(1)
    assert shapes(engine) == [("a", 2)]
    for name in "bcd":
        engine.observe(name, Verdict.OK, head=Head(101), is_probe=True)
    assert (await replies(handle))[2] == {"jsonrpc": "2.0", "id": 9, "result": "0x65"}


@virtual
async def test_members_of_another_chain_are_asked_elsewhere() -> None:
    engine = on_chain()

    def mined(branch: int) -> bytes:
        return b'{"blockNumber":"0x64","blockHash":"%b"}' % hash_of(100, branch).encode()

    engine.all_behave(answering(mined(0)))
    engine.behave(a=answering(mined(1)))
    members = [
        request("eth_getTransactionReceipt", b'["0x%064x"]' % n, b"%d" % n) for n in range(3)
    ]
    told = await replies(engine.handle(batch(*members)))
    assert [reply["result"]["blockHash"] for reply in told] == [hash_of(100)] * 3
    assert shapes(engine)[0] == ("a", 3)
    await engine.assert_soon_idle()


# ---- pieces


@virtual
async def test_a_batch_answer_too_large_to_hold_is_asked_member_by_member() -> None:
    engine = Engine()
    rests: list[Rest] = []

    def large(sent: Sent) -> None:
        if sent.is_batch:
            rests.append(Rest())
            sent.end(Reply(200, b"[", rest=rests[-1]))
        else:
            echo(sent)

    engine.all_behave(after(0.01, large))
    assert echoes(await replies(engine.handle(batch(*prices(5))))) == wanted(5)
    assert rests
    assert all(rest.is_closed for rest in rests)
    engine.assert_idle()


# ---- whatever happens

member_kinds = st.sampled_from(
    [
        "eth_getBalance",
        "eth_chainId",
        "eth_blockNumber",
        "debug_traceCall",
        "eth_getTransactionByHash",
        "eth_sign",
        "broken",
    ]
)


@virtual
async def test_time_that_is_given_back_to_a_member_is_its_for_another_way_too() -> None:
    """The batch came well, in a second, and was too large; then no node has the first block."""
    engine = Engine()
    dues: list[float] = []
    run = engine.executor.run

    async def noted(call: Any, policy: Policy, *args: Any, **named: Any) -> Settled:
        dues.append(now() + policy.deadline_seconds)
        return await run(call, policy, *args, **named)

    def pruned(sent: Sent) -> None:
        if sent.is_batch:
            sent.end(Reply(200, b'[{"id":%d,"result":"' % sent.id, rest=Rest()))
        elif sent.params[1] == "earliest":
            sent.reply()
        else:
            sent.refuse(4444, "pruned history unavailable")

    engine.executor.run = noted  # type: ignore[method-assign,assignment]
    engine.all_behave(lambda sent: after(1.0 if sent.is_batch else 0.01, pruned)(sent))
    members = [request("eth_getBalance", b'["0x%x","earliest"]' % n, b"%d" % n) for n in (1, 2)]
    told = await replies(engine.handle(batch(*members)))
    assert [reply["result"] for reply in told] == ["0x1", "0x1"]
    whole, *apart = dues
    assert len(apart) == 4  # each by number, and then by its tag
    assert apart == [pytest.approx(whole + 1.0, abs=0.1)] * 4
    await engine.assert_soon_idle()


parts = st.sampled_from(["result", "null", "error", "limit", "missing", "stranger", "revert"])
manners = st.one_of(
    st.sampled_from(["silent", "fail", "html", "refuse"]), st.lists(parts, min_size=1, max_size=6)
)


def mannered(manner: Any) -> Behaviour:
    """Answers members by turns in these ways."""
    if isinstance(manner, str):
        return {
            "silent": silent,
            "fail": failing(),
            "html": after(0.01, lambda sent: sent.say(b"<html>", 503)),
            "refuse": refusing(-32600, "no batches here"),
        }[manner]

    def act(sent: Sent) -> None:
        texts = []
        for index, call in enumerate(sent.calls):
            text = {
                "result": result_of(call),
                "null": result_of(call, b"null"),
                "error": error_of(call, -32603, "internal error"),
                "limit": error_of(call, -32005, "rate limit"),
                "revert": error_of(call, 3, "execution reverted"),
                "stranger": result_of({"id": -1}),
                "missing": b"",
            }[manner[index % len(manner)]]
            texts.append(text)
        given = [text for text in texts if text]
        sent.say(batch(*given) if sent.is_batch else (given or [b""])[0])

    return after(0.01, act)


@run_with(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(member_kinds, st.booleans()), min_size=1, max_size=40),
    st.lists(st.lists(manners, min_size=1, max_size=3), min_size=1, max_size=3),
)
def test_every_member_with_an_id_gets_one_reply_in_its_place(
    members: list[tuple[str, bool]], scripts: list[list[Any]]
) -> None:
    async def main() -> None:
        engine = Engine(four()[: len(scripts)], deadlines={"heavy_seconds": 3.0})
        for wire, script in zip(engine.wires.values(), scripts, strict=True):
            wire.behaviour = in_turn(*map(mannered, script))
        texts, ids = [], []
        for index, (method, has_id) in enumerate(members):
            if method == "broken":
                texts.append(b'{"id":"%d"}' % index)
                ids.append(str(index))
            elif has_id:
                texts.append(request(method, b"[]", b'"%d"' % index))
                ids.append(str(index))
            else:
                texts.append(b'{"method":"%b"}' % method.encode())
        started = now()
        answer = await engine.handle(batch(*texts)).answer()
        assert now() - started < 5
        told = msgspec.json.decode(answer.body) if answer.body else []
        assert [reply["id"] for reply in told] == ids
        for reply in told:
            assert ("result" in reply) != ("error" in reply)
        await engine.assert_soon_idle()
        engine.close()

    assert not run_virtual(main)


# ---- slices


def _spans(count: int, of: bytes) -> list[bytes]:
    return [request(of.decode(), b'["0x%x"]' % n, b"%d" % n) for n in range(count)]


@pytest.mark.parametrize(
    "members",
    [
        pytest.param([request("eth_chainId")] * 1000, id="answered here"),
        pytest.param([b"1"] * 1000, id="no requests"),
        pytest.param(prices(1000), id="in groups"),
        pytest.param(_spans(1000, b"debug_traceCall"), id="one by one"),
        pytest.param(_spans(1000, b"own_method"), id="invented"),
        pytest.param(_spans(1000, b"eth_sendRawTransaction"), id="sends"),
    ],
)
@virtual
async def test_others_have_their_turn_while_a_large_one_is_read_and_begun(
    members: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Smoldot 2216, cronos 181, bnb-chain/reth 210: what queues up for one client is done in one
    go, and all others wait for it.
    """
    engine = Engine()
    engine.all_behave(echo)
    worked = [0]
    most = 0
    _count(monkeypatch, BatchSorter, "take", worked)
    for name in ("_answer_single", "_answer_group", "_answer_alone"):
        _count(monkeypatch, Batches, name, worked)

    async def neighbour() -> None:
        nonlocal most
        while True:
            before = worked[0]
            await asyncio.sleep(0)
            most = max(most, worked[0] - before)

    waiting = asyncio.ensure_future(neighbour())
    handle = engine.handle(batch(*members))
    # Real time: a virtual clock that is never idle stands still, so the neighbour is ended first.
    for _ in range(200):
        await asyncio.sleep(0)
    waiting.cancel()
    assert len(await replies(handle)) == 1000
    assert 0 < most <= 2 * GROUP


def _count(monkeypatch: pytest.MonkeyPatch, owner: type[Any], name: str, worked: list[int]) -> None:
    """Add to ``worked`` how many members each call of a method has to do with."""
    plain = getattr(owner, name)

    def counted(self: Any, first: Any, second: Any, *rest: Any) -> Any:
        if name == "take":
            worked[0] += len(first)
            return plain(self, first, second, *rest)
        return begun(self, first, second, *rest)

    async def begun(self: Any, first: Any, second: Any, *rest: Any) -> None:
        worked[0] += len(second) if name == "_answer_group" else 1
        await plain(self, first, second, *rest)

    monkeypatch.setattr(owner, name, counted)


@virtual
async def test_a_client_that_leaves_in_the_middle_of_a_large_one_leaves_nothing_behind() -> None:
    engine = Engine()
    engine.all_behave(echo)
    handle = engine.handle(batch(*prices(1000)))
    for _ in range(4):
        await asyncio.sleep(0)
    handle.hang_up()
    await asyncio.sleep(1)
    assert not engine.pipeline.sharing.flights
    assert echoes(await replies(engine.handle(batch(*prices(5))))) == wanted(5)
    await engine.assert_soon_idle()
