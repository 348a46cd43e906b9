"""Who watches a proxy, for tests: a receiver of webhooks and spans, and a real Prometheus."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import yaml

from tests.integration.running_proxy import ROOT
from tests.kits.waiting import LIMIT_SECONDS

DEPLOY = ROOT / "deploy"
QUICKER = 60  # alerts fire after a sixtieth of their patience


class Listening:
    """Webhooks and spans as they arrive; the first webhook is refused."""

    def __init__(self) -> None:
        self.hooks: list[Any] = []
        self.refused = 0
        self.spans: list[Any] = []
        self.bytes: list[bytes] = []
        listening = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                listening.bytes.append(body)
                self.send_response(listening.take(self.path, body))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, path: str, body: bytes) -> int:
        if path == "/v1/traces":
            from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
                ExportTraceServiceRequest,
            )

            request = ExportTraceServiceRequest.FromString(body)
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    self.spans += scope.spans
            return 200
        if not self.refused:
            self.refused = 1
            return 503
        self.hooks.append(json.loads(body))
        return 200

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Prometheus:
    """A real one, with quick copies of the rules."""

    def __init__(self, binary: str, directory: Path, target: str) -> None:
        rules = directory / "rules"
        shutil.copytree(DEPLOY / "prometheus" / "rules", rules)
        alerts = rules / "alerts.yml"
        alerts.write_text(re.sub(r"(?m)^( +for: )(\S+)$", _quicker, alerts.read_text()))
        config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
        config["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
        (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._address = f"127.0.0.1:{free.getsockname()[1]}"
        self._process = subprocess.Popen(
            [
                binary,
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address={self._address}",
                "--log.level=warn",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def ask(self, path: str) -> Any:
        connection = http.client.HTTPConnection(self._address, timeout=LIMIT_SECONDS)
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            return json.loads(reply.read())
        finally:
            connection.close()

    def is_ready(self) -> bool:
        try:
            return bool(self.ask("/api/v1/query?query=up")["data"]["result"])
        except (OSError, ValueError):
            return False

    def query(self, expression: str) -> list[Any]:
        answer = self.ask("/api/v1/query?" + urlencode({"query": expression}, quote_via=quote))
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        result: list[Any] = answer["data"]["result"]
        return result

    def firing(self) -> set[str]:
        alerts = self.ask("/api/v1/alerts")["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(LIMIT_SECONDS)


def _quicker(found: re.Match[str]) -> str:
    units = {"s": 1, "m": 60, "h": 3600}
    seconds = int(found[2][:-1]) * units[found[2][-1]]
    return f"{found[1]}{max(1, seconds // QUICKER)}s"
