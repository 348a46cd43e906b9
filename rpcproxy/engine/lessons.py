"""What ends teach: that of an attempt about its upstream, that of a run about the request.

State: none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rpcproxy.engine.attempts import Attempt, Run
from rpcproxy.engine.calls import BatchVerdict
from rpcproxy.messages import Blame, Judgement, Observation, Verdict
from rpcproxy.rules.poison import PoisonMemory

# How members of a batch are judged that have no reply, or none that can be theirs.
_LEFT_OUT: Final = (Verdict.BAD_RESULT, Verdict.WRONG_ID)


def lessons(
    attempt: Attempt, judgement: Judgement, poison: PoisonMemory, now: float
) -> Iterator[Observation]:
    """Observations of the upstream; none where the request is at fault, as two have shown."""
    verdict = judgement.verdict
    call = attempt.call
    if judgement.error is not None and verdict.blame is Blame.UPSTREAM:
        key = call.poison_key
        if key and poison.is_poison(key, now):
            return
    yield Observation(
        attempt.member.standing.name,
        call.need.method_class,
        verdict,
        now - attempt.started,
        call.method.name,
        None,
        judgement.cooldown_seconds,
        call.need.request_bytes,
        False,
        judgement.detail,
        lowest=call.need.lowest,
        span=call.need.span,
    )
    if type(judgement) is BatchVerdict:
        yield from _of_members(attempt, judgement)


def is_poisonous(run: Run, judgement: Judgement | None) -> bool:
    """Two upstreams gave an error of their own and nobody an answer: likely the request."""
    if judgement is None or judgement.verdict.blame is not Blame.UPSTREAM:
        return False
    refused = {name for name, failed in run.plan.failures if failed.error is not None}
    return len(refused) >= 2 and bool(run.call.poison_key)


def _of_members(attempt: Attempt, batch: BatchVerdict) -> Iterator[Observation]:
    """A batch that was answered in part may hold refusals that matter: a rate limit, a key,
    a method not in the plan. Where members have no reply, it takes no batches.
    """
    if batch.verdict is not Verdict.OK:
        return
    if any(member.verdict in _LEFT_OUT and member.error is None for member in batch.members):
        # Each batch would cost a second one. Sent singly, each fault is seen as it is.
        yield Observation(
            attempt.member.standing.name,
            attempt.call.need.method_class,
            Verdict.BATCH_REFUSED,
            method=attempt.call.method.name,
            detail="it answers only a part of a batch",
        )
    seen: set[Verdict] = set()
    for index, member in enumerate(batch.members):
        verdict = member.verdict
        if verdict in seen or verdict.blame not in (Blame.LIMIT, Blame.ACCESS):
            continue
        seen.add(verdict)
        yield Observation(
            attempt.member.standing.name,
            attempt.call.need.method_class,
            verdict,
            method=attempt.call.member_method(index),
            cooldown_seconds=member.cooldown_seconds,
            detail=member.detail,
        )
