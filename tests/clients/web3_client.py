"""web3.py, without retries of its own: ``python web3_client.py sync|async URL KEY CONTRACT``.

The same journeys, and the same JSON lines, as the scripts beside it (``journeys.mjs``).
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from eth_account import Account
from web3 import AsyncHTTPProvider, AsyncWeb3, HTTPProvider, Web3
from web3.exceptions import ContractLogicError, TransactionNotFound

RECIPIENT = Web3.to_checksum_address("0x00000000000000000000000000000000000ca5e1")
ANSWER = 42
REVERT_REASON = "not today"
CHAIN_ID = 31337
POLLING_SECONDS = 0.2
RECEIPT_SECONDS = 30.0

Work = Callable[[], Awaitable[Any]]
Head = Callable[[], Awaitable[int]]


class Steps:
    """Times the calls of one journey."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.current = ""

    async def __call__(self, name: str, work: Work) -> Any:
        self.current = name
        started = time.perf_counter()
        result = await work()
        self.seconds[name] = time.perf_counter() - started
        return result


class Blocking:
    """The synchronous web3 with the face of the asynchronous one."""

    def __init__(self, url: str) -> None:
        self._web3 = Web3(HTTPProvider(url, exception_retry_configuration=None))

    async def ask(self, name: str, *params: Any) -> Any:
        found = getattr(self._web3.eth, name)
        return found(*params) if params or callable(found) else found

    async def batch(self, *calls: tuple[str, tuple[Any, ...]]) -> list[Any]:
        with self._web3.batch_requests() as batch:
            for name, params in calls:
                batch.add(getattr(self._web3.eth, name)(*params))
            return list(batch.execute())

    async def close(self) -> None:
        """Nothing is held."""


class Waiting:
    """The asynchronous web3."""

    def __init__(self, url: str) -> None:
        provider = AsyncHTTPProvider(url, exception_retry_configuration=None)
        self._web3 = AsyncWeb3(provider)

    async def ask(self, name: str, *params: Any) -> Any:
        found = getattr(self._web3.eth, name)
        return await (found(*params) if params or callable(found) else found)

    async def batch(self, *calls: tuple[str, tuple[Any, ...]]) -> list[Any]:
        async with self._web3.batch_requests() as batch:
            for name, params in calls:
                batch.add(getattr(self._web3.eth, name)(*params))
            return list(await batch.async_execute())

    async def close(self) -> None:
        await self._web3.provider.disconnect()


def expect(is_true: object, what: str) -> None:
    if not is_true:
        raise AssertionError(f"not as expected: {what}")


class Wallet:
    """One account, and what its owner does."""

    def __init__(self, eth: Blocking | Waiting, key: str, contract: str) -> None:
        self._eth = eth
        self._account = Account.from_key(key)
        self._contract = Web3.to_checksum_address(contract)
        self._next_nonce = 0

    async def journey(self, step: Steps) -> dict[str, Any]:
        eth, address = self._eth, self._account.address
        heads: list[int] = []

        async def head() -> int:
            heads.append(await eth.ask("block_number"))
            return heads[-1]

        expect(await step("chainId", lambda: eth.ask("chain_id")) == CHAIN_ID, "chain id")
        await step("blockNumber", head)
        await step("balance", lambda: eth.ask("get_balance", address))
        called = await step("call", lambda: eth.ask("call", {"to": self._contract}))
        expect(int.from_bytes(called) == ANSWER, f"call gave {called!r}")
        transfer = {"from": address, "to": RECIPIENT, "value": 1}
        gas = await step("estimateGas", lambda: eth.ask("estimate_gas", transfer))
        expect(gas >= 21_000, f"gas {gas}")
        await step("revert", self._refused)

        told = await step("nonce", lambda: eth.ask("get_transaction_count", address))
        # As wallets do: the higher of what the chain says and what was used last.
        nonce = max(told, self._next_nonce)
        price = await step("gasPrice", lambda: eth.ask("gas_price"))
        signed = self._account.sign_transaction(
            {
                "to": RECIPIENT,
                "value": 1,
                "nonce": nonce,
                "gas": gas,
                "gasPrice": 2 * price,
                "chainId": CHAIN_ID,
            }
        )
        hash = await step("send", lambda: eth.ask("send_raw_transaction", signed.raw_transaction))
        expect(hash == signed.hash, "the hash that was signed")
        self._next_nonce = nonce + 1
        receipt = await step("receipt", lambda: self._receipt(hash))
        settled, replaced = await self._settle(step, hash, receipt, head)
        return {
            "hash": hash.to_0x_hex(),
            "nonce": nonce,
            "block": settled["blockNumber"],
            "blockHash": settled["blockHash"].to_0x_hex(),
            "replaced": replaced,
            "heads": heads,
        }

    async def _settle(
        self, step: Steps, hash: Any, receipt: Any, head: Head
    ) -> tuple[Any, list[str]]:
        """The receipt that everything agrees with, and the hashes of the blocks that it was in
        before; as ``settle`` in ``journeys.mjs``.
        """
        replaced: list[str] = []
        while True:
            try:
                await self._look(step, hash, receipt, head)
            except Exception:
                found = await self._replacement(hash, receipt, head)
                if found is None:
                    raise
                replaced.append(receipt["blockHash"].to_0x_hex())
                receipt = found
            else:
                return receipt, replaced

    async def _replacement(self, hash: Any, receipt: Any, head: Head) -> Any:
        """The receipt in another block; ``None`` when the chain went on and it is the same."""
        deadline = time.monotonic() + RECEIPT_SECONDS
        while time.monotonic() < deadline:
            number = await head()
            try:
                found = await self._eth.ask("get_transaction_receipt", hash)
            except TransactionNotFound:
                pass
            else:
                if found["blockHash"] != receipt["blockHash"]:
                    return found
                # A node takes a block back before anybody mines on top of it.
                if number > receipt["blockNumber"]:
                    return None
            await asyncio.sleep(POLLING_SECONDS)
        return None

    async def _look(self, step: Steps, hash: Any, receipt: Any, head: Head) -> None:
        """Everything that is asked after the receipt."""
        eth = self._eth
        expect(receipt["status"] == 1, f"status {receipt['status']}")
        await step("blockNumber after", head)
        block = await step("block", lambda: eth.ask("get_block", receipt["blockHash"]))
        expect(hash in block["transactions"], "the block of the receipt holds the transaction")
        again, transaction, _ = await step(
            "batch",
            lambda: eth.batch(
                ("get_transaction_receipt", (hash,)),
                ("get_transaction", (hash,)),
                ("get_balance", (RECIPIENT,)),
            ),
        )
        expect(again["blockHash"] == receipt["blockHash"], "the receipt stays")
        expect(transaction["hash"] == hash, "the transaction stays")

    async def _refused(self) -> None:
        try:
            await self._eth.ask("call", {"to": self._contract, "data": "0x01020304"})
        except ContractLogicError as refusal:
            expect(REVERT_REASON in str(refusal.message), f"the reason, not {refusal.message}")
        else:
            raise AssertionError("a call that must revert did not")

    async def _receipt(self, hash: bytes) -> Any:
        deadline = time.monotonic() + RECEIPT_SECONDS
        while True:
            try:
                return await self._eth.ask("get_transaction_receipt", hash)
            except TransactionNotFound:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(POLLING_SECONDS)


def tell(**line: Any) -> None:
    print(json.dumps(line), flush=True)


def set_at_end_of_input(over: threading.Event) -> None:
    sys.stdin.read()
    over.set()


async def main() -> None:
    kind, url, key, contract = sys.argv[1:]
    eth = Blocking(url) if kind == "sync" else Waiting(url)
    wallet = Wallet(eth, key, contract)
    over = threading.Event()
    threading.Thread(target=set_at_end_of_input, args=(over,), daemon=True).start()
    tell(event="ready", client=f"web3.py {kind}")
    number = 0
    while not over.is_set():
        number += 1
        step = Steps()
        try:
            told = await wallet.journey(step)
            tell(event="journey", number=number, seconds=step.seconds, **told)
        except Exception:  # noqa: BLE001 - told, and counted by the tests
            message = traceback.format_exc()
            tell(event="error", number=number, step=step.current, message=message)
    await eth.close()
    tell(event="end")


asyncio.run(main())
