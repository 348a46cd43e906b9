"""Libraries that listen by filters get their events by asking for logs, where filters are refused.

ethers turns to that by the words of the refusal (ethers 4784, 4162; hiero-relay 3030), viem by any
error (viem 76).
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from tests.integration.anvil import AnvilChain
from tests.integration.anvil_node import proxy_config
from tests.integration.running_proxy import RunningProxy
from tests.integration.wallets import CLIENTS
from tests.kits.waiting import wait_until


def told_code(topic: str) -> str:
    """Deploys ``log2(0, 0, topic, caller)``."""
    runtime = f"337f{topic}60006000a200"
    length = len(runtime) // 2
    return f"0x60{length:02x}600c60003960{length:02x}6000f3{runtime}"


def test_events_arrive_though_filters_are_refused(
    anvil_chain: AnvilChain,
    proxy_process: Callable[[str], RunningProxy],
    node_binary: str,
    require_node_package: Callable[[str], None],
) -> None:
    for package in ("viem", "ethers"):
        require_node_package(package)
    first = anvil_chain.nodes[0]
    sender = first.accounts[0].address
    topic = first.call("web3_sha3", "0x" + b"Told(bytes32)".hex())
    made = first.call("eth_sendTransaction", {"from": sender, "data": told_code(topic[2:])})
    anvil_chain.mine()
    contract = first.call("eth_getTransactionReceipt", made)["contractAddress"]
    proxy = proxy_process(proxy_config(anvil_chain.nodes))
    proxy.wait_until_well()
    client = subprocess.Popen(
        [node_binary, str(CLIENTS / "events.mjs"), proxy.url, contract],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert client.stdout is not None
        assert client.stdout.readline() == "ready\n"

        def is_done() -> bool:
            if client.poll() is None:
                first.call("eth_sendTransaction", {"from": sender, "to": contract})
                anvil_chain.mine()
            return client.poll() is not None

        wait_until(is_done, "every listener hears of events", 0.15)
        output, errors = client.communicate()
        assert client.returncode == 0, errors
        assert output == "heard\n", errors
    finally:
        client.kill()
        client.wait()
        for stream in (client.stdout, client.stderr):
            if stream is not None:
                stream.close()
