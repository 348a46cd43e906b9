"""Requests that failed or were slow, told in full: the log line, the count, and a trace.

One per chain. Whatever answers requests says here how they ended; who keeps the traces is told.

State: budgets of log lines about requests that nobody could serve, and of traces.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from rpcproxy.chains.kind import Methods
from rpcproxy.chains.method import Method, MethodKind
from rpcproxy.chains.parts.inquiries import JsonText
from rpcproxy.clock import Clock
from rpcproxy.edges.logs import event
from rpcproxy.edges.metrics.metrics import ChainCounters
from rpcproxy.engine.attempts.tries import Tried, traced
from rpcproxy.messages import METHOD_CLASSES, MethodClass, Request
from rpcproxy.reasons import Reason
from rpcproxy.rules.requests.steps import Policy
from rpcproxy.rules.standing.limits import TokenBucket
from rpcproxy.rules.telling.request_traces import Trace, TraceOutcome, bounded, slow_seconds

_log = logging.getLogger("rpcproxy.requests")

LOG_LINES_PER_SECOND: Final = 5.0  # about requests that nobody could serve
# What a client makes up costs no more than this, nor do thousands that follow one that failed: a
# trace takes some 80 microseconds of the loop, in 2026.
TRACES_PER_SECOND: Final = 500.0
REFUSALS_PER_SECOND: Final = 100.0


class OpenRequest(NamedTuple):
    """A request as it came. ``started``: in monotonic seconds; ``hash``: of the transaction that is
    sent, where it is known; ``is_private``: its params are nobody's.
    """

    request: Request
    trace_id: str
    started: float
    hash: str = ""
    is_private: bool = False


OnTrace = Callable[[Trace, bool], None]


def unheard_trace(_trace: Trace, _is_known: bool) -> None:  # noqa: FBT001 -- a listener
    """Nobody keeps traces."""


class RequestLog:
    """See the module's docstring. ``on_trace`` is told of each trace, and whether its method is in
    the table of the chain's kind. ``slow_seconds`` by class: what takes longer is told of.
    ``keeps_params``: of reads.
    """

    def __init__(  # noqa: PLR0913 -- what may be told; nothing of it is made here
        self,
        chain_name: str,
        counters: ChainCounters,
        policies: Mapping[MethodClass, Policy],
        looked_up: Callable[[Method, JsonText], str],
        *,
        methods: Methods,
        clock: Clock,
        keeps_params: bool = False,
    ) -> None:
        """``looked_up``: the hash of the transaction that a read asks for, empty where it is none
        that does.
        """
        self._chain_name = chain_name
        self._counters = counters
        self._looked_up = looked_up
        self._describe = methods.describe
        self._clock = clock
        self._keeps_params = keeps_params
        self._bucket = TokenBucket(LOG_LINES_PER_SECOND, clock.monotonic())
        self._traces = TokenBucket(TRACES_PER_SECOND, clock.monotonic())
        self._refusals = TokenBucket(REFUSALS_PER_SECOND, clock.monotonic())
        self.slow_seconds = tuple(
            slow_seconds(each, policies[each].attempt_seconds) for each in METHOD_CLASSES
        )
        self.on_trace: OnTrace = unheard_trace

    def unserved(self, asked: OpenRequest, why: Reason, tried: Sequence[Tried] = ()) -> None:
        """Nobody could serve it, and the wallet saw an error of ours: some log lines a second tell
        of it, the metrics of all.
        """
        self._counters.on_unserved()
        trace = self._tell(asked, TraceOutcome.FAILED, why, tried)
        if trace is None or not self._takes(self._bucket):
            return
        event(
            _log,
            logging.WARNING,
            "unserved",
            trace.reason,
            chain=self._chain_name,
            method=trace.method,
            trace_id=asked.trace_id,
            transaction=trace.transaction or None,
        )

    def failed(self, asked: OpenRequest, why: Reason, tried: Sequence[Tried] = ()) -> None:
        """It was answered with an upstream's error that is not the chain's."""
        self._tell(asked, TraceOutcome.FAILED, why, tried)

    def refused(self, asked: OpenRequest, why: str) -> None:
        """By a rule of ours, in these words."""
        self._tell(asked, TraceOutcome.REFUSED, Reason(why), ())

    def slow(self, asked: OpenRequest, tried: Sequence[Tried], words: str = "") -> None:
        """It was answered, and took longer than ``slow_seconds``."""
        method_class = self._describe(asked.request.method).method_class
        seconds = self._clock.monotonic() - asked.started
        slow = self.slow_seconds[method_class]
        why = f"answered after {seconds:.1f} s, and past {slow:g} s is slow"
        self._tell(asked, TraceOutcome.SLOW, Reason(f"{why}: {words}" if words else why), tried)

    def _tell(
        self, asked: OpenRequest, outcome: TraceOutcome, why: Reason, tried: Sequence[Tried]
    ) -> Trace | None:
        """``None`` where there were so many that it is not told of."""
        if not self._takes(self._refusals if outcome is TraceOutcome.REFUSED else self._traces):
            return None
        request, clock = asked.request, self._clock
        method = self._describe(request.method)
        seconds = max(0.0, clock.monotonic() - asked.started)
        has_params = self._keeps_params and method.kind is not MethodKind.SEND
        trace = bounded(
            Trace(
                trace_id=asked.trace_id,
                chain=self._chain_name,
                method=request.method,
                outcome=outcome,
                started_unix=clock.unix() - seconds,
                seconds=round(seconds, 4),
                reason=why.for_operators,
                told=why.public if why.detail else "",
                transaction=asked.hash or self._looked_up(method, request.params),
                attempts=traced(tried, asked.started),
                params=request.params.decode(errors="replace")
                if has_params and not asked.is_private
                else "",
            )
        )
        self.on_trace(trace, method.is_known)
        return trace

    def _takes(self, bucket: TokenBucket) -> bool:
        """Whether there is room for one more."""
        now = self._clock.monotonic()
        if bucket.tokens(now) < 1.0:
            return False
        bucket.take(now)
        return True
