"""The admin port's pages."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pytest
from aiohttp.test_utils import TestClient, TestServer

from rpcproxy import __version__
from rpcproxy.edges.logs import Redactor
from rpcproxy.edges.metrics.exposition import Exposition, ProxyCollector
from rpcproxy.edges.metrics.metrics import Counters
from rpcproxy.front.operators.admin import (
    ChainState,
    ChainStatus,
    RecentChanges,
    Status,
    chain_state,
    halt_words,
    make_admin_app,
    readiness,
)
from rpcproxy.front.operators.admin_control import ControlView
from rpcproxy.front.operators.admin_transactions import ChainTransactions, TransactionEntry
from rpcproxy.messages import MethodClass

KEY = "9aa3d95b3bc440fa88ea12eaa4456161"


def chain_of(
    name: str, state: ChainState, *upstreams: Mapping[str, Any], halted: str | None = None
) -> ChainStatus:
    return {
        "name": name,
        "chain_id": 1,
        "state": state,
        "halted": halted,
        "served_head": 21_000_000,
        "served_hash": "0x" + "ab" * 32,
        "head_age_seconds": 1.5,
        "safe": {"number": 20_999_970, "hash": ""},
        "finalized": None,
        "reorgs": 1,
        "last_reorg": {"depth": 2, "ancestor": 20_999_990, "ago_seconds": 60.0},
        "head_jumps": 0,
        "split": False,
        "forked": {},
        "cache": {},
        "audits": {},
        "feeds": {},
        "transactions": {"pending": 1, "oldest_seconds": 12.0, "journal": "open"},
        "usable": sum(upstream.get("state") == "up" for upstream in upstreams),
        "panic": False,
        "hedge_delay_seconds": {"light": 0.05, "heavy": None},
        "outage_since": None,
        "upstreams": upstreams,
    }


@dataclass
class Changed:
    upstream: str
    kind: object
    reason: str
    method_class: MethodClass | None = None


class View:
    """What a running proxy would tell."""

    def __init__(self) -> None:
        self.chains: list[ChainStatus] = [chain_of("ethereum", "ok", {"name": "a", "state": "up"})]
        self.changes = RecentChanges()
        self.exposition = Exposition(ProxyCollector(Counters()))
        self.trouble: Exception | None = None
        self.sends: dict[str, str] = {}

    def status(self) -> Status:
        if self.trouble:
            raise self.trouble
        return {
            "version": __version__,
            "uptime_seconds": 12.5,
            "chains": self.chains,
            "changes": self.changes.latest_first(),
            "config": {
                "path": "rpcproxy.yaml",
                "accepted": 1,
                "refused": 0,
                "last_result": "",
                "last_time": None,
            },
        }

    def ready(self) -> tuple[bool, Mapping[str, Any]]:
        is_ready, told = readiness(self.chains)
        return is_ready, {**told, **({"sends": self.sends} if self.sends else {})}

    def transactions(self) -> Sequence[ChainTransactions]:
        return []

    async def transaction(self, hash: str) -> tuple[TransactionEntry | None, Mapping[str, str]]:
        return None, {}

    async def metrics(self, accept: str) -> tuple[bytes, str]:
        return await self.exposition.scrape(accept)


@pytest.fixture
def view() -> View:
    return View()


@pytest.fixture
async def admin(view: View) -> AsyncIterator[TestClient[Any, Any]]:
    app = make_admin_app(view, Redactor([KEY, "1234"]))
    async with TestClient(TestServer(app, host="127.0.0.1")) as client:
        yield client


async def test_healthz_says_that_the_process_lives(admin: TestClient[Any, Any]) -> None:
    reply = await admin.get("/healthz")
    assert reply.status == 200
    assert await reply.json() == {"status": "ok", "version": __version__}


async def test_readyz_is_200_while_every_chain_can_be_served(
    admin: TestClient[Any, Any], view: View
) -> None:
    reply = await admin.get("/readyz")
    assert reply.status == 200
    ready = [chain["name"] for chain in view.chains]
    told = {"ready": True, "chains_ready": ready, "chains_down": {}, "chains_halted": {}}
    assert await reply.json() == told


async def test_readyz_names_the_chain_that_is_down_and_why(
    admin: TestClient[Any, Any], view: View
) -> None:
    view.chains += [
        chain_of("base", "down", {"name": "b", "state": "ejected", "state_reason": "timeouts"}, {}),
        chain_of("nowhere", "down"),
    ]
    served = [chain["name"] for chain in view.chains if chain["state"] != "down"]
    reply = await admin.get("/readyz")
    assert reply.status == 503
    assert await reply.json() == {
        "ready": False,
        "chains_ready": served,
        "chains_down": {
            "base": "b ejected (timeouts); ? unknown",
            "nowhere": "no upstreams are configured",
        },
        "chains_halted": {},
    }


async def test_readyz_says_that_a_chain_stands_and_stays_ready(
    admin: TestClient[Any, Any], view: View
) -> None:
    words = halt_words(21_000_000, 40.2)
    assert words == "chain halted since block 21000000, 40 s"
    view.chains.append(chain_of("base", "ok", {"name": "b", "state": "up"}, halted=words))
    reply = await admin.get("/readyz")
    assert reply.status == 200
    ready = [chain["name"] for chain in view.chains]
    told = {"ready": True, "chains_down": {}, "chains_halted": {"base": words}}
    assert await reply.json() == {**told, "chains_ready": ready}


async def test_readyz_says_whether_transactions_are_taken(
    admin: TestClient[Any, Any], view: View
) -> None:
    view.sends = {"ethereum": "taken"}
    assert (await admin.get("/readyz?sends")).status == 200
    view.sends = {"ethereum": "refused for 3 s: another process has their journal open"}
    reply = await admin.get("/readyz")
    assert (reply.status, (await reply.json())["sends"]) == (200, view.sends), "reads go on"
    for query in ("sends", "any&sends"):
        assert (await admin.get(f"/readyz?{query}")).status == 503


async def test_readyz_stays_200_for_any_while_one_chain_can_be_served(
    admin: TestClient[Any, Any], view: View
) -> None:
    view.chains.append(chain_of("nowhere", "down"))
    assert (await admin.get("/readyz")).status == 503
    assert (await admin.get("/readyz?any")).status == 200
    for chain in view.chains:
        chain["state"] = "down"
    assert (await admin.get("/readyz?any")).status == 503


async def test_status_tells_all_there_is(admin: TestClient[Any, Any], view: View) -> None:
    view.changes.add(
        "ethereum", Changed("a", "ejected", "5 timeouts", MethodClass.HEAVY), 1_795_248_000.123
    )
    view.changes.add("ethereum", Changed("a", "recovered", "2 probes"), 1_795_248_030.0)
    reply = await admin.get("/status")
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
    told = await reply.json()
    assert told["uptime_seconds"] == 12.5
    assert told["config"]["path"] == "rpcproxy.yaml"
    [chain] = told["chains"]
    assert chain["served_head"] == 21_000_000
    assert chain["upstreams"] == [{"name": "a", "state": "up"}]
    assert told["changes"] == [
        {
            "time": "2026-11-21T08:00:30.000Z",
            "chain": "ethereum",
            "upstream": "a",
            "kind": "recovered",
            "method_class": None,
            "reason": "2 probes",
        },
        {
            "time": "2026-11-21T08:00:00.123Z",
            "chain": "ethereum",
            "upstream": "a",
            "kind": "ejected",
            "method_class": "heavy",
            "reason": "5 timeouts",
        },
    ]


async def test_secrets_are_taken_out_of_every_page(admin: TestClient[Any, Any], view: View) -> None:
    odd = {"name": "b", "state_reason": f'at "/v3/{KEY}"', "head": 1234, "cost": float("inf")}
    view.chains = [chain_of("ethereum", "down", {**odd, "list": [KEY], "kind": View})]
    reply = await admin.get("/status")
    text = await reply.text()
    assert KEY not in text
    [upstream] = (await reply.json())["chains"][0]["upstreams"]
    assert upstream["state_reason"] == 'at "/v3/[secret]"'
    assert upstream["list"] == ["[secret]"]
    # A secret of digits does not break numbers, and JSON has no infinity.
    assert (upstream["head"], upstream["cost"]) == (1234, None)
    assert KEY not in await (await admin.get("/readyz")).text()


async def test_metrics_are_given_as_text(admin: TestClient[Any, Any]) -> None:
    reply = await admin.get("/metrics")
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'rpcproxy_build_info{python="3.' in await reply.text()


async def test_metrics_are_given_as_openmetrics_on_request(admin: TestClient[Any, Any]) -> None:
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"
    reply = await admin.get("/metrics", headers={"Accept": accept})
    assert reply.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert (await reply.text()).endswith("# EOF\n")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/status", "/metrics", "/transactions"])
async def test_head_gives_the_head_of_get(path: str, admin: TestClient[Any, Any]) -> None:
    got, head = await admin.get(path), await admin.head(path)
    assert head.status == got.status == 200
    assert await head.read() == b""
    assert head.headers["Content-Type"] == got.headers["Content-Type"]
    assert head.headers["Cache-Control"] == "no-store"
    assert head.headers["Server"] == "rpcproxy"


async def test_an_unknown_path_is_404_in_json(admin: TestClient[Any, Any]) -> None:
    reply = await admin.get("/nothing")
    assert reply.status == 404
    told = await reply.json()
    assert told["error"] == "there is no page /nothing"
    assert "GET /status" in told["paths"]
    told = await (await admin.get("/statsu")).json()
    assert told["error"] == "there is no page /statsu; did you mean /status?"


async def test_an_unknown_method_is_405_in_json(admin: TestClient[Any, Any]) -> None:
    reply = await admin.post("/status", data=b"x")
    assert reply.status == 405
    assert reply.headers["Allow"] == "GET,HEAD"
    told = await reply.json()
    assert told["error"] == "/status takes GET,HEAD, not POST"
    assert "GET /status" in told["paths"]


async def test_the_index_has_a_line_for_each_route(view: View) -> None:
    app = make_admin_app(view, control=cast("ControlView", object()))
    async with TestClient(TestServer(app, host="127.0.0.1")) as client:
        told = await (await client.get("/")).json()
    served = {
        f"{route.method} {route.resource.canonical}"
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert set(told["routes"]) == served
    assert {"GET /", "GET /status", "POST /upstreams/{chain}/{name}/{order}"} <= served
    assert [route for route, what in told["routes"].items() if not what] == []


async def test_a_page_that_fails_says_so_and_no_more(
    admin: TestClient[Any, Any], view: View, caplog: pytest.LogCaptureFixture
) -> None:
    view.trouble = RuntimeError(f"no {KEY}")
    with caplog.at_level(logging.ERROR):
        reply = await admin.get("/status")
    assert reply.status == 500
    assert await reply.json() == {"error": "this page failed; the log says why"}
    [record] = caplog.records
    assert record.getMessage() == "the page /status failed"
    assert record.exc_info is not None
    assert record.exc_info[1] is view.trouble


def test_only_the_last_changes_are_kept() -> None:
    changes = RecentChanges()
    for number in range(150):
        changes.add("ethereum", Changed("a", "ejected", str(number)), 0.0)
    kept = changes.latest_first()
    assert len(kept) == 100
    assert (kept[0]["reason"], kept[-1]["reason"]) == ("149", "50")


def test_many_changes_of_one_kind_push_out_no_others() -> None:
    changes = RecentChanges()
    changes.add("ethereum", Changed("b", "forked", "at block 7"), 0.0)
    for number in range(500):
        changes.add("ethereum", Changed("a", "method_unsupported", str(number)), 0.0)
    changes.add("ethereum", Changed("a", "recovered", "well"), 0.0)
    kept = changes.latest_first()
    assert len(kept) == 100
    assert [kept[0]["kind"], kept[1]["reason"], kept[-1]["kind"]] == ["recovered", "499", "forked"]


@pytest.mark.parametrize(
    ("usable", "total", "state"),
    [(4, 4, "ok"), (1, 4, "degraded"), (0, 4, "down"), (0, 0, "down"), (1, 1, "ok")],
)
def test_a_chain_in_one_word(usable: int, total: int, state: str) -> None:
    assert chain_state(usable, total) == state
