"""People with wallets: real clients in processes of their own, and a steady stream of reads.

State: what each client printed so far, as threads of ours read it.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import IO, Any, Final

from tests.integration.anvil_node import Account
from tests.integration.wire import Wire
from tests.kits.waiting import LIMIT_SECONDS, wait_until

CLIENTS: Final = Path(__file__).resolve().parents[1] / "clients"
# Steps that wait for the chain, not for an answer.
WAITING_STEPS: Final = frozenset(("receipt",))


class Wallet:
    """One client on its journeys; see tests/clients/journeys.mjs for what a journey is.

    ``taken_back``: hashes of blocks that a node took back. That a receipt moved out of any other
    block is an error.
    """

    def __init__(
        self,
        command: list[str],
        url: str,
        account: Account,
        contract: str,
        *,
        taken_back: AbstractSet[str] = frozenset(),
    ) -> None:
        self.name = Path(command[1]).stem + (f" {command[2]}" if len(command) > 2 else "")
        self.account = account
        self.journeys: list[dict[str, Any]] = []
        self.errors: list[str] = []
        self.is_ready = False
        self._taken_back = taken_back
        self._process = subprocess.Popen(
            [*command, url, account.key, contract],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True),
            threading.Thread(target=self._read_errors, args=(self._process.stderr,), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                told = json.loads(line)
                if told["event"] == "ready":
                    self.is_ready = True
                elif told["event"] == "journey":
                    self.journeys.append(told)
                    self.errors.extend(
                        f"{self.name}: the receipt of {told['hash']} was in block {hash}, which no "
                        "node took back"
                        for hash in told.get("replaced", ())
                        if hash not in self._taken_back
                    )
                elif told["event"] == "error":
                    self.errors.append(f"{self.name}, {told['step']}: {told['message']}")

    def _read_errors(self, lines: IO[str]) -> None:
        with lines:
            self.errors.extend(f"{self.name} said: {line.rstrip()}" for line in lines)

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def is_stopped(self) -> bool:
        return self._process.stdin is None or self._process.stdin.closed

    def slowest_since(self, number: int) -> float:
        """The longest wait for an answer on the journeys from this one on, of which there are some."""
        assert self.journeys[number:], f"{self.name} has been on no journey since"
        return max(
            (
                float(seconds)
                for journey in self.journeys[number:]
                for step, seconds in journey["seconds"].items()
                if step not in WAITING_STEPS
            ),
            default=0.0,
        )

    def stop(self) -> None:
        """Let it finish the journey it is on."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def wait(self) -> None:
        self._process.wait(LIMIT_SECONDS)
        for reader in self._readers:
            reader.join(LIMIT_SECONDS)

    def close(self) -> None:
        """End it at once."""
        self.stop()
        self._process.kill()
        self.wait()


def python_client(kind: str) -> list[str]:
    return [sys.executable, str(CLIENTS / "web3_client.py"), kind]


def three_libraries(
    node_binary: str, require_node_package: Callable[[str], None]
) -> list[list[str]]:
    """The commands of wallets by viem, ethers and web3.py; a missing package is skipped by name."""
    for package in ("viem", "ethers"):
        require_node_package(package)
    return [
        [node_binary, str(CLIENTS / "viem.mjs")],
        [node_binary, str(CLIENTS / "ethers.mjs")],
        python_client("sync"),
    ]


class Readers:
    """Reads without a break from several connections. ``errors`` is what went wrong.

    ``may_end``: a port that refuses a new connection is the end, and no error.

    Block numbers are compared across connections: none may be below one that was answered
    before it was asked.
    """

    def __init__(
        self,
        url: str,
        address: str,
        connections: int = 3,
        *,
        may_end: bool = False,
        pause_seconds: float = 0.02,
    ) -> None:
        self.errors: list[str] = []
        self.begun = 0
        self.count = 0
        self.slowest_seconds = 0.0
        self._url = url
        self._may_end = may_end
        self._pause_seconds = pause_seconds
        self._calls = (
            ("eth_blockNumber", ()),
            ("eth_getBalance", (address, "latest")),
            ("eth_getBlockByNumber", ("latest", False)),
            ("eth_gasPrice", ()),
        )
        self._highest = -1
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._read, name=f"reader {n}", daemon=True)
            for n in range(connections)
        ]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        wire = Wire(self._url)
        position = 0
        while not self._stopping.wait(self._pause_seconds):
            method, params = self._calls[position % len(self._calls)]
            position += 1
            with self._lock:
                self.begun += 1
            highest = self._highest
            started = time.monotonic()
            try:
                status, reply = wire.ask(method, *params)
            except (OSError, http.client.HTTPException, ValueError) as error:
                if self._may_end and isinstance(error, ConnectionRefusedError):
                    break
                self.errors.append(f"{method}: {error!r}")
                wire.close()
                wire = Wire(self._url)
                continue
            self._note(method, status, reply, highest, time.monotonic() - started)
        wire.close()

    def _note(
        self, method: str, status: int, reply: dict[str, Any], highest: int, seconds: float
    ) -> None:
        with self._lock:
            self.count += 1
            self.slowest_seconds = max(self.slowest_seconds, seconds)
            if status != 200 or reply.get("result") is None:
                self.errors.append(f"{method}: HTTP {status} {reply}")
            elif method == "eth_blockNumber":
                number = int(reply["result"], 16)
                if number < highest:
                    self.errors.append(f"the head went from {highest} back to {number}")
                self._highest = max(self._highest, number)

    def wait_for(self, count: int) -> None:
        """Wait for so many more answers."""
        goal = self.count + count
        wait_until(lambda: self.count >= goal, f"{count} more reads")

    @property
    def have_ended(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(LIMIT_SECONDS)
