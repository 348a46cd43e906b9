"""When a transaction counts as taken, and when as refused, as tables."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcproxy.messages import Judgement, Verdict
from rpcproxy.rules.sends.ballot import ACCEPTED, REJECTION_SECONDS, SendTally

TEXT = msgspec.Raw(b'{"code":-32000,"message":"no"}')
NOW = 50.0
REJECTIONS = (
    Verdict.SENDER_LIMITED,
    Verdict.SEND_REFUSED,
    Verdict.INVALID_PARAMS,
    Verdict.INSUFFICIENT_FUNDS,
    Verdict.NONCE_TOO_LOW,
    Verdict.REVERTED,
    Verdict.SEND_POLICY,
)
FAILURES = tuple(v for v in Verdict if v not in REJECTIONS and v not in ACCEPTED)


def tally(*said: Verdict, asked: int | None = None, is_at_head: bool = True) -> SendTally:
    """What was said at ``NOW`` by the first of ``asked`` upstreams."""
    count = SendTally()
    for _ in range(len(said) if asked is None else asked):
        count.on_asked()
    for index, verdict in enumerate(said):
        judgement = Judgement(verdict, error=TEXT, detail=str(index))
        count.on_judgement(f"u{index}", judgement, NOW, is_at_head=is_at_head)
    return count


@pytest.mark.parametrize("accepted", ACCEPTED)
@pytest.mark.parametrize("rejected", REJECTIONS)
def test_one_acceptance_beats_any_rejection(accepted: Verdict, rejected: Verdict) -> None:
    for order in ((accepted, rejected, rejected), (rejected, rejected, accepted)):
        count = tally(*order)
        assert count.accepted is not None
        assert count.accepted.verdict is accepted
        assert not count.is_rejected(NOW + 100, can_ask_more=False)


def test_the_first_acceptance_is_kept() -> None:
    count = tally(Verdict.ALREADY_KNOWN, Verdict.OK)
    assert count.accepted is not None
    assert count.accepted.verdict is Verdict.ALREADY_KNOWN


@pytest.mark.parametrize(
    ("said", "asked", "can_ask_more", "is_rejected"),
    [
        # The node's protocol: nobody will take it, and 70 % of the asked say so.
        ((Verdict.SEND_REFUSED,), 1, True, False),
        ((Verdict.SEND_REFUSED,), 1, False, True),
        ((Verdict.SEND_REFUSED,), 2, True, False),
        ((Verdict.SEND_REFUSED, Verdict.SEND_REFUSED), 2, True, True),
        ((Verdict.SEND_REFUSED, Verdict.SEND_REFUSED), 3, True, False),
        ((Verdict.SEND_REFUSED,) * 7, 10, True, True),
        ((Verdict.SEND_REFUSED,) * 6, 10, True, False),
        ((Verdict.INVALID_PARAMS,) * 3, 4, True, True),
        ((Verdict.SEND_REFUSED, Verdict.SEND_POLICY), 2, True, True),
        # A state that another may see otherwise: everybody is asked.
        ((Verdict.NONCE_TOO_LOW,) * 2, 2, True, False),
        ((Verdict.NONCE_TOO_LOW,) * 2, 2, False, True),
        ((Verdict.INSUFFICIENT_FUNDS,) * 3, 3, True, False),
        ((Verdict.INSUFFICIENT_FUNDS,) * 3, 3, False, True),
        ((Verdict.REVERTED,), 1, True, False),
        # Code was run: whoever runs it says the same.
        ((Verdict.REVERTED,) * 2, 2, True, True),
        ((Verdict.REVERTED,) * 2, 3, True, False),
        ((Verdict.REVERTED, Verdict.SEND_REFUSED), 2, True, True),
        ((Verdict.REVERTED,), 1, False, True),
        # A node's own policy is no rejection while others can be asked.
        ((Verdict.SEND_POLICY,) * 3, 3, True, False),
        ((Verdict.SEND_POLICY,) * 3, 3, False, True),
        ((Verdict.SEND_POLICY,), 2, False, False),
        # The sequencer's own word.
        ((Verdict.SENDER_LIMITED,), 5, True, True),
        # A failure is no rejection, and does not hide one.
        ((Verdict.TIMEOUT, Verdict.RATE_LIMITED), 2, False, False),
        ((Verdict.TIMEOUT, Verdict.NONCE_TOO_LOW), 2, False, True),
        ((), 0, False, False),
    ],
)
def test_when_a_rejection_is_given_at_once(
    said: tuple[Verdict, ...], asked: int, can_ask_more: bool, is_rejected: bool
) -> None:
    count = tally(*said, asked=asked)
    assert count.is_rejected(NOW, can_ask_more=can_ask_more) is is_rejected


@pytest.mark.parametrize("rejected", [v for v in REJECTIONS if v is not Verdict.SENDER_LIMITED])
@pytest.mark.parametrize("can_ask_more", [False, True])
def test_two_seconds_after_the_first_answer_it_is_given(
    rejected: Verdict, can_ask_more: bool
) -> None:
    count = tally(rejected, asked=2)
    late = NOW + REJECTION_SECONDS
    assert not count.is_rejected(late, can_ask_more=can_ask_more)
    is_given = rejected is not Verdict.SEND_POLICY or not can_ask_more
    assert count.is_rejected(late + 0.01, can_ask_more=can_ask_more) is is_given


def test_the_two_seconds_begin_with_an_answer_not_with_a_failure() -> None:
    count = tally(Verdict.TIMEOUT, asked=3)
    count.on_judgement("u1", Judgement(Verdict.SEND_REFUSED), NOW + 5, is_at_head=True)
    assert not count.is_rejected(NOW + 6, can_ask_more=True)
    assert count.is_rejected(NOW + 7.1, can_ask_more=True)


def test_the_two_seconds_do_not_begin_anew() -> None:
    count = tally(Verdict.NONCE_TOO_LOW, asked=3)
    count.on_judgement("u1", Judgement(Verdict.NONCE_TOO_LOW), NOW + 1.9, is_at_head=True)
    assert count.is_rejected(NOW + 2.1, can_ask_more=True)


def test_insufficient_funds_counts_only_from_an_upstream_at_the_head() -> None:
    behind = tally(Verdict.INSUFFICIENT_FUNDS, is_at_head=False)
    assert behind.rejection is None
    assert not behind.is_rejected(NOW + 100, can_ask_more=True)
    # Where all that can be asked are behind, their word is what there is.
    assert behind.is_rejected(NOW, can_ask_more=False)
    assert behind.weak is not None
    assert [name for name, _ in behind.failures] == ["u0"]
    assert behind.first_answer_at == NOW
    behind.on_asked()
    at_head = Judgement(Verdict.INSUFFICIENT_FUNDS, error=TEXT)
    behind.on_judgement("u1", at_head, NOW + 1, is_at_head=True)
    assert behind.rejection is at_head
    assert behind.is_rejected(NOW + 1, can_ask_more=False)
    assert tally(Verdict.NONCE_TOO_LOW, is_at_head=False).rejection is not None


@pytest.mark.parametrize(
    ("weightier", "lighter"),
    [(a, b) for i, a in enumerate(REJECTIONS) for b in REJECTIONS[i + 1 :]],
)
def test_the_rejection_that_says_most_is_shown(weightier: Verdict, lighter: Verdict) -> None:
    shown = tally(weightier, lighter).rejection
    assert shown is not None
    assert shown.verdict is weightier
    shown = tally(lighter, weightier).rejection
    assert shown is not None
    if {weightier, lighter} != {Verdict.NONCE_TOO_LOW, Verdict.REVERTED}:  # these weigh the same
        assert shown.verdict is weightier


def test_of_equals_the_first_is_shown() -> None:
    shown = tally(Verdict.SEND_REFUSED, Verdict.SEND_REFUSED).rejection
    assert shown is not None
    assert shown.detail == "0"


@pytest.mark.parametrize("verdict", FAILURES)
def test_what_is_no_answer_about_the_transaction_is_a_failure(verdict: Verdict) -> None:
    count = tally(verdict)
    assert [(name, failed.verdict) for name, failed in count.failures] == [("u0", verdict)]
    assert count.settled == 1
    assert count.first_answer_at is None
    assert not count.is_rejected(NOW + 100, can_ask_more=True)
    # Words that we do not know are given once all have spoken, and so is what is said of a key
    # or a method where nothing else is: asking again brings the same.
    is_own_word = verdict in (Verdict.UNKNOWN, Verdict.SERVER_ERROR)
    is_told = is_own_word or verdict in (Verdict.KEY_REFUSED, Verdict.UNSUPPORTED)
    assert count.is_rejected(NOW, can_ask_more=False) is is_told
    assert (count.weak is not None) is is_own_word
    assert not count.is_final_refusal()


def test_tallies_share_nothing() -> None:
    tally(Verdict.TIMEOUT)
    assert SendTally().failures == []


@given(st.lists(st.sampled_from(list(Verdict)), max_size=8), st.booleans(), st.floats(0, 10))
def test_never_both_and_never_without_a_reason(
    said: list[Verdict], can_ask_more: bool, passed: float
) -> None:
    count = tally(*said)
    assert count.settled == count.asked == len(said)
    if count.is_rejected(NOW + passed, can_ask_more=can_ask_more):
        assert count.accepted is None
        assert (count.rejection or count.weak or count.lasting) is not None
    assert (count.accepted is not None) == any(verdict in ACCEPTED for verdict in said)


def test_of_those_that_are_not_believed_alone_the_one_with_a_result_is_kept() -> None:
    """ "Known" and a relay's yes: the hash is in the second."""
    told = SendTally()
    known = Judgement(Verdict.ALREADY_KNOWN, error=msgspec.Raw(b"{}"))
    yes = Judgement(Verdict.OK, msgspec.Raw(b'"0x1"'))
    for name, judgement in (("a", known), ("b", yes), ("c", known)):
        told.on_asked()
        told.on_judgement(name, judgement, 10.0, is_at_head=True, is_believed=False)
    assert told.accepted is None
    assert told.accepted_alone is yes
    assert not told.is_over(10.0, can_ask_more=True)
    assert told.is_over(10.0, can_ask_more=False)


@pytest.mark.parametrize("other", FAILURES)
def test_a_method_is_offered_by_nobody_only_where_all_say_so(other: Verdict) -> None:
    lacking = Verdict.UNSUPPORTED
    assert tally(lacking, lacking).lasting is not None
    is_lasting = other in (lacking, Verdict.KEY_REFUSED)
    assert (tally(lacking, other).lasting is not None) is is_lasting
    assert not tally(lacking, asked=2).is_rejected(NOW, can_ask_more=False)
    assert tally().lasting is None
