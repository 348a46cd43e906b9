"""Inquiries played to their end, whoever puts the questions on the wire. No state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic

import msgspec

from rpcproxy.chains.parts.inquiries import Inquiry, Question, T
from rpcproxy.messages import Judgement, Verdict


class Inquired(msgspec.Struct, Generic[T]):
    """What an inquiry came to. ``value`` is ``None`` where an answer is missing (the judgement says
    why) or says nothing (the verdict is OK). ``judgement`` is of ``question``, the last one that
    was asked; ``None`` where nobody could be asked.
    """

    value: T | None
    question: Question[Any]
    judgement: Judgement | None


async def play(
    inquiry: Inquiry[T], ask: Callable[[Question[Any]], Awaitable[Judgement | None]]
) -> Inquired[T]:
    """Ask what the inquiry yields, question by question, to its value or to the first question that
    has no answer.
    """
    question = next(inquiry)
    while True:
        judgement = await ask(question)
        value = None
        if judgement is not None and judgement.verdict is Verdict.OK:
            value = question.read(judgement.result or b"")
        if value is None:
            return Inquired(None, question, judgement)
        try:
            question = inquiry.send(value)
        except StopIteration as end:
            return Inquired(end.value, question, judgement)
