"""An outage under load, and what ``rpcproxy report`` says of it: beside the proxy, after its end."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from datetime import datetime
from typing import Any

import aiohttp
import pytest

from rpcproxy import cli
from rpcproxy.app.proxy import Proxy
from rpcproxy.config.model import Address, Chain, Config, Server, Upstream
from rpcproxy.drills.evm.simchain import SimChain
from rpcproxy.drills.providers.provider import Provider, Ticker
from rpcproxy.drills.scenarios import faults
from tests.integration.running_proxy import ROOT
from tests.kits.waiting import LIMIT_SECONDS, limited

KEY = "s3cret-key-of-ours"
BLOCK_SECONDS = 0.25
ROUNDED_SECONDS = 0.1  # as times are told
PROVIDERS = ("a", "b", "c")


class Story:
    """What happened, by the clock of the test, and what the report said during and after it."""

    def __init__(self) -> None:
        self.struck = self.over = 0.0
        self.asked = 0
        self.beside: dict[str, Any] = {}
        self.after: dict[str, Any] = {}
        self.files = b""


def report() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "rpcproxy", "report", "--json"],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    card: dict[str, Any] = json.loads(done.stdout)
    return card


class World:
    def __init__(self) -> None:
        chain = SimChain(1337, start_number=1000, block_time_seconds=BLOCK_SECONDS)
        self.providers = [Provider(chain, name, latency_seconds=0.005) for name in PROVIDERS]
        self.ticker = Ticker(chain)
        self.story = Story()

    async def start(self) -> None:
        for provider in self.providers:
            provider.start()
        self.ticker.start()
        upstreams = tuple(
            Upstream(name=p.name, url=f"{p.url}/{KEY}", provider=f"of {p.name}")
            for p in self.providers
        )
        nearest = Address(host="127.0.0.1", port=0)
        self.proxy = Proxy(
            Config(
                server=Server(listen=nearest, admin=None),
                chains=(
                    Chain(
                        name="sim",
                        chain_id=1337,
                        block_time_seconds=BLOCK_SECONDS,
                        upstreams=upstreams,
                    ),
                ),
            )
        )
        await self.proxy.start()

    async def ask_until(self, is_over: Any) -> None:
        url = "http://{}:{}/".format(*self.proxy.address)
        async with limited(), aiohttp.ClientSession() as session:
            while not is_over():
                self.story.asked += 1
                call = {"jsonrpc": "2.0", "id": 1, "method": "eth_getBalance"}
                params = [f"0x{self.story.asked:040x}", "latest"]
                async with session.post(url, json={**call, "params": params}) as reply:
                    assert "result" in await reply.json()
                self.proxy.sampler.sample_now()

    def state(self, name: str) -> str:
        return self.proxy.chains["sim"].standings[name].state

    async def stop(self) -> None:
        await self.proxy.stop(drain_seconds=0)
        self.ticker.stop()
        for provider in self.providers:
            provider.stop()


async def play() -> Story:
    world = World()
    story = world.story
    await world.start()
    try:
        await world.ask_until(lambda: all(world.state(name) == "up" for name in PROVIDERS))
        story.struck = time.time()
        world.providers[1].set_fault(faults.REFUSE)
        await world.ask_until(lambda: world.state("b") == "ejected")
        ejected = time.time()
        await world.ask_until(lambda: time.time() > ejected + 0.5)
        story.beside = await asyncio.to_thread(report)
        world.providers[1].set_fault(faults.WELL)
        await world.ask_until(lambda: world.state("b") == "up")
        well = time.time()
        await world.ask_until(lambda: time.time() > well + 0.3)
    finally:
        await world.stop()
    story.over = time.time()
    return story


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as monkeypatch:
        state = tmp_path_factory.mktemp("state")
        monkeypatch.setenv("XDG_STATE_HOME", str(state))
        monkeypatch.delenv("STATE_DIRECTORY", raising=False)
        story = asyncio.run(play())
        story.after = report()
        (path,) = (state / "rpcproxy").glob("*/history")
        page = state / "card.html"
        assert cli.main(["report", "--history", str(path), "--html", str(page)]) == 0
        files = [*path.iterdir(), page]
        story.files = b"".join(file.read_bytes() for file in files)
        yield story


def of(card: dict[str, Any], name: str) -> dict[str, Any]:
    return next(figures for figures in card["upstreams"] if figures["upstream"] == name)


def unix(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def test_beside_the_proxy_the_outage_goes_on(story: Story) -> None:
    [outage] = story.beside["outages"]
    assert (outage["upstream"], outage["is_over"]) == ("b", False)


def test_the_one_that_was_down_is_told_with_its_times(story: Story) -> None:
    [outage] = story.after["outages"]
    assert (outage["chain"], outage["upstream"], outage["provider"]) == ("sim", "b", "of b")
    assert (outage["state"], outage["is_over"]) == ("ejected", True)
    assert story.struck <= unix(outage["start"]) < unix(outage["end"]) <= story.over
    told_seconds = unix(outage["end"]) - unix(outage["start"])
    assert outage["seconds"] == pytest.approx(told_seconds, abs=ROUNDED_SECONDS)
    b = of(story.after, "b")
    assert b["availability"] < 1
    assert 0 < b["down_seconds"] <= story.over - story.struck
    assert b["outages"] == 1
    assert "unreachable" in {**b["errors"], **b["probe_errors"]}
    [provider] = [each for each in story.after["providers"] if each["provider"] == "of b"]
    assert provider["availability"] == b["availability"]


def test_the_others_were_there_all_the_time(story: Story) -> None:
    others = [of(story.after, name) for name in ("a", "c")]
    assert [each["availability"] for each in others] == [1, 1]
    served = sum(each["classes"]["light"]["calls"] for each in others)
    assert served >= story.asked / 3
    for each in others:
        light = each["classes"]["light"]
        assert 0 < light["p50_seconds"] <= light["p99_seconds"]
        # eth_getBalance weighs 2, and so does a probe.
        assert each["compute_units_estimate"] == 2 * each["calls"]


def test_wallets_noticed_nothing(story: Story) -> None:
    [chain] = story.after["chains"]
    assert sum(chain["requests"].values()) == story.asked
    assert (chain["failed_share"], chain["unserved_seconds"]) == (0, 0)


def test_no_key_is_in_it(story: Story) -> None:
    assert KEY.encode() not in story.files
    assert not re.search(KEY, json.dumps(story.after))
