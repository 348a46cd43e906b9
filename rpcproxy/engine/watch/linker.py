"""Fetches the headers that would link what upstreams told to our chain.

``rules.heads.heads`` says what is wanted, one header of each branch at a time; what comes back goes
up as an ``Observation``, and then the next one may be wanted. The upstream that told the branch is
asked first, and then one that is well: a header is what its hash says, whoever tells it.

State: the task at work, and until when headers that could not be had are not asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from rpcproxy.chains.kind import Questions
from rpcproxy.clock import Clock
from rpcproxy.engine import tasks
from rpcproxy.engine.attempts.executor import ChainMember, Executor
from rpcproxy.engine.watch.probes import ProbedInquiry, Probes
from rpcproxy.messages import Head, MethodClass, Verdict
from rpcproxy.rules.heads.lineage import DEEPEST
from rpcproxy.rules.heads.wanted import WantedHeader
from rpcproxy.words import Observation

# What nobody had is asked for again after the first, doubling up to the second.
AGAIN_SECONDS: Final = 1.0
LONGEST_AGAIN_SECONDS: Final = 300.0
MOST_AT_ONCE: Final = 4
MOST_MISSED: Final = 256
_NEVER: Final = (0.0, 0)


class Linker:
    """See the module's docstring. One per chain."""

    def __init__(
        self,
        members: Mapping[str, ChainMember],
        executor: Executor,
        probes: Probes,
        questions: Questions,
        *,
        clock: Clock,
    ) -> None:
        self._members = members
        self._executor = executor
        self._probes = probes
        self._header = questions.header
        self._now = clock.monotonic
        self._counters = executor.counters
        self._task: asyncio.Task[None] | None = None
        self._missed: dict[str, tuple[float, int]] = {}  # until when, and how often
        self.on_block: Callable[[bytes], object] = lambda _block: None  # told of each text

    def look(self) -> None:
        """Heads may have changed: fetch what is wanted, unless that is under way."""
        if self._wanted() and (self._task is None or self._task.done()):
            self._task = tasks.start(self._fetch_all(), "link headers")

    async def stop(self) -> None:
        """Give up what is under way."""
        await tasks.stop(self._task)

    def _wanted(self) -> list[WantedHeader]:
        now = self._now()
        wanted = self._executor.standings.heads.wanted
        if len(self._missed) > MOST_MISSED:
            hashes = {want.hash for want in wanted}
            self._missed = {hash: miss for hash, miss in self._missed.items() if hash in hashes}
        due = [want for want in wanted if now >= self._missed.get(want.hash, _NEVER)[0]]
        return due[:MOST_AT_ONCE]

    async def _fetch_all(self) -> None:
        while wanted := self._wanted():
            await asyncio.gather(*(self._fetch(want) for want in wanted))

    async def _fetch(self, want: WantedHeader) -> None:
        # Until it is there it counts as missed, so that no answer leads to the same question.
        count = self._missed.get(want.hash, _NEVER)[1]
        pause = min(LONGEST_AGAIN_SECONDS, AGAIN_SECONDS * 2.0 ** min(count, 10))
        self._missed[want.hash] = self._now() + pause, count + 1
        for name in self._askable(want.upstream):
            found = await self._ask(self._members[name], want)
            if found is not None:
                observation = Observation(
                    name,
                    MethodClass.LIGHT,
                    Verdict.OK,
                    method=found.question.method.name,
                    header=found.value,
                )
                self._executor.observe(observation, self._now())
                return

    def _askable(self, first: str) -> list[str]:
        usable = self._executor.standings.usable(MethodClass.LIGHT)
        others = [standing.name for standing in usable if standing.name != first]
        return [name for name in (first, *others[:1]) if name in self._members]

    async def _ask(self, member: ChainMember, want: WantedHeader) -> ProbedInquiry[Head] | None:
        """``None`` where it has no such header."""
        found = await self._probes.inquire(member, self._header(want.hash))
        self._counters.on_probe(member.standing.name, found.judgement.verdict)
        # Lower where the chain skips heights.
        header = found.value
        if header is None or not want.number - DEEPEST <= header.number <= want.number:
            return None
        self.on_block(found.text)
        return found
