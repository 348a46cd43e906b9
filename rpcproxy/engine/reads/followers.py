"""Those who followed a flight that failed: they ask again themselves, together where they can.

No state.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import msgspec

from rpcproxy.engine import tasks
from rpcproxy.engine.answers.sharing import Follower, Sharing, SlowFlight
from rpcproxy.engine.attempts.calls import SingleCall
from rpcproxy.engine.attempts.executor import Executor, Settled
from rpcproxy.engine.clock import Clock
from rpcproxy.engine.reads.endings import Endings, OpenRead
from rpcproxy.engine.reads.patience import LEAST_AGAIN_SECONDS
from rpcproxy.engine.reads.profiles import Profiles
from rpcproxy.engine.reads.terms import Terms


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
        self._terms = terms
        self._sharing = sharing
        self._endings = endings
        self._now = clock.monotonic

    def relaunch(self, followers: Sequence[Follower]) -> None:
        """The one that they followed failed. They ask again together, where time is left; those
        that ask another thing by now (the head has moved) apart from each other.
        """
        groups: dict[bytes, tuple[SingleCall, list[Follower]]] = {}
        for follower in followers:
            profile = self._profiles.of(follower.request.method)
            call = self._profiles.prepare(follower.request, profile)
            groups.setdefault(call.poison_key, (call, []))[1].append(follower)
        for call, group in groups.values():
            tasks.start(self._ask_again(call, group), "followers ask again")

    async def _ask_again(self, call: SingleCall, followers: list[Follower]) -> None:
        flight = SlowFlight()
        flight.followers = followers
        if call.key:
            self._sharing.flights.setdefault(call.key, flight)
        last = max(followers, key=lambda follower: follower.started)
        read = self._read_of(last, call, flight)
        ask = functools.partial(self._ask, read)
        everybody: list[Follower] = []
        try:
            settled = await self._endings.reach(read, ask)
            everybody = _taken_off(flight)
            waiting = self._still_asking(call, settled, everybody)
        except Exception:  # noqa: BLE001 - logged; each gets its answer whatever it was
            everybody = everybody or _taken_off(flight)
            if not everybody:
                self._endings.land(read, None)
            for follower in everybody:
                follower.is_over = True
                follower.deliver(self._endings.fail(self._read_of(follower, call, flight)))
            return
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
            follower.is_over = True
            follower.deliver(self._endings.settle(self._read_of(follower, call, flight), settled))

    async def _ask(self, read: OpenRead) -> Settled:
        """In the time that is left to the last of them."""
        left = read.profile.policy.deadline_seconds - (self._now() - read.started)
        policy = self._terms.within(max(left, LEAST_AGAIN_SECONDS), read.call, read.profile)
        return await self._executor.run(read.call, policy)

    def _still_asking(
        self, call: SingleCall, settled: Settled, waiting: list[Follower]
    ) -> list[Follower]:
        """Those whom this answers. Where the question has changed on the way, for some of them in
        another way, those ask again.
        """
        if settled.key in (None, call.key):
            return waiting
        keys = [
            self._profiles.prepare(each.request, self._profiles.of(each.request.method)).key
            for each in waiting
        ]
        pairs = list(zip(waiting, keys, strict=True))
        self.relaunch([follower for follower, key in pairs if key != settled.key])
        return [follower for follower, key in pairs if key == settled.key]

    def _read_of(self, follower: Follower, call: SingleCall, flight: SlowFlight) -> OpenRead:
        request = follower.request
        profile = self._profiles.of(request.method)
        return OpenRead(request, profile, call, flight, follower.started, follower.trace_id)


def _taken_off(flight: SlowFlight) -> list[Follower]:
    """Those who still wait; from now on the flight has no followers."""
    waiting = [follower for follower in flight.followers or () if not follower.is_over]
    flight.followers = None
    return waiting
