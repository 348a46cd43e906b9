"""The head as clients were told it, and the last blocks, for the time when nobody answers.

State: the told number, when a usable upstream last confirmed it, the last few
blocks as JSON texts, and the one question in flight that refreshes the number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec

from rpcproxy.chains.kind import Kind
from rpcproxy.chains.parts.inquiries import Question
from rpcproxy.clock import Clock
from rpcproxy.engine import tasks
from rpcproxy.engine.attempts.calls import SingleCall
from rpcproxy.engine.attempts.executor import Executor, Settled
from rpcproxy.engine.watch.inquiring import play
from rpcproxy.messages import Head, Judgement, MethodClass, Verdict
from rpcproxy.rules.requests.steps import Policy
from rpcproxy.rules.standing.selection import Need
from rpcproxy.rules.standing.standings import Standings
from rpcproxy.words import Observation

LONGEST_FRESH_SECONDS: Final = 1.0
BLOCKS_KEPT: Final = 8


class ToldHead:
    """See the module's docstring."""

    def __init__(
        self,
        standings: Standings,
        block_time_seconds: float,
        kind: Kind,
        *,
        clock: Clock,
    ) -> None:
        self._standings = standings
        self._head = kind.questions.head
        self._head_text = kind.own_words.head_text
        self._now = clock.monotonic
        self._fresh_seconds = min(LONGEST_FRESH_SECONDS, block_time_seconds / 2)
        self._number = -1
        self._text = b""
        self._confirmed_at = float("-inf")
        self._blocks: dict[int, tuple[str, bytes]] = {}  # with their hashes
        self._question: asyncio.Task[Settled] | None = None
        # Told of each block's text that passes.
        self.on_block: Callable[[bytes], object] = lambda _block: None

    @property
    def number(self) -> int:
        """The highest head given to a client, -1 before the first."""
        return self._number

    @property
    def need(self) -> Need:
        """What an upstream must have to be asked for the head."""
        return _call(next(self._head())).need

    def on_report(self, head: Head, now: float, block: bytes = b"") -> None:
        """A usable upstream said what its head is; ``block`` is the JSON text, if known."""
        if head.number >= self._standings.heads.served:
            self._confirmed_at = now
        if block:
            self.on_block(block)
            self._blocks[head.number] = head.hash, block
            while len(self._blocks) > BLOCKS_KEPT:
                del self._blocks[min(self._blocks)]

    def learn(self, block: bytes) -> None:
        """A block or a header passed that is no head: whoever wants to know is told."""
        self.on_block(block)

    def fresh_number(self, now: float) -> bytes | None:
        """The JSON text of the head, ``None`` where it was not confirmed lately."""
        if now - self._confirmed_at > self._fresh_seconds:
            return None
        return self.text()

    def text(self) -> bytes | None:
        """The JSON text of the head, however old; ``None`` before the first. It falls only where
        the served head does, in a reorg, or where nobody came to a block that one upstream showed.
        """
        shown = self._standings.heads.shown
        if shown != self._number and shown >= 0:
            self._number = shown
            self._text = self._head_text(shown)
        return self._text or None

    def block(self, number: int) -> bytes | None:
        """The JSON text of a block seen lately, hashes of transactions only; ``None`` where it
        is not on our chain.
        """
        hash, text = self._blocks.get(number, ("", None))
        return text if hash == self._standings.heads.hash_at(number) else None

    async def ask(self, executor: Executor, policy: Policy) -> Settled:
        """One question for the head, shared by all who ask while it is in flight."""
        question = self._question
        if question is None or question.done():
            question = self._question = tasks.start(self._ask(executor, policy), "head question")
        try:
            return await asyncio.shield(question)
        except asyncio.CancelledError:
            asker = asyncio.current_task()
            if not question.cancelled() or (asker is not None and asker.cancelling()):
                raise
            return Settled(None, exhausted=True)  # by ``close``, not by the client

    async def _ask(self, executor: Executor, policy: Policy) -> Settled:
        settled: Settled | None = None

        async def ask(question: Question[Any]) -> Judgement | None:
            nonlocal settled
            call = _call(question)
            if settled is None or settled.standing is None:
                settled = await executor.run(call, policy)
            else:  # what was answered first means nothing to another upstream
                settled = await executor.ask(call, policy, settled.standing)
            settled.close()
            return settled.judgement

        found = await play(self._head(), ask)
        assert settled is not None  # noqa: S101 - an inquiry asks at least once
        judgement, standing, head = settled.judgement, settled.standing, found.value
        if judgement is None or judgement.result is None or standing is None:
            return settled
        if head is None:
            failed = standing.name, Judgement(Verdict.BAD_RESULT)
            return Settled(None, exhausted=True, failures=(failed,))
        now = self._now()
        executor.observe(
            Observation(
                standing.name,
                MethodClass.LIGHT,
                Verdict.OK,
                method=found.question.method.name,
                head=head,
            ),
            now,
        )
        self.on_report(head, now, bytes(judgement.result))
        return Settled(Judgement(Verdict.OK, msgspec.Raw(self._head_text(head.number))))

    def close(self) -> None:
        """Give up the question in flight."""
        if self._question is not None:
            self._question.cancel()

    def adopt(self, old: ToldHead) -> None:
        """A reload must not make the head fall."""
        self._number, self._text = old._number, old._text
        self._blocks = dict(old._blocks)


def _call(question: Question[Any]) -> SingleCall:
    method = question.method
    need = Need(method.method_class, method.name, wants_head=True, last_resort=False)
    return SingleCall(method, need, question.params)
