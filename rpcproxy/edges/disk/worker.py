"""One thread for one file: SQLite happens there, and the event loop sees futures.

The loop *asks* for what it waits for, in order, and *schedules* what has to be done once, soon.
The thread works in rounds: it answers all that was asked meanwhile, tells the loop once, and does
what is due. How jobs are gathered, and what is dropped, is decided by those who use a worker.

An error of the disk, a full one included, goes to who asked, and the thread goes on. Any other
error is a bug: the thread ends, and all who wait are told. Where the loop is gone, nobody waits.

State: ``_due`` is written by both sides under ``_lock``, ``_taken`` by the thread,
``_is_closing`` by the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, TypeVar

DISK_ERRORS: Final = (sqlite3.Error, OSError)
_CLOSED: Final = "the file is closed"
_HANGS: Final = "the disk did not answer before the end"

T = TypeVar("T")


def _nothing() -> None:
    pass


class WorkerStopped(Exception):
    """No answer comes any more: the file is closed, the thread has failed, or the disk hangs."""


class Duties(NamedTuple):
    """What a worker calls beside its jobs: ``on_end`` on the loop, the others in the thread.

    ``open`` comes first, and may take a lock; what it raises is raised by ``Worker.open``, after
    ``leave``. ``finish`` comes after the last job, unless the thread fails. ``on_crash`` gets the
    error of a thread that fails. ``leave`` comes last, whatever happened, and may come twice.
    After ``on_end`` the thread answers nobody.
    """

    finish: Callable[[], None]
    leave: Callable[[], None]
    on_crash: Callable[[Exception], None]
    open: Callable[[], None] = _nothing
    on_end: Callable[[], None] = _nothing


class _Asked(NamedTuple):
    job: Callable[[], Any]
    done: asyncio.Future[Any]


class Worker:
    """See the module's docstring. Made on the loop: ``open`` or ``start`` it once, then ``close``.

    Whoever sets a deadline for ``open`` cancels it: the thread then leaves the file by itself.
    """

    def __init__(self, name: str, duties: Duties, close_seconds: float) -> None:
        self._duties = duties
        self._close_seconds = close_seconds
        self._lock = threading.Lock()
        self._due: dict[Callable[[], None], float] = {}  # monotonic seconds
        # None wakes the thread.
        self._items: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._taken: list[_Asked] = []
        self._is_closing = False
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        # A daemon: a disk that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

    # ----------------------------------------------------------------------
    # On the loop

    def start(self) -> None:
        """Begin, and wait for nothing."""
        self._thread.start()

    async def open(self) -> None:
        """Begin, and wait until the file is open. Raises what ``Duties.open`` raises, and
        ``WorkerStopped`` where the thread ended before.
        """
        self.start()
        try:
            await self._opened
        except asyncio.CancelledError:
            self.begin_close()
            raise

    def ask(self, job: Callable[[], T]) -> asyncio.Future[T]:
        """Do the job after those that were asked for before; its result, or the disk's error.

        A future that is done by then, cancelled or given a result, is passed over. It fails with
        ``WorkerStopped`` where no answer comes any more.
        """
        done: asyncio.Future[T] = self._loop.create_future()
        if self._is_closing:
            done.set_exception(WorkerStopped(_CLOSED))
        else:
            self._items.put(_Asked(job, done))
        return done

    def begin_close(self) -> None:
        """Take nothing more: the thread answers what was asked, finishes, and ends."""
        self._is_closing = True
        self._items.put(None)

    async def close(self) -> bool:
        """``begin_close``, and wait; ``False`` where that took more than ``close_seconds``, and
        those who wait were told so. Idempotent.
        """
        self.begin_close()
        await asyncio.wait([self._ended], timeout=self._close_seconds)
        if self._ended.done():
            self._thread.join()  # it has said its last word
            return True
        self._give_up(_HANGS)
        return False

    def _on_end(self) -> None:
        self._is_closing = True
        self._give_up(_CLOSED)
        self._duties.on_end()
        settle([(self._opened, WorkerStopped(_CLOSED)), (self._ended, None)])

    def _give_up(self, reason: str) -> None:
        left = list(self._taken)
        with contextlib.suppress(queue.Empty):
            while True:
                item = self._items.get_nowait()
                if item is not None:
                    left.append(item)
        # The thread may be about to come back, and is to find that it has to end.
        self._items.put(None)
        settle([(asked.done, WorkerStopped(reason)) for asked in left])

    # ----------------------------------------------------------------------
    # On both sides

    def schedule(self, job: Callable[[], None], seconds: float = 0.0) -> None:
        """Do the job once, within ``seconds``, or sooner where it is due sooner already.

        Once the worker is closing it is not done any more: that is for ``Duties.finish``.
        """
        at = time.monotonic() + seconds
        with self._lock:
            if self._due.get(job, math.inf) <= at:
                return
            self._due[job] = at
        self._items.put(None)

    # ----------------------------------------------------------------------
    # In the thread

    def tell(self, answers: list[tuple[asyncio.Future[Any], Any]]) -> None:
        """Settle futures on the loop, all in one turn."""
        self.call_on_loop(settle, answers)

    def _run(self) -> None:
        try:
            self._guarded(self._work)
            self._guarded(self._duties.leave)
        finally:
            self.call_on_loop(self._on_end)

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody must wait for ever
            self._duties.on_crash(error)

    def _work(self) -> None:
        if self._has_opened():
            self._serve()
            self._duties.finish()

    def _has_opened(self) -> bool:
        try:
            self._duties.open()
        except Exception as error:  # noqa: BLE001 - it is raised where the loop waits
            self._guarded(self._duties.leave)  # before it is told: another try may follow at once
            self.tell([(self._opened, error)])
            return False
        self.tell([(self._opened, None)])
        return True

    def _serve(self) -> None:
        is_last = False
        while not is_last:
            # Asked for before the drain: what came before the close is in the queue by now.
            is_last = self._is_closing
            self._take(0.0 if is_last else self._seconds_left())
            self._answer()
            if not is_last:
                for job in self._take_due():
                    job()

    def _take(self, seconds: float | None) -> None:
        """All that was asked for; waits so long for the first of it, ``None`` for ever."""
        with contextlib.suppress(queue.Empty):
            item = self._items.get(timeout=seconds)
            while True:
                if item is not None:
                    self._taken.append(item)
                item = self._items.get_nowait()

    def _answer(self) -> None:
        answers: list[tuple[asyncio.Future[Any], Any]] = []
        try:
            for job, done in self._taken:
                if done.done():
                    continue
                try:
                    answers.append((done, job()))
                except DISK_ERRORS as error:
                    answers.append((done, error))
        finally:
            if answers:
                self.tell(answers)
        self._taken = []

    def _seconds_left(self) -> float | None:
        with self._lock:
            first = min(self._due.values(), default=None)
        return None if first is None else max(0.0, first - time.monotonic())

    def _take_due(self) -> list[Callable[[], None]]:
        now = time.monotonic()
        with self._lock:
            due = [job for job, at in self._due.items() if at <= now]
            for job in due:
                del self._due[job]
        return due

    def call_on_loop(self, callback: Callable[..., None], *args: object) -> None:
        """Call it on the loop, in one of its next turns."""
        # The loop may be gone by now, and nobody waits any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *args)


def settle(answers: Iterable[tuple[asyncio.Future[Any], Any]]) -> None:
    """Give each future its result; one whose result is an ``Exception`` fails with it. Who waited
    for one that is done has gone. On the loop.
    """
    for done, result in answers:
        if done.done():
            continue
        if isinstance(result, Exception):
            done.set_exception(result)
        else:
            done.set_result(result)
