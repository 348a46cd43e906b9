"""What samples add up to: a row for each upstream and hour, and its outages. Pure.

A *part* is a stretch of time without a gap: where the clock jumped, or no sample was taken for
long, a new one begins, so that no row is ever shorter than nothing or longer than its time. What
lies in the gap was not watched.

State: the rows of this hour, those that nobody has taken so far, and the outages that go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Final, NamedTuple

import msgspec

from rpcproxy.rules.standing.standing import UNVERIFIED
from rpcproxy.rules.telling.sample import ChainSample, Sample, Times, UpstreamSample, grown
from rpcproxy.states import UPSTREAM_STATES, Serving, UpstreamState

HOUR_SECONDS: Final = 3600
# Between two samples further apart nobody looked; a clock that is so far off has jumped.
GAP_SECONDS: Final = 60.0
# Rows that nobody takes, as where the disk hangs, are dropped beyond so many, the oldest first.
MOST_ROWS: Final = 20_000
# ``since_seconds`` of two samples are read at different moments.
_SLACK_SECONDS: Final = 0.01


class HourRow(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One upstream in one hour (of Unix time). ``attempts`` and ``probes`` by verdict, ``times``
    by method class. ``dark_seconds`` are those of its down time in which no upstream of any chain
    was well: the connection of the proxy itself, more likely than all of them at once.

    With an empty ``upstream`` it is the chain: ``requests`` by outcome, and down while nobody
    could serve.
    """

    hour: int
    part: int
    chain: str
    upstream: str = ""
    provider: str = ""
    cloud: str = ""
    region: str = ""
    first: float = 0.0  # sample, and the last one, in Unix seconds
    last: float = 0.0
    watched_seconds: float = 0.0
    down_seconds: float = 0.0
    dark_seconds: float = 0.0
    limited_seconds: float = 0.0
    behind_seconds: float = 0.0
    lag_seconds: float = 0.0  # in which its lag was known
    lag_block_seconds: float = 0.0
    lag_most: int = 0
    attempts: dict[str, int] = {}
    probes: dict[str, int] = {}
    requests: dict[str, int] = {}
    times: dict[str, Times] = {}


class Outage(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An upstream was down from ``start`` to ``end`` (Unix seconds); where it is not over, that is
    when it was last looked at. With an empty ``upstream`` nobody could serve the chain.
    """

    chain: str
    upstream: str
    provider: str = ""
    state: str = ""
    reason: str = ""
    start: float
    end: float
    is_over: bool = False
    dark_seconds: float = 0.0


class News(NamedTuple):
    """What changed since the last ``take``; rows and outages replace what was taken of them
    before.
    """

    rows: Sequence[HourRow]
    outages: Sequence[Outage]


class _Step(NamedTuple):
    """From one sample to the next, ``seconds`` of the monotonic clock later; 0 after a gap."""

    before: Sample | None
    now: Sample
    seconds: float
    is_dark: bool

    def changed_at(self, since_seconds: float) -> float:
        """When that was, in Unix seconds; not before the last sample."""
        return self.now.unix_seconds - min(since_seconds, self.seconds)


_Place = tuple[str, str]  # chain and upstream
_Key = tuple[int, int, str, str]  # hour, part, chain, upstream


class Tallies:
    """Samples added up to rows of hours and to outages, until ``take`` hands them out.
    ``has_turned``: an outage began or ended since the last ``take``.
    """

    def __init__(self, most_rows: int = MOST_ROWS) -> None:
        self._most_rows = most_rows
        self._before: Sample | None = None
        self._hour = 0
        self._part = 0
        self._rows: dict[_Key, HourRow] = {}
        self._changed: set[_Key] = set()
        self._open: dict[_Place, Outage] = {}
        self._ended: list[Outage] = []
        self.has_turned = False

    def on_sample(self, now: Sample) -> None:
        step = self._step_to(now)
        before = {} if step.before is None else {each.name: each for each in step.before.chains}
        present: set[_Place] = set()
        for chain in now.chains:
            earlier = before.get(chain.name)
            self._add_chain(step, chain, earlier)
            upstreams = {} if earlier is None else {each.name: each for each in earlier.upstreams}
            for upstream in chain.upstreams:
                self._add_upstream(step, chain.name, upstream, upstreams.get(upstream.name))
            present |= {(chain.name, ""), *((chain.name, each.name) for each in chain.upstreams)}
        self._lose(self._open.keys() - present)
        while len(self._rows) > self._most_rows:
            oldest = next(iter(self._rows))
            self._changed.discard(oldest)
            del self._rows[oldest]
        del self._ended[: -self._most_rows]

    @property
    def latest(self) -> Sample | None:
        """The last sample."""
        return self._before

    def take(self) -> News:
        """What changed; rows of hours that are over are forgotten here."""
        rows = [self._rows[key] for key in sorted(self._changed)]
        outages = [*self._ended, *self._open.values()]
        now = (self._hour, self._part)
        self._rows = {key: row for key, row in self._rows.items() if key[:2] == now}
        self._changed.clear()
        self._ended = []
        self.has_turned = False
        return News(rows, outages)

    def _step_to(self, now: Sample) -> _Step:
        before, self._before = self._before, now
        hour = int(now.unix_seconds // HOUR_SECONDS) * HOUR_SECONDS
        seconds, is_gap = 0.0, False
        if before is not None:
            seconds = now.seconds - before.seconds
            shift = now.unix_seconds - before.unix_seconds - seconds
            is_gap = not 0 <= seconds <= GAP_SECONDS or abs(shift) > GAP_SECONDS
            if is_gap:
                seconds = 0.0
                self._lose(set(self._open))
            if is_gap or hour < self._hour:
                self._part += 1
        self._hour = hour
        is_dark = before is not None and _is_dark(before) and _is_dark(now)
        return _Step(before, now, seconds, is_dark)

    # ---- one chain, one upstream

    def _add_chain(self, step: _Step, now: ChainSample, before: ChainSample | None) -> None:
        row = self._row(step, now.name, None)
        _add(row.requests, grown(now.requests, {} if before is None else before.requests))
        place, out_seconds = (now.name, ""), now.outage_seconds
        if all(service_of(each) is Serving.UNKNOWN for each in now.upstreams):
            return  # at the start nobody was asked so far
        row.watched_seconds += step.seconds
        if out_seconds is not None:
            row.down_seconds += min(step.seconds, out_seconds)
            self._extend(step, place, out_seconds, None)
        elif place in self._open:
            row.down_seconds += step.seconds
            self._end(step, place, 0.0)

    def _add_upstream(
        self, step: _Step, chain: str, now: UpstreamSample, before: UpstreamSample | None
    ) -> None:
        row = self._row(step, chain, now)
        _count(row, now, before)
        kind, lately = service_of(now), min(step.seconds, now.since_seconds)
        down_seconds = _spend(row, kind, lately)
        # What it was until it became what it is now.
        down_seconds += _spend(row, service_of(before or now), step.seconds - lately)
        if now.lag is not None:
            row.lag_seconds += step.seconds
            row.lag_block_seconds += step.seconds * now.lag
            row.lag_most = max(row.lag_most, now.lag)
        dark_seconds = down_seconds if step.is_dark else 0.0
        row.dark_seconds += dark_seconds
        place = (chain, now.name)
        if place in self._open:
            self._open[place].dark_seconds += dark_seconds
        if kind is not Serving.DOWN:
            self._end(step, place, now.since_seconds)
            return
        is_same = before is not None and before.state == now.state
        if is_same and now.since_seconds < step.seconds - _SLACK_SECONDS:
            # Well for a moment that no sample saw.
            self._end(step, place, step.seconds)
        self._extend(step, place, now.since_seconds, now)

    def _row(self, step: _Step, chain: str, upstream: UpstreamSample | None) -> HourRow:
        name = "" if upstream is None else upstream.name
        key = (self._hour, self._part, chain, name)
        self._changed.add(key)
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = HourRow(
                hour=self._hour,
                part=self._part,
                chain=chain,
                upstream=name,
                first=step.now.unix_seconds - step.seconds,
            )
        row.last = max(row.last, step.now.unix_seconds)
        if upstream is not None:
            row.provider, row.cloud = upstream.provider, upstream.cloud
            row.region = upstream.region
        return row

    # ---- outages

    def _extend(
        self, step: _Step, place: _Place, since_seconds: float, upstream: UpstreamSample | None
    ) -> None:
        """It goes on until now, or began ``since_seconds`` ago."""
        outage = self._open.get(place)
        if outage is None:
            start = step.changed_at(since_seconds)
            outage = self._open[place] = Outage(
                chain=place[0], upstream=place[1], start=start, end=start
            )
            self.has_turned = True
        if upstream is not None:
            outage.provider = upstream.provider
            outage.state, outage.reason = upstream.state, upstream.reason
        outage.end = max(outage.end, step.now.unix_seconds)

    def _end(self, step: _Step, place: _Place, since_seconds: float) -> None:
        outage = self._open.pop(place, None)
        if outage is not None:
            outage.end = max(outage.start, step.changed_at(since_seconds))
            outage.is_over = True
            self._ended.append(outage)
            self.has_turned = True

    def _lose(self, places: set[_Place]) -> None:
        """Nobody looks at them any more: they ended nobody knows when."""
        for place in places:
            self._ended.append(self._open.pop(place))
            self.has_turned = True


def service_of(upstream: UpstreamSample) -> Serving:
    """What its state means for those who want to be served; ``UNKNOWN`` while it was not asked
    yet.
    """
    if upstream.state == UpstreamState.UNKNOWN and upstream.reason != UNVERIFIED:
        return Serving.DOWN
    return UPSTREAM_STATES[upstream.state].service


def quantile(buckets: Sequence[int], bounds: Sequence[float], share: float) -> float | None:
    """The time that so large a ``share`` of all stayed below, in seconds, as if times were spread
    evenly within each bucket; the last bound where it was longer; ``None`` where nothing was timed.
    """
    total = sum(buckets)
    if not total:
        return None
    wanted, below = share * total, 0
    for position, (count, bound) in enumerate(zip(buckets, bounds, strict=False)):
        if count and below + count >= wanted:
            lower = bounds[position - 1] if position else 0.0
            return lower + (bound - lower) * max(0.0, wanted - below) / count
        below += count
    return bounds[-1]


def sum_of_times(some: Times, more: Times) -> Times:
    """Both together. Their buckets have the same bounds."""
    return Times(
        tuple(map(sum, zip_longest(some.buckets, more.buckets, fillvalue=0))),
        some.seconds + more.seconds,
        some.calls + more.calls,
        some.units + more.units,
    )


def _is_dark(sample: Sample) -> bool:
    upstreams = [each for chain in sample.chains for each in chain.upstreams]
    providers = {each.provider for each in upstreams}
    return len(providers) > 1 and all(service_of(each) is Serving.DOWN for each in upstreams)


def _spend(row: HourRow, kind: Serving, seconds: float) -> float:
    """Note how long it was so; returns how long it was down."""
    if kind is not Serving.UNKNOWN:
        row.watched_seconds += seconds
    if kind is Serving.LIMITED:
        row.limited_seconds += seconds
    elif kind is Serving.BEHIND:
        row.behind_seconds += seconds
    elif kind is Serving.DOWN:
        row.down_seconds += seconds
        return seconds
    return 0.0


def _count(row: HourRow, now: UpstreamSample, before: UpstreamSample | None) -> None:
    _add(row.attempts, grown(now.attempts, {} if before is None else before.attempts))
    _add(row.probes, grown(now.probes, {} if before is None else before.probes))
    for name, times in now.times.items():
        more = _grown_times(times, None if before is None else before.times.get(name))
        if more.calls:
            row.times[name] = sum_of_times(row.times.get(name, Times()), more)


def _grown_times(now: Times, before: Times | None) -> Times:
    if before is None or now.calls < before.calls or len(now.buckets) != len(before.buckets):
        return now  # counted anew
    return Times(
        tuple(max(0, count - was) for count, was in zip(now.buckets, before.buckets, strict=True)),
        max(0.0, now.seconds - before.seconds),
        now.calls - before.calls,
        max(0, now.units - before.units),
    )


def _add(counts: dict[str, int], more: Mapping[str, int]) -> None:
    for name, count in more.items():
        counts[name] = counts.get(name, 0) + count
