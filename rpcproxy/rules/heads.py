"""Heads: what each upstream told, and the *served* head that answers are given from.

*Known* heads are one upstream's (``HeadTrack``). The *served* head is the chain's and never
decreases; it advances to N when
- a majority of the usable upstreams reached N, or
- two of different providers (one, where at most two are usable) have had N for half a block time,
  at most 2 s. So a slow majority does not hold it back.
A lone claim above what the time since allows moves nothing.

``reference`` is what lag is counted from: like the served head, but backed by two upstreams where
there are two, so that a lone liar heard first at start-up does not make everyone else look late.

State: ``HeadTrack`` per upstream, ``Heads`` per chain; written by ``Standings.observe`` and
``tick`` alone. Heads keep their hashes, for linking them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from rpcproxy.messages import Head

REPORTS: Final = 10
LONGEST_HOLD_SECONDS: Final = 2.0
# Who claims a number far above is a liar only when more than half of the others have reported this
# much later and are not there: until then it may be the first to tell of a jump. Longer than an
# answer is on its way.
CONTRADICTION_SECONDS: Final = 1.0
# A lone upstream's claim far above needs to last this long: after a laptop slept, the heads jump
# further than the (monotonic) clock says.
LONE_JUMP_SECONDS: Final = 5.0
SLACK_BLOCKS: Final = 10
HALT_SECONDS: Final = 20.0
HALT_BLOCKS: Final = 5
STALL_SECONDS: Final = 5.0
STALL_BLOCKS: Final = 3
# Block times are measured over at least this many blocks and seconds.
MEASURE_BLOCKS: Final = 10
MEASURE_SECONDS: Final = 30.0


class HeadTrack:
    """The last ten head reports of one upstream.

    ``head`` is the highest of them. ``low_water`` is how far up it can be relied on: behind one
    URL may stand several machines, and where reports fell back by d blocks within the last ten,
    a request may meet a machine d blocks behind. A row of growing numbers falls back by nothing.
    """

    __slots__ = ("_climb", "_reports", "head", "low_water", "moved_at", "number", "reported_at")

    def __init__(self) -> None:
        self.head: Head | None = None
        self.number = -1
        self.low_water = -1
        self.moved_at = -math.inf
        self.reported_at = -math.inf
        self._reports: deque[Head] = deque(maxlen=REPORTS)
        # New highs with the time of the first report: what it has had for how long.
        self._climb: deque[tuple[int, float]] = deque(maxlen=32)

    def report(self, head: Head, now: float) -> bool:
        """Take in a report; whether ``number`` or ``low_water`` changed."""
        if head.number < 0:
            return False
        before = (self.number, self.low_water)
        self._reports.append(head)
        self.reported_at = now
        top = fallen = -1
        highest = head
        for told in self._reports:
            if told.number >= top:
                top = told.number
                highest = told
            fallen = max(fallen, top - told.number)
        if top != self.number:
            self.moved_at = now
        self.head = highest
        self.number = top
        self.low_water = max(0, top - fallen)
        while self._climb and self._climb[-1][0] > top:
            self._climb.pop()
        if not self._climb or self._climb[-1][0] < top:
            self._climb.append((top, now))
        return before != (self.number, self.low_water)

    def number_since(self, cutoff: float) -> int:
        """The highest number that it has had since ``cutoff`` or longer, −1 for none."""
        for number, at in reversed(self._climb):
            if at <= cutoff:
                return number
        return -1

    def still_seconds(self) -> float:
        """For how long its reports have said the same, by the last of them."""
        return self.reported_at - self.moved_at if self.head is not None else 0.0

    def copy(self) -> HeadTrack:
        twin = HeadTrack()
        twin.head, twin.number, twin.low_water = self.head, self.number, self.low_water
        twin.moved_at, twin.reported_at = self.moved_at, self.reported_at
        twin._reports.extend(self._reports)
        twin._climb.extend(self._climb)
        return twin


class Claimant(Protocol):
    """Who tells heads: a standing."""

    @property
    def provider(self) -> str: ...
    @property
    def track(self) -> HeadTrack: ...


class Heads:
    """``served`` is −1 while nothing is known; ``moved_at`` is when it last moved."""

    __slots__ = (
        "_anchor",
        "_backed",
        "_backed_at",
        "_first_claim_at",
        "_reference_at",
        "block_time_seconds",
        "is_halted",
        "moved_at",
        "reference",
        "served",
        "served_head",
    )

    def __init__(self, block_time_seconds: float) -> None:
        self.block_time_seconds = block_time_seconds
        self.served = -1
        self.served_head: Head | None = None
        self.reference = -1
        self.moved_at = -math.inf
        self.is_halted = False
        self._backed = -1
        self._backed_at = -math.inf
        self._reference_at = -math.inf
        self._first_claim_at = math.inf
        self._anchor: tuple[int, float] | None = None

    @property
    def hold_seconds(self) -> float:
        """For how long two upstreams must have had a block that the majority lacks."""
        return min(LONGEST_HOLD_SECONDS, self.block_time_seconds / 2.0)

    @property
    def stall_seconds(self) -> float:
        """A head that stands still for longer, while the chain moves, is stalled."""
        return max(STALL_SECONDS, STALL_BLOCKS * self.block_time_seconds)

    @property
    def halt_seconds(self) -> float:
        """All heads standing still for longer: the chain stands."""
        return max(HALT_SECONDS, HALT_BLOCKS * self.block_time_seconds)

    def highest_plausible(self, now: float) -> int:
        """The highest number that time allows: blocks at twice the usual rate since the last
        move, and some slack. Anything, while nothing is known.
        """
        if self.reference < 0:
            return 2**63
        return self._grown(self.reference, self._reference_at, now)

    def is_lone_claim(self, claimant: Claimant, usable: Sequence[Claimant], since: float) -> bool:
        """Whether others have contradicted what it has claimed ``since``: more than half of them
        have reported later, and nobody is as high.
        """
        others = [
            other.track
            for other in usable
            if other.track is not claimant.track and other.track.head is not None
        ]
        newer = sum(track.reported_at >= since + CONTRADICTION_SECONDS for track in others)
        ceiling = claimant.track.number - SLACK_BLOCKS
        return newer * 2 > len(others) and all(track.number < ceiling for track in others)

    def _grown(self, number: int, at: float, now: float) -> int:
        passed = max(0.0, now - at)
        return number + SLACK_BLOCKS + int(2.0 * passed / self.block_time_seconds)

    def settle(self, usable: Sequence[Claimant], expected: int, now: float) -> bool:
        """Recompute from the usable upstreams' claims; ``expected`` is how many may yet be heard.
        True when ``served`` or ``reference`` moved.
        """
        count = len(usable)
        if not count or not self._has_heard_enough(usable, expected, now):
            return False
        before = (self.served, self.reference)
        plausible = self.highest_plausible(now)
        numbers = sorted((claimant.track.number for claimant in usable), reverse=True)
        majority = numbers[count // 2]
        if count == 1 and majority > plausible:
            lasting = usable[0].track.number_since(now - LONE_JUMP_SECONDS)
            majority = max(self.reference, lasting)
        pair, alone = self._held(usable, now)
        # Two upstreams, or a majority of two or more, agree on this.
        backed = max(pair, majority if count > 1 else -1)
        agreed = max(majority, pair)
        if count <= 2 and alone <= plausible:
            agreed = max(agreed, alone)
        if agreed < 0:
            return False
        # What was backed goes on in the word of the last one left: those that come back behind it
        # are late, many as they may be.
        if (
            count <= 2
            and self._backed >= 0
            and agreed <= self._grown(self._backed, self._backed_at, now)
        ):
            backed = max(backed, agreed)
        if backed > self._backed:
            self._backed, self._backed_at = backed, now
        if (reference := max(self._backed, agreed)) != self.reference:
            self.reference = reference
            self._reference_at = now
        if agreed > self.served:
            self._advance(agreed, usable, now)
        return before != (self.served, self.reference)

    def _has_heard_enough(self, usable: Sequence[Claimant], expected: int, now: float) -> bool:
        """At start-up the first voice alone is not believed at once: it may be the liar."""
        if self.served >= 0:
            return True
        heard = sum(claimant.track.number >= 0 for claimant in usable)
        if not heard:
            return False
        self._first_claim_at = min(self._first_claim_at, now)
        return heard * 2 > expected or now - self._first_claim_at >= LONGEST_HOLD_SECONDS

    def _held(self, usable: Sequence[Claimant], now: float) -> tuple[int, int]:
        """The highest numbers that two of different providers, and that anyone, have had for
        the hold time.
        """
        cutoff = now - self.hold_seconds
        best = second = -1
        best_provider = ""
        for claimant in usable:
            number = claimant.track.number_since(cutoff)
            if number > best:
                if claimant.provider != best_provider:
                    second = best
                best, best_provider = number, claimant.provider
            elif number > second and claimant.provider != best_provider:
                second = number
        return second, best

    def _advance(self, number: int, usable: Sequence[Claimant], now: float) -> None:
        self.served = number
        self.moved_at = now
        self.served_head = next(
            (
                claimant.track.head
                for claimant in usable
                if claimant.track.head is not None and claimant.track.head.number == number
            ),
            Head(number),
        )
        self._measure(number, now)

    def _measure(self, number: int, now: float) -> None:
        """Learn the block time: registries are wrong about several chains."""
        if self._anchor is None:
            self._anchor = (number, now)
            return
        blocks, seconds = number - self._anchor[0], now - self._anchor[1]
        if blocks < MEASURE_BLOCKS or seconds < MEASURE_SECONDS:
            return
        # A jump after an outage or a sleep is no measure.
        measured = min(4.0, max(0.25, seconds / blocks / self.block_time_seconds))
        self.block_time_seconds *= 1.0 + 0.3 * (measured - 1.0)
        self._anchor = (number, now)

    def settle_halt(self, usable: Sequence[Claimant]) -> bool:
        """Whether ``is_halted`` changed. The chain stands when every usable upstream's reports
        have said the same for long; upstreams that do not report say nothing.
        """
        known = [claimant.track for claimant in usable if claimant.track.head is not None]
        is_halted = bool(known) and all(
            track.still_seconds() >= self.halt_seconds for track in known
        )
        if is_halted == self.is_halted:
            return False
        self.is_halted = is_halted
        self._anchor = None
        return True

    def adopt(self, old: Heads) -> None:
        """A reload: go on from what was served."""
        for name in self.__slots__:
            if name != "block_time_seconds":
                setattr(self, name, getattr(old, name))
