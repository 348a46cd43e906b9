"""Nodes that come back behind the others are not asked for the latest state."""

from __future__ import annotations

from collections.abc import Callable

from tests.integration.anvil import AnvilChain
from tests.integration.anvil_node import proxy_config
from tests.integration.running_proxy import RunningProxy
from tests.kits.waiting import wait_until

MAX_LAG = 2


def test_three_of_four_come_back_behind(
    anvil_chain: AnvilChain, proxy_process: Callable[[str], RunningProxy]
) -> None:
    """As nodes do that were down for a while: they answer, and have yet to catch up."""
    config = proxy_config(anvil_chain.nodes, max_lag=str(MAX_LAG))
    proxy = proxy_process(config.replace("block_time: 1s", "block_time: 0.25s"))
    proxy.wait_until_well()
    wire = proxy.wire()
    alone, others = anvil_chain.nodes[0], anvil_chain.nodes[1:]

    def head() -> int:
        return int(wire.result("eth_blockNumber"), 16)

    anvil_chain.mine(3)
    wait_until(lambda: head() == anvil_chain.height, "the proxy follows")
    anvil_chain.kill(*others)

    def usable() -> int:
        wire.result("eth_gasPrice")  # who fails is found out sooner under load
        return int(proxy.status()["chains"][0]["usable"])

    wait_until(lambda: usable() == 1, "only one is left")
    for _ in range(3):
        anvil_chain.mine(4)
        wait_until(lambda: head() == anvil_chain.height, "the proxy follows the only one")
    told = head()

    # They come back with the first blocks alone, and do not get on.
    for node in others:
        node.start()
    anvil_chain.hold(*others)
    wait_until(lambda: usable() == len(anvil_chain.nodes), "all of them answer again")
    for _ in range(100):
        block = wire.result("eth_getBlockByNumber", "latest", False)
        assert int(block["number"], 16) >= told - MAX_LAG
        assert head() >= told
    states = proxy.upstream_states()
    assert states.pop(alone.name) == "up"
    assert set(states.values()) == {"lagging"}

    anvil_chain.release(*others)
    anvil_chain.mine()
    proxy.wait_until_well()
    assert len(anvil_chain.heads()) == 1
