"""Knows how every upstream does, whether or not wallets ask: chain ids, heads, recoveries.

One task per upstream. Every probe becomes an Observation. An upstream whose blocks arrive unasked
is asked seldom; where one is seen at a new block, those that are not there yet are asked soon.

State: the chain's cadence, when each upstream's chain id was last verified, when each was asked
last and for what is final, and a wake-up per upstream.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rpcproxy.chains.kind import Questions
from rpcproxy.chains.parts.inquiries import Question
from rpcproxy.clock import Clock
from rpcproxy.config.model import Chain
from rpcproxy.engine import tasks
from rpcproxy.engine.attempts.doubts import cannot_ask
from rpcproxy.engine.attempts.executor import ChainMember, Executor
from rpcproxy.engine.watch.feeds import Feeds
from rpcproxy.engine.watch.genesis import Genesis
from rpcproxy.engine.watch.hash_proofs import HashProofs
from rpcproxy.engine.watch.linker import Linker
from rpcproxy.engine.watch.probes import HEAVY_PROBE_SECONDS, Probed, Probes
from rpcproxy.engine.watch.state_checks import StateChecks
from rpcproxy.engine.watch.told import ToldHead
from rpcproxy.messages import Head, MethodClass, Verdict
from rpcproxy.rules.heads.cadence import DARK_PAUSE_SECONDS, SICK_PAUSE_SECONDS, Cadence
from rpcproxy.rules.standing.limits import TokenBucket
from rpcproxy.rules.standing.standings import Standing
from rpcproxy.states import LEAVING, Change, ChangeKind
from rpcproxy.words import Observation

_log = logging.getLogger("rpcproxy.watcher")

IDENTITY_SECONDS: Final = 180.0  # a chain id is believed for so long
CONFIRM_PAUSE_SECONDS: Final = 0.05  # between the clean probes that end an ejection
JITTER: Final = 0.2
FED_PAUSE_SECONDS: Final = 5.0  # between questions to an upstream whose blocks arrive unasked
# What is safe and final moves seldom, and on some chains is never told.
ANCHOR_BLOCKS: Final = 4
SHORTEST_ANCHOR_SECONDS: Final = 6.0
LONGEST_ANCHOR_SECONDS: Final = 60.0
NO_ANCHOR_SECONDS: Final = 600.0


class Watcher:
    """See the module's docstring."""

    def __init__(  # noqa: PLR0913 - the root of this room
        self,
        chain: Chain,
        members: Mapping[str, ChainMember],
        executor: Executor,
        told: ToldHead,
        feeds: Feeds,
        questions: Questions,
        *,
        clock: Clock,
    ) -> None:
        self._chain = chain
        self._members = members
        self._executor = executor
        self._told = told
        self._counters = executor.counters
        self.feeds = feeds
        self._questions = questions
        self._now = clock.monotonic
        feeds.on_head = self._on_announced
        feeds.on_lost = self._on_lost
        feeds.on_block = told.learn
        executor.on_doubt = self._on_lost
        executor.hearings.on_key_doubt = lambda name: self._verify_again((name,))
        executor.doubts.ask = self._ask_if_it_lives
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._rng = random.Random()
        self.cadence = Cadence(chain.block_time_seconds, 1.0 / chain.probes_per_second)
        probes = self._probes = Probes(executor, clock=clock)
        self._genesis = Genesis(chain, probes, executor.counters, questions, self._verify_again)
        self._state_checks = StateChecks(members, executor, probes, told, questions, clock=clock)
        self._hash_proofs = (
            HashProofs(executor, probes, told, questions, clock=clock)
            if chain.consistency == "pinned"
            else None
        )
        self._linker = Linker(members, executor, probes, questions, clock=clock)
        self._linker.on_block = told.learn
        self._verified_at: dict[str, float] = {}
        self._budgets = {
            name: TokenBucket(chain.probes_per_second, clock.monotonic()) for name in members
        }
        self._anchors_due: dict[str, float] = {}
        self._wake: dict[str, asyncio.Event] = {name: asyncio.Event() for name in members}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to watch."""
        self._executor.standings.on_served.append(self._state_checks.on_served)
        self.feeds.start()
        self._tasks = [
            tasks.start(self._watch(member), f"watch {self._chain.name}/{name}")
            for name, member in self._members.items()
        ]

    async def stop(self) -> None:
        self._executor.doubts.ask = cannot_ask
        await tasks.stop(*self._tasks, *self._asking.values())
        self._probes.close()
        await self._linker.stop()
        await self._state_checks.stop()
        await self.feeds.stop()

    def on_changes(self, changes: Sequence[Change]) -> None:
        """What changed may be worth a look now rather than at the next round."""
        for change in changes:
            if change.kind == ChangeKind.QUARANTINED:
                self._genesis.forget(change.upstream)
            if change.kind in LEAVING or change.kind == ChangeKind.FORKED:
                self._verify_again((change.upstream,))

    def _verify_again(self, names: Iterable[str]) -> None:
        for name in names:
            self._verified_at.pop(name, None)
            if name in self._wake:
                self._wake[name].set()

    # ---- one upstream

    async def _watch(self, member: ChainMember) -> None:
        name = member.standing.name
        wake = self._wake[name]
        while True:
            pause = SICK_PAUSE_SECONDS
            wake.clear()
            try:
                pause = await self._look(member)
            except Exception:  # noqa: BLE001 - logged; an upstream nobody watches is worse
                _log.exception("watching %s failed; it goes on", name)
            spread = 1 + JITTER * (self._rng.random() - 0.5)
            try:
                # Not wait_for, which until Python 3.12 may swallow the cancellation by `stop`.
                async with asyncio.timeout(pause * spread):
                    await wake.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(self._pause_when_woken(member))

    async def _look(self, member: ChainMember) -> float:
        """One round of probes; returns the pause until the next."""
        standing = member.standing
        name = standing.name
        now = self._now()
        if now - self._verified_at.get(name, float("-inf")) > IDENTITY_SECONDS:
            if not await self._verify(member):
                return self._pause_when_sick()
            if standing.is_trusted:  # in quarantine one clean check is not enough
                self._verified_at[name] = self._now()
        number = await self._ask_head(member)
        if number is None:
            is_reader = standing.role != "sends" or not is_well(standing)
            return self._pause_when_sick() if is_reader else FED_PAUSE_SECONDS
        if standing.classes[MethodClass.HEAVY].breaker.is_open:
            await self._ask_heavy(member)
        if (standing.quarantine_until or 0.0) > now:
            return self._pause_when_sick()  # its time is not over, whatever it answers
        await self._state_checks.look(member)
        if self._hash_proofs is not None:
            await self._hash_proofs.look(member)
        if standing.is_forked:
            return SICK_PAUSE_SECONDS
        if not is_well(standing):
            return DARK_PAUSE_SECONDS  # it answers again: soon it has proven itself
        await self._ask_anchors(member)
        if self.feeds.is_reliable(name, self._now()):
            return FED_PAUSE_SECONDS
        pause = self.cadence.pause(number, self._now())
        return max(pause, self._over_budget_seconds(name))

    def _pause_when_sick(self) -> float:
        return DARK_PAUSE_SECONDS if self._probes.is_dark() else SICK_PAUSE_SECONDS

    def _pause_when_woken(self, member: ChainMember) -> float:
        """Who is well is not asked more often than the budget allows."""
        if not is_well(member.standing):
            return CONFIRM_PAUSE_SECONDS
        return max(CONFIRM_PAUSE_SECONDS, self._over_budget_seconds(member.standing.name))

    def _over_budget_seconds(self, name: str) -> float:
        """How long until the budget allows another question for the head."""
        budget = self._budgets[name]
        return max(0.0, 1.0 - budget.tokens(self._now())) / budget.rate

    async def _verify(self, member: ChainMember) -> bool:
        """Whether the upstream serves the configured chain."""
        found = await self._probes.inquire(member, self._questions.identity())
        judgement = found.judgement
        if judgement.verdict is Verdict.OK:
            identity = found.value
            if identity is None:
                judgement.verdict = Verdict.BAD_RESULT
            elif identity != self._chain.identity:
                judgement.verdict = Verdict.WRONG_CHAIN
                judgement.detail = f"chain id {identity}, configured {self._chain.identity}"
            elif objection := await self._genesis.objection(member):
                judgement.verdict = Verdict.WRONG_CHAIN
                judgement.detail = objection
        self._observe(member.standing, found.question, found, is_identity=True)
        return judgement.verdict is Verdict.OK

    async def _ask_head(self, member: ChainMember) -> int | None:
        """``None`` where it told none. Builders and relays answer 401 and 403 to whatever reads
        (MetaMask 30410): of their keys, the chain id tells.
        """
        self._budgets[member.standing.name].take(self._now())
        found = await self._probes.inquire(member, self._questions.head())
        judgement, head = found.judgement, found.value
        if judgement.verdict is Verdict.OK and head is None:
            judgement.verdict = Verdict.BAD_RESULT
        standing = member.standing
        if judgement.verdict is Verdict.KEY_REFUSED and standing.role == "sends":
            await self._verify(member)
            return None
        self._observe(standing, found.question, found, head)
        if head is None:
            return None
        self._on_head(standing, head, found.text)
        return head.number

    def _on_head(self, standing: Standing, head: Head, text: bytes) -> None:
        """An upstream told its head: what follows for the others."""
        now = self._now()
        # A lone liar, or whoever is heard first: neither is the chain.
        is_plausible = self._executor.standings.heads.served >= 0 and not standing.is_far_above
        if is_plausible and is_well(standing):
            if self.cadence.on_head(head.number, now):
                self.feeds.learn_block_time(self._executor.standings.heads.pace.block_time_seconds)
                self._wake_those_below(head.number)
            self._told.on_report(head, now, text)
        self._linker.look()

    def _on_announced(self, name: str, head: Head) -> None:
        """A feed told a block. Its text holds no transactions, so it is no answer to anybody."""
        self._on_head(self._members[name].standing, head, b"")

    def _ask_if_it_lives(self, name: str) -> bool:
        """An upstream is silent: one probe at a time, beside those that are asked anyway."""
        if name not in self._asking:
            work = self._ask_for_life(self._members[name])
            task = self._asking[name] = tasks.start(work, f"does {name} live")
            task.add_done_callback(lambda _: self._asking.pop(name, None))
        return True

    async def _ask_for_life(self, member: ChainMember) -> None:
        await self._ask_head(member)
        await asyncio.sleep(self._over_budget_seconds(member.standing.name))

    def _on_lost(self, name: str) -> None:
        self._wake[name].set()

    def _wake_those_below(self, number: int) -> None:
        """The block is out: who was not seen there yet is likely to be soon."""
        for name, member in self._members.items():
            standing = member.standing
            is_fed = self.feeds.is_reliable(name, self._now())
            if standing.track.number < number and is_well(standing) and not is_fed:
                self._wake[name].set()

    async def _ask_anchors(self, member: ChainMember) -> None:
        """What it holds for safe and final. An upstream that does not tell is no worse for it."""
        name = member.standing.name
        now = self._now()
        if not self._questions.anchors or now < self._anchors_due.get(name, 0.0):
            return
        every = ANCHOR_BLOCKS * self.cadence.interval_seconds
        self._anchors_due[name] = now + min(
            LONGEST_ANCHOR_SECONDS, max(SHORTEST_ANCHOR_SECONDS, every)
        )
        told: dict[str, Head | None] = {}
        for anchor, begin in self._questions.anchors.items():
            found = await self._probes.inquire(member, begin())
            self._counters.on_probe(name, found.judgement.verdict)
            told[anchor] = found.value
        if not any(told.values()):
            self._anchors_due[name] = now + NO_ANCHOR_SECONDS
            return
        self._executor.observe(
            Observation(
                name,
                MethodClass.LIGHT,
                Verdict.OK,
                method=found.question.method.name,
                anchors=tuple(map(told.get, self._executor.standings.heads.finality.names)),
            ),
            self._now(),
        )

    async def _ask_heavy(self, member: ChainMember) -> None:
        """Whether its heavy reads work again."""
        question = self._questions.heavy
        if question is not None:
            probed = await self._probes.ask(member, question, HEAVY_PROBE_SECONDS)
            self._observe(member.standing, question, probed)

    def _observe(
        self,
        standing: Standing,
        question: Question[Any],
        answered: Probed,
        head: Head | None = None,
        *,
        is_identity: bool = False,
    ) -> None:
        judgement = answered.judgement
        self._counters.on_probe(standing.name, judgement.verdict)
        self._executor.observe(
            Observation(
                standing.name,
                question.method_class,
                judgement.verdict,
                answered.seconds,
                question.method.name,
                head,
                judgement.cooldown_seconds,
                is_probe=True,
                detail=judgement.detail,
                is_identity=is_identity,
            ),
            self._now(),
        )


def is_well(standing: Standing) -> bool:
    """Whether it may be believed and asked: nothing is left to prove."""
    return standing.is_trusted and not any(record.breaker.is_open for record in standing.classes)
