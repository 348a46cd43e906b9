"""The proxy ends at the worst moments; what was told, or may have been told, is mined after it."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from rpcproxy.app.proxy import Proxy
from rpcproxy.chains.known import KNOWN
from rpcproxy.config.load import load_text
from tests.integration.anvil import AnvilChain
from tests.integration.anvil_node import proxy_config
from tests.integration.crashing_proxy import CRASH_CODE
from tests.integration.running_proxy import RunningProxy
from tests.integration.test_anvil_sends import SEND, signed_transfer
from tests.integration.wire import Wire
from tests.kits.engine_kit import logged_errors
from tests.kits.waiting import wait_until
from tests.sockets.loop_thread import LoopThread

CRASHING = "tests.integration.crashing_proxy"
COPIES = 3  # of each transaction, to several upstreams at once


@pytest.fixture(scope="module")
def chain(anvil_binary: str) -> Iterator[AnvilChain]:
    with AnvilChain(anvil_binary) as chain:
        chain.start()
        yield chain


@contextlib.contextmanager
def healthy_proxy(config: str) -> Iterator[str]:
    """The next one, in this process: its URL, once all upstreams are up. It logs no error."""
    loop = LoopThread("healthy proxy")
    try:
        with logged_errors() as errors:
            proxy = Proxy(load_text(config, file="proxy.yaml", known=KNOWN, environ={}))
            loop.run(proxy.start())
            try:
                (runtime,) = proxy.chains.values()
                wait_until(lambda: all(s.state == "up" for s in runtime.standings), "all are up")
                yield "http://{}:{}".format(*proxy.address)
            finally:
                loop.run(proxy.stop())
        assert not [record.getMessage() for record in errors]
    finally:
        loop.close()


@pytest.mark.parametrize(
    ("point", "is_surely_kept"),
    [
        ("before commit", False),
        ("after commit", True),
        ("before broadcast", True),
        ("before answer", True),
        ("in rebroadcast", True),
    ],
)
def test_a_crash(
    chain: AnvilChain,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
    is_surely_kept: bool,
) -> None:
    config = f"name: crashes\n{proxy_config(chain.nodes)}"  # of a file, and of none
    account = chain.accounts[0]
    nonce = int(chain.nodes[0].call("eth_getTransactionCount", account.address, "latest"), 16)
    hash, raw = signed_transfer(account, nonce)
    environment = {"CRASH_AT": point}
    crashing = RunningProxy(config, tmp_path, environment, module=CRASHING)
    try:
        crashing.wait_until_well()
        wire = crashing.wire()
        try:
            told = wire.result(SEND, raw)
        except (OSError, http.client.HTTPException):
            told = None
        if point == "in rebroadcast":
            assert told == hash
            # A copy that came later would be mined, and nothing sent again.
            wait_until(lambda: sum(hash in n.pool() for n in chain.nodes) >= COPIES, "all copies")
            # They forget it, and so the next block is without it.
            for node in chain.nodes:
                node.call("anvil_dropAllTransactions")
            chain.mine()
        else:
            assert told is None
        wait_until(lambda: not crashing.is_running, "it has crashed")
        assert crashing.wait() == CRASH_CODE
        wire.close()
    finally:
        crashing.kill()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with healthy_proxy(config) as url, contextlib.closing(Wire(url)) as wire:
        if not is_surely_kept:
            # Nobody was told anything: the wallet hands it over again.
            assert wire.result(SEND, raw) == hash
        assert wire.result("eth_getTransactionByHash", hash)["hash"] == hash
        wait_until(lambda: any(hash in node.pool() for node in chain.nodes), "it is sent again")
        chain.mine()
        receipt = wire.result("eth_getTransactionReceipt", hash)
        assert receipt["status"] == "0x1"
        assert wire.result(SEND, raw) == hash
        mined = [known for block in chain.blocks for known, _ in block.transactions]
        assert mined.count(hash) == 1
