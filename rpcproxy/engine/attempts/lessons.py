"""What ends teach: that of an attempt about its upstream, that of a run about the request.

State: none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rpcproxy.engine.attempts.attempts import Attempt, PlanRun
from rpcproxy.engine.attempts.calls import BatchCall, BatchVerdict
from rpcproxy.messages import Blame, Judgement, MethodClass, Verdict
from rpcproxy.rules.requests.refusals import is_word
from rpcproxy.rules.requests.steps import Finish
from rpcproxy.words import Observation

# How members of a batch are judged that have no reply, or none that can be theirs.
_LEFT_OUT: Final = (Verdict.BAD_RESULT, Verdict.WRONG_ID)


def lessons(attempt: Attempt, judgement: Judgement, now: float) -> Iterator[Observation]:
    """Observations of the upstream, but for what are words about the request (``hearings``)."""
    call = attempt.call
    if not _is_of_words(judgement):
        yield Observation(
            attempt.member.standing.name,
            call.need.method_class,
            judgement.verdict,
            now - attempt.started,
            call.method.name,
            None,
            judgement.cooldown_seconds,
            call.need.request_bytes,
            False,
            judgement.detail,
            lowest=call.need.lowest,
            span=call.need.span,
            shape=call.need.shape,
        )
    if type(judgement) is BatchVerdict:
        yield from _of_members(attempt, judgement)


def _is_of_words(judgement: Judgement) -> bool:
    """Whether all that it says is about requests."""
    if type(judgement) is not BatchVerdict:
        return is_word(judgement)
    verdict = judgement.verdict
    alike = [member for member in judgement.members if member.verdict is verdict]
    return verdict is not Verdict.OK and bool(alike) and all(map(is_word, alike))


def is_poisonous(run: PlanRun, finish: Finish) -> bool:
    """Two upstreams gave an error of their own, or had no answer in time though they live, and
    nobody an answer: likely the request. What no table knows a third one may take.
    """
    judgement = finish.judgement
    if judgement is None or judgement.verdict.blame is not Blame.UPSTREAM:
        return False
    if judgement.verdict is Verdict.UNKNOWN or run.call.need.method_class is MethodClass.SEND:
        return False
    failed = {
        name
        for name, failed in run.plan.failures
        if failed.error is not None and (failed.verdict.blame is not Blame.LIMIT or failed.by_code)
    }
    if finish.exhausted:
        standings = [(attempt.member.standing, attempt) for attempt in run.attempts]
        failed |= {s.name for s, late in standings if s.has_answered_since(late.started)}
    return len(failed) >= 2 and bool(run.call.poison_key)


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
    yield from _taken(attempt, batch)
    seen: set[Verdict] = set()
    for index, member in enumerate(batch.members):
        verdict = member.verdict
        is_own = verdict.blame in (Blame.LIMIT, Blame.ACCESS) and not is_word(member)
        if verdict in seen or not is_own:
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


def _taken(attempt: Attempt, batch: BatchVerdict) -> Iterator[Observation]:
    """Members that were answered, where it was thought to refuse the like."""
    exclusions, call = attempt.member.standing.exclusions, attempt.call
    if not exclusions.listens or not isinstance(call, BatchCall):
        return
    taken = {
        (call.method.name, call.need.shape): call.need
        for call, member in zip(call.members, batch.members, strict=False)
        if member.verdict is Verdict.OK
    }
    for (name, shape), need in taken.items():
        if exclusions.awaits(name, shape):
            yield Observation(
                attempt.member.standing.name,
                need.method_class,
                Verdict.OK,
                method=name,
                shape=shape,
            )
