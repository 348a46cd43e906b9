"""The memory of requests that lately failed everywhere.

A request that makes every upstream fail (a trace too deep for all of them) is the request's
fault, not theirs. Remembered, it is asked once instead of everywhere, and hurts nobody's standing.
For reads only: a send is never poison.
"""

from __future__ import annotations

import hashlib
from typing import Final

POISON_SECONDS: Final = 30.0
MAX_REMEMBERED: Final = 1024


class PoisonMemory:
    """State: request digests with the time until which they are remembered, bounded."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._until)

    def remember(self, key: bytes, now: float) -> None:
        """``key`` is the method and its parameters, as sent."""
        digest = _digest(key)
        self._until.pop(digest, None)
        while len(self._until) >= MAX_REMEMBERED:
            del self._until[next(iter(self._until))]
        self._until[digest] = now + POISON_SECONDS

    def is_poison(self, key: bytes, now: float) -> bool:
        if not self._until:
            return False
        digest = _digest(key)
        until = self._until.get(digest)
        if until is None:
            return False
        if now >= until:
            del self._until[digest]
            return False
        return True


def _digest(key: bytes) -> bytes:
    return hashlib.blake2b(key, digest_size=16).digest()
