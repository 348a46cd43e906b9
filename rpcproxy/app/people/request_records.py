"""The last requests that failed or were slow, each with its attempts, for whoever asks why.

Kept in memory, and in the timeline's file once that is open: they survive a restart and a kill. So
many are kept of all kinds together, and many of one kind push out their own only.

State: the traces, their ids, and those that are not on their way to the disk yet; one per process,
written by whoever is told of them.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections.abc import Callable, Sequence
from itertools import count
from typing import Final, NamedTuple, Protocol

import msgspec

from rpcproxy.clock import Clock
from rpcproxy.edges.disk.timeline_store import StoredEntry
from rpcproxy.edges.logs import event
from rpcproxy.engine import tasks
from rpcproxy.engine.attempts.request_log import REFUSALS_PER_SECOND
from rpcproxy.front.operators.recent import RecentEntries
from rpcproxy.messages import Answer
from rpcproxy.rules.standing.limits import TokenBucket
from rpcproxy.rules.telling.request_traces import AttemptTrace, Trace, TraceOutcome, bounded

TRACE_SHELF: Final = "trace"
TRACES_KEPT: Final = 2000
# After a write the next one waits so long: a storm of failures is a few commits a second.
WRITE_SECONDS: Final = 0.2
# So many at once: to spell out as many as are kept would hold up the event loop.
MOST_AT_ONCE: Final = 100

_log = logging.getLogger("rpcproxy.requests")


class TraceStore(Protocol):
    """A part of ``edges.disk.timeline_store.TimelineStore``."""

    async def load(self, shelf: str, most: int) -> list[StoredEntry]: ...

    def put(self, entries: Sequence[StoredEntry], written: Callable[[str], None]) -> None: ...


class KeptTrace(NamedTuple):
    """A trace under an id of its own. ``kind``: many of one push out their own only."""

    id: str
    kind: str
    trace: Trace


class _Error(msgspec.Struct):
    message: str


class _Refusal(msgspec.Struct):
    error: _Error


class RequestRecords:
    """See the module's docstring. ``redact`` takes secrets out of all that is kept. ``trouble``:
    why nothing is kept on disk, empty where it is.
    """

    def __init__(self, redact: Callable[[str], str], clock: Clock, kept: int = TRACES_KEPT) -> None:
        self._redact = redact
        self._clock = clock
        self._kept = kept
        self._entries: RecentEntries[KeptTrace] = RecentEntries(kept)
        self._ids = (f"{secrets.token_hex(6)}-{number}" for number in count())
        self._store: TraceStore | None = None
        self._unwritten: list[KeptTrace] = []
        self._writing: asyncio.TimerHandle | asyncio.Handle | None = None
        self._wrote_at = -math.inf
        self._loading: asyncio.Task[None] | None = None
        self.began_unix = clock.unix()
        self._refusals = TokenBucket(REFUSALS_PER_SECOND, clock.monotonic())
        self.trouble = ""

    # ---- what happens

    def on_trace(self, trace: Trace, is_known: bool = True) -> None:  # noqa: FBT001, FBT002
        """Keep it. ``is_known``: its method is in a table of ours; what clients make up is one
        kind, whatever they call it.
        """
        told = self._redacted(bounded(trace))
        method = told.method if is_known else ""
        kept = KeptTrace(next(self._ids), f"{told.chain} {told.outcome} {method}", told)
        self._entries.add(kept, kept.kind)
        if self._store is None:
            return
        self._unwritten.append(kept)
        # What is pushed out of memory meanwhile is not worth a write.
        del self._unwritten[: -self._kept]
        self._write_soon()

    def on_refusal(self, trace_id: str, answer: Answer) -> None:
        """The wallet port answered by itself, before any chain was asked. Of so many a second no
        more are kept: what a client makes up costs little.
        """
        now = self._clock.monotonic()
        if self._refusals.tokens(now) < 1.0:
            return
        self._refusals.take(now)
        try:
            reason = msgspec.json.decode(answer.body, type=_Refusal).error.message
        except msgspec.DecodeError:
            reason = f"HTTP {answer.status}"
        trace = Trace(
            trace_id=trace_id,
            chain="",
            method="",
            outcome=TraceOutcome.REFUSED,
            started_unix=self._clock.unix(),
            seconds=0.0,
            reason=reason,
        )
        self.on_trace(trace)

    def _redacted(self, trace: Trace) -> Trace:
        redact = self._redact
        return msgspec.structs.replace(
            trace,
            reason=redact(trace.reason),
            told=redact(trace.told),
            method=redact(trace.method),
            params=redact(trace.params),
            attempts=tuple(self._redacted_attempt(each) for each in trace.attempts),
        )

    def _redacted_attempt(self, attempt: AttemptTrace) -> AttemptTrace:
        if not attempt.detail:
            return attempt
        return msgspec.structs.replace(attempt, detail=self._redact(attempt.detail))

    # ---- the disk

    def keep_in(self, store: TraceStore) -> None:
        """It is open: go on with what it has, and write there from now on."""
        self._loading = tasks.start(self._keep_in(store), "load traces")

    async def _keep_in(self, store: TraceStore) -> None:
        try:
            entries = await store.load(TRACE_SHELF, self._kept)
        except OSError as error:  # what is there stays there; what comes is written
            self._on_written(str(error) or "the disk does not answer")
            entries = []
        loaded = [kept for entry in entries if (kept := _read(entry))]
        newer = self._entries.latest_first()[::-1]
        self._entries = RecentEntries(self._kept)
        for kept in (*reversed(loaded), *newer):
            self._entries.add(kept, kept.kind)
        self._store = store
        self.trouble = ""
        if loaded:
            self.began_unix = min(self.began_unix, loaded[-1].trace.started_unix)
        self._unwritten = newer
        self._write()

    def leave(self) -> None:
        """Write what waits; the store is about to be closed."""
        if self._loading is not None:
            self._loading.cancel()
        if self._writing is not None:
            self._writing.cancel()
        self._put(len(self._unwritten))
        self._store = None
        self.trouble = "it is closed"

    def _write_soon(self) -> None:
        if self._writing is None:
            wait = self._wrote_at + WRITE_SECONDS - self._clock.monotonic()
            loop = asyncio.get_running_loop()
            self._writing = (
                loop.call_later(wait, self._write) if wait > 0 else loop.call_soon(self._write)
            )

    def _write(self) -> None:
        self._writing = None
        self._put(MOST_AT_ONCE)
        if self._unwritten:
            self._write_soon()

    def _put(self, most: int) -> None:
        """Give the oldest of those that wait to the store."""
        unwritten, self._unwritten = self._unwritten[:most], self._unwritten[most:]
        if self._store is None or not unwritten:
            return
        self._wrote_at = self._clock.monotonic()
        self._store.put([_stored(kept) for kept in unwritten], self._on_written)

    def _on_written(self, reason: str) -> None:
        if reason and not self.trouble:
            event(_log, logging.WARNING, "traces_unwritten", reason=reason)
        self.trouble = reason

    # ---- questions

    def unix_now(self) -> float:
        return self._clock.unix()

    def find(
        self,
        *,
        trace_id: str = "",
        transaction: str = "",
        since: float | None = None,
        chain: str = "",
    ) -> list[Trace]:
        """Those of which all that is given is true, the latest first: one id may be of many, as of
        a batch. ``since``: in Unix seconds, those that ended then or later.
        """
        return [
            trace
            for _, _, trace in self._entries.latest_first()
            if (not trace_id or trace.trace_id == trace_id)
            and (not transaction or trace.transaction.lower() == transaction.lower())
            and (since is None or trace.started_unix + trace.seconds >= since)
            and (not chain or trace.chain == chain)
        ]


def _stored(kept: KeptTrace) -> StoredEntry:
    trace = kept.trace
    keys = tuple(dict.fromkeys(filter(None, (trace.trace_id, trace.transaction))))
    ended = trace.started_unix + trace.seconds
    return StoredEntry(kept.id, TRACE_SHELF, kept.kind, ended, keys, msgspec.json.encode(trace))


def _read(entry: StoredEntry) -> KeptTrace | None:
    """``None`` for what another version wrote in a way of its own."""
    try:
        return KeptTrace(entry.id, entry.group, msgspec.json.decode(entry.data, type=Trace))
    except msgspec.DecodeError:
        return None
