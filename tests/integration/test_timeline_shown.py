"""Killed at random while things happen, a proxy loses nothing that it showed, and tells nothing
twice.

``TIMELINE_KILLS``: how often.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from rpcproxy.drills.scenarios import faults
from tests.integration.anvil_node import free_port
from tests.integration.running_proxy import NO_AUTHORITIES, ROOT
from tests.kits.waiting import LIMIT_SECONDS, wait_until
from tests.sockets.providers import ProviderProcess

KILLS: Final = int(os.environ.get("TIMELINE_KILLS", "50"))
MOST_TURNS: Final = 12
ORDERS: Final = ("drain", "undrain", "cordon", "uncordon")
NAMES: Final = ("a", "b")


class Lives:
    """One proxy after the other, in one place."""

    def __init__(self, directory: Path, providers: ProviderProcess) -> None:
        self.admin = free_port()
        upstreams = "".join(
            f"      - {{name: {name}, url: {url}, provider: {name}}}\n"
            for name, url in providers.urls.items()
        )
        file = directory / "proxy.yaml"
        file.write_text(
            f"server: {{listen: 127.0.0.1:{free_port()}, admin: 127.0.0.1:{self.admin}}}\n"
            "chains:\n  - name: here\n    chain_id: 1337\n    block_time: 1s\n    upstreams:\n"
            + upstreams
        )
        self._log = (directory / "log").open("wb")
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.forked_proxies", str(file)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, **NO_AUTHORITIES, "XDG_STATE_HOME": str(directory / "state")},
        )
        self._pid: int | None = None

    def begin(self, number: int) -> None:
        """So many have begun with it."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write("\n")
        self._server.stdin.flush()
        self._pid = int(self._server.stdout.readline())
        wait_until(lambda: self.ask("GET", "/healthz"), "it serves", pause_seconds=0.002)
        wait_until(lambda: self._starts() == number, "its start is written", pause_seconds=0.002)

    def kill(self) -> None:
        if self._pid is not None:
            os.kill(self._pid, signal.SIGKILL)
            self._pid = None

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Its answer, empty where it does not listen yet."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=LIMIT_SECONDS)
        headers = {"Content-Type": "application/json"}
        with contextlib.closing(connection), contextlib.suppress(ConnectionRefusedError):
            connection.request(method, path, json.dumps(body), headers)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
            return answer
        return {}

    def changes(self) -> dict[str, dict[str, Any]]:
        """By their ids, each of which is there once."""
        told = self.ask("GET", "/changes?limit=2000")
        assert told["kept"] == ""
        ids = [each["id"] for each in told["changes"]]
        assert len(ids) == len(set(ids))
        return {each["id"]: each for each in told["changes"]}

    def _starts(self) -> int:
        return sum(each["kind"] == "started" for each in self.changes().values())

    def close(self) -> None:
        self.kill()
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(LIMIT_SECONDS)
        self._server.stdout.close()
        self._log.close()


@pytest.fixture
def providers() -> Iterator[ProviderProcess]:
    with ProviderProcess(*NAMES, latency_seconds=0.001, block_time_seconds=1.0) as providers:
        yield providers


@pytest.fixture
def lives(tmp_path: Path, providers: ProviderProcess) -> Iterator[Lives]:
    lives = Lives(tmp_path, providers)
    try:
        yield lives
    finally:
        lives.close()


def live(
    lives: Lives, providers: ProviderProcess, rng: random.Random, orders: dict[str, str]
) -> dict[str, dict[str, Any]]:
    """Some things happen; what was shown last. ``orders``: the last ones that were obeyed, by what
    they are about.
    """
    shown: dict[str, dict[str, Any]] = {}
    for _ in range(rng.randint(1, MOST_TURNS)):
        match rng.randrange(4):
            case 0:
                name, order = rng.choice(NAMES), rng.choice(ORDERS)
                lives.ask("POST", f"/upstreams/here/{name}/{order}?force=1")
                orders[f"{name} {order.removeprefix('un')}"] = order
            case 1:
                lives.ask("PUT", "/log-level", {"level": rng.choice(("warning", "error"))})
            case 2:
                providers.set_fault(rng.choice(NAMES), rng.choice((None, faults.RESET)))
            case _:
                shown = lives.changes()
    return shown


def is_kept(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """What was said of it, or more."""
    return (
        bool(after["kind"] == before["kind"] or before["ended"] is None)
        and (after["started"], after["upstream"], after["by"])
        == (
            before["started"],
            before["upstream"],
            before["by"],
        )
        and after["unserved"] >= before["unserved"]
    )


def test_nothing_that_was_shown_is_lost_or_told_twice(
    lives: Lives, providers: ProviderProcess
) -> None:
    rng = random.Random(12)
    shown: dict[str, dict[str, Any]] = {}
    orders: dict[str, str] = {}
    for turn in range(KILLS):
        lives.begin(turn + 1)
        now = lives.changes()
        lost = [each for each in shown.values() if each["id"] not in now]
        assert lost == [], f"life {turn}"
        changed = [(e, now[i]) for i, e in shown.items() if not is_kept(e, now[i])]
        assert changed == [], f"life {turn}"
        kinds = [each["kind"] for each in now.values()]
        assert kinds.count("started") == turn + 1
        assert kinds.count("died") == turn
        stands = {
            f"{each['name']} {each['order']['order']}"
            for each in lives.ask("GET", "/status")["chains"][0]["upstreams"]
            if each["order"]
        }
        wanted = {what for what, order in orders.items() if not order.startswith("un")}
        # One that is drained is not told to be cordoned, too.
        wanted -= {f"{name} cordon" for name in NAMES if f"{name} drain" in wanted}
        assert stands == wanted, f"life {turn}"
        shown = live(lives, providers, rng, orders) or now
        lives.kill()
