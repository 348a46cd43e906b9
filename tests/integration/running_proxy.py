"""The proxy as people run it: ``python -m rpcproxy serve -c FILE`` in a process of its own.

State: the process, and the lines of its log as a thread of ours reads them.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tests.integration.wire import Wire
from tests.kits.waiting import LIMIT_SECONDS, wait_until

ROOT: Final = Path(__file__).resolve().parents[2]

# Reading the public ones takes a twelfth of the CPU of a start, and no test trusts them.
NO_AUTHORITIES: Final = {"SSL_CERT_FILE": os.devnull}

_SERVING = re.compile(r" serving .* at (https?://\S+)")
_ADMIN = re.compile(r" admin status at (http://\S+)/status")
# What no log may hold, whatever the upstreams do.
_TROUBLE = re.compile(
    r"Traceback| (?:ERROR|CRITICAL) |\bfailed\b|never retrieved|was never awaited|Warning:"
)
# The word in a sentence about an upstream is no trouble of ours.
_ABOUT_UPSTREAMS = re.compile(r" (?:INFO|WARNING) .*upstream=")


class RunningProxy:
    """``url`` is for wallets, ``admin_url`` for operators, both without a path."""

    def __init__(
        self,
        config: str,
        directory: Path,
        environment: Mapping[str, str] = {},
        module: str = "rpcproxy",
        arguments: Sequence[str] = (),
        descriptors: Sequence[int] = (),
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.config_path = directory / "proxy.yaml"
        self.write_config(config)
        self.lines: list[str] = []
        self.expected_errors: list[str] = []  # parts of ERROR lines that the test provokes
        self._wires: list[Wire] = []
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-W",
                "default",
                "-m",
                module,
                "serve",
                "-c",
                str(self.config_path),
                *arguments,
            ],
            cwd=ROOT,
            pass_fds=descriptors,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                **NO_AUTHORITIES,
                "XDG_STATE_HOME": str(directory / "state"),
                **environment,
            },
        )
        self._reader = threading.Thread(target=self._read, name="proxy log", daemon=True)
        self._reader.start()
        try:
            self.url = self.wait_for_line(_SERVING)[1]
            self.admin_url = self.wait_for_line(_ADMIN)[1]
        except BaseException:
            self.kill()
            raise

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.lines.append(line.rstrip("\n"))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    # ---- configuration

    def write_config(self, config: str) -> None:
        """Replace the file as editors do it: whole, by a rename."""
        fresh = self.config_path.with_suffix(".new")
        fresh.write_text(config)
        fresh.replace(self.config_path)

    def hang_up(self) -> None:
        """Ask for a reload (SIGHUP)."""
        self._process.send_signal(signal.SIGHUP)

    # ---- what it says

    def wire(self) -> Wire:
        """A connection to the wallet port; closed with the proxy at the latest."""
        self._wires.append(Wire(self.url))
        return self._wires[-1]

    def wait_for_line(self, pattern: re.Pattern[str], since: int = 0) -> re.Match[str]:
        """The first line of the log from ``since`` on (an index into ``lines``) that matches."""
        found: list[re.Match[str]] = []

        def is_there() -> bool:
            matches = (pattern.search(line) for line in self.lines[since:])
            found.extend(match for match in matches if match)
            return bool(found) or not self.is_running

        wait_until(is_there, f"a log line like {pattern.pattern!r} in:\n{self.log}")
        assert found, f"the proxy ended before it logged {pattern.pattern!r}:\n{self.log}"
        return found[0]

    def status(self) -> dict[str, Any]:
        """What ``/status`` says."""
        page: dict[str, Any] = json.loads(self.get("/status"))
        return page

    def get(self, path: str) -> str:
        """A page of the admin port."""
        connection = http.client.HTTPConnection(
            urlsplit(self.admin_url).netloc, timeout=LIMIT_SECONDS
        )
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def upstream_states(self) -> dict[str, str]:
        """State by upstream name, of the first chain."""
        return {u["name"]: u["state"] for u in self.status()["chains"][0]["upstreams"]}

    def wait_until_well(self) -> None:
        """Every upstream of every chain is up."""

        def is_well() -> bool:
            return all(
                upstream["state"] == "up"
                for chain in self.status()["chains"]
                for upstream in chain["upstreams"]
            )

        wait_until(is_well, "all upstreams are up", pause_seconds=0.1)

    # ---- the end

    def ask_to_end(self) -> None:
        """SIGTERM."""
        if self.is_running:
            self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Wait for its end; the exit code."""
        try:
            code = self._process.wait(LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(
                f"it did not end within {LIMIT_SECONDS:g} s:\n{self.log}"
            ) from None
        self._reader.join(LIMIT_SECONDS)
        if self._process.stderr is not None:
            self._process.stderr.close()
        return code

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join(LIMIT_SECONDS)
        if self._process.stderr is not None:
            self._process.stderr.close()

    def close(self) -> None:
        """End it and look back: a clean exit, and no trouble in the log."""
        for wire in self._wires:
            wire.close()
        self.ask_to_end()
        code = self.wait()
        trouble = [line for line in self.lines if self._is_trouble(line)]
        assert not trouble, "trouble in the log:\n" + "\n".join(trouble[:5])
        assert code == 0, f"exit code {code}:\n{self.log}"

    def _is_trouble(self, line: str) -> bool:
        if any(part in line for part in self.expected_errors):
            return False
        return bool(_TROUBLE.search(line)) and not _ABOUT_UPSTREAMS.search(line)
