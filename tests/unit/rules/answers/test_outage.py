"""Why a request could not be served, in words."""

from __future__ import annotations

import msgspec
import pytest

from rpcproxy.messages import Judgement, Retry, Verdict
from rpcproxy.rules.answers.outage import explain, outage_reason, shown_error


def test_what_failed_where_since_when_and_what_is_being_done() -> None:
    failures = [
        ("infura", Judgement(Verdict.TIMEOUT)),
        ("alchemy", Judgement(Verdict.UNREACHABLE)),
        ("drpc", Judgement(Verdict.TIMEOUT)),
    ]
    assert explain("ethereum", failures, 42.4, 3) == (
        "no upstream of ethereum could answer for 42 s "
        "(infura, drpc: no answer in time; alchemy: not reachable); "
        "all are checked continuously and used again as soon as one answers"
    )


@pytest.mark.parametrize(
    ("drained", "every"), [(["a"], "the only upstream"), (["a", "b", "c"], "all 3 upstreams")]
)
def test_what_an_operator_drained_is_told_as_such(drained: list[str], every: str) -> None:
    failures = [("a", Judgement(Verdict.TIMEOUT))]  # of before
    assert explain("sim", failures, 6.0, len(drained), drained) == (
        f"no upstream of sim could answer for 6 s: an operator has drained {every}; "
        "each is used again once it is put back"
    )


def test_beside_those_that_fail_the_drained_are_named() -> None:
    failures = [("a", Judgement(Verdict.TIMEOUT)), ("b", Judgement(Verdict.TIMEOUT))]
    assert explain("sim", failures, 6.0, 2, ["b"]) == (
        "no upstream of sim could answer for 6 s "
        "(a: no answer in time; b: drained by an operator); "
        "the others are checked continuously and used again as soon as one answers, "
        "the drained once they are put back"
    )


def test_without_an_outage_no_time_is_named() -> None:
    said = explain("base", [("a", Judgement(Verdict.BROKEN))], None, 1)
    assert said.startswith("no upstream of base could answer (a: connection broke); ")


def test_the_latest_word_of_each_upstream_counts() -> None:
    failures = [
        ("a", Judgement(Verdict.TIMEOUT)),
        ("b", Judgement(Verdict.EMPTY)),
        ("a", Judgement(Verdict.RATE_LIMITED)),
    ]
    said = explain("base", failures, None, 2)
    assert "(a: rate limit reached; b: answered nothing)" in said
    assert "in time" not in said


@pytest.mark.parametrize(
    ("upstreams", "words"),
    [(1, "the only upstream cannot be asked now"), (3, "none of 3 can be asked now")],
)
def test_where_nobody_could_be_asked(upstreams: int, words: str) -> None:
    assert f"({words})" in explain("base", [], 3.0, upstreams)


def test_details_may_hold_an_upstreams_url_and_are_left_out() -> None:
    failed = Judgement(Verdict.UNKNOWN, detail="https://rpc.example/v3/secret-key refused")
    said = explain("base", [("a", failed)], 3.0, 1)
    assert "a: error of its own" in said
    assert "secret" not in said


@pytest.mark.parametrize(
    "verdict", [v for v in Verdict if v.retry is not Retry.NO or v is Verdict.CANCELLED]
)
def test_every_failure_has_words_for_people(verdict: Verdict) -> None:
    said = explain("base", [("a", Judgement(verdict))], None, 1)
    assert "_" not in said
    words = said.split("(a: ")[1].split(")")[0]
    assert words
    assert words != "None"


def test_wallets_hear_public_names_and_operators_their_own() -> None:
    failures = [("127.0.0.1:8545", Judgement(Verdict.TIMEOUT))]
    names = {"127.0.0.1:8545": "upstream-1", "10.0.0.2:8545": "upstream-2"}
    reason = outage_reason("sim", failures, None, 2, ["10.0.0.2:8545"], names)
    assert "(upstream-1: no answer in time; upstream-2: drained by an operator)" in reason.public
    assert "(127.0.0.1:8545: no answer in time; 10.0.0.2:8545: drained" in reason.detail


def test_what_an_upstream_says_of_its_own_machines_goes_no_further() -> None:
    words = "dial tcp 10.7.7.7:8545: connection refused (process 99, /var/lib/geth/ipc)"
    error = msgspec.Raw(msgspec.json.encode({"code": -32603, "message": words}))
    shown = bytes(shown_error(Judgement(Verdict.SERVER_ERROR, error=error)) or b"").decode()
    assert [each for each in ("10.7.7.7", "8545", "99", "/var") if each in shown] == []
    assert "connection refused" in shown
    # What is said of a request goes on as it is: libraries read it.
    assert shown_error(Judgement(Verdict.REVERTED, error=error)) is error
