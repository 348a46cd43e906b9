"""The table of metrics: what is read at /metrics is what its rows say."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import pytest

from rpcproxy.config.model import Upstream
from rpcproxy.edges.metrics.exposition import Exposition, ProxyCollector, Sources, family_of
from rpcproxy.edges.metrics.metric_row import (
    Durations,
    MetricKind,
    MetricRow,
    MetricUnit,
    Scrape,
    Value,
)
from rpcproxy.edges.metrics.metric_table import METRIC_TABLE
from rpcproxy.edges.metrics.metrics import Counters
from rpcproxy.rules.standing.settings import Settings
from rpcproxy.rules.telling.snapshot import snapshot_of
from tests.kits.evm_rules import standings_of
from tests.kits.filled_metrics import busy_sources, filled_counters

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
FOLDER = Path(__file__).parent


@pytest.mark.parametrize(
    ("accept", "file"), [("", "scraped.prom"), (OPENMETRICS, "scraped.openmetrics")]
)
async def test_the_text_is_the_same_to_the_byte(accept: str, file: str) -> None:
    """After a metric was added or changed on purpose: play it with ``WRITE_SCRAPED=1``, and look
    at what changed in the files.
    """
    collector = ProxyCollector(filled_counters(), busy_sources())
    text = (await Exposition(collector).scrape(accept))[0].decode()
    # What runs here is no part of it, nor are prometheus_client's own metrics.
    text = re.split("^# HELP (?:process|python)_", text, maxsplit=1, flags=re.MULTILINE)[0]
    text = re.sub(r'(python|version)="[^"]*"', r'\1=""', text)
    if os.environ.get("WRITE_SCRAPED"):
        (FOLDER / file).write_text(text)
    assert text == (FOLDER / file).read_text()


SUFFIXES = {MetricKind.COUNTER: "_total", MetricKind.INFO: "_info"}
BASE_UNITS = (MetricUnit.SECONDS, MetricUnit.BYTES, MetricUnit.RATIO)


def test_a_metric_has_one_row() -> None:
    counts = Counter(row.name for row in METRIC_TABLE)
    assert [name for name, count in counts.items() if count > 1] == []


def test_a_name_says_the_kind_and_the_unit() -> None:
    for row in METRIC_TABLE:
        assert re.fullmatch(r"rpcproxy_[a-z_]+", row.name), row.name
        for kind, suffix in SUFFIXES.items():
            assert row.name.endswith(suffix) == (row.kind is kind), row.name
        for unit in BASE_UNITS:
            assert row.name.endswith(f"_{unit}") == (row.unit is unit), row.name


def test_help_is_a_sentence() -> None:
    for row in METRIC_TABLE:
        assert re.fullmatch(r"[A-Z1].*\.", row.help), row.name


def test_histograms_alone_have_buckets_and_in_order() -> None:
    for row in METRIC_TABLE:
        assert bool(row.buckets) == (row.kind is MetricKind.HISTOGRAM), row.name
        assert list(row.buckets) == sorted(set(row.buckets)), row.name


def test_each_row_gives_samples_of_its_kind_with_its_labels() -> None:
    families = ProxyCollector(filled_counters(), busy_sources()).collect()
    for row, family in zip(METRIC_TABLE, families, strict=True):
        assert (family.type, family.documentation) == (row.kind, row.help)
        assert family.samples, row.name
        for sample in family.samples:
            assert sample.name.startswith(row.name)
            assert set(sample.labels) - {"le"} == set(row.labels), row.name
            assert row.unit is not MetricUnit.FLAG or sample.value in (0, 1), row.name


def test_standings_as_they_are_leave_nothing_out() -> None:
    standings = standings_of(
        [Upstream(name="a", url="http://a.test", provider="a")], Settings(), 0.0
    )
    standings["a"].light.latency.add(0.1, 0.5)
    snapshot = {**snapshot_of(standings, 1.0)[0], "head": 1, "lag": 0}
    sources = Sources(standings=lambda: {"c": [snapshot]})
    found = {
        family.name for family in ProxyCollector(Counters(), sources).collect() if family.samples
    }
    expected = {row.name.removesuffix("_info") for row in METRIC_TABLE if "_upstream_" in row.name}
    assert expected - found == {  # those of other sources
        "rpcproxy_upstream_feed_live",
        "rpcproxy_upstream_connections",
        "rpcproxy_upstream_connections_idle",
    }


NOW = Scrape(
    counters=Counters(), loop_lag_seconds=0.0, standings={}, front={}, chains={}, connections={}
)
TIMES = Durations((1, 2, 0), 3.0)


def row(kind: MetricKind, value: Value, labels: tuple[str, ...] = ("one",)) -> MetricRow:
    buckets = (1.0, 2.0) if kind is MetricKind.HISTOGRAM else ()
    name = f"rpcproxy_a{SUFFIXES.get(kind, '')}"
    return MetricRow(
        name, kind, MetricUnit.COUNT, ("chain",), "A.", lambda _: [(labels, value)], buckets
    )


@pytest.mark.parametrize(
    ("kind", "value", "wrong"),
    [
        (MetricKind.GAUGE, 1, TIMES),
        (MetricKind.COUNTER, 1.5, TIMES),
        (MetricKind.GAUGE, True, "5"),
        (MetricKind.HISTOGRAM, TIMES, 5.0),
        (MetricKind.HISTOGRAM, TIMES, Durations((1, 2), 3.0)),
        (MetricKind.INFO, 1, 0),
        (MetricKind.INFO, 1, TIMES),
    ],
)
def test_a_value_of_another_kind_is_an_error(kind: MetricKind, value: Value, wrong: Value) -> None:
    assert family_of(row(kind, value), NOW).samples
    assert not family_of(row(kind, None), NOW).samples
    with pytest.raises((TypeError, ValueError)):
        family_of(row(kind, wrong), NOW)


@pytest.mark.parametrize("kind", MetricKind)
@pytest.mark.parametrize("labels", [(), ("one", "two")])
def test_a_label_too_many_or_missing_is_an_error(kind: MetricKind, labels: tuple[str, ...]) -> None:
    value = TIMES if kind is MetricKind.HISTOGRAM else 1
    with pytest.raises(ValueError, match="rpcproxy_a"):
        family_of(row(kind, value, labels), NOW)
