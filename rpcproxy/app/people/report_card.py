"""The report card: what the history says of each provider and upstream. Pure; ``now`` in Unix
seconds is an argument.

*Availability* is the share of the time in which an upstream was not down (ejected, quarantined,
forked, or never verified), of the time in which it was watched. Being rate-limited or behind is
told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from rpcproxy.app.people.history_writer import Kept, RunFacts
from rpcproxy.edges.logs import utc
from rpcproxy.front.pages.outlook import ChangeTold
from rpcproxy.messages import CLASS_NAMES, Blame, Verdict
from rpcproxy.rules.telling.failing import counted
from rpcproxy.rules.telling.sample import Times
from rpcproxy.rules.telling.tallies import HOUR_SECONDS, HourRow, Outage, quantile, sum_of_times

# A probe asks for the head, a block or a chain id: about that much, in units of eth_blockNumber.
PROBE_UNITS: Final = 2
# A row from further in the future was written by a clock that has been put right since.
AHEAD_SECONDS: Final = 86_400

_LIMITED: Final = frozenset(v.label for v in Verdict if v.blame is Blame.LIMIT)
_ANSWERED: Final = frozenset(
    v.label
    for v in Verdict
    if v.blame is Blame.CLIENT or v in (Verdict.OK, Verdict.NULL, Verdict.ALREADY_KNOWN)
)


class ClassFigures(msgspec.Struct, frozen=True):
    """Of one method class. Times of answers, and of what was waited for in vain."""

    calls: int
    p50_seconds: float | None
    p99_seconds: float | None


class OutageFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One outage. ``end`` is when it was last looked at where it ``is_over`` not. ``dark_seconds``
    of it no upstream of any chain was well.
    """

    chain: str
    upstream: str  # empty: nobody could serve the chain
    provider: str
    start: str
    end: str
    seconds: float
    is_over: bool
    dark_seconds: float
    state: str
    reason: str


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Of a provider (``chain`` and ``upstream`` are empty then) or one upstream. Shares are between
    0 and 1, and ``None`` where there was nothing to take a share of. ``failures`` of the
    ``attempts`` for wallets, ``failed_probes`` of our own ``probes``: ``rules.telling.failing``.
    """

    provider: str
    chain: str = ""
    upstream: str = ""
    cloud: str = ""
    region: str = ""
    watched_seconds: float
    availability: float | None
    down_seconds: float
    dark_seconds: float
    limited_time_share: float | None
    behind_time_share: float | None
    attempts: int
    failures: int
    probes: int
    failed_probes: int
    success_share: float | None
    rate_limited_share: float | None
    errors: Mapping[str, int]
    probe_errors: Mapping[str, int]
    classes: Mapping[str, ClassFigures]
    lag_blocks_mean: float | None
    lag_blocks_most: int
    calls: int
    compute_units_estimate: int
    outages: int
    longest_outage_seconds: float


class ChainReport(msgspec.Struct, frozen=True, kw_only=True):
    """What wallets saw: ``requests`` by outcome; ``failed_share`` of them ended in an error of our
    own.
    """

    chain: str
    requests: Mapping[str, int]
    failed_share: float | None
    unserved_seconds: float
    watched_seconds: float


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """One upstream on one day (UTC), for plots."""

    chain: str
    upstream: str
    day: str
    watched_from: str
    watched_to: str
    availability: float | None
    calls: int
    p50_seconds: float | None
    p99_seconds: float | None


class ReportCard(msgspec.Struct, frozen=True, kw_only=True):
    """See the module's docstring. Between ``watched_from`` and ``watched_to`` not all of the time
    need have been watched.
    """

    since: str
    until: str
    watched_from: str | None
    watched_to: str | None
    processes: int
    providers: Sequence[Figures]
    upstreams: Sequence[Figures]
    chains: Sequence[ChainReport]
    outages: Sequence[OutageFigures]  # the newest first
    days: Sequence[Day]
    timeline: Sequence[ChangeTold] = ()  # the newest first


def report_card(kept: Kept, since: float, now: float) -> ReportCard:
    """What was kept of the time from ``since`` to ``now``, in whole hours."""
    rows = [
        (kept.runs[name], row)
        for name, row in kept.rows
        if since - HOUR_SECONDS < row.hour <= now + AHEAD_SECONDS
    ]
    outages = _merged(
        _within(outage, since, now)
        for _, outage in kept.outages
        if outage.end > since and outage.start <= now
    )
    own = [(facts, row) for facts, row in rows if row.upstream]
    by_upstream = _grouped(own, lambda row: (row.chain, row.upstream))
    by_provider = _grouped(own, lambda row: (row.provider,))
    return ReportCard(
        since=utc(since),
        until=utc(now),
        watched_from=utc(min(row.first for _, row in rows)) if rows else None,
        watched_to=utc(max(row.last for _, row in rows)) if rows else None,
        processes=len({name for name, _ in kept.rows}),
        providers=[
            _figures(
                group, [o for o in outages if o.upstream and o.provider == name], is_provider=True
            )
            for (name,), group in by_provider.items()
        ],
        upstreams=[
            _figures(group, [each for each in outages if (each.chain, each.upstream) == place])
            for place, group in by_upstream.items()
        ],
        chains=[
            _chain_figures(name, [row for _, row in group])
            for (name,), group in _grouped(
                [(facts, row) for facts, row in rows if not row.upstream],
                lambda row: (row.chain,),
            ).items()
        ],
        outages=[_outage_figures(each) for each in reversed(outages)],
        days=[
            _day(group)
            for group in _grouped(
                own, lambda row: (row.chain, row.upstream, utc(row.hour)[:10])
            ).values()
        ],
    )


_Rows = Sequence[tuple[RunFacts, HourRow]]


def _grouped(
    rows: _Rows, key: Callable[[HourRow], tuple[str, ...]]
) -> dict[tuple[str, ...], list[tuple[RunFacts, HourRow]]]:
    groups: dict[tuple[str, ...], list[tuple[RunFacts, HourRow]]] = {}
    for facts, row in rows:
        groups.setdefault(key(row), []).append((facts, row))
    return {name: groups[name] for name in sorted(groups)}


def _figures(rows: _Rows, outages: Sequence[Outage], *, is_provider: bool = False) -> Figures:
    """Of an upstream or of a provider, as ``rows`` are."""
    last = max((row for _, row in rows), key=lambda row: row.hour)
    watched = sum(row.watched_seconds for _, row in rows)
    down = sum(row.down_seconds for _, row in rows)
    attempts = _summed(row.attempts for _, row in rows)
    probes = _summed(row.probes for _, row in rows)
    asked, probed = counted(attempts), counted(probes)
    classes = _classes(rows)
    units = sum(times.units for _, row in rows for times in row.times.values())
    known = sum(row.lag_seconds for _, row in rows)
    calls = sum(figures.calls for figures in classes.values()) + sum(probes.values())
    return Figures(
        provider=last.provider,
        chain="" if is_provider else last.chain,
        upstream="" if is_provider else last.upstream,
        cloud="" if is_provider else last.cloud,
        region="" if is_provider else last.region,
        watched_seconds=round(watched, 1),
        availability=_share(watched - down, watched),
        down_seconds=round(down, 1),
        dark_seconds=round(sum(row.dark_seconds for _, row in rows), 1),
        limited_time_share=_share(sum(row.limited_seconds for _, row in rows), watched),
        behind_time_share=_share(sum(row.behind_seconds for _, row in rows), watched),
        attempts=asked.asked,
        failures=asked.failed,
        probes=probed.asked,
        failed_probes=probed.failed,
        success_share=_share_of(attempts, _ANSWERED, asked.asked),
        rate_limited_share=_share_of(attempts, _LIMITED, asked.asked),
        errors=_errors(attempts),
        probe_errors=_errors(probes),
        classes=classes,
        lag_blocks_mean=_ratio(sum(row.lag_block_seconds for _, row in rows), known),
        lag_blocks_most=max(row.lag_most for _, row in rows),
        calls=calls,
        compute_units_estimate=units + PROBE_UNITS * sum(probes.values()),
        outages=len(outages),
        longest_outage_seconds=round(max((o.end - o.start for o in outages), default=0.0), 1),
    )


def _classes(rows: _Rows) -> dict[str, ClassFigures]:
    """By method class, those that were asked for."""
    bounds = max(rows, key=lambda pair: (pair[1].hour, pair[0].started))[0].bounds
    figures = {}
    for name in CLASS_NAMES:
        times, calls = Times(), 0
        for facts, row in rows:
            more = row.times.get(name)
            if more is None:
                continue
            calls += more.calls
            # A version with other buckets counted its times in a way that cannot be added up.
            times = sum_of_times(times, more) if facts.bounds == bounds else times
        if calls:
            p50, p99 = (quantile(times.buckets, bounds, share) for share in (0.5, 0.99))
            figures[name] = ClassFigures(calls, _rounded(p50), _rounded(p99))
    return figures


def _day(rows: _Rows) -> Day:
    figures = _figures(rows, ())
    light = figures.classes.get(CLASS_NAMES[0])
    return Day(
        chain=figures.chain,
        upstream=figures.upstream,
        day=utc(rows[0][1].hour)[:10],
        watched_from=utc(min(row.first for _, row in rows)),
        watched_to=utc(max(row.last for _, row in rows)),
        availability=figures.availability,
        calls=figures.calls,
        p50_seconds=None if light is None else light.p50_seconds,
        p99_seconds=None if light is None else light.p99_seconds,
    )


def _chain_figures(name: str, rows: Sequence[HourRow]) -> ChainReport:
    requests = _summed(row.requests for row in rows)
    return ChainReport(
        chain=name,
        requests={outcome: count for outcome, count in requests.items() if count},
        failed_share=_share(requests.get("own_error", 0), sum(requests.values())),
        unserved_seconds=round(sum(row.down_seconds for row in rows), 1),
        watched_seconds=round(sum(row.watched_seconds for row in rows), 1),
    )


# --------------------------------------------------------------------------
# Outages


def _within(outage: Outage, since: float, now: float) -> Outage:
    """The part of it that lies in the time of the report."""
    start, end = max(outage.start, since), min(outage.end, now)
    return msgspec.structs.replace(outage, start=start, end=max(start, end))


def _merged(outages: Iterable[Outage]) -> list[Outage]:
    """By start. What several processes saw at once is one outage."""
    merged: list[Outage] = []
    for outage in sorted(outages, key=lambda each: (each.chain, each.upstream, each.start)):
        last = merged[-1] if merged else None
        if (
            last is None
            or (last.chain, last.upstream) != (outage.chain, outage.upstream)
            or outage.start >= last.end
        ):
            merged.append(outage)
            continue
        later = outage if outage.end >= last.end else last
        merged[-1] = msgspec.structs.replace(
            later, start=last.start, dark_seconds=max(last.dark_seconds, outage.dark_seconds)
        )
    return sorted(merged, key=lambda each: each.start)


def _outage_figures(outage: Outage) -> OutageFigures:
    return OutageFigures(
        chain=outage.chain,
        upstream=outage.upstream,
        provider=outage.provider,
        start=utc(outage.start),
        end=utc(outage.end),
        seconds=round(outage.end - outage.start, 1),
        is_over=outage.is_over,
        dark_seconds=round(outage.dark_seconds, 1),
        state=outage.state,
        reason=outage.reason,
    )


# --------------------------------------------------------------------------
# Sums


def _summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in counts:
        for name, count in each.items():
            total[name] = total.get(name, 0) + count
    return total


def _share_of(counts: Mapping[str, int], wanted: frozenset[str], total: int) -> float | None:
    return _share(sum(count for name, count in counts.items() if name in wanted), total)


def _errors(counts: Mapping[str, int]) -> dict[str, int]:
    """What is no answer, the most frequent first."""
    wrong = {
        name: count
        for name, count in counts.items()
        if count and name not in _ANSWERED and name != Verdict.CANCELLED.label
    }
    return dict(sorted(wrong.items(), key=lambda item: (-item[1], item[0])))


def _ratio(part: float, whole: float) -> float | None:
    return round(part / whole, 6) if whole > 0 else None


def _share(part: float, whole: float) -> float | None:
    return round(min(1.0, max(0.0, part / whole)), 6) if whole > 0 else None


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 5)
