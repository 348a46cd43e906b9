"""Those who followed a flight that failed: they ask again themselves, together where they can.

No state.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence

import msgspec

from rpcproxy.clock import Clock
from rpcproxy.engine import tasks
from rpcproxy.engine.answers.sharing import Follower, Sharing, SlowFlight
from rpcproxy.engine.attempts.calls import SingleCall
from rpcproxy.engine.attempts.executor import Executor, Settled
from rpcproxy.engine.attempts.tries import Notes
from rpcproxy.engine.reads.endings import Endings, GoOn, OpenRead
from rpcproxy.engine.reads.patience import LEAST_AGAIN_SECONDS
from rpcproxy.engine.reads.profiles import Profiles
from rpcproxy.engine.reads.terms import Terms
from rpcproxy.messages import Caller

_log = logging.getLogger("rpcproxy.requests")


class Followers:
    """See the module's docstring. One per chain."""

    def __init__(
        self,
        executor: Executor,
        profiles: Profiles,
        terms: Terms,
        sharing: Sharing,
        endings: Endings,
        *,
        clock: Clock,
    ) -> None:
        self._executor = executor
        self._profiles = profiles
        self._describe = profiles.describe
        self._terms = terms
        self._sharing = sharing
        self._endings = endings
        self._now = clock.monotonic

    def relaunch(self, followers: Sequence[Follower]) -> None:
        """The one that they followed failed. They ask again together, where time is left; those
        that ask another thing by now (the head has moved) apart from each other. Never raises:
        whose question cannot be told any more is told so. After a reload they go on, one by one,
        where others are asked.
        """
        if self._endings.go_on is not None:
            for follower in followers:
                tasks.start(self._go_on(self._endings.go_on, follower), "follower goes on")
            return
        groups: dict[bytes, tuple[SingleCall, list[Follower]]] = {}
        lost: list[Follower] = []
        trouble: Exception | None = None
        for follower in followers:
            try:
                call = self._call_of(follower)
            except Exception as error:  # noqa: BLE001 - logged below, once for all of them
                trouble = error
                lost.append(follower)
            else:
                groups.setdefault(call.poison_key, (call, []))[1].append(follower)
        for call, group in groups.values():
            tasks.start(self._ask_again(call, group), "followers ask again")
        if trouble is not None:
            self._fail(lost, trouble)

    async def _ask_again(self, call: SingleCall, followers: list[Follower]) -> None:
        flight = SlowFlight()
        flight.followers = followers
        if call.key:
            self._sharing.flights.setdefault(call.key, flight)
        last = max(followers, key=lambda follower: follower.started)
        read = self._read_of(last, call, flight)
        try:
            settled = await self._endings.reach(read, functools.partial(self._ask, read))
        except Exception as error:  # noqa: BLE001 - logged; each gets its answer whatever it was
            everybody = _taken_off(flight)
            self._endings.land(read, None)
            self._fail(everybody, error)
            return
        if settled.exhausted and self._endings.go_on is not None:
            everybody = _taken_off(flight)
            self._endings.land(read, None)
            self.relaunch(everybody)
            return
        waiting, others = self._still_asking(call, settled, _taken_off(flight))
        self.relaunch(others)
        if not waiting:
            self._endings.land(read, settled)
            settled.close()
        elif settled.reply is not None and settled.reply.rest is not None:
            # Too large to hold, and so for one alone.
            for follower in waiting[1:]:
                apart = msgspec.structs.replace(call, key=b"")
                tasks.start(self._ask_again(apart, [follower]), "follower asks alone")
            del waiting[1:]
        for follower in waiting:
            follower.end(self._endings.settle(self._read_of(follower, call, flight), settled))

    async def _go_on(self, go_on: GoOn, follower: Follower) -> None:
        try:
            answer = await go_on(follower.request, Caller(follower.trace_id))
        except Exception as error:  # noqa: BLE001 - logged; it gets its answer whatever it was
            self._fail([follower], error)
            return
        if not follower.is_over:
            follower.end(answer)
        elif answer.rest is not None:
            answer.rest.close()

    def _fail(self, followers: Sequence[Follower], error: Exception) -> None:
        """What failed, failed for all of them: it is logged once, and each is told so."""
        trace_ids = [follower.trace_id for follower in followers]
        _log.error("request failed", exc_info=error, extra={"trace_id": ",".join(trace_ids[:1])})
        for follower in followers:
            request, started = follower.request, follower.started
            method_class = self._describe(request.method).method_class
            follower.end(self._endings.failed(request, method_class, started, follower.trace_id))

    async def _ask(self, read: OpenRead) -> Settled:
        """In the time that is left to the last of them."""
        left = read.profile.policy.deadline_seconds - (self._now() - read.started)
        policy = self._terms.within(max(left, LEAST_AGAIN_SECONDS), read.call, read.profile)
        return await self._executor.run(read.call, policy, notes=Notes(first="again"))

    def _still_asking(
        self, call: SingleCall, settled: Settled, everybody: list[Follower]
    ) -> tuple[list[Follower], list[Follower]]:
        """Those whom this answers, and the others: where the question has changed on the way, for
        some of them in another way, those ask again.
        """
        if settled.key in (None, call.key):
            return everybody, []
        waiting: list[Follower] = []
        others: list[Follower] = []
        for follower in everybody:
            try:
                is_same = self._call_of(follower).key == settled.key
            except Exception:  # noqa: BLE001 - whoever asks for it again meets it, and logs it
                is_same = False
            (waiting if is_same else others).append(follower)
        return waiting, others

    def _call_of(self, follower: Follower) -> SingleCall:
        """What it asks by now."""
        request = follower.request
        return self._profiles.prepare(request, self._profiles.of(request.method))

    def _read_of(self, follower: Follower, call: SingleCall, flight: SlowFlight) -> OpenRead:
        request = follower.request
        profile = self._profiles.of(request.method)
        return OpenRead(request, profile, call, flight, follower.started, follower.trace_id)


def _taken_off(flight: SlowFlight) -> list[Follower]:
    """Those who still wait; from now on the flight has no followers."""
    waiting = [follower for follower in flight.followers or () if not follower.is_over]
    flight.followers = None
    return waiting
