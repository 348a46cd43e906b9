"""What the exam judges, what it grants, and when a machine was too busy to judge anything."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.exam import judging
from tests.exam.judging import Beside, NotJudged, Sheet, judged, why_cpu_not_judged, why_not_judged
from tests.loads.load_report import Window


def test_times_are_granted_what_the_machine_took_from_the_control() -> None:
    assert judging.granted(0.075, 0.024, 0.025) == 0.075
    assert judging.granted(0.075, 0.125, 0.025) == pytest.approx(0.175)


def a_control(count: int = 100, errors: int = 0, p99_seconds: float = 0.03) -> Window:
    return Window(0.0, count, errors, 0.02, p99_seconds, p99_seconds)


@pytest.mark.parametrize(
    "beside",
    [
        Beside(a_control()),
        Beside(a_control(p99_seconds=0.1)),
        Beside(a_control(), due=1000, late=0),
        Beside(a_control(), due=1000, late=50),
        # Errors of the scenario before are none of this one.
        Beside(a_control(), ["HTTP 503"]),
    ],
)
def test_where_the_control_was_well_it_is_judged(beside: Beside) -> None:
    assert why_not_judged(beside, 0.1) == ""


@pytest.mark.parametrize(
    ("beside", "words"),
    [
        (Beside(a_control(0)), "the control asked nothing"),
        (
            Beside(a_control(errors=2), ["a", "b", "c", "HTTP 503"]),
            "2 of the control's 100 requests failed: ['b', 'c', 'HTTP 503']",
        ),
        (
            Beside(a_control(p99_seconds=0.101)),
            "the control's 99th percentile was 0.101 s, at most 0.1 s",
        ),
        (
            Beside(a_control(), due=1000, late=51),
            "51 of 1000 requests were begun more than 0.1 s late, at most 5% may be",
        ),
    ],
)
def test_where_the_machine_was_too_busy_it_is_not(beside: Beside, words: str) -> None:
    assert why_not_judged(beside, 0.1) == words


def test_cpu_is_judged_where_haproxy_costs_the_same_in_each_round() -> None:
    assert why_cpu_not_judged([]) == ""
    assert why_cpu_not_judged([0.02, 0.5]) == ""
    assert why_cpu_not_judged([0.51, 0.02]) == (
        "HAProxy's own cost differed by 51% between rounds, at most 50%"
    )
    assert why_cpu_not_judged([0.02], "Stopped: haproxy, plain") == "Stopped: haproxy, plain"


def well() -> str:
    return ""


def busy() -> str:
    return "the control was late"


def errors() -> None:
    raise AssertionError("3 errors, the first: HTTP 503")


def breaks() -> None:
    raise ConnectionResetError("reset")


def passes() -> None:
    pass


@pytest.mark.parametrize("act", [errors, breaks])
def test_errors_are_absolute_where_the_machine_was_well(act: Callable[[], None]) -> None:
    noted: list[tuple[str, object]] = []
    with (
        pytest.raises((AssertionError, OSError), match=r"3 errors|reset"),
        judged(Sheet(noted), well),
    ):
        act()
    assert noted == []


def test_what_passes_is_judged_where_the_machine_was_well() -> None:
    noted: list[tuple[str, object]] = []
    with judged(Sheet(noted), well):
        passes()
    assert noted == []


@pytest.mark.parametrize(
    ("act", "found"),
    [
        (passes, ""),
        (errors, "; it found: 3 errors, the first: HTTP 503"),
        (breaks, "; it found: reset"),
    ],
)
def test_on_a_busy_machine_nothing_passes_and_nothing_fails(
    act: Callable[[], None], found: str
) -> None:
    noted: list[tuple[str, object]] = []
    with (
        pytest.raises(NotJudged, match="not judged: the control was late"),
        judged(Sheet(noted), busy),
    ):
        act()
    assert noted == [("not_judged", f"the control was late{found}")]


def test_a_mistake_of_the_scenario_is_one_on_any_machine() -> None:
    with pytest.raises(KeyError), judged(Sheet([]), busy):
        raise KeyError("a")


def test_what_is_not_judged_is_neither_passed_nor_failed() -> None:
    """For pytest it was skipped; the table says that it was not judged."""
    assert issubclass(NotJudged, pytest.skip.Exception)


def test_a_short_exam_judges_no_times() -> None:
    with pytest.raises(AssertionError, match=r"0\.200 s, at most 0\.100 s: the slowest"):
        judging.assert_within(0.2, 0.1, "the slowest", is_short=False)
    with pytest.raises(AssertionError, match="calls"):
        judging.assert_at_most(1.2, 1.1, "calls", is_short=False)
    judging.assert_within(0.2, 0.1, "the slowest", is_short=True)
    judging.assert_at_most(1.2, 1.1, "calls", is_short=True)


def test_what_is_never_right_is_not_excused_by_a_busy_machine() -> None:
    """A time may be the machine's fault; an answer older than one before is not."""
    sheet = judging.Sheet([])
    with pytest.raises(NotJudged), judging.judged(sheet, lambda: "the control was late"):
        judging.assert_within(9.0, 0.1, "the slowest", is_short=False)
    for why_not in ("", "the control was late"):
        with (
            pytest.raises(judging.Wrong, match="two heads"),
            judging.judged(sheet, lambda words=why_not: words),
        ):
            judging.assert_never(2, "two heads went back")
    judging.assert_never(0, "nothing")
