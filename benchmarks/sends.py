"""``python -m benchmarks.sends``: what it costs to write a transaction down before it is told.

Signed transactions arrive at a fixed rate at the proxy, which sends each to three upstreams. The
run is made with the journal on disk (every answer waits for a commit that survives a power cut)
and with ``journal: off``; the difference is what the wallet waits for durability. Beside both
stands the disk's own fdatasync of 8 KiB, timed at the same moment.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from coincurve import PrivateKey

from benchmarks import contenders, procfs, stub
from benchmarks.contenders import CannotStart, Stage
from rpcproxy.chains.evm.sends.raw_transactions import keccak256
from rpcproxy.chains.evm.sends.rlp import Item, encode

UPSTREAMS = 3
ACCOUNTS = 50
CONNECTIONS = 64
SYNCED_BYTES = 8192
SYNC_PAUSE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Latency:
    """Of answers, in milliseconds."""

    p50: float
    p99: float
    worst: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        cuts = statistics.quantiles(seconds, n=100, method="inclusive")
        return cls(cuts[49] * 1e3, cuts[98] * 1e3, max(seconds) * 1e3)

    def __str__(self) -> str:
        return f"p50 {self.p50:.2f} ms, p99 {self.p99:.2f} ms, worst {self.worst:.1f} ms"


def transaction(account: int, nonce: int) -> str:
    """A signed transfer of type 2, as hex."""
    fields: list[Item] = [stub.CHAIN_ID, nonce, 10**8, 10**10, 21_000, b"\x22" * 20, 1, b"", []]
    digest = keccak256(b"\x02" + encode(fields))
    signature = PrivateKey.from_int(account + 1).sign_recoverable(digest, hasher=None)
    r, s = (int.from_bytes(signature[i : i + 32], "big") for i in (0, 32))
    return (b"\x02" + encode([*fields, signature[64], r, s])).hex()


class Wallets:
    """Connections that send one transaction after the other, each at its time."""

    def __init__(self, url: str, bodies: Sequence[bytes], rate_per_second: float) -> None:
        parts = urlsplit(url)
        self._place = parts.hostname or "", parts.port or 80
        self._bodies = bodies
        self._rate_per_second = rate_per_second
        self.seconds: list[float] = []
        self.errors: list[bytes] = []

    async def run(self) -> None:
        started = asyncio.get_running_loop().time() + 0.1
        await asyncio.gather(*(self._connection(n, started) for n in range(CONNECTIONS)))

    async def _connection(self, first: int, started: float) -> None:
        loop = asyncio.get_running_loop()
        reader, writer = await asyncio.open_connection(*self._place)
        for index in range(first, len(self._bodies), CONNECTIONS):
            due = started + index / self._rate_per_second
            await asyncio.sleep(max(0.0, due - loop.time()))
            body = self._bodies[index]
            head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            reply = await reader.readexactly(length)
            # From when it was due: a connection that waits for its answer before is no excuse.
            self.seconds.append(loop.time() - due)
            if b'"result"' not in reply:
                self.errors.append(reply)
        writer.close()


class Syncs:
    """What the disk takes for a fdatasync while the load is on."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "synced"
        self.seconds: list[float] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        block = os.urandom(SYNCED_BYTES)
        with self._path.open("wb", buffering=0) as file:
            while not self._ending.wait(SYNC_PAUSE_SECONDS):
                file.write(block)
                began = time.perf_counter()
                os.fdatasync(file.fileno())
                self.seconds.append(time.perf_counter() - began)


def measure(stage: Stage, journal: str, options: argparse.Namespace) -> float:
    """One run, told in words; gives back its p99 in milliseconds."""
    count = int(options.rate * options.seconds)
    bodies = [
        b'{"jsonrpc":"2.0","id":1,"method":"eth_sendRawTransaction","params":["0x%b"]}'
        % raw.encode()
        for raw in (transaction(n % ACCOUNTS, n // ACCOUNTS) for n in range(count))
    ]
    with (
        contenders.upstreams(stage) as up,
        contenders.rpcproxy(stage, up, "plain", UPSTREAMS, journal=journal) as proxy,
        Syncs(stage.directory) as syncs,
    ):
        wallets = Wallets(proxy.url, bodies, options.rate)
        before = procfs.cpu_seconds(list(proxy.pids))
        asyncio.run(wallets.run())
        cpu = (procfs.cpu_seconds(list(proxy.pids)) - before) / count * 1e6
    latency = Latency.of(wallets.seconds)
    print(f"journal {journal}: {count} sends at {options.rate:g}/s: {latency}")
    print(f"  {cpu:.0f} µs CPU each (all threads), {len(wallets.errors)} errors")
    print(f"  the disk's fdatasync meanwhile: {Latency.of(syncs.seconds)}")
    if wallets.errors:
        raise CannotStart(f"sends failed: {wallets.errors[0]!r}")
    return latency.p99


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sends", description=__doc__)
    parser.add_argument("--rate", type=float, default=1000.0, help="sends per second (1000)")
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds of each run (10)")
    options = parser.parse_args(arguments)
    cores = procfs.Cores()
    cores.pin_load()
    try:
        with tempfile.TemporaryDirectory() as directory:
            stage = Stage(Path(directory), cores)
            without = measure(stage, "off", options)
            with_journal = measure(stage, json.dumps(str(Path(directory) / "journal")), options)
    except CannotStart as error:
        print(error, file=sys.stderr)
        return 1
    print(f"the journal adds {with_journal - without:.2f} ms at the 99th percentile")
    return 0


if __name__ == "__main__":
    sys.exit(main())
