"""Wallets that ask a simulated chain through a proxy, one call after the other, and check.

    checker = Checker(...)
    await ask_for(seconds, url, checker, rate_per_second=150)
    await ask_while(lambda: checker.answers < 100, url, checker)

Each of the wallets has a connection of its own and one request in flight, and asks what wallets ask:
heads, blocks, balances, nonces, storage and calls at ``latest``, receipts of transactions that one
saw in a block and then the block of the receipt by hash and by number, logs up to ``latest``.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from rpcproxy.drills.evm.simchain import ACCOUNTS, BUSY_ACCOUNTS, TOKEN
from rpcproxy.drills.evm.simrpc import BALANCE_OF
from tests.kits.waiting import limited
from tests.loads.consistency import Checker

CLIENTS: Final = 20
MIX: Final = {
    "eth_blockNumber": 20,
    "eth_getBlockByNumber latest": 12,
    "eth_getBlockByNumber": 8,
    "eth_getBalance": 15,
    "eth_call": 12,
    "eth_getTransactionCount": 10,
    "eth_getStorageAt": 5,
    "eth_getTransactionReceipt": 10,
    "eth_getTransactionByHash": 4,
    "eth_getLogs": 6,
}


class Wallet:
    """One client. State: its connection."""

    def __init__(self, number: int, url: str, checker: Checker) -> None:
        self._number = number
        self._parts = urlsplit(url)
        self._checker = checker
        self._rng = random.Random(number)
        self._ids = itertools.count(1)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask_while(self, is_wanted: Callable[[float], object], gap_seconds: float) -> None:
        """Ask in steps of ``gap_seconds`` while it is wanted at that time of the loop."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._rng.random() * gap_seconds
        try:
            while is_wanted(due):
                await asyncio.sleep(max(0.0, due - loop.time()))
                await self._next()
                due = max(due + gap_seconds, loop.time() - gap_seconds)
        finally:
            self._hang_up()

    async def _next(self) -> None:
        [choice] = self._rng.choices(list(MIX), list(MIX.values()))
        method = choice.split()[0]
        head = self._checker.known_to(self._number).head
        if not head or choice == "eth_blockNumber":
            await self._ask("eth_blockNumber")
        elif method == "eth_getBlockByNumber":
            is_latest = choice != method
            wanted = "latest" if is_latest else hex(head - self._rng.randrange(4))
            await self._ask(method, wanted, False)
        elif method == "eth_getLogs":
            span = {"address": TOKEN, "fromBlock": hex(head - 2), "toBlock": "latest"}
            await self._ask(method, span)
        elif method in ("eth_getTransactionReceipt", "eth_getTransactionByHash"):
            await self._look_up(method)
        else:
            await self._read(method)

    async def _look_up(self, method: str) -> None:
        if not self._checker.transactions:
            return
        found = await self._ask(method, self._rng.choice(self._checker.transactions))
        if method == "eth_getTransactionReceipt" and isinstance(found, dict):
            await self._ask("eth_getBlockByHash", found["blockHash"], False)
            await self._ask("eth_getBlockByNumber", found["blockNumber"], False)

    async def _read(self, method: str) -> None:
        address = self._rng.choice(ACCOUNTS)
        if method == "eth_getBalance":
            await self._ask(method, address, "latest")
        elif method == "eth_getTransactionCount":
            await self._ask(method, self._rng.choice(BUSY_ACCOUNTS), "latest")
        elif method == "eth_getStorageAt":
            await self._ask(method, TOKEN, "0x0", "latest")
        else:
            data = BALANCE_OF + address[2:].rjust(64, "0")
            await self._ask("eth_call", {"to": TOKEN, "data": data}, "latest")

    async def _ask(self, method: str, *params: Any) -> Any:
        """The result, ``None`` without one."""
        asking = self._checker.asking(self._number, method, list(params))
        try:
            async with limited():
                reply = await self._exchange(method, list(params))
        except (OSError, EOFError, TimeoutError, ValueError, msgspec.DecodeError) as error:
            self._hang_up()
            reply = error
        self._checker.answered(asking, reply)
        return reply.get("result") if isinstance(reply, dict) else None

    async def _exchange(self, method: str, params: list[Any]) -> Any:
        if self._streams is None:
            port = self._parts.port or 80
            self._streams = await asyncio.open_connection(self._parts.hostname, port)
        reader, writer = self._streams
        call = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        body = msgspec.json.encode(call)
        writer.write(
            f"POST {self._parts.path or '/'} HTTP/1.1\r\nHost: {self._parts.netloc}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        _, _, length = head.partition(b"\r\ncontent-length:")
        text = await reader.readexactly(int(length.split(b"\r\n")[0]))
        if b"\r\nconnection: close" in head:
            self._hang_up()
        reply = msgspec.json.decode(text)
        if isinstance(reply, dict) and reply.get("id") != call["id"]:
            raise ValueError(f"another id than {call['id']}: {text[:100]!r}")
        return reply

    def _hang_up(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


async def ask_for(
    seconds: float,
    url: str,
    checker: Checker,
    *,
    rate_per_second: float = 150.0,
    clients: int = CLIENTS,
    first_client: int = 0,
) -> None:
    """All wallets together ask about ``rate_per_second`` for so long; ``checker`` has the rest."""
    end = asyncio.get_running_loop().time() + seconds
    numbers = range(first_client, first_client + clients)
    await _ask(lambda due: due < end, url, checker, rate_per_second, numbers)


async def ask_while(
    is_wanted: Callable[[], object],
    url: str,
    checker: Checker,
    *,
    rate_per_second: float = 150.0,
    clients: int = CLIENTS,
) -> None:
    """As ``ask_for``, for as long as it takes. A wallet asks on where it stands: what it asks next
    depends on how many questions it had, not on how many the machine had time for.
    """
    async with limited():
        await _ask(lambda _: is_wanted(), url, checker, rate_per_second, range(clients))


async def _ask(
    is_wanted: Callable[[float], object],
    url: str,
    checker: Checker,
    rate_per_second: float,
    numbers: range,
) -> None:
    async with asyncio.TaskGroup() as group:
        for number in numbers:
            wallet = Wallet(number, url, checker)
            group.create_task(wallet.ask_while(is_wanted, len(numbers) / rate_per_second))
