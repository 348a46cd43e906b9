"""What the integration tests share: the proxy in a process of its own, real nodes, Node packages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.integration.anvil import AnvilChain
from tests.integration.anvil_node import proxy_config
from tests.integration.running_proxy import RunningProxy

CLIENTS = Path(__file__).resolve().parents[1] / "clients"

StartProxy = Callable[[str], RunningProxy]


def missing(what: str) -> NoReturn:
    """Skip the test by name, or fail it where RPCPROXY_REQUIRE_ALL=1 (see tests/conftest.py)."""
    if os.environ.get("RPCPROXY_REQUIRE_ALL") == "1":
        pytest.fail(f"{what} is not installed, and RPCPROXY_REQUIRE_ALL=1")
    pytest.skip(f"{what} is not installed (make clients)")


@pytest.fixture(scope="session")
def anvil_binary() -> str:
    """The path of anvil: the one that ``make clients`` installed, or the one on the PATH."""
    installed = sorted((CLIENTS / "node_modules" / "@foundry-rs").glob("anvil-*/bin/anvil*"))
    path = str(installed[0]) if installed else shutil.which("anvil")
    if path is None:
        missing("anvil")
    return path


@pytest.fixture(scope="session")
def node_binary() -> str:
    """The path of Node.js."""
    path = shutil.which("node")
    if path is None:
        missing("node")
    return path


@pytest.fixture(scope="session")
def require_node_package() -> Callable[[str], None]:
    """That an npm package is there for the scripts in tests/clients."""

    def require(name: str) -> None:
        if not (CLIENTS / "node_modules" / name).is_dir():
            missing(f"the Node package {name}")

    return require


@pytest.fixture
def proxy_process(tmp_path: Path) -> Iterator[StartProxy]:
    """Starts ``python -m rpcproxy serve -c FILE`` with this configuration. At the end of the
    test each is stopped, and a traceback or a failure in its log fails the test.
    """
    started: list[RunningProxy] = []

    def start(config: str) -> RunningProxy:
        proxy = RunningProxy(config, tmp_path / f"proxy-{len(started)}")
        started.append(proxy)
        return proxy

    try:
        yield start
    finally:
        close_all(started)


def close_all(proxies: list[RunningProxy]) -> None:
    """Close every one, then raise what the first of them had to say."""
    complaints = []
    for proxy in proxies:
        try:
            proxy.close()
        except AssertionError as complaint:
            complaints.append(complaint)
    if complaints:
        raise complaints[0]


@pytest.fixture
def anvil_chain(anvil_binary: str) -> Iterator[AnvilChain]:
    """Four anvils of one chain, started, which mine when told to."""
    with AnvilChain(anvil_binary) as chain:
        chain.start()
        yield chain


@pytest.fixture(scope="module")
def shared_chain(anvil_binary: str) -> Iterator[AnvilChain]:
    """The same, for all tests of a file: each leaves the nodes well, and the chain longer."""
    with AnvilChain(anvil_binary) as chain:
        chain.start()
        yield chain


@pytest.fixture(scope="module")
def shared_proxy(
    shared_chain: AnvilChain, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningProxy]:
    """One proxy before that chain, for all tests of a file."""
    proxy = RunningProxy(proxy_config(shared_chain.nodes), tmp_path_factory.mktemp("proxy"))
    try:
        proxy.wait_until_well()
        yield proxy
    finally:
        proxy.close()
