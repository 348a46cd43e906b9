"""The chain of anvils that other tests stand on: what clients send in the middle of a tick."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.anvil import AnvilChain
from tests.integration.anvil_node import Anvil


@pytest.fixture(scope="module")
def chain(anvil_binary: str) -> Iterator[AnvilChain]:
    """A leader and a follower."""
    with AnvilChain(anvil_binary, ("alder", "birch")) as chain:
        chain.start()
        yield chain


def send(chain: AnvilChain, node: Anvil, account: int) -> str:
    sender = chain.accounts[account].address
    transaction = {"from": sender, "to": chain.accounts[9].address, "value": "0x1"}
    return str(node.call("eth_sendTransaction", transaction))


def mined(chain: AnvilChain, number: int) -> set[str]:
    return {hash for hash, _ in chain.blocks[number - 1].transactions}


def test_a_block_with_a_late_transaction_is_taken_back(
    chain: AnvilChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The late one is in the next block of all nodes, though one node alone was sent it."""
    follower = chain["birch"]
    early = [send(chain, follower, account) for account in (0, 1)]
    late: list[str] = []
    wrong: list[str] = []

    def mine(timestamp: int) -> dict[str, Any]:
        late.append(send(chain, follower, 2))
        block = Anvil.mine(follower, timestamp)
        wrong.append(block["hash"])
        monkeypatch.undo()
        return block

    monkeypatch.setattr(follower, "mine", mine)
    before = set(chain.taken_back)
    chain.mine()
    assert mined(chain, chain.height) == set(early)
    assert chain.taken_back - before == set(wrong)
    assert wrong[0] != chain.blocks[-1].hash
    chain.mine()
    assert mined(chain, chain.height) == set(late)
    assert len(chain.heads()) == 1


def test_a_transaction_that_comes_after_the_look_at_the_pool_is_kept(
    chain: AnvilChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = chain["birch"]
    early = [send(chain, follower, account) for account in (3, 4)]
    late: list[str] = []
    looks = 0

    def pool() -> list[str]:
        nonlocal looks
        looks += 1
        seen = Anvil.pool(follower)
        if looks == 2:  # the first look is gossip's
            late.append(send(chain, follower, 5))
        return seen

    monkeypatch.setattr(follower, "pool", pool)
    chain.mine()
    assert mined(chain, chain.height) == set(early)
    chain.mine()
    assert mined(chain, chain.height) == set(late)
    assert len(chain.heads()) == 1
