"""Fast blocks where ``latest`` is left to the upstreams (``consistency: routed``, as of Monad and
HyperEVM): nodes are ahead of the served head, and what they answer then is right.

Met in public reports: firehose-ethereum 198 (a poller asks for a block that the next node lacks),
go-ethereum 27353 (the number falls behind a load balancer), web3-ethereum-defi 627.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from tests.integration.anvil import AnvilChain
from tests.integration.anvil_node import proxy_config
from tests.integration.running_proxy import RunningProxy
from tests.integration.wallets import CLIENTS
from tests.kits.waiting import LIMIT_SECONDS, wait_until

BLOCK_SECONDS: Final = 0.4
BLOCKS: Final = 4  # that are seen to come
ESTIMATES: Final = 8


@pytest.fixture(scope="module")
def fast(
    shared_chain: AnvilChain, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[AnvilChain, RunningProxy]]:
    shared_chain.start_mining(BLOCK_SECONDS)
    config = proxy_config(shared_chain.nodes, consistency="routed")
    config = config.replace("block_time: 1s", f"block_time: {BLOCK_SECONDS}s")
    proxy = RunningProxy(config, tmp_path_factory.mktemp("proxy"))
    try:
        proxy.wait_until_well()
        yield shared_chain, proxy
    finally:
        proxy.close()
        shared_chain.stop_mining()


def assert_nobody_is_blamed(proxy: RunningProxy) -> None:
    """Who lags here is held up by the machine."""
    assert set(proxy.upstream_states().values()) <= {"up", "lagging"}


def test_latest_is_answered_and_never_falls(fast: tuple[AnvilChain, RunningProxy]) -> None:
    chain, proxy = fast
    wire = proxy.wire()
    first = highest = int(wire.result("eth_blockNumber"), 16)
    while highest < first + BLOCKS:
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
    assert_nobody_is_blamed(proxy)
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
        [node_binary, str(CLIENTS / "fees.mjs"), proxy.url, str(ESTIMATES)],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout.strip() == f"viem {ESTIMATES} ethers {ESTIMATES}"
    assert_nobody_is_blamed(proxy)
