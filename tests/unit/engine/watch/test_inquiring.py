"""Inquiries played to their end: which questions are asked, and what comes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from rpcproxy.chains.evm.questions import CHAIN_ID, NEWEST
from rpcproxy.chains.parts.inquiries import Inquiry, Question, single
from rpcproxy.engine.watch.inquiring import Inquired, play
from rpcproxy.messages import Head, Judgement, Verdict

SEVEN = b'{"number":"0x7"}'


def head_by_steps() -> Inquiry[Head]:
    """The head, from those that are on chain 5."""
    if (yield CHAIN_ID) != "5":
        return None
    head: Head = yield NEWEST
    return head


def played(
    inquiry: Inquiry[Head], *said: Judgement | None
) -> tuple[Inquired[Head], Sequence[Question[object]]]:
    asked: list[Question[object]] = []

    async def ask(question: Question[object]) -> Judgement | None:
        asked.append(question)
        return said[len(asked) - 1]

    return asyncio.run(play(inquiry, ask)), asked


def ok(text: bytes) -> Judgement:
    return Judgement(Verdict.OK, msgspec.Raw(text))


def test_one_question_has_one_answer() -> None:
    found, asked = played(single(NEWEST), ok(SEVEN))
    assert found == Inquired(Head(7), NEWEST, ok(SEVEN))
    assert asked == [NEWEST]


def test_each_answer_is_read_and_leads_to_the_next_question() -> None:
    found, asked = played(head_by_steps(), ok(b'"0x5"'), ok(SEVEN))
    assert found.value == Head(7)
    assert found.question is NEWEST
    assert asked == [CHAIN_ID, NEWEST]


def test_an_inquiry_may_come_to_nothing() -> None:
    found, asked = played(head_by_steps(), ok(b'"0x6"'))
    assert found.value is None
    assert asked == [CHAIN_ID]


@pytest.mark.parametrize(
    "said", [None, Judgement(Verdict.TIMEOUT), Judgement(Verdict.OK), ok(b"[]"), ok(b"null")]
)
def test_it_ends_with_the_first_question_that_has_no_answer(said: Judgement | None) -> None:
    found, asked = played(head_by_steps(), said)
    assert found == Inquired(None, CHAIN_ID, said)
    assert asked == [CHAIN_ID]
