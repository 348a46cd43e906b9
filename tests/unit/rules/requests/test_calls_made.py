"""How many calls each upstream gets for one request."""

from __future__ import annotations

from rpcproxy.messages import Judgement, Verdict
from rpcproxy.rules.requests.calls_made import MOST_CALLS, CallsMade, has_lost
from tests.kits.fleet import Fleet, upstream

FLEET = Fleet([upstream("a"), upstream("b")])
A, B = FLEET["a"], FLEET["b"]


def test_three_calls_are_all_that_one_gets() -> None:
    calls = CallsMade((A, B), None)
    for count in range(1, MOST_CALLS + 1):
        assert calls.spent == ()
        calls.on_sent(A)
        assert calls.counts == {"a": count}
    assert calls.spent == (A,)
    assert CallsMade((A, B), calls.counts).spent == (A,)


def test_the_last_call_is_left_for_a_recovery() -> None:
    calls = CallsMade((A, B), {"a": MOST_CALLS - 1, "b": 1})
    assert calls.nearly_spent((A, B)) == (A,)


def test_what_was_never_sent_is_no_call() -> None:
    calls = CallsMade((A, B), {"a": MOST_CALLS - 1})
    calls.on_sent(A)
    calls.on_failure(A, Verdict.UNREACHABLE)
    assert (calls.counts, calls.spent) == ({"a": MOST_CALLS - 1}, ())
    calls.on_sent(A)
    calls.on_failure(A, Verdict.SERVER_ERROR)
    assert calls.spent == (A,)


def test_who_came_back_is_asked_once_more_for_what_brought_no_answer() -> None:
    calls = CallsMade((A, B), {"a": MOST_CALLS, "b": MOST_CALLS})
    failures = [("a", Judgement(Verdict.TIMEOUT)), ("b", Judgement(Verdict.RATE_LIMITED))]
    for standing in (A, B):
        calls.on_recovery(standing, failures)
    assert calls.spent == (B,)
    calls.on_sent(A)
    assert calls.spent == (B, A)
    assert has_lost(A, failures)
    assert not has_lost(B, failures)
    assert not has_lost(A, [*failures, ("a", Judgement(Verdict.RATE_LIMITED))])
