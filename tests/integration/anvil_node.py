"""One anvil: a real node of a development chain, started, frozen, killed and asked directly."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import re
import socket
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from tests.kits import freezing
from tests.kits.waiting import LIMIT_SECONDS

CHAIN_ID: Final = 31337
GENESIS_TIMESTAMP: Final = 1_700_000_000
LOWEST_PORT: Final = 10_000

# Names of nodes, with the provider, cloud and region that the proxy is told of them.
DOMAINS: Final = {
    "alder": ("north", "aws", "us-east-1"),
    "birch": ("lake", "gcp", "europe-west4"),
    "cedar": ("summit", "aws", "eu-central-1"),
    "dogwood": ("harbor", "ovh", "gra"),
}

_LISTENING = re.compile(r"Listening on [\d.]+:(\d+)")
_KEY = re.compile(r"^\(\d\) (0x[0-9a-f]{64})$")
_ADDRESS = re.compile(r"^\(\d\) (0x[0-9a-fA-F]{40}) ")


class AnvilError(Exception):
    """A node answered a call of ours with an error, or not at all."""


@dataclass(frozen=True, slots=True)
class Account:
    """One of anvil's development accounts: no secret, worth nothing anywhere else."""

    address: str
    key: str


class Anvil:
    """One node. ``port`` stays its own when it is killed and started again."""

    def __init__(self, name: str, binary: str) -> None:
        self.name = name
        self.port = free_port()
        self.accounts: tuple[Account, ...] = ()
        self.is_frozen = False
        self.is_held = False  # mines no more, and answers all the same
        self.height = 0
        self._binary = binary
        self._process: subprocess.Popen[str] | None = None
        self._connection: http.client.HTTPConnection | None = None
        # The miner's thread and the test's ask, too.
        self._asking = threading.RLock()

    def __repr__(self) -> str:
        return f"<anvil {self.name}>"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def is_reachable(self) -> bool:
        return self.is_running and not self.is_frozen

    @property
    def can_mine(self) -> bool:
        return self.is_reachable and not self.is_held

    def start(self) -> None:
        """Start with the genesis block alone; returns when it listens."""
        self.height = 0
        self.is_frozen = self.is_held = False
        self._process = subprocess.Popen(
            [
                *(self._binary, "--port", str(self.port), "--no-mining", "--order", "fifo"),
                *("--timestamp", str(GENESIS_TIMESTAMP), "--threads", "1"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._process.stdout is not None
        keys, addresses = [], []
        for line in self._process.stdout:
            if match := _KEY.match(line.strip()):
                keys.append(match[1])
            elif match := _ADDRESS.match(line.strip()):
                addresses.append(match[1])
            elif _LISTENING.search(line):
                break
        else:
            raise AnvilError(f"{self} did not start")
        self.accounts = tuple(map(Account, addresses, keys))
        # It logs every call: unread, the pipe would fill and hold it up.
        threading.Thread(target=_drain, args=(self._process.stdout,), daemon=True).start()

    def freeze(self) -> None:
        """It keeps its connections; each of its threads stands when this returns."""
        assert self._process is not None
        self.is_frozen = True
        freezing.freeze(self._process.pid)

    def thaw(self) -> None:
        assert self._process is not None
        freezing.thaw(self._process.pid)
        self.is_frozen = False

    def kill(self) -> None:
        """End it at once (SIGKILL), whatever state it is in."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self.is_frozen = False
        self._hang_up()

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def call(self, method: str, *params: Any) -> Any:
        """One call, direct. Raises ``AnvilError``."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        headers = {"Content-Type": "application/json"}
        with self._asking:
            try:
                if self._connection is None:
                    self._connection = http.client.HTTPConnection(
                        "127.0.0.1", self.port, LIMIT_SECONDS
                    )
                self._connection.request("POST", "/", body, headers)
                answer = json.loads(self._connection.getresponse().read())
            except (OSError, http.client.HTTPException) as error:
                self._hang_up()
                raise AnvilError(f"{self} {method}: {error!r}") from error
        if "error" in answer:
            raise AnvilError(f"{self} {method}: {answer['error']}")
        return answer["result"]

    def pool(self) -> list[str]:
        """Hashes of all transactions that wait, by sender and nonce."""
        content = self.call("txpool_content")
        return [
            transaction["hash"]
            for part in ("pending", "queued")
            for by_nonce in content[part].values()
            for _, transaction in sorted(by_nonce.items(), key=lambda item: int(item[0]))
        ]

    def mine(self, timestamp: int) -> dict[str, Any]:
        """Mine what the pool holds; the block."""
        (block,) = self.call("evm_mine_detailed", {"timestamp": timestamp})
        self.height += 1
        return dict(block)


def proxy_config(nodes: Sequence[Anvil], **chain: str) -> str:
    """A configuration for the proxy with these nodes as upstreams. ``chain``: further keys of
    the chain, as YAML texts.
    """
    lines = [
        "server: {listen: '127.0.0.1:0', admin: '127.0.0.1:0'}",
        "chains:",
        "  - name: anvil",
        f"    chain_id: {CHAIN_ID}",
        "    block_time: 1s",
        *(f"    {key}: {text}" for key, text in chain.items()),
        "    upstreams:",
    ]
    for node in nodes:
        provider, cloud, region = DOMAINS[node.name]
        lines += [
            f"      - name: {node.name}",
            f"        url: {node.url}",
            f"        provider: {provider}",
            f"        cloud: {cloud}",
            f"        region: {region}",
        ]
    return "\n".join(lines) + "\n"


def free_port() -> int:
    """A port that nobody uses now. Of those that the kernel gives to outgoing connections none: one
    of them may be taken again before a server of ours has it.
    """
    lowest_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(LOWEST_PORT, lowest_outgoing)
        with socket.socket() as taken, contextlib.suppress(OSError):
            taken.bind(("127.0.0.1", port))
            return port


def _drain(stream: IO[str]) -> None:
    with stream:
        for _ in stream:
            pass
