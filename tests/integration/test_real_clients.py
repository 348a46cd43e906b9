"""web3.py, viem and ethers through the proxy, in front of four real nodes that fail.

The four wallets, the reads beside them and the miner go on from the first test to the last; each
test breaks something, waits until every wallet has been on a whole journey with it, and mends it.
How long people wait for their answers is measured in the exam alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest

from tests.exam.control_load import a_control
from tests.exam.judging import Sheet, assert_within
from tests.integration.anvil import AnvilChain
from tests.integration.anvil_node import Anvil, proxy_config
from tests.integration.running_proxy import RunningProxy
from tests.integration.wallets import Readers, Wallet, python_client, three_libraries
from tests.kits.waiting import wait_until

BLOCK_SECONDS = 0.3
# MetaMask counts an answer as degraded from here on.
LONGEST_SECONDS = 5.0


@dataclass
class World:
    """Everything that runs from the first test to the last."""

    chain: AnvilChain
    proxy: RunningProxy
    wallets: list[Wallet]
    readers: Readers

    def live_on(self, journeys: int = 2) -> None:
        """Every wallet comes to the end of so many journeys, the one it is on included, and many
        reads go through.
        """
        goals = [len(wallet.journeys) + journeys for wallet in self.wallets]

        def have_arrived() -> bool:
            pairs = zip(self.wallets, goals, strict=True)
            return bool(self.errors()) or all(len(w.journeys) >= goal for w, goal in pairs)

        wait_until(have_arrived, "every wallet's journeys")
        self.readers.wait_for(50)
        self.check()

    def strike(self, fault: Callable[[World], Sequence[Anvil]]) -> Sequence[Anvil]:
        """Do it, and wait until the proxy knows who is not well. People ask in between."""
        begun = self.readers.begun
        out = fault(self)
        names = {node.name for node in out}

        def is_noticed() -> bool:
            states = self.proxy.upstream_states()
            return all(states[name] != "up" for name in names)

        wait_until(is_noticed, f"the proxy notices that {sorted(names)} are out")
        assert self.readers.begun > begun, "nobody asked between the fault and its notice"
        return out

    @property
    def served_head(self) -> int:
        return int(self.proxy.status()["chains"][0]["served_head"])

    def errors(self) -> list[str]:
        return [
            *(error for wallet in self.wallets for error in wallet.errors),
            *self.readers.errors,
        ]

    def check(self) -> None:
        """What people saw so far."""
        self.chain.check()
        errors = self.errors()
        assert not errors, f"{len(errors)} errors:\n" + "\n".join(errors[:10]) + self._log()
        for wallet in self.wallets:
            assert wallet.is_running or wallet.is_stopped, wallet.name
            heads = [head for journey in wallet.journeys for head in journey["heads"]]
            assert heads == sorted(heads), f"{wallet.name} saw the head go back: {heads}"

    def _log(self) -> str:
        return "\n\nThe proxy's log:\n" + "\n".join(self.proxy.lines[-60:])


def configuration(chain: AnvilChain) -> str:
    """On a busy machine a request may take longer than one should; the clients themselves give up
    after 10 s.
    """
    config = proxy_config(chain.nodes, deadlines="{light: 9s}")
    return config.replace("block_time: 1s", f"block_time: {BLOCK_SECONDS}s")


@pytest.fixture(scope="module")
def world(
    anvil_binary: str,
    node_binary: str,
    require_node_package: Callable[[str], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    commands = [*three_libraries(node_binary, require_node_package), python_client("async")]
    with AnvilChain(anvil_binary) as chain:
        chain.start()
        chain.start_mining(BLOCK_SECONDS)
        proxy = RunningProxy(configuration(chain), tmp_path_factory.mktemp("proxy"))
        wallets: list[Wallet] = []
        readers = None
        try:
            for command, account in zip(commands, chain.accounts, strict=False):
                wallets.append(
                    Wallet(
                        *(command, proxy.url, account, chain.contract), taken_back=chain.taken_back
                    )
                )
            wait_until(lambda: all(w.is_ready for w in wallets), "the clients are ready")
            proxy.wait_until_well()
            readers = Readers(proxy.url, chain.accounts[0].address, pause_seconds=0.05)
            yield World(chain, proxy, wallets, readers)
        finally:
            if readers is not None:
                readers.stop()
            for wallet in wallets:
                wallet.close()
            proxy.close()


@pytest.fixture(autouse=True)
def mended(world: World) -> Iterator[None]:
    """After each test all nodes are well again, and the proxy has noticed; that is no excuse for
    an error either.
    """
    yield
    world.chain.heal()
    world.proxy.wait_until_well()
    world.check()


def test_all_well(world: World) -> None:
    world.live_on()


def kill_one(world: World) -> Sequence[Anvil]:
    out = world.chain.nodes[:1]
    world.chain.kill(*out)
    return out


def freeze_one(world: World) -> Sequence[Anvil]:
    out = world.chain.nodes[1:2]
    world.chain.freeze(*out)
    return out


def freeze_two(world: World) -> Sequence[Anvil]:
    out = world.chain.nodes[:2]
    world.chain.freeze(*out)
    return out


def freeze_three(world: World) -> Sequence[Anvil]:
    out = world.chain.nodes[1:]
    world.chain.freeze(*out)
    return out


def fall_20_blocks_behind(world: World) -> Sequence[Anvil]:
    held = world.chain.nodes[2]
    world.chain.hold(held)
    while world.chain.height < held.height + 20:
        world.chain.mine(4)
        height = world.chain.height
        wait_until(lambda height=height: world.served_head >= height, "the proxy follows")
    return [held]


def stand_still(world: World) -> Sequence[Anvil]:
    held = world.chain.nodes[3]
    world.chain.hold(held)
    return [held]


def frozen(node: Anvil) -> Callable[[World], Sequence[Anvil]]:
    def freeze(world: World) -> Sequence[Anvil]:
        world.chain.freeze(node)
        return [node]

    return freeze


FAULTS = (kill_one, freeze_one, freeze_two, freeze_three, fall_20_blocks_behind, stand_still)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_nobody_notices(world: World, fault: Callable[[World], Sequence[Anvil]]) -> None:
    world.strike(fault)
    world.live_on()


def test_nobody_notices_a_rolling_outage(world: World) -> None:
    """One after the other, each before the proxy has the last one back."""
    for node in world.chain.nodes:
        world.strike(frozen(node))
        world.chain.thaw(node)
    world.live_on(journeys=1)


@pytest.mark.exam
def test_nobody_waits_long_in_a_rolling_outage(
    world: World, request: pytest.FixtureRequest
) -> None:
    with a_control() as control, control.judged(Sheet(request.node.user_properties)):
        began_at = time.monotonic()
        world.readers.slowest_seconds = 0.0
        first = {wallet: len(wallet.journeys) for wallet in world.wallets}
        for node in world.chain.nodes:
            world.strike(frozen(node))
            world.readers.wait_for(50)
            world.chain.thaw(node)
        world.live_on()
        bound = control.granted_worst(LONGEST_SECONDS, began_at)
        for wallet in world.wallets:
            assert_within(wallet.slowest_since(first[wallet]), bound, wallet.name)
        assert_within(world.readers.slowest_seconds, bound, "the readers")


def test_every_transaction_was_mined_once(world: World) -> None:
    """The last test: the wallets come to their end."""
    world.live_on(journeys=1)
    for wallet in world.wallets:
        wallet.stop()
    for wallet in world.wallets:
        wallet.wait()
    assert not world.errors()
    mined = [hash for block in world.chain.blocks for hash, _ in block.transactions]
    for wallet in world.wallets:
        nonces = [journey["nonce"] for journey in wallet.journeys]
        assert nonces == list(range(len(nonces))), wallet.name
        for journey in wallet.journeys:
            assert mined.count(journey["hash"]) == 1, wallet.name
            # It may have come to its end before a node took the block back.
            if journey["blockHash"] not in world.chain.taken_back:
                block = world.chain.blocks[journey["block"] - 1]
                assert journey["blockHash"] == block.hash, wallet.name
                assert journey["hash"] in dict(block.transactions), wallet.name
        used = world.chain.nodes[0].call(
            "eth_getTransactionCount", wallet.account.address, "latest"
        )
        assert int(used, 16) == len(nonces), wallet.name
