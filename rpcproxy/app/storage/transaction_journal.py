"""A chain's transactions: where they are written down, opened beside the requests.

State: the ledger, the journal once it is open, and the task that opens it. A reload hands the whole
on to the chain that takes over, where nothing about it changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
from pathlib import Path
from typing import Final, NamedTuple

from rpcproxy.chains.parts.transactions import Sends
from rpcproxy.clock import SYSTEM_CLOCK, Clock
from rpcproxy.config import model
from rpcproxy.edges.disk.journal import DiskJournal, JournalInUse, JournalRefused
from rpcproxy.edges.disk.journal_schema import public_words_of
from rpcproxy.edges.logs import event
from rpcproxy.edges.metrics.metrics import ChainCounters
from rpcproxy.engine import tasks
from rpcproxy.engine.sends.denials import UNUSABLE
from rpcproxy.engine.sends.ledger import Ledger, OnStep, unheard

_log = logging.getLogger("rpcproxy.journal")

# Another process that has it may be about to leave.
AGAIN_SECONDS: Final = 1.0
# Where one is known to be leaving.
SOON_SECONDS: Final = 0.1
# A large journal on a slow disk: wallets are not kept waiting for it at a start.
OPENING_SECONDS: Final = 2.0
# Of the time that a send has, this part may be spent on a journal that another is about to leave.
PATIENT_SHARE: Final = 0.75


class SendSettings(NamedTuple):
    """What the configuration says of a chain's sends; ``path`` is ``None`` without a journal."""

    path: Path | None
    needs_journal: bool
    accepts_while_down: bool
    private_fallback_seconds: float

    @classmethod
    def of(cls, chain: model.Chain, server: model.Server) -> SendSettings:
        journal = chain.journal or server.journal
        accepts, fallback = chain.accept_while_down, chain.private_fallback_seconds
        return cls(
            journal_path(chain.name, journal) if journal.is_on else None,
            journal.is_on and journal.on_failure == "refuse",
            server.accept_while_down if accepts is None else accepts,
            server.private_fallback_seconds if fallback is None else fallback,
        )


def journal_path(chain_name: str, journal: model.Journal) -> Path:
    """The file of a chain's journal."""
    directory = state_directory() / "journal" if journal.path is None else Path(journal.path)
    return directory.expanduser() / f"{chain_name}.sqlite"


def state_directory() -> Path:
    """Where the proxy keeps what must outlive it: as systemd says, else as the XDG base directory
    specification does.
    """
    by_systemd = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if by_systemd:
        return Path(by_systemd)
    base = os.environ.get("XDG_STATE_HOME", "")
    return Path(base or "~/.local/state").expanduser() / "rpcproxy"


class Transactions:
    """See the module's docstring."""

    def __init__(
        self,
        chain: model.Chain,
        settings: SendSettings,
        counters: ChainCounters,
        sends: Sends | None,
        *,
        clock: Clock = SYSTEM_CLOCK,
        on_step: OnStep = unheard,
    ) -> None:
        self.path = settings.path
        self.resumed = 0  # that were pending in the journal when it was opened
        self._now = clock.monotonic
        self._chain_name = chain.name
        self._identity = _identity(chain)
        self._opening: asyncio.Task[None] | None = None
        self._is_closed = False
        self._patient_until = -math.inf  # a journal in use is waited for
        self._was_tried = asyncio.Event()
        self._send_seconds = chain.deadlines.send_seconds
        self.ledger = Ledger(
            chain.name, chain.identity, counters, sends, clock=clock, on_step=on_step
        )

    def is_at(self, path: Path | None, chain: model.Chain) -> bool:
        """Whether it is open for this chain, in this place."""
        is_same = self._identity == _identity(chain) and self._chain_name == chain.name
        return is_same and self.path == path and not self._is_closed

    def take(self, settings: SendSettings) -> None:
        """What may change in a reload; the place may not."""
        if settings.path != self.path:
            self._warn(
                logging.WARNING,
                "the journal stays where it is until the next start",
                str(self.path),
            )
        self.ledger.needs_journal = settings.needs_journal and self.path is not None
        self.ledger.privacy.fallback_seconds = settings.private_fallback_seconds

    def expect_predecessor(self, seconds: float) -> None:
        """For so long a journal that another process has is no trouble: that one is about to leave,
        and sends wait.
        """
        self._patient_until = self._now() + seconds
        self.ledger.opening_seconds = PATIENT_SHARE * self._send_seconds

    def start(self) -> None:
        """Open the journal, once."""
        if self.path is None:
            self.ledger.on_no_journal("")
        elif self._opening is None:
            self.ledger.await_journal()
            self._opening = tasks.start(
                self._open(self.path), f"open the journal of {self._chain_name}"
            )

    async def open(self) -> None:
        """``start``, and wait until it is open or is known not to be, for a moment at most."""
        self.start()
        if self.path is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(OPENING_SECONDS):
                    await self._was_tried.wait()

    async def _open(self, path: Path) -> None:
        told: set[type[Exception]] = set()
        while True:
            try:
                journal = await DiskJournal.open(path, self._identity)
            except Exception as error:  # noqa: BLE001 - whatever it is, sends must not wait for ever
                if isinstance(error, JournalInUse) and self._now() < self._patient_until:
                    self._was_tried.set()
                    await asyncio.sleep(SOON_SECONDS)
                    continue
                self._on_refused(error, is_new=type(error) not in told)
                told.add(type(error))
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            self.ledger.on_journal(journal)
            self.resumed = len(journal.open_rows)
            self._was_tried.set()
            if journal.set_aside is not None:
                reason = f"it was damaged, and is now {journal.set_aside}"
                self._warn(logging.ERROR, "a new journal was begun", reason)
            return

    def _on_refused(self, error: Exception, *, is_new: bool) -> None:
        is_bug = not isinstance(error, (JournalRefused, OSError))
        # What the error holds (paths, values) is for operators.
        words = "by a fault of our own" if is_bug else str(error)
        self.ledger.on_no_journal(f"{UNUSABLE}: {words}", f"{UNUSABLE}: {public_words_of(error)}")
        self._was_tried.set()
        if is_new and is_bug:
            reason = f"{words}: {error!r}"
            self._warn(logging.ERROR, "transactions cannot be written down", reason, error)
        elif is_new:
            self._warn(logging.ERROR, "transactions cannot be written down", words)

    def _warn(self, level: int, message: str, reason: str, bug: Exception | None = None) -> None:
        event(_log, level, "journal", message, chain=self._chain_name, reason=reason, exc_info=bug)

    async def close(self) -> None:
        """Write what waits, and close; idempotent."""
        await tasks.stop(self._opening)
        if self.ledger.journal is not None:
            self._is_closed = True
            await self.ledger.journal.close()  # waited for even where another began it


def _identity(chain: model.Chain) -> str:
    return f"{chain.kind}:{chain.identity}"
