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
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from rpcproxy.chains.parts.transactions import Inclusion, Sends
from rpcproxy.clock import Clock
from rpcproxy.edges.metrics.metrics import ChainCounters
from rpcproxy.engine import tasks
from rpcproxy.engine.attempts.calls import SingleCall
from rpcproxy.engine.attempts.executor import Executor
from rpcproxy.engine.sends.copies import Copies, need_of
from rpcproxy.engine.sends.ledger import Ledger
from rpcproxy.engine.sends.send_orders import SendOrder
from rpcproxy.engine.sends.whereabouts import Remembering, Whereabouts, value_of
from rpcproxy.messages import MethodClass, Verdict
from rpcproxy.rules.requests.steps import Policy
from rpcproxy.rules.sends.ballot import REJECTIONS
from rpcproxy.rules.sends.journaled import PoolEntry, TransactionState
from rpcproxy.rules.standing.need import Need

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


class Rebroadcast:
    """See the module's docstring. ``start`` it once; ``close`` ends it."""

    def __init__(  # noqa: PLR0913 - all that looks after transactions
        self,
        executor: Executor,
        ledger: Ledger,
        copies: Copies,
        truth: Remembering,
        policies: Mapping[MethodClass, Policy],
        *,
        sends: Sends,
        clock: Clock,
    ) -> None:
        self._executor = executor
        self._now = clock.monotonic
        self._counters: ChainCounters = executor.counters
        self._standings = executor.standings
        self._heads = executor.standings.heads
        self._ledger = ledger
        self._copies = copies
        self._truth = truth
        self._sends = sends
        self._whereabouts = Whereabouts(executor, policies, truth, sends.look_ups)
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
        served = self._heads.served
        if self._heads.turns != self._turns:
            self._turns = self._heads.turns
            self._ledger.on_turn(self._heads.ancestor)
            self._read_to = min(self._read_to, self._heads.ancestor)
        if not self._ledger.is_looking or served < 0:
            self._read_to = served
            self._ledger.on_looked(served)
            self._ledger.due(served, self._now(), 0)  # nobody: it only follows the head
            return
        await self._read_blocks(served)
        await self._look_up_unsure()
        self._ledger.on_looked(self._read_to)
        await self._confirm(served)
        if self._sending is None or self._sending.done():
            # Beside all else: an upstream that hangs must not keep us from seeing blocks.
            self._sending = tasks.start(self._send_due(served), "send what is due")
        await self._ledger.expire(self._now())

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
            if self._heads.lineage.is_hole(number):
                self._read_to = number  # no block is there
                continue
            block = await self._whereabouts.block(number)
            if block is None or self._heads.turns != self._turns:
                return  # again at the next look
            self._on_mined(number, block.hash, block.transactions)
            self._read_to = number

    def _on_mined(self, number: int, hash: str, transactions: Iterable[str]) -> None:
        for entry in self._ledger.on_block(number, hash, transactions):
            self._truth.on_mined(entry)

    # ---- receipts

    async def _sight(self, entry: PoolEntry) -> bool:
        """Look for its block; whether that could be told. A private one is looked for without its
        hash.
        """
        if self._ledger.is_entry_private(entry):
            seen = await self._whereabouts.find(entry)
            if seen is not None and seen.is_it:
                self._on_mined(seen.block, seen.block_hash, [entry.hash])
            return seen is not None or not self._whereabouts.can_tell(entry)
        receipt = await self._receipt(entry)
        if receipt is not None:
            self._on_mined(receipt.block, receipt.block_hash, [entry.hash])
        return True

    async def _receipt(self, entry: PoolEntry) -> Inclusion | None:
        """``None`` where there is none, or nobody could be asked. A mined one that has none at two
        looks has lost its block without our noticing: a block's transactions are one upstream's
        word, as long as nobody asked for a receipt.
        """
        question = self._sends.look_ups.receipt(entry.hash)
        name = question.method.name
        need = Need(question.method_class, name, wants_head=True, last_resort=False)
        judgement = await self._whereabouts.ask(question, need)
        if judgement.verdict in _NO_SUCH and entry.state is TransactionState.MINED:
            missed = self._missed[entry.hash] = self._missed.get(entry.hash, 0) + 1
            if missed >= BELIEVED_LOOKS:
                del self._missed[entry.hash]
                self._truth.forget(entry.hash)
                self._ledger.on_missing(entry)
        else:
            self._missed.pop(entry.hash, None)
        return value_of(question, judgement)

    async def _look_up_unsure(self) -> None:
        untold: list[str] = []
        while self._unsure:
            hashes = [self._unsure.popleft() for _ in range(min(MOST_AT_ONCE, len(self._unsure)))]
            entries = [entry for hash in hashes if (entry := self._ledger.pool.get(hash))]
            are_told = await asyncio.gather(*map(self._sight, entries))
            pairs = zip(entries, are_told, strict=True)
            untold += [entry.hash for entry, is_told in pairs if not is_told]
        self._unsure.extend(untold)  # at the next look

    async def _confirm(self, served: int) -> None:
        """Close what is in a block that cannot go any more, once its receipt says so too."""
        floor = self._floor(served)
        entries = self._ledger.pool.to_confirm(floor)
        for start in range(0, len(entries), MOST_AT_ONCE):
            some = entries[start : start + MOST_AT_ONCE]
            receipts = await asyncio.gather(*map(self._receipt, some))
            for entry, receipt in zip(some, receipts, strict=True):
                if receipt is not None:
                    self._on_mined(receipt.block, receipt.block_hash, [entry.hash])
                    if receipt.block <= floor:
                        await self._ledger.on_final(entry.hash)

    def _floor(self, served: int) -> int:
        """The height up to which nothing changes; below 0 where there is none yet."""
        floor = self._heads.finality.floor
        return floor if floor >= 0 else served - FINAL_DEPTH

    # ---- sent again

    async def _send_due(self, served: int) -> None:
        if not self._standings.usable(MethodClass.SEND):
            return  # nobody to send to: it stays due
        now = self._now()
        by_lane: dict[str, list[PoolEntry]] = {}
        due = self._ledger.due(served, now, MOST_DUE)
        for entry in due:
            by_lane.setdefault(entry.owner, []).append(entry)
        gate = asyncio.Semaphore(MOST_AT_ONCE)
        await asyncio.gather(*(self._send_row(row, gate) for row in by_lane.values()))
        if len(due) == MOST_DUE:
            self._woken.set()  # there are more: no pause between

    async def _send_row(self, row: Sequence[PoolEntry], gate: asyncio.Semaphore) -> None:
        """One lane's, in order."""
        async with gate:
            for entry in row:
                await self._send_again(entry)

    async def _send_again(self, entry: PoolEntry) -> None:
        if not entry.state.is_sent_again:
            return  # since it was due, it was mined, or its wallet sent another in its place
        is_private = self._ledger.is_entry_private(entry)
        usable = self._standings.usable(MethodClass.SEND)
        fit = [s for s in usable if s.private or not is_private]
        by_name = {s.name: s for s in fit if not s.is_cordoned} or {s.name: s for s in fit}
        if not by_name:
            return  # nobody who may hear of it can be reached: it is due again before long
        names = self._ledger.pool.targets(entry, by_name)
        method, params = self._sends.method, self._sends.params_of(entry.raw)
        call = SingleCall(
            method, need_of(SendOrder(method, params, entry.hash, 1, is_private)), params
        )
        self._counters.sends.on_rebroadcast(len(names))
        said = await asyncio.gather(
            *(self._copies.ask(call, by_name[name], entry.hash, is_first=False) for name in names)
        )
        self._ledger.on_step("in rebroadcast")
        self._ledger.pool.on_rebroadcast(entry.hash, self._now())
        if any(judgement.verdict is Verdict.NONCE_TOO_LOW for _, judgement in said):
            for one in self._ledger.pool.beside(entry):
                if one.state.is_pending:
                    await self._see_whether_replaced(one)
        elif said and all(judgement.verdict in REJECTIONS for _, judgement in said):
            self._ledger.on_denied(entry)

    async def _see_whether_replaced(self, entry: PoolEntry) -> None:
        """Its place is taken: it is mined where we did not look, or another took its place."""
        is_told = await self._sight(entry)
        floor = self._floor(self._heads.served)
        if not is_told or not entry.state.is_pending or floor < 0 or not entry.lane:
            return
        counted = await self._whereabouts.counter(entry.lane, floor)
        if counted is not None and counted > entry.order:
            await self._ledger.on_replaced(entry.hash)
