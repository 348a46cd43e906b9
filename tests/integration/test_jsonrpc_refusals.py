"""What an upstream refuses or lacks, end to end: it is asked elsewhere, remembered where that
spares a call, and held against its health only where it should be.
"""

from __future__ import annotations

import pytest

from rpcproxy.config.model import Deadlines, ErrorPhrase
from tests.integration.rpc_kit import (
    ANSWER,
    ASK,
    HASH,
    Post,
    Sent,
    Upstream,
    a_proxy,
    always,
    array,
    counts,
    each,
    error_reply,
    first_and_all,
    fleet,
    good,
    ok,
    on_uvloop,
    request,
    wrong,
)

# ---- nulls, blocks, methods


@pytest.mark.parametrize(
    "method", ["eth_getTransactionReceipt", "eth_getTransactionByHash", "eth_getBlockByHash"]
)
@on_uvloop
async def test_a_null_is_asked_of_exactly_one_more(method: str) -> None:
    null = each(lambda call: ok(call, b"null"))
    params = HASH if method != "eth_getBlockByHash" else b'["0x%064x",false]' % 5
    ask = request(method, params)
    there = b'{"blockNumber":"0x1"}'
    if method == "eth_getBlockByHash":
        there = b'{"number":"0x1","hash":"0x%064x"}' % 5
    found = b'{"jsonrpc":"2.0","id":1,"result":%b}' % there
    async with fleet(null, null, null) as (wallet, upstreams):
        a, b, c = upstreams
        assert await wallet.ask(ask) == b'{"jsonrpc":"2.0","id":1,"result":null}'
        assert first_and_all(upstreams) == (1, 2)
        b.script = c.script = each(lambda call: ok(call, there))
        assert await wallet.ask(ask) == found
        assert first_and_all(upstreams) == (2, 4)
        # In a batch, too; and "not found" said as an error is a null.
        a.script = each(lambda call: wrong(call, -32000, "transaction not found"))
        assert await wallet.ask(array([ask, ask])) == array([found, found])
        assert first_and_all(upstreams) == (4, 8)
        b.script = c.script = a.script
        ask = request(method, params.replace(b"0x0", b"0xf"))  # what was seen is not null again
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


@pytest.mark.parametrize(("code", "message"), MISSING)
@on_uvloop
async def test_a_block_that_one_upstream_lacks_is_asked_of_another(code: int, message: str) -> None:
    async with fleet() as (wallet, (a, b)):
        a.script = each(lambda call: wrong(call, code, message))
        # The first time may be chance; who lacks it twice in a row is asked last for a while.
        for asked in ([1, 1], [2, 2], [2, 3], [2, 4]):
            assert await wallet.ask(ASK) == ANSWER
            assert counts([a, b]) == asked
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
    Sent(b'{"id":null,"error":{"code":-32005,"message":"daily rate limit exceeded"}}'),
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
        a.are_probes_scripted = True
        assert await wallet.ask(ASK) == ANSWER
        # One refusal of a client's request has it probed at once.
        await wallet.until_state(a, "quarantined")
        seen = len(a.calls)
        for _ in range(4):
            assert await wallet.ask(ASK) == ANSWER
        assert await wallet.ask(array([ASK, ASK])) == array([ANSWER, ANSWER])
        assert all(call.method == "eth_chainId" for call in a.calls[seen:])
        assert len(b.calls) == 7


@pytest.mark.parametrize("refusal", KEYS)
@on_uvloop
async def test_a_request_that_a_key_is_not_good_for_says_nothing_of_others(refusal: Sent) -> None:
    """Firewalls, plans and archives answer in these words too, to one request (antseed 842)."""

    def script(post: Post) -> Sent | bytes:
        return refusal if post.calls[0].method == "debug_traceCall" else each(good)(post)

    async with fleet(script) as (wallet, (a, b)):
        for turn in range(4):
            ask = request("debug_traceCall", b'[{},"latest",{"at":%d}]' % turn)
            assert await wallet.ask(ask) == ANSWER
        assert counts([a, b]) == [2, 4]  # twice, and not in a hurry again
        assert await wallet.ask(ASK) == ANSWER
        assert counts([a, b]) == [3, 4]
        assert wallet.state(a) == "up"


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
