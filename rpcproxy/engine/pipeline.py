"""The way of one HTTP body: decode, answer locally, forward, encode.

One pipeline per chain; it is the front's door. Answers from memory are returned at once, without
a task; everything else is a coroutine.

State: what each method needs, prepared once, and which methods have worked.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any, Final

import msgspec

from rpcproxy.chains import evm
from rpcproxy.chains.methods import Kind
from rpcproxy.config.model import Chain, Server
from rpcproxy.edges.logs import event
from rpcproxy.engine import tasks
from rpcproxy.engine.audits import Audits
from rpcproxy.engine.batches import Batches
from rpcproxy.engine.broadcast import Broadcast
from rpcproxy.engine.calls import SingleCall
from rpcproxy.engine.executor import Executor, Settled
from rpcproxy.engine.express import ANOTHER_WAY, Express, is_plain, is_worth_another
from rpcproxy.engine.profiles import Profile, Profiles
from rpcproxy.engine.ranges import split_and_join
from rpcproxy.engine.sharing import Flight, Follower, Sharing, SlowFlight, pending_answer
from rpcproxy.engine.streaming import restore_id
from rpcproxy.engine.told import ToldHead
from rpcproxy.engine.truth import Truth
from rpcproxy.messages import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    METHOD_REFUSED,
    PARSE_ERROR,
    Answer,
    Blame,
    Judgement,
    Malformed,
    MethodClass,
    Pending,
    Request,
    Verdict,
    decode_body,
    encode_error,
    encode_raw_error,
    encode_result,
)
from rpcproxy.rules.admission import LISTENING, REFUSED_KEYS, REFUSED_STATEFUL, constant_answers
from rpcproxy.rules.failover import Policy
from rpcproxy.rules.limits import TokenBucket
from rpcproxy.rules.outage import explain

_log = logging.getLogger("rpcproxy.requests")

LOG_LINES_PER_SECOND: Final = 5.0  # about requests that nobody could serve
# A block so far above the served head may be there in a moment.
JUST_ABOVE_BLOCKS: Final = 2
FIRST_HEAD_SECONDS: Final = 2.5
# Between questions for what nobody has yet: doubling from the first, and then it is enough.
SOON_SECONDS: Final = 0.3
LAST_PAUSE_SECONDS: Final = 1.2
RECENT_BLOCKS: Final = 64  # reorgs do not go deeper
LEAST_AGAIN_SECONDS: Final = 0.3  # for those whose flight failed near their deadline
# What no upstream's word could be given for; a look-up is then answered with null.
_UNGIVEN: Final = frozenset({Verdict.OFF_CHAIN, Verdict.FORGOTTEN, Verdict.DROPPED})


Handled = Answer | Pending | Coroutine[Any, Any, Answer]


class Pipeline:
    """See the module's docstring."""

    def __init__(
        self,
        chain: Chain,
        executor: Executor,
        broadcast: Broadcast,
        told: ToldHead,
        server: Server,
        audits: Audits | None = None,
    ) -> None:
        self.chain = chain
        self.counters = executor.counters
        self.audits = audits if audits is not None and audits.is_on else None
        self.profiles = Profiles(chain, executor.standings.heads)
        self.truth = Truth(executor)
        self.sharing = Sharing(
            server.cache.memory_bytes, executor.standings.heads, executor.counters
        )
        self.sharing.relaunch = self._relaunch
        broadcast.on_accepted = self.truth.on_sent
        self._heads = executor.standings.heads
        self._light_seconds = chain.deadlines.light_seconds
        self._is_consistent = chain.consistency != "off"
        self._turns = self._heads.turns
        self._head_waiters: set[asyncio.Future[None]] = set()
        self.executor = executor
        self.told = told
        self._broadcast = broadcast
        self._max_batch = server.limits.batch
        self._outage_status = server.outage_status
        self._constant = constant_answers(chain.chain_id)
        self._log_bucket = TokenBucket(LOG_LINES_PER_SECOND, time.monotonic())
        self._batches = Batches(self)
        self._express = Express(self)
        executor.standings.on_served.append(self._on_served)
        executor.standings.on_distrust.append(self._on_distrust)

    # ---- the front's door

    def handle(self, body: bytes, trace_id: str, *, is_fresh: bool = False) -> Handled:
        """See docs/architecture.md, "front → engine". ``is_fresh``: the client wants no answer
        that was kept.
        """
        try:
            decoded = decode_body(body)
        except Malformed as malformed:
            status = 400 if malformed.code == PARSE_ERROR else 200
            return Answer(encode_error(malformed.id, malformed.code, malformed.reason), status)
        if not isinstance(decoded, Request):
            if len(decoded) > self._max_batch:
                reason = f"batch of {len(decoded)} requests, at most {self._max_batch} are taken"
                return Answer(encode_error(b"null", INVALID_REQUEST, reason), 413)
            return self._batches.handle(decoded, trace_id, is_fresh=is_fresh)
        local = self._constant.get(decoded.method) or self._changing_result(decoded.method)
        if local is not None:
            self.counters.local_answers += 1
            return Answer(encode_result(decoded.id, local) if decoded.id else b"")
        if not decoded.id:
            return self._single(decoded, trace_id)
        profile = self.profiles.get(decoded.method) or self.profiles.of(decoded.method)
        if not profile.is_read:
            return self._single(decoded, trace_id)
        return self.read(decoded, profile, trace_id, is_fresh=is_fresh)

    def read(
        self, request: Request, profile: Profile, trace_id: str, *, is_fresh: bool = False
    ) -> Handled:
        """A read: answered from what is kept, or with another's answer, or on the express lane,
        or else by a plan. ``is_fresh``: neither kept nor shared.
        """
        call = self.prepare(request, profile)
        now = time.monotonic()
        key = call.key
        if is_fresh:
            call.key = b""
        elif key:
            result = self.sharing.get(key, now)
            if result is not None:
                self.counters.on_kept(call.method.keep.value, call.need.method_class)
                return Answer(encode_result(request.id, result))
            follower = self.sharing.join(key, request, trace_id, now)
            if follower is not None:
                return follower
            if self.sharing.is_on_disk(call):
                return self._from_disk(request, profile, call, trace_id)
        return self._ask(request, profile, call, trace_id, now)

    def _ask(
        self, request: Request, profile: Profile, call: SingleCall, trace_id: str, now: float
    ) -> Handled:
        """A read that upstreams are asked for."""
        if self.is_above_head(call):
            return self._above_head(request, profile, call, trace_id)
        first_try = self._express.start(request, profile, call, trace_id, now)
        return first_try or self._by_plan(request, profile, call, trace_id)

    async def _from_disk(
        self, request: Request, profile: Profile, call: SingleCall, trace_id: str
    ) -> Answer:
        """From disk; upstreams are asked where that takes too long, or does not bring it."""
        result = await self.sharing.read(call)
        if result is not None and self.truth.allows(call, result):
            self.sharing.keep(call, result)
            self.counters.on_kept("disk", call.need.method_class)
            return Answer(encode_result(request.id, result))
        now = time.monotonic()
        follower = self.sharing.join(call.key, request, trace_id, now)
        return await answer_of(follower or self._ask(request, profile, call, trace_id, now))

    def is_above_head(self, call: SingleCall) -> bool:
        """Whether it asks for a block that is not there yet, as far as we tell."""
        return call.truth is not None and call.need.block > self._heads.served >= 0

    def prepare(self, request: Request, profile: Profile) -> SingleCall:
        """The call that a read is carried out by."""
        call = self.profiles.prepare(request, profile)
        if self._is_consistent:
            call.truth = self.truth
        else:
            call.key = b""
        return call

    def local_result(self, method: str) -> bytes | None:
        """The JSON text of a result that needs nobody else, ``None`` where it does."""
        return self._constant.get(method) or self._changing_result(method)

    def _changing_result(self, method: str) -> bytes | None:
        if method == "eth_blockNumber":
            return self.told.fresh_number(time.monotonic())
        if method == LISTENING:
            is_usable = self.executor.standings.has_usable(MethodClass.LIGHT, time.monotonic())
            return b"true" if is_usable else b"false"
        return None

    # ---- one request

    async def _single(self, request: Request, trace_id: str) -> Answer:
        answer = await self.answer(request, trace_id)
        return answer if request.id else Answer(b"")

    async def answer(self, request: Request, trace_id: str, *, is_fresh: bool = False) -> Answer:
        """Answer a request that has no local answer; counts it."""
        profile = self.profiles.of(request.method)
        if profile.is_read:
            if not request.id:
                return Answer(b"")  # nobody would see what a read brings
            return await answer_of(self.read(request, profile, trace_id, is_fresh=is_fresh))
        started = time.monotonic()
        answer, outcome = await self._answer_other(request, profile, trace_id)
        self.counters.on_request(profile.method.method_class, time.monotonic() - started, outcome)
        return answer

    async def _by_plan(
        self, request: Request, profile: Profile, call: SingleCall, trace_id: str
    ) -> Answer:
        """Nobody can be asked at this moment, or the usual way is not open to it."""
        started = time.monotonic()
        flight = SlowFlight()
        if call.key:
            self.sharing.flights.setdefault(call.key, flight)
        settled: Settled | None = None
        outcome = "own_error"
        try:
            settled = await self.executor.run(call, self.policy_for(call, profile))
            if is_worth_another(settled):
                settled = await self.again(request, profile, settled, started)
            answer, outcome = self.encode(request, settled, trace_id)
        finally:
            self.land(call, flight, settled, outcome)
        self.counters.on_request(profile.method.method_class, time.monotonic() - started, outcome)
        return answer

    def land(self, call: SingleCall, flight: Flight, settled: Settled | None, outcome: str) -> None:
        """A call is over, for those who follow it as well; ``outcome`` as for the counters."""
        if not call.key or flight.is_landed:
            return
        judgement = settled.judgement if settled is not None and outcome != "own_error" else None
        if settled is not None and settled.key not in (None, call.key):
            judgement = None  # to another question: not for those who asked this one
        result = judgement.result if judgement is not None else None
        if settled is not None and result is not None and is_plain(settled):
            self.sharing.keep(call, result)
        error = judgement.error if judgement is not None and result is None else None
        self.sharing.land(call.key, flight, result, error)

    async def again(
        self, request: Request, profile: Profile, settled: Settled, started: float
    ) -> Settled:
        """No answer could be given as it was: after a reorg the question itself has changed, and
        a range that is too wide for everybody is asked in parts.
        """
        judgement = settled.judgement
        if judgement is None:
            return settled
        if judgement.verdict is Verdict.RANGE_TOO_LARGE:
            return await self._in_parts(request, profile, settled)
        due = started + profile.policy.deadline_seconds
        patience = (due + time.monotonic()) / 2
        asked = started
        pause = SOON_SECONDS
        while judgement is not None and judgement.verdict in ANOTHER_WAY:
            now = time.monotonic()
            call = self.prepare(request, profile)
            if self._heads.moved_at < asked:
                # Nobody has what should be there: those with it are not heard yet, or it is gone
                # in a reorg that no report of a head told yet.
                is_enough = now >= patience or pause > LAST_PAUSE_SECONDS
                if is_enough or not self._may_turn(call, judgement):
                    break
                await self._wait_for_move(min(pause, patience - now))
                pause *= 2.0
                call = self.prepare(request, profile)
            asked = time.monotonic()
            left = max(due - asked, LEAST_AGAIN_SECONDS)
            policy = msgspec.structs.replace(self.policy_for(call, profile), deadline_seconds=left)
            settled = await self.executor.run(call, policy)
            settled.key = call.key
            judgement = settled.judgement
        return settled

    def _may_turn(self, call: SingleCall, judgement: Judgement) -> bool:
        """Whether a reorg may have taken the block that it is asked at."""
        block, served = call.need.block, self._heads.served
        if call.truth is None or block < max(0, served - RECENT_BLOCKS):
            return False
        if judgement.verdict is not Verdict.MISSING_DATA:
            return True
        if evm.has_range(call.method):
            span = evm.log_range(call.params)
            return span is not None and span[1] <= served
        return call.method.kind is Kind.BLOCK_READ and block <= served

    async def _in_parts(self, request: Request, profile: Profile, settled: Settled) -> Settled:
        if not evm.has_range(profile.method):
            return settled
        whole = self.prepare(request, profile)

        async def ask(params: bytes) -> Settled:
            call = msgspec.structs.replace(whole, params=params, key=b"")
            return await self.executor.run(call, profile.policy)

        seconds = profile.policy.deadline_seconds - settled.seconds
        deadline = time.monotonic() + seconds
        joined = await split_and_join(bytes(whole.params), settled, ask, deadline)
        if joined is None:
            return settled
        return Settled(joined, standing=settled.standing, key=whole.key)

    def _relaunch(self, followers: list[Follower]) -> None:
        """The one that they followed failed. They ask again together, where time is left; those
        that ask another thing by now (the head has moved) apart from each other.
        """
        groups: dict[bytes, tuple[SingleCall, list[Follower]]] = {}
        for follower in followers:
            call = self.prepare(follower.request, self.profiles.of(follower.request.method))
            groups.setdefault(call.poison_key, (call, []))[1].append(follower)
        for call, group in groups.values():
            tasks.start(self._ask_again(call, group), "followers ask again")

    async def _ask_again(self, call: SingleCall, followers: list[Follower]) -> None:
        last = max(followers, key=lambda follower: follower.started)
        profile = self.profiles.of(last.request.method)
        flight = SlowFlight()
        flight.followers = followers
        if call.key:
            self.sharing.flights.setdefault(call.key, flight)
        policy = self.policy_for(call, profile)
        left = policy.deadline_seconds - (time.monotonic() - last.started)
        policy = msgspec.structs.replace(policy, deadline_seconds=max(left, LEAST_AGAIN_SECONDS))
        settled = await self.executor.run(call, policy)
        if is_worth_another(settled):
            settled = await self.again(last.request, profile, settled, last.started)
        waiting = [follower for follower in flight.followers or () if not follower.is_over]
        flight.followers = None
        if settled.key not in (None, call.key):
            # The question has changed, for some of them in another way.
            keys = [self.prepare(follower.request, profile).key for follower in waiting]
            pairs = list(zip(waiting, keys, strict=True))
            self._relaunch([follower for follower, key in pairs if key != settled.key])
            waiting = [follower for follower, key in pairs if key == settled.key]
        self.land(call, flight, settled, "ok")
        if not waiting:
            settled.close()
        elif settled.reply is not None and settled.reply.rest is not None:
            # Too large to hold, and so for one alone.
            for follower in waiting[1:]:
                apart = msgspec.structs.replace(call, key=b"")
                tasks.start(self._ask_again(apart, [follower]), "follower asks alone")
            del waiting[1:]
        for follower in waiting:
            follower.is_over = True
            answer, _ = self.encode(follower.request, settled, follower.trace_id)
            follower.deliver(answer)

    # ---- blocks above the head

    async def _above_head(
        self, request: Request, profile: Profile, call: SingleCall, trace_id: str
    ) -> Answer:
        """A block just above the served head is waited for. Further up, or where it does not
        come, there is no such block: never what somebody may have invented for it.
        """
        block = call.need.block
        block_seconds = self._heads.block_time_seconds
        just_above = self._heads.served + JUST_ABOVE_BLOCKS + int(1.0 / block_seconds)
        if block <= just_above:
            patience = min(2.0 * block_seconds, 0.8 * self._light_seconds)
            await self._wait_for_head(block, time.monotonic() + patience)
        if block <= self._heads.served:
            return await answer_of(self.read(request, profile, trace_id))
        if profile.method.null_is_lag or profile.method.null_is_data:
            self.counters.on_local()
            return Answer(encode_result(request.id, b"null"))
        # What it means for this method, an upstream says best; a result is refused.
        return await self._by_plan(request, profile, call, trace_id)

    async def _wait_for_head(self, block: int, until: float) -> None:
        while self._heads.served < block and (left := until - time.monotonic()) > 0:
            await self._wait_for_move(left)

    async def _wait_for_move(self, seconds: float) -> None:
        """Sleep until the served head moves, or for ``seconds``."""
        waiter = asyncio.get_running_loop().create_future()
        self._head_waiters.add(waiter)
        try:
            await asyncio.wait((waiter,), timeout=seconds)
        finally:
            self._head_waiters.discard(waiter)

    def _on_distrust(self, above: int) -> None:
        """An upstream turned out to be on another chain, or behind: what it gave is not kept."""
        self.sharing.cache.evict_above(above)

    def _on_served(self) -> None:
        """The served head moved."""
        for waiter in self._head_waiters:
            if not waiter.done():
                waiter.set_result(None)
        if self._heads.turns != self._turns:
            self._turns = self._heads.turns
            ancestor = self._heads.ancestor
            self.sharing.on_turn(ancestor)
            self.truth.on_turn(ancestor)

    async def _answer_other(
        self, request: Request, profile: Profile, trace_id: str
    ) -> tuple[Answer, str]:
        method = profile.method
        if method.kind is Kind.SEND:
            answer, outcome = await self._broadcast.send(request, method)
            if outcome == "unserved":
                self._log_unserved(method.name, "a transaction could not be sent", trace_id)
                answer.status = self._outage_status
                outcome = "own_error"
            return answer, outcome
        if method.kind in (Kind.STATEFUL, Kind.REFUSED):
            why = REFUSED_STATEFUL if method.kind is Kind.STATEFUL else REFUSED_KEYS
            reason = f"{method.name} is not available: {why}"
            return Answer(encode_error(request.id, METHOD_REFUSED, reason)), "own_error"
        settled = await self.told.ask(self.executor, profile.policy)
        if self.told.text() is None:
            # At start-up one voice is not believed at once: others are about to be heard.
            await self._wait_for_head(0, time.monotonic() + FIRST_HEAD_SECONDS)
        number = self.told.text()
        if number is not None:
            return Answer(encode_result(request.id, number)), "ok"
        return self.encode(request, settled, trace_id)

    def hedge_seconds(self, method_class: MethodClass) -> float:
        """After how long an attempt is looked at again."""
        policy = self.profiles.policies[method_class]
        if policy.hedge_seconds is None:
            return self.executor.standings.hedge_delay(method_class)
        return min(policy.hedge_seconds, policy.attempt_seconds)

    def adopt(self, old: Pipeline) -> None:
        """A reload: what was told stays true, and what is kept is kept."""
        self.truth.adopt(old.truth)
        self.sharing.adopt(old.sharing)

    def close(self) -> None:
        """Stop the clocks, and the tasks that outlive their requests."""
        self._express.close()
        self._broadcast.close()
        if self.audits is not None:
            self.audits.close()
        self.told.close()

    def policy_for(self, call: SingleCall, profile: Profile) -> Policy:
        """How long and how often this call may be tried."""
        poison = self.executor.poison
        if poison and poison.is_poison(call.poison_key, time.monotonic()):
            return msgspec.structs.replace(profile.policy, single_attempt=True)
        return profile.policy

    # ---- encode

    def encode(self, request: Request, settled: Settled, trace_id: str) -> tuple[Answer, str]:
        """The answer for a client; the second value is for the counters."""
        judgement = settled.judgement
        if judgement is not None and not settled.exhausted:
            reply = settled.reply
            if reply is not None and reply.rest is not None:
                id = bytes(request.id)
                return restore_id(reply.body, reply.rest, settled.first_id, id), "ok"
            if judgement.result is not None:
                self.on_worked(request.method)
                return Answer(encode_result(request.id, judgement.result)), "ok"
            if judgement.verdict in _UNGIVEN and is_lookup(request.method):
                return Answer(encode_result(request.id, b"null")), "ok"
            if judgement.error is not None and is_presentable(judgement):
                return Answer(encode_raw_error(request.id, judgement.error)), "rpc_error"
        return self._in_outage(request, settled, trace_id), "own_error"

    def on_worked(self, method: str) -> None:
        """Once calls of a method have worked, "invalid params" is worth a second opinion."""
        profile = self.profiles.get(method)
        if profile is not None and not profile.policy.confirm_refusals:
            profile.policy = msgspec.structs.replace(profile.policy, confirm_refusals=True)

    def _in_outage(self, request: Request, settled: Settled, trace_id: str) -> Answer:
        """Nobody could answer. The block that clients were told is the head is still given."""
        if request.method == "eth_getBlockByNumber":
            block = self._told_block(request)
            if block is not None:
                return Answer(encode_result(request.id, block))
        standings = self.executor.standings
        since = standings.outage_since(MethodClass.LIGHT)
        seconds = None if since is None else max(0.0, time.monotonic() - since)
        # What this request met outweighs what is known from before.
        failures = (*self.executor.failures_of_unusable(), *settled.failures)
        reason = explain(self.chain.name, failures, seconds, len(self.chain.upstreams))
        self._log_unserved(request.method, reason, trace_id)
        return Answer(encode_error(request.id, INTERNAL_ERROR, reason), self._outage_status)

    def _log_unserved(self, method: str, reason: str, trace_id: str) -> None:
        """A wallet saw an error: some lines a second tell of it, the metrics of all."""
        now = time.monotonic()
        if self._log_bucket.tokens(now) < 1.0:
            return
        self._log_bucket.take(now)
        event(
            _log,
            logging.WARNING,
            "unserved",
            reason,
            chain=self.chain.name,
            method=method[:80],
            trace_id=trace_id,
        )

    def _told_block(self, request: Request) -> bytes | None:
        method = evm.describe(request.method)
        number = evm.required_block(method, request.params)
        if bytes(request.params).replace(b" ", b"").endswith(b",true]"):
            return None  # full transactions are not kept
        return self.told.block(self.told.number if number == evm.LATEST else number)


async def answer_of(handled: Handled) -> Answer:
    """Whatever way it comes."""
    if isinstance(handled, Answer):
        return handled
    return await (pending_answer(handled) if isinstance(handled, Pending) else handled)


def is_presentable(judgement: Judgement) -> bool:
    """Whether an upstream's error may be shown: never its limits or its quarrel with our key."""
    return judgement.verdict.blame not in (Blame.LIMIT, Blame.ACCESS)


def is_lookup(name: str) -> bool:
    """Whether null says that there is no such thing."""
    method = evm.describe(name)
    return method.null_is_data or method.null_is_lag
