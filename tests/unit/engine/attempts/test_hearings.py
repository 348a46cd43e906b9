"""Errors of upstreams, from a client's request to what is learned of whom: scripted upstreams a, b,
c, d on a virtual clock.

The inputs are those of public reports; each is named beside its test.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rpcproxy.messages import Verdict
from rpcproxy.words import Proof
from tests.kits.engine_kit import (
    LIGHT,
    ONE,
    Behaviour,
    Engine,
    after,
    answering,
    failing,
    now,
    on_chain,
    refusing,
    silent,
    virtual,
)
from tests.kits.fleet import upstream


def calling(data: str, more: bytes = b"") -> bytes:
    return b'[{"to":"0x%040x","data":"%b"},"latest"%b]' % (7, data.encode(), more)


def ejected(engine: Engine) -> list[str]:
    return [said for said in engine.changes if "ejected" in said or "quarantined" in said]


async def error_of(engine: Engine, method: str, params: bytes) -> dict[str, Any]:
    reply = await engine.ask(method, params).reply()
    error: dict[str, Any] = reply["error"]
    return error


def saying(status: int, body: bytes, seconds: float = 0.01) -> Behaviour:
    return after(seconds, lambda sent: sent.say(body, status))


# ---- errors that no table knows

# Words that a table may not know, under numbers that mean nothing. rpc-plane 18 and nimbus-eth1
# 4687 are of this kind; that one bad request opens every breaker is also status-go 5457 (getLogs)
# and opencode-go-multi-auth 6.
ODD_WORDS = [
    ("eth_estimateGas", -32000, "nobody has ever heard of 0x5b and 17"),
    ("debug_traceCall", -32000, "ReferenceError: x is not defined at step (<eval>:1:9)"),  # geth
    ("eth_feeHistory", -32000, "invalid reward percentile: 101.000000"),  # geth
    ("eth_call", -32000, "both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified"),
    ("eth_call", 12, "requested epoch was a null round (3847253)"),  # Lotus 12633, Forest 7276
    ("eth_call", -32099, "USR: actor 0x17 is in no registry"),
]


@pytest.mark.parametrize(("method", "code", "message"), ODD_WORDS)
@virtual
async def test_what_all_say_is_the_answer_and_nobody_is_blamed(
    method: str, code: int, message: str
) -> None:
    engine = Engine()
    engine.all_behave(refusing(code, message))
    started = now()
    for index in range(10):
        error = await error_of(engine, method, calling(f"0x{index:08x}"))
        assert (error["code"], error["message"]) == (code, message)
    assert now() - started < 1.0
    assert engine.changes == []
    assert all(record.breaker.share == 0.0 for s in engine.standings for record in s.classes)
    engine.assert_idle()


@virtual
async def test_what_all_said_lately_is_asked_of_two() -> None:
    engine = Engine()
    for index in range(10):
        engine.all_behave(refusing(-32000, f"nobody has ever heard of {index}"))
        error = await error_of(engine, "eth_call", calling(f"0x{index:08x}"))
        assert error["message"] == f"nobody has ever heard of {index}"
    assert len(engine.sent) == 4 + 9 * 2
    assert engine.changes == []
    engine.assert_idle()


@virtual
async def test_each_in_words_of_its_own_is_the_answer_as_well() -> None:
    engine = Engine()
    for name, message in zip("abcd", ("bad opcode 0xfe", "vm: halt", "evm 3", "oops"), strict=True):
        engine.behave(**{name: refusing(-32000, message)})
    for index in range(10):
        error = await error_of(engine, "eth_call", calling(f"0x{index:08x}"))
        assert error["message"] == "bad opcode 0xfe"
    assert engine.changes == []
    engine.assert_idle()


@virtual
async def test_one_that_takes_it_is_heard_and_who_refused_is_asked_less() -> None:
    engine = Engine()
    for name in "abc":
        engine.behave(**{name: refusing(-32000, "halo2 verifier missing")})
    for index in range(20):
        reply = await engine.ask("eth_call", calling(f"0x{index:08x}", b",{}")).reply()
        assert reply["result"] == "0x1"
    # Two refusals each of this shape; all else is asked of them as before.
    assert [len(engine.wires[name].sent) for name in "abcd"] == [2, 2, 2, 20]
    assert ejected(engine) == []
    engine.behave(a=answering(b'"0x2"'))
    assert (await engine.ask("eth_gasPrice").reply())["result"] == "0x2"
    engine.assert_idle()


@virtual
async def test_a_known_error_is_asked_of_one_that_was_never_heard_to_say_it() -> None:
    engine = Engine()
    engine.eject("d")
    engine.all_behave(refusing(-32000, "halo2 verifier missing"))
    await error_of(engine, "eth_call", calling("0x00000001"))
    assert engine.asked == "abc"
    await asyncio.sleep(1.5)
    engine.recover("d")
    assert "d recovered" in engine.changes
    engine.behave(d=answering())
    assert (await engine.ask("eth_call", calling("0x00000002")).reply())["result"] == "0x1"
    engine.behave(d=refusing(-32000, "halo2 verifier missing"))
    count = len(engine.sent)
    await error_of(engine, "eth_call", calling("0x00000003"))  # what was known was wrong
    assert len(engine.sent) == count + 4
    engine.assert_idle()


@virtual
async def test_the_only_upstream_has_the_last_word_at_once() -> None:
    engine = Engine([upstream("a")])
    engine.behave(a=refusing(-32000, "who knows"))
    started = now()
    for index in range(10):
        assert (await error_of(engine, "eth_call", calling(f"0x{index:08x}")))["code"] == -32000
    assert now() - started < 0.2
    assert engine.asked == "a" * 10
    assert engine.changes == []


@virtual
async def test_an_upstream_that_fails_at_everything_is_ejected_soon() -> None:
    engine = Engine()
    engine.behave(a=refusing(-32603, "Internal error"))
    for _ in range(10):
        assert (await engine.ask_new().reply())["result"] == "0x1"
    assert len(engine.wires["a"].sent) == 2  # others are preferred from then on
    for handle in [engine.ask_new() for _ in range(8)]:
        assert (await handle.reply())["result"] == "0x1"
    engine = Engine()
    engine.behave(a=refusing(-32603, "Internal error"))
    for handle in [engine.ask_new() for _ in range(8)]:
        assert (await handle.reply())["result"] == "0x1"
    assert ejected(engine) == ["a ejected"]
    engine.assert_idle()


@virtual
async def test_an_upstream_that_fails_at_everything_in_words_of_its_own_is_hardly_asked() -> None:
    engine = Engine()
    engine.behave(a=refusing(-32000, "database is locked"))
    methods = ("eth_gasPrice", "eth_maxPriorityFeePerGas", "eth_blobBaseFee", "eth_mining")
    for index in range(20):
        assert "result" in await engine.ask(methods[index % 4], b"[%d]" % index).reply()
    assert len(engine.wires["a"].sent) <= 6
    assert engine.standings["a"].light.breaker.balance > 1
    engine.assert_idle()


@virtual
async def test_internal_errors_of_all_are_the_answer_soon_and_eject_nobody() -> None:
    engine = Engine()
    engine.all_behave(refusing(-32603, "Internal error"))
    started = now()
    for index in range(10):
        assert (await error_of(engine, "eth_call", calling(f"0x{index:08x}")))["code"] == -32603
    assert now() - started < 2.0
    assert ejected(engine) == []
    engine.assert_idle()


@virtual
async def test_a_late_refusal_is_judged_by_how_its_request_ended() -> None:
    engine = Engine()
    engine.behave(a=refusing(-32603, "Internal error", seconds=0.4))
    assert (await engine.ask_new().reply())["result"] == "0x1"
    assert engine.standings["a"].classes[LIGHT].breaker.balance == 0
    await asyncio.sleep(0.5)
    assert engine.standings["a"].classes[LIGHT].breaker.balance == 1
    await engine.assert_soon_idle()


@virtual
async def test_what_is_no_word_counts_at_once() -> None:
    engine = Engine()
    engine.all_behave(saying(200, b"<html>nginx</html>"))
    for _ in range(3):
        await engine.ask_new().answer()
    assert "a ejected" in engine.changes
    engine.behave(b=silent, c=failing())


@virtual
async def test_members_of_a_batch_are_heard_one_by_one() -> None:
    engine = Engine()
    engine.all_behave(refusing(-32000, "who knows"))
    for index in range(10):
        body = b",".join(
            b'{"jsonrpc":"2.0","id":%d,"method":"eth_call","params":%b}'
            % (n, calling(f"0x{index:02x}{n:02x}"))
            for n in range(3)
        )
        answer = await engine.handle(b"[%b]" % body).answer()
        assert answer.body.count(b"who knows") == 3
    assert engine.changes == []
    await engine.assert_soon_idle()


# ---- keys, plans, archives, firewalls (antseed 842: "Archive requests require a personal token";
# rotki 12794: well by cheap methods, and none of the others are served; Cloudflare's pages)

OLD = b'["0x%040x","0x1"]' % 7
WORDS_OF_403 = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32052,"message":"not for you"}}'


def far_ahead() -> Engine:
    engine = Engine(are_admitted=False)
    for name in engine.wires:
        engine.admit(name, 1_000_000)
    engine.changes.clear()
    return engine


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, WORDS_OF_403),
        (401, b"Unauthorized"),
        (402, b'{"error":"Payment Required"}'),
        (402, b"Archive data needs a paid plan"),
        (403, b"<html>Attention Required! | Cloudflare</html>"),
    ],
)
@virtual
async def test_a_refused_old_block_is_had_from_another_and_known_as_shallow(
    status: int, body: bytes
) -> None:
    engine = far_ahead()
    probed: list[str] = []
    engine.executor.hearings.on_key_doubt = probed.append
    for name in "abc":
        engine.behave(**{name: saying(status, body)})
    for index in range(5):
        reply = await engine.ask("eth_getBalance", b'["0x%040x","0x1"]' % index).reply()
        assert reply["result"] == "0x1"
    assert engine.asked == "abcd" + "dddd"
    assert probed == ["a", "b", "c"]
    assert ejected(engine) == []
    engine.all_behave(answering())
    assert (await engine.ask("eth_gasPrice").reply())["result"] == "0x1"
    assert engine.asked.endswith("a")
    engine.assert_idle()


@virtual
async def test_what_all_refuse_by_status_is_refused_at_once_in_their_words() -> None:
    engine = far_ahead()
    engine.all_behave(saying(403, WORDS_OF_403))
    started = now()
    error = await error_of(engine, "eth_getBalance", OLD)
    assert error == {"code": -32052, "message": "not for you"}
    engine.all_behave(saying(403, b"Forbidden by plan"))
    error = await error_of(engine, "eth_getBalance", OLD)
    assert "HTTP 403: forbidden by plan" in error["message"]
    assert now() - started < 0.2
    assert ejected(engine) == []
    assert len(engine.sent) == 8
    engine.assert_idle()


@virtual
async def test_three_that_refuse_and_one_that_hangs_end_soon() -> None:
    engine = far_ahead()
    engine.all_behave(saying(403, WORDS_OF_403))
    engine.behave(d=silent)
    started = now()
    assert (await error_of(engine, "eth_getBalance", OLD))["code"] == -32052
    assert now() - started < 2.0
    engine.all_behave(answering())
    assert (await engine.ask("eth_gasPrice").reply())["result"] == "0x1"
    assert ejected(engine) == []
    await engine.assert_soon_idle()


# What one hangs at while the others refuse it, and while it answers all else.
HUNG_AT = [
    (-32000, "nobody has ever heard of it"),
    (-32602, "invalid argument 0"),
    (-32601, "the method eth_estimateGas does not exist/is not available"),
    (-32005, "limit exceeded"),
    (403, "forbidden"),
]


@pytest.mark.parametrize("names", ["b", "bc", "bcd"])
@pytest.mark.parametrize(("code", "message"), HUNG_AT)
@virtual
async def test_who_hangs_at_what_the_others_refuse_is_waited_for_once_a_minute(
    code: int, message: str, names: str
) -> None:
    engine = Engine([upstream(name) for name in f"a{names}"])
    engine.all_behave(refusing(code, message))
    engine.behave(a=silent)

    def probe(name: str) -> bool:
        asyncio.get_running_loop().call_later(
            0.02, lambda: engine.observe(name, Verdict.OK, is_probe=True)
        )
        return True

    engine.executor.doubts.ask = probe
    seconds = []
    for index in range(8):
        started = now()
        error = await error_of(engine, "eth_estimateGas", calling(f"0x{index:08x}"))
        seconds.append(now() - started)
    assert (error["code"], error["message"]) == (code, message)
    assert seconds[0] <= 4.6  # it may just be slow
    assert max(seconds[1:]) < 0.5
    assert ejected(engine) == []
    await engine.rest(61)
    engine.behave(a=after(2.0, lambda sent: sent.reply()))
    assert (await engine.ask("eth_estimateGas", calling("0x11111111")).reply())["result"] == "0x1"


@virtual
async def test_one_that_is_out_of_favour_is_asked_before_a_refusal_is_given() -> None:
    engine = far_ahead()
    engine.eject("d")
    engine.changes.clear()
    for name in "abc":
        engine.behave(**{name: saying(403, WORDS_OF_403)})
    assert (await engine.ask("eth_getBalance", OLD).reply())["result"] == "0x1"
    assert engine.asked == "abcd"


@virtual
async def test_a_payload_that_a_firewall_dislikes_says_nothing_of_others() -> None:
    engine = Engine()
    engine.behave(a=saying(403, b"<html>blocked</html>"))
    for index in range(10):
        assert "result" in await engine.ask("eth_call", calling(f"0x{index:08x}")).reply()
        engine.behave(a=answering())
        assert "result" in await engine.ask("eth_call", calling(f"0x1{index:07x}")).reply()
        engine.behave(a=saying(403, b"<html>blocked</html>"))
    assert len(engine.wires["a"].sent) == 20
    assert engine.changes == []


@virtual
async def test_a_probe_that_is_refused_settles_it() -> None:
    engine = Engine()
    engine.behave(a=saying(401, b"Unauthorized"))
    engine.executor.hearings.on_key_doubt = lambda name: engine.observe(
        name, Verdict.KEY_REFUSED, is_probe=True
    )
    for _ in range(3):
        assert (await engine.ask_new().reply())["result"] == "0x1"
    assert engine.changes == ["a quarantined"]
    assert len(engine.wires["a"].sent) == 1
    assert not engine.standings["a"].exclusions.listens


@virtual
async def test_a_key_is_refused_where_one_request_after_the_other_is() -> None:
    engine = Engine([upstream("a"), upstream("b")])
    engine.behave(a=saying(401, b"Unauthorized"), b=answering(seconds=0.1))
    methods = ("eth_gasPrice", "eth_mining", "eth_hashrate", "eth_coinbase")
    for index in range(12):
        await engine.ask(methods[index % 4], b"[%d]" % index).answer()
        await asyncio.sleep(0.5)
    assert engine.changes == ["a quarantined"]


# ---- limits that only a number speaks of (bsc 1215, bnb-chain/docs-site 621, hiero-relay 2091)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (-32005, "limit exceeded"),  # BSC: eth_getLogs is switched off
        (-32016, "over the gas cap"),  # proxyd's number
        (15, "wrong json-rpc request"),  # Ankr's
        (30, "batch is not for this method"),  # dRPC's
        (-32007, "limit of this plan"),
    ],
)
@virtual
async def test_a_method_that_all_have_switched_off_by_a_limits_number(
    code: int, message: str
) -> None:
    engine = Engine()
    engine.all_behave(refusing(code, message))
    started = now()
    for index in range(14):
        asked = b'[{"address":"0x%040x","fromBlock":"0x1","toBlock":"0x2"}]' % index
        error = await error_of(engine, "eth_getLogs", asked)
        assert (error["code"], error["message"]) == (code, message)
    assert now() - started < 1.0
    assert len(engine.sent) == 4 + 13 * 2
    assert engine.changes == []
    engine.all_behave(answering())
    assert (await engine.ask("eth_gasPrice").reply())["result"] == "0x1"


@virtual
async def test_a_method_that_some_have_switched_off_is_asked_of_the_others() -> None:
    engine = Engine()
    engine.behave(a=refusing(-32005, "limit exceeded"), b=refusing(-32005, "limit exceeded"))
    for index in range(10):
        assert (await engine.ask("eth_call", calling(f"0x{index:08x}")).reply())["result"] == "0x1"
    assert [len(engine.wires[name].sent) for name in "ab"] == [2, 2]
    assert engine.changes == []


@virtual
async def test_a_real_limit_of_all_is_waited_out_and_costs_three_calls_at_most() -> None:
    engine = Engine()
    engine.all_behave(saying(429, b"Too Many Requests"))
    started = now()
    handle = engine.ask_new()
    await asyncio.sleep(0.5)
    engine.all_behave(answering())
    assert (await handle.reply())["result"] == "0x1"
    assert now() - started < 1.6
    engine.all_behave(saying(429, b"Too Many Requests"))
    count = len(engine.sent)
    await engine.ask_new().answer()
    assert len(engine.sent) - count <= 12


@pytest.mark.parametrize(
    "behaviour",
    [
        saying(429, b"Too Many Requests"),
        saying(502, b"<html>"),
        refusing(-32603, "Internal error"),
        refusing(-32000, "missing trie node"),
        refusing(-32005, "block range is too wide"),
        refusing(-32005, "limit exceeded"),
        silent,
    ],
)
@pytest.mark.parametrize("method", ["eth_call", "eth_getLogs", "eth_getBlockByNumber"])
@virtual
async def test_no_upstream_gets_more_than_three_calls_for_one_request(
    method: str, behaviour: Behaviour
) -> None:
    engine = Engine()
    engine.all_behave(behaviour)
    asked = {
        "eth_call": calling("0x00000001"),
        "eth_getLogs": b'[{"fromBlock":"0x63","toBlock":"0x63"}]',
        "eth_getBlockByNumber": b'["0x63",false]',
    }
    await engine.ask(method, asked[method]).answer()
    assert max(len(wire.sent) for wire in engine.wires.values()) <= 3
    await engine.assert_soon_idle()


# ---- shapes of params (hyperlane 9365, hardhat 2513, lotus 13160, hiero-relay 4417)

SHAPES = [
    ("eth_call", b'[{"to":"0x%040x"},"latest",{"0x%040x":{"code":"0x"}}]' % (1, 2)),
    ("eth_call", b'[{"to":"0x%040x"},"latest",{},{"number":"0x10"}]' % 1),
    ("eth_getBalance", b'["0x%040x",{"blockHash":"0x%064x"}]' % (1, 2)),
    ("debug_traceCall", b'[{},"latest",{"tracer":"callTracer"}]'),
    ("eth_feeHistory", b'["0x5","latest",[10,50.5]]'),
    ("eth_getBlockByNumber", b'["safe",false]'),
    ("eth_getLogs", b'[{"address":["0x%040x","0x%040x"]}]' % (1, 2)),
]
RESULTS = {
    "eth_feeHistory": b"{}",
    "eth_getBlockByNumber": b'{"number":"0x50"}',
    "eth_getLogs": b"[]",
}


@pytest.mark.parametrize("code", [-32602, -32600])
@pytest.mark.parametrize(("method", "params"), SHAPES)
@virtual
async def test_those_that_have_not_refused_are_asked_and_the_shape_is_remembered(
    method: str, params: bytes, code: int
) -> None:
    engine = Engine()
    result = RESULTS.get(method, ONE)
    engine.all_behave(answering(result, 0.05))
    engine.behave(a=refusing(code, "invalid params"), b=refusing(code, "invalid params"))
    for _ in range(6):
        assert "result" in await engine.ask(method, params).reply()
        engine.pipeline.sharing.cache.evict_above(-1)
        engine.pipeline.sharing.lately.clear()
    assert [len(engine.wires[name].sent) for name in "ab"] == [2, 2]
    assert engine.changes == []
    await engine.rest(301)  # versions change
    engine.all_behave(answering(result))
    await engine.ask(method, params).answer()
    assert len(engine.wires["a"].sent) == 3


@pytest.mark.parametrize("message", ["no such method", "eth_call with overrides does not exist"])
@virtual
async def test_no_such_method_said_of_overrides_does_not_take_calls_from_it(message: str) -> None:
    engine = Engine()
    engine.behave(a=refusing(-32601, message))
    for index in range(3):
        asked = calling(f"0x{index:08x}", b',{"0x%040x":{"balance":"0x1"}}' % 7)
        assert "result" in await engine.ask("eth_call", asked).reply()
    assert len(engine.wires["a"].sent) == 2
    engine.behave(a=answering())
    for index in range(10):
        assert "result" in await engine.ask("eth_call", calling(f"0x1{index:07x}")).reply()
    assert len(engine.wires["a"].sent) == 12
    assert engine.changes == []


# Of an upstream whose heads come and whose data does not: there is no depth to learn from it.
GONE = [
    (-32000, "missing trie node 0a6f (path ) state 0x17 is not available", 10.0),  # geth
    (-32001, "resource not found", 10.0),
    (-32000, "query returned more than 10000 results", 30.0),
    (-32000, "request entity too large", 300.0),
]


@pytest.mark.parametrize(("code", "message", "seconds"), GONE)
@virtual
async def test_who_lacks_what_is_near_the_head_is_asked_last_for_a_moment(
    code: int, message: str, seconds: float
) -> None:
    engine = on_chain(100)
    engine.all_behave(answering(seconds=0.1))
    engine.behave(a=refusing(code, message))
    for index in range(10):
        assert "result" in await engine.ask("eth_call", calling(f"0x{index:08x}")).reply()
    assert len(engine.wires["a"].sent) == 2
    assert engine.changes == []
    await engine.rest(seconds)
    engine.behave(a=answering(b'"0x2"'))
    assert (await engine.ask("eth_call", calling("0x11111111")).reply())["result"] == "0x2"


@virtual
async def test_machines_of_which_some_are_a_moment_behind_are_asked_as_before() -> None:
    engine = on_chain(100)
    for index in range(10):
        engine.behave(a=refusing(-32000, "header not found") if index % 2 else answering())
        assert "result" in await engine.ask("eth_call", calling(f"0x{index:08x}")).reply()
    assert len(engine.wires["a"].sent) == 10


@virtual
async def test_a_shape_that_is_taken_in_between_is_not_left_out() -> None:
    engine = Engine()
    for index in range(6):
        engine.behave(a=refusing(-32602, "gas above the cap"))
        assert "result" in await engine.ask("eth_call", calling(f"0x{index:08x}")).reply()
        engine.behave(a=answering())
        assert "result" in await engine.ask("eth_call", calling(f"0x1{index:07x}")).reply()
    assert len(engine.wires["a"].sent) == 12


# ---- what one client's mistake must not teach


@virtual
async def test_a_mistake_does_not_turn_off_asking_by_hash() -> None:
    engine = on_chain(100)
    for name in engine.wires:
        engine.executor.observe(Proof(name, takes_hashes=True), now())
    engine.all_behave(refusing(-32602, "invalid argument 0"))
    for _ in range(3):
        assert (await error_of(engine, "eth_call", b'[{"to":"nobody"},"latest"]'))["code"] == -32602
    assert all(standing.takes_hashes for standing in engine.standings)

    def picky(sent: Any) -> None:
        if "blockHash" in str(sent.params):
            sent.refuse(-32602, "invalid argument 1")
        else:
            sent.reply()

    engine.behave(a=after(0.01, picky), b=answering())
    assert (await engine.ask("eth_call", b'[{"to":"nobody"},"latest"]').reply())["result"] == "0x1"
    assert not engine.standings["a"].takes_hashes
    assert engine.standings["b"].takes_hashes


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (-32000, "pending logs are not supported"),
        (-32601, "the method eth_getLogs does not exist/is not available"),
        (-32000, "request body too large"),
        (-32000, "block range is too wide, limited to 2"),
        (-32000, "missing trie node"),
    ],
)
@virtual
async def test_what_all_refuse_is_learned_of_nobody(code: int, message: str) -> None:
    engine = far_ahead()
    engine.all_behave(refusing(code, message))
    for _ in range(3):
        await error_of(engine, "eth_getLogs", b'[{"fromBlock":"0x1","toBlock":"0x3"}]')
    engine.all_behave(answering(b"[]"))
    count = len(engine.sent)
    for low in range(3, 13):
        asked = b'[{"fromBlock":"0x%x","toBlock":"0x%x"}]' % (low, low + 5)
        assert "result" in await engine.ask("eth_getLogs", asked).reply()
    assert engine.asked[count:] == "a" * 10
    assert engine.changes == []


@virtual
async def test_a_tag_that_one_refuses_does_not_take_the_method_from_it() -> None:
    engine = Engine()
    refused = refusing(-32000, "pending logs are not supported")
    engine.all_behave(answering(b"[]"))
    for _ in range(3):
        engine.behave(a=refused)
        await engine.ask("eth_getLogs", b'[{"fromBlock":"pending"}]').answer()
    engine.behave(a=answering(b"[]"))
    count = len(engine.wires["a"].sent)
    for low in range(3, 13):
        await engine.ask("eth_getLogs", b'[{"fromBlock":"0x%x","toBlock":"0x63"}]' % low).answer()
    assert len(engine.wires["a"].sent) == count + 10
    assert engine.changes == []


# ---- heights that have no block (forest 7276, lotus 10909 and 12633, blockscout 8803)


@pytest.mark.parametrize(
    "behaviour",
    [
        answering(b"null"),
        refusing(-32000, "block #95 not found"),  # Erigon
        refusing(-32000, "header not found"),  # geth
        refusing(-32001, "Unknown block number"),  # Nethermind
        refusing(12, "requested epoch was a null round (95)"),  # Lotus, Forest
    ],
)
@pytest.mark.parametrize("method", ["eth_getBlockByNumber", "eth_getBlockReceipts"])
@virtual
async def test_a_height_without_a_block_is_said_at_once_and_ejects_nobody(
    method: str, behaviour: Behaviour
) -> None:
    engine = Engine()
    engine.all_behave(behaviour)
    started = now()
    for _ in range(8):
        reply = await engine.ask(method, b'["0x5f"]').reply()
        assert reply.get("result", "") is None or "error" in reply
    assert now() - started < 1.0
    assert engine.changes == []
    engine.assert_idle()


# ---- rate limits of one method


@virtual
async def test_a_rate_limit_of_one_method_is_not_taken_for_that_of_all() -> None:
    engine = Engine()
    limited = saying(429, b"Too Many Requests")

    async def ask_logs(low: int) -> None:
        asked = b'[{"fromBlock":"0x%x","toBlock":"0x63"}]' % low
        engine.behave(a=limited, b=answering(b"[]"), c=answering(b"[]"), d=answering(b"[]"))
        assert "result" in await engine.ask("eth_getLogs", asked).reply()
        engine.all_behave(answering())

    await ask_logs(1)
    assert engine.changes == ["a cooling"]  # who knows
    await engine.rest(20)
    engine.changes.clear()
    await engine.ask_new().answer()
    await ask_logs(2)
    assert engine.changes == []
    count = len(engine.wires["a"].sent)
    await ask_logs(3)
    assert len(engine.wires["a"].sent) == count
    await engine.ask_new().answer()
    assert len(engine.wires["a"].sent) == count + 1
    await engine.rest(61)
    await ask_logs(4)
    assert len(engine.wires["a"].sent) == count + 2


@virtual
async def test_a_batch_that_is_refused_as_one_says_nothing_of_the_shapes_in_it() -> None:
    engine = Engine()

    async def ask_batch(number: int) -> None:
        body = b",".join(
            b'{"jsonrpc":"2.0","id":%d,"method":"eth_call","params":%b}'
            % (n, calling(f"0x{number:04x}{n:04x}"))
            for n in range(3)
        )
        answer = await engine.handle(b"[%b]" % body).answer()
        assert answer.body.count(b'"0x1"') == 3

    for number in range(3):
        engine.behave(a=saying(403, b"<html>blocked</html>"))
        await ask_batch(number)
    engine.behave(a=answering())
    await engine.ask("eth_call", calling("0x00990001")).answer()
    assert engine.asked[-1] == "a"
    assert engine.changes == []
