"""web3.py, sending and looking again while it follows every block:
``python consistency_client.py URL KEY CONTRACT``.

The same journeys, complaints and JSON lines as ``consistency.mjs``.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from eth_account import Account
from web3 import AsyncHTTPProvider, AsyncWeb3, Web3
from web3.exceptions import TransactionNotFound

RECIPIENT = Web3.to_checksum_address("0x00000000000000000000000000000000000ca5e1")
CHAIN_ID = 31337
POLLING_SECONDS = 0.1
RECEIPT_SECONDS = 20.0
LOOKED_AT_AGAIN = 5
MOST_COMPLAINTS = 20
# The nodes mine by the second at the least; a jump further than this is a lie, not to be followed.
LONGEST_JUMP = 50

Eth = Any  # web3's async methods are typed by overloads that help nobody here


def tell(**line: Any) -> None:
    print(json.dumps(line), flush=True)


def expect(is_true: object, what: str) -> None:
    if not is_true:
        raise AssertionError(f"not as expected: {what}")


class BlockWatch:
    """Follows ``eth_blockNumber`` and the latest block; both only go forward, link by link."""

    def __init__(self, eth: Eth) -> None:
        self._eth = eth
        self._number = -1
        self._block: Any = None
        self._complaints = 0
        self._followed: list[tuple[int, str]] = []

    def followed(self) -> list[tuple[int, str]]:
        """Number and hash of the blocks since the last look: the test knows the true ones."""
        followed, self._followed = self._followed, []
        return followed

    async def run(self) -> None:
        while True:
            for look in (self._look_at_number, self._look_at_block):
                try:
                    await look()
                except Exception:  # noqa: BLE001 - told, and counted by the tests
                    self._complain(traceback.format_exc())
            await asyncio.sleep(POLLING_SECONDS)

    def _complain(self, message: str) -> None:
        self._complaints += 1
        if self._complaints <= MOST_COMPLAINTS:
            tell(event="error", step="block watch", message=message)

    async def _look_at_number(self) -> None:
        before, self._number = self._number, await self._eth.block_number
        if self._number < before:
            self._complain(f"the head went from {before} back to {self._number}")

    async def _look_at_block(self) -> None:
        block = await self._eth.get_block("latest")
        before = self._block
        self._block = block
        if before is None:
            return
        distance = block["number"] - before["number"]
        if not 0 <= distance < LONGEST_JUMP:
            self._complain(f"block {block['number']} came after block {before['number']}")
            return
        if distance == 0:
            expect(block["hash"] == before["hash"], f"block {block['number']} stays the same")
        for number in range(before["number"] + 1, block["number"] + 1):
            following = block if number == block["number"] else await self._eth.get_block(number)
            self._followed.append((number, following["hash"].to_0x_hex()))
            expect(following["parentHash"] == before["hash"], f"block {number} follows the last")
            before = following


class Wallet:
    """One account, and what its owner does."""

    def __init__(self, eth: Eth, key: str) -> None:
        self._eth = eth
        self._account = Account.from_key(key)
        self._next_nonce = 0
        self._given = 0
        self._past: deque[tuple[bytes, Any]] = deque(maxlen=LOOKED_AT_AGAIN)
        self.seconds: dict[str, float] = {}
        self.current = ""

    async def _step(self, name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        self.current = name
        started = time.perf_counter()
        result = await work()
        self.seconds[name] = max(self.seconds.get(name, 0.0), time.perf_counter() - started)
        return result

    async def journey(self) -> dict[str, Any]:
        eth, address, step = self._eth, self._account.address, self._step
        self.seconds = {}
        heads: list[int] = []

        async def head() -> int:
            heads.append(await eth.block_number)
            return heads[-1]

        await step("blockNumber", head)
        owned = await step("balance", lambda: eth.get_balance(address))
        nonce, hash = await self._send()
        receipt = await step("receipt", lambda: self._receipt(hash))

        # Everything from here on is at least as new as the receipt.
        number = receipt["blockNumber"]
        now = await step("blockNumber after", head)
        expect(now >= number, f"head {now}, receipt in block {number}")
        used = await step("nonce after", lambda: eth.get_transaction_count(address))
        expect(used > nonce, f"nonce {used} after transaction {nonce} was mined")
        left = await step("balance after", lambda: eth.get_balance(address))
        expect(left < owned, f"balance {left} after, {owned} before")
        total = await step("balance of the recipient", lambda: eth.get_balance(RECIPIENT))
        expect(total > self._given, f"the recipient has {total}, and had {self._given}")
        self._given = total
        self._past.append((hash, receipt))
        for past_hash, past in self._past:
            await step("look again", self._again(past_hash, past))
        await step("blockNumber at the end", head)
        return {"hash": hash.to_0x_hex(), "nonce": nonce, "block": number, "heads": heads}

    async def _send(self) -> tuple[int, Any]:
        eth, address = self._eth, self._account.address
        told = await self._step("nonce", lambda: eth.get_transaction_count(address))
        # As wallets do: the higher of what the chain says and what was used last.
        nonce = max(told, self._next_nonce)
        transfer = {"to": RECIPIENT, "value": 1, "nonce": nonce, "gas": 21_000}
        price = await self._step("gasPrice", lambda: eth.gas_price)
        signed = self._account.sign_transaction(
            {**transfer, "gasPrice": 2 * price, "chainId": CHAIN_ID}
        )
        hash = await self._step("send", lambda: eth.send_raw_transaction(signed.raw_transaction))
        self._next_nonce = nonce + 1
        await self._step("transaction", lambda: eth.get_transaction(hash))
        return nonce, hash

    async def _receipt(self, hash: bytes) -> Any:
        deadline = time.monotonic() + RECEIPT_SECONDS
        while True:
            try:
                receipt = await self._eth.get_transaction_receipt(hash)
            except TransactionNotFound:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(POLLING_SECONDS)
            else:
                expect(receipt["status"] == 1, f"status {receipt['status']}")
                return receipt

    def _again(self, hash: bytes, past: Any) -> Callable[[], Awaitable[None]]:
        return lambda: self._look_again(hash, past)

    async def _look_again(self, hash: bytes, past: Any) -> None:
        eth, block_hash, number = self._eth, past["blockHash"], past["blockNumber"]
        receipt, transaction, block, same = await asyncio.gather(
            eth.get_transaction_receipt(hash),
            eth.get_transaction(hash),
            eth.get_block(block_hash),
            eth.get_block(number),
        )
        expect(receipt["blockHash"] == block_hash, "the receipt stays")
        expect(transaction["blockHash"] == block_hash, "the transaction stays in its block")
        expect(hash in block["transactions"], f"block {number} holds the transaction")
        expect(same["hash"] == block_hash, f"block {number} by number is block {number} by hash")


def set_at_end_of_input(over: threading.Event) -> None:
    sys.stdin.read()
    over.set()


async def main() -> None:
    url, key, _ = sys.argv[1:]
    web3 = AsyncWeb3(AsyncHTTPProvider(url, exception_retry_configuration=None))
    wallet = Wallet(web3.eth, key)
    watch = BlockWatch(web3.eth)
    watching = asyncio.ensure_future(watch.run())
    over = threading.Event()
    threading.Thread(target=set_at_end_of_input, args=(over,), daemon=True).start()
    tell(event="ready", client="web3.py")
    number = 0
    while not over.is_set():
        number += 1
        try:
            told = await wallet.journey()
            told["blocks"] = watch.followed()
            tell(event="journey", number=number, seconds=wallet.seconds, **told)
        except Exception:  # noqa: BLE001 - told, and counted by the tests
            message = traceback.format_exc()
            tell(event="error", number=number, step=wallet.current, message=message)
    watching.cancel()
    await web3.provider.disconnect()
    tell(event="end")


asyncio.run(main())
