"""A chain's transactions: where they are written down, opened beside the requests.

State: the ledger, the journal once it is open, and the task that opens it. A reload hands the whole
on to the chain that takes over, where nothing about it changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from rpcproxy.app.storage.state_place import JOURNALS, SUFFIX, StatePlace, expanded
from rpcproxy.chains.parts.transactions import Sends
from rpcproxy.clock import SYSTEM_CLOCK, Clock
from rpcproxy.config import model
from rpcproxy.edges.disk.journal import (
    DiskJournal,
    JournalInUse,
    JournalRefused,
    JournalSource,
)
from rpcproxy.edges.disk.journal_move import is_held, pending_in
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
NO_PLACE: Final = "there is no place for it"  # for wallets
# A large journal on a slow disk: wallets are not kept waiting for it at a start.
OPENING_SECONDS: Final = 2.0
# Of the time that a send has, this part may be spent on a journal that another is about to leave.
PATIENT_SHARE: Final = 0.75


class SendSettings(NamedTuple):
    """What the configuration says of a chain's sends; ``path`` is ``None`` without a journal, and
    ``why`` says why there is none that is wanted. ``place`` is where the journal is, unless the
    configuration says where.
    """

    path: Path | None
    needs_journal: bool
    accepts_while_down: bool
    private_fallback_seconds: float
    place: StatePlace | None = None
    why: str = ""

    @classmethod
    def of(cls, chain: model.Chain, server: model.Server, place: StatePlace) -> SendSettings:
        journal = chain.journal or server.journal
        accepts, fallback = chain.accept_while_down, chain.private_fallback_seconds
        path, why = journal_path(chain.name, journal, place) if journal.is_on else (None, "")
        return cls(
            path,
            journal.is_on and journal.on_failure == "refuse",
            server.accept_while_down if accepts is None else accepts,
            server.private_fallback_seconds if fallback is None else fallback,
            place if journal.is_on and journal.path is None else None,
            why,
        )


def journal_path(
    chain_name: str, journal: model.Journal, place: StatePlace
) -> tuple[Path | None, str]:
    """The file of a chain's journal; ``None`` where there can be none, and why."""
    if journal.path is None:
        directory, why = place.journal_directory, place.why
    else:
        directory, why = expanded(journal.path)
    return (None if directory is None else directory / f"{chain_name}{SUFFIX}"), why


class Resumed(NamedTuple):
    """So many transactions that are not closed were found at the start. ``words`` say it all."""

    chain: str
    pending: int
    words: str


OnResumed = Callable[[Resumed], None]


def nobody_asks(_resumed: Resumed) -> None:
    """Nobody wants to know what was resumed."""


class Transactions:
    """See the module's docstring."""

    def __init__(  # noqa: PLR0913 -- it is told of by two
        self,
        chain: model.Chain,
        settings: SendSettings,
        counters: ChainCounters,
        sends: Sends | None,
        *,
        clock: Clock = SYSTEM_CLOCK,
        on_step: OnStep = unheard,
        on_resumed: OnResumed = nobody_asks,
    ) -> None:
        """``on_resumed`` is told once of what an earlier process left, where there is any."""
        self.path = settings.path
        self._place = settings.place
        self._why = settings.why
        self._left_by: list[JournalSource] = []  # of the process that is taken over
        self._on_resumed = on_resumed
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

    @property
    def is_in_own_place(self) -> bool:
        """Whether the journal is where the state of its configuration is."""
        return self.path is not None and self._place is not None

    def take(self, settings: SendSettings) -> None:
        """What may change in a reload; the place may not."""
        if settings.path != self.path:
            self._warn(
                logging.WARNING,
                "the journal stays where it is until the next start",
                str(self.path),
            )
        self.ledger.needs_journal = settings.needs_journal and bool(self.path or self._why)
        self.ledger.privacy.fallback_seconds = settings.private_fallback_seconds

    def expect_predecessor(self, seconds: float) -> None:
        """For so long a journal that another process has is no trouble: that one is about to leave,
        and sends wait.
        """
        self._patient_until = self._now() + seconds
        self.ledger.opening_seconds = PATIENT_SHARE * self._send_seconds

    def expect_journal(self, path: Path | None) -> None:
        """The process that is about to leave has its journal at ``path``; ``None`` where it did not
        say, and has the place that all configurations shared.
        """
        if self._place is None or self._place.base is None:
            return
        shared = self._place.base / JOURNALS / f"{self._chain_name}{SUFFIX}"
        source = JournalSource(path or shared, "the process before this one", is_awaited=True)
        self._left_by.append(source)

    def _sources(self) -> list[JournalSource]:
        """Where transactions may be that are ours to go on with. In the journal's thread."""
        if self._place is None:
            return []
        self._place.claim()
        is_patient = self._now() < self._patient_until
        left = [each._replace(is_awaited=is_patient) for each in self._left_by]
        # Whoever has the shared one is the process before us, unless that said where its own is.
        is_before = is_patient and not left and self.path is not None and not self.path.exists()
        return [*left, *self._place.journal_sources(self._chain_name, is_awaited=is_before)]

    def start(self) -> None:
        """Open the journal, once."""
        if self.path is None:
            self.ledger.on_no_journal(
                f"{UNUSABLE}: {self._why}" if self._why else "", f"{UNUSABLE}: {NO_PLACE}"
            )
            if self._why and self._opening is None:
                self._opening = tasks.start(self._tell_why(self._why), "a journal has no place")
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
                journal = await DiskJournal.open(path, self._identity, sources=self._sources)
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
            self._tell_resumed(journal)
            await self._tell_elsewhere()
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

    async def _tell_why(self, why: str) -> None:
        self._warn(logging.ERROR, "transactions cannot be written down", why)

    def _tell_resumed(self, journal: DiskJournal) -> None:
        for source, pending in journal.taken:
            words = f"the journal of {self._chain_name} was taken over from {source.owner}"
            event(
                _log,
                logging.INFO,
                "journal_taken",
                words,
                chain=self._chain_name,
                file=str(source.path),
                pending=pending,
            )
        pending = self.ledger.pool.count
        if pending:
            words = f"{_transactions(pending)} of {self._chain_name} resumed"
            event(_log, logging.INFO, "resumed", words, chain=self._chain_name, pending=pending)
            self._on_resumed(Resumed(self._chain_name, pending, words))

    async def _tell_elsewhere(self) -> None:
        """Nobody else would: who runs the other configuration may have forgotten it."""
        if self._place is None:
            return
        found = await asyncio.to_thread(
            _left_elsewhere, self._place.journals_of_others, self._chain_name, self._identity
        )
        for source, pending in found:
            event(
                _log,
                logging.WARNING,
                "journal_elsewhere",
                f"{_transactions(pending)} of {self._chain_name} are in the state of "
                f"{source.owner}, and are not sent again until it is served",
                chain=self._chain_name,
                file=str(source.path),
                pending=pending,
            )

    def _warn(self, level: int, message: str, reason: str, bug: Exception | None = None) -> None:
        event(_log, level, "journal", message, chain=self._chain_name, reason=reason, exc_info=bug)

    async def close(self) -> None:
        """Write what waits, and close; idempotent."""
        await tasks.stop(self._opening)
        if self.ledger.journal is not None:
            self._is_closed = True
            await self.ledger.journal.close()  # waited for even where another began it


def _left_elsewhere(
    journals: Callable[[str], list[JournalSource]], chain_name: str, identity: str
) -> list[tuple[JournalSource, int]]:
    """Journals of other configurations in which something is pending, and that nobody has."""
    found = [(each, pending_in(each.path, identity)) for each in journals(chain_name)]
    return [(each, pending) for each, pending in found if pending and not is_held(each.path)]


def _transactions(pending: int) -> str:
    return f"{pending} pending transaction{'' if pending == 1 else 's'}"


def _identity(chain: model.Chain) -> str:
    return f"{chain.kind}:{chain.identity}"
