"""The demo's wallet: what it counts as answered, as an error, as hung."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from rpcproxy.drills.demo import wallet
from rpcproxy.drills.demo.wallet import Wallet, WalletTally
from rpcproxy.drills.evm.simchain import SimChain
from rpcproxy.drills.providers.provider import Provider
from rpcproxy.drills.scenarios import faults
from rpcproxy.drills.scenarios.fault import Fault
from tests.kits.waiting import until
from tests.sockets.raw_client import a_provider

RATE = 400.0
# One of each question, and one more.
ENOUGH = len(wallet.QUESTIONS) + 1


class Seen:
    """A wallet at work on one provider, and the failures it told of."""

    def __init__(self, provider: Provider, **settings: float) -> None:
        self.failures: list[str] = []
        self.wallet = Wallet(RATE, self.failures.append, **settings)
        self.wallet.point_at("127.0.0.1", provider.port)

    @property
    def total(self) -> WalletTally:
        return self.wallet.total


@contextlib.asynccontextmanager
async def at_work(
    provider: Provider, fault: Fault | None = None, **settings: float
) -> AsyncIterator[Seen]:
    seen = Seen(provider, **settings)
    provider.set_fault(fault)
    seen.wallet.start()
    try:
        yield seen
    finally:
        await seen.wallet.stop()


async def test_all_is_well() -> None:
    async with a_provider() as provider, at_work(provider) as seen:
        await until(lambda: seen.total.answered >= 3 * ENOUGH)
        assert seen.failures == []
        assert seen.wallet.head == provider.chain.head
        recent = seen.wallet.recent()
        assert recent.failed == 0
        assert recent.per_second > 0
        assert recent.p50_seconds is not None
        assert recent.p99_seconds is not None
        assert recent.slowest_seconds == seen.total.slowest_seconds
        assert recent.p50_seconds <= recent.p99_seconds <= recent.slowest_seconds
        # Far fewer connections than requests: they are kept alive.
        assert provider.counts.connections < seen.total.requests / 3
    assert set(provider.counts.calls) == {question.method for question in wallet.QUESTIONS}


async def test_nothing_was_seen_yet() -> None:
    async with a_provider() as provider, at_work(provider) as seen:
        recent = seen.wallet.recent()
        assert (recent.per_second, recent.failed, recent.p50_seconds) == (0, 0, None)
        assert (recent.p99_seconds, recent.slowest_seconds) == (None, None)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (faults.REFUSE, "connection refused"),
        (faults.RESET, "connection reset"),
        (faults.HANG_UP, "connection closed"),
        (faults.GARBAGE, "an answer that is not HTTP"),
        (faults.HTTP_503, "HTTP 503"),
        (faults.http_429(2), "HTTP 429"),
        (faults.HTML_200, "an answer that is not JSON"),
        (faults.TRUNCATED, "an answer that is not JSON"),
        (faults.EMPTY, "an answer that is not JSON"),
        (faults.WRONG_ID, "an answer to another question"),
        (faults.RATE_LIMITED_200, "error: rate limit exceeded"),
    ],
)
async def test_errors(fault: Fault, why: str) -> None:
    async with a_provider() as provider, at_work(provider, fault) as seen:
        await until(lambda: seen.total.errors >= ENOUGH)
        assert seen.total.answered == 0
        assert seen.total.hung == 0
        assert {failure.partition(": ")[2] for failure in seen.failures} == {why}
        assert seen.wallet.recent().failed == seen.total.errors
        assert seen.wallet.recent().slowest_seconds is None


@pytest.mark.parametrize("fault", [faults.BLACKHOLE, faults.FREEZE, faults.STALL_MID_BODY])
async def test_hangs(fault: Fault) -> None:
    async with a_provider() as provider, at_work(provider, fault, hang_seconds=0.1) as seen:
        await until(lambda: seen.total.hung >= ENOUGH)
        assert seen.total.answered == 0
        assert seen.total.errors == 0
        assert seen.total.slowest_seconds >= 0.1
        assert seen.failures[0] == "eth_blockNumber: no answer within 0.1 s"
        provider.set_fault(None)
        await until(lambda: seen.total.answered >= ENOUGH)


async def test_connections_that_are_closed_after_an_answer() -> None:
    async with a_provider() as provider, at_work(provider, faults.CLOSE_AFTER_ANSWER) as seen:
        await until(lambda: seen.total.answered >= ENOUGH)
        assert seen.total.hung == 0


class HeardAnswers:
    """What a connection told its wallet."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes]] = []

    def on_answer(self, _: wallet.WalletConnection, status: int, body: bytes) -> None:
        self.answers.append((status, body))

    def on_lost(self, _: wallet.WalletConnection, why: str) -> None:
        raise AssertionError(why)


@pytest.mark.parametrize(
    ("reply", "is_reusable"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n[]", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]and more", False),
    ],
)
def test_a_connection_is_used_again_where_its_answer_lets_it(
    reply: bytes, is_reusable: bool
) -> None:
    heard = HeardAnswers()
    connection = wallet.WalletConnection(heard, ("127.0.0.1", 1))
    for piece in (reply[:30], reply[30:-9], reply[-9:]):
        connection.data_received(piece)
    assert heard.answers == [(200, b"[]")]
    assert connection.is_reusable is is_reusable


async def test_answers_of_another_block_and_heads_that_go_back() -> None:
    async with a_provider() as provider, at_work(provider) as seen:
        await until(lambda: seen.wallet.head > 0)
        assert seen.failures == []
        provider.lag_blocks = 3
        await until(lambda: "eth_blockNumber: the head went back by 3" in seen.failures)
        await until(lambda: "eth_getBalance: error: header not found" in seen.failures)


@pytest.mark.parametrize(
    ("method", "result", "why"),
    [
        ("eth_getBalance", "null", "an answer without a number"),
        ("eth_getBalance", '"0x56bc75e2d63100000"', "an answer of block 0 for block 16"),
        ("eth_getTransactionCount", '"0x11"', ""),
        ("eth_getTransactionCount", '"0x10"', "an answer of block 15 for block 16"),
        ("eth_blockNumber", '"0x10"', ""),
        ("eth_blockNumber", '"0xf"', "the head went back by 1"),
    ],
)
def test_what_is_wrong_with_an_answer(method: str, result: str, why: str) -> None:
    question = next(one for one in wallet.QUESTIONS if one.method == method)
    ask = wallet.WalletRequest(7, question, 16, 0.0, (WalletTally(), WalletTally()))
    body = b'{"jsonrpc":"2.0","id":7,"result":%b}' % result.encode()
    assert ask.fault_of(200, body) == why
    assert ask.fault_of(200, b"[]") == "an answer to another question"
    assert ask.fault_of(200, b'{"id":7}') == "an answer without a number"
    assert ask.fault_of(200, b'{"id":7,"error":"no"}') == "error: no"


async def test_a_request_counts_for_the_scene_it_was_sent_in() -> None:
    async with a_provider() as provider, at_work(provider, faults.BLACKHOLE) as seen:
        first, second, third = WalletTally(), WalletTally(), WalletTally()
        seen.wallet.enter(first, takes_along=True)
        await until(lambda: first.requests >= 3 and provider.counts.requests == first.requests)
        provider.set_fault(None)
        seen.wallet.enter(second, takes_along=False)
        await until(lambda: second.answered >= 3)
        assert first.pending == first.requests
        # What is in flight when trouble strikes is struck.
        provider.set_fault(faults.BLACKHOLE)
        await until(lambda: second.pending >= 2)
        was = second.pending
        seen.wallet.enter(third, takes_along=True)
        assert (second.pending, third.pending) == (0, was)
        assert first.pending == first.requests
        assert seen.total.requests == first.requests + second.requests + third.requests


async def test_another_url() -> None:
    async with a_provider() as provider, at_work(provider) as seen:
        await until(lambda: seen.total.answered > 3)
        other = Provider(SimChain(7, start_number=1000), "other")
        other.start()
        seen.wallet.point_at("127.0.0.1", other.port)
        # The idle connections are closed at once, the busy ones after their answer.
        await until(lambda: provider.counts.open_connections == 0)
        await until(lambda: other.counts.requests >= ENOUGH)
        assert seen.failures == []
        await seen.wallet.stop()
        await until(lambda: other.counts.open_connections == 0)
        other.stop()


async def test_connecting_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_provider() as provider:
        seen = Seen(provider, hang_seconds=0.05)

        async def never(*_: object) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", never)
        seen.wallet.start()
        await until(lambda: seen.total.hung >= 2)
        assert seen.total.errors == 0
        await seen.wallet.stop()
