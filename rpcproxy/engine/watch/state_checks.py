"""Asks upstreams for the same piece of state at the same block, and compares.

A head may move while the state behind it does not, and no header tells. What is asked changes with
each block: of those that have a block, who gives another answer there than two companies and more
than half do is set apart until it agrees again.

An upstream is asked at most twice a second, and once for so many requests of clients, so that what
it costs stays a small part of what is served. State: the answers at the block that is compared, and
how many requests had been served when each upstream was last asked.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Hashable, Mapping
from typing import Final

from rpcproxy.chains.kind import Questions
from rpcproxy.chains.parts.inquiries import Question
from rpcproxy.clock import Clock
from rpcproxy.engine import tasks
from rpcproxy.engine.attempts.executor import ChainMember, Executor
from rpcproxy.engine.watch.probes import Probes
from rpcproxy.engine.watch.told import ToldHead
from rpcproxy.messages import Verdict
from rpcproxy.rules.heads.agreement import odd_ones
from rpcproxy.words import Doubt, DoubtKind

EVERY_SECONDS: Final = 0.5
EVERY_REQUESTS: Final = 50


class StateChecks:
    """See the module's docstring. One per chain."""

    def __init__(
        self,
        members: Mapping[str, ChainMember],
        executor: Executor,
        probes: Probes,
        told: ToldHead,
        questions: Questions,
        *,
        clock: Clock,
    ) -> None:
        self._members = members
        self._task: asyncio.Task[None] | None = None
        self._executor = executor
        self._standings = executor.standings
        self._probes = probes
        self._told = told
        self._state = questions.state
        self._now = clock.monotonic
        self._block = -1
        self._question: Question[Hashable] | None = None
        self._answers: dict[str, Hashable] = {}
        self._asking: set[str] = set()
        self._served: dict[str, int] = {}

    def on_served(self) -> None:
        """The served head moved: ask those who have it, all at once."""
        if self._task is None or self._task.done():
            self._task = tasks.start(self._look_at_all(), "compare state")

    async def stop(self) -> None:
        """Give up what is under way."""
        await tasks.stop(self._task)

    async def _look_at_all(self) -> None:
        await asyncio.gather(
            *(self.look(member) for member in self._members.values() if member.standing.has_vote)
        )

    async def look(self, member: ChainMember) -> None:
        """Ask one upstream, where that is due."""
        standing = member.standing
        name = standing.name
        self._renew()
        block, question = self._block, self._question
        is_asked = name in self._answers or name in self._asking
        if question is None or standing.low_water < block or is_asked:
            return
        has_doubts = any(other.state_fault for other in self._standings)
        served = self._executor.counters.answered
        if served - self._served.get(name, -EVERY_REQUESTS) < EVERY_REQUESTS and not has_doubts:
            return
        self._served[name] = served
        self._asking.add(name)
        try:
            probed = await self._probes.ask(member, question)
        finally:
            self._asking.discard(name)
        judgement = probed.judgement
        self._executor.counters.on_probe(name, judgement.verdict)
        if judgement.verdict is not Verdict.OK or judgement.result is None:
            return
        value = question.read(judgement.result)
        if value is not None and block == self._block:
            self._answers[name] = value
            self._compare()

    def _renew(self) -> None:
        """At a new block the comparison begins anew, at most twice a second."""
        heads = self._standings.heads
        step = max(1, math.ceil(EVERY_SECONDS / heads.pace.block_time_seconds))
        block = heads.served - heads.served % step
        if block == self._block or heads.served < 0:
            return
        text = self._told.block(block) or self._told.block(heads.served)
        self._block, self._answers = block, {}
        self._question = None
        if text is not None and self._state is not None:
            self._question = self._state(text, block)

    def _compare(self) -> None:
        answers = [
            (standing.name, standing.provider, self._answers[standing.name])
            for standing in self._standings
            if standing.name in self._answers
        ]
        voters = sum(standing.has_vote for standing in self._standings)
        found = odd_ones(answers, voters)
        if found is None:
            return
        now = self._now()
        for name, _, _ in answers:
            is_odd = name in found
            reason = f"its state at block {self._block} is not the others'" if is_odd else ""
            self._executor.observe(Doubt(name, DoubtKind.STATE, reason), now)
