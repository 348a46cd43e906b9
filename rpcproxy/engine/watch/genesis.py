"""Whether an upstream's first block is our chain's: two chains may have one id, never one genesis.

Asked once per admission. Only another first block speaks against an upstream: many do not keep the
first blocks, and none is blamed for it. A hash that nobody configured is ours, from a list, and a
development chain may have a known chain's id: it counts once an upstream has that very block.

State: whose first block was asked for, since they were last quarantined; who has another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from rpcproxy.chains.kind import Questions
from rpcproxy.config.model import Chain
from rpcproxy.edges.metrics.metrics import ChainCounters
from rpcproxy.engine.attempts.executor import ChainMember
from rpcproxy.engine.watch.probes import Probes
from rpcproxy.messages import Blame

_SHOWN: Final = 12  # characters of a hash


class Genesis:
    """One per chain. ``on_proved`` hears the names of those that have another first block than an
    upstream that has ours.
    """

    def __init__(
        self,
        chain: Chain,
        probes: Probes,
        counters: ChainCounters,
        questions: Questions,
        on_proved: Callable[[Iterable[str]], None],
    ) -> None:
        self._hash = chain.genesis_hash
        self._is_believed = not chain.genesis_guessed
        self._on_proved = on_proved
        self._others: set[str] = set()
        self._probes = probes
        self._counters = counters
        self._begin = questions.genesis
        self._number = questions.first_number
        self._asked: set[str] = set()

    async def objection(self, member: ChainMember) -> str:
        """What speaks against an upstream, in words; empty where nothing does."""
        name = member.standing.name
        if self._hash is None or self._begin is None or name in self._asked:
            return ""
        found = await self._probes.inquire(member, self._begin())
        self._counters.on_probe(name, found.judgement.verdict)
        block = found.value
        told = block.hash if block is not None and block.number == self._number else None
        if told is not None and told != self._hash:
            self._others.add(name)
            if self._is_believed:
                expected = f"expected {self._hash[:_SHOWN]}…"
                return f"its block {self._number} is {told[:_SHOWN]}…, {expected}"
        elif told is not None and not self._is_believed:
            self._is_believed = True
            others, self._others = self._others, set()
            self._asked -= others
            self._on_proved(others)
        # A limit or a fault says nothing: then it is asked again when its chain id is.
        if found.judgement.verdict.blame in (Blame.NOBODY, Blame.CLIENT):
            self._asked.add(name)
        return ""

    def forget(self, name: str) -> None:
        """It was quarantined: to be admitted again it is asked again."""
        self._asked.discard(name)
