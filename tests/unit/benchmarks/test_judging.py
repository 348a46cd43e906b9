"""What the exam judges, what it grants, and when a machine was too busy to judge anything."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.exam import judging
from tests.exam.judging import (
    Beside,
    Doubt,
    NotJudged,
    Sheet,
    judged,
    why_cpu_not_judged,
    why_not_judged,
)
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
    assert why_not_judged(beside, 0.1) is None


@pytest.mark.parametrize(
    ("beside", "words", "excuses_errors"),
    [
        (Beside(a_control(0)), "the control asked nothing", True),
        (
            Beside(a_control(errors=2), ["a", "b", "c", "HTTP 503"]),
            "2 of the control's 100 requests failed: ['b', 'c', 'HTTP 503']",
            True,
        ),
        (
            Beside(a_control(p99_seconds=0.101)),
            "the control's 99th percentile was 0.101 s, at most 0.1 s",
            False,
        ),
        (
            Beside(a_control(), due=1000, late=51),
            "51 of 1000 requests were begun more than 0.1 s late, at most 5% may be",
            True,
        ),
    ],
)
def test_where_the_machine_was_too_busy_it_is_not(
    beside: Beside, words: str, excuses_errors: bool
) -> None:
    assert why_not_judged(beside, 0.1) == Doubt(words, excuses_errors)


def test_cpu_is_judged_where_haproxy_costs_the_same_in_each_round() -> None:
    assert why_cpu_not_judged([]) is None
    assert why_cpu_not_judged([0.02, 0.5]) is None
    words = "HAProxy's own cost differed by 51% between rounds, at most 50%"
    assert why_cpu_not_judged([0.51, 0.02]) == Doubt(words)
    assert why_cpu_not_judged([0.02], "Stopped: haproxy") == Doubt("Stopped: haproxy")


def well() -> None:
    return None


def busy() -> Doubt:
    return Doubt("the control was late")


def outrun() -> Doubt:
    return Doubt("the control had errors", of_errors=True)


def errors() -> None:
    judging.assert_no_errors(["HTTP 503"], 3)


def is_slow() -> None:
    judging.assert_within(9.0, 0.1, "the slowest", is_short=False)


def breaks() -> None:
    raise ConnectionResetError("reset")


def passes() -> None:
    pass


@pytest.mark.parametrize("act", [errors, breaks])
@pytest.mark.parametrize("why_not", [well, busy])
def test_errors_are_absolute_where_the_control_had_none(
    act: Callable[[], None], why_not: Callable[[], Doubt | None]
) -> None:
    noted: list[tuple[str, object]] = []
    with (
        pytest.raises((AssertionError, OSError), match=r"3 errors|reset"),
        judged(Sheet(noted), why_not),
    ):
        act()
    assert noted == []


def test_what_passes_is_judged_where_the_machine_was_well() -> None:
    noted: list[tuple[str, object]] = []
    with judged(Sheet(noted), well):
        passes()
    assert noted == []


@pytest.mark.parametrize(
    ("why_not", "act", "found"),
    [
        (busy, passes, ""),
        (busy, is_slow, "; it found: 9.000 s, at most 0.100 s: the slowest"),
        (outrun, passes, ""),
        (outrun, errors, "; it found: 3 errors, the first: HTTP 503"),
        (outrun, breaks, "; it found: reset"),
    ],
)
def test_on_a_busy_machine_no_time_passes_and_none_fails(
    why_not: Callable[[], Doubt], act: Callable[[], None], found: str
) -> None:
    noted: list[tuple[str, object]] = []
    words = why_not().words
    with pytest.raises(NotJudged, match=f"not judged: {words}"), judged(Sheet(noted), why_not):
        act()
    assert noted == [("not_judged", f"{words}{found}")]


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


@pytest.mark.parametrize("why_not", [well, busy, outrun])
def test_what_is_never_right_is_not_excused_by_a_busy_machine(
    why_not: Callable[[], Doubt | None],
) -> None:
    """A time may be the machine's fault; an answer older than one before is not."""
    with pytest.raises(judging.Wrong, match="two heads"), judged(Sheet([]), why_not):
        judging.assert_never(2, "two heads went back")
    judging.assert_never(0, "nothing")
    judging.assert_no_errors([])
