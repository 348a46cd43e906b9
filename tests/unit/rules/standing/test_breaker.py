import math

import pytest

from rpcproxy.messages import MethodClass, Verdict
from rpcproxy.rules.standing.breaker import Breaker

LIGHT = MethodClass.LIGHT


def fail(breaker: Breaker, *verdicts: Verdict, now: float = 0.0) -> str:
    reason = ""
    for verdict in verdicts:
        reason = breaker.on_failure(verdict, now)
    return reason


@pytest.mark.parametrize("verdict", [Verdict.UNREACHABLE, Verdict.BROKEN, Verdict.TIMEOUT])
def test_three_transport_failures_in_a_row_trip(verdict: Verdict) -> None:
    breaker = Breaker(LIGHT)
    assert fail(breaker, verdict) == ""
    assert fail(breaker, verdict, now=2.5) == ""
    assert not breaker.is_dead
    assert "3 transport failures in a row" in fail(breaker, verdict, now=2.5)
    assert breaker.is_dead
    assert breaker.has_lost_transport
    assert not breaker.is_early


@pytest.mark.parametrize("first", [Verdict.UNREACHABLE, Verdict.BROKEN, Verdict.TIMEOUT])
def test_two_at_once_trip_where_the_last_could_not_connect(first: Verdict) -> None:
    breaker = Breaker(LIGHT)
    assert fail(breaker, first) == ""
    assert "2 transport failures in a row" in fail(breaker, Verdict.UNREACHABLE, now=2.0)
    assert breaker.is_dead
    assert breaker.is_early
    assert not breaker.has_lost_transport


def test_two_with_an_answer_or_a_long_time_between_do_not_trip() -> None:
    breaker = Breaker(LIGHT)
    assert fail(breaker, Verdict.UNREACHABLE) == ""
    assert fail(breaker, Verdict.UNREACHABLE, now=2.1) == ""
    breaker.on_answer()
    assert fail(breaker, Verdict.UNREACHABLE, now=2.2) == ""
    assert fail(breaker, Verdict.BROKEN, now=2.2) == ""
    assert not breaker.is_early


def test_the_first_failed_connection_is_in_question_until_the_next_answer() -> None:
    breaker = Breaker(LIGHT)
    assert not breaker.is_in_question
    fail(breaker, Verdict.UNREACHABLE)
    assert breaker.is_in_question
    breaker.on_success()
    assert not breaker.is_in_question
    fail(breaker, Verdict.BROKEN)
    assert not breaker.is_in_question


def test_an_answer_of_any_kind_shows_that_the_transport_works() -> None:
    breaker = Breaker(LIGHT)
    fail(breaker, Verdict.TIMEOUT, Verdict.TIMEOUT)
    breaker.on_answer()
    assert fail(breaker, Verdict.TIMEOUT, Verdict.TIMEOUT) == ""
    fail(breaker, Verdict.SERVER_ERROR)
    assert not breaker.is_dead


def test_five_failures_trip_and_so_does_being_overtaken() -> None:
    for verdict in (Verdict.SERVER_ERROR, Verdict.OVERTAKEN):
        breaker = Breaker(LIGHT)
        assert fail(breaker, *[verdict] * 4) == ""
        assert "outweigh" in fail(breaker, verdict)
        assert breaker.is_dead == (verdict is Verdict.OVERTAKEN)


def test_successes_weigh_against_failures() -> None:
    breaker = Breaker(LIGHT)
    for _ in range(100):
        breaker.on_success()
    reasons = []
    for _ in range(60):  # two of three fail: a share above one half trips it
        reasons.append(fail(breaker, Verdict.SERVER_ERROR))
        reasons.append(fail(breaker, Verdict.SERVER_ERROR))
        breaker.on_success()
    assert any(reasons)


def test_one_failure_in_four_never_trips() -> None:
    breaker = Breaker(LIGHT)
    for index in range(2000):
        assert fail(breaker, Verdict.SERVER_ERROR, now=index * 0.1) == ""
        for _ in range(3):
            breaker.on_success()
        breaker.fade(0.1, index * 0.1)


def test_a_share_above_one_half_trips_though_the_balance_does_not() -> None:
    breaker = Breaker(LIGHT)
    breaker.samples, breaker.share, breaker.balance = 10.0, 0.5, 0
    assert "% of its answers fail" in fail(breaker, Verdict.SERVER_ERROR)
    few = Breaker(LIGHT)
    few.samples, few.share, few.balance = 3.0, 0.5, 0
    assert fail(few, Verdict.SERVER_ERROR) == ""


def test_open_times_double_for_flapping_up_to_a_bound_and_are_forgotten() -> None:
    breaker = Breaker(LIGHT)
    now, seconds = 0.0, []
    for _ in range(7):
        breaker.trip("x", LIGHT, now)
        seconds.append(breaker.open_until - now)
        now = breaker.open_until
        breaker.close(now)
        now += 1.0
    assert seconds == [1, 2, 4, 8, 16, 30, 30]
    now += 61.0
    breaker.trip("x", LIGHT, now)
    assert breaker.open_until - now == 1.0


def test_failures_while_open_do_not_lengthen_it() -> None:
    breaker = Breaker(LIGHT)
    breaker.trip("x", LIGHT, 0.0)
    breaker.clean = 1
    for second in range(3600):
        assert fail(breaker, Verdict.UNREACHABLE, now=float(second)) == ""
    assert breaker.open_until == 1.0
    assert breaker.clean == 0
    breaker.clean = 2
    assert breaker.can_close(3600.0)


def test_it_closes_after_its_time_and_two_clean_answers() -> None:
    breaker = Breaker(LIGHT)
    assert not breaker.can_close(0.0)
    breaker.trip("x", LIGHT, 0.0)
    assert breaker.state(0.5) == "open"
    breaker.clean = 2
    assert not breaker.can_close(0.9)
    breaker.clean = 1
    assert breaker.state(1.5) == "half_open"
    assert not breaker.can_close(1.5)
    breaker.clean = 2
    assert breaker.can_close(1.5)
    breaker.close(1.5)
    assert breaker.state(1.5) == "closed"
    assert breaker.reason == ""


def test_slow_start_grows_from_a_tenth() -> None:
    breaker = Breaker(LIGHT)
    assert breaker.ramp(0.0) == 1.0
    assert breaker.closed_at == -math.inf
    breaker.trip("x", LIGHT, 0.0)
    breaker.close(10.0)
    assert [breaker.ramp(t) for t in (9.0, 10.0, 11.5, 13.0, 99.0)] == [0.1, 0.1, 0.5, 1.0, 1.0]


def test_what_was_counted_fades() -> None:
    breaker = Breaker(LIGHT)
    fail(breaker, *[Verdict.SERVER_ERROR] * 3, now=0.0)
    before = breaker.share
    breaker.fade(10.0, 10.0)
    assert breaker.share == pytest.approx(before / math.e)
    assert breaker.streak == 3
    for second in range(11, 80):
        breaker.fade(1.0, float(second))
    assert breaker.is_quiet
    assert breaker.streak == breaker.balance == 0
