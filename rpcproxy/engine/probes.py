"""Probes: questions of our own to one upstream, judged like any answer.

State: the last id that was used.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

import msgspec

from rpcproxy.chains import evm
from rpcproxy.engine.executor import Executor, Member, WireCall
from rpcproxy.messages import (
    Failure,
    FailureKind,
    Judgement,
    MethodClass,
    Outcome,
    Reply,
    encode_call,
)
from rpcproxy.rules.cadence import DARK_PAUSE_SECONDS

PROBE_SECONDS: Final = 1.5
HEAVY_PROBE_SECONDS: Final = 5.0

Question = tuple[str, bytes, MethodClass]
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

    def is_dark(self) -> bool:
        """Whether no upstream is usable."""
        return not self._executor.standings.has_usable(MethodClass.LIGHT, time.monotonic())

    async def ask(
        self, member: Member, question: Question, limit_seconds: float = PROBE_SECONDS
    ) -> Probed:
        """One probe on the wire, judged; a probe without an answer in time is a timeout.

        While nobody is usable copies follow it: what an upstream took before it came back may
        never be answered, and requests wait for it to be found well. The first answer counts.
        """
        answered: Answered = asyncio.get_running_loop().create_future()
        calls: list[WireCall] = []
        looks = max(1, round(limit_seconds / DARK_PAUSE_SECONDS))
        outcome: Outcome = Failure(
            FailureKind.TIMEOUT, f"no answer to a probe in {limit_seconds:g} s"
        )
        id, started = self._last_id + 1, time.monotonic()
        try:
            for look in range(looks):
                if look == 0 or self._is_awaited(member, question):
                    calls.append(self._put_on_wire(member, question, answered))
                await asyncio.wait((answered,), timeout=limit_seconds / looks)
                if answered.done():
                    break
        finally:
            for call in calls:
                call.abandon()  # does nothing where it was answered
            if answered.done():
                outcome, id, started = answered.result()
            if isinstance(outcome, Reply) and outcome.rest is not None:
                outcome.rest.close()
        method = evm.describe(question[0])
        judgement = member.classifier.judge(outcome, id, method, time.time())
        return Probed(judgement, time.monotonic() - started)

    def _is_awaited(self, member: Member, question: Question) -> bool:
        """Whether requests wait until it is found well: nobody is usable, and it once was."""
        is_light = question[2] is MethodClass.LIGHT
        return is_light and member.standing.is_admitted and self.is_dark()

    def _put_on_wire(self, member: Member, question: Question, answered: Answered) -> WireCall:
        """Send a probe; ``answered`` gets its outcome, its id, and when it went out."""
        self._last_id += 1
        id, started = self._last_id, time.monotonic()

        def on_done(outcome: Outcome) -> None:
            if not answered.done():
                answered.set_result((outcome, id, started))
            elif isinstance(outcome, Reply) and outcome.rest is not None:
                outcome.rest.close()

        return member.wire.send(encode_call(id, question[0], question[1]), on_done)
