"""Errors of upstreams, end to end: what all say is the answer, what one says is its own, and a
key is refused when a probe is.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rpcproxy.config.model import Deadlines
from tests.integration.rpc_kit import (
    ASK,
    Call,
    Post,
    Script,
    Sent,
    Upstream,
    Wallet,
    array,
    counts,
    each,
    fleet,
    good,
    ok,
    request,
    wrong,
)
from tests.kits import sends_kit
from tests.kits.jumping import on_a_jumping_loop
from tests.sockets import scripted

SOON_SECONDS = 3.0  # of the loop's: an answer that was not waited for


def except_for(method: str, answer: Sent | Script) -> Script:
    """Well, but for one method."""

    def script(post: Post) -> Sent | bytes:
        if post.calls[0].method != method:
            return each(good)(post)
        return answer if isinstance(answer, Sent) else answer(post)

    return script


def saying(code: int, message: str) -> Script:
    return each(lambda call: wrong(call, code, message))


def assert_well(wallet: Wallet, upstreams: list[Upstream]) -> None:
    assert [wallet.state(upstream) for upstream in upstreams] == ["up"] * len(upstreams)
    assert not wallet.runtime.standings.is_panicking


async def error_of(wallet: Wallet, method: str, params: bytes) -> dict[str, Any]:
    clock = asyncio.get_running_loop().time
    began = clock()
    error: dict[str, Any] = (await wallet.call(method, params))["error"]
    assert clock() - began < SOON_SECONDS
    return error


@on_a_jumping_loop
async def test_ten_estimates_that_nobody_understands_eject_nobody() -> None:
    """rpc-plane 18, nimbus-eth1 4687."""
    odd = except_for("eth_estimateGas", saying(-32000, "failed with 50 gas: odd opcode 0xef"))
    async with fleet(odd, odd, odd, odd) as (wallet, upstreams):
        for index in range(10):
            params = b'[{"to":"0x%040x"}]' % index
            error = await error_of(wallet, "eth_estimateGas", params)
            assert error == {"code": -32000, "message": "failed with 50 gas: odd opcode 0xef"}
        assert sum(counts(upstreams)) <= 4 + 9 * 2
        assert_well(wallet, upstreams)
        batch = array([request("eth_estimateGas", b'[{"to":"0x1%039x"}]' % n) for n in range(5)])
        assert (await wallet.ask(batch)).count(b"odd opcode") == 5
        assert_well(wallet, upstreams)


OLD_BALANCE = b'["0x%040x","0x10"]'


@pytest.mark.parametrize(
    "refusal",
    [
        Sent(b'{"jsonrpc":"2.0","id":null,"error":{"code":403,"message":"archive"}}', 403),
        Sent(b"<html>Just a moment...</html>", 403),
        Sent(b"Payment Required", 402),
        Sent(b'{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"Unauthorized"}}', 401),
    ],
)
@on_a_jumping_loop
async def test_an_old_balance_that_three_refuse_quarantines_nobody(refusal: Sent) -> None:
    """antseed 842: free endpoints that answer 403 to what is old."""
    odd = except_for("eth_getBalance", refusal)
    well = each(lambda call: ok(call, b'"0x5"'))
    async with fleet(odd, odd, odd, well) as (wallet, upstreams):
        for index in range(8):
            reply = await wallet.call("eth_getBalance", OLD_BALANCE % index)
            assert reply["result"] == "0x5"
        assert counts(upstreams) == [1, 1, 1, 8]  # known as shallow
        assert_well(wallet, upstreams)
        assert (await wallet.call("eth_gasPrice"))["result"] == "0x900d"
        assert counts(upstreams) == [2, 1, 1, 8]


@on_a_jumping_loop
async def test_an_old_balance_that_all_refuse_is_refused_in_their_words_at_once() -> None:
    refusal = Sent(b'{"jsonrpc":"2.0","id":null,"error":{"code":403,"message":"archive"}}', 403)
    odd = except_for("eth_getBalance", refusal)
    async with fleet(odd, odd, odd, odd) as (wallet, upstreams):
        error = await error_of(wallet, "eth_getBalance", OLD_BALANCE % 1)
        assert error == {"code": 403, "message": "archive"}
        assert max(counts(upstreams)) == 1
        assert_well(wallet, upstreams)


@on_a_jumping_loop
async def test_a_key_that_is_refused_is_found_out_by_a_probe_and_nobody_notices() -> None:
    async with fleet(each(good), each(good), each(good)) as (wallet, upstreams):
        upstreams[0].script = lambda _: Sent(b"Unauthorized", 401)
        upstreams[0].are_probes_scripted = True

        def is_out() -> bool:
            return wallet.state(upstreams[0]) == "quarantined"

        asked = 0
        clock = asyncio.get_running_loop().time
        began = clock()
        while not is_out():
            asked += 1
            reply = await wallet.call("eth_getBalance", b'["0x%040x","latest"]' % asked)
            assert reply["result"] == "0x900d"
            assert clock() - began < 10.0
            await asyncio.sleep(0.005)  # nobody asks without a break: the clock goes on
        assert await wallet.ask(ASK)


@pytest.mark.parametrize(
    ("method", "code", "message"),
    [
        ("eth_getLogs", -32005, "limit exceeded"),  # bsc 1215, docs-site 621
        ("eth_getLogs", -32005, "the method eth_getLogs is disabled"),
        ("debug_traceCall", -32005, "gas cap of 500000000 exceeded"),
        ("trace_filter", -32016, "over the limit of this method"),  # hiero-relay 2091
        ("debug_traceCall", 15, "not on this tier"),
    ],
)
@on_a_jumping_loop
async def test_a_method_that_all_have_switched_off_is_refused_soon(
    method: str, code: int, message: str
) -> None:
    odd = except_for(method, saying(code, message))
    async with fleet(odd, odd, odd, odd) as (wallet, upstreams):
        for index in range(14):
            asked = b'[{"fromBlock":"0x3e0","toBlock":"0x3e1","n":%d}]' % index
            error = await error_of(wallet, method, asked)
            assert error == {"code": code, "message": message}
        assert sum(counts(upstreams)) <= 4 + 13 * 2
        assert_well(wallet, upstreams)
        assert (await wallet.call("eth_gasPrice"))["result"] == "0x900d"


@on_a_jumping_loop
async def test_a_limit_of_all_costs_three_calls_of_each_at_most() -> None:
    limited = each(lambda call: wrong(call, -32005, "rate limit exceeded"))
    deadlines = Deadlines(heavy_seconds=6.0)
    async with fleet(limited, limited, limited, deadlines=deadlines) as (wallet, upstreams):
        await wallet.call("eth_getLogs", b'[{"fromBlock":"0x3e0","toBlock":"0x3e1"}]')
        assert max(counts(upstreams)) <= 3


@on_a_jumping_loop
async def test_params_that_two_refuse_and_two_take_are_taken() -> None:
    """hyperlane 9365, hardhat 2513, lotus 13160, hiero-relay 4417."""

    def script(call: Call) -> bytes:
        if b'"code"' in bytes(call.params):
            return wrong(call, -32602, "invalid argument 2: state override is not supported")
        return good(call)

    odd, well = each(script), each(good)
    asked = b'[{"to":"0x%040x"},"latest",{"0x%040x":{"code":"0x00"}}]'
    async with fleet(odd, odd, well, well) as (wallet, upstreams):
        for index in range(16):
            assert (await wallet.call("eth_call", asked % (index, 1)))["result"] == "0x900d"
        assert counts(upstreams)[:2] == [2, 2]
        batch = array([request("eth_call", asked % (index, 2)) for index in range(16, 20)])
        assert (await wallet.ask(batch)).count(b"0x900d") == 4
        assert_well(wallet, upstreams)


@on_a_jumping_loop
async def test_a_send_that_everybody_refuses_in_unknown_words_ejects_nobody() -> None:
    def script(call: Call) -> bytes:
        if call.method == "eth_sendRawTransaction":
            return wrong(call, -32000, "odd: unheard of 17")
        return ok(call, b"null")  # and nobody has it

    odd = each(script)
    async with fleet(odd, odd, odd, chain_id=sends_kit.CHAIN_ID) as (wallet, upstreams):
        for nonce in range(8):
            raw = sends_kit.signed(nonce).raw
            reply = await wallet.call("eth_sendRawTransaction", b'["%b"]' % raw.encode())
            assert reply["error"]["message"] == "odd: unheard of 17"
        assert min(counts(upstreams)) >= 8
        assert_well(wallet, upstreams)
        await scripted.until(lambda: not wallet.runtime.pipeline.is_sending)
