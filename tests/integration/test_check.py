"""``rpcproxy check`` against real nodes: well ones, and one of each way to be unwell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from rpcproxy.app.checkup.asking import AskSettings
from rpcproxy.app.checkup.checkup import check
from rpcproxy.chains.known import KNOWN
from rpcproxy.config.load import load_file
from tests.integration.anvil import AnvilChain
from tests.integration.anvil_node import DOMAINS, Anvil, free_port
from tests.kits.waiting import LIMIT_SECONDS
from tests.sockets.providers import ROOT

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def nodes(anvil_binary: str) -> Iterator[AnvilChain]:
    """Four anvils at block 13."""
    with AnvilChain(anvil_binary) as chain:
        chain.start()
        chain.mine(12)
        yield chain


def entry(node: Anvil, url: str = "", **fields: str) -> str:
    """One upstream. With a key in its query, to be kept secret."""
    provider, cloud, region = DOMAINS[node.name]
    values = {
        "name": node.name,
        "url": f"'{url or node.url}/?apikey={KEY}'",
        "provider": provider,
        "cloud": cloud,
        "region": region,
        **fields,
    }
    return f"{{{', '.join(f'{key}: {value}' for key, value in values.items())}}}"


def written(directory: Path, *entries: str, **chain: str) -> Path:
    keys = {"name": "anvil", "chain_id": "31337", "block_time": "30s", **chain}
    lines = [f"{key}: {value}" for key, value in keys.items()]
    lines += ["upstreams:", *(f"  - {each}" for each in entries)]
    file = directory / f"{keys['name']}.yaml"
    file.write_text("chains:\n  - " + "\n    ".join(lines) + "\n")
    return file


def run(*arguments: object) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "rpcproxy", "check", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    assert KEY not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def test_all_is_well(nodes: AnvilChain, tmp_path: Path) -> None:
    genesis = nodes["alder"].call("eth_getBlockByNumber", "0x0", False)["hash"]
    entries = [entry(node) for node in nodes.nodes]
    socket = nodes["alder"].url.replace("http", "ws")
    entries[0] = entry(nodes["alder"], ws_url=f"'{socket}/?apikey={KEY}'")
    file = written(tmp_path, *entries, genesis=f"'{genesis}'")
    code, out, err = run("-c", file, "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["ok"] is True
    (chain,) = told["chains"]
    assert (chain["alike"], chain["capacity"]["single_points"]) == ([], [])
    for upstream in chain["upstreams"]:
        found = upstream["found"]
        assert (found["state"], found["head"], found["lag"]) == ("usable", 13, 0), found
        assert found["head_hash"] == nodes.blocks[-1].hash
        assert found["client_version"].startswith("anvil/")
        assert found["latency_seconds"] > 0
        assert found["history"]["words"] == "all 12 blocks: an archive"
        answered = {found[name]["state"] for name in ("genesis", "multicall", "batch", "logs")}
        assert answered == {"yes"}, found
        assert found["calls"] <= told["most_calls"]
    sockets = [upstream["found"]["websocket"] for upstream in chain["upstreams"]]
    assert sockets == [{"state": "yes", "words": "newHeads subscribed"}, None, None, None]
    # The chain's blocks are of years ago, which is told and no reason to fail.
    assert ["the newest block is" in note for note in chain["notes"]] == [True]


def test_each_fault_is_named(nodes: AnvilChain, tmp_path: Path) -> None:
    alder, birch, cedar, dogwood = nodes.nodes
    dogwood.is_held = True
    nodes.mine(6)
    entries = [
        entry(alder),
        entry(birch, ws_url=f"'ws://127.0.0.1:{free_port()}/{KEY}'"),
        entry(dogwood),
        entry(alder, name="twin", provider="other"),
        entry(cedar, url=f"http://127.0.0.1:{free_port()}", name="gone"),
        entry(cedar, url=cedar.url.replace("http", "https"), name="plain"),
        entry(cedar, url=cedar.url, name="cedar"),
    ]
    file = written(tmp_path, *entries)
    with file.open("a") as more:
        more.write(f"  - {{name: ethereum, upstreams: [{entry(cedar)}]}}\n")
    code, out, _ = run("-c", file)
    assert code == 1
    text = " ".join(out.split())
    for words in (
        "birch: WebSocket: connection refused",
        "dogwood: is 6 blocks behind the others",
        "alder and twin look like one and the same: the same host and path",
        "connection refused",
        "plain: 127.0.0.1:",
        "handshake failed",
        "cedar: is on chain 31337; configured is 1",
        "no upstream can be used: nobody can serve",
        "not well: 4 of 8 upstreams cannot be used",
        "never more than 24",
    ):
        assert words in text, words


def test_a_frozen_node_holds_nobody_up(nodes: AnvilChain, tmp_path: Path) -> None:
    cedar = nodes["cedar"]
    file = written(tmp_path, entry(nodes["alder"]), entry(cedar))
    config = load_file(file, KNOWN, os.environ)
    steps: list[tuple[str, ...]] = []

    def on_step(*step: str) -> None:
        steps.append(step)

    cedar.freeze()
    try:
        settings = AskSettings(question_seconds=1.5, total_seconds=LIMIT_SECONDS)
        checkup = uvloop.run(check(config, None, settings, on_step))
    finally:
        cedar.thaw()
    found: dict[str, Any] = {each.name: each.found for each in checkup.chains[0].upstreams}
    assert found["alder"].is_usable
    assert (found["cedar"].state, found["cedar"].trouble) == ("unusable", "no answer in 1.5 s")
    # For it alone, and not for all the time that there is.
    assert settings.question_seconds <= checkup.seconds < settings.total_seconds
    points = [point.words for point in checkup.chains[0].capacity.single_points]
    assert points == [
        "alder is the only usable upstream that serves reads: when it fails, nobody can serve"
    ]
    assert checkup.has_trouble
    assert {step for step in steps if not step[2]} == {
        ("anvil", "alder", ""),
        ("anvil", "cedar", ""),
    }
