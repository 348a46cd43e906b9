"""Finds out which upstreams take a block's hash in place of its number.

State asked at a number is an upstream's word: one whose node has just left our chain, or stands
for another chain by now, answers from there, and nothing in a balance shows it. Asked at a hash it
can only answer from that block, or say that it has none such. So reads at the served head are asked
by hash of those that have proved that they look at it: they answer at the hash of the served head,
and have an error for a hash that nobody ever had.

State: when each upstream is asked next, and which of them proved it.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from rpcproxy.chains.kind import Questions
from rpcproxy.chains.parts.inquiries import Question
from rpcproxy.clock import Clock
from rpcproxy.engine.attempts.executor import ChainMember, Executor
from rpcproxy.engine.watch.probes import Probes
from rpcproxy.engine.watch.told import ToldHead
from rpcproxy.messages import Blame, Verdict
from rpcproxy.words import Proof

EVERY_SECONDS: Final = 600.0
AGAIN_SECONDS: Final = 15.0  # after a refusal, or no answer


class HashProofs:
    """See the module's docstring. One per chain."""

    def __init__(
        self,
        executor: Executor,
        probes: Probes,
        told: ToldHead,
        questions: Questions,
        *,
        clock: Clock,
    ) -> None:
        self._executor = executor
        self._heads = executor.standings.heads
        self._counters = executor.counters
        self._probes = probes
        self._told = told
        self._proof = questions.hash_proof
        self._now = clock.monotonic
        self._due: dict[str, float] = {}
        self._proved: set[str] = set()

    async def look(self, member: ChainMember) -> None:
        """Ask one upstream, where that is due."""
        standing = member.standing
        name, head = standing.name, self._heads.served_head
        now = self._now()
        if name in self._proved and not standing.takes_hashes:  # it refused one since
            self._proved.discard(name)
            self._due[name] = now + AGAIN_SECONDS
        is_due = now >= self._due.get(name, now)
        if not is_due or head is None or not head.hash or standing.low_water < head.number:
            return
        text = self._told.block(head.number)
        pair = self._proof(text, head.hash) if text is not None and self._proof else None
        if pair is None:
            return
        self._due[name] = now + AGAIN_SECONDS
        at_head, at_none = pair
        good, bad = await asyncio.gather(self._ask(member, at_head), self._ask(member, at_none))
        if good is Verdict.OK and bad in _REFUSED:
            self._proved.add(name)
            self._executor.observe(Proof(name, takes_hashes=True), self._now())
        else:
            self._proved.discard(name)
            self._executor.observe(Proof(name, takes_hashes=False), self._now())
        if is_said(good) and is_said(bad):
            self._due[name] = now + EVERY_SECONDS

    async def _ask(self, member: ChainMember, question: Question[Any]) -> Verdict:
        probed = await self._probes.ask(member, question)
        self._counters.on_probe(member.standing.name, probed.judgement.verdict)
        return probed.judgement.verdict


def is_said(verdict: Verdict) -> bool:
    """Whether an answer came that another try would hardly change."""
    return verdict.blame in (Blame.NOBODY, Blame.CLIENT) or verdict in _REFUSED


# How nodes say that they have no such block.
_REFUSED: Final = frozenset(
    {Verdict.MISSING_DATA, Verdict.NULL, Verdict.UNKNOWN, Verdict.SERVER_ERROR}
)
