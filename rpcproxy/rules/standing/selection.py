"""Selection: who is asked next.

Upstreams are *ranked* when something changed and *picked* per request. For each method class the
ranks hold the pool: the best of the groups (primaries that are well, suspect primaries, backups
that are well, …) that has a member. The first attempt takes the cheaper of two random members, so
that no herd runs after the best (``fastest``), the first (``ordered``), or one by weight
(``weighted``). Everything else, retries and hedges above all, takes the least by one order of
demerits, in which filters are relaxed from the least important up:

    last resort only (unsupported, ejected, cooling) > too large, too wide, of a shape that it
    refuses > missed that depth
    > block > head > rate > cordoned by an operator > fails now and then > suspect > never served
    that depth > backup > behind the served head (for the latest state) > same fault domain as one
    already tried > cost

State: pools and flags of one chain; written by ``Standings`` alone.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate
from typing import Final, Literal, Protocol

from rpcproxy.messages import METHOD_CLASSES, MethodClass
from rpcproxy.rules.standing.need import Need
from rpcproxy.rules.standing.standing import ClassStanding, Standing

__all__ = ["Need", "Ranking", "Rng", "SelectionPolicy"]

SelectionPolicy = Literal["fastest", "ordered", "weighted"]

# Costs closer than this are the same: the first of two drawn is taken.
SAME_COST: Final = 1.1
# Costlier than the best by the first factor: left to exploration; back below the second.
COSTLY_FACTOR: Final = 5.0
AFFORDABLE_FACTOR: Final = 3.0
# Each usable upstream gets a share of the light reads, so that knowledge of it stays fresh.
EXPLORE_SHARE: Final = 0.01
MOST_EXPLORING: Final = 0.05
# How much an emptying rate bucket adds to the cost, from this level on. Above it nothing is added,
# since a bucket kept full wastes the rate.
RATE_PENALTY: Final = 3.0
RATE_EASY_LEVEL: Final = 0.5


class Rng(Protocol):
    """What is needed of ``random.Random``."""

    def random(self) -> float: ...


RankedPool = tuple[ClassStanding, ...]
Demerits = tuple[float, ...]
EMPTY: Final[RankedPool] = ()


class Ranking:
    """The ranks of one chain's upstreams. ``usable`` by method class; ``outage_since`` by method
    class, ``None`` while somebody is usable. ``mark`` says that something changed.
    """

    __slots__ = (
        "_explorers",
        "_fresh",
        "_is_random_of_two",
        "_policy",
        "_pools",
        "_standings",
        "_weights",
        "is_stale",
        "outage_since",
        "usable",
    )

    def __init__(self, standings: Sequence[Standing], policy: SelectionPolicy, now: float) -> None:
        self._standings = standings
        self._policy = policy
        self._is_random_of_two = policy == "fastest"
        count = len(METHOD_CLASSES)
        self._pools: list[RankedPool] = [EMPTY] * count
        self._fresh: list[RankedPool] = [EMPTY] * count
        self._weights: list[list[float]] = [[]] * count
        self._explorers: RankedPool = EMPTY
        self.usable: list[tuple[Standing, ...]] = [()] * count
        self.outage_since: list[float | None] = [now] * count
        self.is_stale = True

    # ---- ranking

    def mark(self) -> None:
        """Something changed that pools depend on."""
        self.is_stale = True

    def renew(self, now: float) -> bool:
        """Rank anew where something changed; whether anything had."""
        if not self.is_stale:
            return False
        self.is_stale = False
        for method_class in METHOD_CLASSES:
            self._rank(method_class, now)
        return True

    def _rank(self, method_class: MethodClass, now: float) -> None:
        usable = [
            record
            for standing in self._standings
            if standing.is_askable
            and not standing.is_cooling
            and not (record := standing.classes[method_class]).breaker.is_open
            and standing.has_role(method_class)
        ]
        self.usable[method_class] = tuple(record.standing for record in usable)
        if usable:
            self.outage_since[method_class] = None
        elif self.outage_since[method_class] is None:
            self.outage_since[method_class] = now
        pool = self._best_group(usable)
        self._pools[method_class] = pool
        self._fresh[method_class] = self._best_group(self._with_fresh_head(usable), wants_head=True)
        if self._policy == "weighted":
            self._weights[method_class] = list(accumulate(r.standing.weight for r in pool))
        if method_class is MethodClass.LIGHT:
            rank = _rank_of(pool[0].standing) if pool else None
            self._explorers = tuple(
                r for r in usable if _rank_of(r.standing) == rank and not r.overdue
            )

    def _best_group(
        self, records: Sequence[ClassStanding], *, wants_head: bool = False
    ) -> RankedPool:
        """Members of the best group that has any, in the order of the configuration."""
        groups: dict[tuple[bool, ...], list[ClassStanding]] = {}
        for record in records:
            standing = record.standing
            is_behind, is_backup = wants_head and standing.is_behind, standing.tier == "backup"
            signs = (record.is_wanting, is_backup, standing.is_suspect, is_behind)
            group = (standing.is_cordoned, *signs)
            groups.setdefault(group, []).append(record)
        if not groups:
            return EMPTY
        best = groups[min(groups)]
        if self._is_random_of_two and len(best) > 1:
            best = self._affordable(best)
        return tuple(best)

    @staticmethod
    def _affordable(records: list[ClassStanding]) -> list[ClassStanding]:
        return [record for record in records if not record.is_costly] or records

    @staticmethod
    def _with_fresh_head(records: Sequence[ClassStanding]) -> Sequence[ClassStanding]:
        """Those that can answer at the latest block. Who never told a head is unknown, and
        counts only where all are.
        """
        known = [record for record in records if record.standing.head is not None] or records
        return [record for record in known if not record.standing.is_stale]

    def reprice(self) -> None:
        """Mark who became far costlier than the best of its tier, or affordable again. What is
        in flight counts, so that a crowd on the cheapest makes the others affordable.
        """
        if not self._is_random_of_two:
            return
        for usable, method_class in zip(self.usable, METHOD_CLASSES, strict=True):
            least: dict[tuple[bool, str], float] = {}
            for standing in usable:
                load, rank = standing.classes[method_class].cost, _rank_of(standing)
                load *= standing.in_flight + 1
                least[rank] = min(load, least.get(rank, math.inf))
            for standing in usable:
                record = standing.classes[method_class]
                factor = AFFORDABLE_FACTOR if record.is_costly else COSTLY_FACTOR
                limit = factor * least[_rank_of(standing)]
                is_costly = record.cost * (standing.in_flight + 1) > limit
                if is_costly != record.is_costly:
                    record.is_costly = is_costly
                    self.is_stale = True

    # ---- picking

    def pool_for(self, need: Need) -> RankedPool:
        """Of whom the first attempt takes one, where it needs nothing that ranks do not say."""
        return (self._fresh if need.wants_head else self._pools)[need.method_class]

    def pick(self, need: Need, tried: Sequence[Standing], now: float, rng: Rng) -> Standing | None:
        """The upstream to ask. Never one in ``tried``, in quarantine, or of another role.
        ``None`` when every trusted one of that role was tried.
        """
        if self.is_stale:
            self.renew(now)
        if tried or need.private_only or need.for_send:
            return self._least(need, tried, now)
        pool = (self._fresh if need.wants_head else self._pools)[need.method_class]
        if self._is_random_of_two and pool:
            draw = rng.random()
            if draw < MOST_EXPLORING and need.method_class is MethodClass.LIGHT:
                explored = self._explore(need, draw, now)
                if explored is not None:
                    return explored
                draw = rng.random()
            count = len(pool)
            if count == 1:
                first = second = pool[0]
            else:
                # The fraction of the first draw is as good as a second one.
                draw *= count
                index = int(draw)
                first = pool[index]
                other = int((draw - index) * (count - 1))
                second = pool[other if other < index else other + 1]
            one, two = first.standing, second.standing
            if not (
                one.needs_care
                or two.needs_care
                or need.block > one.low_water
                or need.block > two.low_water
                or need.lowest >= 0
            ):
                is_first = first.cost * (one.in_flight + 1) <= SAME_COST * second.cost * (
                    two.in_flight + 1
                )
                return one if is_first else two
            picked = self._one_of_two(first, second, need, now, rng)
            if picked is not None:
                return picked
        elif pool:
            picked = self._by_policy(pool, need, now, rng)
            if picked is not None:
                return picked
        return self._least(need, tried, now)

    def _explore(self, need: Need, draw: float, now: float) -> Standing | None:
        """One of all usable upstreams of the tier, each by its share of ``draw``."""
        explorers = self._explorers
        if len(explorers) < 2:
            return None
        share = min(EXPLORE_SHARE, MOST_EXPLORING / len(explorers))
        index = int(draw / share)
        if index >= len(explorers):
            return None
        record = explorers[index]
        standing = record.standing
        if need.wants_head and (standing.is_stale or standing.is_behind or standing.head is None):
            return None
        return standing if fits(record, need, now) else None

    @staticmethod
    def _one_of_two(
        first: ClassStanding, second: ClassStanding, need: Need, now: float, rng: Rng
    ) -> Standing | None:
        """The cheaper of those that may take it; ``None`` when neither may."""
        chances = [
            record
            for record in ((first,) if first is second else (first, second))
            if fits(record, need, now)
        ]
        if len(chances) == 2:
            # Under slow start it takes part in a growing share of draws, and is no cheaper else.
            ramped = [r for r in chances if r.ramp >= 1.0 or rng.random() < r.ramp]
            chances = ramped or chances
        if len(chances) == 2 and load(chances[0], now) > SAME_COST * load(chances[1], now):
            return chances[1].standing
        return chances[0].standing if chances else None

    def _by_policy(self, pool: RankedPool, need: Need, now: float, rng: Rng) -> Standing | None:
        """By ``ordered`` or ``weighted``."""
        if self._policy == "ordered":
            candidates: Sequence[ClassStanding] = pool
        elif pool is self._pools[need.method_class]:
            weights = self._weights[need.method_class]
            place = bisect(weights, rng.random() * weights[-1])
            candidates = (pool[min(place, len(pool) - 1)], *pool)
        else:
            weights = list(accumulate(record.standing.weight for record in pool))
            place = bisect(weights, rng.random() * weights[-1])
            candidates = (pool[min(place, len(pool) - 1)], *pool)
        held_back: Standing | None = None
        for record in candidates:
            if fits(record, need, now):
                if record.ramp >= 1.0 or rng.random() < record.ramp:
                    return record.standing
                held_back = held_back or record.standing
        return held_back

    def _least(self, need: Need, tried: Sequence[Standing], now: float) -> Standing | None:
        """The one with the fewest demerits."""
        method_class = need.method_class
        candidates = [
            standing
            for standing in self._standings
            if standing.is_askable
            and standing not in tried
            and standing.has_role(method_class, for_send=need.for_send)
            and (standing.private or not need.private_only)
        ]
        highest = max((standing.track.number for standing in candidates), default=-1)
        if not need.above_head and need.block > highest >= 0:
            return None
        knows_heads = any(standing.head is not None for standing in candidates)
        best: Standing | None = None
        least: Demerits = ()
        for standing in candidates:
            if not need.last_resort and (
                standing.cooldown.until > now
                or standing.classes[method_class].breaker.is_open
                or need.method in standing.exclusions.methods
                or standing.exclusions.is_limited(need.method, now)
            ):
                continue
            demerits = self._demerits(standing, need, tried, now, knows_heads=knows_heads)
            if best is None or demerits < least:
                best, least = standing, demerits
        return best

    def _demerits(
        self,
        standing: Standing,
        need: Need,
        tried: Sequence[Standing],
        now: float,
        *,
        knows_heads: bool,
    ) -> Demerits:
        """What speaks against an upstream, the gravest first, in the order listed above."""
        record = standing.classes[need.method_class]
        breaker = record.breaker
        is_cooling = standing.cooldown.until > now
        cost = record.cost * (standing.in_flight + 1) / record.ramp
        if self._policy == "ordered" and not tried:
            cost = standing.index
        if standing.needs_care:
            exclusions = standing.exclusions
            is_unsupported = exclusions.methods.get(need.method, 0.0) > now
            is_too_large = exclusions.refuses_size(need.request_bytes, now, is_batch=need.batch)
            is_too_large |= exclusions.refuses_shape(need.shape, now)
            is_too_large |= exclusions.is_limited(need.method, now)
            has_no_tokens = standing.rates.level(now) <= 0.0
        else:
            is_unsupported = is_too_large = has_no_tokens = False
        doubt = 0
        if need.lowest >= 0:
            is_too_large |= standing.exclusions.refuses_range(need.span, now)
            doubt = standing.reach.doubt(need.lowest, standing.track.number, need.data, now)
        # Below the block, the higher the better.
        missing = 0 if standing.low_water >= need.block else 2**60 - standing.low_water
        is_late = need.wants_head and (standing.is_stale or (knows_heads and standing.head is None))
        return (
            is_unsupported,
            breaker.is_open,
            is_cooling,
            # Of the ejected, whoever was found well last, then whose failure is longest ago.
            -breaker.clean if breaker.is_open else 0,
            breaker.failed_at if breaker.is_open else 0.0,
            standing.cooldown.until if is_cooling else 0.0,
            is_too_large,
            doubt if doubt > 1 else 0,
            missing,
            is_late,
            has_no_tokens,
            standing.is_cordoned,
            record.is_wanting,
            standing.is_suspect,
            doubt,
            standing.tier == "backup",
            need.wants_head and standing.is_behind,
            any(standing.shares_domain(other) for other in tried),
            cost,
        )


def fits(record: ClassStanding, need: Need, now: float) -> bool:
    """Whether a usable upstream may take this request, by all that ranks do not say."""
    standing = record.standing
    if need.block > standing.low_water:
        return False
    if need.lowest >= 0 and (
        not standing.reach.may_have(need.lowest, standing.track.number, need.data, now)
        or standing.exclusions.refuses_range(need.span, now)
    ):
        return False
    if not standing.needs_care:
        return True
    exclusions = standing.exclusions
    if exclusions.refuses(need.method, need.request_bytes, now, is_batch=need.batch):
        return False
    if exclusions.refuses_shape(need.shape, now):
        return False
    return not standing.rates.is_limited or standing.rates.level(now) > 0.0


def _rank_of(standing: Standing) -> tuple[bool, str]:
    """Among whom its cost is compared, and who is explored."""
    return standing.is_cordoned, standing.tier


def load(record: ClassStanding, now: float) -> float:
    """Cost with what is in flight; rises as the rate bucket empties, so that load spreads before
    the provider has to refuse.
    """
    standing = record.standing
    cost = record.cost * (standing.in_flight + 1)
    if standing.rates.is_limited:
        level = standing.rates.level(now)
        if level < RATE_EASY_LEVEL:
            cost *= 1.0 + RATE_PENALTY * (1.0 - level / RATE_EASY_LEVEL)
    return cost
