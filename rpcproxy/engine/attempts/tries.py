"""What was tried for one request, written down as it goes: a few assignments for each attempt.
Words are made of it where the request failed or was slow, and only there.

State: the attempts of one request, in ``Tried`` each, written by who makes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from rpcproxy.messages import Judgement, Verdict
from rpcproxy.rules.telling.request_traces import AttemptTrace


class Tried(msgspec.Struct, gc=False):
    """One attempt. Times in monotonic seconds; ``ended`` is ``None`` while it is under way, and
    ``verdict`` while nothing is known of it. ``why`` as of ``AttemptTrace``.
    """

    upstream: str
    began: float
    why: str
    ended: float | None = None
    verdict: Verdict | None = None
    detail: str = ""

    def on_word(self, judgement: Judgement) -> None:
        """What is known of it by now. The judgement is not kept: an answer may hang on it."""
        self.verdict = judgement.verdict
        self.detail = judgement.detail

    def end(self, judgement: Judgement, now: float) -> None:
        self.ended = now
        if self.verdict is None or judgement.verdict is not Verdict.CANCELLED:
            self.on_word(judgement)


class Notes(msgspec.Struct, gc=False):
    """``tried`` for one request, in one run of it or in several; ``first``: why the first of a run
    is made.
    """

    tried: list[Tried] = []
    first: str = "first"

    def begin(self, upstream: str, now: float, why: str) -> Tried:
        tried = Tried(upstream, now, self.first if why == "first" else why)
        self.tried.append(tried)
        return tried

    def because(self, why: str) -> Notes:
        """The same list, for a run that is made because of ``why``."""
        return Notes(self.tried, why)


def of_member(tried: Sequence[Tried], upstream: str, judgement: Judgement | None) -> list[Tried]:
    """What was tried for one member of a batch: the answer of ``upstream`` was ``judgement`` for
    this one, whatever it was for the others.
    """
    found = list(tried)
    for place in range(len(found) - 1, -1, -1):
        each = found[place]
        if judgement is not None and each.upstream == upstream and each.ended is not None:
            mine = msgspec.structs.replace(each)
            mine.on_word(judgement)
            found[place] = mine
            break
    return found


def traced(tried: Iterable[Tried], started: float) -> tuple[AttemptTrace, ...]:
    """The attempts in the order in which they began, for a request that came at ``started``."""
    return tuple(
        AttemptTrace(
            upstream=each.upstream,
            began_seconds=round(each.began - started, 4),
            why=each.why,
            seconds=None if each.ended is None else round(each.ended - each.began, 4),
            verdict="" if each.verdict is None else each.verdict.label,
            detail=each.detail,
        )
        for each in sorted(tried, key=lambda each: each.began)
    )
