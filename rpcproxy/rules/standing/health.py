"""What a verdict does to an upstream's health: breakers, cooldowns, exclusions.

Called by ``standings.Standings`` alone, which passes observations in; what turned is appended to
``changes``. State: none of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from rpcproxy.chains.method import Method
from rpcproxy.chains.parts.errors import ReadRange
from rpcproxy.messages import METHOD_CLASSES, Blame, MethodClass, Verdict
from rpcproxy.rules.standing.breaker import SLOWNESS
from rpcproxy.rules.standing.domains import FAILING_SHARE
from rpcproxy.rules.standing.selection import Ranking
from rpcproxy.rules.standing.standing import ClassStanding, Standing
from rpcproxy.states import Change, ChangeKind
from rpcproxy.words import Observation

# Where nobody probes the heavy class, clean light answers close its breaker after this long.
UNPROBED_SECONDS: Final = 5.0
# Method names in texts for people: clients choose them.
SHOWN_METHOD_LENGTH: Final = 64

Changes = list[Change]


class Health:
    """Judges one chain's upstreams."""

    __slots__ = ("_describe", "_ranking", "_read_range")

    def __init__(
        self, ranking: Ranking, describe: Callable[[str], Method], read_range: ReadRange
    ) -> None:
        self._ranking = ranking
        self._describe = describe
        self._read_range = read_range

    # ---- good answers

    def on_good(self, standing: Standing, o: Observation, now: float, changes: Changes) -> None:
        """A good answer, of a client's request or of a probe."""
        record = standing.classes[o.method_class]
        record.breaker.on_success()
        if o.seconds is not None:
            record.latency.add(o.seconds, now)
        standing.exclusions.on_taken(o.method, o.request_bytes, o.shape)
        if o.lowest >= 0 and o.verdict is not Verdict.NULL:
            self.on_reached(standing, o)
        if standing.is_cooling and o.is_probe and o.seconds is not None:
            is_needed = not self._ranking.usable[MethodClass.LIGHT]
            standing.cooldown.on_clean_probe(now - o.seconds, now, is_needed=is_needed)
        # What began before a trip, or at an unknown time, does not close the breaker.
        if o.seconds is None and not o.is_probe:
            return
        begun_at = now - (o.seconds or 0.0)
        for other in standing.classes:
            if other.breaker.is_open and begun_at >= other.breaker.tripped_at:
                self._heal(other, o, now)
        self.close_proven(standing, now, changes)

    def on_reached(self, standing: Standing, o: Observation) -> None:
        """It answered at an old block, or for a range of blocks."""
        standing.exclusions.on_range_taken(o.span)
        data = self._describe(o.method).data
        standing.reach.on_served(o.lowest, standing.track.number, data)

    @staticmethod
    def _heal(record: ClassStanding, o: Observation, now: float) -> None:
        """A clean answer, begun after the trip: does it speak for this open breaker?"""
        breaker = record.breaker
        if o.method_class in (breaker.healer, record.method_class):
            breaker.was_probed = True
        elif o.method_class is not MethodClass.LIGHT:
            return
        elif record.method_class is MethodClass.HEAVY:
            is_unprobed = not breaker.was_probed and now >= breaker.open_until + UNPROBED_SECONDS
            if not is_unprobed:
                return
        breaker.clean += 1
        if o.seconds is not None and o.method_class is record.method_class:
            record.latency.restart(o.seconds, now)

    def close_proven(self, standing: Standing, now: float, changes: Changes) -> None:
        """Close the breakers that were proven well and whose time is over. Where nobody else
        is usable, being proven is enough: a flapping upstream is better than none.
        """
        self._ranking.renew(now)
        usable = self._ranking.usable
        closed = [
            record
            for record in standing.classes
            if record.breaker.can_close(now)
            or (record.breaker.is_proven and not usable[record.method_class])
        ]
        if not closed:
            return
        first = closed[0].breaker
        reason = f"{first.clean} clean answers after {now - first.tripped_at:.1f} s"
        for record in closed:
            record.breaker.close(now)
            record.latency.forget_waits()
            record.settle(now)
        standing.settle_care()
        self._ranking.mark()
        changes.extend(
            Change(standing.name, ChangeKind.RECOVERED, reason, method_class)
            for method_class in _classes_of(closed)
        )

    # ---- failures

    def on_failure(self, standing: Standing, o: Observation, now: float, changes: Changes) -> None:
        """It failed, by its own fault."""
        verdict = o.verdict
        record = standing.classes[o.method_class]
        breaker = record.breaker
        if o.seconds is not None:
            if not breaker.is_open and now - o.seconds < breaker.closed_at:
                return  # begun before the recovery: old news
            if verdict in SLOWNESS:
                record.latency.add_wait(o.seconds, now)
        record.latency.on_trouble(now)
        reason = breaker.on_failure(verdict, now)
        if o.is_probe:
            for other in standing.classes:
                if o.method_class in (other.breaker.healer, MethodClass.LIGHT):
                    other.breaker.clean = 0
        if breaker.is_open or breaker.share > FAILING_SHARE:
            standing.failing_at = now
        if reason:
            if o.detail:
                reason = f"{reason} ({o.detail})"
            self._trip(standing, record, reason, verdict, now, changes)

    def _trip(
        self,
        standing: Standing,
        record: ClassStanding,
        reason: str,
        verdict: Verdict,
        now: float,
        changes: Changes,
    ) -> None:
        """Open the breaker, and those of the other classes where nothing comes back at all."""
        breaker = record.breaker
        is_heavy = record.method_class is MethodClass.HEAVY
        # A heavy call that hangs says nothing of the light ones; a refused connection does.
        is_dead = breaker.is_dead and (not is_heavy or verdict is Verdict.UNREACHABLE)
        # Three in a row without any answer is an outage; anything less may be slowness or a
        # moment's weakness, for which the last one is not ejected.
        is_slowness = verdict in SLOWNESS and (is_heavy or not breaker.has_lost_transport)
        is_forgivable = is_slowness or breaker.is_early
        tripped = [
            other
            for other in standing.classes
            if not other.breaker.is_open
            and (other is record or is_dead)
            and not (is_forgivable and self._is_last_usable(standing, other.method_class, now))
        ]
        if not tripped:
            return
        for other in tripped:
            other.breaker.trip(reason, record.method_class, now)
            other.settle(now)
        standing.failing_at = now
        self._ranking.mark()
        until = max(other.breaker.open_until for other in tripped)
        changes.extend(
            Change(standing.name, ChangeKind.EJECTED, reason, method_class, until)
            for method_class in _classes_of(tripped)
        )

    def _is_last_usable(self, standing: Standing, method_class: MethodClass, now: float) -> bool:
        self._ranking.renew(now)
        return self._ranking.usable[method_class] == (standing,)

    # ---- refusals within its rights

    def on_limit(self, standing: Standing, o: Observation, now: float, changes: Changes) -> None:
        """It refused because of a rate or a quota: left alone for a while, no less healthy."""
        standing.classes[o.method_class].breaker.on_answer()
        is_quota = o.verdict is Verdict.QUOTA
        if not (is_quota or o.is_probe) and _is_of_method(standing, o, now):
            standing.settle_care()
            return
        begun_at = now - (o.seconds or 0.0)
        cooldown, rates = standing.cooldown, standing.rates
        has_answered = rates.has_answered(standing.in_flight)
        is_news = cooldown.on_refused(
            o.cooldown_seconds, begun_at, now, is_quota=is_quota, is_again=not has_answered
        )
        if is_news and not is_quota:
            rates.on_refused(now, is_rate=has_answered and not o.is_probe)
            standing.settle_care()
        if standing.is_cooling or cooldown.until <= now:
            return
        standing.is_cooling = True
        words = "its quota is used up" if is_quota else "its rate limit is reached"
        standing.cooldown_reason = f"{words} ({o.detail})" if o.detail else words
        reason = f"{standing.cooldown_reason}; left alone for {cooldown.until - now:.1f} s"
        self._ranking.mark()
        changes.append(Change(standing.name, ChangeKind.COOLING, reason, None, cooldown.until))

    @staticmethod
    def on_shape(standing: Standing, o: Observation, now: float) -> bool:
        """It refused what another took. Whether that says it all: nothing else is wrong with it,
        or it is known.
        """
        is_known = standing.exclusions.on_shape_refused(o.shape, now, o.cooldown_seconds)
        standing.classes[o.method_class].breaker.on_answer()
        standing.settle_care()
        return is_known or o.verdict.blame is not Blame.UPSTREAM

    def on_exclusion(
        self, standing: Standing, o: Observation, now: float, changes: Changes
    ) -> None:
        """It cannot do this, and is well."""
        standing.classes[o.method_class].breaker.on_answer()
        exclusions = standing.exclusions
        if o.verdict is Verdict.UNSUPPORTED:
            is_known = self._describe(o.method).is_known
            if exclusions.on_unsupported(o.method, now, is_known=is_known):
                reason = f"it does not support {o.method[:SHOWN_METHOD_LENGTH]}"
                if not is_known:
                    reason += exclusions.take_invented()
                until = exclusions.methods[o.method]
                changes.append(
                    Change(
                        standing.name, ChangeKind.METHOD_UNSUPPORTED, reason, o.method_class, until
                    )
                )
        elif o.verdict is Verdict.SIZE_REFUSED:
            exclusions.on_size_refused(o.request_bytes, now)
        elif o.verdict is Verdict.BATCH_REFUSED:
            exclusions.on_batch_refused(now)
        elif o.lowest >= 0:
            self._on_unreached(standing, o, now)
        standing.settle_care()

    def _on_unreached(self, standing: Standing, o: Observation, now: float) -> None:
        """It did not answer at an old block, or for a range of blocks."""
        if o.verdict is Verdict.RANGE_TOO_LARGE:
            refusal = self._read_range(o.detail.lower(), o.span)
            if refusal.of_width:
                standing.exclusions.on_range_refused(o.span, refusal.limit, now)
        elif o.verdict is Verdict.MISSING_DATA:
            highest = o.lowest + max(o.span, 1) - 1
            if highest <= standing.low_water:  # above it, it is only behind
                data = self._describe(o.method).data
                standing.reach.on_missed(o.lowest, standing.track.number, data, now)


def _is_of_method(standing: Standing, o: Observation, now: float) -> bool:
    """Whether the rate is this method's alone: refused again, none of it taken in between, while
    others were answered. Then it alone is left alone.
    """
    exclusions = standing.exclusions
    before = exclusions.on_rate_refused(o.method, now)
    if before is None or not standing.has_answered_since(max(before, standing.cooldown.until)):
        return False
    exclusions.on_method_limited(o.method, before, now, o.cooldown_seconds)
    return True


def _classes_of(records: Sequence[ClassStanding]) -> Sequence[MethodClass | None]:
    """Which classes to name: ``None`` once, where it is all of them."""
    if len(records) == len(METHOD_CLASSES):
        return (None,)
    return [record.method_class for record in records]
