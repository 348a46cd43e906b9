"""``python -m benchmarks.exam``: outages, faults, lies and greed under load, and a table of it.

The scenarios are the tests in tests/exam and those marked ``exam`` elsewhere. Errors, backward
answers and losses are judged absolutely, times beside a control: the same load, straight to a well
provider, in the same seconds. Where the control was not well the machine was too busy, and the
scenario is not judged by times: it neither passed nor failed, and is not played again. A whole exam
is kept in benchmarks/exam.md and exam.json: one that passed, judged by times too, where no scenario
was skipped or left out, and next to none not judged.

Exit code: 0 passed, 1 a scenario failed, ``TOO_BUSY`` none failed and not all were judged (in a
short exam: more than a quarter were not), others as pytest's.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from benchmarks import report

HERE: Final = Path(__file__).resolve().parent
PLACES: Final = ("tests/exam", "tests/integration")
# Parts of names. Under three minutes: each kind of outage once, each fault, a lie of each kind.
SHORT: Final = (
    "exam_faults",
    "two_blackholed",
    "exam_outages and rolling and not blackhole",
    "all_gone_for_three_seconds and refuse",
    "nothing_was_lost",
    "exam_capacity",
    "exam_sharing",
    "exam_liars and (forked or far_ahead or state_frozen or alone)",
    "exam_one_chain and (forked or frozen_process or every_transaction)",
    "exam_cpu",
)
FAILED: Final = "failed"
NOT_JUDGED: Final = "not judged"
MOST_UNJUDGED: Final = 0.05  # of a whole exam that is kept: its table says which, and why
TOO_BUSY: Final = 75  # EX_TEMPFAIL of sysexits.h: try again later
# A short exam is played at every change, where the machine is whose it is. What is not judged there
# is named; beyond this share too little was seen of the change.
SHORT_MAY_MISS: Final = 0.25


@dataclass(slots=True)
class Line:
    """One scenario; ``figures`` by name, times in seconds."""

    name: str
    outcome: str
    seconds: float
    figures: dict[str, Any] = field(default_factory=dict)


class Gatherer:
    """A pytest plugin that keeps what each scenario noted, and how it ended. ``chosen`` scenarios
    were to be played, ``left_out`` were there and were not.
    """

    def __init__(self) -> None:
        self.lines: dict[str, Line] = {}
        self.chosen = 0
        self.left_out = 0

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        self.left_out += sum(item.get_closest_marker("exam") is not None for item in items)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.chosen = len(session.items)

    @property
    def lacking(self) -> str:
        """What a whole exam has and this one had not, in words; "" where nothing."""
        outcomes = [line.outcome for line in self.lines.values()]
        counts = {
            FAILED: outcomes.count(FAILED),
            NOT_JUDGED: self._too_many(outcomes.count(NOT_JUDGED)),
            "skipped": outcomes.count("skipped"),
            "left out": self.left_out,
            "not played": self.chosen - len(self.lines),
        }
        return ", ".join(f"{count} {what}" for what, count in counts.items() if count)

    def _too_many(self, unjudged: int) -> int:
        """``unjudged``, or 0 where that is next to none."""
        return unjudged if unjudged > MOST_UNJUDGED * len(self.lines) else 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown" and report.passed:
            return
        line = self.lines.get(report.nodeid)
        if line is None:
            line = self.lines[report.nodeid] = Line(short_name(report.nodeid), "passed", 0.0)
        line.seconds += report.duration
        line.figures |= dict(report.user_properties)
        if report.failed:
            line.outcome = FAILED
        elif report.skipped and line.outcome != FAILED:
            line.outcome = NOT_JUDGED if "not_judged" in line.figures else report.outcome


def short_name(nodeid: str) -> str:
    """``outages: nobody notices [rolling]`` from pytest's name of it."""
    path, _, rest = nodeid.partition("::")
    place = Path(path).stem.removeprefix("exam_").removeprefix("test_").replace("_", " ")
    test, bracket, case = rest.partition("[")
    words = test.split("::")[-1].removeprefix("test_").replace("_", " ")
    return f"{place}: {words}" + (f" [{case}" if bracket else "")


def milliseconds(value: float) -> str:
    return f"{value * 1e3:.0f}"


def count(value: float) -> str:
    return f"{value:g}"


COLUMNS: Final[tuple[tuple[str, str, Callable[[float], str]], ...]] = (
    ("requests", "requests", count),
    ("errors", "errors", count),
    ("backward", "backward", count),
    ("p50", "p50 ms", milliseconds),
    ("p99", "p99 ms", milliseconds),
    ("slowest", "slowest ms", milliseconds),
    ("control", "control p99 ms", milliseconds),
    ("calls", "upstream calls each", lambda value: f"{value:.3f}"),
)


def table(lines: Sequence[Line]) -> str:
    """Markdown, one row per scenario."""
    rows = [["scenario", "", *(title for _, title, _ in COLUMNS), "else"]]
    rows.append(["---", "---", *("---:" for _ in COLUMNS), "---"])
    for line in lines:
        cells = [show(line.figures[key]) if key in line.figures else "" for key, _, show in COLUMNS]
        words = [str(line.figures[key]) for key in ("not_judged", "words") if key in line.figures]
        rows.append([line.name, line.outcome, *cells, "; ".join(words).replace("|", "/")])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def verdict(lines: Sequence[Line]) -> str:
    """One sentence over the table."""
    by_outcome = dict.fromkeys(("passed", FAILED, NOT_JUDGED, "skipped"), 0)
    for line in lines:
        by_outcome[line.outcome] += 1
    requests = sum(int(line.figures.get("requests", 0)) for line in lines)
    errors = sum(int(line.figures.get("errors", 0)) for line in lines)
    backward = sum(int(line.figures.get("backward", 0)) for line in lines)
    outcomes = ", ".join(f"{number} {outcome}" for outcome, number in by_outcome.items() if number)
    return (
        f"{outcomes or 'nothing selected'}; {requests} requests, {errors} errors, "
        f"{backward} backward answers."
    )


def exit_code(code: int, lines: Sequence[Line], *, is_short: bool) -> int:
    """pytest's, and ``TOO_BUSY`` where that is 0 and too many were not judged."""
    missed = sum(line.outcome == NOT_JUDGED for line in lines)
    judged = sum(line.outcome in ("passed", FAILED) for line in lines)
    may_miss = SHORT_MAY_MISS * (missed + judged) if is_short else 0
    return TOO_BUSY if code == pytest.ExitCode.OK and missed > may_miss else code


def told_unjudged(lines: Sequence[Line]) -> str:
    """A line for each scenario that was not judged, with the reason."""
    return "".join(
        f"Not judged: {line.name}: {line.figures['not_judged']}\n"
        for line in lines
        if line.outcome == NOT_JUDGED
    )


def expression(names: Sequence[str]) -> str:
    """What pytest selects by; a name is a part of a scenario's, spaces for underscores or not."""
    spelled = []
    for name in names:
        is_expression = re.search(r"\b(and|or|not)\b", name) is not None
        spelled.append(f"({name})" if is_expression else name.strip().replace(" ", "_"))
    return " or ".join(spelled)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.exam",
        description="Plays outages, faults, lies and greed under load, and prints a table. "
        f"Exit code 1 when a scenario fails, {TOO_BUSY} when none does and the machine was too "
        "busy to judge all of them (in a short exam: three quarters of them).",
    )
    parser.add_argument(
        "names", nargs="*", help="scenarios, by a part of their names (all unless given)"
    )
    parser.add_argument(
        "--short",
        action="store_true",
        help="under three minutes, judged by errors, losses and the CPU ratio alone",
    )
    parser.add_argument("--list", action="store_true", help="the names of the scenarios")
    parser.add_argument("--out", type=Path, default=HERE, help="where a whole exam is kept")
    return parser.parse_args(arguments)


def write(lines: Sequence[Line], out: Path, seconds: float) -> None:
    """The table, with the machine that it is from, for people and for programs."""
    cores = os.cpu_count() or 1
    machine = report.machine(cores, is_split=False)
    head = (
        f"# Exam\n\n`make exam` on {machine['day']}: {seconds / 60:.0f} minutes on {cores} cores "
    )
    head += f"({machine['processor']}), {machine['Python']}, rpcproxy {machine['rpcproxy']}. "
    (out / "exam.md").write_text(f"{head}{verdict(lines)}\n\n{table(lines)}")
    text = json.dumps([asdict(line) for line in lines], indent=1)
    (out / "exam.json").write_text(text + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    names = options.names or (SHORT if options.short else ())
    if options.short:
        os.environ["RPCPROXY_EXAM"] = "short"
    command = ["-o", "addopts=-ra --strict-markers --strict-config", "-m", "exam"]
    command += ["-o", "python_files=exam_*.py test_*.py", "-p", "no:cacheprovider", *PLACES]
    if names:
        command += ["-k", expression(names)]
    if options.list:
        return int(pytest.main([*command, "--collect-only", "-q"]))
    gatherer = Gatherer()
    began_at = time.monotonic()
    code = pytest.main([*command, "-q"], plugins=[gatherer])
    lines = list(gatherer.lines.values())
    print(f"\n{table(lines)}\n{verdict(lines)}\n{told_unjudged(lines)}", end="")
    is_short = os.environ.get("RPCPROXY_EXAM") == "short"
    lacking = "judged as a short one" if is_short else gatherer.lacking
    if code == pytest.ExitCode.OK and not lacking:
        write(lines, options.out, time.monotonic() - began_at)
    elif not names:
        print(f"Not kept, as it is no whole exam: {lacking or 'pytest failed'}.")
    return exit_code(int(code), lines, is_short=is_short)


if __name__ == "__main__":
    sys.exit(main())
