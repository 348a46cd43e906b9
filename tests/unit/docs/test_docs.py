"""What README and docs say is so: names exist, and none is left out."""

from __future__ import annotations

import re
import shlex
import typing
from collections.abc import Iterator

import pytest

import rpcproxy
from rpcproxy import cli
from rpcproxy.app.people.timeline_disk import BOUNDS
from rpcproxy.chains.method import MethodKind
from rpcproxy.config.model import Deadlines, Upstream
from rpcproxy.edges.disk import journal_file, journal_schema
from rpcproxy.edges.http.target import EdgeSettings
from rpcproxy.edges.metrics.metric_row import MetricKind
from rpcproxy.edges.metrics.metric_table import METRIC_TABLE
from rpcproxy.engine.attempts import executor, request_log
from rpcproxy.engine.sends import broadcast
from rpcproxy.engine.watch import watcher
from rpcproxy.front.operators.admin import (
    CHANGES_KEPT,
    ChainPage,
    ChangeEntry,
    OrderStatus,
    ReloadStatus,
    Status,
)
from rpcproxy.front.operators.admin_transactions import (
    OPEN_SHOWN,
    ChainTransactions,
    TransactionEntry,
)
from rpcproxy.front.pages.outlook import (
    ChangeTold,
    IncidentEntry,
    RefusalEntry,
    StripEntry,
    StripsEntry,
    TrafficEntry,
)
from rpcproxy.front.wire.live import USUAL_LIVE
from rpcproxy.messages import Verdict
from rpcproxy.rules.heads import cadence
from rpcproxy.rules.requests import failover, steps
from rpcproxy.rules.sends import ballot, pool, rebroadcasts
from rpcproxy.rules.sends.journaled import TransactionState
from rpcproxy.rules.standing import domains, exclusions
from rpcproxy.rules.standing import standings as standing_rules
from rpcproxy.rules.standing.settings import Settings
from rpcproxy.rules.standing.standings import Standings
from rpcproxy.rules.telling import incidents
from rpcproxy.rules.telling.happenings import HandKind
from rpcproxy.rules.telling.snapshot import snapshot_of
from rpcproxy.states import BETTER, ChangeKind, UpstreamState
from tests.kits.evm_rules import standings_of
from tests.kits.pages import (
    CONFIGURATION,
    DOCS,
    METRICS,
    PACKAGE,
    PAGES,
    README,
    ROOT,
    assert_told,
    fenced,
    first_names,
    names,
    rows,
    section,
)

# ---- metrics, status, log


def standings() -> Standings:
    upstream = Upstream(name="a", url="http://a.test", provider="a", rate_limit_per_second=5)
    return standings_of([upstream], Settings(), 0.0)


KNOWN_METRICS = {row.name: row for row in METRIC_TABLE}


def test_every_metric_is_told_as_it_is() -> None:
    table = list(rows(section(METRICS, "`/metrics`")))
    told = {
        names(name)[0]: (kind, tuple(filter(None, labels.split(", "))))
        for name, kind, labels, _ in table
    }
    assert len(told) == len(table)
    known = {
        # Prometheus is told that what is there for its labels alone is a gauge.
        name: ("gauge" if row.kind is MetricKind.INFO else row.kind, row.labels)
        for name, row in KNOWN_METRICS.items()
    }
    assert_told(told, known, "docs/metrics.md, /metrics")
    assert told == known


def test_no_page_names_a_metric_that_is_none() -> None:
    for page, text in PAGES.items():
        for name in re.findall(r"\brpcproxy_[a-z_]+", text):
            assert name in KNOWN_METRICS, f"{page}: {name}"


def test_verdicts_and_states_are_told() -> None:
    labels = [verdict.label for verdict in Verdict]
    assert_told(first_names(section(METRICS, "Verdicts")), labels, "docs/metrics.md, Verdicts")
    assert_told(first_names(section(METRICS, "States")), UpstreamState, "docs/metrics.md, States")
    for row in rows(section(METRICS, "Verdicts")):
        verdict = next(v for v in Verdict if v.label == names(row[0])[0])
        blames = {"": ("nobody", "client"), "yes": ("upstream",)}
        blames |= {"cooldown": ("limit",), "quarantine": ("access",)}
        assert verdict.blame.value in blames[row[2]], verdict


def test_the_status_is_told_key_by_key() -> None:
    snapshot = snapshot_of(standings(), 1.0)[0]
    expected = [
        *typing.get_type_hints(Status),
        *typing.get_type_hints(ChainPage),
        *snapshot,
        *snapshot["classes"]["light"],
        "order",
    ]
    told = section(METRICS, "`/status`")
    assert sorted(first_names(told)) == sorted(expected)
    entries = (ChangeEntry, ReloadStatus, IncidentEntry, TrafficEntry, StripsEntry, StripEntry)
    entries += (RefusalEntry, OrderStatus)
    for key in (key for entry in entries for key in typing.get_type_hints(entry)):
        assert f"`{key}`" in told


def test_the_timeline_is_told_key_by_key() -> None:
    told = section(METRICS, "The timeline")
    assert sorted(first_names(told)) == sorted(typing.get_type_hints(ChangeTold))
    kinds = told.partition("| `kind` |")[2].partition("\n")[0]
    for kind in HandKind:
        assert f"`{kind}`" in kinds
    assert f"{BOUNDS['happening']:,} entries" in told


def test_the_transactions_are_told_key_by_key() -> None:
    told = section(METRICS, "`/transactions`")
    keys, states = told.split("| state | meaning |")
    assert sorted(first_names(keys)) == sorted(typing.get_type_hints(TransactionEntry))
    assert re.findall(r"^\| `(\w+)` \|", states, re.MULTILINE) == [
        state.value for state in TransactionState
    ]
    for key in typing.get_type_hints(ChainTransactions):
        assert f"`{key}`" in told


def logged_events() -> set[str]:
    """Names of events and kinds of changes, as the code spells them."""
    # Told to webhooks alone; a refused file is a line of config_reload.
    of_samples = {
        *(ChangeKind.OUTAGE, ChangeKind.OUTAGE_OVER),
        *(ChangeKind.SENDS_REFUSED, ChangeKind.SENDS_TAKEN, ChangeKind.CONFIG_REFUSED),
    }
    found = {"log_lines_lost", *(set(ChangeKind) - of_samples)}
    for path in sorted(PACKAGE.rglob("*.py")):
        if "drills" in path.parts:
            continue  # the demo's own are not logged by the proxy
        text = path.read_text()
        found |= set(re.findall(r'\bevent\(\s*_log,\s*[\w.]+,\s*"(\w+)"', text))
        found |= set(re.findall(r'\b_warn\(\s*"(\w+)"', text))
        if path.stem == "feeds":
            for pair in re.findall(r'\bkind = "(\w+)"(?: if .+ else "(\w+)")?', text):
                found |= set(filter(None, pair))
    return found


def test_every_event_is_told() -> None:
    events = logged_events()
    assert events > {"ejected", "suspect", "unsuspect", "lagging", "panic_over", "drain"}
    assert events > {"forked", "joined", "reorg", "feed_live", "feed_lost", "audit_differed"}
    table = list(rows(section(METRICS, "The log")))
    assert_told([names(row[0])[0] for row in table], events, "docs/metrics.md, The log")
    ours = {
        "serving",
        "admin",
        "drain",
        "config_reload",
        "feed_live",
        "journal_well",
        "journal_taken",
        "resumed",
        "history_well",
        "timeline_well",
        "traces_well",
    }
    for event, level, _ in table:
        is_better = names(event)[0] in BETTER | ours
        assert ("INFO" in level) == is_better, f"docs/metrics.md, The log: the level of {event}"


# ---- numbers


def test_numbers_are_those_of_the_code() -> None:
    hedge = f"{standing_rules.HEDGE_FACTOR} times"
    bounds = f"({standing_rules.SHORTEST_HEDGE_SECONDS * 1000:g} ms to "
    bounds += f"{standing_rules.LONGEST_HEDGE_SECONDS:g} s"
    unknown = f"{standing_rules.DEFAULT_HEDGE_SECONDS * 1000:g} ms while little is known"
    young = f"for less than {steps.YOUNG_OUTAGE_SECONDS:g} s"
    assert failover.OLD_OUTAGE_WAIT_SECONDS < 1.0, "README: within about a second"
    deadlines = Deadlines()
    waits = (
        f"{deadlines.light_seconds:g} s for light reads, {deadlines.heavy_seconds:g} s for heavy "
        f"ones, {deadlines.send_seconds:g} s for sends"
    )
    minutes = [exclusions.METHOD_SECONDS / 60, exclusions.SIZE_SECONDS / 60]
    remembered = "{:g} to {:g} minutes".format(*minutes)
    flat = " ".join(README.split())
    for words in (hedge, bounds, unknown, young, waits, remembered, "three providers at once"):
        assert words in flat, words
    flat = " ".join(DOCS["transactions.md"].split())
    assert "three providers at once" in flat
    assert broadcast.COPIES == 3
    assert (ballot.REJECTION_SHARE, ballot.REJECTION_SECONDS) == (0.7, 2.0)
    near = ("zero", "one", "two", "three")[rebroadcasts.NEAR_BLOCKS]
    expiry = f"{pool.EXPIRY_SECONDS / 3600:g} h have passed"
    for words in ("70 % of those", "or 2 s after", f"the next {near} blocks", expiry):
        assert words in flat, words
    assert journal_file.CLOSED_SECONDS == 7 * 86_400, "a week"
    assert journal_schema.USUAL.closed_rows == 500_000, "half a million"
    assert f"at most {OPEN_SHOWN}" in METRICS
    assert METRICS.count(f"took it for {pool.EXPIRY_SECONDS / 3600:g} h") == 2
    assert (exclusions.BATCH_SECONDS, exclusions.SIZE_SECONDS) == (600.0, 600.0)
    flat = " ".join(CONFIGURATION.split())
    head = f"{cadence.SHORTEST_PAUSE_SECONDS:g} to {cadence.LONGEST_PAUSE_SECONDS:g} s"
    identity = f"every {watcher.IDENTITY_SECONDS / 60:g} minutes"
    window = f"fail within {domains.WINDOW_SECONDS:g} s"
    for words in (hedge, bounds[:-1], head, identity, window):
        assert words in flat, words
    assert f"{EdgeSettings().hold_bytes >> 20} MiB" in PAGES["CHANGELOG.md"]
    assert f"{EdgeSettings().hold_bytes >> 20} MiB" in DOCS["architecture.md"]
    assert f"At most {request_log.LOG_LINES_PER_SECOND:g} a second" in METRICS
    assert f"the last {CHANGES_KEPT} changes" in METRICS
    assert f"at most {USUAL_LIVE.most} at once" in METRICS
    assert f"the last {incidents.KEPT} that are over" in METRICS
    assert round(1 / executor.TICK_SECONDS) == 20, "architecture.md: twenty times a second"


def test_buckets_are_told() -> None:
    """As lists of numbers, each with its unit: 1, 2 and 5 min."""
    in_seconds = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
    told = " ".join(section(METRICS, "`/metrics`").split())
    (usual,) = re.findall(r"Histograms have buckets at (.+? s)\.", told)
    of_others = dict(re.findall(r"`(\w+)` has buckets at (.+? h)\.", told))
    for row in METRIC_TABLE:
        if row.kind is MetricKind.HISTOGRAM:
            words = of_others.pop(row.name, usual)
            assert row.buckets == tuple(
                pytest.approx(float(number) * in_seconds[unit])
                for numbers, unit in re.findall(r"(\d[\d., and]*) (ms|s|min|h)\b", words)
                for number in re.findall(r"\d+(?:\.\d+)?", numbers)
            ), row.name
    assert not of_others


# ---- commands, links, names of modules


def commands() -> Iterator[list[str]]:
    for text in PAGES.values():
        for block in fenced(text, "sh"):
            for line in block.splitlines():
                words = shlex.split(line, comments=True)
                if words:
                    yield words


def test_commands_are_understood() -> None:
    served = [words[1:] for words in commands() if words[0].endswith("/rpcproxy")]
    assert len(served) >= 2
    for arguments in served:
        assert callable(cli._parser().parse_args(arguments).load)
    (commands_of,) = cli._parser()._subparsers._group_actions  # type: ignore[union-attr]
    every = set(commands_of.choices or ())
    for page, text in PAGES.items():
        for arguments_text in re.findall(r"`rpcproxy ([a-z]+)[ `]", text):
            assert arguments_text in every, page


def test_make_has_its_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = {
        target
        for text in PAGES.values()
        for target in re.findall(r"(?:`|^)make ([a-z]+)", text, re.MULTILINE)
    }
    assert targets >= {"run", "test", "check", "bench"}
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for arguments in re.findall(r'make run ARGS="([^"]+)"', README):
        cli._parser().parse_args(["demo", *arguments.split()])


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    home = ROOT / "docs" if page in DOCS else ROOT
    for target in re.findall(r"\]\(([^)]+)\)", PAGES[page]):
        path, _, anchor = target.partition("#")
        file = home / path if path else home / page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text()), target


def test_the_changelog_tells_this_version() -> None:
    assert f"## {rpcproxy.__version__}\n" in PAGES["CHANGELOG.md"]


def test_there_is_one_place_for_the_benchmark() -> None:
    assert README.count("<!-- bench:begin -->") == README.count("<!-- bench:end -->") == 1
    assert README.index("<!-- bench:begin -->") < README.index("<!-- bench:end -->")


def test_refused_methods_are_refused() -> None:
    from rpcproxy.chains.evm.methods import describe

    refused = [row for row in rows(section(README, "What it refuses")) if "−32601" in row[1]]
    kinds = [
        {describe(name.replace("…", "_x" if name == "eth_sign…" else "x")).kind for name in found}
        for row in refused
        if (found := names(row[0]))
    ]
    assert kinds == [{MethodKind.STATEFUL}, {MethodKind.REFUSED}, {MethodKind.REFUSED}]
