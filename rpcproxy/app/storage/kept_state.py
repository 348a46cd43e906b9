"""The state of the configuration that a process started with: its place, claimed in the background,
and who is told of what was found there.

State: the place, which stays until the process ends, and the task that claims it.
"""

from __future__ import annotations

import asyncio
import logging

from rpcproxy.app.storage.state_place import StatePlace
from rpcproxy.app.storage.transaction_journal import OnResumed, Resumed
from rpcproxy.config.model import Config
from rpcproxy.edges.logs import event
from rpcproxy.engine import tasks

_log = logging.getLogger("rpcproxy.app")


class KeptState:
    """``resumed_listeners`` are told of transactions that an earlier process left."""

    def __init__(self, config: Config) -> None:
        self.place = StatePlace.of(config)
        self.resumed_listeners: list[OnResumed] = []
        self._claiming: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Claim the place; waits for nothing. What cannot be kept is said, and costs no more."""
        self._claiming = tasks.start(self._claim(), "claim the place of the state")

    async def close(self) -> None:
        """Idempotent."""
        await tasks.stop(self._claiming)

    def on_resumed(self, resumed: Resumed) -> None:
        """Tell all who listen."""
        for tell in self.resumed_listeners:
            tell(resumed)

    async def _claim(self) -> None:
        why = await asyncio.to_thread(self.place.claim)
        if why:
            words = "nothing is kept through a restart where the configuration does not say where"
            event(_log, logging.WARNING, "state", words, reason=why)
