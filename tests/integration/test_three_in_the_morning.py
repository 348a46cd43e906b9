"""The walk-through of docs/operations.md, played: five questions of an operator, each answered by
one command as it stands there, from a run with an outage, a drain, a reload, a restart by takeover
and a failed send.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from eth_account import Account

from rpcproxy.drills.scenarios import faults
from tests.integration.restarted_world import RestartedWorld
from tests.integration.running_proxy import ROOT, RunningProxy
from tests.kits.waiting import LIMIT_SECONDS, wait_until
from tests.sockets.providers import ProviderProcess

WALK = (ROOT / "docs" / "operations.md").read_text().partition("### Three in the morning")[2]
COMMANDS = re.findall(r"^ +(rpcproxy .+)$", WALK.partition("\n### ")[0], re.MULTILINE)
USER = {"LOGNAME": "alice", "COLUMNS": "200"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RestartedWorld]:
    with (
        ProviderProcess("a", "b", "c", latency_seconds=0.001, block_time_seconds=1.0) as providers,
        contextlib.closing(RestartedWorld(providers, tmp_path / "proxy")) as world,
    ):
        yield world


def run(beginning: str, proxy: RunningProxy, given: Mapping[str, str] = {}) -> str:
    """What the command of the walk-through that begins so prints, with names for its capitals."""
    (line,) = (command for command in COMMANDS if command.startswith(beginning))
    words = [given.get(word, word) for word in line.split()[1:]]
    done = subprocess.run(
        [sys.executable, "-m", "rpcproxy", *words, "--url", proxy.admin_url],
        cwd=ROOT,
        env={**{k: v for k, v in os.environ.items() if k != "SUDO_USER"}, **USER},
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def a_transfer() -> tuple[str, str]:
    """A signed one, in hex, and its hash."""
    fields = {"nonce": 0, "gas": 21_000, "to": "0x" + "22" * 20, "value": 1, "chainId": 1337}
    fees = {"maxFeePerGas": 10**9, "maxPriorityFeePerGas": 1}
    made = Account.sign_transaction({**fields, **fees}, "0x" + "11" * 32)
    return made.raw_transaction.to_0x_hex(), made.hash.to_0x_hex()


def send(proxy: RunningProxy, raw: str) -> tuple[dict[str, object], str]:
    """What a wallet gets for a transaction, and the trace id that it is told."""
    asked = {"jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": [raw]}
    connection = http.client.HTTPConnection(urlsplit(proxy.url).netloc, timeout=LIMIT_SECONDS)
    with contextlib.closing(connection):
        connection.request("POST", "/", json.dumps(asked), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return json.loads(answer.read()), answer.headers["X-Trace-Id"]


def test_the_walk_through_has_a_command_for_each_question() -> None:
    assert len(re.findall(r"^\d\. ", WALK.partition("\n### ")[0], re.MULTILINE)) == 5
    assert [command.split()[1] for command in COMMANDS] == [
        *("top", "drain", "failures", "failures", "explain", "changes")
    ]


def test_five_questions_are_answered_by_a_command_each(world: RestartedWorld) -> None:
    first = world.start()
    first.wait_until_well()
    # 1. One provider fails: which, since when?
    world.providers.set_fault("a", faults.REFUSE)
    wait_until(lambda: first.upstream_states()["a"] == "ejected", "it is left out")
    top = run("rpcproxy top", first)
    assert "a fails, wallets are served by two others" in top
    # 2. Take it out, and see that it is out.
    assert "drained" in run("rpcproxy drain", first, {"CHAIN": "here", "UPSTREAM": "a"})
    assert first.upstream_states()["a"] == "drained"
    assert re.search(r"a .*drained.*alice@", run("rpcproxy top", first))
    # A reload, a restart by takeover.
    first.write_config(world.config().replace("block_time: 1s", "block_time: 1s\n    max_lag: 9"))
    done = [sys.executable, "-m", "rpcproxy", "reload", "--url", first.admin_url]
    subprocess.run(done, cwd=ROOT, check=True, capture_output=True, timeout=LIMIT_SECONDS)
    second = world.start("--takeover")
    assert first.wait() == 0
    assert second.upstream_states()["a"] == "drained"
    # 3. A send fails: why? 4. Is it the chain?
    wait_until(lambda: set(second.upstream_states().values()) == {"drained", "up"}, "b and c serve")
    world.set_all(faults.REFUSE)
    raw, hash = a_transfer()
    told, trace = send(second, raw)
    assert "error" in told
    for question in ("rpcproxy failures --trace", "rpcproxy failures --tx"):
        why = run(question, second, {"TRACE": trace, "HASH": hash})
        assert "eth_sendRawTransaction" in why
        assert hash in why
        assert {"b", "c"} <= set(re.findall(r"\b[abc]\b", why))
        assert "unreachable" in why
    wait_until(lambda: "can be reached" in run("rpcproxy top", second), "nobody is left")
    assert "probably the network here" in run("rpcproxy top", second)
    assert re.search(r"nobody|none|no upstream", run("rpcproxy explain", second), re.IGNORECASE)
    world.set_all(None)
    # 5. What changed in the last hour?
    wait_until(lambda: "was drained" in run("rpcproxy changes", second), "it is told")
    lately = run("rpcproxy changes", second)
    for part in ("drained", "alice@", "max_lag", "Another process took over", "here"):
        assert part in lately, f"{part} in:\n{lately}"
    assert re.search(r"a .*(?:failed|fails)", lately)
    second.close()
