"""Knows how every upstream does, whether or not wallets ask: chain ids, heads, recoveries.

One task per upstream. Every probe becomes an Observation. State: the chain's cadence, when each
upstream's chain id was last verified, and a wake-up per upstream.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from rpcproxy.chains import evm
from rpcproxy.config.model import Chain
from rpcproxy.edges.metrics import ChainCounters
from rpcproxy.engine import tasks
from rpcproxy.engine.executor import Executor, Member, WireCall
from rpcproxy.engine.told import ToldHead
from rpcproxy.messages import (
    Failure,
    FailureKind,
    Head,
    Judgement,
    MethodClass,
    Observation,
    Outcome,
    Reply,
    Verdict,
    encode_call,
)
from rpcproxy.rules.cadence import DARK_PAUSE_SECONDS, SICK_PAUSE_SECONDS, Cadence
from rpcproxy.rules.standing import Change, Standing

_log = logging.getLogger("rpcproxy.watcher")

IDENTITY_SECONDS: Final = 180.0  # a chain id is believed for so long
CONFIRM_PAUSE_SECONDS: Final = 0.05  # between the clean probes that end an ejection
PROBE_SECONDS: Final = 1.5
HEAVY_PROBE_SECONDS: Final = 5.0
JITTER: Final = 0.2

CHAIN_ID: Final = ("eth_chainId", b"[]", MethodClass.LIGHT)
HEAD: Final = ("eth_getBlockByNumber", b'["latest",false]', MethodClass.LIGHT)
# Logs of one block from an address that has none: the class that failed, at its cheapest.
HEAVY: Final = (
    "eth_getLogs",
    b'[{"fromBlock":"latest","toBlock":"latest","address":"0x%040d"}]' % 0,
    MethodClass.HEAVY,
)
Question = tuple[str, bytes, MethodClass]


class Probed(msgspec.Struct):
    """What came back of a probe, and after how long."""

    judgement: Judgement
    seconds: float


class Watcher:
    """See the module's docstring."""

    def __init__(
        self,
        chain: Chain,
        members: Mapping[str, Member],
        executor: Executor,
        told: ToldHead,
        counters: ChainCounters,
    ) -> None:
        self._chain = chain
        self._members = members
        self._executor = executor
        self._told = told
        self._counters = counters
        self._rng = random.Random()
        self.cadence = Cadence(chain.block_time_seconds)
        self._verified_at: dict[str, float] = {}
        self._wake: dict[str, asyncio.Event] = {name: asyncio.Event() for name in members}
        self._tasks: list[asyncio.Task[None]] = []
        self._next_id = 1

    def start(self) -> None:
        """Begin to watch."""
        self._tasks = [
            tasks.start(self._watch(member), f"watch {self._chain.name}/{name}")
            for name, member in self._members.items()
        ]

    async def stop(self) -> None:
        await tasks.stop(*self._tasks)

    def on_changes(self, changes: Sequence[Change]) -> None:
        """What changed may be worth a look now rather than at the next round."""
        for change in changes:
            if change.kind in ("ejected", "quarantined"):
                self._verified_at.pop(change.upstream, None)
                if change.upstream in self._wake:
                    self._wake[change.upstream].set()

    # ---- one upstream

    async def _watch(self, member: Member) -> None:
        name = member.standing.name
        wake = self._wake[name]
        while True:
            pause = SICK_PAUSE_SECONDS
            try:
                pause = await self._look(member)
            except Exception:  # noqa: BLE001 - logged; an upstream nobody watches is worse
                _log.exception("watching %s failed; it goes on", name)
            wake.clear()
            spread = 1 + JITTER * (self._rng.random() - 0.5)
            try:
                # Not wait_for, which until Python 3.12 may swallow the cancellation by `stop`.
                async with asyncio.timeout(pause * spread):
                    await wake.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(CONFIRM_PAUSE_SECONDS)

    async def _look(self, member: Member) -> float:
        """One round of probes; returns the pause until the next."""
        standing = member.standing
        name = standing.name
        now = time.monotonic()
        if now - self._verified_at.get(name, float("-inf")) > IDENTITY_SECONDS:
            if not await self._verify(member):
                return self._pause_when_sick()
            if standing.is_trusted:  # in quarantine one clean check is not enough
                self._verified_at[name] = time.monotonic()
        number = await self._ask_head(member)
        if number is None:
            return self._pause_when_sick()
        if standing.classes[MethodClass.HEAVY].breaker.is_open:
            await self._probe(member, HEAVY, HEAVY_PROBE_SECONDS)
        if (standing.quarantine_until or 0.0) > now:
            return self._pause_when_sick()  # its time is not over, whatever it answers
        if not is_well(standing):
            return DARK_PAUSE_SECONDS  # it answers again: soon it has proven itself
        return self.cadence.pause(number, time.monotonic())

    def _pause_when_sick(self) -> float:
        return DARK_PAUSE_SECONDS if self._is_dark() else SICK_PAUSE_SECONDS

    def _is_dark(self) -> bool:
        return not self._executor.standings.has_usable(MethodClass.LIGHT, time.monotonic())

    async def _verify(self, member: Member) -> bool:
        """Whether the upstream serves the configured chain."""
        probed = await self._send(member, CHAIN_ID, PROBE_SECONDS)
        judgement = probed.judgement
        if judgement.verdict is Verdict.OK:
            number = evm.parse_quantity(judgement.result or b"")
            if number is None:
                judgement.verdict = Verdict.BAD_RESULT
            elif number != self._chain.chain_id:
                judgement.verdict = Verdict.WRONG_CHAIN
                judgement.detail = f"chain id {number}, configured {self._chain.chain_id}"
        self._observe(member.standing, CHAIN_ID, probed)
        return judgement.verdict is Verdict.OK

    async def _ask_head(self, member: Member) -> int | None:
        probed = await self._send(member, HEAD, PROBE_SECONDS)
        judgement = probed.judgement
        head = None
        if judgement.verdict is Verdict.OK:
            head = evm.head_of_block(judgement.result or b"")
            if head is None:
                judgement.verdict = Verdict.BAD_RESULT
        standing = member.standing
        self._observe(standing, HEAD, probed, head)
        if head is None:
            return None
        now = time.monotonic()
        # A lone liar, or whoever is heard first: neither is the chain.
        is_plausible = self._executor.standings.heads.served >= 0 and not standing.is_far_above
        if is_plausible and is_well(standing):
            self.cadence.on_head(head.number, now)
            self._told.on_report(head.number, now, bytes(judgement.result or b""))
        return head.number

    async def _probe(self, member: Member, question: Question, limit_seconds: float) -> None:
        self._observe(member.standing, question, await self._send(member, question, limit_seconds))

    def _observe(
        self, standing: Standing, question: Question, answered: Probed, head: Head | None = None
    ) -> None:
        method, _, method_class = question
        judgement = answered.judgement
        self._counters.on_probe(standing.name, judgement.verdict)
        self._executor.observe(
            Observation(
                standing.name,
                method_class,
                judgement.verdict,
                answered.seconds,
                method,
                head,
                judgement.cooldown_seconds,
                is_probe=True,
                detail=judgement.detail,
            ),
            time.monotonic(),
        )

    async def _send(self, member: Member, question: Question, limit_seconds: float) -> Probed:
        """One probe on the wire, judged; a probe without an answer in time is a timeout.

        While nobody is usable copies follow it: what an upstream took before it came back may
        never be answered, and requests wait for it to be found well. The first answer counts.
        """
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[tuple[Outcome, int, float]] = loop.create_future()
        calls: list[WireCall] = []
        looks = max(1, round(limit_seconds / DARK_PAUSE_SECONDS))
        outcome: Outcome = Failure(
            FailureKind.TIMEOUT, f"no answer to a probe in {limit_seconds:g} s"
        )
        id, started = self._next_id + 1, time.monotonic()
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
        return is_light and member.standing.is_admitted and self._is_dark()

    def _put_on_wire(
        self,
        member: Member,
        question: Question,
        answered: asyncio.Future[tuple[Outcome, int, float]],
    ) -> WireCall:
        """Send a probe; ``answered`` gets its outcome, its id, and when it went out."""
        self._next_id += 1
        id, started = self._next_id, time.monotonic()

        def on_done(outcome: Outcome) -> None:
            if not answered.done():
                answered.set_result((outcome, id, started))
            elif isinstance(outcome, Reply) and outcome.rest is not None:
                outcome.rest.close()

        return member.wire.send(encode_call(id, question[0], question[1]), on_done)


def is_well(standing: Standing) -> bool:
    """Whether it may be believed and asked: nothing is left to prove."""
    return standing.is_trusted and not any(record.breaker.is_open for record in standing.classes)
