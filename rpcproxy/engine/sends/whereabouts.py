"""Where a transaction is, told by its sender's nonce: nobody hears its hash.

A private transaction must not be asked for by its hash before it is in a block that we saw, not
even whether it is in one. The sender's nonce says in which block it can be (the first after which
the nonce is past its own), and that block says whether it is. No state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from rpcproxy.chains import evm
from rpcproxy.engine.attempts.calls import SingleCall, Touchstone
from rpcproxy.engine.attempts.executor import Executor
from rpcproxy.messages import Judgement, MethodClass, Verdict
from rpcproxy.rules.requests.steps import Policy
from rpcproxy.rules.sends.journaled import PoolEntry
from rpcproxy.rules.standing.need import Need, of_old

# Where old state is nowhere to be had, so many blocks are read one by one.
MOST_READ: Final = 256


class ListedBlock(msgspec.Struct, gc=False):
    """A block with the hashes of its transactions."""

    number: str
    hash: str
    transactions: list[str] = []


class Sighting(NamedTuple):
    """Where the nonce of a transaction was used: in ``block``, −1 while it was not; and whether by
    the transaction itself.
    """

    block: int = -1
    block_hash: str = ""
    is_it: bool = False


_block_decoder = msgspec.json.Decoder(ListedBlock)


class Whereabouts:
    """See the module's docstring."""

    def __init__(
        self, executor: Executor, policies: Mapping[MethodClass, Policy], truth: Touchstone
    ) -> None:
        self._executor = executor
        self._heads = executor.standings.heads
        self._policy = policies[MethodClass.LIGHT]
        self._truth = truth

    async def ask(self, name: str, need: Need, params: bytes) -> Judgement:
        """A read of our own."""
        call = SingleCall(evm.describe(name), need, params, truth=self._truth)
        settled = await self._executor.run(call, self._policy)
        settled.close()
        return settled.judgement or Judgement(Verdict.CANCELLED)

    async def block(self, number: int) -> ListedBlock | None:
        """A block of our chain, ``None`` where nobody could tell."""
        name = "eth_getBlockByNumber"
        near = Need(MethodClass.LIGHT, name, block=number, wants_head=True, last_resort=False)
        need = of_old(near, number, number, self._heads.served)
        judgement = await self.ask(name, need, b'["0x%x",false]' % number)
        try:
            return _block_decoder.decode(result_of(judgement))
        except msgspec.MsgspecError:
            return None

    async def nonce(self, sender: str, height: int) -> int | None:
        """The sender's next nonce after that block, ``None`` where nobody could tell."""
        name = "eth_getTransactionCount"
        near = Need(MethodClass.LIGHT, name, block=height, last_resort=False)
        need = of_old(near, height, height, self._heads.served)
        params = b'["%b","0x%x"]' % (sender.encode(), height)
        return evm.parse_quantity(result_of(await self.ask(name, need, params)))

    async def find(self, entry: PoolEntry) -> Sighting | None:
        """``None`` where it cannot be told now."""
        served = self._heads.served
        if not entry.lane or served < 0:
            return None
        now = await self.nonce(entry.lane, served)
        if now is None:
            return None
        if now <= entry.order:
            return Sighting()
        low, high = served, served  # its nonce is used at ``high``, and not at ``low`` in the end
        step = 1
        while low == high and low > 0:
            low = max(0, high - step)
            before = await self.nonce(entry.lane, low)
            if before is None:
                return await self._read_down(entry, high)
            if before > entry.order:
                high = low
            step *= 2
        while high - low > 1:
            middle = (low + high) // 2
            between = await self.nonce(entry.lane, middle)
            if between is None:
                return await self._read_down(entry, high)
            low, high = (low, middle) if between > entry.order else (middle, high)
        block = await self.block(high)
        return None if block is None else _seen_in(block, high, entry)

    async def _read_down(self, entry: PoolEntry, high: int) -> Sighting | None:
        """Block by block: who keeps blocks does not keep their state for as long."""
        for number in range(high, max(-1, high - MOST_READ), -1):
            block = await self.block(number)
            if block is None:
                break
            if (seen := _seen_in(block, number, entry)).is_it:
                return seen
        return None


def _seen_in(block: ListedBlock, number: int, entry: PoolEntry) -> Sighting:
    return Sighting(number, block.hash, entry.hash in block.transactions)


def result_of(judgement: Judgement) -> bytes:
    """Empty where there is none."""
    is_good = judgement.verdict is Verdict.OK and judgement.result is not None
    return bytes(judgement.result or b"") if is_good else b""
