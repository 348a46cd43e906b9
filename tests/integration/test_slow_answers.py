"""Upstreams that are slow and sound: whoever asks is answered, and nobody is ejected for it.

Times are short by configuration, and in the proportions of the reports:

- calls and traces that take longer than an attempt: erigontech/erigon 2373 (traces are given the
  time of calls), celo-org/celo-blockchain 1680 (archive nodes and debug_traceTransaction),
  etclabscore/core-geth 412 (one block's trace takes more than 30 s);
- searches: graphprotocol/graph-node 1732 (eth_getLogs took 140 s at Alchemy and was right), 1317;
- batches: equilibriumco/pathfinder 2789, web3/web3.js 6967, joshstevens19/ethereum-multicall 50;
- sends: hiero-ledger/hiero-json-rpc-relay 4634 (beyond 60 s), ithacaxyz/relay 652 (the sequencer
  answers after 30 s, by then with "nonce too low").
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from rpcproxy.config import model
from rpcproxy.messages import MethodClass
from tests.integration.rpc_kit import (
    GOOD,
    NUMBER,
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
)
from tests.kits.jumping import on_a_jumping_loop
from tests.kits.signed_transactions import RAW, SIGNED, as_hex
from tests.sockets import front_kit

ATTEMPT_SECONDS = 0.3
SLOW_SECONDS = 0.7  # longer than an attempt, and well within the deadline
DEADLINES = model.Deadlines(light_seconds=4.0, heavy_seconds=4.0, send_seconds=4.0)
# Hedged as by default, since most proxies are.
SHORT: dict[str, Any] = {
    "deadlines": DEADLINES,
    "attempt_timeout_seconds": ATTEMPT_SECONDS,
    "hedge": "auto",
}


def slow(seconds: float = SLOW_SECONDS, *methods: str) -> Script:
    """Takes its time: for these methods, or for all."""

    def script(post: Post) -> Sent:
        replies = [good(call) for call in post.calls]
        is_slow = not methods or post.calls[0].method in methods
        body = array(replies) if post.is_batch else replies[0]
        return Sent(body, after_seconds=seconds if is_slow else 0.0)

    return script


def call_of(index: int) -> bytes:
    params = b'[{"to":"0x%040x","data":"0x01"},"latest"]' % index
    return request("eth_call", params, b"%d" % index)


async def ask_together(wallet: Wallet, bodies: list[bytes]) -> list[Any]:
    """Each on a connection of its own, all at once."""

    async def ask(body: bytes) -> Any:
        streams = await asyncio.open_connection(*wallet.proxy.address, limit=1 << 26)
        client = front_kit.Client(*streams)
        try:
            response = await client.ask(body, "/", "Cache-Control: no-cache")
        finally:
            client.reset()
        return json.loads(response.body)

    return await asyncio.gather(*map(ask, bodies))


def assert_nobody_is_ejected(wallet: Wallet, upstreams: list[Upstream]) -> None:
    states = {upstream.name: wallet.state(upstream) for upstream in upstreams}
    assert set(states.values()) == {"up"}, states
    assert not wallet.runtime.standings.is_panicking
    for standing in wallet.runtime.standings:
        assert not any(record.breaker.is_open for record in standing.classes), standing


@on_a_jumping_loop
async def test_calls_that_take_longer_than_an_attempt_are_answered() -> None:
    async with fleet(*[slow(SLOW_SECONDS, "eth_call")] * 4, **SHORT) as (wallet, upstreams):
        replies = await ask_together(wallet, [call_of(index) for index in range(1, 22)])
        assert [reply.get("result") for reply in replies] == [json.loads(GOOD)] * 21
        assert_nobody_is_ejected(wallet, upstreams)


@on_a_jumping_loop
async def test_the_only_upstream_may_be_slow() -> None:
    script = slow(SLOW_SECONDS, "eth_call", "eth_estimateGas")
    async with fleet(script, slow(0.0), **SHORT) as (wallet, upstreams):
        upstreams[1].script = lambda _: Sent(b"", cut_at=0, end="close")
        replies = await ask_together(wallet, [call_of(index) for index in range(1, 9)])
        assert [reply.get("result") for reply in replies] == [json.loads(GOOD)] * 8
        assert wallet.state(upstreams[0]) == "up"


@on_a_jumping_loop
async def test_a_slow_trace_is_answered_and_made_once() -> None:
    """Its first upstream is well, so that a second copy would only double what it costs."""
    given = {**SHORT, "attempt_timeout_seconds": 0.5}
    async with fleet(*[slow(1.6, "debug_traceTransaction")] * 3, **given) as (wallet, upstreams):
        params = b'["0x%064x",{"tracer":"callTracer"}]'
        bodies = [request("debug_traceTransaction", params % n) for n in range(1, 5)]
        replies = await ask_together(wallet, bodies)
        assert [reply.get("result") for reply in replies] == [json.loads(GOOD)] * 4
        assert sum(counts(upstreams)) == 4
        assert_nobody_is_ejected(wallet, upstreams)


@on_a_jumping_loop
async def test_a_trace_goes_elsewhere_where_its_upstream_hangs_at_everything() -> None:
    async with fleet(each(good), slow(0.2, "debug_traceBlockByNumber"), **SHORT) as fleet_:
        wallet, upstreams = fleet_
        upstreams[0].are_probes_scripted = True
        upstreams[0].script = lambda _: Sent(b"", cut_at=0, end="stall")
        body = request("debug_traceBlockByNumber", b'["0x%x"]' % NUMBER)
        (reply,) = await ask_together(wallet, [body])
        assert reply["result"] == json.loads(GOOD)
        assert counts(upstreams)[1] == 1


@on_a_jumping_loop
async def test_who_hangs_where_others_answer_is_ejected() -> None:
    """The contrary evidence: the others answer the very same."""
    async with fleet(*[each(good)] * 4, **SHORT) as (wallet, upstreams):
        upstreams[0].are_probes_scripted = True
        upstreams[0].script = lambda _: Sent(b"", cut_at=0, end="stall")
        replies = await ask_together(wallet, [call_of(index) for index in range(1, 13)])
        assert [reply.get("result") for reply in replies] == [json.loads(GOOD)] * 12
        await wallet.until_state(upstreams[0], "ejected")
        assert [wallet.state(upstream) for upstream in upstreams[1:]] == ["up"] * 3


@on_a_jumping_loop
async def test_what_nobody_answers_in_time_ejects_nobody() -> None:
    deadlines = model.Deadlines(light_seconds=1.0, heavy_seconds=1.0, send_seconds=1.0)
    given = {**SHORT, "deadlines": deadlines}
    async with fleet(*[slow(3.0, "eth_call")] * 3, **given) as (wallet, upstreams):
        replies = await ask_together(wallet, [call_of(index) for index in range(1, 9)])
        assert all("no answer in time" in reply["error"]["message"] for reply in replies)
        assert_nobody_is_ejected(wallet, upstreams)
        again = await ask_together(wallet, [request("eth_gasPrice")])
        assert again[0]["result"] == json.loads(GOOD)


def blocks(size: int) -> Script:
    """Each answer has so many bytes."""
    text = b'"0x%b"' % (b"ab" * (size // 2))
    return each(lambda call: ok(call, text))


@on_a_jumping_loop
async def test_a_batch_whose_answer_is_too_large_to_hold_is_answered() -> None:
    """As a hundred full blocks are; its second time it goes out in parts from the start."""
    count, size = 60, 200_000
    async with fleet(*[blocks(size)] * 3, **SHORT) as (wallet, upstreams):
        calls = [
            b'{"jsonrpc":"2.0","id":%d,"method":"eth_getStorageAt","params":["0x1","0x%x","latest"]}'
            % (n, n)
            for n in range(count)
        ]
        for _ in range(2):
            for upstream in upstreams:
                upstream.forget()
            (replies,) = await ask_together(wallet, [array(calls)])
            assert [reply["id"] for reply in replies] == list(range(count))
            assert all(len(reply["result"]) == size + 2 for reply in replies)
            assert_nobody_is_ejected(wallet, upstreams)
        assert all(standing.exclusions.batch_until == 0 for standing in wallet.runtime.standings)
        assert sum(counts(upstreams)) == count


@on_a_jumping_loop
async def test_a_slow_batch_is_left_to_run() -> None:
    async with fleet(*[slow(1.2)] * 3, **SHORT) as (wallet, upstreams):
        (replies,) = await ask_together(wallet, [array([call_of(n) for n in range(1, 60)])])
        assert [reply.get("result") for reply in replies] == [json.loads(GOOD)] * 59
        assert_nobody_is_ejected(wallet, upstreams)


@pytest.mark.parametrize("method", ["eth_getStorageAt", "debug_traceCall"])
@on_a_jumping_loop
async def test_an_answer_that_arrives_steadily_is_not_cut(method: str) -> None:
    """Longer than its deadline, at 200 KB/s."""
    deadlines = model.Deadlines(light_seconds=1.0, heavy_seconds=1.0, send_seconds=1.0)

    def steady(post: Post) -> Sent:
        (call,) = post.calls
        pieces = [b"ab" * 10_000] * 20
        return Sent(ok(call, b"?")[:-2] + b'"0x', pieces=[*pieces, b'"}'], pause_seconds=0.1)

    given = {**SHORT, "deadlines": deadlines}
    async with fleet(steady, steady, **given) as (wallet, upstreams):
        (reply,) = await ask_together(wallet, [request(method, b'["0x1","0x0","latest"]')])
        assert len(reply.get("result", "")) == 400_002, str(reply)[:200]
        assert_nobody_is_ejected(wallet, upstreams)


@on_a_jumping_loop
async def test_a_slow_sequencer_is_waited_for() -> None:
    """Longer than an attempt; every door of it is as slow."""
    hash = as_hex(SIGNED["for any chain"].hash)

    def script(post: Post) -> Sent:
        (call,) = post.calls
        if call.method != "eth_sendRawTransaction":
            return Sent(ok(call, b"null"))
        return Sent(ok(call, b'"%b"' % hash.encode()), after_seconds=2.5)

    async with fleet(*[script] * 4, **SHORT) as (wallet, upstreams):
        params = b'["%b"]' % as_hex(RAW["for any chain"]).encode()
        (reply,) = await ask_together(wallet, [request("eth_sendRawTransaction", params)])
        assert reply.get("result") == hash, reply
        assert_nobody_is_ejected(wallet, upstreams)
        assert wallet.runtime.standings.outage_since(MethodClass.SEND) is None
