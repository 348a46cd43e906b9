"""What a client gets for what upstreams said, and the words for when nobody could answer.

No state.
"""

from __future__ import annotations

from typing import Final

import msgspec

from rpcproxy.chains.kind import Methods, OwnWords
from rpcproxy.chains.method import Subject
from rpcproxy.chains.parts.asked_at import LATEST
from rpcproxy.clock import Clock
from rpcproxy.config.model import Chain
from rpcproxy.config.public_names import public_names
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
from rpcproxy.reasons import Reason
from rpcproxy.rules.answers.outage import outage_reason, shown_error
from rpcproxy.rules.answers.replies import NULL
from rpcproxy.rules.requests.refusals import is_word
from rpcproxy.states import RequestOutcome

# What no upstream's word could be given for; a look-up is then answered with null.
_UNGIVEN: Final = frozenset({Verdict.OFF_CHAIN, Verdict.FORGOTTEN, Verdict.DROPPED})


_OF_REQUEST: Final = frozenset({Blame.CLIENT, Blame.NOBODY})  # the chain's own words


# The answer; the outcome, for the counters; and why the wallet sees an error that is not the
# chain's own (``None``: it does not). Nobody could serve it where the outcome is ``OWN_ERROR``.
EncodedAnswer = tuple[Answer, RequestOutcome, Reason | None]


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

    def encode(self, request: Request, settled: Settled) -> EncodedAnswer:
        """The answer for a client, and what is to be told of it."""
        judgement = settled.judgement
        if judgement is not None and not settled.exhausted:
            reply = settled.reply
            if reply is not None and reply.rest is not None:
                id = request.id
                answer = restore_id(reply.body, reply.rest, settled.first_id, id, clock=self._clock)
                return answer, RequestOutcome.OK, None
            if judgement.result is not None:
                result: bytes | msgspec.Raw = judgement.result
                if judgement.result == NULL:
                    result = self._known(request) or NULL
                return Answer(encode_result(request.id, result)), RequestOutcome.OK, None
            if judgement.verdict in _UNGIVEN and self._is_lookup(request.method):
                result = self._known(request) or NULL
                return Answer(encode_result(request.id, result)), RequestOutcome.OK, None
            if judgement.error is not None and is_presentable(judgement):
                answer = Answer(encode_raw_error(request.id, shown_error(judgement) or NULL))
                why = None
                if judgement.verdict.blame not in _OF_REQUEST:
                    why = Reason(f"an upstream's own error was passed on ({judgement.detail})")
                return answer, RequestOutcome.RPC_ERROR, why
            if judgement.verdict is Verdict.KEY_REFUSED or judgement.by_code:
                why = Reason(f"every upstream refuses this request ({judgement.detail})")
                answer = Answer(encode_error(request.id, INTERNAL_ERROR, why.public))
                return answer, RequestOutcome.RPC_ERROR, why
        return self._in_outage(request, settled)

    def _in_outage(self, request: Request, settled: Settled) -> EncodedAnswer:
        """Nobody could answer. The block that clients were told is the head is still given, and
        what was sent through here.
        """
        number = self._told_block(self._describe(request.method), request.params)
        block = self._told.block(self._told.number if number == LATEST else number)
        if block is not None:
            return Answer(encode_result(request.id, block)), RequestOutcome.OWN_ERROR, None
        known = self._known(request)
        if known:
            return Answer(encode_result(request.id, known)), RequestOutcome.OWN_ERROR, None
        since = self._executor.standings.outage_since(MethodClass.LIGHT)
        seconds = None if since is None else max(0.0, self._clock.monotonic() - since)
        # What this request met outweighs what is known from before.
        failures = (*self._executor.failures_of_unusable(), *settled.failures)
        drained = [each.name for each in self._executor.standings if each.is_drained]
        count = len(self._chain.upstreams)
        reason = outage_reason(
            self._chain.name, failures, seconds, count, drained, self._public_names
        )
        error = encode_error(request.id, INTERNAL_ERROR, reason.public)
        return Answer(error, self.outage_status), RequestOutcome.OWN_ERROR, reason

    def _known(self, request: Request) -> bytes:
        """A transaction that was sent through here is never null, whoever has forgotten it."""
        if self._describe(request.method).subject is not Subject.TRANSACTION:
            return b""
        return self._shown.object_in(request.params)

    def _is_lookup(self, name: str) -> bool:
        """Whether null says that there is no such thing."""
        return self._describe(name).is_null_for_none


def is_presentable(judgement: Judgement) -> bool:
    """Whether an upstream's error may be shown: never its limits or its quarrel with our key,
    unless all say so of this request.
    """
    return judgement.verdict.blame not in (Blame.LIMIT, Blame.ACCESS) or is_word(judgement)
