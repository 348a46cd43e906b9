"""A wallet's traffic over real HTTP connections, and what the wallet saw.

It asks what a wallet asks: the head, and then balances, nonces and calls at the head it last
saw, as MetaMask pins them. Requests leave at a steady rate whether or not earlier ones were
answered. Every answer is checked against the simulated chain: the right id, no error, the
right block, a head that does not go back. Whatever is not answered within ``HANG_SECONDS`` has
hung, and is given up together with its connection. Nothing is asked twice.

State: connections, what is awaited and what was seen lately, in ``Wallet``; counts in
``WalletTally``, which the requests carry, so that each one counts for the scene it was sent in.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

import msgspec

from rpcproxy.drills.evm.simchain import ACCOUNTS, TOKEN, block_of_balance
from rpcproxy.drills.evm.simrpc import BALANCE_OF
from rpcproxy.edges.http.http_reply import ReplyReader
from rpcproxy.edges.http.reply_head import BadReply, ReplyHeadMemory
from rpcproxy.engine import tasks

HANG_SECONDS: Final = 2.0
RECENT_SECONDS: Final = 10.0
RATE_SECONDS: Final = 3.0
_SHOWN_ERROR_LENGTH: Final = 80


class WalletTally(msgspec.Struct):
    """What became of some requests. ``errors`` were answered badly or lost at once."""

    requests: int = 0
    answered: int = 0
    errors: int = 0
    hung: int = 0
    slowest_seconds: float = 0.0

    @property
    def failed(self) -> int:
        return self.errors + self.hung

    @property
    def pending(self) -> int:
        return self.requests - self.answered - self.failed


class WalletFigures(msgspec.Struct, frozen=True):
    """What was seen lately. ``None`` where nothing was answered; errors have no duration."""

    per_second: float
    failed: int
    p50_seconds: float | None
    p99_seconds: float | None
    slowest_seconds: float | None


class WalletQuestion(msgspec.Struct, frozen=True):
    """A method, its parameters before the block, and whether a block follows them."""

    method: str
    params: tuple[Any, ...] = ()
    is_pinned: bool = False


_CALL: Final = {"to": TOKEN, "data": BALANCE_OF + ACCOUNTS[2][2:].rjust(64, "0")}
QUESTIONS: Final = (
    WalletQuestion("eth_blockNumber"),
    WalletQuestion("eth_getBalance", (ACCOUNTS[0],), is_pinned=True),
    WalletQuestion("eth_call", (_CALL,), is_pinned=True),
    WalletQuestion("eth_chainId"),
    WalletQuestion("eth_getTransactionCount", (ACCOUNTS[1],), is_pinned=True),
    WalletQuestion("eth_getBalance", (ACCOUNTS[1],), is_pinned=True),
    WalletQuestion("eth_gasPrice"),
    WalletQuestion("eth_estimateGas", ({"from": ACCOUNTS[0], "to": ACCOUNTS[3], "value": "0x1"},)),
)


class WalletRequest:
    """One request on its way."""

    __slots__ = ("at", "connection", "head", "id", "is_over", "question", "tallies")

    def __init__(
        self,
        id: int,
        question: WalletQuestion,
        head: int,
        at: float,
        tallies: tuple[WalletTally, WalletTally],
    ) -> None:
        self.id = id
        self.question = question
        self.head = head  # the head the wallet knew when it asked, 0: none
        self.at = at
        self.tallies = tallies
        self.is_over = False
        self.connection: WalletConnection | None = None

    def body(self) -> bytes:
        params = list(self.question.params)
        if self.question.is_pinned:
            params.append(hex(self.head) if self.head else "latest")
        call = {"jsonrpc": "2.0", "id": self.id, "method": self.question.method, "params": params}
        return msgspec.json.encode(call)

    def fault_of(self, status: int, body: bytes) -> str:
        """What is wrong with an answer, empty where nothing is."""
        if status != 200:
            return f"HTTP {status}"
        try:
            reply = msgspec.json.decode(body)
        except msgspec.DecodeError:
            return "an answer that is not JSON"
        if not isinstance(reply, dict) or reply.get("id") != self.id:
            return "an answer to another question"
        if "error" in reply:
            error = reply["error"]
            message = error.get("message", "") if isinstance(error, dict) else error
            return f"error: {str(message)[:_SHOWN_ERROR_LENGTH]}"
        try:
            number = int(reply["result"], 16)
        except (KeyError, TypeError, ValueError):
            return "an answer without a number"
        return self._fault_of_number(number)

    def _fault_of_number(self, number: int) -> str:
        method = self.question.method
        if method == "eth_blockNumber" and number < self.head:
            return f"the head went back by {self.head - number}"
        if not self.question.is_pinned or not self.head:
            return ""
        block = number - 1 if method == "eth_getTransactionCount" else block_of_balance(number)
        return "" if block == self.head else f"an answer of block {block} for block {self.head}"


class Owner(Protocol):
    """What a connection tells its wallet."""

    def on_answer(self, connection: WalletConnection, status: int, body: bytes) -> None: ...

    def on_lost(self, connection: WalletConnection, why: str) -> None: ...


class WalletConnection(asyncio.Protocol):
    """One keep-alive connection with at most one request in flight."""

    def __init__(self, owner: Owner, address: tuple[str, int]) -> None:
        self._owner = owner
        self._reader = ReplyReader(ReplyHeadMemory())
        self._transport: asyncio.Transport | None = None
        self._head = (
            f"POST / HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()
        self.address = address
        self.is_reusable = True
        self.ask: WalletRequest | None = None

    def send(self, ask: WalletRequest) -> None:
        self.ask, ask.connection = ask, self
        body = ask.body()
        if self._transport is not None:
            self._transport.write(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # --- what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, since uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._owner.on_lost(self, "connection reset" if error else "connection closed")

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        try:
            is_whole = reader.feed(data)
        except BadReply:
            self._owner.on_lost(self, "an answer that is not HTTP")
            self.close()
            return
        if is_whole:
            status, body = reader.head.status, b"".join(reader.pieces)
            self.is_reusable = not (reader.head.is_last or reader.has_excess)
            reader.reset()
            self._owner.on_answer(self, status, body)


class Wallet:
    """One wallet, with one URL at a time: ``point_at``, ``start``, ``stop``."""

    def __init__(
        self,
        requests_per_second: float,
        on_failed: Callable[[str], None] | None = None,
        hang_seconds: float = HANG_SECONDS,
    ) -> None:
        """``on_failed`` is told of every request that failed, in words. What takes
        ``hang_seconds`` hangs.
        """
        self._hang_seconds = hang_seconds
        self._interval_seconds = 1.0 / requests_per_second
        self._on_failed = on_failed
        self._address = ("", 0)
        self._questions = itertools.cycle(QUESTIONS)
        self._ids = itertools.count(1)
        self._timer: asyncio.TimerHandle | None = None
        self._connections: set[WalletConnection] = set()
        self._idle: list[WalletConnection] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._awaited: deque[WalletRequest] = deque()  # the oldest first
        self._sent: deque[float] = deque()
        self._ended: deque[tuple[float, float | None]] = deque()  # when, and seconds if answered
        self._failed: deque[float] = deque()
        self.head = 0
        self.total = WalletTally()
        self.scene = WalletTally()

    # ---- life

    def point_at(self, host: str, port: int) -> None:
        """Ask there from now on; what is in flight elsewhere ends there."""
        if (host, port) != self._address:
            self._address = (host, port)
            for connection in self._idle:
                connection.close()
            self._idle.clear()

    def start(self) -> None:
        """Begin to ask, in the running loop, with the first request after one interval."""
        self._loop = asyncio.get_running_loop()
        due = self._loop.time() + self._interval_seconds
        self._timer = self._loop.call_at(due, self._tick, due)

    async def stop(self) -> None:
        """Ask no more, give up what is in flight, close everything."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for ask in self._awaited:
            ask.is_over = True
        await tasks.stop(*self._opening)
        for connection in [*self._connections]:
            connection.close()

    def enter(self, scene: WalletTally, *, takes_along: bool) -> None:
        """Count for ``scene`` from now on; with ``takes_along`` also what is in flight, since
        what is about to strike strikes that too.
        """
        was, self.scene = self.scene, scene
        if takes_along:
            for ask in self._awaited:
                if not ask.is_over and ask.tallies[1] is was:
                    was.requests -= 1
                    scene.requests += 1
                    ask.tallies = (self.total, scene)

    # ---- asking

    def _tick(self, due: float) -> None:
        now = self._loop.time()
        self._forget(now)
        self._give_up(now)
        self._ask(now)
        # After a pause of the whole process, what was missed is not made up for.
        due = max(due + self._interval_seconds, now - 2 * self._interval_seconds)
        self._timer = self._loop.call_at(due, self._tick, due)

    def _ask(self, now: float) -> None:
        tallies = (self.total, self.scene)
        ask = WalletRequest(next(self._ids), next(self._questions), self.head, now, tallies)
        for tally in tallies:
            tally.requests += 1
        self._awaited.append(ask)
        self._sent.append(now)
        if self._idle:
            self._idle.pop().send(ask)
            return
        opening = tasks.start(self._open(ask, self._address), "wallet connection")
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    async def _open(self, ask: WalletRequest, address: tuple[str, int]) -> None:
        try:
            async with asyncio.timeout(self._hang_seconds):
                _, connection = await self._loop.create_connection(
                    lambda: WalletConnection(self, address), *address
                )
        except TimeoutError:
            return  # counted as hung
        except OSError:
            self._fail(ask, "connection refused")
            return
        self._connections.add(connection)
        if ask.is_over:
            connection.close()
        else:
            connection.send(ask)

    def _give_up(self, now: float) -> None:
        awaited = self._awaited
        while awaited and (awaited[0].is_over or now - awaited[0].at >= self._hang_seconds):
            ask = awaited.popleft()
            if ask.is_over:
                continue
            for tally in ask.tallies:
                tally.hung += 1
            self._end(ask, f"no answer within {self._hang_seconds:g} s", now - ask.at)
            if ask.connection is not None:
                ask.connection.close()

    # ---- Owner

    def on_answer(self, connection: WalletConnection, status: int, body: bytes) -> None:
        ask, connection.ask = connection.ask, None
        if connection.is_reusable and connection.address == self._address:
            self._idle.append(connection)
        else:
            connection.close()
        if ask is None or ask.is_over:
            return
        if fault := ask.fault_of(status, body):
            self._fail(ask, fault)
            return
        if ask.question.method == "eth_blockNumber":
            self.head = max(self.head, int(msgspec.json.decode(body)["result"], 16))
        for tally in ask.tallies:
            tally.answered += 1
        self._end(ask, "", self._loop.time() - ask.at)

    def on_lost(self, connection: WalletConnection, why: str) -> None:
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        ask, connection.ask = connection.ask, None
        if ask is not None and not ask.is_over:
            self._fail(ask, why)

    def _fail(self, ask: WalletRequest, why: str) -> None:
        if ask.is_over:
            return
        for tally in ask.tallies:
            tally.errors += 1
        self._end(ask, why, None)

    def _end(self, ask: WalletRequest, why: str, seconds: float | None) -> None:
        ask.is_over = True
        now = self._loop.time()
        self._ended.append((now, seconds))
        if seconds is not None:
            for tally in ask.tallies:
                tally.slowest_seconds = max(tally.slowest_seconds, seconds)
        if why:
            self._failed.append(now)
            if self._on_failed is not None:
                self._on_failed(f"{ask.question.method}: {why}")

    # ---- what it saw

    def _forget(self, now: float) -> None:
        while self._sent and self._sent[0] < now - RATE_SECONDS:
            self._sent.popleft()
        while self._ended and self._ended[0][0] < now - RECENT_SECONDS:
            self._ended.popleft()
        while self._failed and self._failed[0] < now - RECENT_SECONDS:
            self._failed.popleft()

    def recent(self) -> WalletFigures:
        """The last ten seconds, and the rate of the last three."""
        known = sorted(seconds for _, seconds in self._ended if seconds is not None)
        return WalletFigures(
            per_second=len(self._sent) / RATE_SECONDS,
            failed=len(self._failed),
            p50_seconds=known[len(known) // 2] if known else None,
            p99_seconds=known[len(known) * 99 // 100] if known else None,
            slowest_seconds=known[-1] if known else None,
        )
