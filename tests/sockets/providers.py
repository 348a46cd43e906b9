"""Simulated providers in a process of their own, for tests that measure.

    with ProviderProcess("a", "b", latency_seconds=0.02) as providers:
        providers.urls["a"]
        providers.set_fault("a", faults.BLACKHOLE)
        providers.counts("a").forwarded

Calls block for about a millisecond each.
"""

from __future__ import annotations

import http.client
import subprocess
import sys
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec

from rpcproxy.drills.providers.fleet import FleetState
from rpcproxy.drills.providers.provider import Counts
from rpcproxy.drills.scenarios.fault import Fault
from tests.kits.waiting import LIMIT_SECONDS

ROOT = Path(__file__).resolve().parents[2]


class ProviderProcess:
    """``urls`` by name; the process ends with the ``with`` block, or with this process."""

    def __init__(
        self,
        *names: str,
        latency_seconds: float = 0.02,
        block_time_seconds: float = 2.0,
        chain_id: int = 1337,
        skip_every: int = 0,
        tls_certificate: str | None = None,
    ) -> None:
        command = [sys.executable, "-m", "rpcproxy.drills.providers.fleet", "--until-eof"]
        command += [f"--name={name}" for name in names]
        command += [f"--latency={latency_seconds}", f"--block-time={block_time_seconds}"]
        command += [f"--chain-id={chain_id}", f"--skip-every={skip_every}"]
        if tls_certificate:
            command.append(f"--tls-certificate={tls_certificate}")
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.close()
            raise RuntimeError("the providers did not start: see standard error")
        hello = msgspec.json.decode(line)
        self.urls: dict[str, str] = hello["providers"]
        self.control_url: str = hello["control"]
        self._connection = http.client.HTTPConnection(
            urlsplit(self.control_url).netloc, timeout=LIMIT_SECONDS
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def set_fault(self, name: str, fault: Fault | None) -> None:
        self._order("/fault", provider=name, fault=fault)

    def set_lag(self, name: str, blocks: int) -> None:
        self._order("/lag", provider=name, blocks=blocks)

    def clear(self) -> None:
        """Every provider is well again."""
        for name in self.urls:
            self.set_fault(name, None)

    def mine(self) -> int:
        """One block at once; its number."""
        return self._order("/mine").head

    def halt(self) -> None:
        self._order("/halt")

    def resume(self) -> None:
        self._order("/resume")

    def state(self) -> FleetState:
        return self._ask("GET", "/state")

    def counts(self, name: str) -> Counts:
        """What arrived at one provider since it started."""
        return self.state().providers[name].counts

    def forwarded(self) -> int:
        """Calls that are no probes, at all providers together."""
        return sum(provider.counts.forwarded for provider in self.state().providers.values())

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            if hasattr(self, "_connection"):
                self._connection.close()

    def _order(self, path: str, **order: Any) -> FleetState:
        return self._ask("POST", path, msgspec.json.encode(order))

    def _ask(self, verb: str, path: str, body: bytes = b"") -> FleetState:
        self._connection.request(verb, path, body)
        reply = self._connection.getresponse()
        text = reply.read()
        if reply.status != 200:
            raise ValueError(text.decode())
        return msgspec.json.decode(text, type=FleetState)
