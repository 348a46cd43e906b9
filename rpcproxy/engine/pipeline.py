"""The way of one HTTP body: decode, answer locally, forward, encode.

One pipeline per chain; it is the front's door. Answers from memory are returned at once, without
a task; everything else is a coroutine. What the usual way does not answer is left to ``patience``.
No state of its own.
"""

from __future__ import annotations

import functools
import time
from typing import Final

import msgspec

from rpcproxy.chains import evm
from rpcproxy.chains.methods import Kind
from rpcproxy.config.model import Chain, Server
from rpcproxy.engine.audits import Audits
from rpcproxy.engine.batches import Batches
from rpcproxy.engine.broadcast import Broadcast
from rpcproxy.engine.calls import SingleCall
from rpcproxy.engine.carried import FAILURE, Carried
from rpcproxy.engine.encoder import Encoder
from rpcproxy.engine.executor import Executor, Settled
from rpcproxy.engine.express import Express, is_plain, is_worth_another
from rpcproxy.engine.patience import Patience
from rpcproxy.engine.private_reads import PrivateReads
from rpcproxy.engine.profiles import Profile, Profiles, costly
from rpcproxy.engine.shared_text import result_answer
from rpcproxy.engine.sharing import Flight, Sharing, SlowFlight, pending_answer
from rpcproxy.engine.told import ToldHead
from rpcproxy.engine.truth import Truth
from rpcproxy.engine.whereabouts import Whereabouts
from rpcproxy.messages import (
    METHOD_REFUSED,
    PARSE_ERROR,
    Answer,
    Caller,
    Handled,
    Malformed,
    MethodClass,
    Pending,
    Request,
    TooLarge,
    decode_body,
    encode_error,
    encode_result,
)
from rpcproxy.rules.admission import (
    LISTENING,
    REFUSED_KEYS,
    REFUSED_STATEFUL,
    constant_answers,
    refusal_of,
)
from rpcproxy.rules.holding import Holdings, Purse
from rpcproxy.rules.lateness import is_costly
from rpcproxy.rules.steps import Policy
from rpcproxy.states import RequestOutcome

FIRST_HEAD_SECONDS: Final = 2.5


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
        self.executor = executor
        self.told = told
        self.counters = executor.counters
        self.audits = audits if audits is not None and audits.is_on else None
        self._heads = executor.standings.heads
        self._turns = self._heads.turns
        ledger = self.ledger = broadcast.ledger
        ledger.privacy.is_guarding = any(upstream.private for upstream in chain.upstreams)
        self.truth = Truth(executor, ledger)
        self.profiles = Profiles(chain, self._heads, ledger, self.truth)
        executor.hearings.on_shape = self.profiles.watch_shapes
        self.sharing = Sharing(server.cache.memory_bytes, self._heads, executor.counters)
        self.encoder = Encoder(chain, executor, self.profiles, told, ledger, server.outage_status)
        self.patience = Patience(self, chain.deadlines.light_seconds)
        self.private_reads = PrivateReads(self)
        self.sharing.relaunch = self.patience.relaunch
        self._broadcast = broadcast
        broadcast.on_accepted = self.truth.on_sent
        self.whereabouts = Whereabouts(executor, self.profiles.policies, self.truth)
        broadcast.copies.is_mined_quietly = self._is_mined_quietly
        told.on_block = self.truth.contents.learn
        self._max_batch = server.limits.batch
        self._constant = constant_answers(chain.chain_id)
        self._batches = Batches(self)
        # Of those whose connection is not known.
        self.purse = Holdings().purse("")
        self._express = Express(self)
        executor.standings.on_served.append(self._on_served)
        executor.standings.on_distrust.append(self.sharing.on_distrust)

    @property
    def is_sending(self) -> bool:
        """Whether a send is under way."""
        return self._broadcast.is_sending

    # ---- the front's door

    def handle(
        self, body: bytes, trace_id: str, *, is_fresh: bool = False, purse: Purse | None = None
    ) -> Handled:
        """See docs/architecture.md, "front → engine". ``is_fresh``: the client wants no answer
        that was kept. ``purse``: what its connection holds, for a batch.
        """
        try:
            decoded = decode_body(body, self._max_batch)
        except Malformed as malformed:
            status = 400 if malformed.code == PARSE_ERROR else 200
            if isinstance(malformed, TooLarge):
                status = 413
            return Answer(encode_error(malformed.id, malformed.code, malformed.reason), status)
        if not isinstance(decoded, Request):
            caller = Caller(trace_id, is_fresh)
            return self._batches.handle(decoded, caller, purse or self.purse)
        profile = self.profiles.known.get(decoded.method)
        if profile is not None and profile.is_kept and decoded.id and not is_fresh:
            # Most questions were asked in these very words since the served head moved.
            result = self.sharing.lately.get(profile.key + decoded.params)
            if result is not None:
                self.counters.on_kept(profile.kept_by, profile.method_class)
                return Answer(encode_result(decoded.id, result))
            return self.read(decoded, profile, Caller(trace_id))
        local = self._constant.get(decoded.method) or self.local_result(decoded.method)
        if local is not None:
            self.counters.local_answers += 1
            return Answer(encode_result(decoded.id, local) if decoded.id else b"")
        if profile is None:
            profile = self.profiles.of(decoded.method)
        caller = Caller(trace_id, is_fresh)
        if not (decoded.id and profile.is_read):
            return self._single(decoded, caller)
        return self.read(decoded, profile, caller)

    def read(
        self,
        request: Request,
        profile: Profile,
        caller: Caller,
        *,
        call: SingleCall | None = None,
    ) -> Handled:
        """A read: answered from what is kept, or with another's answer, or on the express lane,
        or else by a plan. ``call``: what is sent for it, where that is settled already, with the
        others of its batch.
        """
        if call is None:
            call = self.profiles.prepare(request, profile)
        if call.need.private_only:
            private = self.private_reads.read(request, profile, call, caller)
            if private is not None:
                return private
        now = time.monotonic()
        key = call.key
        if caller.is_fresh:
            call.key = b""
        elif key:
            sharing = self.sharing
            result = sharing.cache.get(key, now)
            if result is not None:
                self.counters.on_kept(profile.kept_by, profile.method_class)
                sharing.remember(profile.key + request.params, call, result)
                return result_answer(request.id, result)
            flight = sharing.flights.get(key)
            if flight is not None:
                return sharing.follow(flight, request, caller.trace_id, now)
            if sharing.disk is not None and sharing.is_on_disk(call):
                return self._from_disk(request, profile, call, caller)
        if call.need.block <= self._heads.shown:
            first_try = self._express.start(request, profile, call, caller.trace_id, now)
            if first_try is not None:
                return first_try
        return self._ask(request, profile, call, caller, now)

    def _ask(
        self, request: Request, profile: Profile, call: SingleCall, caller: Caller, now: float
    ) -> Handled:
        """A read that upstreams are asked for, whatever is in the way."""
        if self.patience.is_above_head(call):
            return self._above_head(request, profile, call, caller)
        first_try = self._express.start(request, profile, call, caller.trace_id, now)
        return first_try or self._by_plan(request, profile, call, caller)

    def _by_plan(
        self, request: Request, profile: Profile, call: SingleCall, caller: Caller
    ) -> Pending:
        """Nobody can be asked at this moment, or the usual way is not open to it."""
        flight = SlowFlight()
        if call.key:
            self.sharing.flights[call.key] = flight
        work = self._carry_out(request, profile, call, flight, caller)
        undo = functools.partial(self.land, call, flight, None, RequestOutcome.OWN_ERROR)
        return Carried(work, undo, caller.trace_id, request.id)

    async def _from_disk(
        self, request: Request, profile: Profile, call: SingleCall, caller: Caller
    ) -> Answer:
        """From disk; upstreams are asked where that takes too long, or does not bring it."""
        result = await self.sharing.read(call)
        if result is not None and self.truth.allows(call, result):
            self.sharing.keep(call, result, time.monotonic())
            self.counters.on_kept("disk", profile.method_class)
            return result_answer(request.id, result)
        now = time.monotonic()
        follower = self.sharing.join(call.key, request, caller.trace_id, now)
        return await answer_of(follower or self._ask(request, profile, call, caller, now))

    def local_result(self, method: str) -> bytes | None:
        """The JSON text of a result that needs nobody else, ``None`` where it does."""
        if method in self._constant:
            return self._constant[method]
        if method == "eth_blockNumber":
            return self.told.fresh_number(time.monotonic())
        if method == LISTENING:
            is_usable = self.executor.standings.has_usable(MethodClass.LIGHT, time.monotonic())
            return b"true" if is_usable else b"false"
        return None

    # ---- one request

    async def _single(self, request: Request, caller: Caller) -> Answer:
        answer = await self.answer(request, caller)
        return answer if request.id else Answer(b"")

    async def answer(
        self,
        request: Request,
        caller: Caller,
        *,
        call: SingleCall | None = None,
    ) -> Answer:
        """Answer a request that has no local answer; counts it. ``call`` as of ``read``."""
        profile = self.profiles.of(request.method)
        if profile.is_read:
            if not request.id:
                return Answer(b"")  # nobody would see what a read brings
            handled = self.read(request, profile, caller, call=call)
            return await answer_of(handled)
        started = time.monotonic()
        answer, outcome = await self._answer_other(request, profile, caller)
        self.counters.on_request(profile.method_class, time.monotonic() - started, outcome)
        return answer

    async def _carry_out(
        self,
        request: Request,
        profile: Profile,
        call: SingleCall,
        flight: SlowFlight,
        caller: Caller,
    ) -> Answer:
        started = time.monotonic()
        settled: Settled | None = None
        outcome = RequestOutcome.OWN_ERROR
        try:
            settled = await self.executor.run(call, self.policy_for(call, profile))
            if is_worth_another(settled):
                settled = await self.patience.again(request, profile, settled, started)
            answer, outcome = self.encoder.encode(request, settled, caller.trace_id)
        except Exception:
            self.encoder.on_failed(request.method, FAILURE, caller.trace_id)
            raise
        finally:
            self.land(call, flight, settled, outcome)
        self.counters.on_request(profile.method_class, time.monotonic() - started, outcome)
        return answer

    async def _above_head(
        self, request: Request, profile: Profile, call: SingleCall, caller: Caller
    ) -> Answer:
        """Where the block does not come there is none: never what somebody may have invented."""
        if await self.patience.wait_for_block(call.need.block):
            return await answer_of(self.read(request, profile, caller))
        if profile.method.is_null_for_none:
            self.counters.on_local()
            return Answer(encode_result(request.id, b"null"))
        # What it means for this method, an upstream says best; a result is refused.
        return await answer_of(self._by_plan(request, profile, call, caller))

    async def _answer_other(
        self, request: Request, profile: Profile, caller: Caller
    ) -> tuple[Answer, RequestOutcome]:
        method = profile.method
        if method.kind is Kind.SEND:
            answer, outcome = await self._broadcast.send(request, method)
            if outcome is None:
                reason = "a transaction could not be sent"
                self.encoder.log_unserved(method.name, reason, caller.trace_id, answer.body)
                answer.status = self.encoder.outage_status
                outcome = RequestOutcome.OWN_ERROR
            return answer, outcome
        if method.kind in (Kind.STATEFUL, Kind.REFUSED):
            why = REFUSED_STATEFUL if method.kind is Kind.STATEFUL else REFUSED_KEYS
            reason = refusal_of(method.name, why)
            answer = Answer(encode_error(request.id, METHOD_REFUSED, reason))
            return answer, RequestOutcome.OWN_ERROR
        settled = await self.told.ask(self.executor, profile.policy)
        if self.told.text() is None and not settled.exhausted:
            # At start-up one voice is not believed at once: others are about to be heard.
            await self.patience.wait_for_head(0, FIRST_HEAD_SECONDS)
        number = self.told.text()
        if number is not None:
            return Answer(encode_result(request.id, number)), RequestOutcome.OK
        return self.encoder.encode(request, settled, caller.trace_id)

    def land(
        self, call: SingleCall, flight: Flight, settled: Settled | None, outcome: RequestOutcome
    ) -> None:
        """A call is over, for those who follow it as well; ``outcome`` as for the counters."""
        if not call.key or flight.is_landed:
            return
        judgement = None
        if settled is not None and outcome is not RequestOutcome.OWN_ERROR:
            judgement = settled.judgement
        if settled is not None and settled.key not in (None, call.key):
            judgement = None  # to another question: not for those who asked this one
        result = judgement.result if judgement is not None else None
        if settled is not None and result is not None and is_plain(settled):
            self.sharing.keep(call, bytes(result), time.monotonic())
        error = judgement.error if judgement is not None and result is None else None
        self.sharing.land(call.key, flight, result, error)

    def hedge_seconds(self, method_class: MethodClass) -> float:
        """After how long an attempt is looked at again."""
        policy = self.profiles.policies[method_class]
        if policy.hedge_seconds is None:
            return self.executor.standings.hedge_delay(method_class)
        return min(policy.hedge_seconds, policy.attempt_seconds)

    def policy_for(self, call: SingleCall, profile: Profile) -> Policy:
        """How long and how often this call may be tried."""
        policy, executor = profile.policy, self.executor
        if not policy.copies_need_doubt and is_costly(call.method, call.need.span):
            policy = costly(policy)
        name = call.method.name
        if executor.paces.knows(name):
            profile.is_watched = True
            policy = self._at_its_pace(policy, name, call.method.method_class)
        poison = executor.poison
        if poison and poison.is_poison(call.poison_key, time.monotonic()):
            return msgspec.structs.replace(policy, single_attempt=True)
        if call.tag == evm.PENDING and not policy.confirm_nulls:
            # Not every node has a pending block: where another has none either, that is the answer.
            return msgspec.structs.replace(policy, confirm_nulls=True)
        return policy

    def _at_its_pace(self, policy: Policy, method: str, method_class: MethodClass) -> Policy:
        """With the time that answers of a slow method take."""
        paces, hedge_seconds = self.executor.paces, policy.hedge_seconds
        if hedge_seconds is None:
            hedge_seconds = paces.hedge_seconds(
                method, self.executor.standings.hedge_delay(method_class)
            )
        seconds = paces.attempt_seconds(method, policy.attempt_seconds, policy.deadline_seconds)
        return msgspec.structs.replace(policy, attempt_seconds=seconds, hedge_seconds=hedge_seconds)

    async def _is_mined_quietly(self, hash: str) -> bool:
        """Whether a private transaction is in a block; nobody hears its hash."""
        entry = self.ledger.pool.get(hash)
        seen = None if entry is None else await self.whereabouts.find(entry)
        if entry is None or seen is None or not seen.is_it:
            return False
        for mined in self.ledger.on_block(seen.block, seen.block_hash, [hash]):
            self.truth.on_mined(mined)
        return True

    # ---- the chain moves, the configuration changes

    def _on_served(self) -> None:
        """The served head moved."""
        self.sharing.on_served()
        self.patience.on_served()
        if self._heads.turns != self._turns:
            self._turns = self._heads.turns
            ancestor = self._heads.ancestor
            self.sharing.on_turn(ancestor)
            self.truth.on_turn(ancestor)

    def adopt(self, old: Pipeline) -> None:
        """A reload: what was told stays true, and what is kept is kept."""
        self.truth.adopt(old.truth)
        self.sharing.adopt(old.sharing)
        self._broadcast.adopt(old._broadcast)

    def close(self) -> None:
        """Stop the clocks, and the tasks that outlive their requests."""
        self._express.close()
        self._broadcast.close()
        if self.audits is not None:
            self.audits.close()
        self.told.close()


async def answer_of(handled: Handled) -> Answer:
    """Whatever way it comes."""
    if isinstance(handled, Answer):
        return handled
    return await (pending_answer(handled) if isinstance(handled, Pending) else handled)
