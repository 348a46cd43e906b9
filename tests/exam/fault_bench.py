"""A proxy before four simulated providers on three clouds, under a load that does not end.

    bench.refresh()                                  # upstreams without a past
    with bench.judged(sheet):                        # or not judged, on a busy machine
        with bench.watch() as seen:
            bench.providers.set_fault("a", faults.FREEZE)
            bench.pass_time(1.6)
        assert seen.latency.p99_seconds < 0.075

Processes: the proxy, the providers (one for all), the load, the same load straight to a provider
of its own that is always well (the control), and the test. State: what the loads have reported so
far, in ``EndlessLoad``; the names that upstreams go by, in ``Bench``.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from tests.exam import control_load
from tests.exam.control_load import ControlLoad
from tests.exam.judging import (
    CONTROL_BOUND_SECONDS,
    IS_SHORT,
    Beside,
    NotJudged,
    Sheet,
    assert_no_errors,
    granted,
    judged,
    why_not_judged,
)
from tests.integration.running_proxy import RunningProxy
from tests.kits.waiting import LIMIT_SECONDS, wait_until
from tests.loads.endless import EndlessLoad
from tests.loads.load_report import LOCAL_METHODS, Report, Window
from tests.sockets.providers import ProviderProcess

RATE_PER_SECOND: Final = 300.0
LATENCY_SECONDS: Final = control_load.LATENCY_SECONDS
BLOCK_TIME_SECONDS: Final = 1.0
# Three clouds, as the demo has them: two of the four share one, in different regions.
PLACES: Final = {
    "a": ("aws", "us-east-1"),
    "b": ("gcp", "europe-west1"),
    "c": ("azure", "westeurope"),
    "d": ("aws", "eu-central-1"),
}
# The proxy's question for the heavy class; the load asks no such thing.
HEAVY_PROBE: Final = "eth_getLogs"
# Never faulty, and unknown to the proxy.
CONTROL: Final = "control"
DISTURBED_SECONDS: Final = 0.010  # so much later the control shows a busy machine

# What "back to normal" means.
NORMAL_P99_SECONDS: Final = 0.040
NORMAL_SHARE: Final = 0.08  # of the calls, for each of the four; exploration alone takes 0.01
NORMAL_WINDOW_SECONDS: Final = 0.5


def configuration(urls: Mapping[str, str], names: Mapping[str, str]) -> str:
    """``names``: what the proxy calls the upstream at each provider."""
    lines = [
        "server: {listen: 127.0.0.1:0, admin: 127.0.0.1:0}",
        "chains:",
        "  - name: sim",
        "    chain_id: 1337",
        f"    block_time: {BLOCK_TIME_SECONDS:g}s",
        "    upstreams:",
    ]
    for provider, (cloud, region) in PLACES.items():
        url = urls[provider]
        lines.append(
            f"      - {{name: {names[provider]}, url: {url}, provider: {provider},"
            f" cloud: {cloud}, region: {region}}}"
        )
    return "\n".join(lines) + "\n"


@dataclass(slots=True)
class Seen:
    """What wallets saw between two moments, and what it cost. Complete after the ``with``."""

    began_at: float
    ended_at: float = 0.0
    latency: Window = field(default_factory=lambda: Window(0, 0, 0, 0.0, 0.0, 0.0))
    errors: Sequence[str] = ()
    calls: int = 0  # at the providers, probes apart
    forwardable: int = 0  # requests that the proxy cannot answer by itself
    calls_by_provider: Mapping[str, int] = field(default_factory=dict)
    staleness_blocks: int = 0
    backward_heads: int = 0
    control: Window = field(default_factory=lambda: Window(0, 0, 0, 0.0, 0.0, 0.0))

    @property
    def calls_per_request(self) -> float:
        return self.calls / max(1, self.forwardable)

    def granted(self, bound_seconds: float) -> float:
        """The bound for the 99th percentile, with what the machine took from the control."""
        return granted(bound_seconds, self.control.p99_seconds, control_load.USUAL_SECONDS)

    def granted_worst(self, bound_seconds: float) -> float:
        """The bound for a single request, likewise."""
        return granted(bound_seconds, self.control.max_seconds, control_load.USUAL_SECONDS)

    def __str__(self) -> str:
        latency = self.latency
        return (
            f"{latency.count} requests, {latency.error_count} errors, "
            f"p50 {latency.p50_seconds * 1e3:.0f} p99 {latency.p99_seconds * 1e3:.0f} "
            f"max {latency.max_seconds * 1e3:.0f} ms, {self.calls_per_request:.3f} calls each, "
            f"{self.staleness_blocks} blocks stale, {self.backward_heads} heads backward, "
            f"control p99 {self.control.p99_seconds * 1e3:.0f} "
            f"max {self.control.max_seconds * 1e3:.0f} ms"
        )


class Bench:
    """See the module's docstring. ``load`` is ``None`` where the test asks by itself."""

    def __init__(self, directory: Path, *, with_load: bool = True) -> None:
        self._generation = 0
        self._victims = itertools.cycle(PLACES)
        self._unjudged: list[tuple[float, float]] = []
        self.load: EndlessLoad | None = None
        self.providers = ProviderProcess(
            *PLACES, CONTROL, latency_seconds=LATENCY_SECONDS, block_time_seconds=BLOCK_TIME_SECONDS
        )
        try:
            self.names = {provider: f"{provider}-0" for provider in PLACES}
            self.proxy = RunningProxy(configuration(self.providers.urls, self.names), directory)
        except BaseException:
            self.providers.close()
            raise
        # "all of its upstreams have been well for 2 s" is about them, not about us.
        self.proxy.expected_errors.append(" unsuspect ")
        try:
            self._wait_until_ready()
            rate = RATE_PER_SECOND if with_load else control_load.RATE_PER_SECOND
            self.control = ControlLoad(self.providers.urls[CONTROL], rate)
            if with_load:
                self.load = EndlessLoad(self.proxy.url, rate)
        except BaseException:
            self.proxy.kill()
            self.providers.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self.load is not None:
                self.load.stop()
            self.control.stop()
            self.proxy.close()
        finally:
            self.providers.close()

    # ---- the proxy

    def upstreams(self) -> dict[str, dict[str, Any]]:
        """What ``/status`` says, by provider."""
        by_name = {u["name"]: u for u in self.proxy.status()["chains"][0]["upstreams"]}
        return {provider: by_name.get(name, {}) for provider, name in self.names.items()}

    def are_up(self, *providers: str) -> bool:
        upstreams = self.upstreams()
        return all(upstreams[p].get("state") == "up" for p in providers or PLACES)

    def next_victim(self) -> str:
        """The providers in turn."""
        return next(self._victims)

    def refresh(self, *providers: str) -> None:
        """Give these upstreams new names, and those that are not up: what was learned of the old
        ones (trips remembered for a minute, quarantines, learned rates) is gone with them.
        """
        self._generation += 1
        for provider, upstream in self.upstreams().items():
            if provider in providers or upstream["state"] != "up":
                self.names[provider] = f"{provider}-{self._generation}"
        self.proxy.write_config(configuration(self.providers.urls, self.names))
        self.proxy.hang_up()
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        def are_ready() -> bool:
            upstreams = self.upstreams().values()
            return all(u.get("state") == "up" and u["head"] is not None for u in upstreams)

        wait_until(are_ready, "all upstreams are up, their heads known")

    # ---- what wallets see

    @contextmanager
    def watch(self) -> Iterator[Seen]:
        """Watch what happens meanwhile; the requests of that time have ended afterwards."""
        assert self.load is not None
        before = self.load.take()
        state = self.providers.state()
        error_count = len(self.load.report.errors)
        seen = Seen(time.monotonic())
        yield seen
        seen.ended_at = time.monotonic()
        counted = self.load.take()
        after = self.providers.state()
        seen.calls_by_provider = {
            name: forwarded(provider.counts) - forwarded(state.providers[name].counts)
            for name, provider in after.providers.items()
            if name in PLACES
        }
        seen.calls += sum(seen.calls_by_provider.values())
        seen.forwardable += forwardable(counted) - forwardable(before)
        news = [counted, *self.load.wait_for_answers(seen.ended_at)]
        seen.latency = self.load.report.between(seen.began_at, seen.ended_at)
        seen.errors = self.load.report.errors[error_count:]
        seen.staleness_blocks = max(report.worst_staleness_blocks for report in news)
        seen.backward_heads = sum(report.backward_heads for report in news)
        seen.control = self.control.between(seen.began_at, seen.ended_at)

    @contextmanager
    def judged(
        self,
        sheet: Sheet,
        *,
        since: float | None = None,
        bound_seconds: float = CONTROL_BOUND_SECONDS,
    ) -> Iterator[None]:
        """Judge what the block asserts by the control, and by how late the load itself was."""
        began_at = time.monotonic()
        try:
            with self.control.judged(
                sheet, self._due_and_late, since=since, bound_seconds=bound_seconds
            ):
                yield
        except NotJudged:
            self._unjudged.append((began_at, time.monotonic()))
            raise

    def _due_and_late(self) -> control_load.DueAndLate:
        if self.load is None:
            return control_load.on_no_schedule()
        due = self.load.due()
        self.load.take()
        return due, self.load.report.late

    def assert_nothing_was_lost(self, sheet: Sheet) -> None:
        """No request failed, watched or not, but in seconds that were not judged."""
        assert self.load is not None
        now = time.monotonic()
        self.load.wait_for_answers(now)
        self.control.wait_for_answers(now)
        beside = Beside(self.control.report.outside(self._unjudged), self.control.report.errors)
        with judged(sheet, lambda: why_not_judged(beside)):
            lost = self.load.report.outside(self._unjudged).error_count
            assert_no_errors(self.load.report.errors, lost)

    def pass_time(self, seconds: float) -> None:
        """Let wallets go on for so long."""
        time.sleep(seconds)

    def wait_until_normal(self, seconds: float) -> Seen:
        """Wait until all upstreams are up, share the load again, and answer as quickly as ever.
        Return what the moments before that were like. Moments in which the control was late, too,
        do not count as time, up to the one limit.
        """
        began_at = time.monotonic()
        end = began_at + (LIMIT_SECONDS if IS_SHORT else seconds)
        while True:
            with self.watch() as last:
                self.pass_time(NORMAL_WINDOW_SECONDS)
            upstreams = self.upstreams()
            states = {name: upstream["state"] for name, upstream in upstreams.items()}
            # One in a domain that is distrusted gets its share when that is over.
            shares = {
                name: calls / max(1, last.calls)
                for name, calls in last.calls_by_provider.items()
                if not upstreams[name]["suspect"]
            }
            if (
                set(states.values()) == {"up"}
                and (IS_SHORT or last.latency.p99_seconds < last.granted(NORMAL_P99_SECONDS))
                and min(shares.values(), default=1.0) >= NORMAL_SHARE
            ):
                return last
            if last.granted(0.0) > DISTURBED_SECONDS:
                end += last.ended_at - last.began_at
            end = min(end, began_at + LIMIT_SECONDS)
            assert last.began_at < end, (
                f"not back to normal within {seconds:g} s: {states}, shares {shares}, {last}"
            )


def forwarded(counts: Any) -> int:
    """Calls that arrived at a provider, probes apart."""
    return int(counts.forwarded) - counts.calls.get(HEAVY_PROBE, 0)


def forwardable(report: Report) -> int:
    """Requests so far that the proxy cannot answer by itself."""
    return sum(n for method, n in report.by_method.items() if method not in LOCAL_METHODS)
