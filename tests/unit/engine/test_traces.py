"""Traces: nothing of them is there while they are off, and what the spans of odd requests say."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rpcproxy.app.chain import ChainRuntime
from rpcproxy.app.process.extras import how_to_add
from rpcproxy.app.tracing import Tracing, check_traces
from rpcproxy.chains.registry import EVM
from rpcproxy.config.model import Chain, Server, Upstream
from rpcproxy.config.problems import ConfigError
from rpcproxy.edges.metrics.metrics import ChainCounters
from rpcproxy.edges.traces import EXPORT_SECONDS, Delivery, Traces, endpoint_of
from rpcproxy.engine.attempts.executor import Executor
from rpcproxy.engine.spans import TracedDoors
from rpcproxy.front.wire.http import HttpConnection
from rpcproxy.messages import Answer, MethodClass, Pending, Verdict
from tests.kits.waiting import limited

SUCCESS, FAILURE = SpanExportResult.SUCCESS, SpanExportResult.FAILURE
A_CHAIN = Chain(
    name="test",
    chain_id=7,
    upstreams=(Upstream(name="a", provider="a", url="http://127.0.0.1:9/a"),),
)


# ---- off


async def test_while_they_are_off_all_is_as_without_them() -> None:
    tracing = Tracing(Server())
    doors: dict[str, Any] = {}
    assert tracing.doors(doors) is doors
    assert tracing.connection is HttpConnection
    runtime = tracing.chain(A_CHAIN, Server(), ChainCounters())
    assert type(runtime) is ChainRuntime
    assert type(runtime.executor) is Executor
    assert runtime.executor.members["a"].wire is runtime.wires["a"]
    await runtime.close()
    await tracing.close()


def test_a_missing_extra_is_said_in_words() -> None:
    wanted = Server(traces="http://127.0.0.1:4318")
    check_traces(wanted)
    missing = ("no_such_package.sdk",)
    check_traces(Server(), missing)
    with pytest.raises(ConfigError) as caught:
        check_traces(wanted, missing)
    assert f"add the extra 'otel': {how_to_add('otel')}" in str(caught.value)
    assert "'rpcproxy[" not in str(caught.value)


# ---- on


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
        ("https://c.test/otlp?x=1", "https://c.test/otlp/v1/traces?x=1"),
        ("https://c.test/v1/traces", "https://c.test/v1/traces"),
    ],
)
def test_the_path_is_otlps_own(url: str, endpoint: str) -> None:
    assert endpoint_of(url) == endpoint


class Later(Pending):
    """An answer that comes when the test says so."""

    is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Door:
    """In the place of a pipeline: answers with what it is given."""

    chain = A_CHAIN
    profiles = SimpleNamespace(describe=EVM.methods.describe)

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def handle(self, body: bytes, trace_id: str, **wishes: Any) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


async def finished(traces: Traces, spans: InMemorySpanExporter) -> list[Any]:
    await traces.close()
    return list(spans.get_finished_spans())


def a_door(traces: Traces, answer: Any) -> Any:
    door = TracedDoors({"/": Door(answer)}.get, traces)  # type: ignore[arg-type]
    assert door.get("/nowhere") is None
    return door.get("/")


def request(method: str) -> bytes:
    return b'{"jsonrpc":"2.0","id":1,"method":"%b","params":["0xsecret"]}' % method.encode()


async def test_answers_at_once_batches_and_what_is_no_request(spans: InMemorySpanExporter) -> None:
    traces = Traces("http://127.0.0.1:9", exporter=spans)
    door = a_door(traces, Answer(b'{"jsonrpc":"2.0","id":1,"error":{"code":-32601}}'))
    bodies = (request("eth_sign"), b"[1,2]", b"{")
    for number, body in enumerate(bodies):
        assert isinstance(door.handle(body, f"t{number}"), Answer)
    single, batch, malformed = await finished(traces, spans)
    assert single.name == single.attributes["rpc.method"] == "eth_sign"
    assert single.attributes["rpc.jsonrpc.error_code"] == -32601
    assert single.status.is_unset, "refused: no trouble of ours"
    assert single.attributes["rpcproxy.trace_id"] == "t0"
    assert single.attributes["rpcproxy.chain"] == "test"
    assert (batch.name, batch.attributes["rpcproxy.batch_size"]) == ("batch", 2)
    assert malformed.name == "malformed"
    assert not any("0xsecret" in str(span.to_json()) for span in (single, batch, malformed))


async def test_a_client_that_hangs_up_ends_its_span(spans: InMemorySpanExporter) -> None:
    traces = Traces("http://127.0.0.1:9", exporter=spans)
    later = Later()
    pending = a_door(traces, later).handle(request("eth_call"), "t")
    pending.cancel()
    assert later.is_cancelled
    (span,) = await finished(traces, spans)
    assert span.attributes["rpcproxy.cancelled"] is True


async def test_what_a_coroutine_answers_is_told_once(spans: InMemorySpanExporter) -> None:
    traces = Traces("http://127.0.0.1:9", exporter=spans)

    async def work() -> Answer:
        await asyncio.sleep(0)
        return Answer(b'{"jsonrpc":"2.0","id":1,"result":"0x1"}')

    pending = a_door(traces, work()).handle(request("eth_sendRawTransaction"), "t")
    answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    pending.deliver = answered.set_result
    assert (await answered).body.endswith(b'"0x1"}')
    # Cancelled before its first step, its coroutine is closed and not left behind.
    a_door(traces, work()).handle(request("eth_sendRawTransaction"), "u").cancel()
    await asyncio.sleep(0)
    told, gone = await finished(traces, spans)
    assert told.attributes["rpcproxy.method_class"] == "send"
    assert "rpcproxy.cancelled" not in told.attributes
    assert gone.attributes["rpcproxy.cancelled"] is True


async def test_a_door_that_fails_ends_the_span(spans: InMemorySpanExporter) -> None:
    traces = Traces("http://127.0.0.1:9", exporter=spans)
    with pytest.raises(ValueError, match="no"):
        a_door(traces, ValueError("no")).handle(request("eth_call"), "t")
    (span,) = await finished(traces, spans)
    assert not span.status.is_ok


async def test_attempts_lie_beneath_their_request(spans: InMemorySpanExporter) -> None:
    traces = Traces("http://127.0.0.1:9", exporter=spans)
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    outer = traces.request("test", "t", request("eth_call"), parent, EVM.methods.describe)
    for verdict in (Verdict.TIMEOUT, Verdict.RATE_LIMITED, Verdict.OK):
        attempt = traces.attempt(outer, "a", "eth_call", MethodClass.HEAVY, "hedge")
        attempt.on_verdict(verdict)
        attempt.on_verdict(Verdict.CANCELLED)  # ended is ended
    outer.on_answer(Answer(b'{"result":1}'))
    *attempts, whole = await finished(traces, spans)
    assert f"{whole.parent.span_id:016x}" == parent.split("-")[2]
    assert {span.parent.span_id for span in attempts} == {whole.context.span_id}
    verdicts = [span.attributes["rpcproxy.verdict"] for span in attempts]
    assert verdicts == ["timeout", "rate_limited", "ok"]
    assert [span.status.is_ok for span in attempts] == [False, True, True]


class Collector(SpanExporter):
    """Takes spans or does not, as ``results`` say in turn."""

    def __init__(self, *results: SpanExportResult | Exception) -> None:
        self.results = list(results)

    def export(self, spans: Any) -> SpanExportResult:
        result = self.results.pop(0)
        if isinstance(result, Exception):
            raise result
        if result is FAILURE:
            # As the library says it; its words may hold the URL.
            log = logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter")
            log.error("Transient error %s encountered, retrying in %.2fs.", self.said, 1.5)
            log.error("Failed to export %s batch due to timeout.", "spans")
        return result

    said: object = ConnectionError("POST /v1/traces?key=0xsecret")


class Lines(logging.Handler):
    """What would be in the log. Not ``caplog``: pytest listens to loggers that pass nothing on."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def told(self) -> list[tuple[str, Any]]:
        return [(vars(line)["event"], vars(line)["fields"].get("reason")) for line in self.records]

    @property
    def text(self) -> str:
        return str([(line.getMessage(), vars(line)) for line in self.records])


@pytest.fixture
def lines() -> Iterator[Lines]:
    found, root, ours = Lines(), logging.getLogger(), logging.getLogger("rpcproxy.traces")
    root.addHandler(found)
    ours.setLevel(logging.INFO)
    yield found
    ours.setLevel(logging.NOTSET)
    root.removeHandler(found)


def test_a_dead_collector_is_told_once_and_so_is_its_return(
    lines: Lines,
) -> None:
    results = (SUCCESS, FAILURE, FAILURE, SUCCESS, SUCCESS, FAILURE, SUCCESS, SUCCESS, SUCCESS)
    delivery = Delivery(Collector(*results, SUCCESS), "collector.test")
    for result in results:
        assert delivery.export([]) is result
    assert lines.told == [("traces_broken", "ConnectionError"), ("traces_well", None)]
    assert delivery.export([]) is SUCCESS
    assert len(lines.records) == 2
    assert "collector.test" in lines.text
    assert "0xsecret" not in lines.text


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Service Unavailable", "HTTP 503"),
        (404, "HTTP 404"),
        ("/v1/traces?key=0xsecret", f"not taken within {EXPORT_SECONDS:g} s"),
    ],
)
def test_why_spans_do_not_arrive_is_said_without_the_url(
    said: object, reason: str, lines: Lines
) -> None:
    collector = Collector(FAILURE)
    collector.said = said
    Delivery(collector, "collector.test").export([])
    assert lines.told == [("traces_broken", reason)]


def test_a_fault_of_the_exporter_is_told_as_well(lines: Lines) -> None:
    delivery = Delivery(Collector(TypeError("0xsecret"), TypeError()), "collector.test")
    assert delivery.export([]) is delivery.export([]) is FAILURE
    assert lines.told == [("traces_broken", "TypeError")]


@pytest.mark.parametrize("is_listening", [False, True], ids=["dead", "hanging"])
async def test_the_library_itself_adds_no_line(is_listening: bool, lines: Lines) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        if is_listening:
            found.listen()
        url = f"http://127.0.0.1:{found.getsockname()[1]}/0xsecret"
        traces = Traces(url, export_seconds=0.2)
        for _ in range(2):
            traces.request("test", "t", request("eth_call"), "", EVM.methods.describe).on_gone()
            await asyncio.to_thread(traces._provider.force_flush)
        await traces.close()
    assert [event for event, _ in lines.told] == ["traces_broken"]
    assert "0xsecret" not in lines.text


async def test_a_collector_that_hangs_holds_up_nobodys_end() -> None:
    import threading

    hung = threading.Event()

    class Hanging(SpanExporter):
        def export(self, _spans: Any) -> Any:
            hung.wait()

        def shutdown(self) -> None:
            hung.wait()

    traces = Traces("http://127.0.0.1:9", exporter=Hanging(), close_seconds=0.05)
    traces.request("test", "t", request("eth_call"), "", EVM.methods.describe).on_gone()
    try:
        async with limited():
            await traces.close()
    finally:
        hung.set()
