"""What comes out of a proxy, kept by the surface on which it came; and its pages, all of them."""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from tests.integration.running_proxy import RunningProxy
from tests.kits.waiting import LIMIT_SECONDS


def call(method: str, *params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


class Evidence(dict[str, str]):
    """What came out, by surface."""

    def take(self, surface: str, text: str | bytes) -> None:
        plain = text if isinstance(text, str) else text.decode("utf-8", "replace")
        self[surface] = self.get(surface, "") + plain + "\n"


class Pages:
    """Asks for pages, on the admin port as its owner."""

    def __init__(self, proxy: RunningProxy, evidence: Evidence, token: str) -> None:
        self._proxy = proxy
        self._evidence = evidence
        self._token = token

    def get(
        self,
        surface: str,
        path: str,
        *,
        accept: str = "application/json",
        body: object = None,
        method: str | None = None,
        is_public: bool = False,
        until: bytes = b"",
    ) -> None:
        """``until``: of a stream, what is waited for."""
        url = self._proxy.url if is_public else self._proxy.admin_url
        headers = {"Accept": accept, "Content-Type": "application/json"}
        if not is_public:
            headers["Authorization"] = f"Bearer {self._token}"
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=LIMIT_SECONDS)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method or ("GET" if data is None else "POST"), path, data, headers)
            reply = connection.getresponse()
            self._evidence.take("headers of pages", str(reply.headers))
            told = b"" if until else reply.read()
            while until not in told:
                told += reply.read1()
            self._evidence.take(surface, told)
        finally:
            connection.close()

    def visit(self, chains: Sequence[str]) -> None:
        """Every page there is."""
        self.get("metrics", "/metrics", accept="text/plain")
        self.get("metrics", "/metrics", accept="application/openmetrics-text")
        self.get("status", "/status")
        self.get("status", "/status.json")
        self.get("status in a browser", "/status", accept="text/html")
        self.get("status as it changes", "/status/events", until=b"data:")
        self.get("transactions", "/transactions")
        self.get("failures", "/failures")
        for chain in chains:
            asked = call("eth_getBalance", "0x" + "ab" * 20, "latest")
            self.get("explain", f"/explain?chain={chain}", body=asked)
        self.get("readiness", "/readyz")
        self.get("readiness", "/readyz", is_public=True)
        self.get("landing page", "/", is_public=True, accept="text/html")
        self.get("landing page", "/", is_public=True, accept="text/plain")
        self.get("public status", "/how", is_public=True, accept="text/html")
        self.get("public status", "/how.json", is_public=True)
        self.get("public status", "/how/events", is_public=True, until=b"data:")
