"""Reloads and the end, under load: nobody loses a request, and nothing learned is forgotten."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tests.integration.anvil import AnvilChain
from tests.integration.anvil_node import proxy_config
from tests.integration.running_proxy import RunningProxy
from tests.integration.wallets import Readers
from tests.integration.wire import ask_together
from tests.kits.waiting import wait_until

TAKEN_OVER = re.compile(r" config_reload configuration taken over")
REFUSED = re.compile(r" config_reload configuration refused")
READS = 30  # more than the connections have under way
STOPPING = re.compile(r" drain stopping")


def upstreams(proxy: RunningProxy) -> dict[str, dict[str, Any]]:
    return {upstream["name"]: upstream for upstream in proxy.status()["chains"][0]["upstreams"]}


def test_reloads_under_load(
    shared_chain: AnvilChain, proxy_process: Callable[[str], RunningProxy]
) -> None:
    nodes = shared_chain.nodes
    first, dead = nodes[0], nodes[2]
    proxy = proxy_process(proxy_config(nodes))
    proxy.wait_until_well()
    shared_chain.start_mining(0.5)
    readers = Readers(proxy.url, shared_chain.accounts[0].address)
    try:
        readers.wait_for(READS)
        shared_chain.kill(dead)
        wait_until(lambda: proxy.upstream_states()[dead.name] == "ejected", "it is ejected")
        before = upstreams(proxy)
        head_before = proxy.status()["chains"][0]["served_head"]

        # An upstream is taken out, SIGHUP.
        proxy.write_config(proxy_config(nodes[1:]))
        proxy.hang_up()
        proxy.wait_for_line(TAKEN_OVER)
        after = upstreams(proxy)
        assert set(after) == {node.name for node in nodes[1:]}
        assert after[dead.name]["state"] == "ejected"
        assert after[dead.name]["state_reason"] == before[dead.name]["state_reason"]
        assert after[dead.name]["since_seconds"] >= before[dead.name]["since_seconds"]
        for name in (nodes[1].name, nodes[3].name):
            assert after[name]["state"] in ("up", "lagging")  # where the miner is held up
            assert after[name]["classes"]["light"]["p95_ms"] is not None
        assert proxy.status()["chains"][0]["served_head"] >= head_before
        readers.wait_for(READS)

        # It is put back, and the change of the file is noticed.
        since = len(proxy.lines)
        proxy.write_config(proxy_config(nodes))
        proxy.wait_for_line(TAKEN_OVER, since=since)
        wait_until(lambda: proxy.upstream_states().get(first.name) == "up", "it is asked again")
        readers.wait_for(READS)

        # A broken file is refused, and the one in force goes on.
        proxy.expected_errors.append("config_reload configuration refused")
        proxy.write_config(proxy_config(nodes).replace("upstreams:", "upstream:"))
        refusal = proxy.wait_for_line(REFUSED)
        assert "upstreams" in refusal.string  # what was expected
        status = proxy.status()
        assert status["config"]["refused"] >= 1
        assert len(status["chains"][0]["upstreams"]) == 4
        readers.wait_for(READS)
        shared_chain.restart(dead)
        proxy.wait_until_well()
    finally:
        readers.stop()
    shared_chain.stop_mining()
    assert not readers.errors


def test_sigterm_under_load_loses_nothing(
    shared_chain: AnvilChain, proxy_process: Callable[[str], RunningProxy]
) -> None:
    proxy = proxy_process(proxy_config(shared_chain.nodes, deadlines="{light: 60s}"))
    proxy.wait_until_well()
    address = shared_chain.accounts[0].address
    readers = Readers(proxy.url, address, connections=4, may_end=True)
    try:
        readers.wait_for(READS)
        # Requests that are under way when the end is announced.
        shared_chain.freeze(*shared_chain.nodes)
        addresses = [account.address for account in shared_chain.accounts[:5]]
        balances = [("eth_getBalance", (address, "latest")) for address in addresses]
        waiting = ask_together(proxy.url, *balances)
        wait_until(
            lambda: sum(upstream["in_flight"] for upstream in upstreams(proxy).values()) >= 5,
            "they are under way",
        )
        proxy.ask_to_end()
        proxy.wait_for_line(STOPPING)
        shared_chain.thaw(*shared_chain.nodes)
        assert proxy.wait() == 0
        for future in waiting:
            answered = future.result()
            assert answered.status == 200
            assert int(answered.reply["result"], 16) == 10_000 * 10**18
        wait_until(lambda: readers.have_ended, "the readers found the port closed")
    finally:
        readers.stop()
    assert not readers.errors
