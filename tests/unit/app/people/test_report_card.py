"""The report card: figures, and how they are told."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest

from rpcproxy import cli
from rpcproxy.app.people.history_writer import FILE_NAME, Kept, RunFacts
from rpcproxy.app.people.report_card import PROBE_UNITS, report_card
from rpcproxy.app.people.sampling import SAMPLE_SECONDS
from rpcproxy.app.process.extras import how_to_add
from rpcproxy.clock import Clock
from rpcproxy.commands import report
from rpcproxy.commands.runs import report_page, report_view
from rpcproxy.edges.disk.history_file import HistoryFile, OutageRow, ProcessRun, TallyRow
from rpcproxy.edges.logs import utc
from rpcproxy.edges.metrics.metrics import BUCKET_SECONDS
from rpcproxy.rules.telling.sample import Times
from rpcproxy.rules.telling.tallies import HourRow, Outage

HOUR = 3600
NOW = 1_800_000_000.0 // HOUR * HOUR
ODD = "b<i>$x_1$ & \x1b[31m"


def times(seconds: float, count: int = 100, units: int = 200) -> Times:
    buckets = [0] * (len(BUCKET_SECONDS) + 1)
    buckets[next(n for n, bound in enumerate(BUCKET_SECONDS) if seconds <= bound)] = count
    return Times(tuple(buckets), seconds * count, count, units)


def row(upstream: str, ago_hours: int = 1, **fields: Any) -> HourRow:
    hour = int(NOW) - ago_hours * HOUR
    known = {"provider": f"of {upstream}", "watched_seconds": 3600.0, "first": float(hour)}
    known |= {"last": hour + 3600.0}
    return HourRow(hour=hour, part=0, **{"chain": "eth", "upstream": upstream, **known, **fields})


def outage(upstream: str, start: float, end: float, **fields: Any) -> Outage:
    known = {"provider": f"of {upstream}", "state": "ejected", "reason": "timeout", "is_over": True}
    start, end = NOW - HOUR + start, NOW - HOUR + end
    return Outage(**{"chain": "eth", "upstream": upstream, **known, **fields}, start=start, end=end)


ROWS = (
    row(
        "a",
        down_seconds=36.0,
        limited_seconds=360.0,
        lag_seconds=1000.0,
        lag_block_seconds=500.0,
        lag_most=4,
        attempts={"ok": 80, "reverted": 10, "timeout": 4, "rate_limited": 6, "cancelled": 50},
        probes={"ok": 30, "broken": 2},
        times={"light": times(0.04), "heavy": times(0.4, 10, 80)},
    ),
    row("a", 2, attempts={"ok": 100}),
    row(ODD, attempts={"ok": 1}, probes={"unreachable": 3}, watched_seconds=0.0),
    row("c", chain="base", provider="of a", down_seconds=720.0),
    row("", requests={"ok": 190, "own_error": 1, "local": 9}, down_seconds=12.0),
)


def card_of(
    *outages: Outage,
    rows: tuple[HourRow, ...] = ROWS,
    since: float = NOW - 86_400,
    **runs: RunFacts,
) -> Any:
    known = {"one": RunFacts(NOW - 86_400), **runs}
    kept = Kept(known, [("one", r) for r in rows], [("one", o) for o in outages])
    return report_card(kept, since, NOW)


def test_figures_of_an_upstream_and_of_its_provider() -> None:
    card = card_of(outage("a", 0.0, 36.0))
    figures = {(f.chain, f.upstream): f for f in card.upstreams}
    a = figures["eth", "a"]
    assert a.availability == pytest.approx(1 - 36 / 7200)
    assert (a.down_seconds, a.limited_time_share) == (36.0, 0.05)
    assert (a.attempts, a.success_share, a.rate_limited_share) == (200, 0.95, 0.03)
    assert list(a.errors.items()) == [("rate_limited", 6), ("timeout", 4)]
    assert a.probe_errors == {"broken": 2}
    assert 0.025 < a.classes["light"].p50_seconds < a.classes["light"].p99_seconds <= 0.05
    assert 0.25 < a.classes["heavy"].p50_seconds < 0.5
    assert set(a.classes) == {"light", "heavy"}
    assert (a.lag_blocks_mean, a.lag_blocks_most) == (0.5, 4)
    assert (a.calls, a.compute_units_estimate) == (142, 280 + 32 * PROBE_UNITS)
    assert (a.outages, a.longest_outage_seconds) == (1, 36.0)
    odd = figures["eth", ODD]
    assert (odd.availability, odd.lag_blocks_mean, odd.classes) == (None, None, {})
    of_a = next(f for f in card.providers if f.provider == "of a")
    assert (of_a.chain, of_a.upstream) == ("", "")
    assert of_a.availability == pytest.approx(1 - 756 / 10_800)
    assert (of_a.attempts, of_a.outages) == (200, 1)
    [eth] = card.chains
    assert (eth.requests, eth.failed_share) == ({"ok": 190, "own_error": 1, "local": 9}, 0.005)
    assert eth.unserved_seconds == 12.0
    assert (card.watched_from, card.watched_to) == (utc(NOW - 2 * HOUR), utc(NOW))


def test_only_the_time_that_was_asked_for() -> None:
    began_before = outage("a", -9000.0, 60.0)
    card = card_of(
        began_before,
        outage("a", -9000.0, -8000.0),
        rows=(*ROWS, row("a", -100, attempts={"ok": 7})),
        since=NOW - HOUR,
    )
    assert next(f for f in card.upstreams if f.upstream == "a").attempts == 100
    [one] = card.outages
    assert (one.start, one.seconds) == (utc(NOW - HOUR), 60.0)


def test_what_two_processes_saw_is_one_outage() -> None:
    kept = Kept(
        {"one": RunFacts(0.0), "two": RunFacts(1.0)},
        [("one", row("a")), ("two", row("a", down_seconds=360.0))],
        [
            ("one", outage("a", 10.0, 20.0)),
            ("two", outage("a", 12.0, 30.0, is_over=False, dark_seconds=3.0)),
            ("two", outage("a", 30.0, 40.0)),
            ("two", outage("c", 11.0, 12.0)),
        ],
    )
    card = report_card(kept, NOW - HOUR, NOW)
    assert card.processes == 2
    assert [(o.upstream, o.seconds) for o in card.outages] == [("a", 10.0), ("c", 1.0), ("a", 20.0)]
    assert (card.outages[2].is_over, card.outages[2].dark_seconds) == (False, 3.0)
    [a] = card.upstreams
    assert (a.availability, a.watched_seconds) == (0.95, 7200.0)


def test_times_of_other_buckets_are_not_mixed_in() -> None:
    kept = Kept(
        {"old": RunFacts(0.0, bounds=(1.0, 2.0)), "new": RunFacts(1.0)},
        [
            ("old", row("a", 3, times={"light": Times((0, 0, 9), 90.0, 9, 9)})),
            ("new", row("a", times={"light": times(0.04)})),
        ],
        [],
    )
    light = report_card(kept, NOW - 86_400, NOW).upstreams[0].classes["light"]
    assert light.calls == 109
    assert light.p99_seconds is not None
    assert light.p99_seconds <= 0.05


# ---- as text


def test_shares_and_spans_in_words() -> None:
    words = [report_view.percent(s) for s in (None, 1.0, 0.999999, 0.99949, 0.95, 1e-6, 0.0)]
    assert words == ["-", "100%", "99.999%", "99.949%", "95.00%", "<0.01%", "0%"]
    spans = [report_view.span(s) for s in (0.25, 42.4, 59.7, 3599.0, 3_700.0, 90_000.0)]
    assert spans == ["0.2 s", "42 s", "1 min 0 s", "59 min 59 s", "1 h 1 min", "1 d 1 h"]


def test_the_tables_say_it_all() -> None:
    dark = outage("a", 0.0, 36.0, dark_seconds=9.0)
    unserved = Outage(chain="eth", upstream="", start=NOW - 90, end=NOW - 30)
    text = report_view.as_tables(card_of(dark, unserved), 200, is_terminal=False)
    assert "eth: 200 requests of wallets, 1 ended in an error of ours; for 12 s nobody" in text
    [line] = re.findall(r"^ eth +a +of a .*$", text, re.MULTILINE)
    for words in ("99.50%", "38/50 ms", "95.00%", "3.00%", "0.5 ≤4", "142", "344", "1, ≤36 s"):
        assert words in line
    assert "rate_limited 6, timeout 4" in text
    assert "ejected: timeout (for 9.0 s of it all were down)" in text
    assert re.search(
        r"all +nobody could serve the chain \(not over when it was last looked at\)", text
    )
    assert r"b<i>$x_1$ & \x1b[31m" in text
    assert "\x1b" not in text
    assert "\x1b[" in report_view.as_tables(card_of(), is_terminal=True)
    many = [outage("a", n * 2.0, n * 2.0 + 1.0) for n in range(25)]
    assert "the last 20 (and 5 before)" in report_view.as_tables(card_of(*many), is_terminal=False)


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("columns", [80, 120, 200])
def test_the_tables_fit(columns: int, is_terminal: bool) -> None:
    unserved = Outage(chain="eth", upstream="", start=NOW - 90, end=NOW - 30)
    text = report_view.as_tables(card_of(unserved), columns, is_terminal=is_terminal)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    assert max(map(len, lines)) <= columns
    if not is_terminal:
        assert max(len(line.encode()) for line in lines) <= columns + 8  # of ≤ and the like
    for words in ("99.50%", "38/50 ms", "95.00%", "3.00%", "0.5 ≤4", "142", "344"):
        assert words in text, words


def test_csv_is_read_back() -> None:
    formula = row("=1+1", attempts={"ok": 1})
    lines = list(csv.DictReader(io.StringIO(report_view.as_csv(card_of(rows=(*ROWS, formula))))))
    a = next(line for line in lines if line["upstream"] == "a")
    assert (a["scope"], a["availability"], a["errors"]) == (
        "upstream",
        "0.995",
        "rate_limited=6 timeout=4",
    )
    assert (a["light_calls"], a["send_calls"], a["compute_units_estimate"]) == ("100", "", "344")
    assert "'=1+1" in {line["upstream"] for line in lines}
    assert [line["scope"] for line in lines].count("provider") == len(card_of().providers) + 1


# ---- as a page


def test_the_page_holds_everything_and_asks_nobody() -> None:
    from rpcproxy.commands.runs import report_plots  # matplotlib: a second for each worker, above

    card = card_of(outage("a", 0.0, 36.0), outage(ODD, 5.0, 6.0))
    plots = report_plots.plots(card)
    assert [plot.title for plot in plots] == [
        "When they were down",
        "How long answers took: light requests, median to 99th percentile",
        "How long answers took: heavy requests, median to 99th percentile",
        "Errors, by kind",
        "Calls, probes included",
    ]
    text = report_page.page(card, plots)
    for wanted in ("99.50%", "ejected: timeout", "38/50 ms", "rate_limited 6, timeout 4"):
        assert wanted in text
    # Nothing is fetched: no such element or attribute, and a policy that forbids the rest.
    assert "default-src 'none'".replace("'", "&#x27;") in text
    assert not re.findall(r"<(?:script|link|img|iframe|object|use[^>]+http)|\bsrc=|@import", text)
    links = re.findall(r'(?:href|url)[=(]"?([^")]+)', text)
    assert all(link.startswith("#") for link in links)
    names = re.findall(r'\bid="([^"]+)"', text)
    assert len(names) == len(set(names))
    assert {link[1:] for link in links} <= set(names)
    # Names of upstreams are words, and no orders.
    assert "<i>" not in text
    assert "b&lt;i&gt;$x_1$ &amp;" in text
    for plot in plots:
        ET.fromstring(plot.svg)
        assert "<metadata" not in plot.svg
    assert report_plots.plots(card) == plots, "the same figures make the same file"


def test_a_page_without_figures() -> None:
    from rpcproxy.commands.runs import report_plots

    card = card_of(rows=())
    assert report_plots.plots(card) == []
    assert "No figures since" in report_page.page(card, [])
    assert "No figures since" in report_view.as_tables(card, is_terminal=False)


# ---- the command


@pytest.fixture
def history(tmp_path: Path) -> Path:
    path = tmp_path / FILE_NAME
    file = HistoryFile(path, 1 << 20)
    run = ProcessRun("one", msgspec.json.encode(RunFacts(NOW)))
    rows = [TallyRow(r.hour, 0, r.chain, r.upstream, msgspec.json.encode(r)) for r in ROWS]
    lost = outage("a", 0.0, 36.0)
    file.write(run, rows, [OutageRow("eth", "a", lost.start, msgspec.json.encode(lost))], NOW)
    file.close()
    return path


def told_by(*arguments: str, at: float = NOW) -> int:
    """The command, run at that time."""
    return cli.main(["report", *arguments], clock=Clock(lambda: at, lambda: at))


def test_the_command_reads_files_and_directories(
    history: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "proxy.yaml"
    config.write_text(
        f"server: {{history: {tmp_path}}}\n"
        "chains: [{name: eth, chain_id: 1, upstreams: ['http://127.0.0.1:9/a-key']}]\n"
    )
    told = []
    for where in (["--history", str(history)], ["--history", str(tmp_path)], ["-c", str(config)]):
        assert told_by(*where, "--json") == 0
        told.append(json.loads(capsys.readouterr().out))
    assert told[0] == told[1] == told[2]
    assert told[0]["outages"][0]["upstream"] == "a"
    assert told_by("--history", str(history), "--csv") == 0
    assert capsys.readouterr().out.startswith("scope,provider,")
    assert told_by("--history", str(history), "--since", "90m") == 0
    assert "Upstreams" in capsys.readouterr().out
    page = tmp_path / "card.html"
    assert told_by("--history", str(history), "--html", str(page)) == 0
    assert page.read_text().startswith("<!doctype html>")


def test_the_command_says_what_is_missing(
    history: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def error_of(*arguments: str, code: int = 2, at: float = NOW) -> str:
        assert told_by(*arguments, at=at) == code
        return capsys.readouterr().err

    assert "there is no history at" in error_of("--history", str(tmp_path / "none"))
    assert "may keep it elsewhere" in error_of()
    config = tmp_path / "proxy.yaml"
    config.write_text(
        "server: {history: off}\nchains: [{name: e, chain_id: 1, upstreams: ['http://a.test']}]\n"
    )
    assert "the history is off" in error_of("-c", str(config))
    missing = str(tmp_path / "none" / "card.html")
    assert "cannot be written" in error_of("--history", str(history), "--html", missing)
    later = NOW + 90 * 86_400
    assert "no figures of this time" in error_of("--history", str(history), code=0, at=later)
    monkeypatch.delitem(sys.modules, "rpcproxy.commands.runs.report_plots", raising=False)
    monkeypatch.delattr("rpcproxy.commands.runs.report_plots", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    words = error_of("--history", str(history), "--html", str(tmp_path / "card.html"))
    assert f"add the extra 'report': {how_to_add('report')}" in words
    assert "'rpcproxy[" not in words


@pytest.mark.parametrize("text", ["30", "d", "-1d", "0h", "5y", "99999w"])
def test_a_time_that_is_none_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["report", f"--since={text}"])
    assert "is no time such as 12h, 7d or 4w" in capsys.readouterr().err


def test_the_help_tells_the_time_between_looks() -> None:
    assert f"shorter than the {SAMPLE_SECONDS:g} s between two looks" in report.EPILOG
