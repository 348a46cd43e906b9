"""What is measured, each case as a function that returns plain values for the report."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import contenders, figures, load, procfs
from benchmarks.contenders import Contender, Stage, Upstreams

USUAL_UPSTREAMS = 3
# CPU per request as a multiple of HAProxy's for the same side, in the same run.
BOUNDS = {"plain": 2.0, "tls": 2.0, "kept": 0.6, "local": 0.6}
# What is sent in each case of the line-up, and its size; see post.lua.
ASKED = {
    "plain": ("balance", 1),
    "tls": ("balance", 1),
    "kept": ("kept", 1),
    "local": ("chain_id", 1),
    "batch of 10": ("balance", 10),
    "batch of 100": ("balance", 100),
}
BATCHES = ("batch of 10", "batch of 100")  # beside the build before alone: nobody else sorts them
KEPT_CALLS = 0.05  # per request: each question once per block, and few hedges
LEAST_SHARE = 0.5  # of its time that wrk has to ask: on a busy machine it starts late
GRACE = 4 / 3  # the small run in CI fails when a bound is passed by a third


@dataclass(frozen=True, slots=True)
class Run:
    """One load on one contender. ``micros``: CPU microseconds per request, None if unknown.
    ``calls``: calls that the upstream answered per request.
    """

    micros: float | None
    requests: int
    per_second: float
    calls: float


@dataclass(slots=True)
class Row:
    """One contender in one case, over all rounds."""

    contender: str
    case: str
    runs: list[Run] = field(default_factory=list)
    ratio: figures.Ratio | None = None  # to HAProxy for the same side
    ratio_plain: figures.Ratio | None = None  # to HAProxy, plain

    @property
    def micros(self) -> list[float]:
        return [run.micros for run in self.runs if run.micros is not None]

    @property
    def median_micros(self) -> float | None:
        return statistics.median(self.micros) if self.micros else None


def measure(
    contender: Contender,
    up: Upstreams,
    case: str = "balance",
    size: int = 1,
    *,
    seconds: float,
    connections: int = 32,
) -> Run:
    """LoadFailed: the load was outrun, a request failed, or some that ought to be forwarded were
    not really answered by the upstream, or some that ought not were.
    """
    pids = list(contender.pids)
    answered = up.answered()
    before = procfs.cpu_seconds(pids)
    done = load.closed_loop(contender.url, case, size, connections=connections, seconds=seconds)
    spent = procfs.cpu_seconds(pids) - before
    calls = (up.answered() - answered) / max(1, done.requests)
    if (late := outrun(done, seconds)) is not None:
        raise load.LoadFailed(f"{late}; {contender.name}, {case}")
    if done.errors or not done.requests:
        raise load.LoadFailed(f"{contender.name}, {case}: {done}")
    if (trouble := misdirected(case, size, calls)) is not None:
        raise load.LoadFailed(f"{contender.name}, {case}: {trouble}")
    micros = spent / done.requests * 1e6 if pids else None
    return Run(micros, done.requests, done.requests / done.seconds, calls)


def outrun(done: load.Closed, seconds: float) -> str | None:
    """In words: without an error wrk asked for much less than its ``seconds``, as it does where the
    machine let it start too late.
    """
    if done.errors or done.seconds >= LEAST_SHARE * seconds:
        return None
    return f"the load was outrun: it asked for {done.seconds:.1f} of {seconds:g} s"


def misdirected(case: str, size: int, calls: float) -> str | None:
    """In words, where the upstream answered too many ``calls`` per request, or too few."""
    told = f"the upstream answered {calls:.2f} calls per request"
    if case == "kept":
        return f"{told}: answers were not kept" if calls > KEPT_CALLS else None
    wanted = {"chain_id": 0, "balance": size}.get(case, 1)
    return f"{told}, not {wanted}: something else answered" if calls < wanted * 0.99 else None


@dataclass(frozen=True, slots=True)
class Entry:
    """One line-up of the forwarding case."""

    contender: Contender
    case: str  # one of ASKED


def forward(entries: Sequence[Entry], up: Upstreams, *, rounds: int, seconds: float) -> list[Row]:
    """Everyone once per round, so that a ratio compares neighbours in time."""
    rows = [Row(entry.contender.name, entry.case) for entry in entries]
    for entry in entries:  # code warm, connections open
        measure(entry.contender, up, *ASKED[entry.case], seconds=0.3)
    for _ in range(rounds):
        for entry, row in zip(entries, rows, strict=True):
            row.runs.append(measure(entry.contender, up, *ASKED[entry.case], seconds=seconds))
    reference = {row.case: row for row in rows if row.contender == "haproxy"}
    for row in rows:
        if row.case in BATCHES:
            continue
        side = "tls" if row.case == "tls" else "plain"
        if row.micros and side in reference:
            row.ratio = figures.ratio(row.micros, reference[side].micros)
        if row.micros and "plain" in reference:
            row.ratio_plain = figures.ratio(row.micros, reference["plain"].micros)
    return rows


@dataclass(frozen=True, slots=True)
class Latency:
    contender: str
    rate: float
    p50_seconds: float
    p99_seconds: float
    added_p50_seconds: float
    added_p99_seconds: float


def latency(
    contestants: Sequence[Contender], up: Upstreams, *, rate: float, rounds: int, seconds: float
) -> list[Latency]:
    """Open loop at a modest rate: through each contender, less straight to the upstream."""
    direct = Contender("straight to the upstream", f"http://127.0.0.1:{up.plain[0]}/", ())
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for one in (direct, *contestants):
            values = load.open_loop(one.url, rate=rate, seconds=seconds)
            found.setdefault(one.name, []).extend(values)
    base = found[direct.name]
    return [
        Latency(
            name,
            rate,
            figures.percentile(values, 0.5),
            figures.percentile(values, 0.99),
            figures.percentile(values, 0.5) - figures.percentile(base, 0.5),
            figures.percentile(values, 0.99) - figures.percentile(base, 0.99),
        )
        for name, values in found.items()
    ]


@dataclass(frozen=True, slots=True)
class Scaling:
    """CPU microseconds per request (medians over the rounds) at growing sizes."""

    what: str
    unit: str
    sizes: list[int]
    micros: list[float]
    reference: list[float]  # HAProxy at the same size
    calls: list[float]  # that the upstream answered for rpcproxy, per request
    line: figures.Line


def upstream_counts(
    stage: Stage, up: Upstreams, reference: Contender, *, rounds: int, seconds: float
) -> Scaling:
    counts = [1, 4, 16, 64]
    ours: list[float] = []
    theirs: list[float] = []
    calls: list[float] = []
    for count in counts:
        with contenders.rpcproxy(stage, up, "plain", count) as proxy:
            measure(proxy, up, seconds=0.5)
            pairs = [
                (measure(proxy, up, seconds=seconds), measure(reference, up, seconds=seconds))
                for _ in range(rounds)
            ]
        ours.append(_median([run for run, _ in pairs]))
        theirs.append(_median([run for _, run in pairs]))
        calls.append(max(run.calls for run, _ in pairs))
    line = figures.line(counts, ours)
    return Scaling("upstreams", "upstreams", counts, ours, theirs, calls, line)


def sizes(
    proxy: Contender,
    reference: Contender,
    up: Upstreams,
    *,
    case: str,
    steps: Sequence[int],
    seconds: float,
) -> Scaling:
    """``case``: balance (calls in a batch), answer, answer_gzip or question (bytes)."""
    ours: list[float] = []
    theirs: list[float] = []
    calls: list[float] = []
    for size in steps:
        is_large = size >= figures.MIB
        connections = 8 if is_large else 32
        warm_seconds = 2.0 if is_large else 0.3  # a slow machine answers one, too
        for one, found in ((proxy, ours), (reference, theirs)):
            measure(one, up, case, size, seconds=warm_seconds, connections=connections)
            longest = max(seconds, warm_seconds)
            run = measure(one, up, case, size, seconds=longest, connections=connections)
            found.append(_median([run]))
            if one is proxy:
                calls.append(run.calls)
    what, unit = {
        "balance": ("calls in a batch", "calls"),
        "answer": ("bytes of the answer", "bytes"),
        "answer_gzip": ("bytes of the answer, gzip wanted", "bytes"),
        "question": ("bytes of the question", "bytes"),
    }[case]
    return Scaling(what, unit, list(steps), ours, theirs, calls, figures.line(steps, ours))


def _median(runs: Sequence[Run]) -> float:
    return statistics.median(run.micros for run in runs if run.micros is not None)


LEAST_IDLE = 1000
SPARE_CONNECTIONS = 1200


@dataclass(frozen=True, slots=True)
class Idle:
    connections: int
    bytes_each: float
    cpu_share: float  # of one core, while nothing happens


def idle(
    stage: Stage, up: Upstreams, count: int = 10_000, *, before: Path | None = None
) -> Idle | str:
    """The memory of idle connections; or in words why it could not be measured. ``before``: of
    another checkout's build.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        # The proxy takes as many clients as half of its files, so that each can ask an upstream,
        # less those that it turns away in words.
        count = min(count, hard // 2 - SPARE_CONNECTIONS)
        if count < LEAST_IDLE:
            least = 2 * (LEAST_IDLE + SPARE_CONNECTIONS)
            return f"skipped: {least} open files are needed, the hard limit here is {hard}"
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # what we start inherits it
    with contenders.rpcproxy(stage, up, "plain", USUAL_UPSTREAMS, before=before) as proxy:
        pids = list(proxy.pids)
        measure(proxy, up, seconds=0.5)
        empty = procfs.memory_bytes(pids)
        clients = load.idle_connections(proxy.url, count)
        try:
            time.sleep(1)
            each = (procfs.memory_bytes(pids) - empty) / count
            cpu = procfs.cpu_seconds(pids)
            time.sleep(2)
            share = (procfs.cpu_seconds(pids) - cpu) / 2
        finally:
            for client in clients:
                client.close()
    return Idle(count, each, share)


@dataclass(frozen=True, slots=True)
class SlowReaders:
    clients: int
    answer_bytes: int
    before_bytes: int
    peak_bytes: int
    calls: float  # that the upstream answered per answer


def slow_readers(
    stage: Stage, up: Upstreams, *, clients: int = 50, size: int = 64 * figures.MIB
) -> SlowReaders:
    with contenders.rpcproxy(stage, up, "plain", USUAL_UPSTREAMS) as proxy:
        pids = list(proxy.pids)
        measure(proxy, up, seconds=0.5)
        before, answered = procfs.memory_bytes(pids), up.answered()
        load.slow_readers(proxy.url, count=clients, size=size, slow_seconds=8)
        calls = (up.answered() - answered) / clients
        return SlowReaders(clients, size, before, procfs.peak_memory_bytes(pids), calls)
