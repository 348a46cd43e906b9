"""The pages for operators say what the code, the rules and the measurements say."""

from __future__ import annotations

import re

import yaml

from rpcproxy.drills.scenarios.faults import CATALOGUE
from rpcproxy.drills.scenarios.lies import LIARS
from tests.exam import exam_capacity, exam_faults, exam_outages, fault_bench
from tests.kits.pages import DOCS, METRICS, ROOT, assert_told, first_names, names, rows, section

OPERATIONS, OUTAGES = DOCS["operations.md"], DOCS["outages.md"]


def test_every_alert_has_a_line() -> None:
    rules = yaml.safe_load((ROOT / "deploy/prometheus/rules/alerts.yml").read_text())
    alerts = {
        rule["alert"]: rule["labels"]["severity"]
        for group in rules["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    told = {names(row[0])[0]: row[1] for row in rows(section(OPERATIONS, "Alerts"))}
    urgency = {"critical": "now", "warning": "today"}
    assert told == {alert: urgency[severity] for alert, severity in alerts.items()}


def test_every_event_has_a_line() -> None:
    told = first_names(section(OPERATIONS, "Log lines"))
    known = [names(row[0])[0] for row in rows(section(METRICS, "The log"))]
    assert_told(told, known, "docs/operations.md, Log lines")


def test_outages_are_told_with_the_bounds_of_their_tests() -> None:
    flat = " ".join(OUTAGES.split())
    few, most = exam_outages.FEW_SECONDS * 1000, exam_outages.MOST_SECONDS * 1000
    table = {row[0]: row[2] for row in rows(section(OUTAGES, "How it is measured"))}
    assert exam_faults.P99_SECONDS == exam_outages.FEW_SECONDS
    assert table["nothing"] == f"{fault_bench.NORMAL_P99_SECONDS * 1000:g} ms"
    assert table[f"one of four, in each of {len(CATALOGUE)} ways"] == f"{few:g} ms"
    by_bound = {f"{few:g} ms": 0, f"{most:g} ms": 0}
    for bound in table.values():
        by_bound[bound] = by_bound.get(bound, 0) + 1
    outages = [outage.p99_seconds * 1000 for outage in exam_outages.OUTAGES.values()]
    assert by_bound[f"{few:g} ms"] == 1 + outages.count(few)
    assert by_bound[f"{most:g} ms"] == outages.count(most)
    waits = exam_outages.DARK_SECONDS + exam_outages.FOUND_WELL_SECONDS
    assert f"they wait: {waits:g} s at most" in flat
    for words in (
        f"{fault_bench.RATE_PER_SECOND:g} requests a second",
        f"answer in {fault_bench.LATENCY_SECONDS * 1000:g} ms",
        f"a new block every {fault_bench.BLOCK_TIME_SECONDS:g} s",
        f"{exam_faults.CALLS_PER_REQUEST:g} at most",
        f"{exam_faults.CALLS_PER_REQUEST_WHEN_WELL:g} at most",
        f"The {len(CATALOGUE)} ways",
        f"each of {len(LIARS)} ways",
        f"{exam_capacity.RATE_PER_SECOND:,.0f} requests a second",
    ):
        assert words in flat, words


def test_files_that_are_named_are_there() -> None:
    for page in ("operations.md", "security.md", "outages.md", "comparison.md"):
        for path in re.findall(r"`((?:deploy|config|benchmarks|rpcproxy)/[\w./-]+)`", DOCS[page]):
            assert (ROOT / path).exists(), f"{page}: {path}"
        for name in re.findall(r"`((?:test|exam)_\w+\.py)`", DOCS[page]):
            place = "tests/exam" if name.startswith("exam") else "tests/integration"
            assert (ROOT / place / name).exists(), f"{page}: {name}"


def test_what_was_measured_is_told_as_measured() -> None:
    table = section(DOCS["comparison.md"], "Cost per request")
    told = {row[0].split()[0]: row[1:3] for row in rows(table) if row[3] == "measured"}
    results = (ROOT / "benchmarks/results.md").read_text()
    for name, figures in told.items():
        found = [
            row[3].split()[0]
            for case in ("forward, plain", "forward, TLS")
            for row in rows(section(results, "CPU per request"))
            if row[:2] == [case, name.lower()]
        ]
        assert [float(figure) for figure in figures] == [float(one) for one in found], name
    assert set(told) == {"HAProxy", "nginx", "rpcproxy"}
