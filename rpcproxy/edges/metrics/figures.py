"""What is known of each chain beside its counters: heads, kept answers, audits, transactions.

Plain values, taken at scrape time by whoever knows the chain. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

MEMORY: Final = "memory"
DISK: Final = "disk"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFigures:
    """One place that answers are kept in. ``size_bytes`` and ``evicted`` are ``None`` where the
    place does not tell.
    """

    entries: int = 0
    size_bytes: int | None = None
    hits: int = 0
    misses: int = 0
    evicted: int | None = None
    rejected: int = 0  # too large, or too many waited to be written


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFigures:
    """``asked`` counts calls, the others audits; ``odd`` those in which an upstream stood alone."""

    asked: int = 0
    agreed: int = 0
    differed: int = 0
    unanswered: int = 0
    voided: int = 0
    odd: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SendFigures:
    """One chain's transactions at this moment. ``oldest_pending_seconds`` is 0 while none is
    pending, ``journal_bytes`` ``None`` while no journal is open. ``is_journal_troubled``: what is
    to be written down cannot be.
    """

    pending: int = 0
    oldest_pending_seconds: float = 0.0
    journal_bytes: int | None = None
    is_journal_troubled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainFigures:
    """One chain at this moment. Numbers are ``None`` while they are not known;
    ``halted_seconds`` is ``None`` while the chain moves, ``outage_seconds`` while somebody can
    serve light reads (``usable`` upstreams can), ``last_reorg_depth`` where the last turn was none.
    ``stores`` by place; ``feeds``: whether each upstream's is live. ``sends_refused_seconds``: for
    how long transactions have been refused for a reason of our own, 0 while they are taken.
    """

    served: int | None = None
    safe: int | None = None
    finalized: int | None = None
    head_age_seconds: float | None = None
    reorgs: int = 0
    last_reorg_depth: int | None = None
    head_jumps: int = 0
    is_split: bool = False
    halted_seconds: float | None = None
    usable: int = 0
    outage_seconds: float | None = None
    is_panicking: bool = False
    stores: Mapping[str, StoreFigures] = field(default_factory=dict)
    audits: AuditFigures = AuditFigures()
    feeds: Mapping[str, bool] = field(default_factory=dict)
    sends: SendFigures = field(default_factory=SendFigures)
    sends_refused_seconds: float = 0.0


Chains = Mapping[str, ChainFigures]
