"""Every tag in every place, asked of real nodes and of the proxy in front of them.

``pending`` is a block that nobody knows yet, and each node names it in its own way; the answer of
the proxy is the node's, at once, and blames nobody.

Met in public reports: go-ethereum 20587 (its hash is null), 19332 (the transactions in it have a
block hash that will never be), parity 8703 (its number is null), reth_gnosis 67 (null, and with full
transactions a block), ethers 2225.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from tests.integration.anvil import AnvilChain
from tests.integration.anvil_node import proxy_config
from tests.integration.running_proxy import RunningProxy
from tests.integration.wire import Wire
from tests.kits.waiting import wait_until

# Whoever waited for anything but the node would wait for longer than the tests do.
DEADLINES: Final = "{light: 1h, heavy: 1h}"
TAGS: Final = ("latest", "pending", "earliest", "safe", "finalized")
TO: Final = "0x" + "22" * 20
SLOT: Final = "0x0"


def questions(tag: Any) -> list[tuple[str, list[Any]]]:
    """All that takes a block, at this one."""
    call = {"to": TO, "data": "0x"}
    simulated = {"blockStateCalls": [{"calls": [call]}]}
    return [
        ("eth_getBalance", [TO, tag]),
        ("eth_getCode", [TO, tag]),
        ("eth_getTransactionCount", [TO, tag]),
        ("eth_getStorageAt", [TO, SLOT, tag]),
        ("eth_getProof", [TO, [SLOT], tag]),
        ("eth_call", [call, tag]),
        ("eth_estimateGas", [call, tag]),
        ("eth_createAccessList", [call, tag]),
        ("eth_simulateV1", [simulated, tag]),
        ("debug_traceCall", [call, tag, {"tracer": "callTracer"}]),
    ]


def of_blocks(tag: str) -> list[tuple[str, list[Any]]]:
    """All that takes a tag alone."""
    return [
        ("eth_getBlockByNumber", [tag, False]),
        ("eth_getBlockByNumber", [tag, True]),
        ("eth_getHeaderByNumber", [tag]),
        ("eth_getBlockReceipts", [tag]),
        ("eth_getBlockTransactionCountByNumber", [tag]),
        ("eth_getUncleCountByBlockNumber", [tag]),
        ("eth_getTransactionByBlockNumberAndIndex", [tag, "0x0"]),
        ("eth_getUncleByBlockNumberAndIndex", [tag, "0x0"]),
        ("eth_feeHistory", ["0x1", tag, []]),
        ("eth_getLogs", [{"fromBlock": tag, "toBlock": tag}]),
        ("trace_block", [tag]),
        ("debug_traceBlockByNumber", [tag, {"tracer": "callTracer"}]),
    ]


def shape(value: Any) -> Any:
    """What is the same of two answers from blocks that may be mined in between: what there is."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return type(value).__name__


def asked(wire: Wire, method: str, params: list[Any]) -> Any:
    _, answer = wire.ask(method, *params)
    if "error" in answer:
        return {"error": answer["error"]["code"]}
    return shape(answer["result"])


@pytest.mark.parametrize("consistency", ["pinned", "routed", "off"])
def test_every_tag_is_answered_as_by_the_node(
    consistency: str,
    shared_chain: AnvilChain,
    proxy_process: Callable[[str], RunningProxy],
) -> None:
    config = proxy_config(shared_chain.nodes, consistency=consistency, deadlines=DEADLINES)
    proxy = proxy_process(config)
    proxy.wait_until_well()
    first = shared_chain.nodes[0]
    sent = first.call(
        "eth_sendTransaction", {"from": first.accounts[0].address, "to": TO, "value": "0x1"}
    )
    shared_chain.gossip()
    wire = proxy.wire()
    direct = Wire(first.url)
    try:
        for tag in TAGS:
            spelled: list[Any] = [tag, {"blockNumber": tag}]
            for method, params in [
                *of_blocks(tag),
                *(each for spelling in spelled for each in questions(spelling)),
            ]:
                theirs = asked(direct, method, params)
                assert asked(wire, method, params) == theirs, f"{method} {params}"
        block = wire.result("eth_getBlockByNumber", "pending", False)
        assert block["transactions"] == [sent]
        head = int(wire.result("eth_blockNumber"), 16)
        assert head == shared_chain.height  # no number that a pending block invented
        assert set(proxy.upstream_states().values()) == {"up"}
        # The next block has that number, and may be another.
        shared_chain.mine()
        wait_until(lambda: int(wire.result("eth_blockNumber"), 16) == head + 1, "the proxy follows")
        mined = wire.result("eth_getBlockByNumber", hex(head + 1), False)
        assert mined["hash"] == shared_chain.blocks[-1].hash
    finally:
        direct.close()
