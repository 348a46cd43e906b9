"""The breaker of one upstream and method class: closed, or open until proven well.

Opens on any of:
- three transport failures in a row (refused, broken, no answer in time), or two within two seconds
  where the last could not even connect;
- a balance of five (+1 on failure, −1 on success, never below 0), so that a sustained share of
  failures above one half trips it as well;
- a decaying share of failures above one half, over ten samples at least.

Stays open for 1 s, doubled for every trip that follows a recovery within a minute (flapping), at
most 30 s; failures while it is open do not lengthen that, so that an upstream that was dead for an
hour is back two clean probes after it returns. Closes on two clean answers that began after the
trip, and starts slowly.

State: this object; written by ``standings.Standings.observe`` and ``tick`` alone.
"""

from __future__ import annotations

import math
from typing import Final

from rpcproxy.messages import MethodClass, Verdict
from rpcproxy.states import BreakerState

TRIP_BALANCE: Final = 5
TRIP_TRANSPORT: Final = 3
TRIP_UNREACHABLE: Final = 2
UNREACHABLE_SECONDS: Final = 2.0
TRIP_MUTE: Final = 5
TRIP_SHARE: Final = 0.5
MIN_SAMPLES: Final = 10.0
# One sample weighs a tenth, and all fade with τ = 10 s: at a high rate the share looks at the
# last dozen answers, at a low rate at the last ten seconds.
SHARE_STEP: Final = 0.1
SHARE_TAU_SECONDS: Final = 10.0
# Counts outlive pauses between probes of a minute, where few are paid for.
FORGET_SECONDS: Final = 60.0
# What a recovered upstream begins with: one failure, and others are preferred; three, and it trips.
STREAK_AFTER_RECOVERY: Final = 1
BALANCE_AFTER_RECOVERY: Final = 2

FIRST_OPEN_SECONDS: Final = 1.0
LONGEST_OPEN_SECONDS: Final = 30.0
FLAP_MEMORY_SECONDS: Final = 60.0
CLEAN_NEEDED: Final = 2
SLOW_START_SECONDS: Final = 3.0
SLOW_START_SHARE: Final = 0.1

TRANSPORT: Final = frozenset({Verdict.UNREACHABLE, Verdict.BROKEN, Verdict.TIMEOUT})
# No answer of any kind came back.
MUTE: Final = TRANSPORT | {Verdict.OVERTAKEN}
SLOWNESS: Final = frozenset({Verdict.TIMEOUT, Verdict.OVERTAKEN})


class Breaker:
    """``share`` is the decaying share of failures; ``streak`` counts failures in a row.
    ``healer`` is the class whose clean answers close it. Times are monotonic seconds.
    """

    __slots__ = (
        "_mute",
        "_transport",
        "_trips",
        "_unreachable",
        "balance",
        "clean",
        "closed_at",
        "failed_at",
        "healer",
        "is_open",
        "open_until",
        "reason",
        "samples",
        "share",
        "streak",
        "tripped_at",
        "was_probed",
    )

    def __init__(self, method_class: MethodClass) -> None:
        self.healer = method_class
        self._trips = 0
        self.closed_at = -math.inf
        self.failed_at = -math.inf
        self.tripped_at = -math.inf
        self.reset()

    def reset(self) -> None:
        """Closed, without a memory of failures; flapping stays remembered."""
        self.is_open = False
        self.open_until = 0.0
        self.reason = ""
        self.clean = 0
        self.was_probed = False
        self.balance = 0
        self.streak = 0
        self._transport = 0
        self._mute = 0
        self._unreachable = 0
        self.share = 0.0
        self.samples = 0.0

    @property
    def is_quiet(self) -> bool:
        """Whether a success would change nothing here."""
        return not self.is_open and not self.balance and not self.streak and self.share == 0.0

    @property
    def is_dead(self) -> bool:
        """Whether nothing at all came back lately: the transport fails, not a method."""
        return (
            self._transport >= TRIP_TRANSPORT
            or self._mute >= TRIP_MUTE
            or self._unreachable >= TRIP_UNREACHABLE
        )

    @property
    def is_in_question(self) -> bool:
        """Whether a first connection failed just now: the next attempt says what it was."""
        return self._unreachable > 0 and self.streak == 1

    @property
    def is_early(self) -> bool:
        """Whether two failed connections alone speak against it."""
        return self._unreachable >= TRIP_UNREACHABLE and self._transport < TRIP_TRANSPORT

    @property
    def has_lost_transport(self) -> bool:
        return self._transport >= TRIP_TRANSPORT

    def on_success(self) -> None:
        """A good answer."""
        self.on_answer()
        self.streak = 0
        self.balance = max(0, self.balance - 1)
        self.samples += 1.0
        share = self.share * (1.0 - SHARE_STEP)
        self.share = share if share > 0.005 else 0.0

    def on_answer(self) -> None:
        """An answer of any kind: the transport works."""
        self._transport = 0
        self._mute = 0
        self._unreachable = 0

    def on_failure(self, verdict: Verdict, now: float) -> str:
        """Count a failure. The reason to trip, in words, or ``""``."""
        is_soon = now - self.failed_at <= UNREACHABLE_SECONDS
        self.failed_at = now
        self.balance = min(TRIP_BALANCE, self.balance + 1)
        self.streak += 1
        self.samples += 1.0
        self.share += (1.0 - self.share) * SHARE_STEP
        if verdict in MUTE:
            self._mute += 1
            # Being overtaken proves neither that the transport works nor that it does not.
            self._transport += verdict in TRANSPORT
            if verdict is not Verdict.UNREACHABLE:
                self._unreachable = 0
            else:
                self._unreachable = self._transport if is_soon else 1
        else:
            self.on_answer()
        if self.is_open:
            self.clean = 0
            return ""
        return self._reason_to_trip(verdict)

    def _reason_to_trip(self, verdict: Verdict) -> str:
        label = verdict.label.replace("_", " ")
        if self._transport >= TRIP_TRANSPORT or self._unreachable >= TRIP_UNREACHABLE:
            return f"{self._transport} transport failures in a row, the last: {label}"
        if self.balance >= TRIP_BALANCE:
            return f"failures outweigh answers by {self.balance}, the last: {label}"
        if self.samples >= MIN_SAMPLES and self.share > TRIP_SHARE:
            return f"{self.share:.0%} of its answers fail, the last: {label}"
        return ""

    def trip(self, reason: str, healer: MethodClass, now: float) -> None:
        """Open. ``healer`` is the class that failed, whose clean probes will close it."""
        if now - self.closed_at > FLAP_MEMORY_SECONDS:
            self._trips = 0
        self._trips += 1
        self.is_open = True
        self.reason = reason
        self.healer = healer
        self.clean = 0
        self.was_probed = False
        self.tripped_at = now
        # The exponent is bounded, for an upstream that flaps for days.
        seconds = FIRST_OPEN_SECONDS * 2.0 ** min(self._trips - 1, 10)
        self.open_until = now + min(seconds, LONGEST_OPEN_SECONDS)

    @property
    def is_proven(self) -> bool:
        """Open, though its upstream has answered well since the trip."""
        return self.is_open and self.clean >= CLEAN_NEEDED

    def can_close(self, now: float) -> bool:
        return self.is_proven and now >= self.open_until

    def close(self, now: float) -> None:
        """Recovered: slow start begins."""
        self.reset()
        self.streak = STREAK_AFTER_RECOVERY
        self.balance = BALANCE_AFTER_RECOVERY
        self.closed_at = now

    def ramp(self, now: float) -> float:
        """Share of its traffic that a recovered upstream takes: 0.1 rising to 1."""
        passed = (now - self.closed_at) / SLOW_START_SECONDS
        return min(1.0, max(SLOW_START_SHARE, passed))

    def fade(self, elapsed_seconds: float, now: float) -> None:
        """Time passed: what was counted weighs less."""
        if self.samples:
            kept = math.exp(-elapsed_seconds / SHARE_TAU_SECONDS)
            self.samples *= kept
            share = self.share * kept
            self.share = share if share > 0.005 else 0.0
        if now - self.failed_at > FORGET_SECONDS and not self.is_open:
            self.streak = self._mute = self._transport = self._unreachable = self.balance = 0

    def state(self, now: float) -> str:
        """``closed``, ``open`` or ``half_open``: the word for people."""
        if not self.is_open:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self.open_until else BreakerState.HALF_OPEN
