"""rules.telling.tallies: what samples add up to, under a clock of our own."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpcproxy.rules.standing.standing import UNVERIFIED
from rpcproxy.rules.telling.sample import ChainSample, Sample, Times, UpstreamSample
from rpcproxy.rules.telling.tallies import (
    HOUR_SECONDS,
    HourRow,
    Outage,
    Tallies,
    quantile,
    service_of,
    sum_of_times,
)
from rpcproxy.states import Serving

NOON = 1_800_000_000 // HOUR_SECONDS * HOUR_SECONDS
REASON = "3 failures in a row"


def upstream(name: str, state: str = "up", since: float = 1e6, **fields: Any) -> UpstreamSample:
    known: dict[str, Any] = {
        "provider": name,
        "cloud": "aws",
        "region": "r1",
        "tier": "primary",
        "role": "full",
        "reason": "" if state == "up" else REASON,
        "head": 7,
        "lag": 0,
        "latency_seconds": 0.02,
        "cooldown_seconds": 0.0,
        "rate_level": None,
        "is_suspect": False,
        "attempts": {},
        "probes": {},
        "times": {},
        **fields,
    }
    return UpstreamSample(name=name, state=state, since_seconds=since, **known)


def chain(*upstreams: UpstreamSample, name: str = "eth", **fields: Any) -> ChainSample:
    known: dict[str, Any] = {
        "usable": 1,
        "served_head": 7,
        "head_age_seconds": 1.0,
        "halted_seconds": None,
        "outage_seconds": None,
        "is_panicking": False,
        "is_split": False,
        "requests": {},
        **fields,
    }
    return ChainSample(name=name, identity="1", upstreams=upstreams, **known)


class World:
    """Tallies with two clocks. What is taken replaces what was taken of it before, as on disk."""

    def __init__(self, unix: float = NOON + 60, tallies: Tallies | None = None) -> None:
        self.tallies = tallies or Tallies()
        self.unix, self.seconds = float(unix), 500.0
        self.rows: dict[tuple[int, int, str, str], HourRow] = {}
        self.outages: dict[tuple[str, str, float], Outage] = {}

    def look(self, *chains: ChainSample, after: float = 5.0, jump: float = 0.0) -> None:
        """A sample ``after`` so many seconds; the wall clock has jumped by ``jump``."""
        self.seconds += after
        self.unix += after + jump
        self.tallies.on_sample(
            Sample(unix_seconds=self.unix, seconds=self.seconds, chains=tuple(chains))
        )

    def take(self) -> None:
        news = self.tallies.take()
        self.rows |= {(r.hour, r.part, r.chain, r.upstream): r for r in news.rows}
        self.outages |= {(o.chain, o.upstream, o.start): o for o in news.outages}

    def of(self, name: str) -> list[HourRow]:
        self.take()
        return [row for key, row in sorted(self.rows.items()) if key[3] == name]

    def outages_of(self, name: str) -> list[Outage]:
        self.take()
        return [outage for key, outage in sorted(self.outages.items()) if key[1] == name]


def test_counts_are_by_how_much_they_grew() -> None:
    world = World()
    was = Times((1, 0), 0.5, 1, 2)
    times = Times((3, 1), 2.5, 5, 9)
    world.look(chain(upstream("a", attempts={"ok": 4}, probes={"ok": 9}, times={"light": was})))
    world.look(
        chain(
            upstream(
                "a",
                attempts={"ok": 7, "timeout": 1},
                probes={"ok": 11},
                times={"light": times},
                lag=3,
            ),
            requests={"ok": 6, "own_error": 1},
        )
    )
    [row] = world.of("a")
    # What was counted before the first sample is this process's, too.
    assert (row.attempts, row.probes) == ({"ok": 7, "timeout": 1}, {"ok": 11})
    assert row.times == {"light": times}
    assert (row.lag_block_seconds, row.lag_seconds, row.lag_most) == (15.0, 5.0, 3)
    assert (row.provider, row.cloud, row.region, row.hour) == ("a", "aws", "r1", NOON)
    [whole] = world.of("")
    assert (whole.requests, whole.watched_seconds) == ({"ok": 6, "own_error": 1}, 5.0)


def test_counts_that_fell_began_anew() -> None:
    world = World()
    times = {"light": Times((5,), 1.0, 5, 5)}
    world.look(chain(upstream("a", attempts={"ok": 5}, times=times)))
    world.look(chain(upstream("a", attempts={"ok": 2}, times={"light": Times((2,), 0.1, 2, 2)})))
    [row] = world.of("a")
    assert row.attempts == {"ok": 7}
    assert row.times["light"] == Times((7,), 1.1, 7, 7)


def test_an_outage_has_its_times_though_samples_are_rare() -> None:
    world = World()
    world.look(chain(upstream("a"), upstream("b")))
    world.look(chain(upstream("a", "ejected", since=2.0), upstream("b")))
    began = world.unix - 2.0
    assert world.tallies.has_turned
    [outage] = world.outages_of("a")
    assert not world.tallies.has_turned
    assert (outage.start, outage.is_over, outage.reason) == (began, False, REASON)
    world.look(chain(upstream("a", "quarantined", since=1.0), upstream("b")))
    world.look(chain(upstream("a", "up", since=4.0), upstream("b")))
    [outage] = world.outages_of("a")
    assert (outage.start, outage.end) == (began, world.unix - 4.0)
    assert (outage.is_over, outage.state, outage.provider) == (True, "quarantined", "a")
    [row] = world.of("a")
    assert (row.watched_seconds, row.down_seconds) == (15.0, pytest.approx(8.0))
    assert not world.outages_of("b")
    assert world.of("b")[0].down_seconds == 0.0


def test_what_was_well_for_a_moment_had_two_outages() -> None:
    world = World()
    world.look(chain(upstream("a")))
    world.look(chain(upstream("a", "ejected", since=5.0)))
    world.look(chain(upstream("a", "ejected", since=1.5)))
    first, second = world.outages_of("a")
    assert (first.is_over, second.is_over) == (True, False)
    assert second.start == world.unix - 1.5


def test_cooling_and_lagging_are_no_outage() -> None:
    world = World()
    world.look(chain(upstream("a", "cooling"), upstream("b", "lagging")))
    world.look(chain(upstream("a", "cooling"), upstream("b", "lagging")))
    [row], [other] = world.of("a"), world.of("b")
    assert (row.limited_seconds, row.down_seconds) == (5.0, 0.0)
    assert (other.behind_seconds, other.down_seconds) == (5.0, 0.0)
    assert not world.outages


def test_who_was_not_asked_yet_is_not_watched() -> None:
    new = upstream("a", "unknown", reason=UNVERIFIED)
    refused = upstream("b", "unknown", reason=f"{UNVERIFIED}: connection refused")
    assert (service_of(new), service_of(refused)) == (Serving.UNKNOWN, Serving.DOWN)
    world = World()
    world.look(chain(new, outage_seconds=0.1))
    world.look(chain(new, outage_seconds=5.1))
    assert world.of("")[0].down_seconds == 0.0, "a start is no outage"
    world.look(chain(new, refused))
    world.look(chain(new, refused))
    assert world.of("a")[0].watched_seconds == 0.0
    assert world.of("b")[0].down_seconds == 10.0


def test_where_all_are_down_it_may_be_us() -> None:
    down = chain(upstream("a", "ejected"), upstream("b", "ejected"), outage_seconds=60.0)
    world = World()
    world.look(chain(upstream("a"), upstream("b", "ejected")))
    world.look(chain(upstream("a", "ejected", since=5.0), upstream("b", "ejected")))
    world.look(down)
    world.look(down)
    world.look(chain(upstream("a", since=1.0), upstream("b", "ejected")))
    assert world.of("a")[0].dark_seconds == 10.0
    assert world.of("b")[0].dark_seconds == 10.0
    assert world.of("b")[0].down_seconds == 20.0
    assert [o.dark_seconds for o in world.outages_of("b")] == [10.0]
    [unserved] = world.outages_of("")
    assert (unserved.is_over, unserved.end - unserved.start) == (True, 15.0)
    # One provider alone cannot say whose fault it is.
    alone = World()
    alone.look(chain(upstream("a", "ejected")))
    alone.look(chain(upstream("a", "ejected")))
    assert (alone.of("a")[0].down_seconds, alone.of("a")[0].dark_seconds) == (5.0, 0.0)


def test_hours_have_rows_of_their_own() -> None:
    world = World(NOON + HOUR_SECONDS - 12)
    for count in range(1, 5):
        world.look(chain(upstream("a", attempts={"ok": count})))
        world.take()
    first, second = world.of("a")
    assert (first.hour, second.hour) == (NOON, NOON + HOUR_SECONDS)
    assert first.attempts["ok"] + second.attempts["ok"] == 4
    assert world.tallies.take().rows == []


@pytest.mark.parametrize(("after", "jump"), [(5.0, 7200.0), (5.0, -7200.0), (400.0, 0.0)])
def test_a_gap_is_not_watched(after: float, jump: float) -> None:
    world = World()
    world.look(chain(upstream("a")))
    world.look(chain(upstream("a", "ejected", since=1.0, attempts={"ok": 1})))
    seen = world.unix
    world.look(
        chain(upstream("a", "ejected", since=1e5, attempts={"ok": 3})), after=after, jump=jump
    )
    world.look(chain(upstream("a", since=2.0, attempts={"ok": 4})))
    rows = world.of("a")
    assert {row.part for row in rows} == {0, 1}
    assert sum(row.watched_seconds for row in rows) == 10.0
    assert sum(row.attempts["ok"] for row in rows) == 4
    lost, found = sorted(world.outages_of("a"), key=lambda o: o.is_over)
    assert (lost.end, lost.is_over) == (seen, False)
    assert (found.end - found.start, found.is_over) == (3.0, True)


def test_a_clock_put_back_a_little_loses_no_hour() -> None:
    world = World(NOON + HOUR_SECONDS - 4)
    for count, jump in enumerate((0.0, 0.0, -20.0, 0.0, 0.0, 20.0)):
        world.look(chain(upstream("a", attempts={"ok": count})), jump=jump)
        world.take()
    assert sum(row.attempts.get("ok", 0) for row in world.of("a")) == 5
    assert sum(row.watched_seconds for row in world.of("a")) == 25.0


def test_an_upstream_that_left_is_not_down_for_ever() -> None:
    world = World()
    world.look(chain(upstream("a"), upstream("b", "ejected")))
    world.look(chain(upstream("a")))
    world.look(chain(upstream("a")))
    [outage] = world.outages_of("b")
    assert not outage.is_over
    assert world.tallies.take().outages == []


def test_rows_that_nobody_takes_are_bounded() -> None:
    world = World(tallies=Tallies(most_rows=6))
    for _ in range(5):
        world.look(chain(upstream("a")), after=HOUR_SECONDS)
    assert [row.hour for row in world.tallies.take().rows] == [
        NOON + n * HOUR_SECONDS for n in (3, 3, 4, 4, 5, 5)
    ]


def test_quantiles_are_within_their_bucket() -> None:
    bounds = (0.1, 0.2, 0.4)
    assert quantile((0, 0, 0, 0), bounds, 0.5) is None
    assert quantile((), bounds, 0.5) is None
    assert quantile((10, 0, 0, 0), bounds, 0.5) == pytest.approx(0.05)
    assert quantile((5, 4, 1, 0), bounds, 0.99) == pytest.approx(0.38)
    assert quantile((0, 0, 0, 3), bounds, 0.5) == 0.4
    assert sum_of_times(Times(), Times((1, 2), 1.0, 3, 4)) == Times((1, 2), 1.0, 3, 4)


STATES = st.sampled_from(["up", "lagging", "cooling", "ejected", "forked", "unknown"])
LOOKS = st.lists(
    st.tuples(
        STATES,
        st.floats(0, 30),
        st.floats(0, 90),
        st.sampled_from([0.0, 0.0, 0.0, 90.0, -90.0, -3e9, 4000.0]),
        st.integers(0, 5),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(LOOKS)
def test_nothing_is_negative_and_nothing_is_lost(
    looks: list[tuple[str, float, float, float, int]],
) -> None:
    world = World()
    count = 0
    for state, since, after, jump, more in looks:
        count += more
        world.look(
            chain(upstream("a", state, since, attempts={"ok": count})), after=after, jump=jump
        )
        if more % 2:
            world.take()
    rows = world.of("a")
    assert sum(row.attempts.get("ok", 0) for row in rows) == count
    for row in rows:
        parts = (row.down_seconds, row.limited_seconds, row.behind_seconds)
        assert min(parts) >= 0.0
        assert sum(parts) <= row.watched_seconds + 1e-6
        assert row.dark_seconds <= row.down_seconds
    assert sum(row.watched_seconds for row in rows) <= world.seconds
    assert all(o.start <= o.end for o in world.outages_of("a"))
