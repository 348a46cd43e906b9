"""The way of one HTTP body: what is answered at once, what is forwarded, what is said in words."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from rpcproxy.chains.evm.methods import describe
from rpcproxy.engine.reads.profiles import LARGE_REQUEST_BYTES
from rpcproxy.messages import Answer, FailureKind, Head, Verdict
from rpcproxy.rules.requests.steps import YOUNG_OUTAGE_SECONDS
from tests.kits.engine_kit import (
    LIGHT,
    Engine,
    Rest,
    after,
    answering,
    failing,
    head_of,
    now,
    on_chain,
    refusing,
    request,
    silent,
    to_head,
    virtual,
)
from tests.kits.fleet import four


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
    engine.told.on_report(Head(100), now())
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
    assert decoded(answer)["error"]["message"] == "batch too large: more than 1000 requests"


@pytest.mark.parametrize(
    ("method", "words"), [("eth_newFilter", "eth_getLogs"), ("eth_sign", "a node's own keys")]
)
@virtual
async def test_what_is_refused_says_why(method: str, words: str) -> None:
    engine = Engine()
    error = (await engine.ask(method).reply())["error"]
    assert error["code"] == -32601
    assert words in error["message"]
    assert error["message"].startswith(f"the method {method} does not exist/is not available: ")
    assert error["data"]["reason"] == error["message"]
    assert not engine.sent


# ---- forwarded


@virtual
async def test_a_read_takes_the_express_lane_and_is_kept() -> None:
    engine = Engine()
    first = engine.ask()
    assert first.pending is not None
    assert (await first.reply())["result"] == "0x1"
    assert engine.ask().is_done
    assert [sent.params for sent in engine.sent] == [[]]
    assert engine.counters.kept_answers == {"head": 1}
    assert engine.counters.requests[LIGHT].labels == {"ok": 1, "kept": 1} | {
        other: 0 for other in engine.counters.requests[LIGHT].labels if other not in ("ok", "kept")
    }
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
    for params in (b'[{"to":"0x1", "n":1.50},"0x64"]', b'[{"to":"0x1", "n":1.50},"pending"]'):
        await engine.ask("eth_call", params).answer()
        assert params in engine.sent[-1].payload
    assert len(engine.sent) == 2


@virtual
async def test_the_latest_block_is_the_served_one() -> None:
    engine = Engine()
    for params in (b'["0x1","latest"]', b'["0x2", "latest"]', b'["0x3"]'):
        await engine.ask("eth_getBalance", params).answer()
    await engine.ask("eth_getBlockTransactionCountByNumber", b'["latest"]').answer()
    assert [sent.params for sent in engine.sent] == [
        *(["0x1", "0x64"], ["0x2", "0x64"], ["0x3", "0x64"]),
        ["0x64"],
    ]


@pytest.mark.parametrize("mode", ["routed", "off"])
@virtual
async def test_where_nothing_is_pinned_tags_stay(mode: str) -> None:
    engine = Engine(consistency=mode)
    for _ in range(2):
        await engine.ask("eth_getBalance", b'["0x1", "latest"]').answer()
        await engine.ask().answer()
    assert [sent.params for sent in engine.sent] == [["0x1", "latest"], []] * 2
    assert engine.counters.kept_answers == {}


@virtual
async def test_a_block_is_asked_of_those_who_have_it() -> None:
    engine = Engine()
    for name in "bcd":
        engine.observe(name, Verdict.OK, head=Head(101), is_probe=True)
    for address in (b"0x1", b"0x2"):
        await engine.ask("eth_getBalance", b'["%b","0x65"]' % address).answer()
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
    assert engine.asked == "b"  # they ask the same
    for _ in range(2):
        await engine.ask("eth_getBalance", b'["0x1","earliest"]').answer()
        await engine.ask("eth_getBalance", b'["0x1","0x5"]').answer()
    assert engine.asked == "baa"
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
async def test_params_that_all_refuse_are_refused_by_one_the_next_time() -> None:
    engine = Engine()
    engine.all_behave(refusing(-32602, "missing value for argument 1"))
    for _ in range(3):
        reply = await engine.ask("eth_call").reply()
        assert reply["error"]["message"] == "missing value for argument 1"
    assert engine.asked == "abcd" + "aa"
    # A minute later they may have learned it.
    await engine.rest(61)
    await engine.ask("eth_call").answer()
    assert len(engine.sent) == 10
    engine.assert_idle()


# ---- blocks above the head


@virtual
async def test_a_block_just_above_the_head_is_waited_for_by_all_and_asked_for_once() -> None:
    engine = Engine()
    engine.all_behave(answering(b'{"number":"0x65"}'))
    handles = [engine.ask("eth_getBlockByNumber", b'["0x65",false]') for _ in range(20)]
    await asyncio.sleep(2)
    assert not engine.sent
    for name in "bcd":
        engine.observe(name, Verdict.OK, head=Head(101), is_probe=True)
    moved_at = now()
    for handle in handles:
        assert (await handle.reply())["result"] == {"number": "0x65"}
        assert handle.at - moved_at < 0.05
    assert engine.asked == "b"
    engine.assert_idle()


@pytest.mark.parametrize(
    ("number", "seconds"), [(101, 3.6), (102, 3.6), (103, 0.0), (1_000_000, 0.0)]
)
@virtual
async def test_a_block_that_does_not_come_is_null(number: int, seconds: float) -> None:
    engine = Engine()
    engine.all_behave(answering(b'{"number":"0x%x"}' % number))  # somebody invents it
    started = now()
    handle = engine.ask("eth_getBlockByNumber", b'["0x%x",false]' % number)
    assert (await handle.reply())["result"] is None
    assert handle.at - started == pytest.approx(seconds, abs=0.01)
    assert not engine.sent
    assert engine.counters.local_answers == 1


@virtual
async def test_on_a_fast_chain_it_is_waited_for_two_block_times() -> None:
    engine = Engine(block_time_seconds=0.25)
    started = now()
    handle = engine.ask("eth_getBlockByNumber", b'["0x6a",false]')  # a second above
    assert (await handle.reply())["result"] is None
    assert handle.at - started == pytest.approx(0.5, abs=0.01)


@virtual
async def test_state_above_the_head_is_what_an_upstream_says_of_it_and_never_a_value() -> None:
    engine = Engine()
    engine.all_behave(refusing(-32602, "block 0x500 is not there"))
    error = (await engine.ask("eth_getBalance", b'["0x1","0x500"]').reply())["error"]
    assert error["message"] == "block 0x500 is not there"
    engine.all_behave(answering())
    error = (await engine.ask("eth_getBalance", b'["0x2","0x500"]').reply())["error"]
    assert error == {"code": -32000, "message": "header not found"}  # it is of another block
    await engine.assert_soon_idle()


@virtual
async def test_before_the_first_head_nothing_is_above_it() -> None:
    engine = Engine(are_admitted=False)
    for name in engine.wires:
        engine.observe(name, Verdict.OK, is_probe=True, is_identity=True)
    assert (await engine.ask("eth_getBalance", b'["0x1","0x500"]').reply())["result"] == "0x1"


@virtual
async def test_who_waits_for_a_block_and_hangs_up_leaves_nothing() -> None:
    engine = Engine()
    handle = engine.ask("eth_getBlockByNumber", b'["0x65",false]')
    await asyncio.sleep(0.1)
    assert len(engine.pipeline.reads.patience._waiters) == 1
    handle.hang_up()
    await asyncio.sleep(0.1)
    assert not engine.pipeline.reads.patience._waiters
    engine.assert_idle()


# ---- reorgs, ranges, reloads


@virtual
async def test_a_question_that_a_reorg_changed_is_asked_as_it_is_now() -> None:
    engine = on_chain()
    to_head(engine, head_of(101))

    def by_block(sent: Any) -> None:
        sent.reply(b'"%b"' % sent.params[1].encode())

    engine.all_behave(after(0.05, by_block))
    single = engine.ask("eth_getBalance", b'["0x1","latest"]')
    whole = engine.handle(
        b"[%b,%b]" % tuple(request("eth_getBalance", b'["0x%d","latest"]' % n) for n in (2, 3))
    )
    await asyncio.sleep(0.01)
    to_head(engine, head_of(100, 1, 99))
    assert engine.standings.heads.served == 100
    assert (await single.reply())["result"] == "0x64"
    assert [reply["result"] for reply in decoded(await whole.answer())] == ["0x64"] * 2
    await engine.assert_soon_idle()


@virtual
async def test_a_range_that_is_too_wide_for_everybody_is_asked_in_parts() -> None:
    engine = Engine()

    def narrow(sent: Any) -> None:
        low, high = (int(sent.params[0][end], 16) for end in ("fromBlock", "toBlock"))
        if high - low >= 40:
            sent.refuse(-32005, "query returned more than 10000 results")
        else:
            sent.reply(b"[%d]" % low)

    engine.all_behave(after(0.01, narrow))
    params = b'[{"fromBlock":"0x1","toBlock":"latest"}]'
    handles = [engine.ask("eth_getLogs", params) for _ in range(2)]
    for handle in handles:
        logs = (await handle.reply())["result"]
        assert logs == sorted(logs)
        assert len(logs) > 1
    await engine.assert_soon_idle()


@virtual
async def test_a_reload_keeps_what_was_told_and_kept() -> None:
    old, new = Engine(), Engine()
    await old.ask("eth_getBalance", b'["0x1","0x64"]').answer()
    new.graph.learned.adopt(old.graph.learned, now())
    assert new.ask("eth_getBalance", b'["0x1","0x64"]').is_done


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
    await engine.rest(YOUNG_OUTAGE_SECONDS)
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
    await engine.rest(60)  # forgotten
    engine.all_behave(answering())
    assert (await engine.ask().reply())["result"] == "0x1"
    engine.assert_idle()


@virtual
async def test_the_told_block_is_given_in_an_outage() -> None:
    engine = Engine()
    engine.told.on_report(Head(100), now(), b'{"number":"0x64"}')
    assert engine.told.text() == b'"0x64"'
    engine.all_behave(failing())
    engine.eject(*engine.wires)
    await engine.rest(20)
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
    engine.pipeline.encoder.outage_status = 503
    assert (await engine.ask().answer()).status == 503
    engine.assert_idle()


@virtual
async def test_an_old_outage_is_answered_within_a_second() -> None:
    engine = Engine()
    engine.all_behave(failing())
    engine.eject(*engine.wires)
    await engine.rest(20)
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


@virtual
async def test_no_hedge_where_every_call_is_paid_for() -> None:
    engine = Engine(hedge="off")
    engine.behave(a=silent)
    for _ in range(2):
        handle = engine.ask_new()
        started = now()
        assert (await handle.reply())["result"] == "0x1"
        assert 1.4 < handle.at - started < 1.7
    assert engine.counters.hedges == {}
    engine.assert_idle()


# ---- searches that must not be split


# Erigon 2526 (count ignored), reth 11711 and 23338 (after): counts of the whole, not of each part.
@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (b'"after":2,"count":3', [3, 4, 5]),
        (b'"after":60', [*range(61, 101)]),
        (b'"after":200', []),
        (b'"count":2', [1, 2]),
    ],
)
@virtual
async def test_pages_of_traces_are_of_the_whole_range(counts: bytes, expected: list[int]) -> None:
    engine = Engine()

    def narrow(sent: Any) -> None:
        query = sent.params[0]
        low, high = (int(query[end], 16) for end in ("fromBlock", "toBlock"))
        if high - low >= 40:
            sent.refuse(-32005, "block range is too wide")
            return
        traces = [*range(low, high + 1)][query.get("after", 0) :]
        sent.reply(msgspec.json.encode(traces[: query.get("count", len(traces))]))

    engine.all_behave(after(0.01, narrow))
    handle = engine.ask("trace_filter", b'[{"fromBlock":"0x1","toBlock":"0x64",%b}]' % counts)
    assert (await handle.reply())["result"] == expected
    await engine.assert_soon_idle()


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("erigon_getLatestLogs", b'[{"fromBlock":"0x1","toBlock":"0x64"},{"logCount":2}]'),
        ("eth_getLogs", b'[{"fromBlock":"0x1","toBlock":"0x64","limit":2}]'),
        ("trace_filter", b'[{"fromBlock":"0x1","toBlock":"0x64","reverse":true}]'),
        ("alchemy_getAssetTransfers", b'[{"fromBlock":"0x1","toBlock":"0x64","maxCount":"0x2"}]'),
    ],
)
@virtual
async def test_what_counts_over_the_whole_is_refused_in_the_upstreams_words(
    method: str, params: bytes
) -> None:
    engine = Engine()
    engine.all_behave(refusing(-32005, "block range is too wide"))
    error = (await engine.ask(method, params).reply())["error"]
    assert error == {"code": -32005, "message": "block range is too wide"}
    assert len(engine.sent) <= 4
    await engine.assert_soon_idle()


# ---- blocks to come


@pytest.mark.parametrize(
    "method",
    [
        *("debug_traceBlockByNumber", "debug_executionWitness", "debug_accountRange"),
        *("debug_getRawBlock", "debug_getRawHeader", "debug_getRawReceipts", "trace_block"),
        *("trace_replayBlockTransactions", "ots_hasCode", "eth_getAccountInfo", "bor_getAuthor"),
        "debug_intermediateRoots",
    ],
)
@virtual
async def test_of_a_block_to_come_nodes_have_words_of_their_own(method: str) -> None:
    position = describe(method).block_param
    params = b'["0x1","0x64"]'.replace(b"0x1" if position == 0 else b"0x64", b"0xffff")
    for code, message in (
        (-32000, "header not found"),
        (-32000, "block #65535 not found"),
        (-32001, "words that no table knows"),
        (-32601, "the method does not exist"),
    ):
        engine = Engine()
        engine.all_behave(refusing(code, message))
        error = (await engine.ask(method, params).reply())["error"]
        assert (error["code"], error["message"]) == (code, message)
        assert len(engine.sent) <= 4
        assert all(standing.state == "up" for standing in engine.standings)
        await engine.assert_soon_idle()


@pytest.mark.parametrize(
    "method",
    [
        *("eth_getBlockByNumber", "eth_getHeaderByNumber", "eth_getBlockReceipts"),
        *("eth_getBlockTransactionCountByNumber", "eth_getUncleByBlockNumberAndIndex"),
        "eth_getTransactionByBlockNumberAndIndex",
    ],
)
@virtual
async def test_where_nodes_give_null_a_block_to_come_is_null(method: str) -> None:
    engine = Engine()
    assert (await engine.ask(method, b'["0xffff","0x0"]').reply())["result"] is None
    assert not engine.sent


@virtual
async def test_a_null_of_the_nodes_own_is_given() -> None:
    """Reth's trace_block of a block to come."""
    engine = Engine()
    engine.all_behave(answering(b"null"))
    assert (await engine.ask("trace_block", b'["0xffff"]').reply())["result"] is None
    await engine.assert_soon_idle()
