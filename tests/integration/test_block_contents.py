"""Real clients and real nodes, of which most give receipts in no block, or empty lists for blocks
that hold something: what a block says of itself is what people see.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from rpcproxy.chains.evm.entries import wanted_logs
from rpcproxy.chains.parts.contents import Contents
from tests.integration.anvil_node import proxy_config
from tests.integration.odd_upstreams import OddReceipts, empty_lists
from tests.integration.running_proxy import RunningProxy
from tests.integration.uneven_chain import UnevenChain
from tests.integration.wallets import CLIENTS, Wallet
from tests.integration.wire import Wire
from tests.kits.waiting import wait_until

BLOCK_SECONDS = 0.5
TOPIC = "0x" + "ab" * 32
# A constructor that logs: LOG1 of no data, under the topic.
LOGGING = "0x7f" + TOPIC[2:] + "5f5fa100"
# Who waits for what is not there waits for longer than the tests do.
DEADLINES = "{light: 1h, heavy: 1h}"


@dataclass
class World:
    """``nodes``: ways to the nodes of our own, since the miner uses theirs."""

    chain: UnevenChain
    proxy: RunningProxy
    nodes: list[Wire]

    def send(self) -> str:
        """A transaction that logs, at one of the nodes."""
        transaction = {"from": self.chain.accounts[5].address, "data": LOGGING, "gas": hex(200_000)}
        return str(self.nodes[0].result("eth_sendTransaction", transaction))

    def mined(self, hash: str) -> dict[str, Any]:
        """Its receipt, as the nodes have it."""
        found: list[dict[str, Any]] = []

        def is_mined() -> bool:
            found[:] = [node.result("eth_getTransactionReceipt", hash) for node in self.nodes]
            return None not in found

        wait_until(is_mined, "all nodes have mined it")
        return found[0]


@pytest.fixture(scope="module")
def world(anvil_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with UnevenChain(anvil_binary) as chain:
        chain.start(5)
        chain.start_mining(BLOCK_SECONDS)
        nodes = [front.node for front in chain.fronts]
        config = chain.config(proxy_config(nodes, deadlines=DEADLINES))
        proxy = RunningProxy(config, tmp_path_factory.mktemp("contents"))
        try:
            proxy.wait_until_well()
            wires = [Wire(front.node.url) for front in chain.fronts]
            yield World(chain, proxy, wires)
            for wire in wires:
                wire.close()
        finally:
            proxy.close()


@pytest.fixture(autouse=True)
def honest_again(world: World) -> Iterator[None]:
    yield
    for front in world.chain.fronts:
        front.be_honest()
    world.chain.check()


def test_a_receipt_that_was_shown_is_not_taken_back(world: World) -> None:
    wire = world.proxy.wire()
    hash = world.send()
    receipt = world.mined(hash)
    wait_until(lambda: wire.result("eth_getTransactionReceipt", hash) is not None, "its receipt")
    block = wire.result("eth_getBlockByHash", receipt["blockHash"], False)
    assert hash in block["transactions"]
    for front in list(world.chain.fronts)[:3]:
        front.lie = OddReceipts(is_mined_too=True)
    for _ in range(10):
        assert wire.result("eth_getTransactionReceipt", hash)["blockHash"] == receipt["blockHash"]
        assert wire.result("eth_getTransactionByHash", hash)["blockHash"] == receipt["blockHash"]


def test_what_a_block_holds_is_not_an_empty_list(world: World) -> None:
    wire = world.proxy.wire()
    receipt = world.mined(world.send())
    number, hash = receipt["blockNumber"], receipt["blockHash"]
    address = receipt["contractAddress"]
    wait_until(lambda: wire.result("eth_getBlockByNumber", number, False) is not None, "its block")
    for front in list(world.chain.fronts)[:3]:
        front.lie = empty_lists
    for method, params in (
        ("eth_getBlockReceipts", [number]),
        ("eth_getBlockReceipts", [hash]),
        ("eth_getLogs", [{"fromBlock": number, "toBlock": number}]),
        ("eth_getLogs", [{"blockHash": hash}]),
        ("eth_getLogs", [{"fromBlock": "0x1", "toBlock": number}]),
    ):
        found = wire.result(method, *params)
        assert any(entry["blockHash"] == hash for entry in found), (method, params)
    for method, name in (
        ("eth_getBlockTransactionCountByHash", hash),
        ("eth_getBlockTransactionCountByNumber", number),
    ):
        assert int(wire.result(method, name), 16) >= 1
    # With one liar: whoever is asked second finds what the bloom admits.
    for front in list(world.chain.fronts)[1:]:
        front.be_honest()
    filter = {"blockHash": hash, "address": address, "topics": [TOPIC]}
    for _ in range(4):
        assert [log["address"] for log in wire.result("eth_getLogs", filter)] == [address]


def test_a_real_bloom_admits_its_logs_and_no_others(world: World) -> None:
    receipt = world.mined(world.send())
    block = world.nodes[0].result("eth_getBlockByHash", receipt["blockHash"], False)
    held = Contents(int(block["number"], 16), block["hash"], bloom=int(block["logsBloom"], 16))
    admitted = b'[{"address":"%b","topics":["%b"]}]'
    for address, topic, is_there in (
        (receipt["contractAddress"], TOPIC, True),
        (receipt["contractAddress"], "0x" + "cd" * 32, False),
        ("0x" + "cd" * 20, TOPIC, False),
    ):
        wanted = wanted_logs(admitted % (address.encode(), topic.encode()))
        assert wanted is not None
        assert wanted.admits(held) is is_there


def test_past_the_end_of_a_block_there_is_null_at_once(world: World) -> None:
    wire = world.proxy.wire()
    receipt = world.mined(world.send())
    number, hash = receipt["blockNumber"], receipt["blockHash"]
    wait_until(lambda: wire.result("eth_getBlockByNumber", number, False) is not None, "its block")
    for method, name in (
        ("eth_getTransactionByBlockHashAndIndex", hash),
        ("eth_getTransactionByBlockNumberAndIndex", number),
        ("eth_getUncleByBlockHashAndIndex", hash),
    ):
        assert wire.result(method, name, "0x63") is None, method
    assert wire.result("eth_getTransactionByBlockHashAndIndex", hash, "0x0")["blockHash"] == hash


def test_of_a_block_to_come_the_nodes_words_are_given(world: World) -> None:
    """Anvil's own, which it has for some of these; null is none of them."""
    wire = world.proxy.wire()
    node = world.nodes[0]
    for method, params in (
        ("debug_traceBlockByNumber", ["0xffffff"]),
        ("debug_getRawBlock", ["0xffffff"]),
        ("debug_executionWitness", ["0xffffff"]),
        ("eth_getBalance", ["0x" + "ab" * 20, "0xffffff"]),
    ):
        _, direct = node.ask(method, *params)
        _, told = wire.ask(method, *params)
        assert told["error"]["code"] == direct["error"]["code"], method
        # One names the height that the chain has meanwhile.
        messages = (each["error"]["message"] for each in (told, direct))
        ours, theirs = (re.sub(r"(?<=height is )\d+", "N", message) for message in messages)
        assert ours == theirs, method
    for method, params in (
        ("eth_getBlockByNumber", ["0xffffff", False]),
        ("eth_getBlockReceipts", ["0xffffff"]),
    ):
        assert wire.result(method, *params) is None
        assert node.result(method, *params) is None


# ---- the wallets come last: while one runs it works as hard as it can


@pytest.fixture(scope="module", params=["viem", "ethers"])
def wallet(
    request: pytest.FixtureRequest,
    world: World,
    node_binary: str,
    require_node_package: Callable[[str], None],
) -> Iterator[Wallet]:
    """The wallet that a script of tests/clients is, for all tests with it."""
    require_node_package(request.param)
    account = world.chain.accounts[request.param_index]
    command = [node_binary, str(CLIENTS / f"{request.param}.mjs")]
    wallet = Wallet(command, world.proxy.url, account, world.chain.contract)
    try:
        yield wallet
    finally:
        wallet.close()


@pytest.mark.parametrize("liars", [3, 4])
def test_a_wallet_waits_for_the_mined_receipt(world: World, wallet: Wallet, liars: int) -> None:
    """Viem's waitForTransactionReceipt and ethers' wait() take the first object for the receipt."""
    lies = [OddReceipts() for _ in range(liars)]
    for front, lie in zip(world.chain.fronts, lies, strict=False):
        front.lie = lie
    goal = len(wallet.journeys) + 3  # the first may have begun before

    def has_arrived() -> bool:
        was_lied_to = sum(lie.given for lie in lies) > 0
        return bool(wallet.errors) or (len(wallet.journeys) >= goal and was_lied_to)

    wait_until(has_arrived, "two journeys")
    assert not wallet.errors
