"""Limits: what an upstream may be asked, and what retries and hedges may cost.

``TokenBucket`` is the arithmetic. ``Rates`` is one upstream's: a configured rate, and one learned
from its refusals (after AIMD: cut to 0.7 of what was refused, 5 % a second back). ``Cooldown`` is
the pause after a refusal. ``RetryBudget`` (Finagle, Envoy: 20 % of the requests and 10/s, over
10 s) and ``HedgeAllowance`` (The Tail at Scale: a few percent) are shared by a chain's requests.
State: one object each, written by ``Standings`` or the executor.
"""

from __future__ import annotations

import copy
import math
from typing import Final

LEARNED_CUT: Final = 0.7
LEARNED_GROWTH_PER_SECOND: Final = 0.05
LEARNED_FLOOR_PER_SECOND: Final = 1.0
# A learned rate this many times over what was refused is no limit any more.
LEARNED_FORGET_FACTOR: Final = 4.0

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
    """Holds one second's worth, one token at least. May go into debt by as much, since its
    limit is soft: where nobody else can serve, a request goes out all the same.
    """

    __slots__ = ("_filled_at", "_tokens", "burst", "rate")

    def __init__(self, rate_per_second: float, now: float) -> None:
        self.rate = rate_per_second
        self.burst = max(1.0, rate_per_second)
        self._tokens = self.burst
        self._filled_at = now

    def set_rate(self, rate_per_second: float) -> None:
        self.rate = rate_per_second
        self.burst = max(1.0, rate_per_second)
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
    """How often one upstream is asked, and how often it may be."""

    __slots__ = (
        "_counted_since",
        "_last_rate",
        "_refused_rate",
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
        self._counted_since = now
        self._last_rate = 0.0
        self._refused_rate = 0.0

    def adopt(self, old: Rates) -> None:
        """A reload: keep what was learned."""
        self.learned = copy.copy(old.learned)
        self.is_limited = self.configured is not None or self.learned is not None
        self._refused_rate = old._refused_rate
        self._last_rate = old._last_rate

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
        """Attempts per second over the last second or two."""
        gap = now - self._counted_since
        return max(self._last_rate, self.sent / gap if gap > 0.2 else 0.0)

    def on_refused(self, now: float) -> None:
        """It said that this was too much: learn less than that."""
        measured = self.measured(now)
        known = measured if self.learned is None else min(measured, self.learned.rate)
        rate = max(LEARNED_FLOOR_PER_SECOND, known * LEARNED_CUT)
        self._refused_rate = max(measured, rate)
        if self.learned is None:
            self.learned = TokenBucket(rate, now)
            self.is_limited = True
        else:
            self.learned.set_rate(rate)

    def settle(self, elapsed_seconds: float, now: float) -> bool:
        """Time passed. True when a learned limit was forgotten."""
        gap = now - self._counted_since
        if gap >= 1.0:
            self._last_rate = self.sent / gap
            self.sent = 0
            self._counted_since = now
        if self.learned is None:
            return False
        rate = self.learned.rate * (1.0 + LEARNED_GROWTH_PER_SECOND * elapsed_seconds)
        if rate > LEARNED_FORGET_FACTOR * self._refused_rate:
            self.learned = None
            self.is_limited = self.configured is not None
            return True
        self.learned.set_rate(rate)
        return False


class Cooldown:
    """The pause that an upstream asked for, or that we take where it did not say."""

    __slots__ = ("_began_at", "_level", "until")

    def __init__(self) -> None:
        self.until = 0.0
        self._began_at = -math.inf
        self._level = 0

    def on_refused(
        self, hint_seconds: float | None, begun_at: float, now: float, *, is_quota: bool
    ) -> bool:
        """``hint_seconds`` is its own word, ``begun_at`` when the refused attempt was sent.
        False when the attempt was already under way as the pause began, which teaches nothing.
        """
        is_old_news = begun_at <= self._began_at and not is_quota
        if hint_seconds is not None and hint_seconds > 0.0:
            longest = LONGEST_QUOTA_SECONDS if is_quota else LONGEST_HINT_SECONDS
            self.until = max(self.until, now + min(hint_seconds, longest))
        elif is_quota:
            self.until = max(self.until, now + QUOTA_SECONDS)
        elif not is_old_news:
            if now - self.until > COOLDOWN_MEMORY_SECONDS:
                self._level = 0
            seconds = FIRST_COOLDOWN_SECONDS * 2.0 ** min(self._level, 10)
            self.until = max(self.until, now + min(seconds, LONGEST_COOLDOWN_SECONDS))
            self._level += 1
        if not is_old_news:
            self._began_at = now
        return not is_old_news


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
