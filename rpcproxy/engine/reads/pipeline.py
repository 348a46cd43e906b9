"""A chain's door: decode a body, answer what the proxy knows itself, hand on the rest.

Answers from memory are returned at once, without a task. Reads go to ``reads``, batches to
``batches``, sends to ``broadcast``.

No state; nothing of what it uses is made here.
"""

from __future__ import annotations

import logging
from typing import Final

from rpcproxy.chains.method import Method, MethodKind
from rpcproxy.clock import Clock
from rpcproxy.config.model import Chain
from rpcproxy.engine.answers.carried import FAILURE
from rpcproxy.engine.answers.sharing import answer_of
from rpcproxy.engine.attempts.calls import SingleCall
from rpcproxy.engine.attempts.request_log import OpenRequest
from rpcproxy.engine.reads.batches import Batches
from rpcproxy.engine.reads.profiles import Profile
from rpcproxy.engine.reads.reads import Reads
from rpcproxy.engine.sends.broadcast import Broadcast
from rpcproxy.engine.watch.local import LocalAnswers
from rpcproxy.engine.watch.told import ToldHead
from rpcproxy.messages import (
    INTERNAL_ERROR,
    METHOD_REFUSED,
    PARSE_ERROR,
    Answer,
    Caller,
    Handled,
    Malformed,
    Request,
    TooLarge,
    decode_body,
    encode_error,
    encode_result,
)
from rpcproxy.reasons import Reason
from rpcproxy.rules.answers.holding import Purse
from rpcproxy.states import RequestOutcome

_log = logging.getLogger("rpcproxy.requests")

FIRST_HEAD_SECONDS: Final = 2.5


class Pipeline:
    """See the module's docstring."""

    def __init__(  # noqa: PLR0913 - what a body may need; nothing of it is made here
        self,
        chain: Chain,
        reads: Reads,
        broadcast: Broadcast | None,
        told: ToldHead,
        local: LocalAnswers,
        *,
        max_batch: int,
        purse: Purse,
        clock: Clock,
    ) -> None:
        """``broadcast`` is ``None`` where nothing is sent. ``purse`` holds what belongs to clients
        whose connection is not known.
        """
        self.chain = chain
        self.now = clock.monotonic
        self.reads = reads
        self.told = told
        self.local = local
        self.purse = purse
        self.executor, self.counters = reads.executor, reads.executor.counters
        self.profiles, self.sharing = reads.profiles, reads.sharing
        self.truth, self.ledger, self.encoder = reads.truth, reads.ledger, reads.encoder
        self.log = reads.log
        self._broadcast = broadcast
        self._successor: Pipeline | None = None  # after a reload
        self._max_batch = max_batch
        # Bound once: a look-up less for each request.
        self._read = reads.read
        self._constant = local.constant
        self._batches = Batches(
            reads, local, self.answer, chain.deadlines.light_seconds, clock=clock
        )

    def refuses(self, method: Method) -> bool:
        """Whether a method is not served at all; sends are where the kind of chain has them."""
        if method.kind is MethodKind.SEND:
            return self._broadcast is None
        return method.kind in (MethodKind.STATEFUL, MethodKind.REFUSED)

    @property
    def is_sending(self) -> bool:
        """Whether a send is under way."""
        return self._broadcast is not None and self._broadcast.is_sending

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
            asked = OpenRequest(Request(""), trace_id, self.now())
            self.log.refused(asked, malformed.reason)
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
            return self._read(decoded, profile, Caller(trace_id))
        local = self._constant.get(decoded.method) or self.local.result(decoded.method)
        if local is not None:
            self.counters.local_answers += 1
            return Answer(encode_result(decoded.id, local) if decoded.id else b"")
        if profile is None:
            profile = self.profiles.of(decoded.method)
        caller = Caller(trace_id, is_fresh)
        if not (decoded.id and profile.is_read):
            return self._single(decoded, caller)
        return self._read(decoded, profile, caller)

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
            return await answer_of(self._read(request, profile, caller, call))
        started = self.now()
        try:
            answer, outcome = await self.answer_other(request, profile, caller)
        except Exception:  # noqa: BLE001 - logged; the client gets its answer whatever it was
            _log.exception("request failed", extra={"trace_id": caller.trace_id})
            self.log.unserved(OpenRequest(request, caller.trace_id, started), Reason(FAILURE))
            answer = Answer(encode_error(request.id, INTERNAL_ERROR, FAILURE))
            outcome = RequestOutcome.OWN_ERROR
        self.counters.on_request(profile.method_class, self.now() - started, outcome)
        return answer

    async def answer_other(
        self, request: Request, profile: Profile, caller: Caller
    ) -> tuple[Answer, RequestOutcome]:
        method = profile.method
        if method.kind is MethodKind.SEND and self._broadcast is not None:
            body, outcome = await self._broadcast.send(request, method, caller.trace_id)
            if outcome is None:
                return Answer(body, self.encoder.outage_status), RequestOutcome.OWN_ERROR
            return Answer(body), outcome
        started = self.now()
        if self.refuses(method):
            refusal = self.local.refusal(method)
            self.log.refused(OpenRequest(request, caller.trace_id, started), refusal)
            answer = Answer(encode_error(request.id, METHOD_REFUSED, refusal))
            return answer, RequestOutcome.OWN_ERROR
        settled = await self.told.ask(self.executor, profile.policy)
        if self._successor is not None:  # nobody is told by two at once what the head is
            return await self._successor.answer_other(request, profile, caller)
        if self.told.text() is None and not settled.exhausted:
            # At start-up one voice is not believed at once: others are about to be heard.
            await self.reads.patience.wait_for_head(0, FIRST_HEAD_SECONDS)
        number = self.told.text()
        if number is not None:
            return Answer(encode_result(request.id, number)), RequestOutcome.OK
        answer, outcome, failure = self.encoder.encode(request, settled)
        if failure is not None:
            is_ours = outcome is RequestOutcome.OWN_ERROR
            tell = self.log.unserved if is_ours else self.log.failed
            tell(OpenRequest(request, caller.trace_id, started), failure, settled.tried)
        return answer, outcome

    def go_on_at(self, successor: Pipeline) -> None:
        """A reload: what would wait here for an upstream goes on there."""
        self._successor = successor
        self.reads.endings.go_on = successor.answer
        if self._broadcast is not None:
            self._broadcast.successor = successor._broadcast

    def close(self) -> None:
        """Stop the clocks, and the tasks that outlive their requests."""
        self.reads.close()
        if self._broadcast is not None:
            self._broadcast.close()
        self.told.close()
