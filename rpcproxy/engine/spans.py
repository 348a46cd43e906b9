"""Requests and attempts with spans: what stands around door, wire and executor where
``server.traces`` is set. Where it is not, none of this is there: it costs nothing.

A request's span is found by the context of its task; where work goes from one task to another by
callbacks (the express lane), by the id of its first attempt. Attempts that nobody asked for, such
as probes, have no span.

State: ``request_span`` and ``traceparent``, by context; in ``TracedExecutor`` the spans under way.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from rpcproxy.engine.answers.carried import Carried
from rpcproxy.engine.attempts.attempts import Attempt, ChainMember, PlanRun, Settled, Wire, WireCall
from rpcproxy.engine.attempts.calls import Call
from rpcproxy.engine.attempts.executor import Executor
from rpcproxy.engine.reads.express import FirstTry
from rpcproxy.engine.reads.pipeline import Pipeline
from rpcproxy.messages import Answer, Handled, Judgement, Outcome, Pending, Verdict
from rpcproxy.rules.answers.holding import Purse
from rpcproxy.rules.requests.steps import Policy, Send

if TYPE_CHECKING:
    from rpcproxy.edges.traces import Span, Traces

# The client's own, as its header has it; the front sets it around each request.
traceparent: Final[ContextVar[str]] = ContextVar("traceparent", default="")
_request_span: Final[ContextVar[Span | None]] = ContextVar("request_span", default=None)


@contextmanager
def _working_for(span: Span | None) -> Iterator[None]:
    """Connections and timers that begin in here belong to this request, or to none."""
    token = _request_span.set(span)
    try:
        yield
    finally:
        _request_span.reset(token)


class TracedDoors:
    """Doors by path, each with a span per request."""

    def __init__(self, get: Callable[[str], Pipeline | None], traces: Traces) -> None:
        self._get = get
        self._traces = traces

    def get(self, path: str) -> TracedDoor | None:
        pipeline = self._get(path)
        return None if pipeline is None else TracedDoor(pipeline, self._traces)


class TracedDoor:
    """One chain's door."""

    def __init__(self, pipeline: Pipeline, traces: Traces) -> None:
        self._pipeline = pipeline
        self._traces = traces

    def handle(
        self, body: bytes, trace_id: str, *, is_fresh: bool = False, purse: Purse | None = None
    ) -> Handled:
        name, describe = self._pipeline.chain.name, self._pipeline.profiles.describe
        span = self._traces.request(name, trace_id, body, traceparent.get(), describe)
        with _working_for(span):
            try:
                handled = self._pipeline.handle(body, trace_id, is_fresh=is_fresh, purse=purse)
            except Exception:
                span.on_failure()
                raise
            if isinstance(handled, Answer):
                span.on_answer(handled)
                return handled
            if not isinstance(handled, Pending):
                handled = Carried(_awaited(handled), handled.close, trace_id)
        return _TracedPending(handled, span)


async def _awaited(work: Coroutine[Any, Any, Answer]) -> Answer:
    return await work


class _TracedPending(Pending):
    __slots__ = ("_pending", "_span")

    def __init__(self, pending: Pending, span: Span) -> None:
        self._pending = pending
        self._span = span
        pending.deliver = self._on_answer

    def _on_answer(self, answer: Answer) -> None:
        self._span.on_answer(answer)
        self.deliver(answer)

    def cancel(self) -> None:
        self._pending.cancel()
        self._span.on_gone()


class TracedExecutor(Executor):
    """An executor that begins a span with each attempt, and ends it with its verdict."""

    traces: Traces

    def trace(self, traces: Traces) -> None:
        """To be called once, before anything is carried out."""
        self.traces = traces
        self._first_tries: dict[int, tuple[Span, Span]] = {}  # by id: the request's, their own
        self._spans: dict[Attempt, Span] = {}
        self._requests: dict[PlanRun, Span] = {}  # of runs that were taken over

    def on_first_try(self, try_: FirstTry) -> None:
        """The express lane is about to send."""
        request = _request_span.get()
        if request is None:
            return
        need = try_.call.need
        span = self.traces.attempt(
            request,
            try_.member.standing.name,
            try_.call.method.name,
            need.method_class,
            "first",
        )
        self._first_tries[try_.id] = request, span

    def on_first_try_done(self, try_: FirstTry) -> None:
        """Its outcome was taken in; where it was no plain success, a run has taken it over."""
        known = self._first_tries.pop(try_.id, None)
        if known is not None:
            known[1].on_verdict(Verdict.OK)

    def take_over(
        self, call: Call, policy: Policy, member: ChainMember, first_id: int, started: float
    ) -> Attempt:
        attempt = super().take_over(call, policy, member, first_id, started)
        known = self._first_tries.pop(first_id, None)
        if known is not None:
            self._requests[attempt.run], self._spans[attempt] = known
        return attempt

    async def finish(self, run: PlanRun) -> Settled:
        # Whatever this task does after it is for the same request.
        _request_span.set(self._requests.pop(run, None))
        return await super().finish(run)

    def leave(self, run: PlanRun) -> None:
        self._requests.pop(run, None)
        super().leave(run)

    def _send(self, run: PlanRun, step: Send, now: float) -> None:
        request = _request_span.get()
        with _working_for(None):
            super()._send(run, step, now)
        if request is None or request.is_over:
            return
        attempt = run.attempts[-1]
        self._spans[attempt] = self.traces.attempt(
            request,
            step.standing.name,
            run.call.method.name,
            run.call.need.method_class,
            step.reason,
        )

    def _end(self, attempt: Attempt, judgement: Judgement, now: float) -> None:
        span = self._spans.pop(attempt, None)
        if span is not None:
            span.on_verdict(judgement.verdict)
        super()._end(attempt, judgement, now)


class TracedWire:
    """Where attempts are sent; tells of the express lane's, which no executor drives."""

    def __init__(self, wire: Wire, executor: Callable[[], TracedExecutor]) -> None:
        self._wire = wire
        self._executor = executor
        self.drop_idle = wire.drop_idle

    def send(
        self, payload: bytes, done: Callable[[Outcome], None], *, gzip: bool = False
    ) -> WireCall:
        try_ = getattr(done, "__self__", None)
        if not isinstance(try_, FirstTry):
            return self._wire.send(payload, done, gzip=gzip)
        executor = self._executor()
        executor.on_first_try(try_)

        def on_outcome(outcome: Outcome) -> None:
            done(outcome)
            executor.on_first_try_done(try_)

        with _working_for(None):
            return self._wire.send(payload, on_outcome, gzip=gzip)
