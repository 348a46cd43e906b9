"""More clients than this machine has files for: nobody is blamed for it, and whoever is let in is
served.

pg_doorman 262, kubernetes 5461, twemproxy 232, http-party/node-http-proxy 567 and
NVIDIA/OpenShell 2337: proxies that ran out of files stopped, filled their logs, or called the
servers behind them unreachable.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from tests.exam.fault_bench import PLACES, configuration
from tests.integration.running_proxy import RunningProxy
from tests.kits.waiting import LIMIT_SECONDS, wait_until
from tests.sockets.providers import ProviderProcess

FILES: Final = 64
CLIENTS: Final = 80
REQUESTS: Final = 10
BLAME: Final = {"ejected", "quarantined", "suspect", "panic", "cooling"}


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[RunningProxy]:
    with ProviderProcess(*PLACES) as providers:
        text = configuration(providers.urls, {name: name for name in PLACES})
        running = RunningProxy(
            text, tmp_path, {"FEW_FILES": str(FILES)}, module="tests.integration.few_files"
        )
        running.expected_errors.append("machine_exhausted")
        try:
            wait_until(lambda: _chain(running)["state"] == "ok", "all upstreams are up")
            yield running
        finally:
            running.close()


def _status(proxy: RunningProxy) -> Any:
    with urlopen(f"{proxy.admin_url}/status", timeout=LIMIT_SECONDS) as page:
        return json.load(page)


def _chain(proxy: RunningProxy) -> Any:
    return _status(proxy)["chains"][0]


def _client(proxy: RunningProxy, number: int, start: threading.Barrier, seen: Counter[str]) -> None:
    """Asks for balances over one connection; another where that was turned away."""
    address = urlsplit(proxy.url).netloc
    start.wait()
    for turn in range(REQUESTS):
        params = [f"0x{number * REQUESTS + turn:040x}", "latest"]
        call = {"jsonrpc": "2.0", "id": 1, "method": "eth_getBalance", "params": params}
        connection = http.client.HTTPConnection(address, timeout=LIMIT_SECONDS)
        try:
            connection.request("POST", "/", json.dumps(call))
            answer = connection.getresponse()
            body = json.loads(answer.read())
        except (OSError, http.client.HTTPException):
            seen["closed"] += 1
            continue
        finally:
            connection.close()
        kind = "result" if "result" in body else f"error {answer.status}"
        seen[kind] += 1


def test_eighty_clients_and_sixty_four_files(proxy: RunningProxy) -> None:
    start, seen = threading.Barrier(CLIENTS), Counter[str]()
    clients = [
        threading.Thread(target=_client, args=(proxy, number, start, seen))
        for number in range(CLIENTS)
    ]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    # Over the limit, in words or at the door; whoever was let in got an answer.
    assert set(seen) <= {"result", "error 503", "closed"}, seen
    assert seen["result"] >= CLIENTS
    status = _status(proxy)
    assert not BLAME & {change["kind"] for change in status["changes"]}, status["changes"]
    assert {each["state"] for each in status["chains"][0]["upstreams"]} == {"up"}


def test_a_batch_that_takes_more_connections_than_there_are_files(proxy: RunningProxy) -> None:
    """Each of its members goes its own way, over a connection of its own."""
    calls = [
        {
            "jsonrpc": "2.0",
            "id": number,
            "method": "eth_getLogs",
            "params": [{"fromBlock": "latest", "address": f"0x{number:040x}"}],
        }
        for number in range(300)
    ]
    connection = http.client.HTTPConnection(urlsplit(proxy.url).netloc, timeout=LIMIT_SECONDS)
    connection.request("POST", "/", json.dumps(calls))
    replies = json.loads(connection.getresponse().read())
    connection.close()
    assert sum("result" in reply for reply in replies) == 300, replies[-1]
    status = _status(proxy)
    assert not BLAME & {change["kind"] for change in status["changes"]}, status["changes"]
