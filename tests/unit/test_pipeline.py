"""The way of one HTTP body: what is answered at once, what is forwarded, what is said in words."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from rpcproxy.config import model
from rpcproxy.engine.pipeline import HEAVY_ATTEMPTS, LARGE_REQUEST_BYTES, MAX_PROFILES, policies
from rpcproxy.messages import Answer, FailureKind, Head, Verdict
from rpcproxy.rules.failover import YOUNG_OUTAGE_SECONDS
from tests.unit.engine_kit import (
    HEAVY,
    LIGHT,
    SEND,
    Engine,
    Rest,
    answering,
    failing,
    now,
    refusing,
    request,
    silent,
    virtual,
)
from tests.unit.fleet import four, upstream


def at_once(engine: Engine, body: bytes) -> Answer:
    handle = engine.handle(body)
    assert handle.is_done
    return handle.answers[0]


def decoded(answer: Answer) -> Any:
    return msgspec.json.decode(answer.body)


# ---- answered at once


@pytest.mark.parametrize(
    ("method", "result"),
    [
        ("eth_chainId", "0x7"),
        ("net_version", "7"),
        ("eth_syncing", False),
        ("eth_accounts", []),
        ("net_listening", True),
    ],
)
@virtual
async def test_what_needs_nobody(method: str, result: object) -> None:
    engine = Engine()
    answer = at_once(engine, request(method, id=b'"x"'))
    assert decoded(answer) == {"jsonrpc": "2.0", "id": "x", "result": result}
    assert engine.counters.local_answers == 1
    assert not engine.sent


@virtual
async def test_a_notification_of_it_has_no_reply() -> None:
    assert at_once(Engine(), b'{"method":"eth_chainId"}').body == b""


@virtual
async def test_net_listening_says_whether_anybody_is_usable() -> None:
    engine = Engine(are_admitted=False)
    assert decoded(at_once(engine, request("net_listening")))["result"] is False
    engine.admit("a")
    assert decoded(at_once(engine, request("net_listening")))["result"] is True


@virtual
async def test_a_fresh_head_is_told_at_once() -> None:
    engine = Engine()
    engine.told.on_report(100, now())
    assert decoded(at_once(engine, request("eth_blockNumber")))["result"] == "0x64"
    assert not engine.sent


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, -32700),
        (b"{", 400, -32700),
        (b"\xff\xfe", 400, -32700),
        (b"[1", 400, -32700),
        (b'{"id":1,"method":', 400, -32700),
        (b'{"id":1}', 200, -32600),
        (b'{"id":1,"method":5}', 200, -32600),
        (b'{"id":1,"method":"m","params":"p"}', 200, -32600),
        (b'{"id":{},"method":"m"}', 200, -32600),
        (b"[]", 200, -32600),
        (b"5", 200, -32600),
        (b"null", 200, -32600),
    ],
)
@virtual
async def test_what_is_no_request(body: bytes, status: int, code: int) -> None:
    answer = at_once(Engine(), body)
    assert answer.status == status
    assert decoded(answer)["error"]["code"] == code


@virtual
async def test_a_batch_over_the_limit() -> None:
    engine = Engine()
    many = b"[%b]" % b",".join([request("eth_chainId")] * 1001)
    answer = at_once(engine, many)
    assert answer.status == 413
    assert decoded(answer)["error"]["message"] == "batch of 1001 requests, at most 1000 are taken"


@pytest.mark.parametrize(
    ("method", "words"), [("eth_newFilter", "eth_getLogs"), ("eth_sign", "a node's own keys")]
)
@virtual
async def test_what_is_refused_says_why(method: str, words: str) -> None:
    engine = Engine()
    error = (await engine.ask(method).reply())["error"]
    assert error["code"] == -32601
    assert words in error["message"]
    assert error["data"]["reason"] == error["message"]
    assert not engine.sent


# ---- forwarded


@virtual
async def test_the_second_request_of_a_method_takes_the_express_lane() -> None:
    engine = Engine()
    first = engine.ask()
    assert first.pending is None
    assert (await first.reply())["result"] == "0x1"
    second = engine.ask()
    assert second.pending is not None
    assert (await second.reply())["result"] == "0x1"
    assert [sent.params for sent in engine.sent] == [[], []]
    engine.assert_idle()


@virtual
async def test_a_read_without_id_is_asked_of_nobody() -> None:
    engine = Engine()
    for _ in range(2):
        handle = engine.handle(b'{"method":"eth_gasPrice"}')
        assert (await handle.answer()).body == b""
    assert not engine.sent


@pytest.mark.parametrize("id", [b"1", b'"a"', b"null", b"1.50", b"123456789012345678901234567890"])
@virtual
async def test_the_id_comes_back_as_it_was_written(id: bytes) -> None:
    engine = Engine()
    for _ in range(2):
        answer = await engine.handle(request("eth_gasPrice", id=id)).answer()
        assert answer.body == b'{"jsonrpc":"2.0","id":%b,"result":"0x1"}' % id


@virtual
async def test_params_go_on_as_they_were_written() -> None:
    engine = Engine()
    params = b'[{"to":"0x1", "n":1.50},"latest"]'
    for _ in range(2):
        await engine.ask("eth_call", params).answer()
    assert all(params in sent.payload for sent in engine.sent)


@virtual
async def test_a_block_is_asked_of_those_who_have_it() -> None:
    engine = Engine()
    engine.observe("b", Verdict.OK, head=Head(101), is_probe=True)
    for _ in range(2):
        await engine.ask("eth_getBalance", b'["0x1","0x65"]').answer()
    assert engine.asked == "bb"


@virtual
async def test_the_latest_state_is_not_asked_of_those_behind() -> None:
    engine = Engine()
    for name in "bcd":
        engine.observe(name, Verdict.OK, head=Head(120), is_probe=True)
    for _ in range(2):
        await engine.ask("eth_getBalance", b'["0x1","latest"]').answer()
        await engine.ask("eth_getBalance", b'["0x1", "latest" ]').answer()
        await engine.ask("eth_getBalance", b'["0x1"]').answer()
    assert "a" not in engine.asked
    for _ in range(2):
        await engine.ask("eth_getBalance", b'["0x1","earliest"]').answer()
        await engine.ask("eth_getBalance", b'["0x1","0x5"]').answer()
    assert engine.asked[-4:] == "aaaa"
    engine.assert_idle()


@virtual
async def test_a_large_request_teaches_its_size() -> None:
    engine = Engine()
    engine.all_behave(answering())
    engine.behave(a=refusing(413, "request entity too large"))
    large = b'[{"data":"0x%b"},"latest"]' % (b"00" * LARGE_REQUEST_BYTES)
    for _ in range(3):
        assert (await engine.ask("eth_call", large).reply())["result"] == "0x1"
        await engine.ask("eth_call", b'[{},"latest"]').answer()
    assert engine.standings["b"].exclusions.took_bytes > LARGE_REQUEST_BYTES
    engine.assert_idle()


@virtual
async def test_invented_methods_do_not_fill_the_memory() -> None:
    engine = Engine()
    for number in range(MAX_PROFILES + 50):
        engine.pipeline.profile(f"my_method{number}")
    assert len(engine.pipeline._profiles) == MAX_PROFILES
    assert (await engine.ask("eth_gasPrice").reply())["result"] == "0x1"


@virtual
async def test_refusals_of_a_call_that_never_worked_are_given_at_once() -> None:
    engine = Engine()
    engine.all_behave(refusing(-32602, "missing value"))
    for _ in range(2):
        assert (await engine.ask("eth_call").reply())["error"]["message"] == "missing value"
    assert engine.asked == "aa"
    engine.all_behave(answering())
    await engine.ask("eth_call").answer()
    engine.all_behave(refusing(-32602, "missing value"))
    assert (await engine.ask("eth_call").reply())["error"]["message"] == "missing value"
    assert engine.asked == "aaaab"  # two agree
    engine.assert_idle()


# ---- nobody can answer


@virtual
async def test_a_limit_is_never_shown() -> None:
    engine = Engine(four()[:2], deadlines={"light_seconds": 1.0})
    engine.all_behave(refusing(-32005, "rate limit exceeded for key 1234"))
    error = (await engine.ask().reply())["error"]
    assert error["code"] == -32603
    assert error["message"].startswith("no upstream of test could answer")
    assert "rate limit reached" in error["message"]
    assert "1234" not in error["message"]
    await engine.assert_soon_idle()


@virtual
async def test_what_failed_where_is_said_though_nothing_came_back_this_time() -> None:
    engine = Engine(four()[:3])
    engine.behave(a=failing(), b=silent, c=failing(FailureKind.RESET))
    for _ in range(6):
        await engine.ask().answer()
    await asyncio.sleep(YOUNG_OUTAGE_SECONDS)
    engine.all_behave(silent)
    reason = (await engine.ask().reply())["error"]["data"]["reason"]
    for words in ("a: not reachable", "b: no answer in time", "c: connection broke"):
        assert words in reason


@virtual
async def test_an_upstreams_own_error_is_shown_when_two_said_so() -> None:
    engine = Engine()
    engine.all_behave(refusing(-32603, "trace too deep"))
    assert (await engine.ask().reply())["error"]["message"] == "trace too deep"
    engine.assert_idle()


@virtual
async def test_what_fails_everywhere_is_asked_once_the_next_time() -> None:
    engine = Engine()
    engine.all_behave(refusing(-32603, "trace too deep"))
    await engine.ask().answer()
    before = len(engine.sent)
    assert (await engine.ask().reply())["error"]["message"] == "trace too deep"
    assert len(engine.sent) - before == 1
    await asyncio.sleep(60)  # forgotten
    engine.all_behave(answering())
    assert (await engine.ask().reply())["result"] == "0x1"
    engine.assert_idle()


@virtual
async def test_the_told_block_is_given_in_an_outage() -> None:
    engine = Engine()
    engine.told.on_report(100, now(), b'{"number":"0x64"}')
    assert engine.told.text() == b'"0x64"'
    engine.all_behave(failing())
    engine.eject(*engine.wires)
    await asyncio.sleep(20)
    for params in (b'["latest",false]', b'["0x64",false]'):
        reply = await engine.ask("eth_getBlockByNumber", params).reply()
        assert reply["result"] == {"number": "0x64"}
    for params in (b'["latest",true]', b'["0x63",false]'):
        assert "error" in await engine.ask("eth_getBlockByNumber", params).reply()
    await engine.assert_soon_idle()


@virtual
async def test_the_status_of_an_outage_is_as_configured() -> None:
    engine = Engine(are_admitted=False, deadlines={"light_seconds": 0.5})
    assert (await engine.ask().answer()).status == 200
    engine.pipeline._outage_status = 503
    assert (await engine.ask().answer()).status == 503
    engine.assert_idle()


@virtual
async def test_an_old_outage_is_answered_within_a_second() -> None:
    engine = Engine()
    engine.all_behave(failing())
    engine.eject(*engine.wires)
    await asyncio.sleep(20)
    started = now()
    for method in ("eth_gasPrice", "eth_gasPrice", "debug_traceCall"):
        handle = engine.ask(method)
        error = (await handle.reply())["error"]
        assert handle.at - started <= 1
        assert "for 2" in error["message"]  # seconds
        started = now()
    await engine.assert_soon_idle()


@virtual
async def test_a_large_answer_that_nobody_reads_on_is_closed_by_its_reader() -> None:
    from rpcproxy.messages import Reply

    engine = Engine()
    rest = Rest()

    def large(sent: Any) -> None:
        reply = Reply(200, b'{"id":%d,"result":"' % sent.id, rest=rest)
        asyncio.get_running_loop().call_later(0.01, sent.end, reply)

    engine.behave(a=large)
    answer = await engine.ask("debug_traceCall").answer()
    assert answer.rest is not None
    answer.rest.close()
    assert rest.is_closed
    engine.assert_idle()


# ---- policies


def chain(**fields: Any) -> model.Chain:
    return model.Chain(name="x", chain_id=1, upstreams=(upstream("a"),), **fields)


def test_policies_are_the_configurations() -> None:
    made = policies(
        chain(deadlines={"light_seconds": 3, "heavy_seconds": 60, "send_seconds": 20}, hedge=0.4)
    )
    assert (made[LIGHT].deadline_seconds, made[LIGHT].attempt_seconds) == (3, 1.5)
    assert made[HEAVY].attempt_seconds == 60 / HEAVY_ATTEMPTS
    assert made[SEND].attempt_seconds == 10
    assert made[LIGHT].hedge_seconds == made[HEAVY].hedge_seconds == 0.4
    assert not made[SEND].can_hedge
    assert not policies(chain(hedge="off"))[LIGHT].can_hedge
    assert policies(chain())[LIGHT].hedge_seconds is None


@virtual
async def test_no_hedge_where_every_call_is_paid_for() -> None:
    engine = Engine(hedge="off")
    engine.behave(a=silent)
    for _ in range(2):
        handle = engine.ask()
        started = now()
        assert (await handle.reply())["result"] == "0x1"
        assert 1.4 < handle.at - started < 1.7
    assert engine.counters.hedges == {}
    engine.assert_idle()
