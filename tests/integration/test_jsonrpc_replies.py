"""JSON-RPC towards upstreams, end to end: whatever one of them answers, the client gets a right
answer, and each is asked as often as it takes and no more.
"""

from __future__ import annotations

import pytest

from tests.integration.rpc_kit import (
    ANSWER,
    ASK,
    GOOD,
    HASH,
    Call,
    Post,
    Sent,
    always,
    array,
    counts,
    each,
    error_reply,
    fleet,
    good,
    ok,
    on_uvloop,
    request,
    wrong,
)


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
async def test_invalid_params_are_the_answer_once_all_have_said_so() -> None:
    refusal = (-32602, "invalid argument 0: hex string without 0x prefix")
    expected = error_reply(*refusal)
    bad = each(lambda call: wrong(call, *refusal))
    async with fleet(bad, bad, bad) as (wallet, upstreams):
        assert await wallet.ask(ASK) == expected
        assert counts(upstreams) == [1, 1, 1]
        assert await wallet.ask(ASK) == expected
        assert sum(counts(upstreams)) == 4  # it is known by now
        assert [wallet.state(upstream) for upstream in upstreams] == ["up"] * 3


@on_uvloop
async def test_params_that_the_quick_refuse_are_asked_of_the_others() -> None:
    """hyperlane 9365, hardhat 2513: state overrides that two upstreams do not take."""
    refusal = (-32602, "too many arguments, want at most 2")
    bad = each(lambda call: wrong(call, *refusal))
    ask = request("eth_call", b'[{},"latest",{"0x%040x":{"balance":"0x1"}}]' % 7)
    async with fleet(bad, bad, each(good)) as (wallet, upstreams):
        for _ in range(8):
            assert await wallet.ask(ask) == ANSWER
        assert counts(upstreams) == [2, 2, 8]
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
