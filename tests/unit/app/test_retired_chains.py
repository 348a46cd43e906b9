"""Chains that a reload replaced: they finish their requests, and tell nobody what changes. What waits
for an upstream goes on at the chain that came after.
"""

from __future__ import annotations

import asyncio
import logging

import pytest

from rpcproxy.app.proxy import Proxy
from rpcproxy.config.model import Address, Chain, Config, Server, Upstream
from rpcproxy.drills.evm.simchain import SimChain
from rpcproxy.drills.providers.provider import Provider
from rpcproxy.drills.scenarios import faults
from rpcproxy.engine.answers.sharing import answer_of
from rpcproxy.messages import MethodClass, Verdict
from rpcproxy.states import Change
from tests.kits.engine_kit import Engine, now, silent, virtual
from tests.kits.signed_transactions import CHAIN, RAW, as_hex
from tests.kits.waiting import limited, until

COOLED = Change("a", "cooled", "its time is over", MethodClass.LIGHT)


def configuration() -> Config:
    upstreams = [
        Upstream(name=name, provider=name, url=f"http://127.0.0.1:9/{name}") for name in "ab"
    ]
    chain = Chain(name="test", chain_id=7, upstreams=tuple(upstreams))
    return Config(
        server=Server(listen=Address(host="127.0.0.1", port=0), admin=None), chains=(chain,)
    )


async def test_what_changes_is_told_once_after_a_reload(caplog: pytest.LogCaptureFixture) -> None:
    proxy = Proxy(configuration())
    proxy._build(proxy.config)  # no sockets, no probes
    before = proxy.chains["test"]
    proxy.reload(configuration())
    after = proxy.chains["test"]
    await asyncio.sleep(0)  # the old one's end begins
    try:
        assert after is not before
        with caplog.at_level(logging.INFO, logger="rpcproxy.upstreams"):
            for runtime in (before, after):
                runtime.executor.on_changes([COOLED])
        logged = [getattr(record, "event", "") for record in caplog.records]
        assert logged.count("cooled") == 1
        shown = [entry["kind"] for entry in proxy.changes.latest_first()]
        assert shown.count("cooled") == 1
        assert after.counters.changes["a", "cooled"] == 1
    finally:
        await proxy.stop(drain_seconds=0)


@virtual
async def test_a_retired_executor_is_silent_and_still_wakes_its_requests() -> None:
    engine = Engine()
    engine.all_behave(silent)
    engine.executor.retire()
    engine.observe("a", Verdict.RATE_LIMITED, cooldown_seconds=0.5)
    await engine.executor.wait_for_recovery(60.0)
    assert engine.changes[-1] == "a cooled", "requests under way are told"
    assert now() < 1002.0
    assert {kind for _, kind in engine.counters.changes} == {"readmitted"}, "from before"
    engine.close()


BALANCE = (
    b'{"jsonrpc":"2.0","id":%d,"method":"eth_getBalance",'
    b'"params":["0x00000000000000000000000000000000000000%02x","latest"]}'
)
HEAD = b'{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber"}'
SEND = (
    b'{"jsonrpc":"2.0","id":1,"method":"eth_sendRawTransaction","params":["%s"]}'
    % as_hex(RAW["1559"]).encode()
)
# The first is one that others follow.
WAITING = (
    BALANCE % (1, 1),
    BALANCE % (2, 1),
    b"[%s,%s]" % (BALANCE % (3, 2), BALANCE % (4, 3)),
    HEAD,
    SEND,
)


def served_by(*providers: Provider) -> Config:
    upstreams = tuple(Upstream(name=p.name, provider=p.name, url=p.url) for p in providers)
    chain = Chain(name="test", chain_id=CHAIN, block_time_seconds=0.5, upstreams=upstreams)
    return Config(
        server=Server(listen=Address(host="127.0.0.1", port=0), admin=None), chains=(chain,)
    )


@pytest.mark.parametrize("stays", [True, False])
async def test_what_waits_for_an_upstream_goes_on_where_a_reload_adds_one(stays: bool) -> None:
    chain = SimChain(chain_id=CHAIN)
    dead, well = Provider(chain, "dead"), Provider(chain, "well")
    for provider in (dead, well):
        provider.start()
    proxy = Proxy(served_by(dead))
    try:
        await proxy.start()
        before = proxy.chains["test"]
        await until(lambda: before.standings.heads.served == chain.head, "the head")
        dead.set_fault(faults.REFUSE)
        await until(lambda: before.standings["dead"].light.breaker.is_open, "the outage")
        asked = [
            asyncio.ensure_future(answer_of(before.pipeline.handle(body, "trace")))
            for body in WAITING
        ]
        await until(lambda: before.counters.waited_for_recovery >= 2, "somebody who waits")
        upstreams = (dead, well) if stays else (well,)
        proxy.reload(served_by(*upstreams))
        async with limited():
            answers = [answer.body for answer in await asyncio.gather(*asked)]
        assert not [body for body in answers if b'"error"' in body]
    finally:
        await proxy.stop(drain_seconds=0)
        for provider in (dead, well):
            provider.stop()


async def test_what_comes_between_two_reloads_is_answered_by_the_second() -> None:
    chain = SimChain(chain_id=CHAIN)
    first, second = Provider(chain, "first"), Provider(chain, "second")
    for provider in (first, second):
        provider.start()
    proxy = Proxy(served_by(first))
    try:
        await proxy.start()
        await until(lambda: proxy.chains["test"].standings.heads.served == chain.head, "the head")
        proxy.reload(served_by(second))
        between = proxy.chains["test"].pipeline  # nobody of its own has been checked yet
        asked = asyncio.ensure_future(answer_of(between.handle(BALANCE % (1, 1), "trace")))
        await asyncio.sleep(0)
        proxy.reload(served_by(second))
        async with limited():
            assert b'"result"' in (await asked).body
    finally:
        await proxy.stop(drain_seconds=0)
        for provider in (first, second):
            provider.stop()
