"""Real nodes for the tools: pinned versions, installed by their ordinary clients, on loopback.

``geth`` is built with go, ``anvil`` and ``hardhat`` come from npm; all of it goes into the folder
that the caller names. Needs go and npm; downloads some hundred megabytes the first time.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

GETHS: Final = ("1.17.10", "1.16.9", "1.15.11")
ANVIL: Final = "1.7.1"
HARDHAT: Final = "2.29.1"
START_SECONDS: Final = 120.0
_CALL_SECONDS: Final = 30.0


class Trouble(Exception):
    """A node could not be installed or started."""


class Node(NamedTuple):
    """A node that runs. ``name`` is its kind and version, as in ``geth-1.17.10``."""

    name: str
    port: int

    @property
    def kind(self) -> str:
        return self.name.partition("-")[0]

    def ask(self, method: str, params: bytes) -> tuple[int, bytes]:
        """HTTP status and body of one call with id 1; ``params`` is JSON text."""
        body = b'{"jsonrpc":"2.0","id":1,"method":"%b","params":%b}' % (method.encode(), params)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_CALL_SECONDS)
        try:
            connection.request("POST", "/", body, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()

    def call(self, method: str, *params: object) -> Any:  # noqa: ANN401 -- any JSON
        """The result of a call. Raises ``Trouble`` for an error."""
        _, body = self.ask(method, json.dumps(params).encode())
        answer = json.loads(body)
        if "result" not in answer:
            raise Trouble(f"{self.name}, {method}: {answer}")
        return answer["result"]


def names() -> list[str]:
    """All nodes there are."""
    return [*(f"geth-{version}" for version in GETHS), f"anvil-{ANVIL}", f"hardhat-{HARDHAT}"]


def _run(*command: str, folder: Path, **environment: str) -> None:
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, check=False
    )
    if done.returncode:
        raise Trouble(f"{' '.join(command)}: {done.stderr.decode(errors='replace')[-2000:]}")


def _installed(name: str, folder: Path) -> Path:
    """The program, installed into ``folder`` unless it is there."""
    kind, _, version = name.partition("-")
    home = folder / name
    home.mkdir(parents=True, exist_ok=True)
    install: tuple[str, ...]
    if kind == "geth":
        program = home / "geth"
        package = f"github.com/ethereum/go-ethereum/cmd/geth@v{version}"
        install = ("go", "install", package)
    else:
        program = home / "node_modules" / ".bin" / kind
        package = f"@foundry-rs/anvil@{version}" if kind == "anvil" else f"hardhat@{version}"
        install = ("npm", "install", "--no-audit", "--no-fund", "--no-package-lock", package)
        if not (home / "package.json").exists():
            (home / "package.json").write_text('{"private": true}\n')
    if not program.exists():
        _run(*install, folder=home, GOBIN=str(home))
    if kind == "hardhat":
        (home / "hardhat.config.js").write_text('module.exports = { solidity: "0.8.24" };\n')
    return program


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def _command(name: str, program: Path, port: int, data: Path) -> list[str]:
    kind = name.partition("-")[0]
    where = [str(program)]
    if kind == "geth":
        where += ["--dev", "--datadir", str(data), "--http", "--http.addr", "127.0.0.1"]
        where += ["--http.port", str(port), "--http.api", "eth,net,web3,debug,txpool"]
        where += ["--authrpc.port", str(_free_port()), "--port", "0", "--nodiscover"]
        return [*where, "--maxpeers", "0", "--ipcdisable", "--verbosity", "1"]
    if kind == "anvil":
        return [*where, "--port", str(port), "--silent"]
    return [*where, "node", "--hostname", "127.0.0.1", "--port", str(port)]


@contextmanager
def running(name: str, folder: Path) -> Iterator[Node]:
    """A node of this name on a free port, ended afterwards. Raises ``Trouble``."""
    program = _installed(name, folder)
    node = Node(name, _free_port())
    data = folder / name / f"data-{node.port}"
    process = subprocess.Popen(
        _command(name, program, node.port, data),
        cwd=folder / name,
        env={**os.environ, "HARDHAT_DISABLE_TELEMETRY_PROMPT": "true", "CI": "true"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _await(node, process)
        yield node
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(node: Node, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise Trouble(f"{node.name} ended with {process.returncode}")
        try:
            node.call("eth_chainId")
        except (OSError, Trouble, ValueError):
            time.sleep(0.2)
        else:
            return
    raise Trouble(f"{node.name} does not answer after {START_SECONDS:g} s")
