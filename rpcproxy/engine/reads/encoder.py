"""What a client gets for what upstreams said, and the words for when nobody could answer.

State: a budget of log lines about requests that nobody could serve.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import msgspec

from rpcproxy.chains.kind import Methods, OwnWords
from rpcproxy.chains.method import Subject
from rpcproxy.chains.parts.asked_at import LATEST
from rpcproxy.clock import Clock
from rpcproxy.config.model import Chain
from rpcproxy.config.public_names import public_names
from rpcproxy.edges.logs import event
from rpcproxy.engine.answers.streaming import restore_id
from rpcproxy.engine.attempts.executor import Executor, Settled
from rpcproxy.engine.sends.shown_transactions import ShownTransactions
from rpcproxy.engine.watch.told import ToldHead
from rpcproxy.messages import (
    INTERNAL_ERROR,
    Answer,
    Blame,
    Judgement,
    MethodClass,
    Request,
    Verdict,
    encode_error,
    encode_raw_error,
    encode_result,
)
from rpcproxy.rules.answers.outage import briefly, outage_reason, shown_error
from rpcproxy.rules.answers.replies import NULL
from rpcproxy.rules.requests.refusals import is_word
from rpcproxy.rules.standing.limits import TokenBucket
from rpcproxy.states import RequestOutcome

_log = logging.getLogger("rpcproxy.requests")

LOG_LINES_PER_SECOND: Final = 5.0  # about requests that nobody could serve
# What no upstream's word could be given for; a look-up is then answered with null.
_UNGIVEN: Final = frozenset({Verdict.OFF_CHAIN, Verdict.FORGOTTEN, Verdict.DROPPED})


class Encoder:
    """See the module's docstring. One per chain."""

    def __init__(  # noqa: PLR0913 -- what an answer may need; nothing of it is made here
        self,
        chain: Chain,
        executor: Executor,
        told: ToldHead,
        shown: ShownTransactions,
        outage_status: int,
        *,
        methods: Methods,
        own_words: OwnWords,
        clock: Clock,
    ) -> None:
        self._chain = chain
        self._public_names = public_names(chain.upstreams)
        self._shown = shown
        self._executor = executor
        self._describe = methods.describe
        self._told_block = own_words.told_block
        self._told = told
        self.outage_status = outage_status
        self._clock = clock
        self._log_bucket = TokenBucket(LOG_LINES_PER_SECOND, clock.monotonic())
        # Told of each request that a wallet saw fail: method, reason, trace id.
        self.on_failed: Callable[[str, str, str], None] = lambda _method, _reason, _trace: None

    def encode(
        self, request: Request, settled: Settled, trace_id: str
    ) -> tuple[Answer, RequestOutcome]:
        """The answer for a client; the second value is for the counters."""
        judgement = settled.judgement
        if judgement is not None and not settled.exhausted:
            reply = settled.reply
            if reply is not None and reply.rest is not None:
                id = request.id
                return restore_id(
                    reply.body, reply.rest, settled.first_id, id, clock=self._clock
                ), RequestOutcome.OK
            if judgement.result is not None:
                result: bytes | msgspec.Raw = judgement.result
                if judgement.result == NULL:
                    result = self._known(request) or NULL
                return Answer(encode_result(request.id, result)), RequestOutcome.OK
            if judgement.verdict in _UNGIVEN and self._is_lookup(request.method):
                result = self._known(request) or NULL
                return Answer(encode_result(request.id, result)), RequestOutcome.OK
            if judgement.error is not None and is_presentable(judgement):
                error = shown_error(judgement) or judgement.error
                return Answer(encode_raw_error(request.id, error)), RequestOutcome.RPC_ERROR
            if judgement.verdict is Verdict.KEY_REFUSED or judgement.by_code:
                reason = f"every upstream refuses this request: {briefly(judgement.verdict)}"
                answer = Answer(encode_error(request.id, INTERNAL_ERROR, reason))
                return answer, RequestOutcome.RPC_ERROR
        return self._in_outage(request, settled, trace_id), RequestOutcome.OWN_ERROR

    def log_unserved(self, method: str, reason: str, trace_id: str, answer: bytes = b"") -> None:
        """A wallet saw an error: some lines a second tell of it, the metrics of all. ``answer`` is
        what it got, where that says more than ``reason``.
        """
        self._executor.counters.on_unserved()
        self.on_failed(method, _message_in(answer) or reason, trace_id)
        now = self._clock.monotonic()
        if self._log_bucket.tokens(now) < 1.0:
            return
        self._log_bucket.take(now)
        event(
            _log,
            logging.WARNING,
            "unserved",
            reason,
            chain=self._chain.name,
            method=method[:80],
            trace_id=trace_id,
        )

    def _in_outage(self, request: Request, settled: Settled, trace_id: str) -> Answer:
        """Nobody could answer. The block that clients were told is the head is still given, and
        what was sent through here.
        """
        number = self._told_block(self._describe(request.method), request.params)
        block = self._told.block(self._told.number if number == LATEST else number)
        if block is not None:
            return Answer(encode_result(request.id, block))
        known = self._known(request)
        if known:
            return Answer(encode_result(request.id, known))
        since = self._executor.standings.outage_since(MethodClass.LIGHT)
        seconds = None if since is None else max(0.0, self._clock.monotonic() - since)
        # What this request met outweighs what is known from before.
        failures = (*self._executor.failures_of_unusable(), *settled.failures)
        drained = [each.name for each in self._executor.standings if each.is_drained]
        count = len(self._chain.upstreams)
        reason = outage_reason(
            self._chain.name, failures, seconds, count, drained, self._public_names
        )
        self.log_unserved(request.method, reason.for_operators, trace_id)
        return Answer(encode_error(request.id, INTERNAL_ERROR, reason.public), self.outage_status)

    def _known(self, request: Request) -> bytes:
        """A transaction that was sent through here is never null, whoever has forgotten it."""
        if self._describe(request.method).subject is not Subject.TRANSACTION:
            return b""
        return self._shown.object_in(request.params)

    def _is_lookup(self, name: str) -> bool:
        """Whether null says that there is no such thing."""
        return self._describe(name).is_null_for_none


class _Error(msgspec.Struct):
    message: str


class _Failed(msgspec.Struct):
    error: _Error


def _message_in(answer: bytes) -> str:
    """The message of an error that a client got, empty where there is none."""
    try:
        return msgspec.json.decode(answer, type=_Failed).error.message
    except msgspec.DecodeError:
        return ""


def is_presentable(judgement: Judgement) -> bool:
    """Whether an upstream's error may be shown: never its limits or its quarrel with our key,
    unless all say so of this request.
    """
    return judgement.verdict.blame not in (Blame.LIMIT, Blame.ACCESS) or is_word(judgement)
