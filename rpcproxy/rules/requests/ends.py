"""How attempts ended, weighed: which of several ends is shown to a client.

Pure.
"""

from __future__ import annotations

from rpcproxy.messages import Blame, Failure, Judgement, Retry, Verdict


def is_own_word(judgement: Judgement) -> bool:
    """Whether it is an upstream's own error, in words."""
    return judgement.error is not None and judgement.verdict.blame is Blame.UPSTREAM


def rank(judgement: Judgement) -> int:
    """Which of several is shown: an answer over a refusal of the request itself over an
    upstream's own error over a refusal to serve over a failure of transport. What upstreams
    cannot do counts without an error text as well: a body too large, a batch refused by status.
    """
    verdict = judgement.verdict
    if verdict in (Verdict.CANCELLED, Verdict.OWN_FAULT):
        return 0
    if verdict.retry is Retry.NO:
        return 5
    if verdict.retry is Retry.CONFIRM:
        return 4
    if verdict.blame is Blame.NOBODY:
        return 3
    if judgement.error is None:
        return 0
    return 2 if verdict.blame is Blame.UPSTREAM else 1


def lost(failure: Failure) -> Judgement:
    """The judgement of an attempt that ended by our own decision."""
    verdict = {
        "timeout": Verdict.TIMEOUT,
        "overtaken": Verdict.OVERTAKEN,
    }.get(failure.kind.value, Verdict.CANCELLED)
    return Judgement(verdict, detail=failure.detail)
