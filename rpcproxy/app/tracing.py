"""Traces, where ``server.traces`` has a collector: what is put in place of the usual parts then.

OpenTelemetry is imported here and then, and nowhere else: it is an extra. No state of its own.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from rpcproxy.app.chain import ChainRuntime
from rpcproxy.app.graph import GraphParts
from rpcproxy.app.process.extras import how_to_add
from rpcproxy.chains.parts.errors import ErrorTable
from rpcproxy.config.model import Server, Upstream
from rpcproxy.config.problems import ConfigError
from rpcproxy.engine.attempts.attempts import ChainMember
from rpcproxy.engine.reads.pipeline import Pipeline
from rpcproxy.engine.spans import TracedDoors, TracedExecutor, TracedWire
from rpcproxy.front.wire.http import HttpConnection
from rpcproxy.front.wire.shared import Doors
from rpcproxy.front.wire.traceparent import TracedConnection

if TYPE_CHECKING:
    from rpcproxy.edges.traces import Traces

_NEEDED: Final = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")


def check_traces(server: Server, needed: Sequence[str] = _NEEDED) -> None:
    """Raise ``ConfigError`` in words where traces are wanted and cannot be made: a module that is
    ``needed`` is not there.
    """
    if server.traces.url is None:
        return
    for module in needed:
        try:
            is_there = importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:
            is_there = False
        if not is_there:
            cure = f"add the extra 'otel': {how_to_add('otel')}"
            raise ConfigError([f"server.traces: OpenTelemetry is not installed; {cure}"])


class Tracing:
    """The parts that a proxy is made of: the usual ones, or those with spans where traces are on.
    Raises ``ImportError`` where ``check_traces`` was not heard.
    """

    def __init__(self, server: Server) -> None:
        self._traces: Traces | None = None
        if server.traces.url is not None:
            from rpcproxy.edges.traces import Traces  # noqa: PLC0415 -- an extra, and seldom wanted

            self._traces = Traces(server.traces.url)

    @property
    def connection(self) -> type[HttpConnection]:
        return HttpConnection if self._traces is None else TracedConnection

    def doors(self, doors: Mapping[str, Pipeline]) -> Doors:
        """The doors of a listener, whatever ``doors`` hold from now on."""
        return doors if self._traces is None else TracedDoors(doors.get, self._traces)

    def chain(self, *given: Any, **named: Any) -> ChainRuntime:  # noqa: ANN401 -- a chain's own
        """A ``ChainRuntime`` of these arguments."""
        if self._traces is None:
            return ChainRuntime(*given, **named)
        return TracedChain(self._traces, *given, **named)

    async def close(self) -> None:
        """Send the spans that are left."""
        if self._traces is not None:
            await self._traces.close()


class TracedChain(ChainRuntime):
    """A chain whose attempts have spans."""

    def __init__(self, traces: Traces, *given: Any, **named: Any) -> None:  # noqa: ANN401 -- as is
        self._traces = traces
        super().__init__(*given, **named)
        self._traced().trace(traces)

    def _member(self, upstream: Upstream, errors: ErrorTable) -> ChainMember:
        usual = super()._member(upstream, errors)
        return ChainMember(usual.standing, TracedWire(usual.wire, self._traced), usual.classifier)

    def _given(self, given: GraphParts) -> GraphParts:
        return msgspec.structs.replace(given, new_executor=TracedExecutor)

    def _traced(self) -> TracedExecutor:
        executor = self.executor
        assert isinstance(executor, TracedExecutor)  # noqa: S101 -- for mypy
        return executor
