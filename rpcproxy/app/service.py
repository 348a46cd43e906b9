"""What a service manager is told: that the ports listen, how it goes, and that we are alive.

The watchdog is fed while the loop turns (nothing else could feed it) and some chain is served. A
provider's outage is no reason to restart, which mends nothing and forgets what is kept: only one
that goes on for long is, since by then the fault may be ours.

State: the task, what was told last, and when a chain was served last.
"""

from __future__ import annotations

import asyncio
from typing import Final

from rpcproxy.app.proxy import Proxy
from rpcproxy.edges.process.notify_socket import NotifySocket
from rpcproxy.engine import tasks
from rpcproxy.messages import MethodClass

# How often the manager hears how it goes, where that has changed.
STATUS_SECONDS: Final = 5.0
# For so long nobody may be able to serve before the watchdog is left hungry.
OUTAGE_SECONDS: Final = 300.0
# A manager may be late to read: it hears from us so many times within its patience.
FEEDS: Final = 3


class Service:
    """See the module's docstring. ``start`` once the ports listen, ``stopping`` at the end."""

    def __init__(
        self, proxy: Proxy, notify: NotifySocket, status_seconds: float = STATUS_SECONDS
    ) -> None:
        self._proxy = proxy
        self._notify = notify
        self._status_seconds = status_seconds
        self._task: asyncio.Task[None] | None = None
        self._told = ""
        self._served_at = proxy.clock.monotonic()
        proxy.reload_listeners.append(self._on_reload)

    def start(self, *, is_new_process: bool = False) -> None:
        """``is_new_process``: it took over from the one that the manager knows."""
        if self._notify.is_heard:
            self._notify.ready(is_new_process=is_new_process)
            self._task = tasks.start(self._run(), "service manager")

    def stopping(self) -> None:
        self._notify.stopping()

    async def close(self) -> None:
        """No word after this; idempotent."""
        await tasks.stop(self._task)
        self._notify.close()

    def feed(self, now: float) -> None:
        """One turn, at ``now`` (monotonic seconds)."""
        words = self.words()
        if words != self._told:
            self._told = words
            self._notify.status(words)
        if self._is_served():
            self._served_at = now
        if self._notify.watchdog_seconds is not None and now - self._served_at < OUTAGE_SECONDS:
            self._notify.alive()

    def words(self) -> str:
        """How it goes, in one line."""
        parts = []
        for name, runtime in self._proxy.chains.items():
            standings = runtime.standings
            usable, served = len(standings.usable(MethodClass.LIGHT)), standings.heads.served
            head = f" at block {served}" if served >= 0 else ""
            parts.append(f"{name}{head}, {usable} of {len(standings)} upstreams usable")
        return "serving " + "; ".join(parts)

    def _is_served(self) -> bool:
        chains = self._proxy.chains.values()
        return any(runtime.standings.usable(MethodClass.LIGHT) for runtime in chains)

    async def _run(self) -> None:
        every = self._status_seconds
        if self._notify.watchdog_seconds is not None:
            every = min(every, self._notify.watchdog_seconds / FEEDS)
        while True:
            self.feed(self._proxy.clock.monotonic())
            await asyncio.sleep(every)

    def _on_reload(self, is_accepted: bool, words: str) -> None:  # noqa: ARG002, FBT001 -- a listener
        self._notify.reloading()
        self._notify.ready()
