"""The snippets of README, as they are written there, through a proxy in front of real nodes.

Only host and port are put in place of those that README names. Of Foundry's commands those of cast
and anvil are run; those of forge need a compiler, and are held by their parsing: known options, and
names of the ``foundry.toml`` beside them, which cast reads just so.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from rpcproxy import cli
from tests.integration.anvil import AnvilChain
from tests.integration.anvil_node import DOMAINS
from tests.integration.conftest import CLIENTS, missing
from tests.integration.running_proxy import RunningProxy
from tests.kits.pages import PAGES, README, fenced, names, rows, section
from tests.kits.waiting import LIMIT_SECONDS, wait_until

WALLETS = "http://127.0.0.1:8545"
ADMIN = "http://127.0.0.1:9545"
CHAINS = {"ethereum": (1, ("alder", "birch")), "base": (8453, ("cedar", "dogwood"))}
BLOCK_SECONDS = 0.4


@dataclass
class World:
    """The proxy, and the nodes of each chain behind it."""

    proxy: RunningProxy
    chains: dict[str, AnvilChain]
    directory: Path

    def here(self, text: str) -> str:
        """With the addresses of this proxy in place of those that README names."""
        return text.replace(WALLETS, self.proxy.url).replace(ADMIN, self.proxy.admin_url)

    def run(self, command: list[str], **environment: str) -> list[str]:
        """What it prints, word by word. It ends by itself, and well."""
        done = subprocess.run(
            command,
            cwd=self.directory,
            env={**os.environ, "NO_COLOR": "1", **environment},
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout.split()

    def served(self, chain: str) -> int:
        """The block that the proxy serves now; no wallet sees less from here on."""
        return number_of("eth_blockNumber", f"{self.proxy.url}/{chain}")


def number_of(method: str, url: str) -> int:
    """What a call without params brings."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method})
    with urlopen(Request(url, body.encode()), timeout=LIMIT_SECONDS) as answer:
        return int(json.load(answer)["result"], 16)


def configuration(chains: dict[str, AnvilChain]) -> str:
    lines = ["server: {listen: '127.0.0.1:0', admin: '127.0.0.1:0'}", "chains:"]
    for name, chain in chains.items():
        lines += [f"  - name: {name}", "    block_time: 1s", "    upstreams:"]
        for node in chain.nodes:
            provider, cloud, region = DOMAINS[node.name]
            place = f"provider: {provider}, cloud: {cloud}, region: {region}"
            # README's commands of the admin API name an upstream of theirs.
            shown = "infura" if node.name == "alder" else node.name
            lines += [f"      - {{name: {shown}, url: '{node.url}', {place}}}"]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def world(anvil_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    chains = {name: AnvilChain(anvil_binary, nodes) for name, (_, nodes) in CHAINS.items()}
    directory = tmp_path_factory.mktemp("readme")
    proxy = None
    try:
        for name, chain in chains.items():
            chain.start()
            for node in chain.nodes:
                node.call("anvil_setChainId", CHAINS[name][0])
            chain.start_mining(BLOCK_SECONDS)
        proxy = RunningProxy(configuration(chains), directory / "proxy")
        proxy.wait_until_well()
        (directory / "node_modules").symlink_to(CLIENTS / "node_modules")
        yield World(proxy, chains, directory)
    finally:
        if proxy is not None:
            proxy.close()
        for chain in chains.values():
            chain.close()


def snippet(title: str, language: str) -> str:
    (block,) = fenced(section(README, title), language)
    return block


# ---- the URLs


def test_each_url_is_of_its_chain(world: World) -> None:
    told = [
        (url if url.startswith("http") else WALLETS + url, chain)
        for cell, chain in rows(section(README, "Use it"))
        for url in names(cell)
    ]
    assert len(told) == 5
    ids = [(number_of("eth_chainId", world.here(url)), chain) for url, chain in told]
    assert [id for id, _ in ids] == [1, 1, 1, 8453, 8453]
    assert all(("Base" in chain) == (id == 8453) for id, chain in ids)


def test_the_page_for_the_wallet_lists_them(world: World) -> None:
    """``test_browser_pages`` clicks its buttons."""
    steps = section(README, "MetaMask and other wallets")
    (url,) = [name for name in names(steps) if name.startswith(WALLETS)]
    with urlopen(
        Request(world.here(url), headers={"Accept": "text/html"}), timeout=LIMIT_SECONDS
    ) as page:
        text = page.read().decode()
    for chain in CHAINS:
        assert f"{world.proxy.url}/{chain}" in text
    assert "Add to MetaMask" in steps


# ---- libraries


def test_viem(world: World, node_binary: str, require_node_package: Callable[[str], None]) -> None:
    require_node_package("viem")
    file = world.directory / "viem.mjs"
    file.write_text(world.here(snippet("viem", "js")))
    least = [world.served("ethereum"), world.served("base")]
    printed = [int(word.rstrip("n")) for word in world.run([node_binary, file.name])]
    assert len(printed) == 2
    for number, before, name in zip(printed, least, CHAINS, strict=True):
        assert before <= number <= world.chains[name].height


def test_ethers(
    world: World, node_binary: str, require_node_package: Callable[[str], None]
) -> None:
    require_node_package("ethers")
    file = world.directory / "ethers.mjs"
    file.write_text(world.here(snippet("ethers", "js")))
    chain = world.chains["ethereum"]
    (hash,) = world.run([node_binary, file.name], PRIVATE_KEY=chain.accounts[0].key)
    wait_until(lambda: any(hash in dict(b.transactions) for b in chain.blocks), "it is in a block")


def test_web3(world: World) -> None:
    file = world.directory / "snippet.py"
    file.write_text(world.here(snippet("web3.py", "python")))
    least = [world.served("ethereum"), world.served("base")]
    ethereum, price, base = map(int, world.run([sys.executable, file.name]))
    assert least[0] <= ethereum <= world.chains["ethereum"].height
    assert least[1] <= base <= world.chains["base"].height
    assert price > 0


# ---- Foundry


def foundry_commands(program: str) -> list[list[str]]:
    block = snippet("Foundry", "sh")
    every = [shlex.split(line, comments=True) for line in block.splitlines()]
    assert {words[0] for words in every} == {"cast", "forge", "anvil"}
    return [words for words in every if words[0] == program]


@pytest.fixture(scope="module")
def cast_binary() -> str:
    found = sorted((CLIENTS / "node_modules" / "@foundry-rs").glob("cast-*/bin/cast*"))
    if not found:
        missing("cast")
    return str(found[0])


def test_cast(world: World, cast_binary: str) -> None:
    (world.directory / "foundry.toml").write_text(world.here(snippet("Foundry", "toml")))
    look, send = foundry_commands("cast")
    least = world.served("base")
    (number,) = world.run([cast_binary, *look[1:]])
    assert least <= int(number) <= world.chains["base"].height
    chain = world.chains["ethereum"]
    values = {"$PRIVATE_KEY": chain.accounts[1].key, "$RECIPIENT": chain.accounts[2].address}
    assert set(values) < set(send)
    told = world.run([cast_binary, *(values.get(word, word) for word in send[1:])])
    facts = dict(pairwise(told))
    assert facts["status"] == "1"
    mined = chain.blocks[int(facts["blockNumber"]) - 1]
    assert facts["transactionHash"] in dict(mined.transactions)


def test_anvil_forks_from_the_proxy(world: World, anvil_binary: str) -> None:
    ((_, *arguments),) = foundry_commands("anvil")
    place = arguments.index("--port") + 1
    arguments[place] = "0"
    least = world.served("ethereum")
    process = subprocess.Popen(
        [anvil_binary, *map(world.here, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if "Listening on" in line:
                break
        (number,) = re.findall(r"^Block number:\s+(\d+)", said, re.MULTILINE)
        assert least <= int(number) <= world.chains["ethereum"].height
        assert re.search(r"^Chain ID:\s+1$", said, re.MULTILINE), said
    finally:
        process.kill()
        process.communicate()


def test_forge_is_given_names_of_its_file() -> None:
    endpoints = tomllib.loads(snippet("Foundry", "toml"))["rpc_endpoints"]
    assert endpoints == {"ethereum": WALLETS, "base": f"{WALLETS}/base"}
    test, script = foundry_commands("forge")
    # --fork-url is forge's other name for --rpc-url.
    assert test[1:] == ["test", "--fork-url", "ethereum"]
    assert script[1] == "script"
    assert script[3:] == ["--rpc-url", "base", "--broadcast"]


# ---- the shell


def curls(*titles: str) -> Iterator[list[str]]:
    for title in titles:
        for block in fenced(section(README, title), "sh"):
            for line in block.splitlines():
                words = shlex.split(line, comments=True)
                if words and words[0] == "curl":
                    yield words[1:]


@pytest.mark.parametrize(
    "arguments",
    [pytest.param(words, id=words[-1][:40]) for words in curls("See it work", "Watching it")],
)
def test_curl(world: World, arguments: list[str], require_tool: Callable[[str], str]) -> None:
    curl = require_tool("curl")
    told = world.run([curl, "-sS", "--fail-with-body", *map(world.here, arguments)])
    assert told
    assert not any(word.startswith('"error') for word in told)


def test_the_terminal_tells_the_same(world: World) -> None:
    """``top``, as README has it, of this proxy."""
    (top,) = [words for words in ours(README) if words[1:] == ["top"]]
    told = world.run(
        [sys.executable, "-m", "rpcproxy", *top[1:], "--url", world.proxy.admin_url],
        PYTHONPATH=str(CLIENTS.parents[1]),
    )
    assert {"ethereum", "base"} <= {word.lower().strip(":,") for word in told}


def ours(text: str) -> Iterator[list[str]]:
    for block in fenced(text, "sh"):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0].endswith("rpcproxy"):
                yield words


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_a_sentence_are_understood(page: str) -> None:
    """Those in blocks are ``test_docs``'s."""
    for text in re.findall(r"`(?:[\w./]*/)?rpcproxy ([a-z][^`]*)`", " ".join(PAGES[page].split())):
        words = shlex.split(text)
        if "--help" not in words and any(word.startswith("-") for word in words):
            assert callable(cli._parser().parse_args(words).load), text
