"""``python -m benchmarks``: see --help."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import age, cases, contenders, figures, load, procfs, report
from benchmarks.cases import Entry
from benchmarks.contenders import Contender, Stage, Upstreams

HERE = Path(__file__).resolve().parent
BATCHES = (1, 10, 100)
AGE_LOADS = 10  # each half of a scene lasts as long as so many short loads
BODIES = tuple(1024 * 4**power for power in range(7))  # 1 KiB to 4 MiB


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="CPU per request beside HAProxy and nginx in the same run, latency, growth, "
        "memory, and the age of the head. Needs Linux, haproxy and wrk; nginx where it is there.",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="half a minute, the CPU ratios alone; exit code 1 when a bound is passed by a third",
    )
    parser.add_argument("--rounds", type=int, help="rounds of the forwarding case (5; quick: 3)")
    parser.add_argument("--seconds", type=float, help="seconds of each load (3; quick: 1.2)")
    parser.add_argument("--out", type=Path, default=HERE, help="where the results are written")
    parser.add_argument(
        "--url",
        help="another proxy to put beside ours, which must forward to the upstream that this "
        "run starts: say --stub-port and point it to http://127.0.0.1:PORT/",
    )
    parser.add_argument(
        "--before",
        type=Path,
        help="another checkout of rpcproxy, installed in its .venv: its build is measured beside "
        "this one, round by round, and the ratio of the two is told, of batches too",
    )
    parser.add_argument("--pid", type=int, help="its process, so that its CPU can be counted")
    parser.add_argument("--stub-port", type=int, default=0, help="first port of the upstream")
    options = parser.parse_args(arguments)
    if options.pid is not None and options.url is None:
        parser.error("--pid belongs to --url")
    options.rounds = options.rounds or (3 if options.quick else 5)
    options.seconds = options.seconds or (1.2 if options.quick else 3.0)
    return options


def lacking() -> str | None:
    """Why nothing can be measured here, in words."""
    if not Path("/proc/self/stat").exists() or not hasattr(os, "sched_setaffinity"):
        return "CPU per request is read from /proc, which only Linux has"
    missing = [tool for tool in ("haproxy", "wrk") if not contenders.is_here(tool)]
    if missing:
        return f"{' and '.join(missing)} must be installed (on Debian: apt-get install …)"
    return None


def say(text: str) -> None:
    print(f"… {text}", file=sys.stderr, flush=True)


def entries(
    ours: dict[str, Contender],
    references: Sequence[dict[contenders.Side, Contender]],
    other: Contender | None,
    before: dict[str, Contender],
) -> list[Entry]:
    """Each of ours directly after the HAProxy that it is compared with, and the build before it
    directly after that.
    """
    found = [Entry(one["plain"], "plain") for one in references]
    builds = [ours, before] if before else [ours]
    found += [Entry(build["plain"], "plain") for build in builds]
    if other is not None:
        found.append(Entry(other, "plain"))
    found += [Entry(build["plain"], case) for case in ("kept", "local") for build in builds]
    found += [Entry(one["tls"], "tls") for one in references]
    found += [Entry(build["tls"], "tls") for build in builds]
    if before:
        found += [Entry(build["plain"], case) for case in cases.BATCHES for build in builds]
    return found


def run(options: argparse.Namespace, stage: Stage, up: Upstreams) -> report.Results:
    cores = stage.cores
    results = report.Results(
        report.machine(os.cpu_count() or 1, is_split=cores.is_split),
        rounds=options.rounds,
        seconds=options.seconds,
    )
    count = cases.USUAL_UPSTREAMS
    with contextlib.ExitStack() as stack:
        haproxy = stack.enter_context(contenders.haproxy(stage, up, count))
        references = [haproxy]
        if contenders.is_here("nginx") and not options.quick:
            references.append(stack.enter_context(contenders.nginx(stage, up, count)))
        other = contenders.existing(stage, options.url, options.pid) if options.url else None
        plain = stack.enter_context(contenders.rpcproxy(stage, up, "plain", count))
        before: dict[str, Contender] = {}
        if options.before is not None:
            place = options.before.resolve()
            sides: tuple[contenders.Side, ...] = ("plain", "tls")
            for side in sides:
                build = contenders.rpcproxy(stage, up, side, count, before=place)
                before[side] = stack.enter_context(build)
        with contenders.rpcproxy(stage, up, "tls", count) as tls:
            say(f"forwarding: {options.rounds} rounds")
            line_up = entries({"plain": plain, "tls": tls}, references, other, before)
            results.rows = cases.forward(
                line_up, up, rounds=options.rounds, seconds=options.seconds
            )
        if not options.quick:
            others = [one["plain"] for one in references] + ([other] if other else [])
            more(options, stage, up, results, [plain, *others])
    return results


def more(
    options: argparse.Namespace,
    stage: Stage,
    up: Upstreams,
    results: report.Results,
    contestants: Sequence[Contender],
) -> None:
    """All that the quick run leaves out. ``contestants``: ours first, HAProxy second."""
    plain, haproxy = contestants[:2]
    seconds = options.seconds / 2
    say("latency")
    results.latencies = cases.latency(contestants, up, rate=500, rounds=3, seconds=seconds)
    say("growing numbers of upstreams")
    results.scalings = [cases.upstream_counts(stage, up, haproxy, rounds=3, seconds=seconds)]
    for case, steps in (
        ("balance", BATCHES),
        ("answer", BODIES),
        ("answer_gzip", BODIES),
        ("question", BODIES),
    ):
        say(f"growing sizes: {case}")
        results.scalings.append(
            cases.sizes(plain, haproxy, up, case=case, steps=steps, seconds=options.seconds * 2 / 3)
        )
    say("idle connections")
    results.idle = cases.idle(stage, up)
    if options.before is not None:
        results.idle_before = cases.idle(stage, up, before=options.before.resolve())
    say(f"slow readers of {figures.bytes_text(64 * figures.MIB)}")
    results.slow = cases.slow_readers(stage, up)
    say("the age of the head")
    results.ages = age.measure(stage, age.Setting(seconds * AGE_LOADS))


def main() -> int:
    options = parse()
    if (why := lacking()) is not None:
        print(f"Nothing measured: {why}.", file=sys.stderr)
        return 2
    cores = procfs.Cores()
    cores.pin_load()
    try:
        with tempfile.TemporaryDirectory(prefix="rpcproxy-bench-") as directory:
            stage = Stage(Path(directory), cores)
            with contenders.upstreams(stage, port=options.stub_port) as up:
                results = run(options, stage, up)
    except (contenders.CannotStart, load.LoadFailed, OSError) as error:
        print(f"Stopped: {error}", file=sys.stderr)
        return 2
    report.show(results)
    if not options.quick:
        report.write(results, options.out)
        say(f"written to {options.out}: results.md, results.json, results.svg")
    missed = report.misses(results.rows, cases.GRACE if options.quick else 1.0)
    for text in missed:
        print(f"Too slow: {text}.")
    old = report.old_ages(results.ages)
    for text in old:
        print(f"Too old: {text}.")
    return 1 if missed or old else 0


if __name__ == "__main__":
    sys.exit(main())
