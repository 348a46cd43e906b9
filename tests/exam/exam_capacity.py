"""Wallets ask three times what all upstreams together allow: nobody is refused, nobody sees the past.

Fifty wallets poll what wallets poll, 2,000 requests a second in all, of four upstreams that answer
429 above 150 requests a second each. It works because most of it is the same question at the same
block. ``RPCPROXY_WALLET_SECONDS`` says how long (5 unless set).
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import random
import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import pytest
import uvloop

from rpcproxy.drills.evm.simchain import BUSY_ACCOUNTS, TOKEN, SimChain
from rpcproxy.drills.evm.simrpc import BALANCE_OF
from rpcproxy.drills.providers.fleet import FleetState
from rpcproxy.drills.scenarios.faults import capacity
from tests.exam import control_load
from tests.exam.control_load import ControlLoad
from tests.exam.judging import Sheet, assert_never, assert_no_errors, assert_within, granted
from tests.integration.running_proxy import RunningProxy
from tests.kits.waiting import LIMIT_SECONDS
from tests.loads.consistency import Asking, Checker
from tests.loads.heartbeat import Heartbeat
from tests.loads.load_connection import Ask, Connection
from tests.sockets.providers import ProviderProcess

SECONDS: Final = float(os.environ.get("RPCPROXY_WALLET_SECONDS", "5"))
WALLETS: Final = 50
RATE_PER_SECOND: Final = 2000.0
ALLOWED_PER_SECOND: Final = 150.0  # by each upstream
BLOCK_TIME_SECONDS: Final = 1.0
LATENCY_SECONDS: Final = control_load.LATENCY_SECONDS
P99_SECONDS: Final = 0.1
CONTROL: Final = "control"
CONTROL_RATE_PER_SECOND: Final = 300.0
GWEI: Final = 10**9
PLACES: Final = {
    "a": ("aws", "us-east-1"),
    "b": ("gcp", "europe-west1"),
    "c": ("azure", "westeurope"),
    "d": ("aws", "eu-central-1"),
}
Call = tuple[str, list[Any]]


class Wallets:
    """What all of them saw, and how long it took from when it was due. Seconds."""

    def __init__(self, url: str, checker: Checker) -> None:
        parts = urlsplit(url)
        self.address = (parts.hostname or "", parts.port or 0)
        self.head = f"POST / HTTP/1.1\r\nHost: {parts.netloc}\r\n".encode()
        self.head += b"Content-Type: application/json\r\nOrigin: https://wallet.example\r\n"
        self.checker = checker
        self.latencies: list[float] = []
        self.errors: list[str] = []
        self.by_method: Counter[str] = Counter()
        self.beats = Heartbeat()


class Wallet:
    """One wallet on one connection, one request in flight. State: what is due, and the round."""

    def __init__(self, number: int, wallets: Wallets) -> None:
        self._number = number
        self._all = wallets
        self._loop = asyncio.get_running_loop()
        self._ids = itertools.count(1)
        self._round: Iterator[Call] = iter(())
        self._due: deque[float] = deque()
        self._asking: Asking | None = None
        self._connection: Connection | None = None
        self._gap = WALLETS / RATE_PER_SECOND
        self._left = int(SECONDS / self._gap)
        self.is_over = self._loop.create_future()

    async def start(self) -> None:
        _, self._connection = await self._loop.create_connection(
            lambda: Connection(self), *self._all.address
        )
        first = self._loop.time() + random.Random(self._number).random() * self._gap
        self._loop.call_at(first, self._tick, first)

    def close(self) -> None:
        if self._connection is not None and self._connection.transport is not None:
            self._connection.transport.abort()

    # ---- what it asks

    def _a_round(self) -> Iterator[Call]:
        """What is polled: the chain, and the person's three accounts."""
        accounts = [f"0x{0xA11CE0000 + self._number * 16 + index:040x}" for index in range(3)]
        yield "eth_blockNumber", []
        yield "eth_getBlockByNumber", ["latest", False]
        yield "eth_gasPrice", []
        for account in accounts:
            yield "eth_getBalance", [account, "latest"]
            data = BALANCE_OF + account[2:].rjust(64, "0")
            yield "eth_call", [{"to": TOKEN, "data": data}, "latest"]
        yield "eth_getTransactionCount", [accounts[0], "latest"]
        yield "eth_getTransactionCount", [BUSY_ACCOUNTS[self._number % 2], "latest"]
        if self._all.checker.transactions:
            yield "eth_getTransactionReceipt", [self._all.checker.transactions[-1]]

    def _tick(self, due: float) -> None:
        """A request is due."""
        self._due.append(due)
        self._left -= 1
        if self._left:
            self._loop.call_at(due + self._gap, self._tick, due + self._gap)
        self._ask_next()

    def _ask_next(self) -> None:
        connection = self._connection
        if self._asking is not None or not self._due:
            return
        if connection is None or connection.transport is None:
            self._end()
            return
        call = next(self._round, None)
        if call is None:
            self._round = self._a_round()
            call = next(self._round)
        self._asking = self._all.checker.asking(self._number, *call)
        self._all.by_method[call[0]] += 1
        connection.send(Ask(next(self._ids), *call, self._due[0]), self._all.head)

    # ---- what it is told

    def on_reply(self, connection: Connection, status: int, body: bytes) -> None:
        ask, connection.ask = connection.ask, None
        asking, self._asking = self._asking, None
        assert ask is not None
        assert asking is not None
        self._all.latencies.append(self._loop.time() - self._due.popleft())
        reply = msgspec.json.decode(body)
        if status != 200 or not isinstance(reply, dict) or reply.get("id") != ask.id:
            self._fail(asking, f"HTTP {status}: {body[:200]!r}")
        elif not self._is_own_to_check(asking):
            self._all.checker.answered(asking, reply)
        elif not self._is_right(asking, reply.get("result")):
            self._fail(asking, f"{body[:200]!r}")
        if not self._left and not self._due:
            self._end()
        else:
            self._ask_next()

    def on_lost(self, connection: Connection, why: str) -> None:
        if not self.is_over.done():
            self._all.errors.append(f"wallet {self._number} lost its connection: {why}")
            self._end()

    def _end(self) -> None:
        if not self.is_over.done():
            self.is_over.set_result(None)

    def _fail(self, asking: Asking, what: str) -> None:
        self._all.errors.append(f"{asking.method} {asking.params}: {what}")

    @staticmethod
    def _is_own_to_check(asking: Asking) -> bool:
        """What the checker does not know: prices, and nonces of those who never sent anything."""
        return asking.method == "eth_gasPrice" or (
            asking.method == "eth_getTransactionCount" and asking.params[0] not in BUSY_ACCOUNTS
        )

    @staticmethod
    def _is_right(asking: Asking, result: object) -> bool:
        if asking.method == "eth_getTransactionCount":
            return result == "0x0"
        return isinstance(result, str) and 10 * GWEI < int(result, 16) < 20 * GWEI


async def poll(wallets: Wallets) -> None:
    """All wallets, each until its last answer."""
    everybody = [Wallet(number, wallets) for number in range(WALLETS)]
    try:
        for wallet in everybody:
            await wallet.start()
        async with wallets.beats, asyncio.timeout(3 * SECONDS + LIMIT_SECONDS):
            await asyncio.gather(*(wallet.is_over for wallet in everybody))
    finally:
        for wallet in everybody:
            wallet.close()


@pytest.fixture
def providers() -> Iterator[ProviderProcess]:
    with ProviderProcess(
        *PLACES, CONTROL, latency_seconds=LATENCY_SECONDS, block_time_seconds=BLOCK_TIME_SECONDS
    ) as running:
        yield running


@pytest.fixture
def control(providers: ProviderProcess) -> Iterator[ControlLoad]:
    load = ControlLoad(providers.urls[CONTROL], CONTROL_RATE_PER_SECOND)
    yield load
    load.stop()


@pytest.fixture
def proxy(providers: ProviderProcess, tmp_path: Path) -> Iterator[RunningProxy]:
    lines = ["server: {listen: 127.0.0.1:0, admin: 127.0.0.1:0}", "chains:"]
    lines += ["  - name: sim", "    chain_id: 1337", f"    block_time: {BLOCK_TIME_SECONDS:g}s"]
    lines.append("    upstreams:")
    for name, (cloud, region) in PLACES.items():
        url = providers.urls[name]
        lines.append(f"      - {{name: {name}, url: {url}, cloud: {cloud}, region: {region}}}")
    running = RunningProxy("\n".join(lines) + "\n", tmp_path)
    try:
        yield running
    except BaseException:
        running.kill()
        raise
    running.close()


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)]


def test_wallets_ask_three_times_what_upstreams_allow(
    providers: ProviderProcess, proxy: RunningProxy, control: ControlLoad, sheet: Sheet
) -> None:
    proxy.wait_until_well()
    for name in PLACES:
        providers.set_fault(name, capacity(ALLOWED_PER_SECOND))
    checker = Checker(SimChain(1337, BLOCK_TIME_SECONDS), lambda: providers.state().head, time.time)
    wallets = Wallets(proxy.url, checker)
    beats = wallets.beats
    with control.judged(sheet, lambda: (beats.due, beats.late)):
        began_at = time.monotonic()
        before = providers.state()
        gc.collect()
        gc.disable()  # collections of some ms would be measured as the proxy's
        try:
            uvloop.run(poll(wallets))
        finally:
            gc.enable()
        after = providers.state()
        beside = control.between(began_at, time.monotonic())
        calls = calls_between(before, after)
        p50, p99, worst = (percentile(wallets.latencies, share) for share in (0.5, 0.99, 0.99999))
        sheet.note(
            requests=len(wallets.latencies),
            errors=len(wallets.errors),
            backward=len(checker.violations),
            p50=p50,
            p99=p99,
            slowest=worst,
            control=beside.p99_seconds,
            calls=calls / len(wallets.latencies),
        )
        assert_no_errors(wallets.errors)
        assert_never(checker.violations, checker.summary())
        assert len(wallets.latencies) > 0.99 * RATE_PER_SECOND * SECONDS
        assert after.head > before.head
        bound = granted(P99_SECONDS, beside.p99_seconds, control_load.USUAL_SECONDS)
        assert_within(p99, bound, "the 99th percentile")


def calls_between(before: FleetState, after: FleetState) -> int:
    """What all upstreams together were asked."""
    return sum(
        sum(after.providers[name].counts.calls.values())
        - sum(before.providers[name].counts.calls.values())
        for name in PLACES
    )
