"""Probes: questions of our own to one upstream, judged like any answer.

One that is not answered in time is a timeout, and its answer is still listened for: an upstream
that is slow and sound is given more time with the next.

State: the last id that was used, and by upstream what its last answer to a probe of each class took
and the one late probe that is still out.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, Generic

import msgspec

from rpcproxy.chains.parts.inquiries import Inquiry, Question, T
from rpcproxy.clock import Clock
from rpcproxy.engine.attempts.executor import (
    LATE_TIMER_SECONDS,
    REREAD_SECONDS,
    ChainMember,
    Executor,
    WireCall,
)
from rpcproxy.engine.watch.inquiring import play
from rpcproxy.messages import (
    Failure,
    FailureKind,
    Judgement,
    MethodClass,
    Outcome,
    Reply,
    encode_call,
)
from rpcproxy.rules.heads.cadence import DARK_PAUSE_SECONDS
from rpcproxy.rules.requests.lateness import PACE_FACTOR

PROBE_SECONDS: Final = 1.5
HEAVY_PROBE_SECONDS: Final = 5.0
LONGEST_PROBE_SECONDS: Final = 10.0

Answered = asyncio.Future[tuple[Outcome, int, float]]


class Probed(msgspec.Struct):
    """What came back of a probe, and after how long."""

    judgement: Judgement
    seconds: float


class ProbedInquiry(Probed, Generic[T]):
    """What an inquiry came to at one upstream; ``value`` as in ``Inquired``. ``judgement`` and
    ``seconds`` are of ``question``, the last one that was asked.
    """

    value: T | None
    question: Question[Any]

    @property
    def text(self) -> bytes:
        """The JSON text of the last result, empty where there is none."""
        return bytes(self.judgement.result or b"")


class Probes:
    """Puts probes on the wire; one per chain."""

    def __init__(
        self,
        executor: Executor,
        *,
        clock: Clock,
    ) -> None:
        self._executor = executor
        self._now = clock.monotonic
        self._unix_now = clock.unix
        self._last_id = 0
        self._took: dict[tuple[str, MethodClass], float] = {}
        self._late: dict[str, WireCall] = {}

    def is_dark(self) -> bool:
        """Whether no upstream is usable."""
        return not self._executor.standings.has_usable(MethodClass.LIGHT, self._now())

    async def inquire(self, member: ChainMember, inquiry: Inquiry[T]) -> ProbedInquiry[T]:
        """Ask one upstream what an inquiry takes."""
        probed: Probed

        async def ask(question: Question[Any]) -> Judgement:
            nonlocal probed
            probed = await self.ask(member, question)
            return probed.judgement

        found = await play(inquiry, ask)
        return ProbedInquiry(probed.judgement, probed.seconds, found.value, found.question)

    async def ask(
        self, member: ChainMember, question: Question[Any], limit_seconds: float = PROBE_SECONDS
    ) -> Probed:
        """One probe on the wire, judged; a probe without an answer in time is a timeout.

        While nobody is usable copies follow it: what an upstream took before it came back may
        never be answered, and requests wait for it to be found well. The first answer counts.
        """
        longer_seconds = self._limit(member, question.method_class, limit_seconds) - limit_seconds
        answered: Answered = asyncio.get_running_loop().create_future()
        calls: list[WireCall] = []
        looks = max(1, round(limit_seconds / DARK_PAUSE_SECONDS))
        outcome: Outcome = Failure(
            FailureKind.TIMEOUT, f"no answer to a probe in {limit_seconds:g} s"
        )
        id, started = self._last_id + 1, self._now()
        is_late = False
        try:
            for look in range(looks):
                if look == 0 or self._is_awaited(member, question):
                    calls.append(self._put_on_wire(member, question, answered))
                await self._wait_for(answered, limit_seconds / looks)
                if answered.done():
                    break
            if longer_seconds > 0 and not answered.done():
                await self._wait_for(answered, longer_seconds)
            is_late = not answered.done()
        finally:
            for call in calls[is_late:]:
                call.abandon()  # does nothing where it was answered
            if is_late:
                self._listen(member, calls[0])
            if answered.done():
                outcome, id, started = answered.result()
            if isinstance(outcome, Reply) and outcome.rest is not None:
                outcome.rest.close()
        judgement = member.classifier.judge(outcome, id, question.method, self._unix_now())
        return Probed(judgement, self._now() - started)

    def close(self) -> None:
        """Nobody listens for late answers any more."""
        for call in self._late.values():
            call.abandon()
        self._late.clear()

    def _limit(self, member: ChainMember, method_class: MethodClass, seconds: float) -> float:
        """More time for those that are known to take it."""
        took = self._took.get((member.standing.name, method_class), 0.0)
        return max(seconds, min(LONGEST_PROBE_SECONDS, PACE_FACTOR * took))

    def _listen(self, member: ChainMember, call: WireCall) -> None:
        """One late probe per upstream stays out: what it takes is learned."""
        name = member.standing.name
        older = self._late.pop(name, None)
        if older is not None:
            older.abandon()
        self._late[name] = call
        asyncio.get_running_loop().call_later(LONGEST_PROBE_SECONDS, call.abandon)

    def _is_awaited(self, member: ChainMember, question: Question[Any]) -> bool:
        """Whether requests wait until it is found well: nobody is usable, and it once was."""
        is_light = question.method_class is MethodClass.LIGHT
        return is_light and member.standing.is_admitted and self.is_dark()

    def _put_on_wire(
        self, member: ChainMember, question: Question[Any], answered: Answered
    ) -> WireCall:
        """Send a probe; ``answered`` gets its outcome, its id, and when it went out."""
        self._last_id += 1
        id, started = self._last_id, self._now()
        name, doubts = member.standing.name, self._executor.doubts

        def on_done(outcome: Outcome) -> None:
            if isinstance(outcome, Reply):
                self._took[name, question.method_class] = self._now() - started
                doubts.on_life(name, started)
            if not answered.done():
                answered.set_result((outcome, id, started))
            elif isinstance(outcome, Reply) and outcome.rest is not None:
                outcome.rest.close()

        doubts.on_probe_sent(name, started)
        return member.wire.send(encode_call(id, question.method.name, question.params), on_done)

    async def _wait_for(self, answered: Answered, seconds: float) -> None:
        """Until it is there, or for so long; time in which our own loop did nothing is not counted
        against the upstream.
        """
        due = self._now() + seconds
        await asyncio.wait((answered,), timeout=seconds)
        if not answered.done() and self._now() - due > LATE_TIMER_SECONDS:
            await asyncio.wait((answered,), timeout=REREAD_SECONDS)
