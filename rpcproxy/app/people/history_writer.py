"""The history at work: what samples add up to goes to disk, for ``rpcproxy report``; and read back.

State: the sums, the thread that writes them, and when it was last given some.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex
from typing import Final, NamedTuple, TypeVar

import msgspec

from rpcproxy import __version__
from rpcproxy.app.storage.state_place import HISTORY, StatePlace, expanded
from rpcproxy.config import model
from rpcproxy.edges.disk.history import (
    DiskHistory,
    Found,
    HistoryRefused,
    OlderHistory,
    OutageRow,
    ProcessRun,
    TallyRow,
    read_file,
)
from rpcproxy.edges.metrics.metrics import BUCKET_SECONDS
from rpcproxy.rules.telling.sample import Sample
from rpcproxy.rules.telling.tallies import HourRow, Outage, Tallies

__all__ = [
    "HistoryRefused",
    "HistoryWriter",
    "Kept",
    "history_path",
    "read_history",
    "shared_history",
]

# A process that is killed loses what came since.
WRITE_SECONDS: Final = 60.0
FILE_NAME: Final = "history.sqlite"

T = TypeVar("T")


class RunFacts(msgspec.Struct):
    """What is known of the process that wrote a row. ``bounds`` of its buckets, in seconds."""

    started: float  # Unix seconds
    pid: int = 0
    version: str = ""
    bounds: tuple[float, ...] = BUCKET_SECONDS


class Kept(NamedTuple):
    """What the history tells, each with the name of the process that saw it."""

    runs: dict[str, RunFacts]
    rows: list[tuple[str, HourRow]]
    outages: list[tuple[str, Outage]]


class HistoryWriter:
    """See the module's docstring. ``start``, then ``on_sample`` now and then, then ``close``.
    ``redact`` takes secrets out of what upstreams said.
    """

    def __init__(
        self,
        settings: model.History,
        redact: Callable[[str], str],
        place: StatePlace,
    ) -> None:
        """In its ``place``, unless the configuration says where; then what is there of our chains
        in the place that all configurations shared once is taken over.
        """
        self.path = history_path(settings, place)
        is_own = self.path is not None and settings.path is None
        shared = shared_history(place) if is_own else None
        self.older = None if shared is None else OlderHistory(shared, place.chains)
        self._max_bytes = settings.size_bytes
        self._redact = redact
        self._tallies = Tallies()
        self._history: DiskHistory | None = None
        self._written = -math.inf  # monotonic seconds

    def start(self, unix_seconds: float) -> None:
        """Begin, on the running loop; waits for nothing. Does nothing where the history is off."""
        if self.path is None or self._history is not None:
            return
        facts = RunFacts(unix_seconds, os.getpid(), __version__)
        run = ProcessRun(token_hex(8), msgspec.json.encode(facts))
        self._history = DiskHistory(self.path, self._max_bytes, run, older=self.older)

    @property
    def trouble(self) -> str:
        """Why nothing can be written, empty where something can, or nothing is to be."""
        return "" if self._history is None else self._history.trouble

    def on_sample(self, sample: Sample) -> None:
        """A sink of ``app.people.sampling.Sampler``."""
        if self._history is None:
            return
        self._tallies.on_sample(sample)
        is_due = sample.seconds - self._written >= WRITE_SECONDS
        if (is_due or self._tallies.has_turned) and self._history.has_room:
            self._write(self._history, sample)

    async def close(self) -> None:
        """Write what is known, and close; idempotent."""
        if self._history is None:
            return
        before = self._tallies.latest
        if before is not None and self._history.has_room:
            self._write(self._history, before)
        await self._history.close()

    def _write(self, history: DiskHistory, sample: Sample) -> None:
        self._written = sample.seconds
        news = self._tallies.take()
        tallies = [
            TallyRow(row.hour, row.part, row.chain, row.upstream, msgspec.json.encode(row))
            for row in news.rows
        ]
        outages = [
            OutageRow(
                outage.chain,
                outage.upstream,
                outage.start,
                msgspec.json.encode(
                    msgspec.structs.replace(outage, reason=self._redact(outage.reason))
                ),
            )
            for outage in news.outages
        ]
        history.put(tallies, outages, sample.unix_seconds)


def history_path(history: model.History, place: StatePlace) -> Path | None:
    """The file of the history; ``None`` where none is kept, or there is no place for it."""
    if not history.is_on:
        return None
    directory = place.history_directory
    if history.path is not None:
        directory, _ = expanded(history.path)
    return None if directory is None else directory / FILE_NAME


def shared_history(place: StatePlace) -> Path | None:
    """The one that all configurations of a user shared before each had its own."""
    return None if place.base is None else place.base / HISTORY / FILE_NAME


def read_history(path: Path, since: float) -> Kept:
    """What the file says of the hours since ``since`` (Unix seconds); what is damaged in it is left
    out. Raises ``HistoryRefused``.
    """
    found: Found = read_file(path, since)
    runs = {name: _decoded(data, RunFacts) for name, data in found.runs.items()}
    rows = [(name, _decoded(row.data, HourRow)) for name, row in found.tallies]
    outages = [(name, _decoded(row.data, Outage)) for name, row in found.outages]
    known = {name: facts for name, facts in runs.items() if facts is not None}
    return Kept(
        known,
        [(name, row) for name, row in rows if row is not None and name in known],
        [
            (name, outage)
            for name, outage in outages
            if outage is not None and name in known and outage.end > since
        ],
    )


def _decoded(data: bytes, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
