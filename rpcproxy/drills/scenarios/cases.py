"""Cases to be played again: odd providers, a client's requests, and what is right.

A ``Case`` is what four providers of one simulated chain are like, and what a client asks
meanwhile; each ``CaseRequest`` says what is right. ``judge`` holds a reply against that. Whoever
plays a case makes the providers and sends the requests. ``reported`` has those that people
reported.

Plain data and pure functions.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from rpcproxy.drills.scenarios.fault import Fault
from rpcproxy.drills.scenarios.faults import WELL
from rpcproxy.drills.scenarios.particular import Particular

Right = Literal["as_well", "null", "error", "result"]


class CaseRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request, ``times`` times. In ``params`` (a JSON text) ``$head`` stands for the number of
    the head when the case begins, ``$old`` for one 2,000 or more below, ``$page``, ``$more`` and
    ``$wide`` for those 30, 40 and 1,500 above that, ``$next`` for the one above the head, ``$turn``
    for the turn's number, ``$hash`` for the head's hash, ``$tx`` for a transaction in it,
    ``$account`` for a busy one.

    ``right``: what a provider that is well answers (to ``as_if``, where that is set); null; a
    result equal to ``result`` (any where that is empty); or an error whose message holds ``words``,
    under ``code`` where that is set.
    """

    method: str
    params: str = "[]"
    as_if: str = ""
    times: int = 1
    right: Right = "as_well"
    result: str = ""
    words: str = ""
    code: int = 0


class Case(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``providers`` are four, the first of them the quickest. ``chain`` and ``upstreams`` are keys
    of the configuration, for the chain and for each upstream. One request may cost all of them
    ``most_calls`` together. Where ``is_calm``, no upstream is blamed for anything. ``told_by``
    names issues of public projects, or nodes with their versions.
    """

    name: str
    told_by: str  # who reported it
    description: str
    providers: tuple[Fault, Fault, Fault, Fault] = (WELL, WELL, WELL, WELL)
    asks: tuple[CaseRequest, ...]
    chain: dict[str, Any] = {}
    upstreams: tuple[dict[str, Any], ...] = ({}, {}, {}, {})
    block_time_seconds: float = 1.0
    skip_every: int = 0
    most_calls: int = 12
    is_calm: bool = True


def judge(ask: CaseRequest, reply: dict[str, Any], well: dict[str, Any]) -> str:
    """What is wrong with the reply, empty where it is right. ``well``: the reply of a provider that
    is well, to the same request.
    """
    error = reply.get("error")
    if ask.right == "error":
        if error is None:
            return f"a result where an error is due: {str(reply.get('result'))[:120]}"
        if ask.words.lower() not in str(error.get("message", "")).lower():
            return f"another error: {error}"
        return "" if ask.code in (0, error.get("code")) else f"another code: {error}"
    if error is not None:
        return f"an error: {error}"
    result = reply.get("result")
    if ask.right == "null":
        return "" if result is None else f"not null: {str(result)[:120]}"
    if ask.right == "result":
        return "" if ask.result in ("", result) else f"another result: {str(result)[:120]}"
    return "" if result == well.get("result") else f"not what a well one says: {str(result)[:120]}"


def odd(*particulars: Particular, name: str = "particular") -> Fault:
    """A provider that answers certain requests oddly, and all others well."""
    return Fault(
        name=name,
        description="is well but for certain requests",
        cost="those requests failed, or were answered wrongly",
        particulars=particulars,
    )


def four_odd(*particulars: Particular) -> tuple[Fault, Fault, Fault, Fault]:
    """All providers of a case, odd in the same way."""
    fault = odd(*particulars)
    return (fault, fault, fault, fault)
