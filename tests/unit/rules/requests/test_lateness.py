"""Slow answers: whose fault they are, and how much time they get. Tables, without a clock."""

from __future__ import annotations

import pytest

from rpcproxy.chains.evm.methods import describe
from rpcproxy.config.model import Upstream
from rpcproxy.messages import MethodClass, Verdict
from rpcproxy.rules.requests import lateness
from rpcproxy.rules.requests.lateness import MOST_METHODS, PACE_SECONDS, Paces
from rpcproxy.rules.standing.standing import Standing
from rpcproxy.words import Observation

NOW = 1000.0


def standing(usual_seconds: float = 0.0) -> Standing:
    known = Standing(Upstream(name="a", url="https://a.example", provider="a"), 0, NOW)
    if usual_seconds:
        known.light.latency.add(usual_seconds, NOW)
    return known


@pytest.mark.parametrize(
    ("usual", "silent", "others", "is_dead"),
    [
        (0.0, 0.49, True, False),
        (0.0, 0.51, True, True),
        (0.02, 0.51, True, True),
        (0.0, 0.51, False, False),  # nobody answers: our own line may be slow
        (0.0, 3.01, False, True),
        (2.0, 3.01, True, False),  # it usually takes two
        (2.0, 8.01, False, True),
    ],
)
def test_silence(usual: float, silent: float, others: bool, is_dead: bool) -> None:
    told = lateness.has_fallen_silent(standing(usual), NOW, NOW + silent, do_others_answer=others)
    assert told is is_dead


@pytest.mark.parametrize(
    ("won_seconds", "now", "due"),
    [(0.02, NOW + 1.5, NOW + 1.5), (2.0, NOW + 2.1, NOW + 4.0)],
    ids=["a quick one proves it at once", "who is a little slower is not to blame"],
)
def test_who_must_have_answered(won_seconds: float, now: float, due: float) -> None:
    assert lateness.must_have_answered(NOW, won_seconds, now) == due


def test_waiting_in_vain_is_no_sign_of_life() -> None:
    known = standing(0.02)
    known.light.latency.add_wait(1.5, NOW + 1.5)
    assert not known.has_answered_since(NOW + 0.1)
    known.light.latency.add(1.6, NOW + 1.6)
    assert known.has_answered_since(NOW + 1.5)


@pytest.mark.parametrize(
    ("method", "span", "is_costly"),
    [
        ("debug_traceTransaction", 0, True),
        ("trace_filter", 0, True),
        ("eth_simulateV1", 0, True),
        ("debug_unknownToUs", 0, True),
        ("eth_getLogs", 1, False),
        ("eth_getLogs", 5000, True),
        ("eth_getProof", 0, False),
        ("eth_call", 0, False),
    ],
)
def test_which_second_copies_cost_too_much(method: str, span: int, is_costly: bool) -> None:
    assert lateness.is_costly(describe(method), span) is is_costly


@pytest.mark.parametrize(("members", "seconds"), [(1, 1.56), (25, 3.0), (100, 6.0), (1000, 6.0)])
def test_a_batch_has_time_by_its_members(members: int, seconds: float) -> None:
    assert lateness.batch_attempt_seconds(1.5, 9.0, members) == pytest.approx(seconds)


def test_a_batch_near_its_deadline_has_no_less_than_one_call() -> None:
    assert lateness.batch_attempt_seconds(1.5, 0.5, 100) == 1.5


# ---- what methods take


def test_a_slow_method_gets_time_and_its_second_copy_waits() -> None:
    paces = Paces()
    for _ in range(20):
        paces.add("eth_call", 2.0, 0.15, NOW)
    assert paces.attempt_seconds("eth_call", 1.5, 9.0) == 4.0
    assert paces.attempt_seconds("eth_call", 1.5, 4.5) == 3.0  # what is left is for another
    assert paces.hedge_seconds("eth_call", 0.15) == 2.5
    assert paces.attempt_seconds("eth_getCode", 1.5, 9.0) == 1.5
    assert paces.hedge_seconds("eth_getCode", 0.15) == 0.15


def test_a_slow_answer_now_and_then_changes_nothing() -> None:
    paces = Paces()
    for number in range(100):
        paces.add("eth_call", 2.0 if number % 20 == 0 else 0.02, 0.15, NOW)
    assert paces.attempt_seconds("eth_call", 1.5, 9.0) == 1.5
    assert paces.hedge_seconds("eth_call", 0.15) == 0.15


def test_quick_answers_alone_are_not_remembered() -> None:
    paces = Paces()
    paces.add("eth_call", 0.02, 0.15, NOW)
    assert not paces.knows("eth_call")


def test_a_method_that_is_quick_again_is_as_others() -> None:
    paces = Paces()
    paces.add("eth_call", 2.0, 0.15, NOW)
    paces.add("eth_call", 0.02, 0.15, NOW + PACE_SECONDS - 1)
    assert paces.knows("eth_call")
    paces.add("eth_call", 0.02, 0.15, NOW + PACE_SECONDS + 1)
    assert not paces.knows("eth_call")


def test_memory_is_bounded() -> None:
    paces = Paces()
    for number in range(3 * MOST_METHODS):
        paces.add(f"made_up{number}", 2.0, 0.15, NOW)
    assert len(paces) == MOST_METHODS


# ---- doubt


def test_a_failure_speaks_against_it_and_a_slow_answer_does_not() -> None:
    known = standing(0.02)
    assert not lateness.in_doubt(known)
    known.light.overdue = 3
    assert not lateness.in_doubt(known)
    known.classes[MethodClass.HEAVY].breaker.on_failure(Verdict.SERVER_ERROR, NOW)
    assert lateness.in_doubt(known)


def test_an_observation_of_a_timeout_is_doubt_enough() -> None:
    seen = Observation("a", MethodClass.LIGHT, Verdict.TIMEOUT, 1.5)
    known = standing(0.02)
    known.light.breaker.on_failure(seen.verdict, NOW)
    assert lateness.in_doubt(known)
