"""Fast blocks where ``latest`` is left to the upstreams (``consistency: routed``, as of Monad and
HyperEVM): nodes are ahead of the served head, and what they answer then is right.

Met in public reports: firehose-ethereum 198 (a poller asks for a block that the next node lacks),
go-ethereum 27353 (the number falls behind a load balancer), web3-ethereum-defi 627.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from tests.integration.anvil import AnvilChain, proxy_config
from tests.integration.running_proxy import RunningProxy
from tests.integration.wallets import CLIENTS
from tests.waiting import wait_until

BLOCK_SECONDS: Final = 0.4
QUESTIONS: Final = 60


@pytest.fixture
def fast(
    anvil_chain: AnvilChain, proxy_process: Callable[[str], RunningProxy]
) -> Iterator[tuple[AnvilChain, RunningProxy]]:
    anvil_chain.start_mining(BLOCK_SECONDS)
    config = proxy_config(anvil_chain.nodes, consistency="routed")
    proxy = proxy_process(config.replace("block_time: 1s", f"block_time: {BLOCK_SECONDS}s"))
    try:
        proxy.wait_until_well()
        yield anvil_chain, proxy
    finally:
        anvil_chain.stop_mining()


def test_latest_is_answered_and_never_falls(fast: tuple[AnvilChain, RunningProxy]) -> None:
    chain, proxy = fast
    wire = proxy.wire()
    highest = 0
    for _ in range(QUESTIONS):
        block = wire.result("eth_getBlockByNumber", "latest", False)
        number = int(block["number"], 16)
        assert number >= highest
        assert int(wire.result("eth_blockNumber"), 16) >= number
        # Whoever was told of a block can ask for it, and for what is in it.
        named = wire.result("eth_getBlockByNumber", block["number"], False)
        assert named is not None
        assert wire.result("eth_getBlockByHash", named["hash"], False) == named
        assert wire.result("eth_getBlockReceipts", block["number"]) == []
        blocks = {"fromBlock": block["number"], "toBlock": block["number"]}
        assert wire.result("eth_getLogs", blocks) == []
        assert wire.result("eth_feeHistory", "0x2", "latest", [])["gasUsedRatio"]
        highest = number
        time.sleep(0.05)
    assert set(proxy.upstream_states().values()) == {"up"}
    wait_until(lambda: chain.height > highest, "the chain goes on")


def test_fees_are_estimated_by_real_clients(
    fast: tuple[AnvilChain, RunningProxy],
    node_binary: str,
    require_node_package: Callable[[str], None],
) -> None:
    _, proxy = fast
    for package in ("viem", "ethers"):
        require_node_package(package)
    done = subprocess.run(
        [node_binary, str(CLIENTS / "fees.mjs"), proxy.url, "20"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout.strip() == "viem 20 ethers 20"
    assert set(proxy.upstream_states().values()) == {"up"}
