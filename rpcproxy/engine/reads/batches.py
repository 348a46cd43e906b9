"""Batches: split by member, sent on as batches where the upstream takes them, joined in order.

Every member is answered on its own: locally, as a single, or within a batch for one upstream, as
``batch_sorting`` says.
Only members that failed are asked again, elsewhere: what the batch brought for a member is the
first attempt of its own plan, and all its attempts share one deadline. Large ones are read and
begun in slices, so that nobody else waits for them. An answer that is too large to take apart is
asked for in smaller batches; the last ones are one by one, where each may stream.

State: how large answers are (``batch_sizes``).
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from rpcproxy.clock import Clock
from rpcproxy.engine.answers.batch_sizes import GROUP_BYTES, Sizes
from rpcproxy.engine.answers.carried import Carried
from rpcproxy.engine.answers.gathered import Gathered
from rpcproxy.engine.attempts.calls import (
    BATCH_METHOD,
    BatchCall,
    BatchVerdict,
    SingleCall,
    is_answered,
)
from rpcproxy.engine.attempts.executor import Settled
from rpcproxy.engine.attempts.tries import Notes, of_member
from rpcproxy.engine.reads.batch_sorting import BatchMember, BatchSorter, Single
from rpcproxy.engine.reads.reads import Reads
from rpcproxy.engine.turns import all_of, turn
from rpcproxy.engine.watch.local import LocalAnswers
from rpcproxy.messages import (
    Answer,
    Caller,
    Judgement,
    MethodClass,
    Pending,
    Request,
    StreamBroken,
    Verdict,
)
from rpcproxy.rules.answers.holding import Purse
from rpcproxy.rules.requests.lateness import batch_attempt_seconds, batch_hedge_seconds
from rpcproxy.rules.standing.need import Need
from rpcproxy.rules.standing.standings import Standing

PARTS: Final = 4  # of a batch whose answer was too large
SINGLES_FROM: Final = 8  # so few left-overs are asked one by one
SLICE: Final = 32  # members read, or begun, in one turn of the loop: one or two milliseconds
ROUNDS: Final = 2  # as a batch; after that one by one


class Answering(Protocol):
    """Answers one request of a batch that is not answered from memory, and counts it."""

    async def __call__(
        self, request: Request, caller: Caller, *, call: SingleCall | None = None
    ) -> Answer: ...


class Batches:
    """See the module's docstring."""

    def __init__(
        self,
        reads: Reads,
        local: LocalAnswers,
        answer: Answering,
        light_seconds: float,
        *,
        clock: Clock,
    ) -> None:
        """``answer`` answers any single request. ``light_seconds``: what a light read may take."""
        self._now = clock.monotonic
        self._answer = answer
        self._light_seconds = light_seconds
        self._executor = reads.executor
        self._heads = reads.executor.standings.heads
        self._profiles = reads.profiles
        self._endings = reads.endings
        self._terms = reads.terms
        self._counters = reads.counters
        self._sizes = Sizes()
        self._sorter = BatchSorter(reads, local, clock=clock)

    def handle(
        self,
        texts: Sequence[msgspec.Raw],
        caller: Caller,
        purse: Purse,
    ) -> Answer | Pending:
        """Answer a batch: at once, when it is a small one and all of it can be answered from
        memory. ``purse`` is whose bytes are held meanwhile.
        """
        self._counters.on_batch(len(texts))
        turns = self._heads.turns
        replies = Gathered(len(texts), caller, purse, turns=turns)
        singles: list[Single] = []
        members: list[BatchMember] = []
        if len(texts) > SLICE:
            work = self._in_slices(texts, replies, singles, members)
            return Carried(work, replies.end, caller.trace_id)
        self._sorter.take(texts, 0, replies, singles, members)
        self._sorter.look_ups_last(replies, singles, members)
        if not (singles or members):
            return self._given(replies)
        undo = functools.partial(self._give_up, replies, singles, members)
        return Carried(self._forward(replies, singles, members), undo, caller.trace_id)

    async def _in_slices(
        self,
        texts: Sequence[msgspec.Raw],
        replies: Gathered,
        singles: list[Single],
        members: list[BatchMember],
    ) -> Answer:
        try:
            for start in range(0, len(texts), SLICE):
                self._sorter.take(texts[start : start + SLICE], start, replies, singles, members)
                await turn()
            self._sorter.look_ups_last(replies, singles, members)
        except BaseException:
            self._give_up(replies, singles, members)
            raise
        if not (singles or members):
            return self._given(replies)
        return await self._forward(replies, singles, members)

    def _give_up(
        self, replies: Gathered, singles: Sequence[Single], members: Sequence[BatchMember]
    ) -> None:
        """The client hung up before anything of it began."""
        replies.end()
        for single in singles:
            if single.shared is not None:
                single.shared.cancel()
        # Its own followers know of that in the next turn.
        asyncio.get_running_loop().call_soon(self._land, members)

    def _land(self, members: Sequence[BatchMember]) -> None:
        """Where the client hung up, those who follow ask again."""
        for member in members:
            if not member.read.flight.is_landed:
                self._endings.land(member.read, None)

    async def _forward(
        self,
        replies: Gathered,
        singles: Sequence[Single],
        members: Sequence[BatchMember],
    ) -> Answer:
        work: list[Coroutine[Any, Any, None]] = [
            self._answer_single(replies, single) for single in singles if not single.is_last
        ]
        groups = [
            self._answer_group(replies, group, (), 0) for group in self._sizes.groups(members)
        ]
        if len(groups) > 1:
            work.append(all_of(groups, 1))  # each is as much as a slice
        else:
            work += groups
        try:
            await self._gather(replies, work, singles, members)
        except BaseException:
            replies.end()
            raise
        return self._given(replies)

    async def _gather(
        self,
        replies: Gathered,
        work: Sequence[Coroutine[Any, Any, None]],
        singles: Sequence[Single],
        members: Sequence[BatchMember],
    ) -> None:
        """Have all that is forwarded answered, as far as there is room for it."""
        heads, began = self._heads, self._now()
        try:
            await all_of(work, SLICE)
            last = [self._answer_single(replies, single) for single in singles if single.is_last]
            await all_of(last, SLICE)
        finally:
            self._land(members)
        in_time = self._now() - began < self._light_seconds / 2
        if heads.turns != replies.turns and in_time:
            # A reorg came in between: parts of two branches are no answer.
            again = [*replies.kept, *((single.index, single.request) for single in singles)]
            again += [(member.index, member.read.request) for member in members]
            asked = [
                self._answer_single(replies, Single(index, request))
                for index, request in again
                if self._profiles.of(request.method).is_read
            ]
            await all_of(asked, SLICE)

    def _given(self, replies: Gathered) -> Answer:
        """The whole batch; what is asked for only at its turn belongs to the chain of now."""
        heads = self._heads
        turns, caller = heads.turns, replies.caller

        async def ask(request: Request) -> Answer:
            answer = await self._answer(request, caller)
            if heads.turns != turns:
                if answer.rest is not None:
                    answer.rest.close()
                raise StreamBroken("a reorg came in between: parts of two branches are no answer")
            return answer

        return replies.answer(ask)

    async def _answer_single(self, replies: Gathered, single: Single) -> None:
        index, request = single.index, single.request
        if single.shared is not None:
            answer = await single.shared
        else:
            answer = await self._answer(request, replies.caller, call=single.call)
        if not request.id:
            replies.put_always(index, b"")
        elif self._profiles.of(request.method).is_read:
            await replies.put_answer(index, answer, request)
        else:
            replies.put_always(index, answer.body)

    async def _answer_group(
        self,
        replies: Gathered,
        members: Sequence[BatchMember],
        tried: tuple[Standing, ...],
        round_: int,
    ) -> None:
        """Ask one upstream for a group; what it did not answer is asked elsewhere."""
        if len(members) == 1 or round_ >= ROUNDS or not self._has_taker(tried):
            await all_of([self._answer_alone(replies, m, tried) for m in members], SLICE)
            return
        call = BatchCall(
            BATCH_METHOD,
            need_of(members),
            [member.read.call for member in members],
        )
        started = self._now()
        usual = members[0].read.profile.policy
        left_seconds = members[0].due - started
        policy = msgspec.structs.replace(
            usual,
            deadline_seconds=left_seconds,
            attempt_seconds=batch_attempt_seconds(
                usual.attempt_seconds, left_seconds, len(members)
            ),
            hedge_seconds=batch_hedge_seconds(
                self._terms.hedge_seconds(MethodClass.LIGHT), len(members)
            ),
            confirm_nulls=False,
        )
        settled = await self._executor.run(call, policy, tried, asked=members[0].asked)
        if isinstance(settled.judgement, BatchVerdict) and settled.judgement.is_too_large:
            await self._answer_in_parts(replies, members, tried, self._now() - started)
            return
        if settled.reply is not None:
            self._sizes.learn(members, len(settled.reply.body))
        self._hold(members, settled, started)
        left = self._take_answers(replies, members, settled)
        if not left:
            return
        standing, judgement = settled.standing, settled.judgement
        if standing is not None and (
            judgement is None or judgement.verdict is not Verdict.BATCH_REFUSED
        ):
            tried = (*tried, standing)
        was_refused = len(left) == len(members)
        rounds = ROUNDS if was_refused or len(left) < SINGLES_FROM else round_ + 1
        await self._answer_group(replies, left, tried, rounds)

    async def _answer_in_parts(
        self,
        replies: Gathered,
        members: Sequence[BatchMember],
        tried: tuple[Standing, ...],
        seconds: float,
    ) -> None:
        """The answer was too large to take apart. The time in which it came well is given back."""
        hold_bytes = 2 * GROUP_BYTES
        self._sizes.learn(members, hold_bytes)
        for member in members:
            member.due += seconds
        size = -(-len(members) // PARTS)
        await asyncio.gather(
            *(
                self._answer_group(replies, members[start : start + size], tried, 0)
                for start in range(0, len(members), size)
            )
        )

    @staticmethod
    def _hold(members: Sequence[BatchMember], settled: Settled, started: float) -> None:
        """Hold what a batch brought against what is known of the chain."""
        batch, standing = settled.judgement, settled.standing
        if isinstance(batch, BatchVerdict) and standing is not None:
            batch.members = [
                member.read.call.held(judgement, standing, started)
                for member, judgement in zip(members, batch.members, strict=False)
            ]

    def _has_taker(self, tried: Sequence[Standing]) -> bool:
        """Whether anybody usable is left who has not lately refused batches."""
        now = self._now()
        usable = self._executor.standings.usable(MethodClass.LIGHT)
        others = (standing for standing in usable if standing not in tried)
        return not usable or any(standing.exclusions.batch_until <= now for standing in others)

    def _take_answers(
        self, replies: Gathered, members: Sequence[BatchMember], settled: Settled
    ) -> list[BatchMember]:
        """Take over what a batch brought; returns the members that are still to be answered."""
        judged: Sequence[Judgement] = (
            settled.judgement.members if isinstance(settled.judgement, BatchVerdict) else ()
        )
        left: list[BatchMember] = []
        are_done = [each.verdict is Verdict.OK or not wants_more(each) for each in judged]
        for position, member in enumerate(members):
            judgement = judged[position] if position < len(judged) else None
            if judgement is not None and are_done[position]:
                mine = Settled(judgement, standing=settled.standing, tried=settled.tried)
                if member.tried:
                    mine.tried = [*member.tried, *settled.tried]
                answer = self._endings.settle(member.read, mine)
                replies.put(member.index, answer.body, member.read.request)
                continue
            member.earlier = None
            member.asked = settled.asked
            speaker = "" if settled.standing is None else settled.standing.name
            member.tried = [*member.tried, *of_member(settled.tried, speaker, judgement)]
            if (
                judgement is not None
                and settled.standing is not None
                and judgement.verdict is not Verdict.BATCH_REFUSED
            ):
                member.earlier = settled.standing, judgement
                member.asked = one_call_less(settled.asked, settled.standing)
            left.append(member)
        return left

    async def _answer_alone(
        self, replies: Gathered, member: BatchMember, tried: tuple[Standing, ...]
    ) -> None:
        read = member.read
        if self._profiles.is_outdated(read.call):
            self._endings.land(read, None)
            await self._answer_single(replies, Single(member.index, read.request))
            return

        async def ask() -> Settled:
            left = member.due - self._now()
            policy = self._terms.within(left, read.call, read.profile)
            before = member.earlier
            why = "first" if before is None else before[1].verdict.label
            notes = Notes(list(member.tried), why)
            return await self._executor.run(read.call, policy, tried, before, member.asked, notes)

        answer = await self._endings.end(read, ask, member.due)
        await replies.put_answer(member.index, answer, read.request)


def wants_more(judgement: Judgement) -> bool:
    """Whether a member needs somebody else to be asked: another may take the params as well."""
    return not is_answered(judgement) or judgement.verdict is Verdict.INVALID_PARAMS


def one_call_less(asked: Mapping[str, int] | None, standing: Standing) -> Mapping[str, int]:
    """One call less of this one."""
    counts = dict(asked or ())
    counts[standing.name] = max(0, counts.get(standing.name, 0) - 1)
    return counts


def need_of(members: Sequence[BatchMember]) -> Need:
    """What an upstream must have to serve all members."""
    return Need(
        MethodClass.LIGHT,
        "batch",
        block=max(member.read.call.need.block for member in members),
        wants_head=any(member.read.call.need.wants_head for member in members),
        request_bytes=max(member.read.call.need.request_bytes for member in members),
        batch=True,
        last_resort=False,
    )
