"""The timeline of a proxy that is killed, taken over and reloaded: nothing that was shown is lost,
nothing is told twice, and who did what is said.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rpcproxy.drills.scenarios import faults
from tests.integration.restarted_world import RestartedWorld, asked
from tests.integration.running_proxy import ROOT, RunningProxy
from tests.integration.wire import Wire
from tests.kits.waiting import LIMIT_SECONDS, wait_until
from tests.sockets.providers import ProviderProcess


@pytest.fixture
def providers() -> Iterator[ProviderProcess]:
    with ProviderProcess("a", "b", latency_seconds=0.001, block_time_seconds=1.0) as providers:
        yield providers


@pytest.fixture
def world(providers: ProviderProcess, tmp_path: Path) -> Iterator[RestartedWorld]:
    with contextlib.closing(RestartedWorld(providers, tmp_path / "proxy")) as world:
        yield world


def changes(proxy: RunningProxy, query: str = "") -> list[dict[str, Any]]:
    status, told = asked(proxy, "GET", f"/changes{query}")
    assert (status, told["kept"]) == (200, "")
    found: list[dict[str, Any]] = told["changes"]
    return found


def of_kind(proxy: RunningProxy, kind: str) -> list[dict[str, Any]]:
    return [each for each in changes(proxy) if each["kind"] == kind]


def fail_once(proxy: RunningProxy) -> None:
    """A wallet asks, and sees an error."""
    with contextlib.closing(Wire(proxy.url)) as wire:
        assert "error" in wire.ask("eth_gasPrice")[1]


def an_outage(world: RestartedWorld, proxy: RunningProxy) -> dict[str, Any]:
    """It has begun, and a wallet has noticed; as it is told."""
    world.set_all(faults.REFUSE)
    wait_until(lambda: of_kind(proxy, "outage"), "the outage is told")
    fail_once(proxy)
    wait_until(lambda: of_kind(proxy, "outage")[0]["unserved"], "what wallets noticed")
    return of_kind(proxy, "outage")[0]


def seconds_since(moment: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()


def assert_since_then(proxy: RunningProxy, moment: str) -> None:
    """The chain's outage lasts since then, whoever is asked."""
    chain = proxy.status()["chains"][0]
    began = datetime.fromisoformat(chain["outage_since"])
    assert abs((began - datetime.fromisoformat(moment)).total_seconds()) < 1.0


def test_an_outage_and_an_order_go_through_a_kill(world: RestartedWorld) -> None:
    first = world.start()
    first.wait_until_well()
    assert asked(first, "POST", "/upstreams/here/b/drain")[0] == 200
    outage = an_outage(world, first)
    shown = {each["id"] for each in changes(first)}
    first.kill()
    time.sleep(1.5)
    second = world.start()
    assert "ended without a word" in second.log
    kinds = [each["kind"] for each in changes(second)]
    assert kinds.count("died") == 1
    assert shown <= {each["id"] for each in changes(second)}
    (again,) = of_kind(second, "outage")
    assert (again["id"], again["started"], again["ended"]) == (
        outage["id"],
        outage["started"],
        None,
    )
    assert again["unserved"] >= outage["unserved"]
    upstream = second.status()["chains"][0]["upstreams"][1]
    assert upstream["order"]["order"] == "drain"
    assert upstream["order"]["by"] == "alice, from 127.0.0.1"
    assert upstream["order"]["since"] == of_kind(second, "drained")[0]["started"]
    assert_since_then(second, outage["started"])
    assert upstream["since_seconds"] >= seconds_since(upstream["order"]["since"]) - 1.0
    world.set_all(None)
    wait_until(lambda: of_kind(second, "outage")[0]["ended"], "it ends")
    (over,) = of_kind(second, "outage")
    assert (over["id"], over["started"]) == (outage["id"], outage["started"])
    incidents = second.status()["incidents"]
    assert [each["kind"] for each in incidents].count("outage") == 1
    second.close()


def test_an_outage_goes_through_a_takeover(world: RestartedWorld) -> None:
    first = world.start()
    first.wait_until_well()
    outage = an_outage(world, first)
    shown = {each["id"] for each in changes(first)}
    second = world.start("--takeover")
    assert shown <= {each["id"] for each in changes(second)}, "at once"
    assert first.wait() == 0
    wait_until(lambda: of_kind(second, "taken_over"), "the old one's last word")
    (again,) = of_kind(second, "outage")
    assert (again["id"], again["started"], again["times"]) == (outage["id"], outage["started"], 1)
    assert again["unserved"] >= outage["unserved"]
    wait_until(lambda: len(of_kind(second, "started")) == 2, "who serves now")
    assert_since_then(second, outage["started"])
    assert of_kind(second, "died") == []
    second.close()


def test_reloads_refusals_and_ends_are_told(world: RestartedWorld) -> None:
    first = world.start()
    first.wait_until_well()
    asked(first, "PUT", "/log-level", {"level": "debug"})
    first.write_config(world.config("a"))
    assert asked(first, "POST", "/reload")[0] == 200
    first.expected_errors.append("config_reload configuration refused")
    first.write_config("chains: 7\n")
    first.hang_up()
    wait_until(lambda: of_kind(first, "config_refused"), "the file is refused")
    told = {each["kind"]: each for each in changes(first)}
    assert told["log_level"]["sentence"] == (
        "The log level was set by alice, from 127.0.0.1: debug, info before"
    )
    reload = told["config_reload"]
    assert (reload["words"], reload["by"]) == (
        "here: upstream b removed",
        "alice, from 127.0.0.1",
    )
    assert "chains" in told["config_refused"]["words"]
    assert first.status()["timeline"][0]["kind"] == "config_refused"
    first.close()
    second = world.start()
    stopped = of_kind(second, "stopped")[0]
    assert stopped["words"] == "SIGTERM"
    assert of_kind(second, "died") == []
    second.close()


def test_what_is_asked_of_a_time(world: RestartedWorld) -> None:
    proxy = world.start()
    wait_until(lambda: changes(proxy), "it has started")
    assert len(changes(proxy, "?since=1h&limit=1")) == 1
    assert changes(proxy, "?chain=elsewhere") == []
    assert changes(proxy, "?since=2999-01-01T00:00:00Z") == []
    for query, words in (
        ("since=yesterday", "since: expected a time as in 30m"),
        ("since=nan", "since: expected"),
        ("limit=0", "limit: expected a whole number from 1 to 2000"),
        ("sinse=1h", "there is no 'sinse' here; known are since, chain"),
    ):
        status, told = asked(proxy, "GET", f"/changes?{query}")
        assert status == 400
        assert words in told["error"]
    proxy.close()


def test_wallets_noticed_an_outage_at_the_start(world: RestartedWorld) -> None:
    world.set_all(faults.REFUSE)
    proxy = world.start()
    for _ in range(3):
        fail_once(proxy)
    failures = json.loads(proxy.get("/failures"))["failures"]
    assert len(failures) == 3
    wait_until(lambda: of_kind(proxy, "outage"), "the outage is told")
    wait_until(lambda: of_kind(proxy, "outage")[0]["unserved"] == 3, "what wallets noticed")
    proxy._process.send_signal(signal.SIGINT)
    assert proxy.wait() == 0


def test_the_report_tells_what_happened(world: RestartedWorld) -> None:
    proxy = world.start()
    wait_until(lambda: changes(proxy), "it has started")
    proxy.close()
    state = {"XDG_STATE_HOME": str(world.directory / "state")}
    for option, words in (("--json", '"kind": "stopped"'), ("--since=1h", "The proxy stopped")):
        done = subprocess.run(
            [sys.executable, "-m", "rpcproxy", "report", "-c", str(proxy.config_path), option],
            cwd=ROOT,
            env={**os.environ, **state},
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=True,
        )
        assert words in done.stdout
