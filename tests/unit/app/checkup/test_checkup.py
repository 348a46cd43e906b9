"""What follows for a chain of what was found of its upstreams, and how it is shown."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from rich.console import Console

from rpcproxy.app.checkup.asking import AskSettings
from rpcproxy.app.checkup.checkup import Checkup, check
from rpcproxy.commands.runs.check_progress import Progress
from rpcproxy.commands.runs.check_view import document, show
from rpcproxy.config.model import Chain, Config, Server, Upstream
from rpcproxy.edges.logs import Redactor, secrets_of
from tests.kits.waiting import LIMIT_SECONDS
from tests.sockets.scripted import Peer, Script, Scripted, reply

KEY = "0123456789abcdef0123"


def node(head: int, hash: str = "0xaa", version: str = "Node/v1", age_seconds: int = 0) -> Script:
    now = hex(int(time.time()) - age_seconds)
    results: Mapping[str, Any] = {
        "eth_chainId": "0x1",
        "eth_blockNumber": hex(head),
        "eth_getBlockByNumber": {
            "number": hex(head),
            "hash": f"{hash:0<66}",
            "parentHash": f"{'0xbb':0<66}",
            "timestamp": now,
        },
        "eth_getBalance": "0x0",
        "eth_call": "0x",
        "eth_getLogs": [],
        "eth_gasPrice": "0x1",
        "web3_clientVersion": version,
    }

    def one(call: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"jsonrpc": "2.0", "id": call["id"], "result": results[call["method"]]}

    async def script(peer: Peer) -> None:
        while True:
            body = json.loads((await peer.request()).partition(b"\r\n\r\n")[2])
            answer = [one(call) for call in body] if isinstance(body, list) else one(body)
            await peer.send(reply(json.dumps(answer).encode()))

    return script


async def checked(genesis: str = "", **scripts: Script) -> tuple[Config, Checkup]:
    """Each in a cloud of its own, with a key in the path. ``genesis``: as from a list."""
    async with AsyncExitStack() as stack:
        upstreams = []
        for name, script in scripts.items():
            server = await stack.enter_async_context(Scripted(script))
            url = f"http://127.0.0.1:{server.port}/{KEY}"
            upstreams.append(Upstream(name=name, url=url, provider=name, cloud=f"of-{name}"))
        chain = Chain(name="c", chain_id=1, block_time_seconds=2.0, upstreams=tuple(upstreams))
        if genesis:
            known = {"genesis_hash": f"{genesis:0<66}", "genesis_guessed": True}
            chain = chain.model_copy(update=known)
        config = Config(chains=(chain,), server=Server())
        return config, await check(config, settings=AskSettings(LIMIT_SECONDS, LIMIT_SECONDS))


def shown(config: Config, checkup: Checkup, width: int, *, is_terminal: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=is_terminal, highlight=False)
    show(checkup, config.warnings, Redactor(secrets_of(config)), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


async def test_two_blocks_at_one_height_are_told() -> None:
    config, checkup = await checked(a=node(50), b=node(50, "0xcc"), c=node(50))
    (chain,) = checkup.chains
    words = "they tell different blocks 50 (a and c; b): one side is on a fork"
    assert chain.notes == (words,)
    assert not checkup.has_trouble
    text = shown(config, checkup, 120)
    assert words in text
    assert "all is well" in text


async def test_a_genesis_hash_from_a_list_counts_once_somebody_has_it() -> None:
    # These nodes answer every block with the same one.
    scripts = {"a": node(50), "b": node(50, "0xcc")}
    for genesis, states in (
        ("0xaa", ["usable", "wrong_chain"]),
        ("0xee", ["usable", "usable"]),
    ):
        _, checkup = await checked(genesis, **scripts)
        found = [each.found for each in checkup.chains[0].upstreams]
        assert [each and each.state for each in found] == states


async def test_lag_is_told_and_much_of_it_is_trouble() -> None:
    config, checkup = await checked(a=node(500), b=node(498), c=node(100))
    found = {each.name: each.found for each in checkup.chains[0].upstreams if each.found}
    assert [found[name].lag for name in "abc"] == [0, 2, 400]
    assert [found[name].is_usable for name in "abc"] == [True, True, False]
    assert checkup.has_trouble
    text = shown(config, checkup, 120)
    assert "c: is 400 blocks behind the others" in text
    assert "1 of 3 upstreams cannot be used" in text


async def test_an_invented_head_condemns_nobody_else() -> None:
    _, checkup = await checked(a=node(500), liar=node(2**64 - 1), b=node(499))
    found = {each.name: each.found for each in checkup.chains[0].upstreams if each.found}
    assert {name: each.lag for name, each in found.items()} == {"a": 0, "liar": None, "b": 1}
    assert [name for name, each in found.items() if not each.is_usable] == ["liar"]
    assert found["liar"].trouble.startswith("claims a head far above the others': 18,446,744,")


async def test_of_two_that_are_far_apart_neither_is_condemned_while_both_are_fresh() -> None:
    config, checkup = await checked(a=node(500), b=node(2**64 - 1))
    (chain,) = checkup.chains
    assert checkup.has_trouble
    assert "not well: heads far apart on c" in shown(config, checkup, 120)
    assert [each.found and each.found.lag for each in chain.upstreams] == [None, None]
    assert all(each.is_usable for each in chain.upstreams)
    (words,) = chain.notes
    assert words.startswith("b is at block 18,446,744,073,709,551,615 and a at 500: of two, nobody")
    _, checkup = await checked(a=node(500, age_seconds=3600), b=node(2300))
    (chain,) = checkup.chains
    assert [each.is_usable for each in chain.upstreams] == [False, True]
    assert chain.notes == ()


async def test_an_upstream_that_repeats_its_key_is_shown_without() -> None:
    config, checkup = await checked(a=node(50, version=f"Node {KEY[:-1]}.{KEY} x"), b=node(50))
    told = document(checkup, config.warnings, Redactor(secrets_of(config)))
    text = shown(config, checkup, 120) + shown(config, checkup, 60, is_terminal=True)
    assert KEY not in told + text
    assert json.loads(told)["chains"][0]["upstreams"][1]["found"]["client_version"] == "Node/v1"


async def test_chain_ids_of_the_document_are_numbers() -> None:
    config, checkup = await checked(a=node(50), b=node(50))
    (chain,) = json.loads(document(checkup, config.warnings, str))["chains"]
    assert [chain["chain_id"], *(each["found"]["chain_id"] for each in chain["upstreams"])] == [
        1
    ] * 3


async def test_narrow_and_wide() -> None:
    config, checkup = await checked(a=node(50), b=node(50))
    for width, is_terminal in ((60, True), (60, False), (200, True)):
        text = shown(config, checkup, width, is_terminal=is_terminal)
        words = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())
        assert "all is well" in words
        assert re.search(r"\ba usable\b", words)
        assert "never more than 24" in words


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_for_terminals() -> None:
    upstreams = tuple(Upstream(name=name, url="http://x.test", provider="x") for name in "ab")
    config = Config(chains=(Chain(name="c", chain_id=1, upstreams=upstreams),))
    for stream in (io.StringIO(), Terminal()):
        with Progress(config, stream) as progress:
            for step in ("chain id", "[red]logs", ""):
                progress.on_step("c", "a", step)
        assert bool(stream.getvalue()) == stream.isatty()
    assert "1/2" in stream.getvalue()
