"""Audits in time: asks a second company what an upstream answered, and a third where they differ.

Off unless the owner gave it a budget, since what clients ask is then shown to more of the
configured upstreams than had to see it. Logs and status name the method, the block and the
fingerprints of the answers; parameters and results stay out of both.

State: ``Audits``, one per chain: audits under way, counters and the last differences.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from rpcproxy.chains.method import Method
from rpcproxy.chains.parts.comparison import Comparison
from rpcproxy.clock import Clock
from rpcproxy.edges.logs import event, utc
from rpcproxy.engine import tasks
from rpcproxy.engine.attempts.calls import SingleCall
from rpcproxy.engine.attempts.executor import Executor
from rpcproxy.messages import MethodClass, Verdict
from rpcproxy.rules.requests.audit import (
    AuditFinding,
    Auditor,
    AuditResult,
    Comparer,
    Given,
)
from rpcproxy.rules.requests.steps import Policy
from rpcproxy.rules.standing.standings import Need, Standing
from rpcproxy.words import Observation

_log = logging.getLogger("rpcproxy.audits")

AT_ONCE: Final = 2
# Reading two large answers would hold up everyone's requests for milliseconds.
LARGEST_RESULT_BYTES: Final = 256 * 1024
# A difference may be a reorg that we have not heard of: that is known within about a block.
SHORTEST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 15.0
# Upstreams asked for one opinion, where the first of them has none.
TRIES: Final = 2
# An upstream at its limit is left to the requests of clients.
LEAST_RATE_LEVEL: Final = 0.5
DIFFERENCES_KEPT: Final = 20

Difference = dict[str, Any]


class _Question(msgspec.Struct, gc=False):
    """A read under audit. ``turns``: how often the chain had turned when it was answered."""

    method: Method
    params: bytes
    block: int
    turns: int


class Audits:
    """See the module's docstring. ``asked`` counts calls; ``agreed``, ``differed``, ``unanswered``
    (nobody else could say) and ``voided`` (by a reorg) count audits; ``odd`` is by upstream.
    """

    def __init__(
        self,
        executor: Executor,
        comparison: Comparison | None,
        *,
        chain_name: str,
        policies: Mapping[MethodClass, Policy],
        calls_per_hour: float,
        clock: Clock,
    ) -> None:
        """Off where ``comparison`` is ``None`` or ``calls_per_hour`` 0."""
        self._now = clock.monotonic
        self._unix_now = clock.unix
        self._executor = executor
        self._standings = executor.standings
        self._chain_name = chain_name
        self._policies = policies
        self._auditor: Auditor | None = None
        if comparison is not None and calls_per_hour > 0:
            self._auditor = Auditor(comparison.forms, calls_per_hour, clock.monotonic())
            self._comparer = Comparer(comparison)
        self._running: set[asyncio.Task[None]] = set()
        self._differences: deque[Difference] = deque(maxlen=DIFFERENCES_KEPT)
        self.asked = self.agreed = self.differed = self.unanswered = self.voided = 0
        self.odd: dict[str, int] = {}

    @property
    def is_on(self) -> bool:
        """Whether ``consider`` is worth calling."""
        return self._auditor is not None

    def consider(
        self,
        method: Method,
        params: bytes | msgspec.Raw,
        block: int,
        upstream: str,
        result: bytes | msgspec.Raw,
    ) -> None:
        """A read was answered. ``params`` are pinned: nothing in them moves with the head, and
        whoever has ``block`` can answer. Returns at once; nearly always there is nothing to do.
        """
        auditor = self._auditor
        if (
            auditor is None
            or len(self._running) >= AT_ONCE
            or len(result) > LARGEST_RESULT_BYTES
            or not auditor.wants(method.name, self._now(), self._executor.rng)
        ):
            return
        question = _Question(method, bytes(params), block, self._standings.heads.turns)
        first = Given(upstream, self._standings[upstream].provider, bytes(result))
        task = tasks.start(self._audit(auditor, question, first), f"audit {method.name}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _audit(self, auditor: Auditor, question: _Question, first: Given) -> None:
        name = question.method.name
        if not self._comparer.is_evidence(name, first.result):
            return
        answers = [first]
        tried = {first.upstream}
        if not await self._ask_another(auditor, question, answers, tried):
            self.unanswered += 1
            return
        result = self._comparer.judge(name, answers)
        if result.finding is AuditFinding.DIFFERED:
            block_seconds = self._standings.heads.pace.block_time_seconds
            pause_seconds = min(LONGEST_PAUSE_SECONDS, max(SHORTEST_PAUSE_SECONDS, block_seconds))
            await asyncio.sleep(pause_seconds)
            if not self._has_turned(question) and await self._ask_another(
                auditor, question, answers, tried
            ):
                result = self._comparer.judge(name, answers)
        if self._has_turned(question):
            self.voided += 1
        elif result.finding is AuditFinding.AGREED:
            self.agreed += 1
        else:
            self._on_difference(auditor, question, answers, result)

    def _has_turned(self, question: _Question) -> bool:
        """Whether a reorg came in between: then both may be right, each at its time."""
        return self._standings.heads.turns != question.turns

    # ---- asking

    async def _ask_another(
        self, auditor: Auditor, question: _Question, answers: list[Given], tried: set[str]
    ) -> bool:
        """Ask an upstream of a company that has not answered yet; whether it said anything.
        Adds to ``answers`` and ``tried``.
        """
        method = question.method
        need = Need(
            method.method_class,
            method.name,
            block=question.block,
            request_bytes=len(question.params),
        )
        is_large = method.method_class is MethodClass.HEAVY
        call = SingleCall(method, need, question.params, is_large)
        for _ in range(TRIES):
            standing = self._choose(auditor, need, answers, tried)
            if standing is None:
                return False
            tried.add(standing.name)
            auditor.pay(self._now())
            self.asked += 1
            settled = await self._executor.ask(call, self._policies[need.method_class], standing)
            settled.close()
            judgement = settled.judgement
            # Anything but a plain answer is a trouble of its own, and the executor has told it.
            if judgement is None or judgement.verdict is not Verdict.OK or not judgement.result:
                continue
            result = bytes(judgement.result)
            if self._comparer.is_evidence(method.name, result):
                answers.append(Given(standing.name, standing.provider, result))
                return True
        return False

    def _choose(
        self, auditor: Auditor, need: Need, answers: Sequence[Given], tried: set[str]
    ) -> Standing | None:
        """Another company's upstream that has the block and room for one more call. Those that
        are paid for emergencies come last, and those that were odd lately: their word settles
        little. Of equals any, so that all are compared with all.
        """
        now = self._now()
        companies = {given.company for given in answers}
        candidates = [
            standing
            for standing in self._standings.usable(need.method_class)
            if standing.name not in tried
            and standing.provider not in companies
            and standing.low_water >= need.block
            and not standing.is_stale
            and need.method not in standing.exclusions.methods
            and (not standing.rates.is_limited or standing.rates.level(now) >= LEAST_RATE_LEVEL)
        ]
        return min(
            candidates,
            key=lambda standing: (
                standing.is_cordoned or standing.tier != "primary",
                auditor.odd_lately(standing.name, now) >= 0.5,
                self._executor.rng.random(),
            ),
            default=None,
        )

    # ---- telling

    def _on_difference(
        self, auditor: Auditor, question: _Question, answers: Sequence[Given], result: AuditResult
    ) -> None:
        """Keep it, log it, and let it count against who stands alone."""
        name = question.method.name
        self.differed += 1
        fingerprints = {
            given.upstream: self._comparer.fingerprint(name, given.result) for given in answers
        }
        words = ", ".join(f"{who} {what}" for who, what in fingerprints.items())
        self._differences.appendleft(
            {
                "time": utc(self._unix_now()),
                "method": name,
                "block": question.block,
                "where": result.where,
                "answers": fingerprints,
                "odd": result.odd or None,
            }
        )
        event(
            _log,
            logging.WARNING,
            "audit_differed",
            chain=self._chain_name,
            method=name,
            block=question.block,
            where=result.where,
            answers=words,
            odd=result.odd or None,
        )
        if result.odd:
            self._count_against(auditor, question, answers, result)

    def _count_against(
        self, auditor: Auditor, question: _Question, answers: Sequence[Given], result: AuditResult
    ) -> None:
        now = self._now()
        auditor.on_odd(result.odd, now)
        self.odd[result.odd] = self.odd.get(result.odd, 0) + 1
        others = " and ".join(given.upstream for given in answers if given.upstream != result.odd)
        detail = (
            f"audit: its answer to {question.method.name} at block {question.block} is not "
            f"what {others} say ({result.where})"
        )
        self._executor.observe(
            Observation(
                result.odd,
                question.method.method_class,
                Verdict.BAD_RESULT,
                method=question.method.name,
                detail=detail,
            ),
            now,
        )

    def snapshot(self) -> list[Difference]:
        """The last differences, latest first, as plain values for the status page: ``time``,
        ``method``, ``block``, ``where``, ``answers`` (fingerprints by upstream) and ``odd``, the
        upstream that stood alone or ``None``.
        """
        return list(self._differences)

    # ---- reload and end

    def adopt(self, old: Audits) -> None:
        """A reload: go on from what was spent and found."""
        for name in ("asked", "agreed", "differed", "unanswered", "voided"):
            setattr(self, name, getattr(old, name))
        self.odd = dict(old.odd)
        self._differences.extend(old._differences)
        if self._auditor is not None and old._auditor is not None:
            self._auditor.adopt(old._auditor, self._now())

    def close(self) -> None:
        """Give up the audits under way, and begin no others; idempotent."""
        self._auditor = None
        for task in tuple(self._running):
            task.cancel()
