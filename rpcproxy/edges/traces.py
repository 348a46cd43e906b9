"""Spans for OpenTelemetry, sent to a collector over HTTP by a thread of its own.

Imported only where ``server.traces`` is set: it needs the extra ``otel``. A span names chain,
upstream, method and how it ended; params, answers and URLs are in none.

State: OpenTelemetry's own queue of spans, bounded; what does not fit is dropped there.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import msgspec
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from rpcproxy import __version__
from rpcproxy.chains import evm
from rpcproxy.messages import (
    CLASS_NAMES,
    INTERNAL_ERROR,
    Answer,
    Blame,
    Malformed,
    MethodClass,
    Request,
    Verdict,
    decode_body,
)

EXPORT_SECONDS: Final = 5.0  # how long one delivery to the collector may take
CLOSE_SECONDS: Final = 3.0
_PATH: Final = "/v1/traces"
_LONGEST_METHOD: Final = 80
# An error is short; what is longer is a result.
_LONGEST_ERROR_BYTES: Final = 64 * 1024
_propagator: Final = TraceContextTextMapPropagator()


class _Error(msgspec.Struct):
    code: int = 0


class _Errored(msgspec.Struct):
    error: _Error | None = None


_decode_errored: Final = msgspec.json.Decoder(_Errored).decode


class Span:
    """A request's or an attempt's. Ends once; what comes later is ignored."""

    __slots__ = ("_span", "is_over")

    def __init__(self, span: OtelSpan) -> None:
        self._span = span
        self.is_over = False

    @property
    def context(self) -> Context:
        """For those that begin beneath it."""
        return set_span_in_context(self._span)

    def on_answer(self, answer: Answer) -> None:
        """The request is answered; of a large answer this is its beginning."""
        code = _error_code(answer.body)
        if code and not self.is_over:
            self._span.set_attribute("rpc.jsonrpc.error_code", code)
            if code == INTERNAL_ERROR:
                self._span.set_status(StatusCode.ERROR)
        self._end()

    def on_failure(self) -> None:
        """The proxy failed on it."""
        self._span.set_status(StatusCode.ERROR)
        self._end()

    def on_verdict(self, verdict: Verdict) -> None:
        """The attempt ended so."""
        if not self.is_over:
            self._span.set_attribute("rpcproxy.verdict", verdict.label)
            if verdict.blame is Blame.UPSTREAM:
                self._span.set_status(StatusCode.ERROR)
        self._end()

    def on_gone(self) -> None:
        """The client hung up."""
        if not self.is_over:
            self._span.set_attribute("rpcproxy.cancelled", value=True)
        self._end()

    def _end(self) -> None:
        if not self.is_over:
            self.is_over = True
            self._span.end()


class Traces:
    """See the module's docstring. ``exporter`` stands in for the collector at ``url``."""

    def __init__(self, url: str, *, exporter: SpanExporter | None = None) -> None:
        resource = Resource.create({"service.name": "rpcproxy", "service.version": __version__})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        if exporter is None:
            exporter = OTLPSpanExporter(endpoint=endpoint_of(url), timeout=EXPORT_SECONDS)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("rpcproxy", __version__)

    def request(self, chain: str, trace_id: str, body: bytes, traceparent: str) -> Span:
        """Begin a request's span; beneath the client's own where it sent its ``traceparent``."""
        context = _propagator.extract({"traceparent": traceparent}) if traceparent else Context()
        method, count, method_class = _described(body)
        span = self._tracer.start_span(
            method,
            context,
            SpanKind.SERVER,
            {
                "rpc.system": "jsonrpc",
                "rpc.method": method,
                "rpcproxy.chain": chain,
                "rpcproxy.trace_id": trace_id,  # as in X-Trace-Id and in the log
                **({"rpcproxy.batch_size": count} if count else {}),
                **({"rpcproxy.method_class": method_class} if method_class else {}),
            },
        )
        return Span(span)

    def attempt(
        self, parent: Span, upstream: str, method: str, method_class: MethodClass, reason: str
    ) -> Span:
        """Begin an attempt's span. ``reason``: why it was made, ``first``, ``hedge``, or the
        verdict of the one before.
        """
        method = method[:_LONGEST_METHOD]
        span = self._tracer.start_span(
            f"{upstream} {method}",
            parent.context,
            SpanKind.CLIENT,
            {
                "rpc.system": "jsonrpc",
                "rpc.method": method,
                "rpcproxy.upstream": upstream,
                "rpcproxy.method_class": CLASS_NAMES[method_class],
                "rpcproxy.reason": reason,
            },
        )
        return Span(span)

    async def close(self) -> None:
        """Send what is left, within a moment: a collector that hangs holds up nobody's end."""
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def shut_down() -> None:
            try:
                self._provider.shutdown()
            finally:
                tell()

        tell = functools.partial(_tell, loop, done)
        threading.Thread(target=shut_down, name="rpcproxy-traces", daemon=True).start()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await done.wait()
        except TimeoutError:
            return


def _tell(loop: asyncio.AbstractEventLoop, done: asyncio.Event) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(done.set)


def endpoint_of(url: str) -> str:
    """The URL of a collector, completed by OTLP's own path where it has none."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    return urlunsplit(parts._replace(path=path if path.endswith(_PATH) else path + _PATH))


def _described(body: bytes) -> tuple[str, int, str]:
    """Method, how many members a batch has (0: none), and the method's class."""
    try:
        decoded = decode_body(body)
    except Malformed:
        return "malformed", 0, ""
    if not isinstance(decoded, Request):
        return "batch", len(decoded), ""
    method = evm.describe(decoded.method)
    return decoded.method[:_LONGEST_METHOD], 0, CLASS_NAMES[method.method_class]


def _error_code(body: bytes) -> int:
    """Of an error's answer; 0 for a result and for batches."""
    if not body.startswith(b"{") or len(body) > _LONGEST_ERROR_BYTES:
        return 0
    try:
        error = _decode_errored(body).error
    except msgspec.MsgspecError:
        return 0
    return 0 if error is None else error.code
