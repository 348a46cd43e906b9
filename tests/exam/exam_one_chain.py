"""web3.py, viem, ethers and MetaMask's own code, while some of the nodes are on another chain, or
on the same one elsewhere: what they see is one chain that only moves forward.

The clients send without a break, look again at what they saw, and follow every block; see
tests/clients/consistency.mjs for what they take for an error. They and the miner go on from the
first test to the last. Heads reach the upstreams up to 0.3 s apart in all tests.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest

from tests.exam.control_load import ControlLoad
from tests.exam.judging import Sheet
from tests.exam.one_chain_world import BLOCK_SECONDS, World
from tests.integration.conftest import missing
from tests.integration.odd_upstreams import InventedHead, StandingNonces, null_for_what_exists
from tests.integration.uneven_chain import UnevenChain
from tests.integration.wallets import CLIENTS

METAMASK = CLIENTS / "metamask"
METAMASK_NAME = "metamask"
IS_METAMASK_THERE = (METAMASK / "node_modules" / "@metamask" / "network-controller").is_dir()
# So that a node can be behind by twenty.
FIRST_BLOCKS = 30


@pytest.fixture(scope="module")
def world(
    anvil_binary: str,
    node_binary: str,
    require_node_package: Callable[[str], None],
    tmp_path_factory: pytest.TempPathFactory,
    control: ControlLoad,
) -> Iterator[World]:
    for package in ("viem", "ethers"):
        require_node_package(package)
    commands = [
        [node_binary, str(CLIENTS / "consistency.mjs"), "viem"],
        [node_binary, str(CLIENTS / "consistency.mjs"), "ethers"],
        [sys.executable, str(CLIENTS / "consistency_client.py")],
    ]
    if IS_METAMASK_THERE:
        commands.append([node_binary, str(METAMASK / f"{METAMASK_NAME}.mjs")])
    with UnevenChain(anvil_binary) as chain:
        chain.start(FIRST_BLOCKS)
        chain.start_mining(BLOCK_SECONDS)
        world = World(chain, control, commands, tmp_path_factory.mktemp("one-chain"))
        try:
            yield world
        finally:
            world.close()


@pytest.fixture(autouse=True)
def noted(world: World, sheet: Sheet) -> None:
    world.sheet = sheet


def test_all_well(world: World) -> None:
    with world.while_odd():
        world.live_on()


# ---- one of the four is odd


@pytest.mark.parametrize(("name", "blocks"), [("alder", 1), ("birch", 5), ("cedar", 20)])
def test_laggard(world: World, name: str, blocks: int) -> None:
    node = world.chain[name]
    with world.while_odd(lambda: world.chain.lag(node, blocks)):
        world.live_on()
        if blocks > 1:
            world.wait_until_noticed(node)


def test_frozen_head(world: World) -> None:
    node = world.chain["dogwood"]
    with world.while_odd(lambda: world.chain.hold(node)):
        world.live_on()
        world.wait_until_noticed(node)
        world.live_on(1)


def test_frozen_process(world: World) -> None:
    node = world.chain["alder"]
    with world.while_odd(lambda: world.chain.freeze(node)):
        world.live_on()
        world.wait_until_noticed(node)


def test_forked(world: World) -> None:
    node = world.chain["birch"]
    with world.while_odd(lambda: world.chain.fork(node, 3)):
        world.live_on()
        world.wait_until_noticed(node)
        world.live_on(1)


def test_rolled_back(world: World) -> None:
    node = world.chain["cedar"]
    with world.while_odd(lambda: world.chain.fall_back(node, 5)):
        world.live_on()


def test_wrong_chain_at_a_later_time(world: World) -> None:
    front = world.chain.fronts["dogwood"]

    def begin() -> None:
        front.behind = (world.chain.stranger(),)

    with world.while_odd(begin):
        world.live_on()
        world.wait_until_noticed(front.node)
        world.live_on(1)


def alternate(world: World, name: str) -> Callable[[], None]:
    """Two machines behind one URL, three blocks apart, answer in turns."""

    def begin() -> None:
        world.chain.fronts[name].behind = (world.chain[name], world.chain.spare)

    return begin


def invent(world: World, name: str, by: int) -> Callable[[], None]:
    """The head is said to be so many blocks above the real one."""

    def begin() -> None:
        world.chain.fronts[name].lie = InventedHead(by)

    return begin


def test_alternating(world: World) -> None:
    with world.while_odd(alternate(world, "alder")):
        world.live_on()


@pytest.mark.parametrize(("name", "by"), [("birch", 3), ("cedar", 1000)])
def test_invented_head(world: World, name: str, by: int) -> None:
    with world.while_odd(invent(world, name, by)):
        world.live_on()


def test_null_for_what_exists(world: World) -> None:
    def begin() -> None:
        world.chain.fronts["dogwood"].lie = null_for_what_exists

    with world.while_odd(begin):
        world.live_on()


def test_nonces_stand_while_the_head_moves(world: World) -> None:
    def begin() -> None:
        world.chain.fronts["alder"].lie = StandingNonces(world.chain.height)

    with world.while_odd(begin):
        world.live_on()


# ---- two of the four are odd


def test_a_laggard_and_an_invented_head(world: World) -> None:
    node = world.chain["birch"]
    with world.while_odd(
        lambda: world.chain.lag(node, 5),
        invent(world, "dogwood", 1000),
    ):
        world.live_on()


def test_an_alternating_one_and_a_fork(world: World) -> None:
    node = world.chain["cedar"]
    with world.while_odd(
        alternate(world, "alder"),
        lambda: world.chain.fork(node, 2),
    ):
        world.live_on()


def test_a_frozen_one_and_a_laggard(world: World) -> None:
    frozen, late = world.chain["birch"], world.chain["cedar"]
    with world.while_odd(
        lambda: world.chain.freeze(frozen),
        lambda: world.chain.lag(late, 1),
    ):
        world.live_on()


# ---- looking back


def mined(world: World) -> dict[str, list[int]]:
    """The blocks that each transaction is in."""
    blocks: dict[str, list[int]] = {}
    for block in world.chain.blocks:
        for hash, _ in block.transactions:
            blocks.setdefault(hash, []).append(block.number)
    return blocks


def test_every_transaction_is_in_one_block(world: World) -> None:
    """However busy the machine was."""
    blocks = mined(world)
    wallets = [*world.past_wallets, *world.wallets]
    for wallet in wallets:
        for journey in wallet.journeys:
            assert blocks[journey["hash"]] == [journey["block"]], wallet.name


def test_metamask_was_there(world: World) -> None:
    """It dropped and failed nothing in the tests above: it would have been an error there."""
    if not IS_METAMASK_THERE:
        missing("@metamask/network-controller")
    with world.while_odd():
        world.live_on(1)
    assert METAMASK_NAME in {wallet.name for wallet in world.wallets}
