"""Chains that a reload replaced: they finish their requests, and tell nobody what changes."""

from __future__ import annotations

import asyncio
import logging

import pytest

from rpcproxy.app.proxy import Proxy
from rpcproxy.config.model import Address, Chain, Config, Server, Upstream
from rpcproxy.messages import MethodClass, Verdict
from rpcproxy.states import Change
from tests.kits.engine_kit import Engine, now, silent, virtual

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
