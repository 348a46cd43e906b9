"""Where a transaction is, told by the order that comes next in its lane: nobody hears its hash.

A private transaction must not be asked for by its hash before it is in a block that we saw, not
even whether it is in one. What its lane counts says in which block it can be (the first after which
the count is past its own order), and that block says whether it is. Where the chain's kind has no
such counters, or the lane is not known, it cannot be told. No state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from rpcproxy.chains.parts.inquiries import Question
from rpcproxy.chains.parts.transactions import ListedBlock, TransactionLookUps
from rpcproxy.engine.attempts.calls import SingleCall, Touchstone
from rpcproxy.engine.attempts.executor import Executor
from rpcproxy.messages import Judgement, MethodClass, Verdict
from rpcproxy.rules.requests.steps import Policy
from rpcproxy.rules.sends.journaled import PoolEntry
from rpcproxy.rules.standing.need import Need, of_old

T = TypeVar("T")

# Where old state is nowhere to be had, so many blocks are read one by one.
MOST_READ: Final = 256


class Remembering(Touchstone, Protocol):
    """What answers are held against, told what became of a transaction;
    ``engine.truth.truth.Truth``.
    """

    def on_sent(self, hash: str) -> None: ...

    def on_mined(self, entry: PoolEntry) -> None: ...

    def forget(self, hash: str) -> None: ...


class Sighting(NamedTuple):
    """Where the place of a transaction was used: in ``block``, −1 while it was not; and whether by
    the transaction itself.
    """

    block: int = -1
    block_hash: str = ""
    is_it: bool = False


class Whereabouts:
    """See the module's docstring."""

    def __init__(
        self,
        executor: Executor,
        policies: Mapping[MethodClass, Policy],
        truth: Touchstone,
        look_ups: TransactionLookUps,
    ) -> None:
        self._executor = executor
        self._heads = executor.standings.heads
        self._policy = policies[MethodClass.LIGHT]
        self._truth = truth
        self._block = look_ups.block
        self._counter = look_ups.counter

    def can_tell(self, entry: PoolEntry) -> bool:
        """Whether it can be told of this one at all."""
        return bool(entry.lane) and self._counter is not None

    async def ask(self, question: Question[Any], need: Need) -> Judgement:
        """A read of our own."""
        call = SingleCall(question.method, need, question.params, truth=self._truth)
        settled = await self._executor.run(call, self._policy)
        settled.close()
        return settled.judgement or Judgement(Verdict.CANCELLED)

    async def block(self, number: int) -> ListedBlock | None:
        """A block of our chain, ``None`` where nobody could tell."""
        question = self._block(number)
        near = Need(
            question.method_class,
            question.method.name,
            block=number,
            wants_head=True,
            last_resort=False,
        )
        need = of_old(near, number, number, self._heads.served)
        return value_of(question, await self.ask(question, need))

    async def counter(self, lane: str, height: int) -> int | None:
        """The order that comes next in the lane after that block, ``None`` where nobody could
        tell.
        """
        if self._counter is None:
            return None
        question = self._counter(lane, height)
        near = Need(question.method_class, question.method.name, block=height, last_resort=False)
        need = of_old(near, height, height, self._heads.served)
        return value_of(question, await self.ask(question, need))

    async def find(self, entry: PoolEntry) -> Sighting | None:
        """``None`` where it cannot be told now."""
        served = self._heads.served
        if not entry.lane or served < 0:
            return None
        now = await self.counter(entry.lane, served)
        if now is None:
            return None
        if now <= entry.order:
            return Sighting()
        low, high = served, served  # its place is used at ``high``, and not at ``low`` in the end
        step = 1
        while low == high and low > 0:
            low = max(0, high - step)
            before = await self.counter(entry.lane, low)
            if before is None:
                return await self._read_down(entry, high)
            if before > entry.order:
                high = low
            step *= 2
        while high - low > 1:
            middle = (low + high) // 2
            between = await self.counter(entry.lane, middle)
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


def value_of(question: Question[T], judgement: Judgement) -> T | None:
    """What an answer says, ``None`` where there is none, or it says nothing."""
    if judgement.verdict is not Verdict.OK or judgement.result is None:
        return None
    return question.read(judgement.result)
