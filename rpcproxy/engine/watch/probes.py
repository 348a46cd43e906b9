"""Probes: questions of our own to one upstream, judged like any answer.

One that is not answered in time is a timeout, and its answer is still listened for: an upstream
that is slow and sound is given more time with the next.

State: the last id that was used, and by upstream what its last answer to a probe of each class took
and the one late probe that is still out.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

import msgspec

from rpcproxy.chains import evm
from rpcproxy.engine.attempts.executor import (
    LATE_TIMER_SECONDS,
    REREAD_SECONDS,
    ChainMember,
    Executor,
    WireCall,
)
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

ProbeQuestion = tuple[str, bytes, MethodClass]
Answered = asyncio.Future[tuple[Outcome, int, float]]


class Probed(msgspec.Struct):
    """What came back of a probe, and after how long."""

    judgement: Judgement
    seconds: float


class Probes:
    """Puts probes on the wire; one per chain."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._last_id = 0
        self._took: dict[tuple[str, MethodClass], float] = {}
        self._late: dict[str, WireCall] = {}

    def is_dark(self) -> bool:
        """Whether no upstream is usable."""
        return not self._executor.standings.has_usable(MethodClass.LIGHT, time.monotonic())

    async def ask(
        self, member: ChainMember, question: ProbeQuestion, limit_seconds: float = PROBE_SECONDS
    ) -> Probed:
        """One probe on the wire, judged; a probe without an answer in time is a timeout.

        While nobody is usable copies follow it: what an upstream took before it came back may
        never be answered, and requests wait for it to be found well. The first answer counts.
        """
        longer_seconds = self._limit(member, question[2], limit_seconds) - limit_seconds
        answered: Answered = asyncio.get_running_loop().create_future()
        calls: list[WireCall] = []
        looks = max(1, round(limit_seconds / DARK_PAUSE_SECONDS))
        outcome: Outcome = Failure(
            FailureKind.TIMEOUT, f"no answer to a probe in {limit_seconds:g} s"
        )
        id, started = self._last_id + 1, time.monotonic()
        is_late = False
        try:
            for look in range(looks):
                if look == 0 or self._is_awaited(member, question):
                    calls.append(self._put_on_wire(member, question, answered))
                await _wait_for(answered, limit_seconds / looks)
                if answered.done():
                    break
            if longer_seconds > 0 and not answered.done():
                await _wait_for(answered, longer_seconds)
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
        method = evm.describe(question[0])
        judgement = member.classifier.judge(outcome, id, method, time.time())
        return Probed(judgement, time.monotonic() - started)

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

    def _is_awaited(self, member: ChainMember, question: ProbeQuestion) -> bool:
        """Whether requests wait until it is found well: nobody is usable, and it once was."""
        is_light = question[2] is MethodClass.LIGHT
        return is_light and member.standing.is_admitted and self.is_dark()

    def _put_on_wire(
        self, member: ChainMember, question: ProbeQuestion, answered: Answered
    ) -> WireCall:
        """Send a probe; ``answered`` gets its outcome, its id, and when it went out."""
        self._last_id += 1
        id, started = self._last_id, time.monotonic()
        name, doubts = member.standing.name, self._executor.doubts

        def on_done(outcome: Outcome) -> None:
            if isinstance(outcome, Reply):
                self._took[name, question[2]] = time.monotonic() - started
                doubts.on_life(name, started)
            if not answered.done():
                answered.set_result((outcome, id, started))
            elif isinstance(outcome, Reply) and outcome.rest is not None:
                outcome.rest.close()

        doubts.on_probe_sent(name, started)
        return member.wire.send(encode_call(id, question[0], question[1]), on_done)


async def _wait_for(answered: Answered, seconds: float) -> None:
    """Until it is there, or for so long; time in which our own loop did nothing is not counted
    against the upstream.
    """
    due = time.monotonic() + seconds
    await asyncio.wait((answered,), timeout=seconds)
    if not answered.done() and time.monotonic() - due > LATE_TIMER_SECONDS:
        await asyncio.wait((answered,), timeout=REREAD_SECONDS)
