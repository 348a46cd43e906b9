"""What this machine itself may lack: files, ports, memory, threads. Nobody else is to blame for it.

Sources: socket(2), connect(2), epoll_ctl(2), getaddrinfo(3).
State: when people were last told, in ``OwnLimits``, and the pools that share the files there are,
in ``Room``; one of each per process.
"""

from __future__ import annotations

import errno
import logging
import weakref
from typing import Any, Final, Protocol

from rpcproxy.edges.logs import event

_log = logging.getLogger("rpcproxy.machine")

TOLD_SECONDS: Final = 60.0
# Of a lookup: Python says that a thread cannot be started by a RuntimeError.
NO_THREAD: Final = "no thread can be started"

NO_FILES: Final = "this process has no files left (ulimit -n)"

_WORDS: Final = {
    errno.EMFILE: NO_FILES,
    errno.ENFILE: "this machine has no files left",
    errno.ENOMEM: "this machine has no memory left",
    errno.ENOBUFS: "this machine has no network buffers left",
    errno.EADDRNOTAVAIL: "this machine has no port left for another connection",
    errno.ENOSPC: "this machine has no room left (epoll watches)",
    errno.EAGAIN: "this machine has no port left for another connection",
}


def own_words(error: BaseException | None) -> str:
    """Of what this machine lacks, in words; empty where the error is somebody else's."""
    if isinstance(error, RuntimeError):
        return NO_THREAD if "thread" in str(error) else ""
    if isinstance(error, MemoryError):
        return _WORDS[errno.ENOMEM]
    if isinstance(error, OSError) and not isinstance(error, TimeoutError):
        return _WORDS.get(error.errno or 0, "")
    return ""


class OwnLimits:
    """Tells people, once in a while. ``now`` is monotonic seconds."""

    def __init__(self) -> None:
        self._told_at: dict[str, float] = {}
        self._met: tuple[float, str] | None = None  # the last one

    def lately(self, now: float) -> str:
        """What was met within the last minute, in words; empty where nothing was."""
        if self._met is None or now - self._met[0] >= TOLD_SECONDS:
            return ""
        return self._met[1]

    def tell(self, words: str, now: float) -> None:
        self._met = now, words
        if now - self._told_at.get(words, -TOLD_SECONDS) < TOLD_SECONDS:
            return
        self._told_at[words] = now
        event(_log, logging.ERROR, "machine_exhausted", words)


class ConnectionPool(Protocol):
    """Connections to one upstream."""

    @property
    def taken(self) -> int:
        """How many are open, or being opened."""

    @property
    def idle_connections(self) -> int: ...

    def drop_oldest(self) -> None:
        """Close the idle connection that was used longest ago."""


class Room:
    """How many connections all pools together may have: what clients and journals leave of the
    files. ``most`` ``None``: any number.
    """

    def __init__(self) -> None:
        self.most: int | None = None
        self.pools: weakref.WeakSet[Any] = weakref.WeakSet()

    @property
    def is_there(self) -> bool:
        return self.most is None or sum(pool.taken for pool in self.pools) < self.most

    def make(self, asker: ConnectionPool) -> bool:
        """Have room, if need be by closing what another pool has idle."""
        if self.is_there:
            return True
        others: list[ConnectionPool] = [pool for pool in self.pools if pool is not asker]
        fullest = max(others, key=lambda pool: pool.idle_connections, default=None)
        if fullest is None or not fullest.idle_connections:
            return False
        fullest.drop_oldest()
        return self.is_there


limits: Final = OwnLimits()
room: Final = Room()
