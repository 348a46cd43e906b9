"""What it means that no HTTP reply came. Pure."""

from __future__ import annotations

from typing import Final

from rpcproxy.messages import Failure, FailureKind, Judgement, Verdict
from rpcproxy.rules.answers import hints

_FAILURES: Final = {
    FailureKind.RESOLVE: Verdict.UNREACHABLE,
    FailureKind.CONNECT: Verdict.UNREACHABLE,
    FailureKind.TLS: Verdict.UNREACHABLE,
    FailureKind.RESET: Verdict.BROKEN,
    FailureKind.TRUNCATED: Verdict.BROKEN,
    FailureKind.PROTOCOL: Verdict.BROKEN,
    FailureKind.TOO_LARGE: Verdict.RANGE_TOO_LARGE,  # an answer too large is nobody's fault
    FailureKind.TIMEOUT: Verdict.TIMEOUT,
    FailureKind.OVERTAKEN: Verdict.OVERTAKEN,
    FailureKind.CANCELLED: Verdict.CANCELLED,
    FailureKind.OWN: Verdict.OWN_FAULT,
}


def judge_failure(failure: Failure) -> Judgement:
    """The judgement of a call whose reply never came whole."""
    return Judgement(_FAILURES[failure.kind], detail=hints.tell(failure.detail))
