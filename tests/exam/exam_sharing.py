"""A thousand clients with the same twenty questions: upstreams are asked each once per block.

The chain stands still but for blocks mined by the test, so that what is right is known exactly: it
is what a provider answers when it is asked directly.
"""

from __future__ import annotations

import asyncio
import random
import resource
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import pytest
import uvloop

from rpcproxy.drills.evm.simchain import ACCOUNTS, BUSY_ACCOUNTS, TOKEN
from rpcproxy.drills.evm.simrpc import BALANCE_OF, NUMBER
from tests.exam.control_load import ControlLoad
from tests.exam.judging import IS_SHORT, Sheet, assert_at_most
from tests.integration.running_proxy import RunningProxy
from tests.integration.wire import Wire
from tests.kits.waiting import wait_until
from tests.loads.load_connection import Ask, Connection
from tests.sockets.providers import ProviderProcess

CLIENTS: Final = 1000
QUESTIONS: Final = 20
BLOCKS: Final = 3
ETHERS_SHARE: Final = 0.25  # of the clients, that send all their questions as one batch
TIME_LIMIT_SECONDS: Final = 60.0
BLOCK_TIME_SECONDS: Final = 2.0
PLACES: Final = {
    "a": ("aws", "us-east-1"),
    "b": ("gcp", "europe-west1"),
    "c": ("azure", "westeurope"),
    "d": ("aws", "eu-central-1"),
}
# The proxy's own questions, for headers, and for state to compare: one per upstream and block.
LINK_PROBE: Final = "eth_getBlockByHash"
STATE_PROBE: Final = "eth_getBalance"
# What depends on an upstream's own head may be a block ahead of what is read at the served one.
UNPINNED: Final = frozenset({"eth_gasPrice", "eth_maxPriorityFeePerGas"})


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """``params`` may hold ``latest``."""

    method: str
    params: tuple[Any, ...]

    def spelled(self, rng: random.Random) -> bytes:
        """Its params as one library or another writes them."""
        params = list(self.params)
        if params and params[-1] == "latest":
            params = rng.choice((params, params[:-1]))
        return b"[" + rng.choice((b",", b", ")).join(map(msgspec.json.encode, params)) + b"]"


def questions(transaction: str) -> list[Question]:
    """What the page of a busy dapp asks, of a ``transaction`` as well."""
    asked = [
        Question("eth_blockNumber", ()),
        Question("eth_gasPrice", ()),
        Question("eth_maxPriorityFeePerGas", ()),
        Question("eth_getBlockByNumber", ("latest", False)),
        Question("eth_getBlockByNumber", ("latest", True)),
        Question("eth_getStorageAt", (TOKEN, "0x0", "latest")),
        Question("eth_getCode", (TOKEN, "latest")),
        Question("eth_feeHistory", ("0x4", "latest", [50])),
        Question("eth_getLogs", ({"address": TOKEN, "fromBlock": "latest", "toBlock": "latest"},)),
        Question("eth_getTransactionReceipt", (transaction,)),
        Question("eth_getTransactionByHash", (transaction,)),
        Question("eth_call", ({"to": TOKEN, "data": NUMBER}, "latest")),
    ]
    asked += [Question("eth_getTransactionCount", (one, "latest")) for one in BUSY_ACCOUNTS]
    for account in ACCOUNTS[:3]:
        data = BALANCE_OF + account[2:].rjust(64, "0")
        asked.append(Question("eth_getBalance", (account, "latest")))
        asked.append(Question("eth_call", ({"to": TOKEN, "data": data}, "latest")))
    assert len(asked) == QUESTIONS
    return asked


class Body(Ask):
    """Some questions in one request; more than one are a batch."""

    def __init__(self, wanted: Sequence[Question], rng: random.Random) -> None:
        super().__init__(0, "", [], 0.0)
        self.wanted = wanted
        self._rng = rng

    def body(self) -> bytes:
        calls = [
            b'{"jsonrpc":"2.0","id":%d,"method":"%b","params":%b}'
            % (id, question.method.encode(), question.spelled(self._rng))
            for id, question in enumerate(self.wanted, 1)
        ]
        return b"[" + b",".join(calls) + b"]" if len(calls) > 1 else calls[0]


class Reply(msgspec.Struct):
    id: int
    result: msgspec.Raw = msgspec.Raw()


Truth = dict[Question, bytes]


class Herd:
    """``CLIENTS`` connections. What is right is in ``truths``, older blocks first: once a client
    was told of a newer one, the older is wrong.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 0)
        self._head = f"POST / HTTP/1.1\r\nHost: {parts.netloc}\r\n".encode()
        self._head += b"Content-Type: application/json\r\n"
        self._rng = random.Random(1)
        self._connections: list[Connection] = []
        self._to_ask: dict[Connection, list[Body]] = {}
        self._seen: dict[Connection, int] = {}
        self._decode = msgspec.json.Decoder(list[Reply] | Reply).decode
        self._over: asyncio.Future[None]
        self._busy = 0
        self._old = 0
        self.truths: list[Truth] = []
        self.answers = 0
        self.wrong: list[str] = []

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(CLIENTS):
            _, connection = await loop.create_connection(lambda: Connection(self), *self._address)
            self._connections.append(connection)
            self._seen[connection] = 0

    async def ask(self, asked: Sequence[Question]) -> int:
        """Everybody asks everything, all at once, and one after the other. How many answers were
        of an older block.
        """
        self._old = 0
        self._over = asyncio.get_running_loop().create_future()
        self._busy = len(self._connections)
        batching = int(len(self._connections) * ETHERS_SHARE)
        for number, connection in enumerate(self._connections):
            order = self._rng.sample(asked, len(asked))
            parts = [order] if number < batching else [[question] for question in order]
            self._to_ask[connection] = [Body(part, self._rng) for part in parts]
        for connection in self._connections:
            connection.send(self._to_ask[connection].pop(), self._head)
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            await self._over
        return self._old

    def close(self) -> None:
        for connection in self._connections:
            if connection.transport is not None:
                connection.transport.abort()

    def on_lost(self, connection: Connection, why: str) -> None:
        if connection.ask is not None:
            self._fail(f"a client lost its connection: {why}")
            self._next(connection, [])

    def on_reply(self, connection: Connection, status: int, body: bytes) -> None:
        asked = connection.ask
        assert isinstance(asked, Body)
        connection.ask = None
        try:
            decoded = self._decode(body)
        except msgspec.MsgspecError:
            decoded = []
        replies = decoded if isinstance(decoded, list) else [decoded]
        if status != 200 or [reply.id for reply in replies] != [*range(1, len(asked.wanted) + 1)]:
            self._fail(f"HTTP {status}: {body[:300]!r}")
        for question, reply in zip(asked.wanted, replies, strict=False):
            self._check(connection, question, bytes(reply.result))
        self._next(connection, self._to_ask[connection])

    def _next(self, connection: Connection, left: list[Body]) -> None:
        if left:
            connection.send(left.pop(), self._head)
            return
        self._busy -= 1
        if not self._busy and not self._over.done():
            self._over.set_result(None)

    def _check(self, connection: Connection, question: Question, result: bytes) -> None:
        self.answers += 1
        true_at = [at for at, truth in enumerate(self.truths) if truth[question] == result]
        if not true_at:
            self._fail(f"{question}: {result[:200]!r} for {self.truths[-1][question][:200]!r}")
        elif question.method not in UNPINNED:
            if true_at[-1] < self._seen[connection]:
                self._fail(f"{question}: older than what this client was told")
            self._seen[connection] = max(self._seen[connection], true_at[0])
            self._old += true_at[-1] < len(self.truths) - 1

    def _fail(self, what: str) -> None:
        self.wrong.append(what)


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CLIENTS + 200
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"{wanted} open files are needed, at most {hard} are allowed")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def providers() -> Iterator[ProviderProcess]:
    with ProviderProcess(*PLACES, block_time_seconds=BLOCK_TIME_SECONDS) as running:
        yield running


@pytest.fixture
def proxy(providers: ProviderProcess, tmp_path: Path) -> Iterator[RunningProxy]:
    lines = ["server: {listen: 127.0.0.1:0, admin: 127.0.0.1:0}", "chains:"]
    lines += ["  - name: sim", "    chain_id: 1337", f"    block_time: {BLOCK_TIME_SECONDS:g}s"]
    # A second copy, because the machine was busy, is none of what is counted here.
    lines.append("    hedge: off")
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


def truth_of(asked: Sequence[Question], url: str) -> Truth:
    """What a provider answers itself."""
    wire = Wire(url)
    try:
        return {one: msgspec.json.encode(wire.result(one.method, *one.params)) for one in asked}
    finally:
        wire.close()


def mine(providers: ProviderProcess, proxy: RunningProxy) -> int:
    """One more block; wait until wallets are told of it."""
    number = providers.mine()
    wire = proxy.wire()
    wait_until(lambda: int(wire.result("eth_blockNumber"), 16) >= number, f"block {number}")
    return number


def arrivals(providers: ProviderProcess) -> Counter[str]:
    """Calls at all providers by method, those for heads apart."""
    found: Counter[str] = Counter()
    for provider in providers.state().providers.values():
        found.update(provider.counts.calls)
        found.subtract(provider.counts.probe_calls)
    return found


def requests(before: Counter[str], after: Counter[str], asked: Counter[str]) -> Counter[str]:
    """What clients' questions cost upstream between two counts, probes apart."""
    found = after - before
    del found[LINK_PROBE]
    found[STATE_PROBE] -= min(max(0, found[STATE_PROBE] - asked[STATE_PROBE]), len(PLACES))
    return found


async def suffer(
    herd: Herd, asked: Sequence[Question], providers: ProviderProcess
) -> list[Counter[str]]:
    """Upstream requests for each block: the first is known to all, the others come while they
    ask, and they ask until nobody is told of the one before.
    """
    found = []
    by_method = Counter(question.method for question in asked)
    await herd.open()
    try:
        for number in range(BLOCKS):
            if number:
                providers.mine()
            herd.truths.append(truth_of(asked, providers.urls["a"]))
            before = arrivals(providers)
            while await herd.ask(asked):
                pass
            found.append(requests(before, arrivals(providers), by_method))
    finally:
        herd.close()
    return found


def test_twenty_questions_of_a_thousand_clients_reach_upstreams_once_per_block(
    many_files: None,
    providers: ProviderProcess,
    proxy: RunningProxy,
    control: ControlLoad,
    sheet: Sheet,
) -> None:
    proxy.wait_until_well()
    providers.halt()
    head = mine(providers, proxy)
    direct = Wire(providers.urls["a"])
    [transaction, _] = direct.result("eth_getBlockByNumber", hex(head), False)["transactions"]
    direct.close()
    asked = questions(transaction)
    herd = Herd(proxy.url)
    with control.judged(sheet):
        began_at = time.monotonic()
        found = uvloop.run(suffer(herd, asked, providers))
        seconds = time.monotonic() - began_at
        totals = [calls.total() for calls in found]
        sheet.note(
            requests=herd.answers,
            errors=len(herd.wrong),
            calls=sum(totals) / herd.answers,
            words=f"upstream requests per block: {totals}, in {seconds:.1f} s",
        )
        assert not herd.wrong, f"{len(herd.wrong)} wrong:\n" + "\n".join(herd.wrong[:5])
        assert herd.answers >= BLOCKS * CLIENTS * QUESTIONS
        assert_at_most(max(totals), QUESTIONS, f"{found}")
        once = Counter(question.method for question in asked)
        assert IS_SHORT or all(calls <= once for calls in found), found  # not one of them twice
        assert min(totals) > QUESTIONS / 2, found  # each block was really asked about
