"""The one end of a read, whichever way it went: the client's answer, those who follow, the count.

A read by a plan, one from the express lane, a member of a batch, and followers that ask again: all
end here. Whatever fails on the way, the client gets an answer, its followers know, and it is
counted once.

No state.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from rpcproxy.clock import Clock
from rpcproxy.edges.metrics.metrics import ChainCounters
from rpcproxy.engine.answers.carried import FAILURE
from rpcproxy.engine.answers.sharing import Flight, Sharing
from rpcproxy.engine.attempts.calls import SingleCall
from rpcproxy.engine.attempts.executor import Settled
from rpcproxy.engine.attempts.request_log import OpenRequest, RequestLog
from rpcproxy.engine.attempts.tries import Tried, of_member
from rpcproxy.engine.reads.encoder import Encoder
from rpcproxy.engine.reads.patience import Patience, is_worth_another
from rpcproxy.engine.reads.profiles import Profile
from rpcproxy.messages import (
    INTERNAL_ERROR,
    Answer,
    Caller,
    MethodClass,
    Request,
    Verdict,
    encode_error,
)
from rpcproxy.reasons import Reason
from rpcproxy.rules.answers.outage import shown_error
from rpcproxy.states import RequestOutcome

_log = logging.getLogger("rpcproxy.requests")

GoOn = Callable[[Request, Caller], Awaitable[Answer]]


class OpenRead(msgspec.Struct, gc=False, frozen=True, eq=False):
    """A read that upstreams are asked for. ``started``: when the client asked, in monotonic
    seconds. Those who ask the same meanwhile are in ``flight``. The collector does not watch it:
    what it knows must not keep it.
    """

    request: Request
    profile: Profile
    call: SingleCall
    flight: Flight
    started: float
    trace_id: str


class Endings:
    """See the module's docstring. One per chain."""

    def __init__(
        self,
        encoder: Encoder,
        patience: Patience,
        sharing: Sharing,
        counters: ChainCounters,
        log: RequestLog,
        *,
        clock: Clock,
    ) -> None:
        self._encoder = encoder
        self.log = log
        self._patience = patience
        self._sharing = sharing
        self._counters = counters
        self._now = clock.monotonic
        # After a reload: who answers what nobody could be asked for here.
        self.go_on: GoOn | None = None

    async def end(
        self, read: OpenRead, ask: Callable[[], Awaitable[Settled]], due: float | None = None
    ) -> Answer:
        """Ask, another way where one is worth it, and settle. Never raises but for cancellation,
        of which its followers know. ``due`` as of ``reach``.
        """
        try:
            settled = await self.reach(read, ask, due)
        except asyncio.CancelledError:
            self.land(read, None)
            raise
        except Exception:  # noqa: BLE001 - logged; the client gets its answer whatever it was
            return self.fail(read)
        left_seconds = read.started + read.profile.policy.deadline_seconds - self._now()
        if self.go_on is None or not settled.exhausted or left_seconds <= 0.0:
            return self.settle(read, settled)
        self.land(read, None)
        return await self.go_on(read.request, Caller(read.trace_id, is_fresh=not read.call.key))

    async def reach(
        self, read: OpenRead, ask: Callable[[], Awaitable[Settled]], due: float | None = None
    ) -> Settled:
        """What upstreams say in the end, by another way where nobody could answer as it was.
        ``due``: until when, in monotonic seconds, where that is not its usual deadline.
        """
        settled = await ask()
        if not is_worth_another(settled):
            return settled
        if due is None:
            due = read.started + read.profile.policy.deadline_seconds
        try:
            return await self._patience.again(
                read.request, read.profile, settled, read.started, due
            )
        except BaseException:
            settled.close()
            raise

    def settle(self, read: OpenRead, settled: Settled) -> Answer:
        """The answer for the client; those who follow get theirs. Counts it."""
        try:
            answer, outcome, failure = self._encoder.encode(read.request, settled)
        except Exception:  # noqa: BLE001 - as above
            settled.close()
            return self.fail(read)
        method_class = read.profile.method_class
        seconds = self._now() - read.started
        self._counters.on_request(method_class, seconds, outcome)
        if failure is not None or seconds > self.log.slow_seconds[method_class]:
            self._tell(read, settled, outcome, failure)
        self.land(read, None if outcome is RequestOutcome.OWN_ERROR else settled)
        return answer

    def _tell(
        self, read: OpenRead, settled: Settled, outcome: RequestOutcome, failure: Reason | None
    ) -> None:
        """It failed or was slow; so did those that follow it, but where they ask again."""
        tried: Sequence[Tried] = settled.tried
        if settled.standing is not None and settled.judgement is not None:
            tried = of_member(tried, settled.standing.name, settled.judgement)
        is_private = read.call.need.private_only
        everybody = [OpenRequest(read.request, read.trace_id, read.started, is_private=is_private)]
        if outcome is not RequestOutcome.OWN_ERROR and not read.flight.is_landed:
            everybody += [
                OpenRequest(each.request, each.trace_id, each.started, is_private=is_private)
                for each in read.flight.followers or ()
                if not each.is_over
            ]
        for asked in everybody:
            if failure is None:
                if self._now() - asked.started > self.log.slow_seconds[read.profile.method_class]:
                    self.log.slow(asked, tried)
            elif outcome is RequestOutcome.OWN_ERROR:
                self.log.unserved(asked, failure, tried)
            else:
                self.log.failed(asked, failure, tried)

    def fail(self, read: OpenRead) -> Answer:
        """The proxy's own error, for the exception that is being handled. Counts it."""
        _log.exception("request failed", extra={"trace_id": read.trace_id})
        self.land(read, None)
        return self.failed(read.request, read.profile.method_class, read.started, read.trace_id)

    def failed(
        self, request: Request, method_class: MethodClass, started: float, trace_id: str
    ) -> Answer:
        """The proxy's own error, for one of those whose trouble is logged already. Counts it."""
        self._counters.on_request(method_class, self._now() - started, RequestOutcome.OWN_ERROR)
        self.log.unserved(OpenRequest(request, trace_id, started), Reason(FAILURE))
        return Answer(encode_error(request.id, INTERNAL_ERROR, FAILURE))

    def land(self, read: OpenRead, settled: Settled | None) -> None:
        """It is over, for those who follow it as well: without an answer for them where there is
        none, or one to another question.
        """
        key, flight = read.call.key, read.flight
        if not key or flight.is_landed:
            return
        judgement = None if settled is None else settled.judgement
        if settled is not None and settled.key not in (None, key):
            judgement = None
        result = judgement.result if judgement is not None else None
        if settled is not None and result is not None and _is_plain(settled):
            self._sharing.keep(read.call, bytes(result), self._now())
        error = shown_error(judgement) if judgement is not None and result is None else None
        self._sharing.land(key, flight, result, error)


def _is_plain(settled: Settled) -> bool:
    """Whether it was answered with a result that may be kept."""
    judgement = settled.judgement
    return (
        judgement is not None
        and not settled.is_passing
        and judgement.verdict is Verdict.OK
        and (settled.reply is None or settled.reply.rest is None)
    )
