"""Answers from a block that only the upstream knows: at ``pending``, at ``latest`` where that is
left to it, or just above the served head. No state of its own.
"""

from __future__ import annotations

import msgspec

from rpcproxy.chains.parts.asked_at import PENDING
from rpcproxy.chains.parts.claims import Claims, ToldBlock
from rpcproxy.clock import Clock
from rpcproxy.engine.attempts.calls import SingleCall
from rpcproxy.engine.attempts.executor import Executor
from rpcproxy.messages import Head, Judgement, MethodClass, Verdict
from rpcproxy.rules.answers.replies import NULL
from rpcproxy.rules.heads.lineage import DEEPEST
from rpcproxy.rules.heads.pending import objection_to
from rpcproxy.rules.standing.standings import Standing
from rpcproxy.words import BlockNamed, Observation


class Tagged:
    """See the module's docstring. One per chain."""

    def __init__(self, executor: Executor, claims: Claims, clock: Clock) -> None:
        self._executor = executor
        self._now = clock.monotonic
        self._to_come = claims.to_come
        self._head_in = claims.head_in
        self._standings = executor.standings
        self._heads = executor.standings.heads

    # ---- the pending block

    def objection(self, call: SingleCall, result: msgspec.Raw | None) -> str:
        """Why this is not of the pending block, ``""`` where it is. Nothing of it is told for good:
        its number and its hash may never be those of a block.
        """
        if result is None or result == NULL:
            return ""
        told = self._to_come(call.method, result)
        if told is None:
            return "what it gives is no pending block"
        return objection_to(told.number, told.parent_hash, self._heads, self._ceiling())

    def is_to_come(self, call: SingleCall, number: int) -> bool:
        """Whether what was found is in the block to come, which was asked for."""
        return call.tag == PENDING and number <= self._ceiling() + 1

    # ---- heights without a block

    def is_no_block(self, call: SingleCall, judgement: Judgement) -> bool:
        """Whether it is null for a height at which our chain has no block: nobody knows more."""
        return judgement.result == NULL and self._heads.lineage.is_hole(call.need.block)

    def is_below_hole(self, call: SingleCall, told: ToldBlock | None) -> bool:
        """Whether it is the block below such a height: Forest gives that, Lotus an error."""
        lineage, asked = self._heads.lineage, call.need.block
        if told is None or not lineage.skips or not 0 <= asked - told.number <= DEEPEST:
            return False
        return all(
            lineage.is_hole(number)
            for number in range(max(told.number + 1, lineage.bottom), asked + 1)
        )

    # ---- above the served head

    def can_show(self, number: int) -> bool:
        """Whether an upstream may be at a block above what was told, and be believed."""
        return self._heads.ahead.is_allowed and number <= self._ceiling()

    def is_out_of_reach(self, number: int) -> bool:
        """Whether no upstream can have come to that block by now."""
        return number > self._ceiling()

    def may_show(
        self, told: ToldBlock, standing: Standing, block: msgspec.Raw | None = None
    ) -> bool:
        """Whether an answer from a block above the served head can be given. ``block``: its text,
        where the answer is the upstream's latest block.
        """
        heads, now = self._heads, self._now()
        head = self._head_in(block) if block is not None else None
        if heads.ahead.is_allowed and head and head.number > standing.track.number:
            self._learn_head(standing, head, now)
        if told.number > heads.served:
            self._executor.observe(BlockNamed(standing.name, told.number, told.hash, head), now)
        return told.number <= heads.shown

    def _learn_head(self, standing: Standing, head: Head, now: float) -> None:
        """What it tells clients of its head is as good as what it would tell us."""
        told = Observation(standing.name, MethodClass.LIGHT, Verdict.OK, head=head)
        self._executor.observe(told, now)

    def _ceiling(self) -> int:
        return self._standings.ceiling(self._now())


def without_pending(judgement: Judgement) -> Judgement:
    """Not every node has a pending block, or gives this of it: that says nothing of the method, nor
    of its head.
    """
    verdict = judgement.verdict
    if verdict is Verdict.UNSUPPORTED:
        judgement.verdict = Verdict.MISSING_DATA
    elif verdict is Verdict.MISSING_DATA and judgement.result is not None:
        judgement.verdict = Verdict.NULL
    return judgement
