"""Where one upstream is private, nobody else hears of a pending transaction: not a byte."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator

import msgspec

from tests.integration import rpc_kit
from tests.integration.rpc_kit import Call, Upstream, Wallet, a_proxy, each, ok, request, wrong
from tests.integration.test_jsonrpc import HASH, RAW_PARAMS, SENT
from tests.kits.waiting import limited, until

PENDING = HASH.strip(b'"')
SENDER = b'"0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a"'


def block(number: int) -> bytes:
    return b'{"number":"0x%x","hash":"0x%064x","parentHash":"0x%064x","transactions":[]}' % (
        *(number, number, number - 1),
    )


def forgetful(call: Call) -> bytes:
    """Takes transactions, and knows of none; its blocks are empty."""
    if call.method == "eth_gasPrice":
        return ok(call, b'"0x1"')
    if call.method == "eth_getBlockByNumber":
        return ok(call, block(int(msgspec.json.decode(call.params)[0], 16)))
    if call.method == "eth_sendRawTransaction":
        return ok(call, HASH)
    return ok(call, b'"0x0"' if call.method == "eth_getTransactionCount" else b"null")


def refusing(call: Call) -> bytes:
    return wrong(call, -32000, "nonce too low") if "send" in call.method else forgetful(call)


@contextlib.asynccontextmanager
async def a_private_route(
    private: rpc_kit.Script, **given: object
) -> AsyncIterator[tuple[Wallet, list[Upstream], list[Upstream]]]:
    async with (
        Upstream(each(forgetful), "p1") as one,
        Upstream(private, "q1") as two,
        Upstream(each(forgetful), "p2") as three,
        Upstream(private, "q2") as four,
        a_proxy(
            *(one, two, three, four),
            more=[{}, {"private": True}, {}, {"private": True}],
            probes_per_second=40.0,
            **given,
        ) as wallet,
    ):
        yield wallet, [one, three], [two, four]


def has_heard(upstream: Upstream) -> bool:
    """Of the transaction, by its hash or by its bytes."""
    heard = bytes(upstream.heard).lower()
    return PENDING[2:] in heard or RAW_PARAMS[4:-2] in heard


async def go_on(wallet: Wallet, *upstreams: Upstream) -> None:
    """A block comes, and nothing is in it."""
    number = wallet.runtime.standings.heads.served + 1
    for upstream in upstreams:
        upstream.block = block(number)
    await wallet.until_served(number)


async def ask_about_it(wallet: Wallet) -> None:
    for method in (
        "eth_getTransactionByHash",
        "eth_getTransactionReceipt",
        "eth_getRawTransactionByHash",
        "debug_traceTransaction",
    ):
        single = request(method, b'["%b"]' % PENDING)
        await wallet.ask(single)
        await wallet.ask(b"[%b,%b]" % (single, request("eth_gasPrice", id=b"2")))
    await wallet.call("eth_getTransactionCount", b'[%b,"pending"]' % SENDER)
    await wallet.call("eth_sendRawTransaction", RAW_PARAMS)


@rpc_kit.on_uvloop
async def test_not_a_byte_goes_elsewhere() -> None:
    async with a_private_route(each(forgetful)) as (wallet, public, private):
        reply = await wallet.call("eth_sendRawTransaction", RAW_PARAMS)
        assert reply["result"] == SENT.hash.to_0x_hex()
        await ask_about_it(wallet)
        # Rebroadcasts too.
        before = [len(upstream.calls) for upstream in private]
        async with limited():
            while not all(
                "eth_sendRawTransaction" in upstream.methods[count:]
                for upstream, count in zip(private, before, strict=True)
            ):
                await go_on(wallet, *public, *private)
        await ask_about_it(wallet)
        assert all(has_heard(upstream) for upstream in private)
        assert not any(has_heard(upstream) for upstream in public)
        seen = await wallet.call("eth_getTransactionByHash", b'["%b"]' % PENDING)
        assert seen["result"]["hash"] == SENT.hash.to_0x_hex()


@rpc_kit.on_uvloop
async def test_nor_when_the_private_ones_fail_or_refuse() -> None:
    async with a_private_route(each(refusing)) as (wallet, public, _):
        reply = await wallet.call("eth_sendRawTransaction", RAW_PARAMS)
        assert reply["error"]["message"] == "nonce too low"
        assert not any(has_heard(upstream) for upstream in public)
    down = rpc_kit.always(rpc_kit.Sent(b"", status=503))
    # Until its time is over it is tried again.
    brief = {"deadlines": {"send_seconds": 0.3}}
    async with a_private_route(down, **brief) as (wallet, public, _):
        reply = await wallet.call("eth_sendRawTransaction", RAW_PARAMS)
        assert "it may or may not have been sent" in reply["error"]["message"]
        assert not any(has_heard(upstream) for upstream in public)


@rpc_kit.on_uvloop
async def test_the_fallback_that_was_asked_for() -> None:
    async with a_private_route(each(forgetful), private_fallback_seconds=0.5) as (
        wallet,
        public,
        private,
    ):
        await wallet.call("eth_sendRawTransaction", RAW_PARAMS)
        assert not any(has_heard(upstream) for upstream in public)
        pool = wallet.runtime.transactions.ledger.pool
        [entry] = pool.all_open()
        await until(lambda: pool.age_seconds(entry, time.monotonic()) > 0.5)
        await go_on(wallet, *public, *private)
        await until(lambda: all(has_heard(upstream) for upstream in public))


def test_the_bytes_are_those_of_the_transaction() -> None:
    """Else the tests above would prove nothing."""
    assert msgspec.json.decode(RAW_PARAMS) == [SENT.raw_transaction.to_0x_hex()]
    assert RAW_PARAMS[4:-2].decode() == SENT.raw_transaction.hex()
