"""Questions of ours to one upstream, as the proxy itself would put them on the wire, one at a
time: the same connections, the same judgement, each counted.

State: the connections, the last id, how many calls were made, in ``Asker``.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic

import msgspec

from rpcproxy.chains.parts.errors import ErrorTable
from rpcproxy.chains.parts.inquiries import Inquiry, Question, T
from rpcproxy.clock import SYSTEM_CLOCK, Clock
from rpcproxy.config.model import Upstream
from rpcproxy.config.secrets import Redactor, secrets_of_upstream
from rpcproxy.edges.http.target import EdgeSettings, target_of
from rpcproxy.edges.http.upstream_http import HttpUpstream as Wire
from rpcproxy.engine.watch.inquiring import play
from rpcproxy.messages import (
    Blame,
    Failure,
    FailureKind,
    Judgement,
    Outcome,
    Reply,
    Verdict,
    encode_batch,
    encode_call,
)
from rpcproxy.rules.answers.batched import BatchJudgement, SentCall
from rpcproxy.rules.answers.classify import Classifier

# So many questions are asked again, once each.
MOST_REPEATS: Final = 3
_REPEAT_SECONDS: Final = 1.0
_LONGEST_REPEAT_SECONDS: Final = 2.0


@dataclass(frozen=True)
class AskSettings:
    """``question_seconds`` for each question; ``total_seconds`` for one upstream, whatever it
    does. ``ssl_context``: ``None`` takes the system's authorities. ``clock`` is what a check reads
    the time from.
    """

    question_seconds: float = 5.0
    total_seconds: float = 20.0
    ssl_context: ssl.SSLContext | None = None
    clock: Clock = SYSTEM_CLOCK


class Asked(msgspec.Struct, Generic[T]):
    """What an inquiry came to: ``value`` is ``None`` where an answer is missing or says nothing;
    ``method`` and ``judgement`` are of the last call.
    """

    value: T | None
    method: str
    judgement: Judgement


class Asker:
    """See the module's docstring. ``close`` it at the end."""

    def __init__(self, upstream: Upstream, settings: AskSettings, errors: ErrorTable) -> None:
        """``errors`` is the table of the chain's kind. Raises ``ValueError`` for a phrase of the
        upstream's that means nothing.
        """
        self.calls = 0
        self.seconds = 0.0  # that the last question took
        edge = EdgeSettings(warm=0, max_connections=2, ssl_context=settings.ssl_context)
        self._wire = Wire(target_of(upstream), edge)
        self.redact = Redactor(secrets_of_upstream(upstream))
        self._classifier = Classifier(errors, upstream.errors, self.redact)
        self._limit_seconds = settings.question_seconds
        self._now, self._unix = settings.clock.monotonic, settings.clock.unix
        rate = upstream.rate_limit_per_second
        self._gap_seconds = 1.0 / rate if rate else 0.0
        self._not_before = 0.0
        self._repeats = 0
        self._last_id = 0

    async def ask(self, question: Question[Any], *, is_vital: bool = False) -> Judgement:
        """One call, judged. One that comes too soon for the upstream's limit is repeated once,
        after the time that it names, where that is short; so is a vital one whose connection
        broke: one lost packet condemns nobody.
        """
        judgement = await self._ask_once(question)
        if self._repeats >= MOST_REPEATS:
            return judgement
        pause = None
        if judgement.verdict.blame is Blame.LIMIT:
            named = judgement.cooldown_seconds
            pause = _REPEAT_SECONDS if named is None else named
        elif is_vital and judgement.verdict is Verdict.BROKEN:
            pause = 0.0
        if pause is None or pause > _LONGEST_REPEAT_SECONDS:
            return judgement
        self._repeats += 1
        await asyncio.sleep(pause)
        return await self._ask_once(question)

    async def read(self, question: Question[T]) -> T | None:
        """What the answer to one call says; ``None`` where it is missing or says nothing."""
        judgement = await self.ask(question)
        return question.read(judgement.result or b"") if judgement.verdict is Verdict.OK else None

    async def inquire(self, inquiry: Inquiry[T], *, is_vital: bool = False) -> Asked[T]:
        """What an inquiry takes, each call as by ``ask``."""
        judgement: Judgement

        async def ask(question: Question[Any]) -> Judgement:
            nonlocal judgement
            judgement = await self.ask(question, is_vital=is_vital)
            return judgement

        found = await play(inquiry, ask)
        return Asked(found.value, found.question.method.name, judgement)

    async def ask_batch(self, questions: Sequence[Question[Any]]) -> BatchJudgement:
        """Several calls as one array, judged."""
        await self._wait_for_room(len(questions))
        first = self._last_id + 1
        self._last_id += len(questions)
        asked = [
            SentCall(first + index, question.method, question.params)
            for index, question in enumerate(questions)
        ]
        bodies = [encode_call(call.id, call.method.name, call.params) for call in asked]
        outcome = await self._exchange(encode_batch(bodies))
        return self._classifier.judge_batch(outcome, asked, self._unix())

    async def close(self) -> None:
        await self._wire.close()

    async def _ask_once(self, question: Question[Any]) -> Judgement:
        await self._wait_for_room(1)
        self._last_id += 1
        method, params = question.method, question.params
        outcome = await self._exchange(encode_call(self._last_id, method.name, params))
        return self._classifier.judge(outcome, self._last_id, method, self._unix(), params)

    async def _wait_for_room(self, calls: int) -> None:
        """As fast as the configured ``rate_limit`` allows."""
        pause = self._not_before - self._now()
        if pause > 0:
            await asyncio.sleep(pause)
        self.calls += calls
        self._not_before = self._now() + calls * self._gap_seconds

    async def _exchange(self, payload: bytes) -> Outcome:
        answered: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def on_done(outcome: Outcome) -> None:
            if not answered.done():
                answered.set_result(outcome)

        started = self._now()
        call = self._wire.send(payload, on_done)
        outcome: Outcome = Failure(FailureKind.TIMEOUT, f"no answer in {self._limit_seconds:g} s")
        try:
            await asyncio.wait((answered,), timeout=self._limit_seconds)
        finally:
            call.abandon()  # does nothing where it was answered
            self.seconds = self._now() - started
            if answered.done():
                outcome = answered.result()
            if isinstance(outcome, Reply) and outcome.rest is not None:
                outcome.rest.close()
        return outcome
