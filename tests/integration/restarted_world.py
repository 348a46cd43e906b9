"""One configuration in front of simulated providers, and its proxies one after the other.

State: the proxies that were started, in ``RestartedWorld``.
"""

from __future__ import annotations

import contextlib
import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.integration.anvil_node import free_port
from tests.integration.running_proxy import RunningProxy
from tests.kits.waiting import LIMIT_SECONDS
from tests.sockets.providers import ProviderProcess


class RestartedWorld:
    """See the module's docstring. ``close`` ends what still runs."""

    def __init__(self, providers: ProviderProcess, directory: Path) -> None:
        self.providers = providers
        self.directory = directory
        self.ports = free_port(), free_port()
        self.running: list[RunningProxy] = []

    def config(self, *names: str) -> str:
        wallet, admin = self.ports
        upstreams = "".join(
            f"      - {{name: {name}, url: {self.providers.urls[name]}, provider: {name}}}\n"
            for name in names or tuple(self.providers.urls)
        )
        return (
            f"server: {{listen: 127.0.0.1:{wallet}, admin: 127.0.0.1:{admin}, drain: 1s}}\n"
            f"chains:\n  - name: here\n    chain_id: 1337\n    block_time: 1s\n    upstreams:\n"
            + upstreams
        )

    def start(self, *arguments: str) -> RunningProxy:
        proxy = RunningProxy(self.config(), self.directory, arguments=arguments)
        self.running.append(proxy)
        return proxy

    def set_all(self, fault: Any) -> None:
        for name in self.providers.urls:
            self.providers.set_fault(name, fault)

    def close(self) -> None:
        for proxy in self.running:
            if proxy.is_running:
                proxy.kill()


def asked(proxy: RunningProxy, method: str, path: str, body: object = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(urlsplit(proxy.admin_url).netloc, timeout=LIMIT_SECONDS)
    headers = {"X-Operator": "alice", "Content-Type": "application/json"}
    with contextlib.closing(connection):
        connection.request(method, path, json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
