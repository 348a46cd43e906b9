"""Counters, and what Prometheus reads of them."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from rpcproxy import __version__
from rpcproxy.edges.metrics.exposition import Exposition, ProxyCollector, Sources
from rpcproxy.edges.metrics.metrics import (
    BUCKET_SECONDS,
    ChainCounters,
    Counters,
    LabelTally,
    LoopLag,
)
from rpcproxy.edges.metrics.send_counters import MINED_BUCKET_SECONDS, SendCounters
from rpcproxy.messages import MethodClass, Verdict
from tests.kits.filled_metrics import BUSY, INFURA, Changed, busy_counters, busy_sources
from tests.kits.waiting import limited

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse_text(text)
        for sample in family.samples
    }


class Scraped:
    """The samples of one scrape, by name and labels."""

    def __init__(self, text: str) -> None:
        self.by_key = samples(text)

    def __call__(self, name: str, **labels: str) -> float | None:
        return self.by_key.get((f"rpcproxy_{name}", frozenset(labels.items())))

    def labels(self, name: str) -> list[dict[str, str]]:
        return [dict(labels) for found, labels in self.by_key if found == f"rpcproxy_{name}"]


async def scrape(counters: Counters, sources: Sources | None = None, accept: str = "") -> str:
    body, _ = await Exposition(ProxyCollector(counters, sources)).scrape(accept)
    return body.decode()


# --------------------------------------------------------------------------
# What is shown


async def test_requests_are_counted_by_class_and_outcome_and_timed() -> None:
    got = Scraped(await scrape(busy_counters()))

    def requests(method_class: str, outcome: str) -> float | None:
        return got("requests_total", chain="ethereum", method_class=method_class, outcome=outcome)

    assert requests("light", "ok") == 2
    assert requests("light", "rpc_error") == 0
    assert requests("heavy", "own_error") == 1
    assert requests("light", "local") == 3  # one timed, two not
    assert requests("send", "local") == 0
    assert got("local_answers_total", chain="ethereum") == 3
    light = {"chain": "ethereum", "method_class": "light"}
    assert got("request_seconds_count", **light) == 3
    assert got("request_seconds_sum", **light) == pytest.approx(0.0401)
    assert got("request_seconds_bucket", le="0.001", **light) == 1
    assert got("request_seconds_bucket", le="0.01", **light) == 1
    assert got("request_seconds_bucket", le="0.025", **light) == 3
    assert got("request_seconds_bucket", le="30.0", **light) == 3
    heavy = {"chain": "ethereum", "method_class": "heavy"}
    assert got("request_seconds_bucket", le="30.0", **heavy) == 0
    assert got("request_seconds_bucket", le="+Inf", **heavy) == 1


async def test_attempts_and_probes_are_counted_by_upstream_and_verdict() -> None:
    got = Scraped(await scrape(busy_counters()))
    infura = {"chain": "ethereum", "upstream": "infura-us"}
    assert got("attempts_total", verdict="ok", **infura) == 1
    assert got("attempts_total", verdict="timeout", **infura) == 1
    assert got("attempts_total", verdict="cancelled", **infura) == 1
    assert got("attempts_total", verdict="not_json", **infura) is None  # never happened
    assert got("attempt_seconds_count", **infura) == 2  # the cancelled one is not timed
    assert got("attempt_seconds_sum", **infura) == pytest.approx(1.519)
    assert got("probes_total", verdict="ok", **infura) == 2


async def test_failovers_hedges_changes_and_the_rest_are_counted() -> None:
    got = Scraped(await scrape(busy_counters()))
    ethereum = {"chain": "ethereum"}
    assert got("failovers_total", reason="timeout", **ethereum) == 2
    assert got("hedges_total", upstream="infura-us", **ethereum) == 1
    assert got("hedges_won_total", upstream="quiet", **ethereum) == 1
    assert got("hedges_won_total", upstream="infura-us", **ethereum) is None
    # Kinds that are enums and kinds that are words are the same kinds.
    assert got("state_changes_total", upstream="quiet", kind="ejected", **ethereum) == 2
    assert got("sends_total", result="accepted", **ethereum) == 1
    assert got("sends_total", result="rejected", **ethereum) == 2
    assert got("retry_budget_exhausted_total", **ethereum) == 1
    assert got("waited_for_recovery_total", **ethereum) == 1
    assert got("batches_total", **ethereum) == 2
    assert got("batch_members_total", **ethereum) == 10
    assert got("config_reloads_total", result="accepted") == 1
    assert got("config_reloads_total", result="refused") == 1
    [build] = got.labels("build_info")
    assert build["version"] == __version__


async def test_standings_are_shown_per_upstream_and_class() -> None:
    got = Scraped(await scrape(Counters(), busy_sources()))
    infura = {"chain": "ethereum", "upstream": "infura-us"}
    assert got("upstream_up", **infura) == 1
    assert got("upstream_head_number", **infura) == 21_000_000
    assert got("upstream_lag_blocks", **infura) == 1
    assert got("upstream_in_flight", **infura) == 3
    assert got("upstream_cooldown_seconds", **infura) == 0
    assert got("upstream_suspect", **infura) == 1
    assert got("upstream_unsupported_methods", **infura) == 1
    assert got("upstream_cost", method_class="light", **infura) == 21.5
    assert got("upstream_cost", method_class="heavy", **infura) == float("inf")
    assert got("upstream_latency_seconds", method_class="light", **infura) == 0.02
    assert got("upstream_latency_seconds", method_class="heavy", **infura) is None
    assert got("upstream_failure_ratio", method_class="light", **infura) == 0.25
    assert got("upstream_breaker_open", method_class="light", **infura) == 0
    assert got("upstream_breaker_open", method_class="heavy", **infura) == 1
    assert got("upstream_breaker_open", method_class="send", **infura) == 1
    domain = {"provider": "infura", "cloud": "aws", "region": "us-east-1"}
    assert got("upstream_info", tier="primary", role="full", **domain, **infura) == 1
    assert got("upstream_connections", **infura) == 4
    assert got("upstream_connections_idle", **infura) == 1


async def test_what_a_snapshot_does_not_say_is_left_out() -> None:
    got = Scraped(await scrape(Counters(), busy_sources()))
    quiet = {"chain": "ethereum", "upstream": "quiet"}
    assert got("upstream_up", **quiet) == 0
    for name in ("head_number", "lag_blocks", "in_flight", "suspect", "unsupported_methods"):
        assert got(f"upstream_{name}", **quiet) is None
    # An entry without a name cannot be labelled; it is still one of the upstreams that are up.
    assert {labels["upstream"] for labels in got.labels("upstream_up")} == {"infura-us", "quiet"}
    nameless = Sources(standings=lambda: {"ethereum": [{"name": "x"}]})
    assert Scraped(await scrape(Counters(), nameless)).labels("upstream_up") == []


async def test_chains_show_their_head_and_upstreams_by_state() -> None:
    got = Scraped(await scrape(Counters(), busy_sources()))
    assert got("chain_head_number", chain="ethereum") == 21_000_001
    assert got("chain_head_number", chain="base") is None
    assert got("chain_upstreams", chain="ethereum", state="up") == 2
    assert got("chain_upstreams", chain="ethereum", state="ejected") == 1
    assert got("chain_upstreams", chain="base", state="up") == 0
    assert got("client_connections") == 5
    assert got("client_connections_refused_total") == 2
    assert got("held_bytes") == 7000
    assert got("client_requests_crowded_out_total") == 3


async def test_requests_answered_without_a_new_question_are_counted_by_reason() -> None:
    got = Scraped(await scrape(busy_counters()))
    ethereum = {"chain": "ethereum"}
    assert got("kept_answers_total", reason="head", **ethereum) == 1
    assert got("kept_answers_total", reason="block", **ethereum) == 2
    assert got("joined_requests_total", **ethereum) == 1
    assert got("requests_total", method_class="light", outcome="kept", **ethereum) == 1
    assert got("requests_total", method_class="heavy", outcome="kept", **ethereum) == 3


async def test_chains_show_their_blocks_reorgs_and_halts() -> None:
    got = Scraped(await scrape(Counters(), busy_sources()))
    expected = {
        "chain_safe_number": 20_999_970,
        "chain_finalized_number": 20_999_930,
        "chain_head_age_seconds": 1.5,
        "chain_reorgs_total": 3,
        "chain_last_reorg_depth": 2,
        "chain_head_jumps_total": 1,
        "chain_split": 1,
        "chain_halted": 1,
        "chain_halted_seconds": 40,
    }
    assert {name: got(name, chain="ethereum") for name in expected} == expected
    unknown = {name: None for name in expected if "number" in name or "age" in name}
    unknown["chain_last_reorg_depth"] = None
    assert {name: got(name, chain="base") for name in expected} == {
        **dict.fromkeys(expected, 0),
        **unknown,
    }


async def test_stores_are_shown_by_place() -> None:
    got = Scraped(await scrape(Counters(), busy_sources()))
    memory = {"chain": "ethereum", "store": "memory"}
    disk = {"chain": "ethereum", "store": "disk"}
    assert got("cache_hits_total", **memory) == 70
    assert got("cache_misses_total", **memory) == 30
    assert got("cache_evicted_total", **memory) == 4
    assert got("cache_rejected_total", **memory) == 1
    assert got("cache_entries", **memory) == 10
    assert got("cache_bytes", **memory) == 5000
    assert got("cache_hits_total", **disk) == 7
    assert got("cache_entries", **disk) == 99
    assert got("cache_bytes", **disk) is None
    assert got("cache_evicted_total", **disk) is None


async def test_audits_feeds_and_forks_are_shown() -> None:
    forked = {"name": "lost", "state": "forked"}
    sources = Sources(
        standings=lambda: {"ethereum": [INFURA, forked]}, chains=lambda: {"ethereum": BUSY}
    )
    got = Scraped(await scrape(Counters(), sources))
    ethereum = {"chain": "ethereum"}
    assert got("audit_calls_total", **ethereum) == 12
    assert got("audits_total", finding="agreed", **ethereum) == 5
    assert got("audits_total", finding="differed", **ethereum) == 2
    assert got("audits_total", finding="unanswered", **ethereum) == 1
    assert got("audits_total", finding="voided", **ethereum) == 1
    assert got("audits_odd_total", upstream="infura-us", **ethereum) == 2
    assert got("upstream_feed_live", upstream="infura-us", **ethereum) == 1
    assert got("upstream_feed_live", upstream="quiet", **ethereum) == 0
    assert got("upstream_forked", upstream="lost", **ethereum) == 1
    assert got("upstream_forked", upstream="infura-us", **ethereum) == 0
    assert got("upstream_up", upstream="lost", **ethereum) == 0
    assert got("chain_upstreams", state="forked", **ethereum) == 1


async def test_what_became_of_transactions_is_shown() -> None:
    got = Scraped(await scrape(busy_counters(), busy_sources()))
    ethereum = {"chain": "ethereum"}
    assert got("sends_rejected_total", reason="nonce_too_low", **ethereum) == 1
    assert got("sends_rejected_total", reason="unserved", **ethereum) == 1
    assert len(got.labels("sends_rejected_total")) == 2
    assert got("rebroadcasts_total", **ethereum) == 5
    assert got("send_contradictions_total", **ethereum) == 1
    assert got("sends_unwritten_total", **ethereum) == 2
    assert got("transactions_expired_total", **ethereum) == 1
    assert got("transactions_pending", **ethereum) == 3
    assert got("transactions_oldest_pending_seconds", **ethereum) == 42.5
    assert got("journal_bytes", **ethereum) == 65_536
    assert got("journal_trouble", **ethereum) == 1
    base = {"chain": "base"}
    assert got("transactions_pending", **base) == 0
    assert got("transactions_oldest_pending_seconds", **base) == 0
    assert got("journal_bytes", **base) is None  # none is open
    assert got("journal_trouble", **base) == 0


async def test_how_long_blocks_took_is_a_histogram() -> None:
    got = Scraped(await scrape(busy_counters(), busy_sources()))

    def bucket(bound: str) -> float | None:
        return got("transaction_mined_seconds_bucket", chain="ethereum", le=bound)

    assert [bucket(le) for le in ("0.5", "10.0", "15.0", "21600.0", "+Inf")] == [1, 1, 3, 3, 4]
    assert got("transaction_mined_seconds_count", chain="ethereum") == 4
    assert got("transaction_mined_seconds_sum", chain="ethereum") == pytest.approx(30_024.9)


def test_a_bucket_of_the_mined_holds_its_own_bound() -> None:
    sends = SendCounters()
    for bound in MINED_BUCKET_SECONDS:
        sends.on_mined(bound)
    assert sends.mined_buckets == [1] * len(MINED_BUCKET_SECONDS) + [0]


async def test_nothing_known_is_still_a_valid_scrape() -> None:
    got = Scraped(await scrape(Counters()))
    assert got("client_connections") == 0
    assert got("client_connections_refused_total") == 0


async def test_the_process_itself_is_shown() -> None:
    names = {name for name, _ in samples(await scrape(Counters()))}
    assert {"process_cpu_seconds_total", "python_info", "python_gc_collections_total"} <= names


# --------------------------------------------------------------------------
# Formats


async def test_promtool_accepts_the_metrics(require_tool: Any) -> None:
    promtool = require_tool("promtool")
    text = await scrape(busy_counters(), busy_sources())
    done = await asyncio.to_thread(
        subprocess.run,
        [promtool, "check", "metrics"],
        input=text.encode(),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


async def test_every_name_has_one_type_and_help() -> None:
    lines = (await scrape(busy_counters(), busy_sources())).splitlines()
    types = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    helps = [line.split()[2] for line in lines if line.startswith("# HELP")]
    assert types == helps
    assert len(types) == len(set(types))


@pytest.mark.parametrize("accept", [OPENMETRICS, "application/openmetrics-text"])
async def test_openmetrics_is_given_to_who_asks(accept: str) -> None:
    exposition = Exposition(ProxyCollector(busy_counters(), busy_sources()))
    body, content_type = await exposition.scrape(accept)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    text = body.decode()
    assert text.endswith("# EOF\n")
    assert text.count("# EOF") == 1
    names = {family.name for family in parse_openmetrics(text)}
    assert {"rpcproxy_requests", "rpcproxy_request_seconds", "rpcproxy_build"} <= names


@pytest.mark.parametrize(
    "accept",
    ["", "*/*", "text/plain; version=0.0.4", "application/openmetrics-text; version=new"],
)
async def test_others_are_given_the_text_format(accept: str) -> None:
    body, content_type = await Exposition(ProxyCollector(Counters())).scrape(accept)
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert b"# EOF" not in body


async def test_names_from_the_configuration_are_escaped() -> None:
    counters = Counters()
    counters.chain('a"b\\c\nd').on_local()
    got = Scraped(await scrape(counters))
    assert got("local_answers_total", chain='a"b\\c\nd') == 1


async def test_other_work_gets_its_turn_during_a_scrape() -> None:
    turns = 0

    async def work() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.get_running_loop().create_task(work())
    await Exposition(ProxyCollector(busy_counters(), busy_sources())).scrape()
    task.cancel()
    assert turns > 20  # once between any two families


# --------------------------------------------------------------------------
# Keeping


def test_counters_of_a_chain_are_made_once_and_kept() -> None:
    counters = Counters()
    ethereum = counters.chain("ethereum")
    assert counters.chain("ethereum") is ethereum
    counters.chain("base")
    counters.chain("gone")
    counters.keep(["ethereum", "base", "new"])
    assert set(counters.chains) == {"ethereum", "base"}
    assert counters.chain("ethereum") is ethereum
    counters.drop("base")
    counters.drop("base")
    assert set(counters.chains) == {"ethereum"}


def test_upstreams_that_left_are_forgotten() -> None:
    chain = busy_counters().chain("ethereum")
    chain.on_change(Changed("", "halted"))
    chain.drop_upstreams(["infura-us"])
    assert chain.attempts == {}
    assert chain.probes == {}
    assert chain.hedges == {"quiet": 1}
    assert chain.hedges_won == {"quiet": 1}
    assert chain.changes == {("quiet", "ejected"): 2, ("", "halted"): 1}
    chain.drop_upstreams(["quiet"])
    assert chain.changes == {("", "halted"): 1}  # the chain as a whole


def test_a_bucket_holds_its_own_bound() -> None:
    tally = LabelTally(["ok"])
    for bound in BUCKET_SECONDS:
        tally.add("ok", bound)
    assert tally.buckets == [1] * len(BUCKET_SECONDS) + [0]
    assert BUCKET_SECONDS[0] == 0.001
    assert BUCKET_SECONDS[-1] == 30.0


def test_an_outcome_nobody_knows_is_a_bug() -> None:
    with pytest.raises(KeyError):
        ChainCounters().on_request(MethodClass.LIGHT, 0.1, "fine")


# --------------------------------------------------------------------------
# Lag of the event loop


async def test_the_worst_lag_since_the_last_scrape_is_shown() -> None:
    counters = Counters()
    counters.on_loop_lag(0.25)
    counters.on_loop_lag(0.125)
    assert Scraped(await scrape(counters))("event_loop_lag_seconds") == 0.25
    assert Scraped(await scrape(counters))("event_loop_lag_seconds") == 0


async def test_lag_is_measured_until_stopped() -> None:
    seen: list[float] = []
    enough = asyncio.Event()

    def report(seconds: float) -> None:
        seen.append(seconds)
        if len(seen) == 3:
            enough.set()

    lag = LoopLag(report, every_seconds=0.001)
    lag.start()
    async with limited():
        await enough.wait()
    lag.stop()
    assert all(seconds >= 0 for seconds in seen)


class FakeTimer:
    is_cancelled = False

    def __init__(self, when: float, fire: Any) -> None:
        self.when = when
        self.fire = fire

    def cancel(self) -> None:
        self.is_cancelled = True


class FakeLoop:
    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[FakeTimer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Any, *args: Any) -> FakeTimer:
        self.timers.append(FakeTimer(when, lambda: callback(*args)))
        return self.timers[-1]


def test_lag_is_what_the_timer_came_late() -> None:
    seen: list[float] = []
    loop = FakeLoop()
    lag = LoopLag(seen.append, every_seconds=0.5)
    lag.stop()  # nothing to stop yet
    lag._set(loop)
    assert loop.timers[0].when == 100.5
    loop.now = 100.9
    loop.timers[0].fire()
    assert seen == [pytest.approx(0.4)]
    assert loop.timers[1].when == pytest.approx(101.4)
    lag.stop()
    lag.stop()
    assert loop.timers[1].is_cancelled


# --------------------------------------------------------------------------
# Cost


def test_counting_costs_next_to_nothing() -> None:
    """In steps of the interpreter, which are the same on a busy machine. Some 10 to 20 ns each:
    0.6 µs for a request and an attempt, 0.15 µs for an answer of our own.
    """
    chain = ChainCounters()

    def steps(count: Callable[[], object]) -> int:
        count()  # the first of a kind makes its place
        taken = 0

        def trace(frame: FrameType, event: str, _: object) -> Callable[..., Any]:
            nonlocal taken
            frame.f_trace_opcodes = True
            taken += event == "opcode"
            return trace

        before = sys.gettrace()
        gc.disable()  # a collection that falls into it would be counted
        sys.settrace(trace)
        try:
            count()
        finally:
            sys.settrace(before)
            gc.enable()
        return taken

    assert 0 < steps(lambda: chain.on_request(MethodClass.LIGHT, 0.02, "ok")) <= 90
    assert 0 < steps(lambda: chain.on_attempt("infura-us", Verdict.OK, 0.02)) <= 160
    assert 0 < steps(chain.on_local) <= 20
