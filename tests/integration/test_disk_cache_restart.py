"""What is kept on disk survives a restart of the real process."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rpcproxy.drills.evm.simchain import SimChain
from rpcproxy.drills.providers.provider import Provider
from tests.integration.running_proxy import RunningProxy
from tests.kits.waiting import LIMIT_SECONDS, wait_until

START = 1000

CONFIG = """
server:
  listen: 127.0.0.1:0
  admin: 127.0.0.1:0
  cache: {{memory: 1MiB, disk: 4MiB, path: {path}}}
chains:
  - name: devchain
    chain_id: 7
    block_time: 1s
    upstreams: [{{name: a, url: "{url}"}}]
"""


@contextmanager
def running(config: str, directory: Path) -> Iterator[RunningProxy]:
    proxy = RunningProxy(config, directory)
    try:
        proxy.wait_until_well()
        wait_until(lambda: proxy.status()["chains"][0]["finalized"], "what is final is known")
        wait_until(lambda: "disk" in proxy.status()["chains"][0]["cache"], "the file is open")
        yield proxy
    finally:
        proxy.close()


def ask(proxy: RunningProxy, params: list) -> dict:
    body = {"jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber", "params": params}
    data = json.dumps(body).encode()
    with urllib.request.urlopen(proxy.url, data=data, timeout=LIMIT_SECONDS) as reply:
        return json.load(reply)["result"]


def entries(proxy: RunningProxy) -> int:
    return proxy.status()["chains"][0]["cache"]["disk"]["entries"]


def ask_before_and_after(config: str, directory: Path) -> None:
    with running(config, directory / "first") as proxy:
        final = hex(proxy.status()["chains"][0]["finalized"]["number"])
        before = ask(proxy, [final, False])
        wait_until(lambda: entries(proxy) == 1, "it is on disk")
    with running(config, directory / "second") as proxy:
        wait_until(lambda: entries(proxy) == 1, "it is still on disk")
        assert ask(proxy, [final, False]) == before
        kept = 'rpcproxy_kept_answers_total{chain="devchain",reason="disk"} 1.0'
        assert kept in proxy.get("/metrics")


async def test_what_is_final_is_there_after_a_restart(tmp_path: Path) -> None:
    chain = SimChain(7, start_number=START)
    for second in range(3):
        chain.mine(time.time() - 2 + second)
    provider = Provider(chain, "a", latency_seconds=0.001)
    provider.start()
    try:
        config = CONFIG.format(path=tmp_path / "cache", url=provider.url)
        await asyncio.to_thread(ask_before_and_after, config, tmp_path)
    finally:
        provider.stop()
