"""The timeline: what happened to upstreams, chains, the process, by whose hand, and since when.

An entry is shown only once it is written, so that no kill takes back what somebody saw; where
nothing can be written, it is shown from memory, and ``kept`` says why.

State: all that is known, what of it is on the disk, which orders of operators stand, and this
process's run.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Final

from msgspec.structs import replace

from rpcproxy import __version__
from rpcproxy.app.people.timeline_book import (
    ORDER_KINDS,
    OrderPlace,
    Resuming,
    TimelineBook,
    latest_first,
    note_in,
    order_place,
)
from rpcproxy.app.people.timeline_disk import (
    BOUNDS,
    HAPPENINGS,
    USUAL_TIMES,
    DiskTimes,
    Opened,
    Openings,
    Run,
    TimelineDisk,
    entry_of,
    entry_of_run,
    heard_last,
)
from rpcproxy.app.storage.transaction_journal import Resumed
from rpcproxy.clock import SYSTEM_CLOCK, Clock
from rpcproxy.edges.disk.timeline_store import TimelineStore
from rpcproxy.edges.logs import utc
from rpcproxy.rules.telling.happenings import HandKind, Happening, incident_of, is_told, of_incident
from rpcproxy.rules.telling.incidents import AGAIN_SECONDS, Incident
from rpcproxy.rules.telling.sample import Sample
from rpcproxy.states import Change, ChangeKind
from rpcproxy.words import OrderName

# Ages are taken without their sign: a clock that is set back must not hold anything up until it
# is again as late as it was.
# What wallets notice of an incident grows all the while: how often that is written.
COUNT_SECONDS: Final = 3.0
# How exactly it can be said when a process died without a word.
SEEN_SECONDS: Final = 10.0
SETTLE_SECONDS: Final = 1.0
# Of the chain: told of by its changes, which have no end.
_PASSING: Final = {
    ChangeKind.REORG: HandKind.REORG,
    ChangeKind.HEAD_JUMPED: HandKind.HEAD_JUMPED,
}


class Timeline:
    """See the module's docstring. ``start``, ``on_started`` once it serves, ``on_end``, ``close``.
    ``redact`` goes over whatever is written or shown.
    """

    def __init__(
        self,
        path: Path | None,
        why_none: str,
        redact: Callable[[str], str],
        resuming: Resuming,
        clock: Clock = SYSTEM_CLOCK,
        times: DiskTimes = USUAL_TIMES,
    ) -> None:
        self._redact = redact
        self._resuming = resuming
        self._unix = clock.unix
        self._all = TimelineBook(BOUNDS[HAPPENINGS])
        self._written = TimelineBook(BOUNDS[HAPPENINGS])
        self._put_unix: dict[str, float] = {}  # of incidents under way, when they were put last
        self._orders: dict[OrderPlace, str] = {}  # that stand, and the ids of their entries
        self._ordered: set[OrderPlace] = set()  # by operators, in this process
        self._trouble = ""
        self._run = Run(id=token_hex(8), version=__version__, started_unix=math.nan, seen_unix=0.0)
        self._before: Run | None = None
        self._has_told_start = False
        self.disk = TimelineDisk(
            path,
            why_none,
            Openings(self._on_open, self._on_new, self._on_look),
            clock.monotonic,
            times,
        )
        # Another process tells which orders stand: what is on the disk is not asked.
        self.are_orders_told = False

    # ---- what is told

    @property
    def kept(self) -> str:
        """Empty where what happens is written down, else why it is not."""
        reason = self.disk.refusal or self._trouble
        return self._redact(reason)

    @property
    def is_troubled(self) -> bool:
        """Whether it is meant to be written down, and is not."""
        return bool(self.disk.is_wanted and self.kept)

    @property
    def store(self) -> TimelineStore | None:
        return self.disk.store

    def latest_first(
        self, most: int, since_unix: float = 0.0, chain: str = "", subject: str = ""
    ) -> list[Happening]:
        """What is known, of a time, a chain, an upstream or domain."""
        known: Iterable[Happening] = self._written
        if self.kept:
            known = {each.id: each for each in (*self._written, *self._all)}.values()
        return latest_first(known, most=most, since_unix=since_unix, chain=chain, subject=subject)

    # ---- life

    def start(self, predecessor_seconds: float = 0.0) -> None:
        """Open the store beside the rest; a process that has it is waited for, so long."""
        if predecessor_seconds:
            self.disk.expect_predecessor(predecessor_seconds)
        self.disk.start()

    def on_started(self) -> None:
        """The process serves, or is about to."""
        self._run = replace(self._run, started_unix=self._unix())
        if not self.disk.is_awaited:
            self._tell_start()

    def on_end(self, kind: HandKind, words: str) -> None:
        """It ends, and not without a word."""
        if math.isnan(self._run.started_unix) or self._run.end:
            return
        self._seen(kind)
        self.on_happened(kind, words=words)

    async def settle(self) -> None:
        """Wait until what was told so far is written, for a moment at most."""
        store = self.disk.store
        if store is None:
            return
        done = asyncio.Event()
        store.put([], lambda _: done.set())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                await done.wait()

    async def close(self) -> None:
        """Write what is known, and let go of the file; idempotent."""
        await self.disk.close()

    # ---- what happens

    def on_happened(
        self, kind: HandKind, *, chain: str = "", subject: str = "", words: str = "", by: str = ""
    ) -> Happening:
        """Something that has no end, just now."""
        unix = self._unix()
        happening = Happening(
            id=f"{kind}-{token_hex(6)}",
            kind=kind,
            started_unix=unix,
            ended_unix=unix,
            chain=chain,
            subject=subject,
            words=self._redact(words),
            by=self._redact(by),
        )
        self._put([happening])
        return happening

    def on_incidents(self, incidents: Sequence[Incident]) -> None:
        """All incidents that are known: what is news of them."""
        if self.disk.is_awaited:
            return  # which of them are known is not known yet
        news = []
        for incident in incidents:
            known = self._all.get(incident.id)
            if known is not None and is_told(known, incident):
                continue
            happening = of_incident(incident, self._redact)
            if known != happening and self._is_due(known, happening):
                news.append(happening)
        self._put(news)

    def on_change(self, chain: str, change: Change) -> None:
        """A turn of a chain's head is told of; of several in a minute, as of one."""
        kind = _PASSING.get(change.kind)
        if kind is None:
            return
        unix = self._unix()
        last = max(
            (each for each in self._all if each.kind == kind and each.chain == chain),
            key=lambda each: each.last_unix,
            default=None,
        )
        if last is None or abs(unix - last.last_unix) > AGAIN_SECONDS:
            self.on_happened(kind, chain=chain, words=change.reason)
            return
        words, times = self._redact(change.reason), last.times + 1
        self._put([replace(last, ended_unix=unix, words=words, times=times)])

    def on_resumed(self, resumed: Resumed) -> None:
        """An earlier process left transactions, which this one goes on with."""
        words = f"{resumed.pending} pending, found in the journal"
        self.on_happened(HandKind.RESUMED, chain=resumed.chain, words=words)

    def on_sample(self, _sample: Sample) -> None:
        """A sink of samples: that we are alive."""
        if abs(self._unix() - self._run.seen_unix) >= SEEN_SECONDS:
            self._seen(self._run.end)

    def on_order(self, chain: str, upstream: str, order: OrderName, by: str) -> None:
        """An operator ordered it, and it was not so already."""
        happening = self.on_happened(ORDER_KINDS[order], chain=chain, subject=upstream, by=by)
        place = order_place(happening)
        if place is None:
            return
        self._ordered.add(place)
        self._let_go(place)
        if order in ("drain", "cordon"):
            self._hold(place, happening)

    def on_configured(self) -> None:
        """Another configuration is in force: orders whose upstreams left stand no more."""
        standing = self._resuming.standing_orders()
        for place in [place for place in self._orders if place not in standing]:
            self._let_go(place)

    # ---- how it is kept

    def _is_due(self, known: Happening | None, happening: Happening) -> bool:
        """Whether it says more than that counts grew, or that has not been written for a while."""
        if known is None:
            return True
        is_more = (known.kind, known.ended_unix, known.words, known.times) != (
            happening.kind,
            happening.ended_unix,
            happening.words,
            happening.times,
        )
        return is_more or abs(self._unix() - self._put_unix.get(known.id, 0.0)) >= COUNT_SECONDS

    def _put(self, happenings: Sequence[Happening]) -> None:
        if not happenings:
            return
        unix = self._unix()
        for each in happenings:
            self._all.put(each)
            if each.ended_unix is None:
                self._put_unix[each.id] = unix
            else:
                self._put_unix.pop(each.id, None)
        store = self.disk.store
        if store is not None:
            entries = [entry_of(each, is_held=self._is_held(each)) for each in happenings]
            store.put(entries, partial(self._on_written, happenings))

    def _on_written(self, happenings: Sequence[Happening], trouble: str) -> None:
        self._trouble = trouble
        if not trouble:
            for each in happenings:
                self._written.put(each)

    def _is_held(self, happening: Happening) -> bool:
        return happening.ended_unix is None or happening.id in self._all.held

    def _hold(self, place: OrderPlace, happening: Happening) -> None:
        self._orders[place] = happening.id
        self._all.held.add(happening.id)
        self._written.held.add(happening.id)
        self._put([happening])

    def _let_go(self, place: OrderPlace) -> None:
        id = self._orders.pop(place, None)
        if id is None:
            return
        self._all.held.discard(id)
        self._written.held.discard(id)
        entry = self._all.get(id)
        if entry is not None:
            self._put([entry])

    def _seen(self, end: str) -> None:
        self._run = replace(self._run, seen_unix=self._unix(), end=end)
        store = self.disk.store
        if store is not None and not math.isnan(self._run.started_unix):
            store.put([entry_of_run(self._run)], partial(self._on_written, ()))

    def _tell_start(self) -> None:
        self._seen(self._run.end)
        if self._has_told_start:
            return
        self._has_told_start = True
        words, before = f"version {__version__}", self._before
        if before is not None:
            if before.version != __version__:
                words += f", {before.version} before"
            if before.end == HandKind.TAKEN_OVER:
                words += ", in the place of another process"
        self.on_happened(HandKind.STARTED, words=words)

    # ---- what another process left

    def _on_new(self) -> None:
        """What is known is to be in the new file, too, and orders that stand above all."""
        self._put([*self._all])

    def _on_look(self, happenings: list[Happening]) -> None:
        for each in reversed(happenings):
            self._written.put(each)

    def _on_open(self, opened: Opened) -> None:
        for each in reversed(opened.happenings):
            self._written.put(each)
            if self._all.get(each.id) is None:
                self._all.put(each)
        mine = [each for each in self._all if self._written.get(each.id) != each]
        opened = heard_last(opened, 2 * SEEN_SECONDS)
        self._take_up_runs(opened.runs)
        self._take_up_incidents(opened)
        self._put([each for each in mine if self._all.get(each.id) is each])
        self._take_up_orders(opened)
        if not math.isnan(self._run.started_unix):
            self._tell_start()

    def _take_up_incidents(self, opened: Opened) -> None:
        known = [found for each in opened.happenings if (found := incident_of(each)) is not None]
        seen_unix = max((run.seen_unix for run in opened.runs), default=self._unix())
        for id in self._resuming.resume(known, seen_unix):
            self._all.drop(id)

    def _take_up_runs(self, runs: Sequence[Run]) -> None:
        before = [run for run in runs if run.id != self._run.id]
        self._before = max(before, key=lambda run: run.started_unix, default=None)
        for run in before:
            if run.end:
                continue
            words = f"version {run.version}, last heard of at {utc(run.seen_unix)}"
            died = Happening(
                id=f"{HandKind.DIED}-{run.id}",
                kind=HandKind.DIED,
                started_unix=run.seen_unix,
                ended_unix=run.seen_unix,
                words=words,
            )
            self._all.put(died)
            store = self.disk.store
            if store is not None:
                ended = replace(run, end=HandKind.DIED)
                entries = [entry_of(died, is_held=False), entry_of_run(ended)]
                store.put(entries, partial(self._on_written, [died]))
            self._resuming.on_died(words)

    def _take_up_orders(self, opened: Opened) -> None:
        standing = self._resuming.standing_orders()
        for each in opened.happenings:  # the newest first
            place = order_place(each)
            if place is None or each.id not in opened.held:
                continue
            is_ours = place in self._ordered or place in self._orders
            is_followed = not is_ours and (
                place in standing
                or (not self.are_orders_told and self._resuming.follow(place, note_in(each)))
            )
            if is_followed:
                self._hold(place, each)
            else:
                self._put([each])  # held no more
        for place, note in standing.items():
            if place in self._orders:
                continue
            unix = note.since_unix or self._unix()
            told = Happening(
                id=f"{ORDER_KINDS[note.order]}-{token_hex(6)}",
                kind=ORDER_KINDS[note.order],
                started_unix=unix,
                ended_unix=unix,
                chain=place.chain,
                subject=place.upstream,
                by=note.by,
            )
            self._hold(place, told)
