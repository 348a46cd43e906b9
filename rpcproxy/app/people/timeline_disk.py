"""Where the timeline is kept: its store opened beside the serving, and waited for where another
process is about to leave it.

State: the store once it is open, the task that opens it, and why nothing is kept meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import msgspec

from rpcproxy.app.people.history_writer import history_path
from rpcproxy.app.storage.state_place import NO_HOME_FOR_TILDE, StatePlace
from rpcproxy.config.model import Config
from rpcproxy.edges.disk.timeline_store import (
    StoredEntry,
    TimelineInUse,
    TimelineStore,
    read_timeline,
)
from rpcproxy.edges.logs import event
from rpcproxy.engine import tasks
from rpcproxy.rules.telling.happenings import Happening

FILE_NAME: Final = "timeline.sqlite"
HAPPENINGS: Final = "happening"
TRACES: Final = "trace"
RUNS: Final = "process"
BOUNDS: Final = {HAPPENINGS: 2000, TRACES: 2000, RUNS: 20}
# A start does not wait longer than this for a disk.
OPENING_SECONDS: Final = 2.0
_LOCKED_LOOK_SECONDS: Final = 1.0

_log = logging.getLogger("rpcproxy.timeline")
T = TypeVar("T")


def timeline_place(config: Config, place: StatePlace) -> tuple[Path | None, str]:
    """Where its file is, by that of the history; or why there is no place for it."""
    history = config.server.history
    if not history.is_on:
        return None, "the history is off in the configuration (server.history)"
    path = history_path(history, place)
    if path is None:
        return None, place.why if history.path is None else NO_HOME_FOR_TILDE
    return path.with_name(FILE_NAME), ""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One process. Times are wall-clock seconds; it was last heard of at ``seen_unix``. ``end``:
    how it ended, empty while it is not known that it did.
    """

    id: str
    version: str
    started_unix: float
    seen_unix: float
    end: str = ""


class DiskTimes(NamedTuple):
    """After how long it is tried again: where it is in use, and the process that has it is known to
    be leaving; and where anything else is wrong.
    """

    soon_seconds: float = 0.1
    again_seconds: float = 1.0


USUAL_TIMES: Final = DiskTimes()


class Opened(NamedTuple):
    """What the store held when it was opened: entries and runs, the newest first; ``held``: the
    ids of those that last or stand.
    """

    happenings: list[Happening]
    runs: list[Run]
    held: set[str]


class Openings(NamedTuple):
    """``on_open`` is called once, before anybody is given the store; ``on_look`` with what another
    process has written so far, while that one is waited for; ``on_new`` whenever the file is a new
    one, as it was removed or damaged.
    """

    on_open: Callable[[Opened], None]
    on_new: Callable[[], None]
    on_look: Callable[[list[Happening]], None]


class TimelineDisk:
    """See the module's docstring. ``start``, then ``close``. ``path`` is ``None`` where nothing can
    be kept, for ``why_none``.
    """

    def __init__(
        self,
        path: Path | None,
        why_none: str,
        openings: Openings,
        now: Callable[[], float],
        times: DiskTimes = USUAL_TIMES,
    ) -> None:
        self._path = path
        self._times = times
        self._now = now
        self._on_open, self._on_new, self._on_look = openings
        self.store: TimelineStore | None = None
        self.refusal = why_none if path is None else ""  # why it is not open, in words
        self._patient_until = -math.inf
        self._opening: asyncio.Task[None] | None = None
        self._was_tried = asyncio.Event()
        self._told: set[str] = set()
        self._waiting: list[Callable[[TimelineStore], None]] = []
        self._leaving: list[Callable[[], None]] = []

    @property
    def is_wanted(self) -> bool:
        """Whether there is a place for it."""
        return self._path is not None

    @property
    def is_awaited(self) -> bool:
        """Whether it may be open soon: nothing is wrong so far."""
        return self.store is None and not self.refusal

    def share(
        self, use: Callable[[TimelineStore], None], leave: Callable[[], None] = lambda: None
    ) -> None:
        """Give the store to another who keeps something in it, as soon as it is open; ``leave`` is
        called before it is closed.
        """
        self._leaving.append(leave)
        if self.store is not None:
            use(self.store)
        else:
            self._waiting.append(use)

    def expect_predecessor(self, seconds: float) -> None:
        """For so long it is no trouble that another process has it: that one is about to leave."""
        self._patient_until = self._now() + seconds

    def start(self) -> None:
        """Open it, once."""
        if self._path is not None and self._opening is None:
            self._opening = tasks.start(self._open(self._path), "open the timeline")

    async def opened(self) -> None:
        """Wait until it is open or is known not to be, for a moment at most."""
        if self._opening is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(OPENING_SECONDS):
                    await self._was_tried.wait()

    async def close(self) -> None:
        """Write what waits, and close; idempotent."""
        await tasks.stop(self._opening)
        for leave in self._leaving:
            leave()
        if self.store is not None:
            await self.store.close()

    async def _open(self, path: Path) -> None:
        looked = -math.inf
        while True:
            # One that is given up leaves its thread with the disk: it is waited for, and no other
            # is sent after it.
            hanging = asyncio.get_running_loop().call_later(OPENING_SECONDS, self._on_hanging, path)
            try:
                store = await TimelineStore.open(path, bounds=BOUNDS, on_new=self._on_new)
                await self._take(store)
            except TimelineInUse as error:
                if self._now() < self._patient_until:
                    if self._now() - looked >= _LOCKED_LOOK_SECONDS:
                        looked = self._now()
                        await self._look(path)
                    self._was_tried.set()
                    await asyncio.sleep(self._times.soon_seconds)
                    continue
                self._refuse(str(error))
            except TimeoutError:
                self._on_hanging(path)
            except OSError as error:
                self._refuse(str(error))
            else:
                return
            finally:
                hanging.cancel()
            self._was_tried.set()
            await asyncio.sleep(self._times.again_seconds)

    async def _take(self, store: TimelineStore) -> None:
        try:
            entries = await store.load(HAPPENINGS, BOUNDS[HAPPENINGS])
            runs = await store.load(RUNS, BOUNDS[RUNS])
        except BaseException:
            await store.close()
            raise
        self.store, self.refusal = store, ""
        held = {each.id for each in entries if each.is_held}
        self._on_open(Opened(_decoded(entries, Happening), _decoded(runs, Run), held))
        self._was_tried.set()
        for use in self._waiting:
            use(store)
        self._waiting.clear()

    async def _look(self, path: Path) -> None:
        """What is on the disk, beside the process that writes it."""
        with contextlib.suppress(OSError):
            entries = await asyncio.to_thread(read_timeline, path, HAPPENINGS, 0.0)
            self._on_look(_decoded(entries, Happening))

    def _on_hanging(self, path: Path) -> None:
        self._refuse(f"the disk of {path} does not answer")
        self._was_tried.set()

    def _refuse(self, words: str) -> None:
        self.refusal = words
        if words not in self._told:
            self._told.add(words)
            message = "what happens is not written down"
            event(_log, logging.WARNING, "timeline", message, reason=words)


def _decoded(entries: Sequence[StoredEntry], kind: type[T]) -> list[T]:
    """Those that this version can read."""
    found = []
    for entry in entries:
        with contextlib.suppress(msgspec.MsgspecError):
            found.append(msgspec.json.decode(entry.data, type=kind))
    return found


def entry_of(happening: Happening, *, is_held: bool) -> StoredEntry:
    """How it is written."""
    return StoredEntry(
        happening.id,
        HAPPENINGS,
        happening.group,
        happening.last_unix,
        (),
        msgspec.json.encode(happening),
        is_held,
    )


def entry_of_run(run: Run) -> StoredEntry:
    return StoredEntry(run.id, RUNS, "", run.seen_unix, (), msgspec.json.encode(run))


def heard_last(opened: Opened, within_seconds: float) -> Opened:
    """The last process, where it did not say that it ends, was heard of by what it wrote, too. What
    is later than its own word by more than ``within_seconds`` was written before its clock was set
    back.
    """
    latest = max(opened.runs, key=lambda run: run.started_unix, default=None)
    if latest is None or latest.end:
        return opened
    most = latest.seen_unix + within_seconds
    wrote = [each.last_unix for each in opened.happenings if each.last_unix <= most]
    heard = msgspec.structs.replace(latest, seen_unix=max(latest.seen_unix, *wrote, -math.inf))
    return opened._replace(runs=[heard if run is latest else run for run in opened.runs])
