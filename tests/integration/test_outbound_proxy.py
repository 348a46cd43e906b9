"""The program where the world is reached through outbound proxies alone: reads, new heads, check."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.running_proxy import ROOT, RunningProxy
from tests.kits.waiting import LIMIT_SECONDS, wait_until
from tests.sockets.loop_thread import LoopThread
from tests.sockets.outbound_proxy import OutboundProxy
from tests.sockets.providers import ProviderProcess

USER, PASSWORD = "me", "hunter22/two"
ACCOUNT = "me:hunter22%2Ftwo@"


@pytest.fixture
def way() -> Iterator[OutboundProxy]:
    """An outbound proxy with a loop and a thread of its own."""
    loop = LoopThread("outbound proxy")
    proxy = OutboundProxy(USER, PASSWORD)
    loop.run(proxy.__aenter__())
    try:
        yield proxy
    finally:
        loop.run(proxy.__aexit__())
        loop.close()


def configuration(ports: dict[str, int], proxies: dict[str, str]) -> str:
    """The names of the upstreams' hosts are known to the outbound proxy alone."""
    upstreams = [
        {
            "name": name,
            "url": f"http://{name}.test:{port}/",
            "ws_url": f"ws://{name}.test:{port}/",
            **({"proxy": proxies[name]} if name in proxies else {}),
        }
        for name, port in ports.items()
    ]
    server = {"listen": "127.0.0.1:0", "admin": "127.0.0.1:0"}
    chain = {"name": "sim", "chain_id": 1337, "block_time": "1s", "upstreams": upstreams}
    return json.dumps({"server": server, "chains": [chain]})


def test_everything_goes_through_it(way: OutboundProxy, tmp_path: Path) -> None:
    """One upstream by CONNECT, one by SOCKS5, one as the environment says, all with a password."""
    with ProviderProcess("a", "b", "c", latency_seconds=0.0, block_time_seconds=1.0) as providers:
        ports = {name: int(url.rpartition(":")[2]) for name, url in providers.urls.items()}
        proxies = {
            "a": f"http://{ACCOUNT}127.0.0.1:{way.port}",
            "b": f"socks5h://{ACCOUNT}127.0.0.1:{way.port}",
        }
        environment = {"HTTP_PROXY": f"http://{ACCOUNT}127.0.0.1:{way.port}"}
        config = configuration(ports, proxies)
        proxy = RunningProxy(config, tmp_path, environment)
        try:
            proxy.wait_until_well()
            wire = proxy.wire()
            head = int(wire.result("eth_blockNumber"), 16)
            wait_until(lambda: int(wire.result("eth_blockNumber"), 16) > head, "a new block")
            asked = set(way.asked)
            assert asked == {(f"{name}.test", port) for name, port in ports.items()}
            # A subscription has a connection of its own.
            assert all(providers.counts(name).connections >= 2 for name in ports)
            surfaces = [proxy.get("/status"), proxy.get("/metrics"), proxy.log]
            assert not [text for text in surfaces if "hunter22" in text]
        finally:
            proxy.close()

        told = subprocess.run(
            [sys.executable, "-m", "rpcproxy", "check", "-c", str(proxy.config_path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **environment},
        )
        for name in ports:
            assert f"{name}: through the outbound proxy 127.0.0.1:{way.port}" in told.stdout
        assert "cannot be used" not in told.stdout
        assert "hunter22" not in told.stdout + told.stderr


def test_one_that_refuses_is_told_and_the_others_serve(way: OutboundProxy, tmp_path: Path) -> None:
    with ProviderProcess("a", "b", latency_seconds=0.0, block_time_seconds=1.0) as providers:
        ports = {name: int(url.rpartition(":")[2]) for name, url in providers.urls.items()}
        proxies = {
            "a": f"http://me:wrong@127.0.0.1:{way.port}",
            "b": f"http://{ACCOUNT}127.0.0.1:{way.port}",
        }
        proxy = RunningProxy(configuration(ports, proxies), tmp_path)
        try:
            wire = proxy.wire()
            wait_until(lambda: "result" in wire.ask("eth_gasPrice")[1], "b serves")

            def is_told() -> bool:
                return f"refused by the outbound proxy 127.0.0.1:{way.port} (407)" in proxy.log

            wait_until(is_told, "what is wrong with a is told")
            assert "wrong@" not in proxy.log
        finally:
            proxy.close()
