"""Who would be asked, in which order, and what speaks against each: selection in words.

Nothing is drawn and nothing changes. The first attempt is a matter of chance under most policies,
so each gets its share of them; the others follow by their demerits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from rpcproxy.messages import CLASS_NAMES
from rpcproxy.rules.standing.need import Need
from rpcproxy.rules.standing.selection import SAME_COST, RankedPool, SelectionPolicy, fits, load
from rpcproxy.rules.standing.standing import DRAINED, Standing
from rpcproxy.rules.standing.standings import Standings


class RankedUpstream(msgspec.Struct, frozen=True):
    """One upstream's place. ``first_share``: of such requests, how many go there first, 0 to 1.
    ``cost`` as selection weighs it (``/status``). ``why`` in words, empty for one that is well.
    """

    name: str
    state: str
    tier: str
    cost: float
    first_share: float
    why: tuple[str, ...]


class AskingOrder(msgspec.Struct, frozen=True):
    """``asked`` in this order while attempts fail; ``last_resort`` only after a pause in which
    nobody recovered; ``left_out`` not at all.
    """

    asked: tuple[RankedUpstream, ...]
    last_resort: tuple[RankedUpstream, ...]
    left_out: tuple[RankedUpstream, ...]


class _Unlucky:
    """Draws the same each time; who was tried before is chosen without a draw."""

    def random(self) -> float:
        return 0.999


_RNG: Final = _Unlucky()


def order_of(standings: Standings, need: Need, policy: SelectionPolicy, now: float) -> AskingOrder:
    """The order for one request at ``now`` (monotonic seconds)."""
    standings.usable(need.method_class)  # ranks anew where something changed
    shares = _first_shares(standings, need, policy, now)
    tried: list[Standing] = []
    if shares:
        tried.append(max(shares, key=lambda standing: shares[standing]))
    asked = _rest(standings, msgspec.structs.replace(need, last_resort=False), tried, now)
    count = len(asked)
    everybody = _rest(standings, msgspec.structs.replace(need, last_resort=True), asked, now)
    left_out = [standing for standing in standings if standing not in everybody]

    def places(some: Sequence[Standing], *, is_out: bool = False) -> tuple[RankedUpstream, ...]:
        return tuple(
            _place(standing, need, shares.get(standing, 0.0), now, is_out=is_out)
            for standing in some
        )

    return AskingOrder(
        places(everybody[:count]), places(everybody[count:]), places(left_out, is_out=True)
    )


def _rest(
    standings: Standings, need: Need, tried: Sequence[Standing], now: float
) -> list[Standing]:
    found = list(tried)
    while (following := standings.pick(need, found, now, _RNG)) is not None:
        found.append(following)
    return found


def _first_shares(
    standings: Standings, need: Need, policy: SelectionPolicy, now: float
) -> dict[Standing, float]:
    """How likely each is to be asked first. Exploration, some hundredths, is left aside."""
    if not (need.for_send or need.private_only):
        shares = _POLICIES[policy](standings.pool_for(need), need, now)
        if shares:
            return shares
    first = standings.pick(msgspec.structs.replace(need, for_send=need.for_send), (), now, _RNG)
    return {} if first is None else {first: 1.0}


def _shares_of_fastest(pool: RankedPool, need: Need, now: float) -> dict[Standing, float]:
    """Of each two that may be drawn, the cheaper one is taken."""
    fit = [fits(record, need, now) for record in pool]
    costs = [load(record, now) for record in pool]
    if len(pool) == 1:
        return {pool[0].standing: 1.0} if fit[0] else {}
    counts = [0] * len(pool)
    for one in range(len(pool)):
        for other in range(len(pool)):
            if one == other or not (fit[one] or fit[other]):
                continue
            is_first = fit[one] and (not fit[other] or costs[one] <= SAME_COST * costs[other])
            counts[one if is_first else other] += 1
    total = sum(counts)
    return {r.standing: n / total for r, n in zip(pool, counts, strict=True) if n}


def _shares_of_ordered(pool: RankedPool, need: Need, now: float) -> dict[Standing, float]:
    for record in pool:
        if fits(record, need, now):
            return {record.standing: 1.0}
    return {}


def _shares_of_weighted(pool: RankedPool, need: Need, now: float) -> dict[Standing, float]:
    fit = [record.standing for record in pool if fits(record, need, now)]
    total = sum(standing.weight for standing in fit)
    return {standing: standing.weight / total for standing in fit}


_POLICIES: Final = {
    "fastest": _shares_of_fastest,
    "ordered": _shares_of_ordered,
    "weighted": _shares_of_weighted,
}


def _place(
    standing: Standing, need: Need, share: float, now: float, *, is_out: bool
) -> RankedUpstream:
    record = standing.classes[need.method_class]
    why = _why_out(standing, need) if is_out else tuple(_against(standing, need, now))
    cost = record.cost * 1000.0 * (standing.in_flight + 1)
    return RankedUpstream(
        standing.name, standing.state, standing.tier, round(cost, 2), round(share, 3), why
    )


def _why_out(standing: Standing, need: Need) -> tuple[str, ...]:
    if not standing.has_role(need.method_class, for_send=need.for_send):
        return (f"its role is {standing.role}",)
    if need.private_only and not standing.private:
        return ("the transaction is for private upstreams alone",)
    if standing.is_drained:
        return (DRAINED,)
    if not standing.is_trusted:
        return (f"{standing.state}: {standing.reason}",)
    return (f"nobody has block {need.block} yet",)


def _against(standing: Standing, need: Need, now: float) -> list[str]:
    """What speaks against it, the gravest first."""
    record, exclusions = standing.classes[need.method_class], standing.exclusions
    class_name = CLASS_NAMES[need.method_class]
    lacks_depth = need.lowest >= 0 and not standing.reach.may_have(
        need.lowest, standing.track.number, need.data, now
    )
    findings = (
        (exclusions.methods.get(need.method, 0.0) > now, "it said that it lacks the method"),
        (record.breaker.is_open, f"ejected for {class_name}: {record.breaker.reason}"),
        (standing.cooldown.until > now, f"cooling: {standing.cooldown_reason}"),
        (
            exclusions.refuses_size(need.request_bytes, now, is_batch=need.batch),
            "it refused requests of this size",
        ),
        (
            need.lowest >= 0 and exclusions.refuses_range(need.span, now),
            "it refused ranges as wide as this",
        ),
        (lacks_depth, "it lately had no data of blocks so old"),
        (
            need.block > standing.low_water,
            f"not all of its machines have block {need.block} (they have {standing.low_water})",
        ),
        (
            need.wants_head and standing.is_stale,
            f"its head cannot be relied on: {standing.stale_reason or 'it is late'}",
        ),
        (standing.rates.is_limited and standing.rates.level(now) <= 0.0, "its rate is used up"),
        (standing.is_cordoned, "cordoned by an operator"),
        (record.is_wanting, "it fails now and then, or lets requests wait"),
        (standing.is_suspect, "its fault domain is distrusted"),
        (standing.tier == "backup", "it is a backup"),
        (need.wants_head and standing.is_behind, "it has not got the served head yet"),
        (record.ramp < 1.0, f"slow start: {record.ramp:.0%} of its traffic"),
        (record.is_costly, "far costlier than the best"),
    )
    return [words for is_so, words in findings if is_so]
