"""Calls sent as one array: how they were asked, and what the attempt as a whole taught."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from rpcproxy.chains.method import Method
from rpcproxy.messages import Blame, Judgement, Verdict

_BY_BLAME: Final = (Blame.ACCESS, Blame.LIMIT, Blame.UPSTREAM)


class SentCall(NamedTuple):
    """One call of a batch as it was sent."""

    id: int
    method: Method
    params: bytes | msgspec.Raw = b""


class BatchJudgement(msgspec.Struct, gc=False):
    """``members`` are in the order of the calls. The rest is what the attempt as a whole taught
    about the upstream: a refused batch over access over limits over faults over all well.
    """

    verdict: Verdict
    members: list[Judgement]
    cooldown_seconds: float | None = None
    detail: str = ""


def all_alike(judgement: Judgement, calls: Sequence[SentCall]) -> BatchJudgement:
    return BatchJudgement(
        judgement.verdict,
        [judgement] * len(calls),
        judgement.cooldown_seconds,
        judgement.detail,
    )


def on_the_whole(members: list[Judgement]) -> BatchJudgement:
    worst = next((m for m in members if m.verdict is Verdict.BATCH_REFUSED), None)
    for blame in _BY_BLAME:
        worst = worst or next((m for m in members if m.verdict.blame is blame), None)
    if worst is None:
        return BatchJudgement(Verdict.OK, members)
    cooldowns = [m.cooldown_seconds for m in members if m.cooldown_seconds is not None]
    return BatchJudgement(worst.verdict, members, max(cooldowns, default=None), worst.detail)
