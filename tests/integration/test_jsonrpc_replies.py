"""JSON-RPC towards upstreams, end to end: whatever one of them answers, the client gets a right
answer, and each is asked as often as it takes and no more.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from rpcproxy.config.model import Deadlines, ErrorPhrase
from tests.integration.rpc_kit import (
    Call,
    Post,
    Script,
    Sent,
    Upstream,
    Wallet,
    a_proxy,
    always,
    array,
    each,
    ok,
    on_uvloop,
    request,
    wrong,
)

pytestmark = pytest.mark.timeout(20)

GOOD = b'"0x900d"'
ANSWER = b'{"jsonrpc":"2.0","id":1,"result":%b}' % GOOD
ASK = request("eth_getBalance", b'["0x1","latest"]')
HASH = b'["0x%064x"]' % 5


def good(call: Call) -> bytes:
    return ok(call, GOOD)


@contextlib.asynccontextmanager
async def fleet(*scripts: Script, **given: object) -> AsyncIterator[tuple[Wallet, list[Upstream]]]:
    """Upstreams a, b, c, d, asked in this order; without a script they are well."""
    async with contextlib.AsyncExitStack() as stack:
        scripts = (*scripts, *[each(good)] * (2 - len(scripts)))
        upstreams = [
            await stack.enter_async_context(Upstream(script, name))
            for script, name in zip(scripts, "abcd", strict=False)
        ]
        yield await stack.enter_async_context(a_proxy(*upstreams, **given)), upstreams


def counts(upstreams: list[Upstream]) -> list[int]:
    return [len(upstream.calls) for upstream in upstreams]


def first_and_all(upstreams: list[Upstream]) -> tuple[int, int]:
    """Calls at the first, and at all together: which is asked second depends on their speed."""
    return len(upstreams[0].calls), sum(counts(upstreams))


def member(call: Call, *members: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,%b}' % (bytes(call.id), b",".join(members))


# ---- one reply


PASSED_ON = {
    "error null beside a result": lambda c: member(c, b'"result":%b,"error":null' % GOOD),
    "error null before a result": lambda c: member(c, b'"error": null ,"result":%b' % GOOD),
    "members of its own": lambda c: member(c, b'"usage":{"result":1},"result":%b,"x":[1]' % GOOD),
    "no version": lambda c: b'{"id":%b,"result":%b}' % (bytes(c.id), GOOD),
    "the id last": lambda c: b'{"result":%b,"id":%b}' % (GOOD, bytes(c.id)),
    "the id as a string": lambda c: b'{"id":"%b","result":%b}' % (bytes(c.id), GOOD),
    "the id as a fraction": lambda c: b'{"id":%b.0,"result":%b}' % (bytes(c.id), GOOD),
    "spaces": lambda c: b'\r\n { "id" : %b ,\t"result" :\n%b } \n' % (bytes(c.id), GOOD),
}


@on_uvloop
async def test_every_way_to_write_a_result_is_read() -> None:
    async with fleet() as (wallet, (a, b)):
        for name, answer in PASSED_ON.items():
            a.script = each(answer)
            assert await wallet.ask(ASK) == ANSWER, name
            pair = await wallet.ask(array([ASK, ASK]))
            assert pair == array([ANSWER, ANSWER]), name
        assert b.calls == []


@on_uvloop
async def test_a_result_is_passed_on_as_it_was_written() -> None:
    texts = (
        b'{ "b" : 1.50 , "a":1e3,\n"a":123456789012345678901234567890 }',
        b'["\\u0041\\/", "\xc3\xa9", 0.10, -0, true , null]',
        b"false",
        b'""',
        b'{"error":null,"id":1,"result":null}',
    )
    async with fleet() as (wallet, (a, b)):
        for text in texts:
            a.script = each(lambda call, text=text: ok(call, text))
            expected = b'{"jsonrpc":"2.0","id":"x","result":%b}' % text
            ask = request("debug_traceTransaction", HASH, b'"x"')
            assert await wallet.ask(ask) == expected
            assert await wallet.ask(array([ask, ask])) == array([expected, expected])
        assert b.calls == []


FAULTS = {
    "both": lambda c: member(c, b'"result":"0xbad","error":{"code":-32000,"message":"boom"}'),
    "neither": lambda c: member(c, b'"jsonrpc":"2.0"'),
    "another id": lambda c: b'{"jsonrpc":"2.0","id":%b0,"result":"0xbad"}' % bytes(c.id),
    "a text for an id": lambda _: b'{"jsonrpc":"2.0","id":"abc","result":"0xbad"}',
    "a null id": lambda _: b'{"jsonrpc":"2.0","id":null,"result":"0xbad"}',
    "no id": lambda _: b'{"jsonrpc":"2.0","result":"0xbad"}',
    "a null id and an error": lambda _: b'{"id":null,"error":{"code":-32603,"message":"oh"}}',
    "null for a balance": lambda c: ok(c, b"null"),
    "nonsense for a balance": lambda c: ok(c, b'{"balance":"0x1"}'),
    "truncated": lambda c: ok(c, GOOD)[:-3],
    "trailing": lambda c: ok(c, GOOD) + b"}",
    "text": lambda _: b"OK",
    "a page": lambda _: b"<!DOCTYPE html><title>Attention Required! | Cloudflare</title>",
    "nothing": lambda _: b"",
    "an empty array": lambda _: b"[]",
    "an error that is a text": lambda c: member(c, b'"error":"internal failure"'),
    "its own trouble": lambda c: wrong(c, -32603, "Internal error"),
    "a timeout of its own": lambda c: wrong(c, -32002, "request timed out"),
    "a code nobody knows": lambda c: wrong(c, -77777, "flux capacitor empty"),
}


@pytest.mark.parametrize("name", FAULTS)
@on_uvloop
async def test_a_bad_reply_is_asked_again_elsewhere_once(name: str) -> None:
    async with fleet(each(FAULTS[name])) as (wallet, upstreams):
        assert await wallet.ask(ASK) == ANSWER
        assert counts(upstreams) == [1, 1]
        upstreams[0].script = each(good)
        assert await wallet.ask(ASK) == ANSWER


STATUSES = (301, 302, 400, 401, 402, 403, 404, 405, 408, 413, 415, 429, 500, 502, 503, 504, 530)


@pytest.mark.parametrize("status", STATUSES)
@on_uvloop
async def test_a_bad_status_is_asked_again_elsewhere_once(status: int) -> None:
    async with fleet(always(Sent(b"<html>no</html>", status))) as (wallet, upstreams):
        assert await wallet.ask(ASK) == ANSWER
        # A server that closes an idle connection may say 408: it is tried on a fresh one first.
        assert counts(upstreams) == [2 if status == 408 else 1, 1]
        batch = array([request("eth_gasPrice"), ASK])
        assert await wallet.ask(batch) == array([ANSWER, ANSWER])


@pytest.mark.parametrize("end", ["reset", "close"])
@pytest.mark.parametrize("cut_at", [0, 10])
@on_uvloop
async def test_a_broken_connection_is_asked_again_elsewhere(end: str, cut_at: int) -> None:
    def script(post: Post) -> Sent:
        return Sent(good(post.calls[0]), cut_at=cut_at, end=end)

    async with fleet(script) as (wallet, (a, b)):
        assert await wallet.ask(ASK) == ANSWER
        assert len(b.calls) == 1
        # A keep-alive connection closed before any byte is tried once more on a fresh one.
        assert 1 <= len(a.calls) <= 2
        assert await wallet.ask(array([ASK, ASK])) == array([ANSWER, ANSWER])


# ---- errors that are answers


def error_reply(code: int, message: str, data: str = "") -> bytes:
    told = b',"data":"%b"' % data.encode() if data else b""
    error = b'{"code":%d,"message":"%b"%b}' % (code, message.encode(), told)
    return b'{"jsonrpc":"2.0","id":1,"error":%b}' % error


REVERTS = (
    (3, "execution reverted: user error", "0x08c379a0"),
    (3, "execution reverted: rate limit exceeded, too many requests", "0x"),
    (-32000, "execution reverted", ""),
    (-32603, "VM Exception while processing transaction: reverted with reason string 'x'", ""),
    (-32603, "Transaction reverted without a reason string", ""),
    (-32015, "VM execution error.", "Reverted 0x"),
    (-32000, "out of gas", ""),
    (-32000, "insufficient funds for gas * price + value", ""),
)


@pytest.mark.parametrize("status", [200, 400, 500])
@on_uvloop
async def test_a_revert_passes_through_once_and_hurts_nobody(status: int) -> None:
    async with fleet() as (wallet, (a, b)):
        for code, message, data in REVERTS:
            more = {"data": data} if data else {}
            a.script = lambda post, c=code, m=message, d=more: Sent(
                array([wrong(x, c, m, **d) for x in post.calls])
                if post.is_batch
                else wrong(post.calls[0], c, m, **d),
                status,
            )
            expected = error_reply(code, message, data)
            ask = request("eth_call", b'[{"to":"0x1"},"latest"]')
            assert await wallet.ask(ask) == expected
            assert await wallet.ask(array([ask, ask])) == array([expected, expected])
        assert a.shapes == [0, 2] * len(REVERTS)
        assert b.calls == []
        assert wallet.state(a) == "up"
        assert wallet.runtime.standings["a"].light.breaker.share == 0.0


@on_uvloop
async def test_invalid_params_are_confirmed_once_where_such_calls_have_worked() -> None:
    refusal = (-32602, "invalid argument 0: hex string without 0x prefix")
    expected = error_reply(*refusal)
    bad = each(lambda call: wrong(call, *refusal))
    async with fleet(bad, bad, bad) as (wallet, upstreams):
        assert await wallet.ask(ASK) == expected
        assert counts(upstreams) == [1, 0, 0]
        upstreams[0].script = each(good)
        assert await wallet.ask(ASK) == ANSWER
        upstreams[0].script = bad
        upstreams[0].forget()
        for turn in (1, 2):
            assert await wallet.ask(ASK) == expected
            assert first_and_all(upstreams) == (turn, 2 * turn)
        # One that is wrong about it is found out.
        upstreams[1].script = upstreams[2].script = each(good)
        assert await wallet.ask(ASK) == ANSWER
        assert [wallet.state(upstream) for upstream in upstreams] == ["up"] * 3


@on_uvloop
async def test_an_error_of_everybodys_own_is_shown_after_two_said_so() -> None:
    mood = each(lambda call: wrong(call, -32603, "internal error: trie too deep", data={"at": 1}))
    expected = (
        b'{"jsonrpc":"2.0","id":1,"error":{"code":-32603,'
        b'"message":"internal error: trie too deep","data":{"at":1}}}'
    )
    async with fleet(mood, mood, mood, mood) as (wallet, upstreams):
        ask = request("debug_traceCall", b'[{},"latest"]')
        assert await wallet.ask(ask) == expected
        first = sum(counts(upstreams))
        assert 2 <= first <= 4
        # It is remembered as the request's own fault: asked once, held against nobody.
        assert await wallet.ask(ask) == expected
        assert sum(counts(upstreams)) == first + 1
        assert [wallet.state(upstream) for upstream in upstreams] == ["up"] * 4


# ---- nulls, blocks, methods


@pytest.mark.parametrize(
    "method", ["eth_getTransactionReceipt", "eth_getTransactionByHash", "eth_getBlockByHash"]
)
@on_uvloop
async def test_a_null_is_asked_of_exactly_one_more(method: str) -> None:
    null = each(lambda call: ok(call, b"null"))
    params = HASH if method != "eth_getBlockByHash" else b'["0x%064x",false]' % 5
    ask = request(method, params)
    found = b'{"jsonrpc":"2.0","id":1,"result":{"blockNumber":"0x1"}}'
    async with fleet(null, null, null) as (wallet, upstreams):
        a, b, c = upstreams
        assert await wallet.ask(ask) == b'{"jsonrpc":"2.0","id":1,"result":null}'
        assert first_and_all(upstreams) == (1, 2)
        b.script = c.script = each(lambda call: ok(call, b'{"blockNumber":"0x1"}'))
        assert await wallet.ask(ask) == found
        assert first_and_all(upstreams) == (2, 4)
        # In a batch, too; and "not found" said as an error is a null.
        a.script = each(lambda call: wrong(call, -32000, "transaction not found"))
        assert await wallet.ask(array([ask, ask])) == array([found, found])
        assert first_and_all(upstreams) == (4, 8)
        b.script = c.script = a.script
        assert await wallet.ask(ask) == b'{"jsonrpc":"2.0","id":1,"result":null}'
        assert first_and_all(upstreams) == (5, 10)
        # The second opinion cannot be had: the first stands.
        b.script = c.script = always(Sent(b"no", 503))
        assert await wallet.ask(ask) == b'{"jsonrpc":"2.0","id":1,"result":null}'
        assert wallet.state(a) == "up"


MISSING = (
    (-32000, "header not found"),
    (-32000, "missing trie node 5e1b (path )"),
    (-32001, "Resource not found"),
    (-32602, "BlockOutOfRangeError: block height is 5 but requested was 6"),
    (-39001, "unknown block"),
)


@on_uvloop
async def test_a_block_that_one_upstream_lacks_is_asked_of_another() -> None:
    async with fleet() as (wallet, (a, b)):
        for count, (code, message) in enumerate(MISSING, 1):
            a.script = each(lambda call, c=code, m=message: wrong(call, c, m))
            assert await wallet.ask(ASK) == ANSWER
            assert counts([a, b]) == [count, count]
        assert wallet.state(a) == "up"
        assert wallet.runtime.standings["a"].light.breaker.share == 0.0


@on_uvloop
async def test_a_block_at_a_height_that_an_upstream_claims_is_never_null() -> None:
    block = b'{"number":"0x3e8"}'
    async with fleet(each(lambda call: ok(call, b"null"))) as (wallet, (a, b)):
        b.script = each(lambda call: ok(call, block))
        ask = request("eth_getBlockByNumber", b'["0x3e8",true]')
        assert await wallet.ask(ask) == b'{"jsonrpc":"2.0","id":1,"result":%b}' % block
        assert counts([a, b]) == [1, 1]


UNSUPPORTED = (
    Sent(b'{"id":null,"error":{"code":-32601,"message":"method not found"}}'),
    Sent(b'{"id":null,"error":{"code":-32004,"message":"The method is not supported"}}'),
    Sent(b'{"id":null,"error":{"code":-32000,"message":"rpc method is not whitelisted"}}', 403),
    Sent(b"Method Not Allowed", 405),
)


@pytest.mark.parametrize("refusal", UNSUPPORTED)
@on_uvloop
async def test_a_method_that_one_lacks_goes_to_others_from_then_on(refusal: Sent) -> None:
    def script(post: Post) -> Sent | bytes:
        return refusal if post.calls[0].method == "eth_feeHistory" else each(good)(post)

    history = each(lambda call: ok(call, b'{"oldestBlock":"0x1"}'))
    ask = request("eth_feeHistory", b'["0x1","latest",[]]')
    expected = b'{"jsonrpc":"2.0","id":1,"result":{"oldestBlock":"0x1"}}'
    async with fleet(script, history) as (wallet, (a, b)):
        for _ in range(3):
            assert await wallet.ask(ask) == expected
        assert (a.methods, b.methods) == (["eth_feeHistory"], ["eth_feeHistory"] * 3)
        assert await wallet.ask(ASK) == ANSWER
        assert a.methods[-1] == "eth_getBalance"
        assert wallet.state(a) == "up"


# ---- limits, keys, chains, phrases


@on_uvloop
async def test_a_phrase_of_the_users_own_decides() -> None:
    says = each(lambda call: wrong(call, -32000, "Your Quota Gone, friend"))
    phrases = (ErrorPhrase(contains="quota gone", verdict="rate_limited"),)
    async with fleet(says, more=[{"errors": phrases}]) as (wallet, (a, b)):
        assert await wallet.ask(ASK) == ANSWER
        await wallet.until_state(a, "cooling")
        assert await wallet.ask(ASK) == ANSWER
        assert counts([a, b]) == [1, 2]
    phrases = (ErrorPhrase(contains="quota gone", verdict="reverted"),)
    async with fleet(says, more=[{"errors": phrases}]) as (wallet, (a, b)):
        assert await wallet.ask(ASK) == error_reply(-32000, "Your Quota Gone, friend")
        assert counts([a, b]) == [1, 0]


RATE_LIMITS = (
    Sent(b"Too Many Requests", 429),
    Sent(b"<html>slow down</html>", 429, (b"Retry-After: 7",)),
    Sent(b'{"id":null,"error":{"code":-32005,"message":"limit exceeded"}}'),
    Sent(b'{"id":1,"error":{"code":-32007,"message":"50/second request limit reached"}}', 429),
)


@pytest.mark.parametrize("refusal", RATE_LIMITS)
@on_uvloop
async def test_a_rate_limit_is_never_shown_and_gives_a_pause(refusal: Sent) -> None:
    async with fleet(always(refusal)) as (wallet, (a, b)):
        for _ in range(3):
            assert await wallet.ask(ASK) == ANSWER
        assert counts([a, b]) == [1, 3]
        assert wallet.state(a) == "cooling"
        standing = wallet.runtime.standings["a"]
        assert standing.light.breaker.share == 0.0
        if refusal.lines:
            assert "7" in standing.cooldown_reason or standing.cooldown.until > 6.0


KEYS = (
    Sent(b"Unauthorized", 401),
    Sent(b'{"id":1,"error":{"code":-32600,"message":"Must be authenticated!"}}'),
    Sent(b'{"id":null,"error":{"code":-32000,"message":"invalid api key"}}', 403),
)


@pytest.mark.parametrize("refusal", KEYS)
@on_uvloop
async def test_a_refused_key_is_quarantined(refusal: Sent) -> None:
    async with fleet(always(refusal)) as (wallet, (a, b)):
        for _ in range(4):
            assert await wallet.ask(ASK) == ANSWER
        assert counts([a, b]) == [1, 4]
        assert wallet.state(a) == "quarantined"
        assert await wallet.ask(array([ASK, ASK])) == array([ANSWER, ANSWER])
        assert len(a.calls) == 1


@on_uvloop
async def test_an_upstream_of_another_chain_never_gets_a_request() -> None:
    deadlines = Deadlines(light_seconds=0.4)
    async with (
        Upstream(each(good), "alien", chain_id=8) as alien,
        Upstream(each(good), "b") as b,
        a_proxy(alien, b, admitted=1, deadlines=deadlines) as wallet,
    ):
        await wallet.until_state(alien, "quarantined")
        assert await wallet.ask(array([ASK, ASK])) == array([ANSWER, ANSWER])
        # Not even where nobody else is left.
        b.script = always(Sent(b"no", 503))
        body = await wallet.call("eth_getBalance", b'["0x1","latest"]')
        assert body["error"]["code"] == -32603
        assert body["error"]["message"].startswith("no upstream of test could answer")
        assert alien.posts == []
        assert alien.probes


@on_uvloop
async def test_nobody_can_serve_is_told_in_words_with_the_clients_id() -> None:
    down = always(Sent(b"no", 503))
    async with fleet(down, down, deadlines=Deadlines(light_seconds=0.4)) as (wallet, _):
        body = await wallet.call("eth_call", b'[{"to":"0x1"},"latest"]', b'"x"')
        assert body["id"] == "x"
        assert body["error"]["code"] == -32603
        assert "no upstream of test could answer" in body["error"]["data"]["reason"]
        assert "127.0.0.1" not in str(body)
