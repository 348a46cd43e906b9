"""Takes a sample of all chains every few seconds, and hands it to whoever compares them.

State: the sinks, and the task that takes samples.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from rpcproxy.app.chain import ChainRuntime
from rpcproxy.app.people.chain_report import chain_figures
from rpcproxy.app.people.own_refusals import OwnRefusals
from rpcproxy.clock import SYSTEM_CLOCK, Clock
from rpcproxy.engine import tasks
from rpcproxy.messages import CLASS_NAMES, METHOD_CLASSES, MethodClass
from rpcproxy.rules.standing.orders import standing_order
from rpcproxy.rules.standing.standing import Standing
from rpcproxy.rules.telling.sample import ChainSample, Refusal, Sample, Times, UpstreamSample
from rpcproxy.rules.telling.snapshot import describe
from rpcproxy.states import UPSTREAM_STATES, RequestOutcome

SAMPLE_SECONDS: Final = 5.0
_log = logging.getLogger("rpcproxy.app")

Sink = Callable[[Sample], None]


class Sampler:
    """See the module's docstring. A sink is called on the event loop's thread and must be quick;
    one that fails is logged, and fails nobody else.
    """

    def __init__(
        self,
        runtimes: Callable[[], Iterable[ChainRuntime]],
        clock: Clock = SYSTEM_CLOCK,
        every_seconds: float = SAMPLE_SECONDS,
        *,
        refusals: OwnRefusals | None = None,
    ) -> None:
        self._refusals = refusals or OwnRefusals()
        self._clock = clock
        self._every_seconds = every_seconds
        self.sinks: list[Sink] = []
        # What is kept on disk beside the rest: why it cannot be written, or nothing.
        self.files: dict[str, Callable[[], str]] = {}
        self._runtimes = runtimes
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = tasks.start(self._run(), "samples")

    async def stop(self) -> None:
        """The last sample is taken first."""
        if self._task is not None:
            await tasks.stop(self._task)
            self._task = None
            self.sample_now()

    def sample_now(self) -> Sample:
        """Take one, and hand it out."""
        sample = self.take()
        for sink in self.sinks:
            try:
                sink(sample)
            except Exception:  # noqa: BLE001 - logged; serving goes on, and so do the others
                _log.exception("a sample could not be used")
        return sample

    def take(self) -> Sample:
        """Take one for oneself."""
        now, unix_seconds = self._clock.monotonic(), self._clock.unix()
        refusals = self._refusals
        chains = tuple(
            sample_chain(runtime, now, unix_seconds, refusals.of_chain(runtime, now))
            for runtime in self._runtimes()
        )
        return Sample(
            unix_seconds=unix_seconds,
            seconds=now,
            chains=chains,
            refusals=refusals.of_process(now),
            unwritten={name: why for name, tell in self.files.items() if (why := tell())},
        )

    async def _run(self) -> None:
        while True:
            self.sample_now()
            await asyncio.sleep(self._every_seconds)


def sample_chain(
    runtime: ChainRuntime, now: float, unix_seconds: float, refusals: Sequence[Refusal] = ()
) -> ChainSample:
    """One chain at ``now`` (monotonic), which is ``unix_seconds`` of wall-clock time."""
    standings, counters = runtime.standings, runtime.counters
    figures = chain_figures(runtime, now, unix_seconds)
    since = standings.outage_since(MethodClass.LIGHT)
    requests: dict[str, int] = {RequestOutcome.LOCAL: counters.local_answers}
    for tally in counters.requests:
        for outcome, count in tally.labels.items():
            requests[outcome] = requests.get(outcome, 0) + count
    return ChainSample(
        name=runtime.chain.name,
        identity=runtime.chain.identity,
        usable=len(standings.usable(MethodClass.LIGHT)),
        served_head=figures.served,
        head_age_seconds=figures.head_age_seconds,
        halted_seconds=figures.halted_seconds,
        outage_seconds=None if since is None else max(0.0, now - since),
        is_panicking=standings.is_panicking,
        is_split=figures.is_split,
        requests=requests,
        unserved=counters.unserved,
        refusals=tuple(refusals),
        upstreams=tuple(
            _sample_upstream(runtime, standing, now, unix_seconds) for standing in standings
        ),
    )


def _sample_upstream(
    runtime: ChainRuntime, standing: Standing, now: float, unix_seconds: float
) -> UpstreamSample:
    told = describe(standing, runtime.standings.heads.served, now)
    counters, name = runtime.counters, standing.name
    tally = counters.attempts.get(name)
    latency = standing.classes[MethodClass.LIGHT].latency.seconds
    shared = ("name", "provider", "cloud", "region", "tier", "role", "state")
    since_seconds, order = told["since_seconds"], standing_order(standing)
    if order is not None and order.since_unix and UPSTREAM_STATES[standing.state].by_order:
        # An order outlives the process that took it.
        since_seconds = max(since_seconds, unix_seconds - order.since_unix)
    return UpstreamSample(
        **{key: told[key] for key in (*shared, "head", "lag", "rate_level")},
        since_seconds=since_seconds,
        reason=told["state_reason"] or "",
        latency_seconds=latency or None,
        cooldown_seconds=told["cooldown_seconds"],
        is_suspect=told["suspect"],
        order=order,
        attempts={} if tally is None else dict(tally.labels),
        probes=dict(counters.probes.get(name, {})),
        times={
            CLASS_NAMES[method_class]: Times(
                tuple(times.buckets), times.seconds, times.calls, times.units
            )
            for method_class, times in zip(METHOD_CLASSES, counters.times_of(name), strict=True)
            if times.calls
        },
    )
