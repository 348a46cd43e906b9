"""Latency: what an answer is likely to take, and the quantiles that hedging waits for.

*Peak-EWMA* (Finagle): jumps to a worse sample at once, comes back to better ones with a time
constant of ten seconds, and at once where nothing but better ones came for a while: else an
upstream that recovered, and is hardly asked because it was slow, would stay slow for long.
All in seconds of a monotonic clock, which is an argument.
State: the samples of one upstream and method class, or of one chain and method class.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

TAU_SECONDS: Final = 10.0
# Every sample of so many seconds was below this share of what is known: three at least, two where
# they are rare.
BETTER_SHARE: Final = 0.8
BETTER_SECONDS: Final = 1.5
BETTER_LOOKS: Final = 3
RARE_LOOKS: Final = 2
# Samples further apart than this are rare: a look finds one, most likely.
RARE_SECONDS: Final = 0.2
# An unused class drifts towards what its upstream is otherwise known for, so that one bad sample
# of long ago does not keep it from ever being asked again.
IDLE_SECONDS: Final = 10.0
IDLE_TAU_SECONDS: Final = 30.0


def rank_of(samples: list[float], quantile: float) -> float:
    """The sample at ``quantile`` (0 … 1) of a non-empty list."""
    samples.sort()
    return samples[min(len(samples) - 1, int(quantile * len(samples)))]


class Latency:
    """Peak-EWMA of one upstream's good answers. ``seconds`` is 0.0 while nothing is known."""

    __slots__ = (
        "_before_waits",
        "_better_looks",
        "_better_seconds",
        "_better_since",
        "_recent",
        "_seen_seconds",
        "_waited_after",
        "_waited_at",
        "sampled_at",
        "seconds",
        "seen_at",
    )

    def __init__(self) -> None:
        self.seconds = 0.0
        self.sampled_at = 0.0
        self.seen_at = 0.0
        self._seen_seconds = 0.0
        self._waited_after = 0.0
        self._waited_at = -1.0
        self._better_looks = 0
        self._better_seconds = 0.0
        self._better_since = 0.0
        self._before_waits: float | None = None
        self._recent: deque[float] = deque(maxlen=64)

    def add(self, seconds: float, now: float) -> None:
        """A good answer took ``seconds``."""
        gap = now - self.sampled_at
        self.sampled_at = now
        self._recent.append(seconds)
        known = self.seconds
        if seconds >= known:
            self.seconds = seconds
        elif gap > 0.0:
            # gap / (gap + τ) stands for 1 − exp(−gap / τ): the same for short gaps, cheaper.
            self.seconds = known + (seconds - known) * gap / (gap + TAU_SECONDS)

    def add_wait(self, seconds: float, now: float) -> None:
        """``seconds`` passed without an answer: it is at least as slow as that."""
        self.on_trouble(now)
        if seconds > self.seconds:
            if self._before_waits is None:
                self._before_waits = self.seconds
            self.seconds = seconds
            self._waited_after = self.answered_at
            self.sampled_at = self._waited_at = now

    @property
    def answered_at(self) -> float:
        """When the last answer came: waiting in vain is a sample, and no answer."""
        return self._waited_after if self.sampled_at == self._waited_at else self.sampled_at

    @property
    def answered_asked_at(self) -> float:
        """When that was asked for which the last answer came."""
        return self.answered_at - self._recent[-1] if self._recent else -math.inf

    def on_trouble(self, now: float) -> None:
        """It failed: good answers before that do not count as a row."""
        self._better_looks = 0
        self._better_seconds = 0.0
        self._better_since = now

    def settle(self, now: float) -> bool:
        """Look at the samples since the last look; whether they made the estimate jump down.
        Needed only where ``sampled_at`` is not ``seen_at``.
        """
        is_rare = self.sampled_at - self.seen_at > RARE_SECONDS
        self.seen_at = self.sampled_at
        known, seen = self.seconds, self._seen_seconds
        self._seen_seconds = known
        recent = self._recent
        count = 1 if is_rare else BETTER_LOOKS
        newest = max(list(recent)[-count:], default=known)
        if known > seen or newest > BETTER_SHARE * known:
            self.on_trouble(now)
            return False
        self._better_looks += 1
        self._better_seconds = max(self._better_seconds, newest)
        needed = RARE_LOOKS if is_rare else BETTER_LOOKS
        if self._better_looks < needed or now - self._better_since < BETTER_SECONDS:
            return False
        self.restart(self._better_seconds, now)
        return True

    def forget_waits(self) -> None:
        """Recovered: what was waited for in the outage says nothing any more."""
        if self._before_waits is not None:
            self.seconds = self._before_waits
            self._before_waits = None

    def restart(self, seconds: float, now: float) -> None:
        """An answer took ``seconds``, and what was before it counts no more."""
        self.seconds = seconds
        self.sampled_at = self.seen_at = now
        self._seen_seconds = seconds
        self._before_waits = None
        self.on_trouble(now)

    def drift(self, towards: float, elapsed_seconds: float, now: float) -> bool:
        """Let an idle value move towards another; whether it moved."""
        if not self.seconds or not towards or now - self.sampled_at < IDLE_SECONDS:
            return False
        share = elapsed_seconds / (elapsed_seconds + IDLE_TAU_SECONDS)
        self.seconds += (towards - self.seconds) * share
        return True

    def quantile(self, quantile: float) -> float | None:
        """Over the last 64 good answers, ``None`` where there is none."""
        return rank_of(list(self._recent), quantile) if self._recent else None

    def copy(self) -> Latency:
        twin = Latency()
        twin.seconds = self.seconds
        twin.sampled_at = self.sampled_at
        twin.seen_at = self.seen_at
        twin._waited_after = self._waited_after
        twin._waited_at = self._waited_at
        twin._before_waits = self._before_waits
        twin._recent.extend(self._recent)
        return twin


class Window:
    """The last 256 good answers of a method class, whoever gave them, for its p95.

    Sorted anew while it fills up, and then when ``renew`` is called, not for each sample.
    """

    __slots__ = ("_known", "_quantile", "_samples", "_sorted", "add")

    def __init__(self, quantile: float = 0.95) -> None:
        self._samples: deque[float] = deque(maxlen=256)
        self._quantile = quantile
        self._known = 0.0
        self._sorted = 0
        # The deque's own method: a Python frame around it would double its cost.
        self.add = self._samples.append

    def __len__(self) -> int:
        return len(self._samples)

    def value(self) -> float:
        """The quantile, 0.0 without samples."""
        if len(self._samples) != self._sorted:
            self.renew()
        return self._known

    def renew(self) -> None:
        """Sort, and remember the quantile."""
        self._sorted = len(self._samples)
        if self._sorted:
            self._known = rank_of(list(self._samples), self._quantile)

    def copy(self) -> Window:
        twin = Window(self._quantile)
        twin._samples.extend(self._samples)
        return twin
