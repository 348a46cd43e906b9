"""web3.py, viem and ethers wait for private sends: the upstream that takes them answers no reads,
as Flashbots Protect, MEV Blocker and bloXroute's endpoints, and the public nodes take no sends.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.integration.anvil_node import proxy_config
from tests.integration.odd_upstreams import Ask, Call, Reply
from tests.integration.running_proxy import RunningProxy
from tests.integration.uneven_chain import UnevenChain
from tests.integration.wallets import Wallet, three_libraries
from tests.kits.waiting import wait_until

BLOCK_SECONDS = 0.5
JOURNEYS = 2  # the second counts on the first
PROBES = ("eth_chainId", "net_version")


async def takes_sends_alone(call: Call, ask: Ask) -> Reply:
    if call["method"] == "eth_sendRawTransaction" or call["method"] in PROBES:
        return await ask(call)
    is_probe = call["method"] == "eth_getBlockByNumber" and call["params"][1] is False
    if is_probe and not call["params"][0].startswith("0x"):
        return await ask(call)
    error = {"code": -32600, "message": "no reads here"}
    return {"jsonrpc": "2.0", "id": call["id"], "error": error}


async def takes_reads_alone(call: Call, ask: Ask) -> Reply:
    assert call["method"] != "eth_sendRawTransaction", "a private transaction went to a public node"
    return await ask(call)


def test_libraries_wait_for_private_sends(
    anvil_binary: str,
    node_binary: str,
    require_node_package: Callable[[str], None],
    tmp_path: Path,
) -> None:
    commands = three_libraries(node_binary, require_node_package)
    with UnevenChain(anvil_binary) as chain:
        chain.start()
        chain.start_mining(BLOCK_SECONDS)
        relay = chain.fronts["dogwood"]
        for front in chain.fronts:
            front.lie = takes_reads_alone
        relay.lie = takes_sends_alone
        config = chain.config(proxy_config(chain.nodes[:4]))
        config += "        private: true\n        role: sends\n"  # of the last upstream
        proxy = RunningProxy(config, tmp_path)
        wallets: list[Wallet] = []
        try:
            for command, account in zip(commands, chain.accounts, strict=False):
                wallets.append(Wallet(command, proxy.url, account, chain.contract))
            wait_until(lambda: all(w.is_ready for w in wallets), "the clients are ready")
            proxy.wait_until_well()
            wait_until(
                lambda: all(len(w.journeys) >= JOURNEYS or w.errors for w in wallets),
                "each client sent and waited",
            )
            assert not [error for wallet in wallets for error in wallet.errors]
        finally:
            for wallet in wallets:
                wallet.close()
            proxy.close()
