"""Every transaction that a wallet was told is sent is mined, whoever fails, forgets or is killed.

``JOURNAL_EACH`` (transactions of each of five wallets) and ``JOURNAL_KILLS`` make it longer than
in CI; ``JOURNAL=off`` shows what a proxy without a journal loses in the same run, and fails.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.sending_world import (
    ForgetfulChain,
    SendingWorld,
    signed_by_web3,
    signing_by,
)

EACH = int(os.environ.get("JOURNAL_EACH", "48"))
KILLS = int(os.environ.get("JOURNAL_KILLS", "3"))
JOURNAL = os.environ.get("JOURNAL", "on")
BLOCK_SECONDS = 0.5
MOST_SENDS = 4  # that are taken in a fault, before and after the proxy is killed


@pytest.fixture
def world(
    anvil_binary: str,
    node_binary: str,
    require_node_package: Callable[[str], None],
    tmp_path: Path,
) -> Iterator[SendingWorld]:
    for library in ("viem", "ethers"):
        require_node_package(library)
    viem, ethers = (signing_by(node_binary, library) for library in ("viem", "ethers"))
    signers = (signed_by_web3, viem, ethers, signed_by_web3, viem)
    with ForgetfulChain(anvil_binary) as chain:
        chain.start(blocks=5)
        keys = {} if JOURNAL == "on" else {"journal": JOURNAL}
        world = SendingWorld(chain, tmp_path / "proxy", signers, EACH, **keys)
        try:
            world.proxy.wait_until_well()
            chain.start_mining(BLOCK_SECONDS)
            yield world
        finally:
            world.close()


def test_what_was_told_is_mined(world: SendingWorld) -> None:
    for wallet in world.wallets:
        wallet.start()
    turn = 0
    while not world.is_done() and (world.kills < KILLS or turn % 8):
        begin, end = world.faults()[turn % 8]
        turn += 1
        begin()
        world.wait_for_sends(world.rng.randint(1, MOST_SENDS))
        # In one round of faults during every second one, in the next during the others.
        if (turn + turn // 8) % 2 and world.kills < KILLS:
            world.kill_proxy()
            world.wait_for_sends(world.rng.randint(0, MOST_SENDS))
        end()
    world.chain.heal()
    try:
        world.wait_until_done()
    finally:
        count = world.count()
        print(
            f"\n{count.told} transactions told as sent, {count.mined} mined, "
            f"{len(count.lost)} lost, {len(count.twice)} mined twice, "
            f"{world.kills} kills of the proxy, {turn} faults, "
            f"{len(count.complaints)} complaints {count.complaints[:5]}"
        )
    assert world.kills > 0
    assert count.complaints == []
    assert count.lost == []
    assert count.twice == []
    assert count.told == len(world.wallets) * EACH
    world.chain.check()
