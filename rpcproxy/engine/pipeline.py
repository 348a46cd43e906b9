"""The way of one HTTP body: decode, answer locally, forward, encode.

One pipeline per chain; it is the front's door. Answers from memory are returned at once, without
a task; everything else is a coroutine.

State: what each method needs, prepared once, and which methods have worked.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Coroutine
from typing import Any, Final

import msgspec

from rpcproxy.chains import evm
from rpcproxy.chains.methods import Kind, Method
from rpcproxy.config.model import Chain, Server
from rpcproxy.edges.logs import event
from rpcproxy.edges.metrics import ChainCounters
from rpcproxy.engine.batches import Batches
from rpcproxy.engine.broadcast import Broadcast
from rpcproxy.engine.calls import SingleCall
from rpcproxy.engine.executor import Executor, Settled
from rpcproxy.engine.express import Express
from rpcproxy.engine.streaming import restore_id
from rpcproxy.engine.told import ToldHead
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
    decode_body,
    encode_error,
    encode_raw_error,
    encode_result,
)
from rpcproxy.rules.admission import LISTENING, REFUSED_KEYS, REFUSED_STATEFUL, constant_answers
from rpcproxy.rules.failover import Policy
from rpcproxy.rules.limits import TokenBucket
from rpcproxy.rules.outage import explain
from rpcproxy.rules.selection import Need

_log = logging.getLogger("rpcproxy.requests")

HEAVY_ATTEMPTS: Final = 3  # a heavy attempt may take this part of the request's time
LARGE_REQUEST_BYTES: Final = 64 * 1024  # from here on, sizes that an upstream took are learned
# How most reads end. Where it stands in the middle of stranger params, the request is routed by
# the head all the same, which costs no more than a second attempt.
_AT_LATEST: Final = b'"latest"]'
LOG_LINES_PER_SECOND: Final = 5.0  # about requests that nobody could serve
MAX_PROFILES: Final = 1000  # clients may invent method names


Handled = Answer | Pending | Coroutine[Any, Any, Answer]


class Profile(msgspec.Struct, gc=False):
    """What is the same for every request of a method."""

    method: Method
    need: Need
    policy: Policy
    is_read: bool
    is_large: bool  # its answers are worth compressing
    head: bytes  # of the request for an upstream, up to its params

    def encode(self, id: int, params: msgspec.Raw) -> bytes:
        """One request for an upstream, under an id of ours."""
        return b'%b%b,"id":%d}' % (self.head, params or b"[]", id)


class Pipeline:
    """See the module's docstring."""

    def __init__(
        self,
        chain: Chain,
        executor: Executor,
        broadcast: Broadcast,
        told: ToldHead,
        counters: ChainCounters,
        server: Server,
    ) -> None:
        self.chain = chain
        self.executor = executor
        self.told = told
        self.counters = counters
        self._broadcast = broadcast
        self._max_batch = server.limits.batch
        self._outage_status = server.outage_status
        self._constant = constant_answers(chain.chain_id)
        self._policies = policies(chain)
        self._profiles: dict[str, Profile] = {}
        self._log_bucket = TokenBucket(LOG_LINES_PER_SECOND, time.monotonic())
        self._batches = Batches(self)
        self._express = Express(self)

    # ---- the front's door

    def handle(self, body: bytes, trace_id: str) -> Handled:
        """See docs/architecture.md, "front → engine"."""
        try:
            decoded = decode_body(body)
        except Malformed as malformed:
            status = 400 if malformed.code == PARSE_ERROR else 200
            return Answer(encode_error(malformed.id, malformed.code, malformed.reason), status)
        if not isinstance(decoded, Request):
            if len(decoded) > self._max_batch:
                reason = f"batch of {len(decoded)} requests, at most {self._max_batch} are taken"
                return Answer(encode_error(b"null", INVALID_REQUEST, reason), 413)
            return self._batches.handle(decoded, trace_id)
        local = self._constant.get(decoded.method) or self._changing_result(decoded.method)
        if local is not None:
            self.counters.local_answers += 1
            return Answer(encode_result(decoded.id, local) if decoded.id else b"")
        profile = self._profiles.get(decoded.method)
        if profile is not None and profile.is_read and decoded.id:
            need = profile.need
            if len(body) > LARGE_REQUEST_BYTES or (need.wants_head and _AT_LATEST not in body):
                need = self._need_of(decoded, profile)
            first_try = self._express.start(decoded, profile, need, trace_id)
            if first_try is not None:
                return first_try
        return self._single(decoded, trace_id)

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

    async def answer(self, request: Request, trace_id: str) -> Answer:
        """Answer a request that has no local answer; counts it."""
        started = time.monotonic()
        profile = self._profiles.get(request.method) or self.profile(request.method)
        if profile.is_read:
            if not request.id:
                return Answer(b"")  # nobody would see what a read brings
            call = self.call_for(request, profile)
            settled = await self.executor.run(call, self.policy_for(call, profile))
            answer, outcome = self.encode(request, settled, trace_id)
        else:
            answer, outcome = await self._answer_other(request, profile, trace_id)
        self.counters.on_request(profile.method.method_class, time.monotonic() - started, outcome)
        return answer

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
        number = self.told.text()
        if number is not None:
            return Answer(encode_result(request.id, number)), "ok"
        return self.encode(request, settled, trace_id)

    def profile(self, name: str) -> Profile:
        """What a method needs; remembered, within bounds."""
        known = self._profiles.get(name)
        if known is not None:
            return known
        method = evm.describe(name)
        policy = self._policies[method.method_class]
        profile = Profile(
            method,
            Need(
                method.method_class,
                name,
                # What is looked up by hash is likely to be in the latest blocks.
                wants_head=method.kind in (Kind.HEAD_READ, Kind.BLOCK_READ, Kind.LOOKUP),
                for_send=method.kind is Kind.SEND,
                last_resort=False,
            ),
            msgspec.structs.replace(
                policy,
                can_hedge=policy.can_hedge and method.can_hedge,
                confirm_nulls=method.confirm_null,
            ),
            is_read=method.kind not in (Kind.SEND, Kind.STATEFUL, Kind.REFUSED)
            and name != "eth_blockNumber",
            is_large=method.method_class is MethodClass.HEAVY,
            head=b'{"jsonrpc":"2.0","method":%b,"params":' % msgspec.json.encode(name),
        )
        if len(self._profiles) < MAX_PROFILES:
            self._profiles[name] = profile
        return profile

    def call_for(self, request: Request, profile: Profile) -> SingleCall:
        """What the executor needs to carry out a read."""
        need = self._need_of(request, profile)
        return SingleCall(profile.method, need, request.params, profile.is_large)

    @staticmethod
    def _need_of(request: Request, profile: Profile) -> Need:
        """What an upstream must have to serve this very request."""
        need, params = profile.need, request.params
        if not params:
            return need
        if need.wants_head and profile.method.kind is not Kind.LOOKUP:
            block = evm.required_block(profile.method, params)
            if block >= 0:
                need = msgspec.structs.replace(need, block=block, wants_head=False)
            elif block not in (evm.LATEST, evm.PENDING):
                need = msgspec.structs.replace(need, wants_head=False)
        size = memoryview(params).nbytes
        if size > LARGE_REQUEST_BYTES:
            need = msgspec.structs.replace(need, request_bytes=size)
        return need

    def hedge_seconds(self, method_class: MethodClass) -> float:
        """After how long an attempt is looked at again."""
        policy = self._policies[method_class]
        if policy.hedge_seconds is None:
            return self.executor.standings.hedge_delay(method_class)
        return min(policy.hedge_seconds, policy.attempt_seconds)

    def close(self) -> None:
        """Stop the clocks, and the tasks that outlive their requests."""
        self._express.close()
        self._broadcast.close()
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
            if judgement.error is not None and is_presentable(judgement):
                return Answer(encode_raw_error(request.id, judgement.error)), "rpc_error"
        return self._in_outage(request, settled, trace_id), "own_error"

    def on_worked(self, method: str) -> None:
        """Once calls of a method have worked, "invalid params" is worth a second opinion."""
        profile = self._profiles.get(method)
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


def is_presentable(judgement: Judgement) -> bool:
    """Whether an upstream's error may be shown: never its limits or its quarrel with our key."""
    return judgement.verdict.blame not in (Blame.LIMIT, Blame.ACCESS)


def policies(chain: Chain) -> dict[MethodClass, Policy]:
    """The policies of a chain's configuration, by class."""
    deadlines = chain.deadlines
    can_hedge = chain.hedge != "off"
    fixed = float(chain.hedge) if isinstance(chain.hedge, float | int) else None
    return {
        MethodClass.LIGHT: Policy(
            deadlines.light_seconds, chain.attempt_timeout_seconds, can_hedge, fixed
        ),
        MethodClass.HEAVY: Policy(
            deadlines.heavy_seconds,
            max(chain.attempt_timeout_seconds, deadlines.heavy_seconds / HEAVY_ATTEMPTS),
            can_hedge,
            fixed,
        ),
        MethodClass.SEND: Policy(
            deadlines.send_seconds,
            max(chain.attempt_timeout_seconds, deadlines.send_seconds / 2),
            can_hedge=False,
        ),
    }
