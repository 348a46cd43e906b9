"""What becomes of transactions after the wallet has its hash: seen in blocks, sent again, closed.

One task per chain. When the served head moves, and now and then while it stands, it reads the new
blocks (one call for each, whatever the number of transactions, and none while nothing is
pending), confirms by receipts what has become final, and sends again what is due. Wallets do
none of this any more: MetaMask stopped rebroadcasting.

State: up to which block blocks were read, of which transactions a receipt is to be asked, and
which had none when they should have.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from rpcproxy.chains import evm
from rpcproxy.edges.metrics import ChainCounters
from rpcproxy.engine import ledger as fault_points
from rpcproxy.engine import tasks
from rpcproxy.engine.broadcast import RAW_METHOD
from rpcproxy.engine.calls import SingleCall
from rpcproxy.engine.copies import Copies, Order, need_of
from rpcproxy.engine.executor import Executor
from rpcproxy.engine.ledger import Ledger
from rpcproxy.engine.truth import Truth
from rpcproxy.messages import Judgement, MethodClass, Verdict
from rpcproxy.rules.failover import Policy
from rpcproxy.rules.journaled import Entry, State
from rpcproxy.rules.need import Need

_log = logging.getLogger("rpcproxy.transactions")

# While the chain stands still, and for what is due by time.
LOOK_SECONDS: Final = 1.0
# More blocks than these at once are not read: what is pending is looked up by its receipt.
MOST_BLOCKS: Final = 64
MOST_AT_ONCE: Final = 16
MOST_DUE: Final = 256
# Where no upstream tells what is final: so deep no reorg goes on any chain we know.
FINAL_DEPTH: Final = 64
# A receipt that is missing is missing after so many looks.
BELIEVED_LOOKS: Final = 2
_NO_SUCH: Final = (Verdict.NULL, Verdict.FORGOTTEN, Verdict.DROPPED)


class _Block(msgspec.Struct, gc=False):
    number: str
    hash: str
    transactions: list[str] = []


class _Receipt(msgspec.Struct, gc=False):
    block_number: str = msgspec.field(name="blockNumber")
    block_hash: str = msgspec.field(name="blockHash")


_block_decoder = msgspec.json.Decoder(_Block)
_receipt_decoder = msgspec.json.Decoder(_Receipt)


class Rebroadcast:
    """See the module's docstring. ``start`` it once; ``close`` ends it."""

    def __init__(
        self,
        executor: Executor,
        ledger: Ledger,
        copies: Copies,
        truth: Truth,
        policies: Mapping[MethodClass, Policy],
    ) -> None:
        self._executor = executor
        self._counters: ChainCounters = executor.counters
        self._standings = executor.standings
        self._heads = executor.standings.heads
        self._ledger = ledger
        self._copies = copies
        self._truth = truth
        self._policies = policies
        self._read_to = -1
        self._unsure: deque[str] = deque()
        self._missed: dict[str, int] = {}
        self._turns = self._heads.turns
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._sending: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look after what is pending."""
        self._standings.on_served.append(self._woken.set)
        self._task = tasks.start(self._run(), "rebroadcast")

    async def close(self) -> None:
        """End; idempotent. What is pending stays in the journal."""
        await tasks.stop(self._task, self._sending)

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._woken.wait()
            except TimeoutError:
                pass
            self._woken.clear()
            try:
                await self._look()
            except Exception:  # noqa: BLE001 - the next look does better, or says it again
                _log.exception("looking after pending transactions failed")

    async def _look(self) -> None:
        pool, served = self._ledger.pool, self._heads.served
        if self._heads.turns != self._turns:
            self._turns = self._heads.turns
            self._ledger.on_turn(self._heads.ancestor)
            self._read_to = min(self._read_to, self._heads.ancestor)
        if not len(pool) or served < 0:
            self._read_to = served
            pool.due(served, time.monotonic(), 0)  # nobody: it only follows the head
            return
        await self._read_blocks(served)
        await self._look_up_unsure()
        await self._confirm(served)
        if self._sending is None or self._sending.done():
            # Beside all else: an upstream that hangs must not keep us from seeing blocks.
            self._sending = tasks.start(self._send_due(served), "send what is due")
        await self._ledger.expire(time.monotonic())

    # ---- blocks

    async def _read_blocks(self, served: int) -> None:
        """Those since the last look. After a gap (a restart, a long pause) each pending one is
        looked up by itself.
        """
        if self._read_to < 0 or served - self._read_to > MOST_BLOCKS:
            self._unsure.extend(entry.hash for entry in self._ledger.pool.all_pending())
            self._read_to = served - 1
        while self._read_to < served:
            number = self._read_to + 1
            block = await self._block(number)
            if block is None or self._heads.turns != self._turns:
                return  # again at the next look
            self._on_mined(number, block.hash, block.transactions)
            self._read_to = number

    def _on_mined(self, number: int, hash: str, transactions: Iterable[str]) -> None:
        for entry in self._ledger.on_block(number, hash, transactions):
            self._truth.on_mined(entry)

    async def _block(self, number: int) -> _Block | None:
        name = "eth_getBlockByNumber"
        need = Need(MethodClass.LIGHT, name, block=number, wants_head=True, last_resort=False)
        judgement = await self._ask(name, need, b'["0x%x",false]' % number)
        try:
            return _block_decoder.decode(_result_of(judgement))
        except msgspec.MsgspecError:
            return None

    async def _ask(self, name: str, need: Need, params: bytes) -> Judgement:
        call = SingleCall(evm.describe(name), need, params, truth=self._truth)
        settled = await self._executor.run(call, self._policies[MethodClass.LIGHT])
        settled.close()
        return settled.judgement or Judgement(Verdict.CANCELLED)

    # ---- receipts

    async def _receipt(self, entry: Entry) -> _Receipt | None:
        """``None`` where there is none, or nobody could be asked. A mined one that has none at two
        looks has lost its block without our noticing: a block's transactions are one upstream's
        word, as long as nobody asked for a receipt.
        """
        name = "eth_getTransactionReceipt"
        need = Need(
            MethodClass.LIGHT,
            name,
            wants_head=True,
            private_only=self._ledger.is_entry_private(entry),
            last_resort=False,
        )
        judgement = await self._ask(name, need, b'["%b"]' % entry.hash.encode())
        if judgement.verdict in _NO_SUCH and entry.state is State.MINED:
            missed = self._missed[entry.hash] = self._missed.get(entry.hash, 0) + 1
            if missed >= BELIEVED_LOOKS:
                del self._missed[entry.hash]
                self._truth.forget(entry.hash)
                self._ledger.on_missing(entry)
        else:
            self._missed.pop(entry.hash, None)
        try:
            return _receipt_decoder.decode(_result_of(judgement))
        except msgspec.MsgspecError:
            return None

    async def _look_up_unsure(self) -> None:
        while self._unsure:
            hashes = [self._unsure.popleft() for _ in range(min(MOST_AT_ONCE, len(self._unsure)))]
            entries = [entry for hash in hashes if (entry := self._ledger.pool.get(hash))]
            receipts = await asyncio.gather(*map(self._receipt, entries))
            for entry, receipt in zip(entries, receipts, strict=True):
                if receipt is not None:
                    number = int(receipt.block_number, 16)
                    self._on_mined(number, receipt.block_hash, [entry.hash])

    async def _confirm(self, served: int) -> None:
        """Close what is in a block that cannot go any more, once its receipt says so too."""
        floor = self._floor(served)
        entries = self._ledger.pool.to_confirm(floor)
        for start in range(0, len(entries), MOST_AT_ONCE):
            some = entries[start : start + MOST_AT_ONCE]
            receipts = await asyncio.gather(*map(self._receipt, some))
            for entry, receipt in zip(some, receipts, strict=True):
                if receipt is not None:
                    number = int(receipt.block_number, 16)
                    self._on_mined(number, receipt.block_hash, [entry.hash])
                    if number <= floor:
                        await self._ledger.on_final(entry.hash)

    def _floor(self, served: int) -> int:
        """The height up to which nothing changes; below 0 where there is none yet."""
        floor = self._heads.finality.floor
        return floor if floor >= 0 else served - FINAL_DEPTH

    # ---- sent again

    async def _send_due(self, served: int) -> None:
        if not self._standings.usable(MethodClass.SEND):
            return  # nobody to send to: it stays due
        now = time.monotonic()
        by_sender: dict[str, list[Entry]] = {}
        due = self._ledger.pool.due(served, now, MOST_DUE)
        for entry in due:
            by_sender.setdefault(entry.sender or entry.hash, []).append(entry)
        gate = asyncio.Semaphore(MOST_AT_ONCE)
        await asyncio.gather(*(self._send_row(row, gate) for row in by_sender.values()))
        if len(due) == MOST_DUE:
            self._woken.set()  # there are more: no pause between

    async def _send_row(self, row: Sequence[Entry], gate: asyncio.Semaphore) -> None:
        """One sender's, in the order of their nonces."""
        async with gate:
            for entry in row:
                await self._send_again(entry)

    async def _send_again(self, entry: Entry) -> None:
        is_private = self._ledger.is_entry_private(entry)
        usable = self._standings.usable(MethodClass.SEND)
        fit = [s for s in usable if s.private or not is_private]
        by_name = {s.name: s for s in fit if not s.is_cordoned} or {s.name: s for s in fit}
        if not by_name:
            return  # nobody who may hear of it can be reached: it is due again before long
        names = self._ledger.pool.targets(entry, by_name)
        method = evm.describe(RAW_METHOD)
        params = b'["0x%b"]' % entry.raw.hex().encode()
        call = SingleCall(method, need_of(Order(method, params, entry.hash, 1, is_private)), params)
        self._counters.sends.on_rebroadcast(len(names))
        said = await asyncio.gather(
            *(self._copies.ask(call, by_name[name], entry.hash, is_first=False) for name in names)
        )
        if fault_points.fault is not None:
            fault_points.fault("in rebroadcast")
        self._ledger.pool.on_rebroadcast(entry.hash, time.monotonic())
        if any(judgement.verdict is Verdict.NONCE_TOO_LOW for _, judgement in said):
            await self._see_whether_replaced(entry)

    async def _see_whether_replaced(self, entry: Entry) -> None:
        """Its nonce is gone: it is mined where we did not look, or another took its place."""
        receipt = await self._receipt(entry)
        if receipt is not None:
            self._on_mined(int(receipt.block_number, 16), receipt.block_hash, [entry.hash])
            return
        floor = self._floor(self._heads.served)
        if floor < 0 or not entry.sender:
            return
        name = "eth_getTransactionCount"
        need = Need(MethodClass.LIGHT, name, block=floor, last_resort=False)
        params = b'["%b","0x%x"]' % (entry.sender.encode(), floor)
        nonce = evm.parse_quantity(_result_of(await self._ask(name, need, params)))
        if nonce is not None and nonce > entry.nonce:
            await self._ledger.on_replaced(entry.hash)


def _result_of(judgement: Judgement) -> bytes:
    """Empty where there is none."""
    is_good = judgement.verdict is Verdict.OK and judgement.result is not None
    return bytes(judgement.result or b"") if is_good else b""
