"""The express lane in a whole proxy: what a wallet sees of it, and how many calls it costs."""

from __future__ import annotations

import asyncio

from tests.integration.rpc_kit import (
    ASK,
    Call,
    Post,
    Sent,
    each,
    fleet,
    good,
    ok,
    on_uvloop,
    request,
    wrong,
)
from tests.kits.waiting import until
from tests.sockets import front_kit


def in_flight(wallet: object) -> int:
    standings = wallet.runtime.standings  # type: ignore[attr-defined]
    return sum(standing.in_flight for standing in standings)


@on_uvloop
async def test_a_thousand_reads_are_a_thousand_calls() -> None:
    async with fleet() as (wallet, upstreams):
        for number in range(1000):
            reply = await wallet.call("eth_getBalance", b'["0x1","latest"]', b"%d" % number)
            assert reply == {"jsonrpc": "2.0", "id": number, "result": "0x900d"}
        assert sum(len(upstream.calls) for upstream in upstreams) == 1000
        counters = wallet.runtime.counters
        assert counters.requests[0].labels["ok"] == 1000
        assert sum(t.labels["ok"] for t in counters.attempts.values()) == 1000
        assert in_flight(wallet) == 0


@on_uvloop
async def test_pipelined_reads_are_answered_in_order() -> None:
    async with fleet() as (wallet, _):
        await wallet.ask(ASK)
        bodies = [
            request("eth_getBalance", b'["0x1","latest"]', b"%d" % n)
            if n % 3
            else request("eth_chainId", id=b"%d" % n)
            for n in range(200)
        ]
        wallet.client.send(b"".join(map(front_kit.post, bodies)))
        for number in range(200):
            response = await wallet.client.response()
            assert b'"id":%d,' % number in response.body
        assert in_flight(wallet) == 0


@on_uvloop
async def test_every_other_reply_broken_and_no_read_fails() -> None:
    count = 0

    def moody(post: Post) -> bytes | Sent:
        nonlocal count
        count += 1
        if count % 2:
            return ok(post.calls[0], b'"0x900d"')
        return Sent(b"<html>busy</html>", 503)

    async with fleet(moody, each(good), each(good)) as (wallet, _):
        for number in range(300):
            reply = await wallet.call("eth_getBalance", b'["0x1","latest"]', b"%d" % number)
            assert reply["result"] == "0x900d"
        assert in_flight(wallet) == 0


@on_uvloop
async def test_a_hang_up_is_forgotten_when_the_answer_comes() -> None:
    gate = asyncio.Event()

    def answered(call: Call) -> bytes:
        gate.set()
        return good(call)

    async with fleet(each(answered)) as (wallet, upstreams):
        await wallet.ask(ASK)
        for _ in range(50):
            streams = await asyncio.open_connection(*wallet.proxy.address)
            client = front_kit.Client(*streams)
            client.send(front_kit.post(ASK))
            await asyncio.sleep(0)
            client.reset()
        await until(lambda: in_flight(wallet) == 0)
        await wallet.ask(ASK)
        assert in_flight(wallet) == 0
        assert not any(wallet.runtime.executor._in_flight.values())
        assert len(upstreams[1].calls) == 0


@on_uvloop
async def test_an_error_of_the_request_is_given_at_once_and_once() -> None:
    script = each(lambda call: wrong(call, 3, "execution reverted", data="0x1234"))
    async with fleet(script) as (wallet, upstreams):
        for _ in range(3):
            reply = await wallet.call("eth_call", b'[{},"latest"]')
            assert reply["error"] == {"code": 3, "message": "execution reverted", "data": "0x1234"}
        assert [len(upstream.calls) for upstream in upstreams] == [3, 0]
        assert in_flight(wallet) == 0
