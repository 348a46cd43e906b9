"""An open-loop load of a wallet's calls, for acceptance tests.

Requests go out on a fixed schedule whatever the answers do, and latency is counted from the
scheduled moment, so that a stall is seen in full. A process of its own keeps it from
disturbing what it measures:

    load = start_load(proxy_url, rate_per_second=300, seconds=20)
    ...                       # outages happen here
    report = load.result()
    assert report.error_count == 0, report.errors
    assert report.between(t1, t2).p99_seconds < 0.075      # t1, t2: time.monotonic()

By hand: ``python -m tests.loads.load http://127.0.0.1:8545 --rate 300 --seconds 10``.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import random
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import uvloop

from rpcproxy.drills.evm.simchain import TOKEN, block_of_balance
from rpcproxy.drills.evm.simrpc import BALANCE_OF
from rpcproxy.engine import tasks
from tests.kits.waiting import LIMIT_SECONDS
from tests.loads.load_connection import Ask, Connection
from tests.loads.load_report import LATE_SECONDS, Report, Sample

ROOT = Path(__file__).resolve().parents[2]
MAX_REQUESTS = 200_000
MAX_CONNECTIONS = 512
MAX_ERROR_TEXTS = 200
TIME_LIMIT_SECONDS = 10.0

MIX = {
    "eth_chainId": 5,
    "eth_blockNumber": 10,
    "eth_getBalance": 30,
    "eth_call": 25,
    "eth_getBlockByNumber": 10,
    "eth_getTransactionReceipt": 10,
    "eth_gasPrice": 10,
}


class Load:
    """The schedule, the connections and what was learned of the chain."""

    def __init__(
        self,
        url: str,
        rate_per_second: float,
        seconds: float,
        connections: int,
        limit_seconds: float = TIME_LIMIT_SECONDS,
    ) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        path = parts.path or "/"
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: Mozilla/5.0\r\n"
            "Accept: application/json\r\nAccept-Language: en-US,en;q=0.5\r\n"
            "Content-Type: application/json\r\nOrigin: https://wallet.example\r\n"
            "Sec-Fetch-Mode: cors\r\nSec-Fetch-Site: cross-site\r\nConnection: keep-alive\r\n"
        ).encode()
        self._count = min(int(rate_per_second * seconds), MAX_REQUESTS)
        self._gap = 1 / rate_per_second
        self._initial = connections
        self._limit_seconds = limit_seconds  # for one answer
        self._loop = asyncio.get_running_loop()
        self._rng = random.Random(1)
        self._ids = itertools.count(1)
        self._idle: list[Connection] = []
        self._waiting: deque[Ask] = deque()
        self._open = 0
        self._opening = 0
        self._started = 0
        self._over = self._loop.create_future()
        self._highest = 0
        self._is_simulated = False
        self._hashes: deque[str] = deque(maxlen=500)
        self.by_method: Counter[str] = Counter()
        self.report = Report(0, 0, [], [], {}, 0, 0, 0, 0)

    async def prepare(self, patience_seconds: float) -> None:
        """Open the connections and learn of the chain. Raises ``TimeoutError``."""
        for _ in range(self._initial):
            self._open_one()
        limit = time.monotonic() + patience_seconds
        while not self._hashes and time.monotonic() < limit:
            number = await self._one("eth_blockNumber", [])
            if number is None:
                await asyncio.sleep(0.1)
                continue
            balance = await self._one("eth_getBalance", [TOKEN, "latest"])
            self._is_simulated = (
                balance and abs(block_of_balance(int(balance, 16)) - self._highest) < 1000
            )
            for back in range(4):
                await self._one("eth_getBlockByNumber", [hex(max(0, self._highest - back)), False])
            break
        if not self._highest:
            raise TimeoutError("nothing answers eth_blockNumber")

    async def run(self) -> Report:
        report = self.report
        self.by_method.clear()
        report.started_at = time.monotonic() + 0.01
        self._loop.call_at(report.started_at, self._tick)
        await self._over
        report.ended_at = time.monotonic()
        report.by_method = dict(self.by_method)
        return report

    @property
    def unanswered(self) -> int:
        """Of those that were scheduled so far."""
        return self._started - len(self.report.samples)

    def finish(self) -> None:
        """The next request is the last, while others are still to come."""
        assert self._started < self._count
        self._count = self._started + 1

    def close(self) -> None:
        """Close the connections, after ``run``."""
        for connection in self._idle:
            if connection.transport is not None:
                connection.transport.abort()

    def end(self) -> None:
        """Begin what is due by now, and no more; what is on its way is waited for."""
        if self.report.started_at:
            self._tick()
        self._count = self._started
        if len(self.report.samples) == self._count and not self._over.done():
            self._over.set_result(None)

    async def _one(self, method: str, params: list[Any]) -> Any:
        ask = Ask(next(self._ids), method, params, time.monotonic())
        ask.done = self._loop.create_future()
        self._begin(ask)
        return await ask.done

    def _tick(self) -> None:
        now = time.monotonic()
        due = self.report.started_at + self._started * self._gap
        while due <= now and self._started < self._count:
            lateness = self.report.worst_lateness_seconds
            self.report.worst_lateness_seconds = max(lateness, now - due)
            self.report.late += now - due > LATE_SECONDS
            self._begin(Ask(next(self._ids), *self._next_call(), due))
            self._started += 1
            due = self.report.started_at + self._started * self._gap
        if self._started < self._count:
            self._loop.call_at(due, self._tick)

    def _next_call(self) -> tuple[str, list[Any]]:
        method = self._rng.choices(list(MIX), list(MIX.values()))[0]
        address = f"0x{self._rng.getrandbits(160):040x}"
        if method == "eth_getBalance":
            return method, [address, "latest"]
        if method == "eth_call":
            return method, [
                {"to": TOKEN, "data": BALANCE_OF + address[2:].rjust(64, "0")},
                "latest",
            ]
        if method == "eth_getBlockByNumber":
            return method, [hex(max(0, self._highest - self._rng.randrange(16))), False]
        if method == "eth_getTransactionReceipt":
            if not self._hashes:
                return "eth_gasPrice", []
            return method, [self._rng.choice(self._hashes)]
        return method, []

    def _begin(self, ask: Ask) -> None:
        ask.head_before = self._highest
        self.by_method[ask.method] += 1
        ask.timer = self._loop.call_at(ask.at + self._limit_seconds, self._on_time, ask)
        self._waiting.append(ask)
        self._dispatch()

    def _dispatch(self) -> None:
        while self._waiting and self._idle:
            connection = self._idle.pop()
            if connection.transport is None or connection.transport.is_closing():
                continue
            ask = self._waiting.popleft()
            if not ask.is_over:
                connection.send(ask, self._head)
            else:
                self._idle.append(connection)
        # As many more as requests wait; a browser too opens another connection then.
        while self._opening < len(self._waiting) and self._open + self._opening < MAX_CONNECTIONS:
            self._open_one()

    def _open_one(self) -> None:
        self._opening += 1
        self.report.connections_opened += 1
        tasks.start(self._connect(), "load connection")

    async def _connect(self) -> None:
        try:
            _, connection = await self._loop.create_connection(
                lambda: Connection(self), *self._address
            )
        except OSError as error:
            self._opening -= 1
            if self._waiting:
                self._end(self._waiting.popleft(), f"cannot connect: {error}")
            return
        self._opening -= 1
        self._open += 1
        self._idle.append(connection)
        self._dispatch()

    def on_lost(self, connection: Connection, why: str) -> None:
        self._open -= 1
        ask, connection.ask = connection.ask, None
        if ask is not None:
            self._end(ask, why)

    def on_reply(self, connection: Connection, status: int, body: bytes) -> None:
        ask, connection.ask = connection.ask, None
        if ask is None:
            return
        result, trouble = self._read(ask, status, body)
        self._end(ask, trouble, result)
        if connection.transport is not None and not connection.transport.is_closing():
            self._idle.append(connection)
        self._dispatch()

    def _on_time(self, ask: Ask) -> None:
        self._end(ask, f"no answer in {self._limit_seconds:g} s")
        if ask.connection is not None and ask.connection.transport is not None:
            ask.connection.transport.abort()

    def _end(self, ask: Ask, trouble: str = "", result: Any = None) -> None:
        if ask.is_over:
            return
        ask.is_over = True
        if ask.timer is not None:
            ask.timer.cancel()
        if ask.done is not None:
            ask.done.set_result(result)
            return
        now = time.monotonic()
        self.report.samples.append(Sample(ask.at, now - ask.at, not trouble))
        if trouble and len(self.report.errors) < MAX_ERROR_TEXTS:
            at = ask.at - self.report.started_at
            self.report.errors.append(f"{at:.3f} s: {ask.method} {ask.params}: {trouble}"[:400])
        if len(self.report.samples) == self._count:
            self._over.set_result(None)

    # --- checks

    def _read(self, ask: Ask, status: int, body: bytes) -> tuple[Any, str]:
        """The result and ``""``, or what is wrong with the answer."""
        try:
            reply = msgspec.json.decode(body)
        except msgspec.DecodeError:
            return None, f"HTTP {status}, not JSON: {body[:100]!r}"
        if not isinstance(reply, dict) or "error" in reply:
            return None, f"HTTP {status}: {body[:200]!r}"
        if reply.get("id") != ask.id:
            return None, f"id {reply.get('id')!r} for {ask.id}"
        result = reply.get("result")
        try:
            is_sane = status == 200 and self._learn(ask, result)
        except (KeyError, TypeError, ValueError, AttributeError):
            is_sane = False
        return result, "" if is_sane else f"HTTP {status}, not sane: {body[:200]!r}"

    def _learn(self, ask: Ask, result: Any) -> bool:
        if ask.method == "eth_getBlockByNumber":
            self._hashes.extend(result["transactions"])
            return result["number"] == ask.params[0] and len(result["hash"]) == 66
        if ask.method == "eth_getTransactionReceipt":
            return result["transactionHash"] == ask.params[0] and result["status"] == "0x1"
        value = 0 if result == "0x" else int(result, 16)
        if ask.method == "eth_blockNumber":
            self.report.backward_heads += value < ask.head_before
            self._highest = max(self._highest, value)
        elif ask.method in ("eth_getBalance", "eth_call") and self._is_simulated:
            behind = ask.head_before - block_of_balance(value)
            self.report.worst_staleness_blocks = max(self.report.worst_staleness_blocks, behind)
        return True


# --- A process of its own


class RunningLoad:
    """``started_at`` is the first request's moment on this machine's monotonic clock."""

    def __init__(
        self, process: subprocess.Popen[bytes], seconds: float, limit_seconds: float
    ) -> None:
        self._process = process
        # Answers have their own limit; the process is given ours to come to its end.
        self._seconds, self._rest_seconds = seconds, limit_seconds + LIMIT_SECONDS
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            process.wait()
            process.stdout.close()
            raise RuntimeError("the load did not start: see standard error")
        self.started_at = float(line)

    def end(self) -> Report:
        """Before its time: what is due by now is waited for."""
        self._process.terminate()
        self._seconds = 0.0
        return self.result()

    def result(self) -> Report:
        """Wait for the end. Raises ``AssertionError``, which names the process, without it."""
        longest_seconds = self._seconds + self._rest_seconds
        try:
            output, _ = self._process.communicate(timeout=longest_seconds)
        except subprocess.TimeoutExpired:
            self.stop()
            raise AssertionError(
                f"process {self._process.pid} was left after {longest_seconds:g} s: "
                f"{self._process.args}"
            ) from None
        return msgspec.json.decode(output, type=Report)

    def stop(self) -> None:
        """Give it up, for a test that fails in between; idempotent."""
        self._process.kill()
        self._process.communicate()


def start_load(
    url: str,
    *,
    rate_per_second: float = 300,
    seconds: float = 10,
    connections: int = 32,
    patience_seconds: float = 10,
    limit_seconds: float = TIME_LIMIT_SECONDS,
) -> RunningLoad:
    """Start a load and return when its first request is due.

    ``patience_seconds`` is how long the URL may take until it first answers, ``limit_seconds`` how
    long each answer may take. Raises ``RuntimeError`` where the URL does not answer.
    """
    command = [sys.executable, "-m", "tests.loads.load", url, f"--rate={rate_per_second}"]
    command += [f"--seconds={seconds}", f"--connections={connections}"]
    command += [f"--patience={patience_seconds}", f"--limit={limit_seconds}"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    return RunningLoad(process, seconds, limit_seconds)


def run_load(url: str, **options: float) -> Report:
    """A whole load at once; options as in ``start_load``."""
    return start_load(url, **options).result()  # type: ignore[arg-type]


async def _main(options: argparse.Namespace) -> None:
    load = Load(options.url, options.rate, options.seconds, options.connections, options.limit)
    await load.prepare(options.patience)
    # Collections of some ms would be measured as the proxy's.
    gc.collect()
    gc.disable()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, load.end)
    sys.stdout.write(f"{time.monotonic()}\n")
    sys.stdout.flush()
    report = await load.run()
    if options.summary:
        sys.stdout.write(
            f"{report.summary()}\n" + "".join(f"{text}\n" for text in report.errors[:10])
        )
    else:
        sys.stdout.buffer.write(msgspec.json.encode(report))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.loads.load")
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, default=300, help="requests per second")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--patience", type=float, default=10, help="seconds to the first answer")
    parser.add_argument("--limit", type=float, default=TIME_LIMIT_SECONDS, help="s for one answer")
    parser.add_argument("--summary", action="store_true", help="words, not JSON")
    uvloop.run(_main(parser.parse_args()))
