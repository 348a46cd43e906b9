"""Admission of upstreams: the right chain, and a key that works.

Nobody is asked before a probe found it on the right chain. A wrong chain id quarantines
until two such probes in a row are right; a refused key for a minute, growing to ten, and then
until two are right. Panic overrides none of it.
"""

from __future__ import annotations

from rpcproxy.messages import Verdict
from rpcproxy.rules.standing.standing import CLEAN_CHECKS_NEEDED, Standing
from rpcproxy.states import Change, ChangeKind
from rpcproxy.words import Observation


def is_check(o: Observation) -> bool:
    """Whether this is a chain id that was verified."""
    return o.is_identity and o.verdict is Verdict.OK


def on_checked(standing: Standing, now: float, changes: list[Change], *, is_needed: bool) -> bool:
    """The chain id was right; whether that changed anything. ``is_needed``: nobody else is
    usable, so a key that works again is not left waiting.
    """
    if standing.is_quarantined:
        standing.clean_checks += 1
        until = standing.quarantine_until
        is_over = until is None or now >= until or is_needed
        if standing.clean_checks < CLEAN_CHECKS_NEEDED or not is_over:
            return False
        standing.is_admitted = True
        standing.readmit(now)
        changes.append(
            Change(standing.name, ChangeKind.READMITTED, "its chain id and key are right again")
        )
        return True
    if standing.is_admitted:
        return False
    standing.is_admitted = True
    for record in standing.classes:
        record.reset()
    changes.append(
        Change(standing.name, ChangeKind.READMITTED, "admitted: its chain id is verified")
    )
    return True


def on_refused(
    standing: Standing, o: Observation, now: float, changes: list[Change], *, is_last: bool
) -> bool:
    """A wrong chain or a refused key; whether anything changed by it.

    ``is_last``: nobody else is usable. Then one request's word is not enough, since some
    providers' firewalls answer 403 to a request they dislike.
    """
    is_wrong_chain = o.verdict is Verdict.WRONG_CHAIN
    standing.clean_checks = 0
    if standing.is_quarantined:
        until = standing.quarantine_until
        if is_wrong_chain:
            standing.quarantine(_reason(o), None)
        elif until is not None and now >= until:
            standing.quarantine(_reason(o), now + standing.key_quarantine_seconds(now))
        return True
    is_first_word = standing.has_answered_since(standing.refused_at)
    standing.refused_at = now
    if is_last and is_first_word and not is_wrong_chain and not o.is_probe:
        return False
    standing.exclusions.forget_methods()  # it refused them for this
    until = None if is_wrong_chain else now + standing.key_quarantine_seconds(now)
    standing.quarantine(_reason(o), until)
    changes.append(
        Change(standing.name, ChangeKind.QUARANTINED, standing.quarantine_reason, None, until)
    )
    return True


def _reason(o: Observation) -> str:
    words = "it is on another chain" if o.verdict is Verdict.WRONG_CHAIN else "it refuses our key"
    return f"{words} ({o.detail})" if o.detail else words
