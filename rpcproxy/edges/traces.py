"""Spans for OpenTelemetry, sent to a collector over HTTP by a thread of its own.

Imported only where ``server.traces`` is set: it needs the extra ``otel``. A span names chain,
upstream, method and how it ended; params, answers and URLs are in none.

What OpenTelemetry logs of a delivery is not passed on: it comes with each one, and may hold the
collector's URL. Of a trouble its beginning and its end are told.

State: OpenTelemetry's own queue of spans, bounded; what does not fit is dropped there. Whether
spans arrive, and what was said last of why not: the exporting thread's.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import msgspec
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from rpcproxy import __version__
from rpcproxy.chains.method import Method
from rpcproxy.edges.logs import event
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
CLOSE_SECONDS: Final = 2.0
# Deliveries in a row after which a trouble is over: one that comes and goes is told once.
TAKEN_IN_A_ROW: Final = 3
_PATH: Final = "/v1/traces"
_LONGEST_METHOD: Final = 80
# An error is short; what is longer is a result.
_LONGEST_ERROR_BYTES: Final = 64 * 1024
_propagator: Final = TraceContextTextMapPropagator()
_log = logging.getLogger("rpcproxy.traces")
# The exporter's, and that of the queue, which says of each span that it is full.
_LIBRARY_LOGGERS: Final = ("opentelemetry.exporter", "opentelemetry.sdk._shared_internal")
_STATUS_OF_PHRASE: Final = {status.phrase: status.value for status in HTTPStatus}


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
    """See the module's docstring. ``exporter`` stands in for the collector at ``url``, which has
    ``export_seconds`` for a delivery, and ``close_seconds`` for the last one.
    """

    def __init__(
        self,
        url: str,
        *,
        exporter: SpanExporter | None = None,
        export_seconds: float = EXPORT_SECONDS,
        close_seconds: float = CLOSE_SECONDS,
    ) -> None:
        self._close_seconds = close_seconds
        resource = Resource.create({"service.name": "rpcproxy", "service.version": __version__})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        if exporter is None:
            exporter = OTLPSpanExporter(endpoint=endpoint_of(url), timeout=export_seconds)
        host = urlsplit(url).hostname or "?"
        self._provider.add_span_processor(
            BatchSpanProcessor(Delivery(exporter, host, export_seconds))
        )
        self._tracer = self._provider.get_tracer("rpcproxy", __version__)

    def request(
        self,
        chain: str,
        trace_id: str,
        body: bytes,
        traceparent: str,
        describe: Callable[[str], Method],
    ) -> Span:
        """Begin a request's span; beneath the client's own where it sent its ``traceparent``.
        ``describe``: the methods of this chain's kind, by name.
        """
        context = _propagator.extract({"traceparent": traceparent}) if traceparent else Context()
        method, count, method_class = _described(body, describe)
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
            async with asyncio.timeout(self._close_seconds):
                await done.wait()
        except TimeoutError:
            return


class Delivery(SpanExporter):
    """Hands spans to ``exporter``, and tells once that they do not arrive at ``host`` and once
    that they do again.
    """

    def __init__(
        self, exporter: SpanExporter, host: str, export_seconds: float = EXPORT_SECONDS
    ) -> None:
        self._exporter = exporter
        self._export_seconds = export_seconds
        self._host = host
        self._missing = 0  # deliveries until the trouble is over; 0 while there is none
        _library_words.hear()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        _library_words.last = ""
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001 - a fault in there loses spans, and no more
            result = SpanExportResult.FAILURE
            _library_words.last = type(error).__name__
        if result is SpanExportResult.FAILURE:
            self._on_lost(_library_words.last or f"not taken within {self._export_seconds:g} s")
        else:
            self._on_taken()
        return result

    def _on_lost(self, reason: str) -> None:
        if not self._missing:
            message = f"spans do not arrive at {self._host}: they are dropped until they do"
            event(_log, logging.WARNING, "traces_broken", message, reason=reason)
        self._missing = TAKEN_IN_A_ROW

    def _on_taken(self) -> None:
        if self._missing:
            self._missing -= 1
            if not self._missing:
                message = f"spans arrive at {self._host} again"
                event(_log, logging.INFO, "traces_well", message)

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class _LibraryWords(logging.Handler):
    """In the place of the log, for the library's loggers of deliveries. ``last`` is what may be
    shown of what they said: a status or the kind of an error, never a URL.
    """

    last = ""

    def hear(self) -> None:
        for name in _LIBRARY_LOGGERS:
            logger = logging.getLogger(name)
            logger.propagate = False
            logger.addHandler(self)  # no second time

    def emit(self, record: logging.LogRecord) -> None:
        for value in record.args if isinstance(record.args, tuple) else ():
            status = _STATUS_OF_PHRASE.get(value) if isinstance(value, str) else value
            if isinstance(status, BaseException):
                self.last = type(status).__name__
            elif isinstance(status, int) and 100 <= status < 600:
                self.last = f"HTTP {status}"


_library_words: Final = _LibraryWords()


def _tell(loop: asyncio.AbstractEventLoop, done: asyncio.Event) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(done.set)


def endpoint_of(url: str) -> str:
    """The URL of a collector, completed by OTLP's own path where it has none."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    return urlunsplit(parts._replace(path=path if path.endswith(_PATH) else path + _PATH))


def _described(body: bytes, describe: Callable[[str], Method]) -> tuple[str, int, str]:
    """Method, how many members a batch has (0: none), and the method's class."""
    try:
        decoded = decode_body(body)
    except Malformed:
        return "malformed", 0, ""
    if not isinstance(decoded, Request):
        return "batch", len(decoded), ""
    method = describe(decoded.method)
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
