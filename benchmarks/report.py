"""What people look at: the table on the terminal, results.md, results.json, results.svg."""

from __future__ import annotations

import dataclasses
import json
import platform
import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

import rpcproxy
from benchmarks import age, cases, contenders, figures

TITLES = {
    "plain": "forward, plain",
    "tls": "forward, TLS",
    "kept": "kept answer",
    "local": "local answer",
    "batch of 10": "batch of 10",
    "batch of 100": "batch of 100",
}


@dataclass(slots=True)
class Results:
    """All that was measured; empty where a case was not run."""

    machine: dict[str, str]
    rows: list[cases.Row] = field(default_factory=list)
    latencies: list[cases.Latency] = field(default_factory=list)
    scalings: list[cases.Scaling] = field(default_factory=list)
    idle: cases.Idle | str | None = None
    idle_before: cases.Idle | str | None = None  # of the build before
    slow: cases.SlowReaders | None = None
    ages: list[age.Scene] = field(default_factory=list)
    rounds: int = 0
    seconds: float = 0.0


def machine(cores: int, *, is_split: bool) -> dict[str, str]:
    """In neutral words, with the versions of all that took part."""
    model = "unknown"
    for row in Path("/proc/cpuinfo").read_text().splitlines():
        if row.startswith("model name"):
            model = row.partition(":")[2].strip()
            break
    where = "proxy on one core, load and upstream on the others"
    return {
        "processor": model,
        "cores": str(cores),
        "placement": where if is_split else "all on one core",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "rpcproxy": rpcproxy.__version__,
        "HAProxy": contenders.version("haproxy"),
        "nginx": contenders.version("nginx"),
        "wrk": contenders.version("wrk"),
        "day": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def misses(rows: list[cases.Row], factor: float = 1.0) -> list[str]:
    """In words: where rpcproxy costs more than ``factor`` times its bound."""
    found = []
    for row in rows:
        if row.contender != "rpcproxy" or row.ratio is None:
            continue
        bound = cases.BOUNDS[row.case] * factor
        if row.ratio.median > bound:
            found.append(
                f"{TITLES[row.case]}: {row.ratio.median:.2f} times HAProxy's CPU, "
                f"at most {bound:.2f} is allowed"
            )
    return found


def old_ages(scenes: list[age.Scene]) -> list[str]:
    """In words: where wallets are further behind than they may be."""
    return [
        f"{scene.name}: {max(scene.head.mean, scene.state.mean):.3f} blocks behind on average, "
        f"at most {scene.bound:g} is allowed"
        for scene in scenes
        if not scene.is_young
    ]


def _micros(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f}"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3f}"


def cost_table(results: Results) -> list[list[str]]:
    """The header and one line per contender and case."""
    lines = [
        ["", "proxy", "µs CPU", "× HAProxy, same", "× HAProxy, plain", "bound", "req/s", "calls"]
    ]
    for row in results.rows:
        is_bound = row.contender == "rpcproxy" and row.case in cases.BOUNDS
        bound = f"≤ {cases.BOUNDS[row.case]}" if is_bound else ""
        last = row.runs[-1]
        per_second = max(run.per_second for run in row.runs)
        lines.append(
            [
                TITLES[row.case],
                row.contender,
                _micros(row.median_micros),
                str(row.ratio or "–"),
                "–" if row.ratio_plain is None else f"{row.ratio_plain.median:.2f}",
                bound,
                f"{per_second:,.0f}",
                f"{last.calls:.2f}",
            ]
        )
    return lines


def reference_lines(results: Results) -> list[str]:
    """How steady the machine was: what HAProxy itself cost in each of the rounds."""
    return [
        f"{TITLES[row.case]}: HAProxy's own cost differed by {figures.difference(row.micros):.0%} "
        "between rounds."
        for row in results.rows
        if row.contender == "haproxy" and row.micros
    ]


def before_lines(results: Results) -> list[str]:
    """What each case costs beside the build before, the median of the rounds' ratios."""
    before = {row.case: row for row in results.rows if row.contender == contenders.BEFORE}
    lines = []
    for row in results.rows:
        then = before.get(row.case)
        if row.contender == "rpcproxy" and then is not None and row.micros and then.micros:
            ratio = figures.ratio(row.micros, then.micros)
            lines.append(f"{TITLES[row.case]}: {ratio} times the CPU of the build before.")
    if isinstance(results.idle, cases.Idle) and isinstance(results.idle_before, cases.Idle):
        each, then_each = results.idle.bytes_each, results.idle_before.bytes_each
        lines.append(
            f"An idle connection: {figures.bytes_text(each)}, {each / then_each:.2f} times that of "
            f"the build before ({figures.bytes_text(then_each)})."
        )
    return lines


def latency_table(results: Results) -> list[list[str]]:
    lines = [["through", "p50 ms", "p99 ms", "added p50 ms", "added p99 ms"]]
    for one in results.latencies:
        seconds = (one.p50_seconds, one.p99_seconds, one.added_p50_seconds, one.added_p99_seconds)
        lines.append([one.contender, *map(_milliseconds, seconds)])
    return lines


def scaling_table(scaling: cases.Scaling) -> list[list[str]]:
    is_bytes = scaling.unit == "bytes"
    lines = [[scaling.what, "µs CPU", "HAProxy µs", "×", "calls"]]
    for index, size in enumerate(scaling.sizes):
        ours, theirs = scaling.micros[index], scaling.reference[index]
        name = figures.bytes_text(size) if is_bytes else str(size)
        lines.append(
            [
                name,
                _micros(ours),
                _micros(theirs),
                f"{ours / theirs:.2f}",
                f"{scaling.calls[index]:.2f}",
            ]
        )
    return lines


def scaling_words(scaling: cases.Scaling) -> str:
    if scaling.what == "upstreams":
        grown = max(scaling.micros) / scaling.micros[0] - 1
        return f"Most above the cost with one upstream: {grown:+.0%}."
    unit, scale = ("MiB", figures.MIB) if scaling.unit == "bytes" else ("call", 1)
    line = scaling.line
    return (
        f"{line.fixed:.0f} µs, and {line.per_unit * scale:.1f} µs per {unit}; "
        f"at most {line.worst:.0%} above this line."
    )


def memory_lines(results: Results) -> list[str]:
    lines = []
    if isinstance(results.idle, str):
        lines.append(f"Idle connections: {results.idle}.")
    elif results.idle is not None:
        one = results.idle
        lines.append(
            f"{one.connections:,} idle connections: {figures.bytes_text(one.bytes_each)} each, "
            f"{one.cpu_share:.1%} of a core while nothing happens."
        )
    if results.slow is not None:
        slow = results.slow
        grown = slow.peak_bytes - slow.before_bytes
        lines.append(
            f"{slow.clients} clients reading answers of {figures.bytes_text(slow.answer_bytes)} "
            f"slowly: memory grew by {figures.bytes_text(grown)} at most, from "
            f"{figures.bytes_text(slow.before_bytes)} "
            f"(all the answers: {figures.bytes_text(slow.clients * slow.answer_bytes)}); "
            f"{slow.calls:.2f} upstream calls per answer."
        )
    return lines


def age_table(results: Results) -> list[list[str]]:
    """One line per scene and question."""
    lines = [["upstreams have a block", "asked for", "mean", "p99", "worst", "behind", "bound"]]
    for scene in results.ages:
        for what, found in (("eth_blockNumber", scene.head), ("state at latest", scene.state)):
            numbers = [f"{found.mean:.3f}", f"{found.p99:g}", str(found.worst)]
            share = f"{found.share_behind:.1%} of {found.samples}"
            lines.append([scene.name, what, *numbers, share, f"≤ {scene.bound:g}"])
    return lines


def probe_lines(results: Results) -> list[str]:
    return [
        f"Calls of the proxy's own per upstream and day, {scene.name}: {scene.idle_calls:,.0f} "
        f"while nobody asks; {scene.head_calls:,.0f} for heads while a wallet asks all the time."
        for scene in results.ages
    ]


def show(results: Results) -> None:
    """On the terminal."""
    console = Console()
    if not console.is_terminal:  # a log has room for every column
        console.width = 120
    tables = [("CPU per request", cost_table(results)), ("Latency", latency_table(results))]
    tables += [(one.what, scaling_table(one)) for one in results.scalings]
    tables.append(("Blocks behind the freshest upstream", age_table(results)))
    for title, lines in tables:
        if len(lines) > 1:
            table = Table(title=title, title_justify="left")
            for index, name in enumerate(lines[0]):
                table.add_column(name, justify="left" if index < 1 else "right")
            for line in lines[1:]:
                table.add_row(*line)
            console.print(table)
    for text in (
        reference_lines(results)
        + before_lines(results)
        + memory_lines(results)
        + probe_lines(results)
    ):
        console.print(text)


def _markdown(lines: list[list[str]]) -> str:
    rows = ["| " + " | ".join(line) + " |" for line in lines]
    rows.insert(1, "|" + " --- |" * len(lines[0]))
    return "\n".join(rows) + "\n"


def markdown(results: Results) -> str:
    facts = "\n".join(f"- {name}: {value}" for name, value in results.machine.items())
    parts = [
        f"""# What a request costs

Written by `make bench`; run it again with the same (`python -m benchmarks --help` for more: a
quick run, another proxy beside ours). Every proxy forwards to the same upstream, which answers
eth_getBalance at once. Each request comes with a browser's 13 headers and, where it is forwarded,
asks about another address, so that nothing kept can answer it; all that is on by default is on:
reads pinned to the served head, answers held against the chain, and kept. CPU is user and system
time of the proxy's process per request at 32 connections, {results.rounds} rounds of
{results.seconds:g} s, everyone once per round. A ratio is the median of the rounds' ratios to
HAProxy (one thread, keep-alive, certificates verified) in the same case, with the extremes; a kept
answer (32 questions, again and again) and a local one (eth_chainId) are compared with HAProxy
forwarding plain. The µs belong to this machine, the ratios carry over. *calls*: what the upstream
answered per request.

{facts}

![results](results.svg)

## CPU per request
""",
        _markdown(cost_table(results)),
    ]
    if results.latencies:
        parts.append(
            f"\n## Latency\n\nOpen loop at {results.latencies[0].rate:g} requests/s; *added* is "
            "the percentile less that of asking the upstream without a proxy.\n"
        )
        parts.append(_markdown(latency_table(results)))
    for scaling in results.scalings:
        parts.append(f"\n## Growing: {scaling.what}\n")
        parts.append(_markdown(scaling_table(scaling)))
        parts.append(f"\n{scaling_words(scaling)}\n")
    if memory := memory_lines(results):
        parts.append("\n## Memory\n")
        parts.append("\n\n".join(memory) + "\n")
    if results.ages:
        seconds = results.ages[0].block_seconds
        parts.append(
            f"\n## The age of the head\n\nBlocks behind the freshest of {len(age.NAMES)} honest "
            f"upstreams, heads polled, a block every {seconds:g} s; upstreams have it together, or "
            "spread over some tenths of a second.\n"
        )
        parts.append(_markdown(age_table(results)))
        parts.append("\n" + "\n\n".join(probe_lines(results)) + "\n")
    return "\n".join(parts)


def write(results: Results, directory: Path) -> None:
    """results.md, results.json and results.svg."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "results.md").write_text(markdown(results))
    text = json.dumps(dataclasses.asdict(results), indent=1, ensure_ascii=False)
    (directory / "results.json").write_text(text + "\n")
    from benchmarks import plot  # noqa: PLC0415 - matplotlib takes a second and only this needs it

    plot.draw(results, directory / "results.svg")
