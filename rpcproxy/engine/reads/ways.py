"""Which way a read goes, decided in one place: for single requests, for members of batches, and for
whoever wants to know without asking.

No state; what is kept and in flight is ``sharing``'s.
"""

from __future__ import annotations

import enum

from rpcproxy.engine.answers.sharing import Flight, Sharing
from rpcproxy.engine.attempts.calls import SingleCall
from rpcproxy.engine.reads.patience import Patience


class ReadWay(enum.Enum):
    """How a read is answered."""

    KEPT = "kept"  # from memory
    FOLLOWED = "followed"  # with the answer of another that asks the same
    ON_DISK = "on disk"
    AHEAD = "ahead"  # its block is above the head that was told: it is waited for
    ASKED = "asked"  # upstreams are


_ON_DISK, _AHEAD, _ASKED = (ReadWay.ON_DISK, None), (ReadWay.AHEAD, None), (ReadWay.ASKED, None)


class Ways:
    """See the module's docstring. One per chain."""

    def __init__(self, sharing: Sharing, patience: Patience) -> None:
        self._sharing = sharing
        self._patience = patience

    def of(self, call: SingleCall, now: float) -> tuple[ReadWay, bytes | Flight | None]:
        """The way of a read whose ``key`` says what it may share (empty: nothing). The second
        value is the kept result (a JSON text), or the flight that it follows.
        """
        if call.key:
            result = self._sharing.cache.get(call.key, now)
            if result is not None:
                return ReadWay.KEPT, result
        return self._beyond_memory(call)

    def look(self, call: SingleCall, now: float) -> ReadWay:
        """The same without a trace: nothing counts as used."""
        if call.key and self._sharing.cache.has(call.key, now):
            return ReadWay.KEPT
        return self._beyond_memory(call)[0]

    def _beyond_memory(self, call: SingleCall) -> tuple[ReadWay, Flight | None]:
        if call.key:
            sharing = self._sharing
            flight = sharing.flights.get(call.key)
            if flight is not None:
                return ReadWay.FOLLOWED, flight
            if sharing.disk is not None and sharing.is_on_disk(call):
                return _ON_DISK
        return _AHEAD if self._patience.is_above_head(call) else _ASKED
