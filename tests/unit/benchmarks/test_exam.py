"""What ``make exam`` makes of scenarios: names, a table, a verdict, an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import exam
from benchmarks.exam import Line


@pytest.mark.parametrize(
    ("nodeid", "name"),
    [
        (
            "tests/exam/exam_outages.py::test_nobody_notices[rolling]",
            "outages: nobody notices [rolling]",
        ),
        ("tests/exam/exam_cpu.py::test_it_is_cheap", "cpu: it is cheap"),
        (
            "tests/integration/test_real_clients.py::TestAll::test_well[a-[b]]",
            "real clients: well [a-[b]]",
        ),
    ],
)
def test_scenarios_have_names_in_words(nodeid: str, name: str) -> None:
    assert exam.short_name(nodeid) == name


def test_names_and_expressions_select() -> None:
    assert exam.expression(["rolling", "two blackholed"]) == "rolling or two_blackholed"
    assert exam.expression(["rolling and not flapping", "liars"]) == (
        "(rolling and not flapping) or liars"
    )


def test_a_row_holds_what_was_measured_and_nothing_else() -> None:
    lines = [
        Line("a", "passed", 1.0, {"requests": 1200, "errors": 0, "p99": 0.0754, "calls": 0.66666}),
        Line("b", "failed", 1.0, {"words": "60 blocks"}),
    ]
    head, rule, first, second = exam.table(lines).splitlines()
    assert head.split(" | ")[2:5] == ["requests", "errors", "backward"]
    assert rule.count("|") == head.count("|")
    assert first == "| a | passed | 1200 | 0 |  |  | 75 |  |  | 0.667 |  |"
    assert second == "| b | failed |  |  |  |  |  |  |  |  | 60 blocks |"


def test_the_verdict_adds_up() -> None:
    lines = [
        Line("a", "passed", 1.0, {"requests": 1200, "errors": 1}),
        Line("b", "failed", 1.0, {"requests": 2, "backward": 3}),
        Line("c", "skipped", 1.0),
    ]
    assert exam.verdict(lines) == (
        "1 passed, 1 failed, 1 skipped; 1202 requests, 1 errors, 3 backward answers."
    )
    assert exam.verdict([]).startswith("nothing selected")


def test_a_failure_in_any_phase_is_the_outcome() -> None:
    gatherer = exam.Gatherer()
    for when, outcome in (("setup", "passed"), ("call", "passed"), ("teardown", "failed")):
        gatherer.pytest_runtest_logreport(
            pytest.TestReport(
                "tests/exam/exam_a.py::test_b",
                ("", 0, ""),
                {},
                outcome,  # type: ignore[arg-type]
                None,
                when,  # type: ignore[arg-type]
                duration=0.5,
                user_properties=[("errors", 0)],
            )
        )
    (line,) = gatherer.lines.values()
    assert (line.outcome, line.seconds, line.figures) == ("failed", 1.5, {"errors": 0})


class Played:
    """In place of ``pytest.main``: three scenarios are there; how each ended, "" where it was not
    played.
    """

    def __init__(self, outcomes: Sequence[str], *, left_out: int = 0) -> None:
        self.outcomes = outcomes
        self.left_out = left_out

    def __call__(self, _: list[str], plugins: list[exam.Gatherer]) -> int:
        [gatherer] = plugins
        marked = SimpleNamespace(get_closest_marker=lambda name: name)
        gatherer.pytest_deselected([marked] * self.left_out)
        gatherer.pytest_collection_finish(SimpleNamespace(items=self.outcomes))
        for number, outcome in enumerate(self.outcomes):
            if outcome:
                name = f"exam_{number}"
                gatherer.lines[name] = Line(name, outcome, 1.0, {"not_judged": "it was late"})
        return 1 if "failed" in self.outcomes else 0


@pytest.mark.parametrize(
    ("outcomes", "left_out", "words"),
    [
        (("passed", "passed"), 0, ""),
        (("passed", "skipped"), 0, "1 skipped"),
        (("passed", "failed"), 0, "1 failed"),
        (("passed", "not judged"), 0, "1 not judged"),
        (("passed", ""), 0, "1 not played"),
        (("passed",), 2, "2 left out"),
    ],
)
def test_only_a_whole_exam_is_kept(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    outcomes: Sequence[str],
    left_out: int,
    words: str,
) -> None:
    monkeypatch.setattr(pytest, "main", Played(outcomes, left_out=left_out))
    monkeypatch.delenv("RPCPROXY_EXAM", raising=False)
    code = exam.main(["--out", str(tmp_path)])
    assert code == {"1 failed": 1, "1 not judged": exam.TOO_BUSY}.get(words, 0)
    assert (tmp_path / "exam.md").exists() == (tmp_path / "exam.json").exists() == (not words)
    assert ("Not kept" in capsys.readouterr().out) == bool(words)


@pytest.mark.parametrize(("unjudged", "is_kept"), [(1, True), (2, False)])
def test_a_whole_exam_is_kept_where_next_to_none_was_not_judged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unjudged: int, is_kept: bool
) -> None:
    outcomes = ["passed"] * (20 - unjudged) + ["not judged"] * unjudged
    monkeypatch.setattr(pytest, "main", Played(outcomes))
    monkeypatch.delenv("RPCPROXY_EXAM", raising=False)
    assert exam.main(["--out", str(tmp_path)]) == exam.TOO_BUSY
    assert (tmp_path / "exam.md").exists() is is_kept
    if is_kept:
        assert "it was late" in (tmp_path / "exam.md").read_text()


def test_an_exam_of_some_or_judged_by_less_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pytest, "main", Played(["passed"], left_out=7))
    monkeypatch.delenv("RPCPROXY_EXAM", raising=False)
    exam.main(["rolling", "--out", str(tmp_path)])
    monkeypatch.setattr(pytest, "main", Played(["passed"]))
    monkeypatch.setenv("RPCPROXY_EXAM", "short")
    exam.main(["--out", str(tmp_path)])
    assert list(tmp_path.iterdir()) == []


def test_what_was_not_judged_is_told_by_name_and_with_its_reason() -> None:
    gatherer = exam.Gatherer()
    gatherer.pytest_runtest_logreport(
        pytest.TestReport(
            "tests/exam/exam_a.py::test_b",
            ("", 0, ""),
            {},
            "skipped",
            None,
            "call",
            user_properties=[
                ("errors", 3),
                ("words", "w"),
                ("not_judged", "the control | was late"),
            ],
        )
    )
    lines = [*gatherer.lines.values(), Line("c", "skipped", 1.0)]
    assert exam.told_unjudged(lines) == "Not judged: a: b: the control | was late\n"
    assert exam.table(lines).splitlines()[2] == (
        "| a: b | not judged |  | 3 |  |  |  |  |  |  | the control / was late; w |"
    )
    assert exam.verdict(lines).startswith("1 not judged, 1 skipped; ")


def test_a_failure_after_it_was_not_judged_is_a_failure() -> None:
    gatherer = exam.Gatherer()
    for when, outcome in (("call", "skipped"), ("teardown", "failed")):
        gatherer.pytest_runtest_logreport(
            pytest.TestReport(
                "tests/exam/exam_a.py::test_b",
                ("", 0, ""),
                {},
                outcome,  # type: ignore[arg-type]
                None,
                when,  # type: ignore[arg-type]
                user_properties=[("not_judged", "the control was late")],
            )
        )
    assert [line.outcome for line in gatherer.lines.values()] == ["failed"]


@pytest.mark.parametrize(
    ("code", "passed", "missed", "whole", "short"),
    [
        (0, 4, 0, 0, 0),
        (0, 3, 1, 75, 0),
        (0, 5, 2, 75, 75),
        (0, 0, 1, 75, 75),
        (1, 1, 3, 1, 1),
        (5, 0, 0, 5, 5),
    ],
)
def test_the_exit_code_says_that_the_machine_was_too_busy(
    code: int, passed: int, missed: int, whole: int, short: int
) -> None:
    lines = [Line("a", "passed", 1.0)] * passed + [Line("b", "not judged", 1.0)] * missed
    lines.append(Line("c", "skipped", 1.0))
    assert exam.exit_code(code, lines, is_short=False) == whole
    assert exam.exit_code(code, lines, is_short=True) == short


def test_every_scenario_of_a_short_exam_names_something() -> None:
    """A word that no file or case has would leave it out without a word."""
    text = "".join(
        path.name + path.read_text() for path in (exam.HERE.parent / "tests/exam").glob("exam_*.py")
    )
    words = {
        word
        for expression in exam.SHORT
        for word in expression.replace("(", " ").replace(")", " ").split()
        if word not in ("and", "or", "not")
    }
    lies = (exam.HERE.parent / "rpcproxy/drills/scenarios/lies.py").read_text()
    assert not {word for word in words if word not in text and word not in lies}
