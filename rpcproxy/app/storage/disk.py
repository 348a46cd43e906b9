"""What a chain keeps on disk: opened beside the requests, and closed by the last who uses it.

State: the cache once it is open, and the task that opens it. A reload hands the whole on to the
chain that takes over, where nothing about it changes.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from rpcproxy.app.storage.state_place import expanded
from rpcproxy.clock import SYSTEM_CLOCK
from rpcproxy.config.model import Cache, Chain
from rpcproxy.edges.disk.disk_cache import DiskCache, DiskCacheRefused
from rpcproxy.edges.logs import event
from rpcproxy.engine import tasks

_log = logging.getLogger("rpcproxy.disk_cache")

# Below this a file holds next to nothing.
LEAST_BYTES: Final = 64 * 1024
AGAIN_SECONDS: Final = 0.5


class DiskPlace(NamedTuple):
    """Where, how much, and whose answers: two chains with one id have different upstreams, and
    may be different chains.
    """

    path: Path
    max_bytes: int
    identity: str

    @classmethod
    def of(cls, chain: Chain, cache: Cache) -> DiskPlace | None:
        """``None`` where nothing is to be kept on disk."""
        if cache.path is None or cache.disk_bytes <= 0:
            return None
        directory, why = expanded(cache.path)
        if directory is None:
            _warn(chain.name, why)
            return None
        path = directory / f"{chain.name}.sqlite"
        identity = f"{chain.kind}:{chain.identity}:{chain.name}"
        return cls(path, max(LEAST_BYTES, cache.disk_bytes), identity)


class Disk:
    """See the module's docstring. Whatever goes wrong is logged, and nothing is kept on disk."""

    def __init__(
        self, place: DiskPlace, chain_name: str, now: Callable[[], float] = SYSTEM_CLOCK.monotonic
    ) -> None:
        """``now`` tells monotonic seconds."""
        self.place = place
        self._now = now
        self.cache: DiskCache | None = None
        self._chain_name = chain_name
        self._opening: asyncio.Task[None] | None = None
        self._is_closed = False
        self._users: list[Callable[[DiskCache], None]] = []
        self._patient_until = -math.inf  # a file in use is waited for

    def expect_predecessor(self, seconds: float) -> None:
        """For so long a file that cannot be had is tried again: another process is leaving."""
        self._patient_until = self._now() + seconds

    def start(self, on_open: Callable[[DiskCache], None]) -> None:
        """Open it, once; ``on_open`` is told when it is open, at once where it is."""
        if self.cache is not None:
            on_open(self.cache)
            return
        self._users.append(on_open)
        if self._opening is None:
            self._opening = tasks.start(self._open(), f"open the disk cache of {self._chain_name}")

    async def _open(self) -> None:
        place = self.place
        try:
            await asyncio.to_thread(place.path.parent.mkdir, parents=True, exist_ok=True)
            cache = await self._open_patiently()
        except DiskCacheRefused as refusal:
            self._warn(str(refusal))
            return
        except OSError as error:
            self._warn(f"{place.path.parent}: {error.strerror or error}")
            return
        except Exception as error:  # noqa: BLE001 - a bug here must not hold up a request
            self._warn(f"by a fault of our own: {error!r}", error)
            return
        self.cache = cache
        for on_open in self._users:
            on_open(cache)
        self._users.clear()

    async def _open_patiently(self) -> DiskCache:
        place = self.place
        while True:
            try:
                return await DiskCache.open(place.path, place.max_bytes, place.identity)
            except Exception:
                if self._now() >= self._patient_until:
                    raise
            await asyncio.sleep(AGAIN_SECONDS)

    def _warn(self, reason: str, bug: Exception | None = None) -> None:
        _warn(self._chain_name, reason, bug)

    async def close(self) -> None:
        """Write what waits, and close; idempotent."""
        await tasks.stop(self._opening)
        if self.cache is not None and not self._is_closed:
            self._is_closed = True
            await self.cache.close()


def _warn(chain_name: str, reason: str, bug: Exception | None = None) -> None:
    level = logging.WARNING if bug is None else logging.ERROR
    event(
        _log,
        level,
        "disk_cache_refused",
        "nothing is kept on disk",
        exc_info=bug,
        chain=chain_name,
        reason=reason,
    )
