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


class Ways:
    """See the module's docstring. One per chain."""

    def __init__(self, sharing: Sharing, patience: Patience) -> None:
        self._sharing = sharing
        self._patience = patience

    def of(self, call: SingleCall, now: float) -> bytes | Flight | ReadWay:
        """The way of a read whose ``key`` says what it may share (empty: nothing): the kept result
        (a JSON text), the flight that it follows, or what else is to be done.
        """
        key = call.key
        if key:
            sharing = self._sharing
            result = sharing.cache.get(key, now)
            if result is not None:
                return result
            flight = sharing.flights.get(key)
            if flight is not None:
                return flight
        return self._alone(call)

    def look(self, call: SingleCall, now: float) -> ReadWay:
        """The same without a trace: nothing counts as used."""
        key = call.key
        if key:
            if self._sharing.cache.has(key, now):
                return ReadWay.KEPT
            if key in self._sharing.flights:
                return ReadWay.FOLLOWED
        return self._alone(call)

    def _alone(self, call: SingleCall) -> ReadWay:
        """Where no other request has its answer."""
        if call.key and self._sharing.disk is not None and self._sharing.is_on_disk(call):
            return ReadWay.ON_DISK
        return ReadWay.AHEAD if self._patience.is_above_head(call) else ReadWay.ASKED
