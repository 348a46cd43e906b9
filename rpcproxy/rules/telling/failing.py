"""The one way in which failures of upstreams are counted: on the page, in ``rpcproxy top``, in the
report card and in what is told of the last minute.

A *failure* is an attempt that ended by the upstream's own fault, by its limits, or by a refusal of
access (``messages.Blame``). What the client got wrong is none, nor what no upstream of its kind
can do. What we gave up ourselves was never asked to the end, and counts in neither number. Probes
are ours: they are counted by themselves, and never among the attempts of wallets. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from rpcproxy.messages import Blame, Verdict

_FAILED: Final = frozenset(
    verdict.label
    for verdict in Verdict
    if verdict.blame in (Blame.UPSTREAM, Blame.LIMIT, Blame.ACCESS)
)
# Given up by us, or never sent.
_UNASKED: Final = frozenset({Verdict.CANCELLED.label, Verdict.OWN_FAULT.label})


class FailureCount(NamedTuple):
    """So often ``asked``, and ``failed`` of them."""

    asked: int
    failed: int


def counted(verdicts: Mapping[str, int]) -> FailureCount:
    """Of attempts, or of probes, by verdict's label."""
    asked = sum(count for label, count in verdicts.items() if label not in _UNASKED)
    return FailureCount(asked, sum(count for label, count in verdicts.items() if label in _FAILED))
