"""Limits: what an upstream may be asked, and what retries and hedges may cost.

``TokenBucket`` is the arithmetic. ``Rates`` is one upstream's: a configured rate, and one learned
from its refusals. ``Cooldown`` is the pause after a refusal. ``RetryBudget`` (Finagle, Envoy: 20 %
of the requests and 10/s, over 10 s) and ``HedgeAllowance`` (The Tail at Scale: a few percent) are
shared by a chain's requests. State: one object each, written by ``Standings`` or the executor.
"""

from __future__ import annotations

import copy
import math
from typing import Final

# A refusal cuts what was believed to be bearable to this share of what was measured; of what was
# believed before, no less than the second is left: one refusal in a lull proves little.
FIRST_CUT: Final = 0.7
LATER_CUT: Final = 0.85
DEEPEST_CUT: Final = 0.6
# Refused again before anything was answered: that speaks of the moment, not of our rate. The
# allowance is halved, and doubles as quickly up to what was borne before (TCP's slow start).
DOUBLING_SECONDS: Final = 0.5
# Above that it grows by so much a second, and by so much more for each second that passed without
# a refusal (as CUBIC does): slow beside a limit that is there, quick past one that is gone.
GROWTH_PER_SECOND: Final = 0.01
GROWTH_GAIN_PER_SECOND: Final = 0.005
LEARNED_FLOOR_PER_SECOND: Final = 1.0
# No refusal for so long: there is no limit any more.
LEARNED_FORGET_SECONDS: Final = 15.0
# A learned limit is often counted in short windows: it is spent evenly.
LEARNED_BURST_SECONDS: Final = 0.2
# What was borne is believed a little less each second.
PROVEN_FADE_PER_SECOND: Final = 0.02

FIRST_COOLDOWN_SECONDS: Final = 1.0
LONGEST_COOLDOWN_SECONDS: Final = 60.0
LONGEST_HINT_SECONDS: Final = 600.0
COOLDOWN_MEMORY_SECONDS: Final = 60.0
# A monthly or daily quota: asked again now and then, since plans get upgraded.
QUOTA_SECONDS: Final = 900.0
LONGEST_QUOTA_SECONDS: Final = 6 * 3600.0

RETRY_SHARE: Final = 0.2
RETRY_FLOOR_PER_SECOND: Final = 10.0
RETRY_WINDOW_SECONDS: Final = 10.0
HEDGE_SHARE: Final = 0.05
HEDGE_BURST: Final = 10.0


class TokenBucket:
    """Holds ``burst_seconds`` worth, one token at least. May go into debt by as much, since its
    limit is soft: where nobody else can serve, a request goes out all the same.
    """

    __slots__ = ("_burst_seconds", "_filled_at", "_tokens", "burst", "rate")

    def __init__(self, rate_per_second: float, now: float, burst_seconds: float = 1.0) -> None:
        self._burst_seconds = burst_seconds
        self.rate = rate_per_second
        self.burst = max(1.0, rate_per_second * burst_seconds)
        self._tokens = self.burst
        self._filled_at = now

    def set_rate(self, rate_per_second: float) -> None:
        self.rate = rate_per_second
        self.burst = max(1.0, rate_per_second * self._burst_seconds)
        self._tokens = min(self._tokens, self.burst)

    def tokens(self, now: float) -> float:
        """How many there are; negative in debt."""
        gap = now - self._filled_at
        if gap > 0.0:
            self._tokens = min(self.burst, self._tokens + gap * self.rate)
            self._filled_at = now
        return self._tokens

    def take(self, now: float, count: float = 1.0) -> None:
        self._tokens = max(-self.burst, self.tokens(now) - count)


class Rates:
    """How often one upstream is asked, and how often it may be. ``sent`` counts all calls.

    The *proven* rate is what it bore lately, by whole seconds in which it refused nothing.
    """

    __slots__ = (
        "_counted",
        "_counted_since",
        "_has_refused",
        "_last_rate",
        "_proven",
        "_quiet_since",
        "_sent_at_pause",
        "configured",
        "is_limited",
        "learned",
        "sent",
    )

    def __init__(self, configured_per_second: float | None, now: float) -> None:
        self.configured = (
            None if configured_per_second is None else TokenBucket(configured_per_second, now)
        )
        self.learned: TokenBucket | None = None
        self.is_limited = self.configured is not None
        self.sent = 0
        self._counted = 0
        self._counted_since = now
        self._last_rate = 0.0
        self._proven = 0.0
        self._has_refused = False
        self._quiet_since = now
        self._sent_at_pause = 0

    def adopt(self, old: Rates) -> None:
        """A reload: keep what was learned."""
        self.learned = copy.copy(old.learned)
        self.is_limited = self.configured is not None or self.learned is not None
        self._last_rate = old._last_rate
        self._proven = old._proven
        self._quiet_since = old._quiet_since

    def take(self, now: float, count: float = 1.0) -> None:
        """An attempt of ``count`` calls goes out."""
        if self.configured is not None:
            self.configured.take(now, count)
        if self.learned is not None:
            self.learned.take(now, count)

    def level(self, now: float) -> float:
        """How full the emptier bucket is: 1 full, 0 or less when the next call is one too many."""
        level = 1.0
        for bucket in (self.configured, self.learned):
            if bucket is not None:
                # One whole token is needed to send, so a bucket below one token is empty.
                tokens = bucket.tokens(now)
                level = min(level, tokens / bucket.burst if tokens >= 1.0 else 0.0)
        return level

    def measured(self, now: float) -> float:
        """Calls per second over the last second or two."""
        gap = now - self._counted_since
        return max(self._last_rate, (self.sent - self._counted) / gap if gap > 0.2 else 0.0)

    def has_answered(self, in_flight: int) -> bool:
        """Whether it took a call since the last pause, the one that was just refused apart."""
        return self.sent - self._sent_at_pause - in_flight > 1

    def on_refused(self, now: float, *, is_rate: bool = True) -> None:
        """It said that this was too much. ``is_rate`` ``False``: it refused the first call after
        a pause, which says nothing of how many it bears.
        """
        self._has_refused = True
        self._quiet_since = now
        if self.learned is None:
            self._proven = max(FIRST_CUT * self.measured(now), DEEPEST_CUT * self._proven)
            self._allow(self._proven, now)
        elif is_rate:
            measured = min(self.measured(now), self.learned.rate)
            self._proven = max(LATER_CUT * measured, DEEPEST_CUT * self._proven)
            self._allow(self._proven, now)
        else:
            self._allow(self.learned.rate / 2.0, now)

    def _allow(self, rate_per_second: float, now: float) -> None:
        rate = max(LEARNED_FLOOR_PER_SECOND, rate_per_second)
        if self.learned is None:
            self.learned = TokenBucket(rate, now, LEARNED_BURST_SECONDS)
            self.is_limited = True
        else:
            self.learned.set_rate(rate)

    def on_pause_over(self, now: float) -> None:
        """It is asked again after a cooldown: what was counted before says nothing."""
        self._quiet_since = self._counted_since = now
        self._sent_at_pause = self._counted = self.sent
        self._last_rate = 0.0
        self._has_refused = False

    def settle(self, elapsed_seconds: float, now: float, *, is_paused: bool = False) -> bool:
        """Time passed. True when a learned limit was forgotten. Nothing is learned in a pause."""
        if is_paused:
            return False
        gap = now - self._counted_since
        if gap >= 1.0:
            self._count(gap, now)
        if self.learned is None:
            return False
        quiet_seconds = now - self._quiet_since
        if quiet_seconds > LEARNED_FORGET_SECONDS:
            self.learned = None
            self.is_limited = self.configured is not None
            return True
        rate = self.learned.rate
        # The time since the last tick may be an hour's sleep.
        seconds = min(elapsed_seconds, quiet_seconds)
        if rate < self._proven:
            rate = min(self._proven, rate * 2.0 ** (seconds / DOUBLING_SECONDS))
        else:
            growth = GROWTH_PER_SECOND + GROWTH_GAIN_PER_SECOND * quiet_seconds
            rate *= 1.0 + growth * seconds
        self.learned.set_rate(rate)
        return False

    def _count(self, gap: float, now: float) -> None:
        """A second's calls are complete."""
        self._last_rate = (self.sent - self._counted) / gap
        self._counted = self.sent
        self._counted_since = now
        self._proven *= 1.0 - min(1.0, PROVEN_FADE_PER_SECOND * gap)
        if not self._has_refused:
            self._proven = max(self._proven, self._last_rate)
        self._has_refused = False


class Cooldown:
    """The pause that an upstream asked for, or that we take where it did not say. Ours begins
    with a second, and doubles when the first call after it is refused as well.
    """

    __slots__ = ("_began_at", "_level", "_word_until", "until")

    def __init__(self) -> None:
        self.until = 0.0
        self._began_at = -math.inf
        self._word_until = -math.inf
        self._level = 0

    def on_refused(
        self,
        hint_seconds: float | None,
        begun_at: float,
        now: float,
        *,
        is_quota: bool = False,
        is_again: bool = True,
    ) -> bool:
        """``hint_seconds`` is its own word, ``begun_at`` when the refused attempt was sent,
        ``is_again``: nothing was answered since the last pause.
        False when the attempt was already under way as the pause began, which teaches nothing,
        or was made in spite of it, which teaches that it must last.
        """
        is_old_news = begun_at <= self._began_at and not is_quota
        is_pausing = now < self.until and not is_quota
        if hint_seconds is not None and hint_seconds > 0.0:
            longest = LONGEST_QUOTA_SECONDS if is_quota else LONGEST_HINT_SECONDS
            self._keep_word(now + min(hint_seconds, longest))
        elif is_quota:
            self._keep_word(now + QUOTA_SECONDS)
        elif is_pausing and not is_old_news:
            self.until = max(self.until, now + FIRST_COOLDOWN_SECONDS)
        elif not is_old_news:
            if not is_again or now - self.until > COOLDOWN_MEMORY_SECONDS:
                self._level = 0
            seconds = FIRST_COOLDOWN_SECONDS * 2.0 ** min(self._level, 10)
            self.until = max(self.until, now + min(seconds, LONGEST_COOLDOWN_SECONDS))
            self._level += 1
        if not is_old_news:
            self._began_at = now
        return not is_old_news and not is_pausing

    def _keep_word(self, until: float) -> None:
        self.until = max(self.until, until)
        self._word_until = max(self._word_until, until)

    def on_clean_probe(self, begun_at: float, now: float, *, is_needed: bool) -> None:
        """It answers again: the pause is over a second after its last refusal, but not before the
        time that it asked for. At once where ``is_needed``: nobody else can serve.
        """
        if is_needed:
            self.until = min(self.until, now)
        elif begun_at > self._began_at:
            soonest = max(self._word_until, self._began_at + FIRST_COOLDOWN_SECONDS, now)
            self.until = min(self.until, soonest)


class RetryBudget:
    """Retries may cost a fifth of the last ten seconds' requests, and ten a second besides."""

    __slots__ = ("_earned", "_floor", "_settled_at")

    def __init__(self, now: float = 0.0) -> None:
        self._earned = 0.0
        self._floor = RETRY_FLOOR_PER_SECOND * RETRY_WINDOW_SECONDS
        self._settled_at = now

    def _settle(self, now: float) -> None:
        gap = now - self._settled_at
        # Often enough for the decay, seldom enough for the hot path.
        if gap < 0.05:
            return
        self._settled_at = now
        self._earned *= math.exp(-gap / RETRY_WINDOW_SECONDS)
        full = RETRY_FLOOR_PER_SECOND * RETRY_WINDOW_SECONDS
        self._floor = min(full, self._floor + gap * RETRY_FLOOR_PER_SECOND)

    def on_request(self, now: float, count: int = 1) -> None:
        """Clients' requests came in: a fifth of a retry each is earned, spent or lost in 10 s."""
        self._earned += RETRY_SHARE * count
        self._settle(now)

    def left(self, now: float) -> float:
        """How many retries it would grant at once."""
        self._settle(now)
        return self._earned + self._floor

    def take(self, now: float) -> bool:
        """Pay for one retry; False when there is nothing left."""
        self._settle(now)
        if self._earned >= 1.0:
            self._earned -= 1.0
        elif self._floor >= 1.0:
            self._floor -= 1.0
        else:
            return False
        return True


class HedgeAllowance:
    """Hedges against single slow answers: one for every twenty requests, ten in a burst."""

    __slots__ = ("_tokens", "share")

    def __init__(self, share: float = HEDGE_SHARE) -> None:
        self.share = share
        self._tokens = HEDGE_BURST

    def on_request(self, count: int = 1) -> None:
        tokens = self._tokens + self.share * count
        self._tokens = min(HEDGE_BURST, tokens)

    def left(self) -> float:
        return self._tokens

    def take(self) -> bool:
        """Pay for one hedge; False when there is nothing left."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
