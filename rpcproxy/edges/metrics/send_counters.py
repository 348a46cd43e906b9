"""The counters of one chain's transactions, behind the metrics.

State: ``SendCounters``, one per chain, written by broadcast, rebroadcast and ledger on the event
loop's thread alone.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

# From one block of a fast chain to what waits for cheaper times.
MINED_BUCKET_SECONDS: Final = (
    *(0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0),
    *(900.0, 3600.0, 21600.0),
)


class SendCounters:
    """Writers call ``on_…``; the attributes are for reading."""

    __slots__ = (
        "accepted",
        "contradictions",
        "expired",
        "mined_buckets",
        "mined_seconds",
        "rebroadcasts",
        "rejected",
        "unwritten",
    )

    def __init__(self) -> None:
        self.accepted = 0
        self.rejected: dict[str, int] = {}  # by reason: a verdict's label, or ours
        self.rebroadcasts = 0  # copies
        self.contradictions = 0
        self.unwritten = 0
        self.expired = 0
        self.mined_buckets = [0] * (len(MINED_BUCKET_SECONDS) + 1)  # not cumulative
        self.mined_seconds = 0.0

    def on_accepted(self) -> None:
        """A send was answered with its hash."""
        self.accepted += 1

    def on_rejected(self, reason: str) -> None:
        """A send was answered with an error."""
        self.rejected[reason] = self.rejected.get(reason, 0) + 1

    def on_rebroadcast(self, copies: int) -> None:
        """A pending transaction was sent again, to so many upstreams."""
        self.rebroadcasts += copies

    def on_contradiction(self) -> None:
        """One upstream took a transaction that another calls impossible."""
        self.contradictions += 1

    def on_unwritten(self) -> None:
        """A transaction could not be written to the journal."""
        self.unwritten += 1

    def on_expired(self) -> None:
        """A transaction was given up: nobody included it."""
        self.expired += 1

    def on_mined(self, seconds: float) -> None:
        """A transaction was seen in a block, ``seconds`` after it came here."""
        self.mined_buckets[bisect_left(MINED_BUCKET_SECONDS, seconds)] += 1
        self.mined_seconds += seconds
