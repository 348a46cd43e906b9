"""The proxy in words and over time, for the status page: fed by samples and changes.

Where something changes, a sample is taken between the others: an outage of a second is told of.

What is told of the last day goes through a restart, in a small file beside the history: it is read
at the start and written every few minutes, by a thread.

State: ``Recorder`` holds the process's ``rules.telling.chronicle.Chronicle``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from rpcproxy.app.chain import ChainRuntime
from rpcproxy.app.people.own_refusals import OwnRefusals
from rpcproxy.app.people.sampling import sample_chain
from rpcproxy.chains.native import title_of
from rpcproxy.clock import SYSTEM_CLOCK, Clock
from rpcproxy.edges.disk.history import OlderHistory
from rpcproxy.edges.logs import utc
from rpcproxy.engine import tasks
from rpcproxy.front.pages.outlook import (
    ChainOutlook,
    IncidentEntry,
    Outlook,
    RefusalEntry,
    StripEntry,
)
from rpcproxy.rules.telling.chronicle import Chronicle, Packed, read_packed
from rpcproxy.rules.telling.incidents import Incident
from rpcproxy.rules.telling.plight import Plight, plight_of, summary, with_refusals
from rpcproxy.rules.telling.sample import ChainSample, Refusal, Sample
from rpcproxy.rules.telling.strips import CELL_SECONDS, Strip
from rpcproxy.states import Change

FILE_NAME: Final = "last-day.json"
# After a change: how soon a sample is taken, and how often at most.
SETTLE_SECONDS: Final = 0.1
LOOK_SECONDS: Final = 1.0
WRITE_SECONDS: Final = 300.0
CLOSE_SECONDS: Final = 2.0
MOST_BYTES: Final = 16 * 1024 * 1024
_FRESH: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW

_log = logging.getLogger("rpcproxy.app")


def _nobody(_incidents: Sequence[Incident]) -> None:
    pass


class OlderDay(NamedTuple):
    """A file that several configurations shared; ours are these chains."""

    path: Path
    chains: frozenset[str]

    def taken(self) -> Packed | None:
        """What is ours of it. The file goes where it is nobody else's."""
        packed = _read(self.path)
        if packed is None:
            return None
        if packed.chains.keys() <= self.chains:
            with contextlib.suppress(OSError):
                self.path.unlink()
        return packed.of_chains(self.chains)


class Recorder:
    """See the module's docstring. ``add`` is a sink of the sampler."""

    def __init__(
        self,
        take: Callable[[], Sample],
        path: Path | None = None,
        redact: Callable[[str], str] = str,
        *,
        refusals: OwnRefusals | None = None,
        clock: Clock = SYSTEM_CLOCK,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        """``take`` takes a sample. ``path``: of the file, ``None`` for none. ``redact`` goes over
        what is written. After a change ``settle_seconds`` pass before it is looked at.
        """
        self._now = clock.monotonic
        self._settle_seconds = settle_seconds
        self.chronicle = Chronicle()
        self._take = take
        # Told of all incidents at each look.
        self.tell: Callable[[Sequence[Incident]], None] = _nobody
        self._refusals = refusals or OwnRefusals()
        self._looked = -math.inf  # monotonic seconds
        self._look: asyncio.TimerHandle | None = None
        self._path = path
        self._redact = redact
        self._written = -math.inf  # monotonic seconds
        self._writing: asyncio.Task[None] | None = None

    def open(self, older: OlderDay | None = None) -> None:
        """Read what an earlier process left, if it can be read: it is nothing to fail for. Where
        there is no file yet, what is ours of an ``older`` one is taken over.
        """
        if self._path is None:
            return
        packed = _read(self._path)
        if packed is None and older is not None:
            packed = older.taken()
        try:
            self.chronicle = Chronicle() if packed is None else Chronicle.unpack(packed)
        except (ValueError, msgspec.MsgspecError):
            self.chronicle = Chronicle()

    def add(self, sample: Sample) -> None:
        self.chronicle.add(sample)
        self.tell(self.chronicle.every_incident())
        self._looked = sample.seconds
        is_due = sample.seconds - self._written >= WRITE_SECONDS
        is_idle = self._writing is None or self._writing.done()
        if self._path is not None and is_due and is_idle:
            if self._written > -math.inf:
                self._writing = tasks.start(self._save(), "last day of the status")
            self._written = sample.seconds

    async def close(self) -> None:
        """Write what is known."""
        if self._look is not None:
            self._look.cancel()
        if self._path is not None and self._written > -math.inf:
            if self._writing is not None:
                await asyncio.wait([self._writing], timeout=CLOSE_SECONDS)
            await self._save()

    async def _save(self) -> None:
        assert self._path is not None  # noqa: S101 -- held by the callers
        packed = self.chronicle.packed()
        for incident in packed.incidents:
            incident.cause = self._redact(incident.cause)
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.to_thread(_write, self._path, packed)
        except (OSError, TimeoutError):
            # Strips begin anew then; the history, beside it, tells of the disk.
            _log.debug("the status was not saved", exc_info=True)

    def on_changes(self, chain: str, changes: Sequence[Change]) -> None:
        for change in changes:
            self.chronicle.on_change(chain, change.upstream, change.kind, change.reason)
        if self._look is None and changes:
            pause = max(self._settle_seconds, self._looked + LOOK_SECONDS - self._now())
            self._look = asyncio.get_running_loop().call_later(pause, self._look_now)

    def _look_now(self) -> None:
        self._look = None
        self.add(self._take())

    def sample_of(self, runtime: ChainRuntime, now: float, unix_seconds: float) -> ChainSample:
        """One chain, with since when it is as it is, also where that was before this process."""
        refusals = self._refusals.of_chain(runtime, now)
        sample = sample_chain(runtime, now, unix_seconds, refusals)
        return self.chronicle.with_since(sample, unix_seconds)

    def chain_outlook(
        self, runtime: ChainRuntime, now: float, unix_seconds: float
    ) -> tuple[Plight, ChainOutlook]:
        """One chain at ``now`` (monotonic), which is ``unix_seconds`` of wall-clock time."""
        name, title = runtime.chain.name, title_of(runtime.chain.name)
        refusals = self._refusals.of_chain(runtime, now)
        sample = self.sample_of(runtime, now, unix_seconds)
        recent = self.chronicle.recent(sample, now)
        plight = plight_of(sample, title, recent)
        # Whoever looks at this chain alone is to know what it meets, too.
        told = with_refusals(plight, self._refusals.of_process(now), title)
        outlook: ChainOutlook = {
            "title": title,
            "sentence": told.sentence,
            "steady": told.steady,
            "level": told.level,
            "whose": told.whose,
            "refusals": [_refusal(each, unix_seconds) for each in refusals],
            "recent": {
                "seconds": round(recent.seconds, 1),
                "requests": recent.requests,
                "unserved": recent.unserved,
            },
            "traffic": {
                upstream: {
                    "attempts": traffic.attempts,
                    "failures": traffic.failures,
                    "probes": traffic.probes,
                    "failed_probes": traffic.failed_probes,
                    "share": traffic.share,
                }
                for upstream, traffic in recent.traffic.items()
            },
            "strips": {
                "cell_seconds": CELL_SECONDS,
                "until": utc((math.floor(unix_seconds / CELL_SECONDS) + 1) * CELL_SECONDS),
                "chain": _strip(self.chronicle.chain_strip(name), unix_seconds),
                "upstreams": {
                    each.name: _strip(self.chronicle.upstream_strip(name, each.name), unix_seconds)
                    for each in sample.upstreams
                },
            },
        }
        return plight, outlook

    def outlook(
        self, runtimes: Mapping[str, ChainRuntime], now: float, unix_seconds: float
    ) -> tuple[Outlook, list[ChainOutlook]]:
        """All chains, in the order of the configuration, at ``now`` as above."""
        told = [self.chain_outlook(runtime, now, unix_seconds) for runtime in runtimes.values()]
        refusals = self._refusals.of_process(now)
        whole = summary([(outlook["title"], plight) for plight, outlook in told])
        whole = with_refusals(whole, refusals, "")
        page: Outlook = {
            "sentence": whole.sentence,
            "steady": whole.steady,
            "level": whole.level,
            "whose": whole.whose,
            "refusals": [_refusal(each, unix_seconds) for each in refusals],
            "incidents": [_entry(each, unix_seconds) for each in self.chronicle.incidents()],
        }
        return page, [outlook for _, outlook in told]


def beside(history: Path | None) -> Path | None:
    """Where the file is, by that of the history; ``None`` where none is kept."""
    return None if history is None else history.with_name(FILE_NAME)


def older_day(history: OlderHistory | None) -> OlderDay | None:
    """The file beside an older history."""
    if history is None:
        return None
    return OlderDay(history.path.with_name(FILE_NAME), frozenset(history.chains))


def _read(path: Path) -> Packed | None:
    try:
        return None if path.stat().st_size > MOST_BYTES else read_packed(path.read_bytes())
    except (OSError, ValueError, msgspec.MsgspecError):
        return None


def _write(path: Path, packed: Packed) -> None:
    """All of it or nothing; for the owner alone."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with os.fdopen(os.open(beside, _FRESH, 0o600), "wb") as file:
            file.write(msgspec.json.encode(packed))
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _strip(strip: Strip, unix_seconds: float) -> StripEntry:
    share, known = strip.well_share(unix_seconds)
    return {
        "cells": strip.letters(unix_seconds),
        "well_share": None if share is None else round(share, 6),
        "known_seconds": round(known, 1),
    }


def _refusal(refusal: Refusal, unix_seconds: float) -> RefusalEntry:
    return {
        "what": refusal.what,
        "why": refusal.why,
        "detail": refusal.detail,
        "since": utc(unix_seconds - refusal.since_seconds),
        "seconds": round(refusal.since_seconds, 1),
    }


def _entry(incident: Incident, unix_seconds: float) -> IncidentEntry:
    ended = incident.ended_unix
    end = unix_seconds if ended is None else ended
    return {
        "chain": incident.chain,
        "upstream": incident.subject,
        "kind": incident.kind,
        "cause": incident.cause,
        "started": utc(incident.started_unix),
        "ended": None if ended is None else utc(ended),
        "seconds": round(max(0.0, end - incident.started_unix), 1),
        "requests": incident.requests,
        "unserved": incident.unserved,
        "times": incident.times,
    }
