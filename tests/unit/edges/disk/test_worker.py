"""One thread for one file: its start, jobs in order, errors, its end, and a loop that is gone."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
import threading
from collections.abc import Callable
from functools import partial

import pytest

from rpcproxy.edges.disk.worker import Duties, Worker, WorkerStopped
from tests.kits.waiting import LIMIT_SECONDS, limited, until
from tests.sockets.scripted import on_both_loops


class Place:
    """A file that only tells what was done to it, and in which thread."""

    def __init__(self, opening: Callable[[], None] | None = None) -> None:
        self.told: list[str] = []
        self.threads: set[str] = set()
        self.crash: Exception | None = None
        self.end_thread = ""
        self._opening = opening
        self.finishing: Callable[[], None] | None = None
        self.leaving: Callable[[], None] | None = None

    def tell(self, what: str) -> None:
        self.told.append(what)
        self.threads.add(threading.current_thread().name)

    def open(self) -> None:
        self.tell("open")
        if self._opening is not None:
            self._opening()

    def finish(self) -> None:
        self.tell("finish")
        if self.finishing is not None:
            self.finishing()

    def leave(self) -> None:
        self.tell("leave")
        if self.leaving is not None:
            self.leaving()

    def on_crash(self, error: Exception) -> None:
        self.tell("crash")
        self.crash = error

    def on_end(self) -> None:
        self.end_thread = threading.current_thread().name

    def worker(self, close_seconds: float = LIMIT_SECONDS) -> Worker:
        duties = Duties(self.finish, self.leave, self.on_crash, self.open, self.on_end)
        return Worker("a-worker", duties, close_seconds)


class Hanging:
    """A job that does not come back before ``go_on`` is set."""

    def __init__(self) -> None:
        self.is_held = threading.Event()
        self.go_on = threading.Event()

    def hold(self) -> None:
        self.is_held.set()
        self.go_on.wait(LIMIT_SECONDS)

    def __call__(self) -> str:
        self.hold()
        return "came back"


def failing(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


FULL = OSError(errno.ENOSPC, "No space left on device")


# --------------------------------------------------------------------------
# The start


@on_both_loops
async def test_all_of_it_happens_in_the_thread_but_for_the_end() -> None:
    place = Place()
    worker = place.worker()
    await worker.open()
    assert await worker.ask(lambda: threading.current_thread().name) == "a-worker"
    assert await worker.close()
    assert place.told == ["open", "finish", "leave"]
    assert place.threads == {"a-worker"}
    assert place.end_thread == threading.main_thread().name
    assert not worker.is_alive


@on_both_loops
@pytest.mark.parametrize("error", [FULL, sqlite3.OperationalError("locked"), ZeroDivisionError()])
async def test_what_fails_to_open_is_left_before_it_is_told(error: Exception) -> None:
    place = Place(failing(error))
    worker = place.worker()
    async with limited():
        with pytest.raises(type(error)):
            await worker.open()
    assert place.told[:2] == ["open", "leave"]
    assert await worker.close()
    assert "finish" not in place.told
    with pytest.raises(WorkerStopped, match="the file is closed"):
        await worker.ask(lambda: 1)


@on_both_loops
async def test_an_opening_that_fails_is_told_even_where_leaving_fails_too() -> None:
    place = Place(failing(FULL))
    place.leaving = failing(ZeroDivisionError())
    worker = place.worker()
    async with limited():
        with pytest.raises(OSError, match="No space"):
            await worker.open()
    assert isinstance(place.crash, ZeroDivisionError)
    assert await worker.close()


async def test_an_opening_past_its_deadline_leaves_by_itself() -> None:
    hanging = Hanging()
    place = Place(hanging.hold)
    worker = place.worker()
    opening = asyncio.ensure_future(worker.open())
    await until(hanging.is_held.is_set)
    opening.cancel()
    await asyncio.wait([opening])
    assert opening.cancelled()
    hanging.go_on.set()
    await until(lambda: not worker.is_alive)
    assert place.told == ["open", "finish", "leave"]


async def test_a_start_waits_for_nothing() -> None:
    hanging = Hanging()
    worker = Place(hanging.hold).worker()
    worker.start()
    asked = worker.ask(lambda: 7)
    hanging.go_on.set()
    assert await asked == 7
    await worker.close()


# --------------------------------------------------------------------------
# Jobs


@on_both_loops
async def test_a_thousand_jobs_are_done_in_order() -> None:
    worker = Place().worker()
    await worker.open()
    done: list[int] = []
    answers = await asyncio.gather(*(worker.ask(partial(done.append, n)) for n in range(1000)))
    assert done == list(range(1000))
    assert answers == [None] * 1000
    await worker.close()


async def test_what_waits_is_answered_in_one_turn_of_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hanging = Hanging()
    worker = Place().worker()
    await worker.open()
    told: list[int] = []
    tell = worker.tell
    monkeypatch.setattr(worker, "tell", lambda answers: (told.append(len(answers)), tell(answers)))
    first = worker.ask(hanging)
    await until(hanging.is_held.is_set)
    rest = [worker.ask(lambda: 1) for _ in range(50)]
    hanging.go_on.set()
    await asyncio.gather(first, *rest)
    assert told == [1, 50]
    await worker.close()


@on_both_loops
async def test_an_error_of_the_disk_goes_to_who_asked_and_the_thread_goes_on() -> None:
    place = Place()
    worker = place.worker()
    await worker.open()
    corrupt = sqlite3.DatabaseError("malformed")
    results = await asyncio.gather(
        worker.ask(failing(FULL)),
        worker.ask(lambda: "well"),
        worker.ask(failing(corrupt)),
        return_exceptions=True,
    )
    assert results == [FULL, "well", corrupt]
    assert await worker.ask(lambda: "still well") == "still well"
    await worker.close()
    assert place.crash is None


async def test_who_has_gone_is_passed_over() -> None:
    hanging = Hanging()
    worker = Place().worker()
    await worker.open()
    first = worker.ask(hanging)
    await until(hanging.is_held.is_set)
    done: list[int] = []
    gone = worker.ask(lambda: done.append(1))
    gone.cancel()
    answered = worker.ask(lambda: done.append(2))
    answered.set_result(None)
    last = worker.ask(lambda: done.append(3))
    hanging.go_on.set()
    await asyncio.gather(first, last)
    assert done == [3]
    await worker.close()


async def test_a_scheduled_job_is_done_once_however_often_it_was_asked_for() -> None:
    worker = Place().worker()
    await worker.open()
    hanging = Hanging()
    asked = worker.ask(hanging)
    await until(hanging.is_held.is_set)
    done: list[str] = []

    def work() -> None:
        done.append("work")

    worker.schedule(work, 1000.0)
    worker.schedule(work)  # sooner
    worker.schedule(work, 1000.0)  # it is due sooner already
    hanging.go_on.set()
    await asked
    await until(lambda: bool(done))
    assert await worker.ask(lambda: list(done)) == ["work"]
    worker.schedule(work, 0.001)
    await until(lambda: len(done) == 2)
    await worker.close()


async def test_what_is_asked_goes_before_what_is_due() -> None:
    worker = Place().worker()
    await worker.open()
    hanging = Hanging()
    worker.schedule(hanging.hold)
    await until(hanging.is_held.is_set)
    order: list[str] = []
    worker.schedule(lambda: order.append("due"))
    asked = worker.ask(lambda: order.append("asked"))
    hanging.go_on.set()
    await asked
    await until(lambda: len(order) == 2)
    assert order == ["asked", "due"]
    await worker.close()


async def test_a_job_may_be_due_again_by_itself() -> None:
    worker = Place().worker()
    await worker.open()
    times = 0

    def again() -> None:
        nonlocal times
        times += 1
        if times < 100:
            worker.schedule(again)

    worker.schedule(again)
    await until(lambda: times == 100)
    await worker.close()


async def test_results_of_many_are_told_by_one_job() -> None:
    worker = Place().worker()
    await worker.open()
    loop = asyncio.get_running_loop()
    waiting = [loop.create_future() for _ in range(3)]
    waiting[2].cancel()
    worker.schedule(lambda: worker.tell(list(zip(waiting, [1, FULL, 3], strict=True))))
    assert await waiting[0] == 1
    with pytest.raises(OSError, match="No space"):
        await waiting[1]
    await worker.close()


# --------------------------------------------------------------------------
# The end


@on_both_loops
async def test_a_close_answers_what_was_asked_and_finishes() -> None:
    place = Place()
    worker = place.worker()
    await worker.open()
    later: list[str] = []
    worker.schedule(lambda: later.append("too late"), 1000.0)
    asked = [worker.ask(partial(place.tell, "asked")) for _ in range(20)]
    assert await asyncio.gather(worker.close(), worker.close()) == [True, True]
    assert all(each.done() for each in asked)
    assert place.told == ["open", *["asked"] * 20, "finish", "leave"]
    with pytest.raises(WorkerStopped, match="the file is closed"):
        await worker.ask(lambda: 1)
    assert later == []
    assert await worker.close()


@on_both_loops
async def test_a_close_gives_up_on_a_disk_that_hangs() -> None:
    hanging = Hanging()
    place = Place()
    worker = place.worker(close_seconds=0.01)
    await worker.open()
    asked = [worker.ask(hanging), worker.ask(lambda: "never")]
    await until(hanging.is_held.is_set)
    asked.append(worker.ask(lambda: "nor this"))
    assert not await worker.close()
    for each in asked:
        with pytest.raises(WorkerStopped, match="did not answer before the end"):
            await each
    assert worker.is_alive
    hanging.go_on.set()
    await until(lambda: not worker.is_alive)
    assert place.told == ["open", "finish", "leave"]
    assert await worker.close()


@on_both_loops
async def test_a_bug_in_a_job_ends_the_thread_and_leaves_nobody_waiting() -> None:
    place = Place()
    worker = place.worker()
    await worker.open()
    hanging = Hanging()
    well = worker.ask(hanging)
    await until(hanging.is_held.is_set)
    wrong = ZeroDivisionError()
    asked = [worker.ask(job) for job in (lambda: 1, failing(wrong), lambda: 2)]
    hanging.go_on.set()
    assert await well == "came back"
    assert await asked[0] == 1
    for each in asked[1:]:
        with pytest.raises(WorkerStopped):
            await each
    assert place.crash is wrong
    assert place.told == ["open", "crash", "leave"]
    assert await worker.close()


@pytest.mark.parametrize("when", ["due", "finish", "leave"])
async def test_a_bug_anywhere_still_ends_in_the_end(when: str) -> None:
    place = Place()
    worker = place.worker()
    await worker.open()
    wrong = ZeroDivisionError()
    if when == "due":
        worker.schedule(failing(wrong))
        await until(lambda: bool(place.end_thread))
    elif when == "finish":
        place.finishing = failing(wrong)
    else:
        place.leaving = failing(wrong)
    assert await worker.close()
    assert place.end_thread
    assert place.crash is wrong


def test_a_loop_that_is_gone_first_is_no_trouble() -> None:
    place = Place()
    hanging = Hanging()

    async def leave() -> Worker:
        worker = place.worker()
        await worker.open()
        worker.ask(hanging)
        worker.ask(partial(place.tell, "asked"))
        await until(hanging.is_held.is_set)
        return worker

    worker = asyncio.run(leave())
    worker.begin_close()
    hanging.go_on.set()
    worker._thread.join(LIMIT_SECONDS)
    assert not worker.is_alive
    assert place.told == ["open", "asked", "finish", "leave"]
    assert place.crash is None
