"""Time and other ways for what nobody could answer as it was asked.

A block just above the head is waited for; what every upstream failed to have is asked again, as it
may have changed or be about to come; a range that is too wide for everybody is asked in parts.

State: who waits for the served head to move.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from rpcproxy.chains.method import MethodKind
from rpcproxy.chains.parts.asked_at import PENDING
from rpcproxy.chains.parts.errors import ReadRange
from rpcproxy.chains.parts.searches import Searches
from rpcproxy.clock import Clock
from rpcproxy.engine.attempts.calls import SingleCall
from rpcproxy.engine.attempts.executor import Executor, Settled
from rpcproxy.engine.attempts.tries import Notes
from rpcproxy.engine.reads.profiles import Profile, Profiles
from rpcproxy.engine.reads.split_searches import split_and_join, splittable
from rpcproxy.engine.reads.terms import Terms
from rpcproxy.messages import Judgement, MethodClass, Request, Verdict
from rpcproxy.rules.answers.holding import Purse
from rpcproxy.rules.requests.calls_made import MOST_CALLS
from rpcproxy.rules.requests.ends import rank

# A block so far above the served head may be there in a moment.
JUST_ABOVE_BLOCKS: Final = 2
# Between questions for what nobody has yet: doubling from the first, and then it is enough.
SOON_SECONDS: Final = 0.3
LAST_PAUSE_SECONDS: Final = 1.2
RECENT_BLOCKS: Final = 64  # reorgs do not go deeper
LEAST_AGAIN_SECONDS: Final = 0.3  # for those whose flight failed near their deadline
ANOTHER_WAY: Final = frozenset(
    {
        *(Verdict.OFF_CHAIN, Verdict.FORGOTTEN, Verdict.STALE),
        *(Verdict.RANGE_TOO_LARGE, Verdict.MISSING_DATA, Verdict.DISPROVED),
    }
)


class Patience:
    """See the module's docstring. One per chain."""

    def __init__(  # noqa: PLR0913 -- what waiting may need; nothing of it is made here
        self,
        executor: Executor,
        profiles: Profiles,
        terms: Terms,
        purse: Purse,
        light_seconds: float,
        *,
        searches: Searches | None,
        read_range: ReadRange,
        clock: Clock,
    ) -> None:
        """``purse`` holds the parts of a split range. ``light_seconds``: what a read may take."""
        self._executor = executor
        self._now = clock.monotonic
        self._profiles = profiles
        self._terms = terms
        self._purse = purse
        self._searches = searches
        self._read_range = read_range
        self._heads = executor.standings.heads
        self._light_seconds = light_seconds
        self._waiters: set[asyncio.Future[None]] = set()

    # ---- blocks that are not there yet

    def is_above_head(self, call: SingleCall) -> bool:
        """Whether it asks for a block that is not there yet, as far as we tell."""
        block = call.need.block
        if call.truth is None or not block > self._heads.shown >= 0:
            return False
        if not self._heads.ahead.is_allowed:
            return True
        return block > self._executor.standings.ceiling(self._now())

    async def wait_for_block(self, block: int) -> bool:
        """A block just above the served head is waited for; says whether it is there."""
        block_seconds = self._heads.pace.block_time_seconds
        just_above = self._heads.served + JUST_ABOVE_BLOCKS + int(1.0 / block_seconds)
        if block <= just_above:
            seconds = min(2.0 * block_seconds, 0.8 * self._light_seconds)
            await self.wait_for_head(block, seconds)
        return block <= self._heads.shown

    async def wait_for_head(self, block: int, seconds: float) -> None:
        """Until the served head is at ``block``, at most ``seconds``."""
        until = self._now() + seconds
        while self._heads.served < block and (left := until - self._now()) > 0:
            await self._wait_for_move(left)

    def on_served(self) -> None:
        """The served head moved."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _wait_for_move(self, seconds: float) -> None:
        """Sleep until the served head moves, or for ``seconds``."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await asyncio.wait((waiter,), timeout=seconds)
        finally:
            self._waiters.discard(waiter)

    # ---- another way

    async def again(
        self, request: Request, profile: Profile, settled: Settled, started: float, due: float
    ) -> Settled:
        """No answer could be given as it was: after a reorg the question itself has changed, and
        a range that is too wide for everybody is asked in parts. ``started``: when the client
        asked; ``due``: until when it waits, both in monotonic seconds.
        """
        judgement = settled.judgement
        if judgement is None:
            return settled
        if judgement.verdict is Verdict.RANGE_TOO_LARGE:
            return await self._in_parts(request, profile, settled)
        if judgement.verdict is Verdict.MISSING_DATA:
            spelled = self._profiles.as_spelled(request, profile)
            if spelled is not None:
                return await self._as_spelled(spelled, profile, settled, due)
        notes = Notes(list(settled.tried), "again")
        patience = (due + self._now()) / 2
        asked = started
        pause = SOON_SECONDS
        while judgement is not None and judgement.verdict in ANOTHER_WAY:
            now = self._now()
            call = self._profiles.prepare(request, profile)
            if self._heads.moved_at < asked:
                # Nobody has what should be there: those with it are not heard yet, or it is gone
                # in a reorg that no report of a head told yet.
                is_enough = now >= patience or pause > LAST_PAUSE_SECONDS
                if is_enough or not self._may_turn(call, settled, judgement):
                    break
                await self._wait_for_move(min(pause, patience - now))
                pause *= 2.0
                call = self._profiles.prepare(request, profile)
            if call.method.is_null_for_none and not self._is_anyone_left(call, settled):
                break  # with null; what is no look-up would be an error, and waits for a recovery
            asked = self._now()
            left = max(due - asked, LEAST_AGAIN_SECONDS)
            policy = self._terms.within(left, call, profile)
            again = await self._executor.run(call, policy, asked=settled.asked, notes=notes)
            settled.tried = notes.tried
            if (
                again.judgement is None
                or again.exhausted
                or rank(again.judgement) < rank(judgement)
            ):
                again.close()
                break  # who cannot be reached, or refuses, hides nothing of what others said
            settled = again
            settled.key = call.key
            judgement = settled.judgement
        return settled

    async def _as_spelled(
        self, call: SingleCall, profile: Profile, settled: Settled, due: float
    ) -> Settled:
        """Asked with its tag, in the time that is left; as it was, where that brings no more."""
        left = due - self._now()
        policy = self._terms.within(max(left, LEAST_AGAIN_SECONDS), call, profile)
        notes = Notes(list(settled.tried), "tag")
        earliest = await self._executor.run(call, policy, notes=notes)
        settled.tried = notes.tried
        judgement = earliest.judgement
        if judgement is not None and judgement.verdict is Verdict.OK:
            earliest.is_passing = True
            return earliest
        earliest.close()
        return settled

    def _is_anyone_left(self, call: SingleCall, settled: Settled) -> bool:
        """Whether one that is well may be asked once more for this request. Where nobody is well at
        this moment, somebody is waited for.
        """
        counts = settled.asked or {}
        usable = self._executor.standings.usable(call.need.method_class)
        return not usable or any(counts.get(s.name, 0) < MOST_CALLS for s in usable)

    def _may_turn(self, call: SingleCall, settled: Settled, judgement: Judgement) -> bool:
        """Whether a reorg may have taken the block that it is asked at."""
        block, served = call.need.block, self._heads.served
        if call.truth is None or block < max(0, served - RECENT_BLOCKS):
            return False
        if call.tag == PENDING and judgement.verdict is Verdict.MISSING_DATA:
            return False  # they have none, and time makes none
        if judgement.verdict is not Verdict.MISSING_DATA:
            return True
        if call.method.is_ranged:
            searches = self._searches
            span = None if searches is None else searches.range_of(call.params)
            return span is not None and span[1] <= served
        if call.method.kind is not MethodKind.BLOCK_READ:
            return False
        return block == served or (block < served and not self._is_absent(block, settled))

    def _is_absent(self, block: int, settled: Settled) -> bool:
        """Whether everybody, though past that height, says that there is no block: on some chains
        heights are left out. Where we know one there it may be gone in a reorg, or late.
        """
        if self._heads.hash_at(block):
            return False
        said = dict(settled.failures)
        standings = self._executor.standings
        if any(judgement.verdict is not Verdict.MISSING_DATA for judgement in said.values()):
            return False
        usable = {standing.name for standing in standings.usable(MethodClass.LIGHT)}
        return usable <= said.keys() and all(standings[name].low_water > block for name in said)

    async def _in_parts(self, request: Request, profile: Profile, settled: Settled) -> Settled:
        if not profile.method.is_ranged:
            return settled
        whole = self._profiles.prepare(request, profile)
        search = splittable(self._searches, self._read_range, whole.method, bytes(whole.params))
        if search is None:
            return settled

        async def ask(params: bytes) -> Settled:
            call = msgspec.structs.replace(whole, params=params, key=b"")
            left = deadline - self._now()
            policy = self._terms.within(left, call, profile)
            return await self._executor.run(call, policy, notes=notes)

        notes = Notes(list(settled.tried), "part")
        settled.tried = notes.tried
        seconds = profile.policy.deadline_seconds - settled.seconds
        deadline = self._now() + seconds
        while True:
            turns = self._heads.turns
            # Held until it is joined: for all chains' splits together, as by one client.
            hold = self._purse.hold()
            left = deadline - self._now()
            joined = None
            if search is not None:
                joined = await split_and_join(search, settled, ask, left, hold=hold)
            hold.end()
            if joined is None and self._heads.turns == turns:
                await self._wait_for_move(LAST_PAUSE_SECONDS)  # an upstream may be first to turn
            if self._heads.turns == turns or self._now() >= deadline:
                break
            # Parts from before and after a reorg do not belong together.
            whole = self._profiles.prepare(request, profile)
            search = splittable(self._searches, self._read_range, whole.method, bytes(whole.params))
        if joined is None:
            return settled
        # Of one of many: what it came to says nothing of the others.
        return Settled(joined, key=whole.key, tried=notes.tried)


def is_worth_another(settled: Settled) -> bool:
    """Whether every answer was refused for being of another chain, or its range for being wide."""
    judgement = settled.judgement
    return judgement is not None and judgement.verdict in ANOTHER_WAY
