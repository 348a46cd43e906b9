"""A proxy through an outage, as operators see it: a real Prometheus with the rules of deploy/, every
expression of rules and dashboard, a webhook that fails first, and a collector of traces.

One proxy, one Prometheus, one outage for all tests; the alerts' patience is a sixtieth of what
deploy/ says, so that they fire within seconds.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
import yaml

from rpcproxy.drills.scenarios import faults
from tests.integration.running_proxy import RunningProxy
from tests.integration.watching import DEPLOY, Listening, Prometheus
from tests.kits.waiting import LIMIT_SECONDS, wait_until
from tests.sockets.providers import ProviderProcess

PLACES = {"a": ("aws", "us-east-1"), "b": ("gcp", "europe-west1"), "c": ("azure", "westeurope")}
KEY = "0123456789abcdef0123456789abcdef"
LOAD = 20  # questions before the outage
HOOK = "T0HOOKSECRET0123456789"
# These hold where there is nothing to see, or after an hour of lies: promtool's tests have them.
WITHOUT_DATA = {"RpcproxyAbsent", "RpcproxyUpstreamOdd"}
# What lasts for seconds only is kept up until Prometheus has seen it.
HEDGED = "rpcproxy_hedges_won_total > 0"
LIMITED = "upstream:rpcproxy_attempts_limited:ratio_rate5m > 0"
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


# ---- the proxy and what happens to it


def call(method: str, *params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


class World:
    """``firing`` are the alerts that fired in the outage."""

    def __init__(self, directory: Path, prometheus: str) -> None:
        self.listening = Listening()
        self.providers = ProviderProcess(*PLACES, latency_seconds=0.005, block_time_seconds=1.0)
        self.proxy = RunningProxy(self._configuration(), directory / "proxy")
        self.prometheus = Prometheus(prometheus, directory, urlsplit(self.proxy.admin_url).netloc)
        self.firing: set[str] = set()
        self.expressions: dict[str, int] = {}

    def _configuration(self) -> str:
        upstreams = [
            {
                "name": name,
                "url": f"{self.providers.urls[name].rstrip('/')}/v3/{KEY}",
                "provider": name,
                "cloud": cloud,
                "region": region,
            }
            for name, (cloud, region) in PLACES.items()
        ]
        return yaml.safe_dump(
            {
                "server": {
                    "listen": "127.0.0.1:0",
                    "admin": "127.0.0.1:0",
                    "traces": self.listening.url,
                },
                "notify": [{"url": f"{self.listening.url}/{HOOK}", "events": "all"}],
                "chains": [
                    {
                        "name": "sim",
                        "chain_id": 1337,
                        "block_time": "1s",
                        "deadlines": {"light": "3s"},
                        "upstreams": upstreams,
                    }
                ],
            }
        )

    def ask(self, method: str, *params: Any, **headers: str) -> Any:
        return self.post(call(method, *params), **headers)

    def post(self, request: Any, **headers: str) -> Any:
        """Its trace id, and the answer."""
        connection = http.client.HTTPConnection(
            urlsplit(self.proxy.url).netloc, timeout=LIMIT_SECONDS
        )
        try:
            headers = {"Content-Type": "application/json", **headers}
            connection.request("POST", "/", json.dumps(request), headers)
            reply = connection.getresponse()
            return reply.headers["X-Trace-Id"], json.loads(reply.read())
        finally:
            connection.close()

    def balance(self, number: int, **headers: str) -> Any:
        return self.ask("eth_getBalance", f"0x{number:040x}", "latest", **headers)

    def load(self, count: int) -> None:
        """One question after the other, each of its own."""
        for _ in range(count):
            self.balance(time.monotonic_ns())

    @contextlib.contextmanager
    def under_load(self) -> Iterator[None]:
        """Several ask at once: one that waits for who hangs keeps nobody from asking others."""
        is_over = threading.Event()

        def ask_on() -> None:
            while not is_over.is_set():
                self.balance(time.monotonic_ns())

        with ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask_on) for _ in range(4)]
            try:
                yield
            finally:
                is_over.set()
                for each in asking:
                    each.result()

    def has_counted(self, pattern: str) -> bool:
        """Whether a counter of the admin port, by a pattern of its line, is above 0."""
        with urlopen(f"{self.proxy.admin_url}/metrics", timeout=LIMIT_SECONDS) as reply:
            text = reply.read().decode()
        return any(float(count) for count in re.findall(rf"(?m)^{pattern} ([0-9.e+]+)$", text))

    def asks_and_hedged(self) -> bool:
        """A probe may find it out before a wallet asks it: then it hangs once more."""
        if self.proxy.upstream_states()["a"] != "up":
            self.providers.set_fault("a", None)
            self.proxy.wait_until_well()
            self.providers.set_fault("a", faults.BLACKHOLE)
        self.load(LOAD)
        return self.has_counted(r"rpcproxy_hedges_won_total\{[^}]*\}")

    def is_refused(self) -> bool:
        """A probe may be refused before a wallet is, and after any refusal nobody asks until it has
        cooled: then it is refused once more.
        """
        if self.proxy.upstream_states()["b"] != "up":
            self.providers.set_fault("b", None)
            wait_until(lambda: self.proxy.upstream_states()["b"] == "up", "it has cooled")
        self.providers.set_fault("b", faults.http_429())
        return self.has_counted(r'rpcproxy_attempts_total\{[^}]*"rate_limited"[^}]*\}')

    def live(self) -> None:
        """Well, then hanging and limited, then nobody, then well again."""
        self.proxy.wait_until_well()
        self.traced = self.balance(1, traceparent=TRACEPARENT)
        self.batched, _ = self.post([call("eth_getCode", f"0x{n:040x}", "latest") for n in (3, 4)])
        self.sent, _ = self.ask("eth_sendRawTransaction", "0xf8")
        wait_until(self.prometheus.is_ready, "Prometheus scrapes")
        self.load(LOAD)
        self.providers.set_fault("a", faults.BLACKHOLE)
        wait_until(self.asks_and_hedged, "a wallet's request is asked of another as well")
        wait_until(lambda: self.prometheus.query(HEDGED), "Prometheus sees it")
        with self.under_load():
            wait_until(
                lambda: self.is_refused() and self.prometheus.query(LIMITED),
                "Prometheus sees that a wallet's requests are refused",
            )
        for name in PLACES:
            self.providers.set_fault(name, faults.REFUSE)
        self.unserved = self.balance(2)
        wait_until(lambda: "RpcproxyNobodyCanServe" in self.note_alerts(), "an alert fires")
        self.look_at_expressions()
        wait_until(self.has_hook, "the webhook is told of the outage")
        self.providers.clear()
        wait_until(
            lambda: "RpcproxyNobodyCanServe" not in self.prometheus.firing(),
            "the alert resolves",
        )

    def look_at_expressions(self) -> None:
        """What each gives, in the outage: Prometheus needs two scrapes to see that something rose."""
        for name, text in expressions():
            if name not in WITHOUT_DATA:
                what = f"Prometheus has data in the outage for {name}: {text}"
                wait_until(functools.partial(self.data_of, text), what, pause_seconds=0.1)
            self.expressions[name] = self.data_of(text)

    def note_alerts(self) -> set[str]:
        self.firing |= self.prometheus.firing()
        return self.firing

    def has_hook(self, status: str = "firing") -> bool:
        """Whether the webhook was told that an outage began, or ended."""
        return any(
            (alert["labels"]["alertname"], alert["status"]) == ("RpcproxyOutage", status)
            for body in self.listening.hooks
            for alert in body["alerts"]
        )

    def data_of(self, expression: str) -> int:
        """How many series it gives; comparisons say yes or no in place of leaving out."""
        return len(self.prometheus.query(re.sub(r" (>|<|==) (?!bool)", r" \1 bool ", expression)))

    def close(self) -> None:
        self.prometheus.close()
        self.proxy.close()
        self.providers.close()
        self.listening.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    import os

    prometheus = shutil.which("prometheus")
    if prometheus is None:
        if os.environ.get("RPCPROXY_REQUIRE_ALL") == "1":
            pytest.fail("prometheus is not installed, and RPCPROXY_REQUIRE_ALL=1")
        pytest.skip("prometheus is not installed")
    world = World(tmp_path_factory.mktemp("observed"), prometheus)
    try:
        world.live()
    finally:
        world.close()
    return world


# ---- what deploy/ asks


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression of rules and dashboard, by where it stands."""
    for path in sorted((DEPLOY / "prometheus" / "rules").glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                yield rule.get("alert") or rule["record"], rule["expr"]
    dashboard = json.loads((DEPLOY / "grafana" / "rpcproxy.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield f"{panel['title']} {target['refId']}", filled(target["expr"])
    for annotation in dashboard["annotations"]["list"]:
        yield annotation["name"], filled(annotation["expr"])
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            assert found is not None
            yield f"variable {variable['name']}", f"group by ({found[2]}) ({filled(found[1])})"


def filled(expression: str) -> str:
    """With Grafana's variables in it."""
    for name, value in (("__rate_interval", "10s"), ("__range", "1h")):
        expression = expression.replace(f"${name}", value)
    expression = re.sub(r"\$(job|instance|chain|upstream)\b", ".*", expression)
    assert "$" not in expression, expression
    return expression


# ---- what operators saw


def test_every_expression_returns_data(world: World) -> None:
    assert len(world.expressions) > 100
    empty = {name for name, count in world.expressions.items() if not count}
    assert empty <= WITHOUT_DATA


def test_an_alert_fired_in_the_outage_and_resolved(world: World) -> None:
    # ``live`` waited for both; what was no trouble fired nothing.
    assert "RpcproxyNobodyCanServe" in world.firing
    assert not world.firing & {"RpcproxyDown", "RpcproxyJournalTrouble", "RpcproxyChainSplit"}


def test_the_webhook_was_told_after_a_refusal(world: World) -> None:
    assert world.listening.refused == 1
    assert world.has_hook("resolved"), "the last is told at the end of the proxy"
    texts = "\n".join(body["text"] for body in world.listening.hooks)
    assert "sim: nobody can serve it: for " in texts
    assert "sim: somebody can serve it again: after " in texts
    assert "is left out" in texts
    assert "is admitted again" not in texts, "who is verified at the start is no news"


def test_requests_and_attempts_have_spans(world: World) -> None:
    spans = world.listening.spans
    told = {attribute.key for span in spans for attribute in span.attributes}
    assert told >= {"rpcproxy.chain", "rpcproxy.upstream", "rpcproxy.verdict", "rpcproxy.trace_id"}
    trace_id, answer = world.traced
    (request,) = [span for span in spans if attributes(span).get("rpcproxy.trace_id") == trace_id]
    assert "result" in answer
    assert request.trace_id.hex() == TRACEPARENT.split("-")[1]
    assert request.parent_span_id.hex() == TRACEPARENT.split("-")[2]
    attempts = [attributes(span) for span in spans if span.parent_span_id == request.span_id]
    # A slow machine has a second copy sent.
    assert [each["rpcproxy.reason"] for each in attempts if not is_hedge(each)] == ["first"]
    assert "ok" in [each["rpcproxy.verdict"] for each in attempts]
    for seen in attempts:
        assert seen["rpcproxy.upstream"] in PLACES
        assert (seen["rpc.method"], seen["rpcproxy.method_class"]) == ("eth_getBalance", "light")


def test_a_request_that_went_on_has_an_attempt_for_each_upstream(world: World) -> None:
    spans = world.listening.spans
    requests = {span.span_id: span for span in spans if span.name == "eth_getBalance"}
    children: dict[bytes, list[dict[str, Any]]] = {}
    for span in spans:
        if span.parent_span_id in requests:
            children.setdefault(span.parent_span_id, []).append(attributes(span))
    for attempts in children.values():
        firsts = [attempt for attempt in attempts if attempt["rpcproxy.reason"] == "first"]
        assert len(firsts) == 1
        assert all("rpcproxy.verdict" in attempt for attempt in attempts)
    reasons = {attempt["rpcproxy.reason"] for each in children.values() for attempt in each}
    assert reasons >= {"first", "hedge"}
    verdicts = {attempt["rpcproxy.verdict"] for each in children.values() for attempt in each}
    assert verdicts >= {"ok", "rate_limited", "unreachable"}
    unserved_id, unserved = world.unserved
    (request,) = [
        span for span in spans if attributes(span).get("rpcproxy.trace_id") == unserved_id
    ]
    assert unserved["error"]["code"] == -32603
    assert attributes(request)["rpc.jsonrpc.error_code"] == -32603
    assert request.status.code == 2, "error"


def test_a_batch_and_a_transaction_have_theirs(world: World) -> None:
    spans = world.listening.spans
    by_id = {attributes(span).get("rpcproxy.trace_id"): span for span in spans}
    batch, sent = by_id[world.batched], by_id[world.sent]
    assert attributes(batch)["rpcproxy.batch_size"] == 2
    attempts = [attributes(span) for span in spans if span.parent_span_id == batch.span_id]
    assert len([each for each in attempts if not is_hedge(each)]) == 1
    assert {each["rpc.method"] for each in attempts} == {"batch"}
    assert sent.name == "eth_sendRawTransaction"
    assert attributes(sent)["rpc.jsonrpc.error_code"] == -32000, "as geth refuses it"
    assert not [span for span in spans if span.parent_span_id == sent.span_id]


def test_no_secret_left_the_proxy(world: World) -> None:
    everything = b"\n".join(world.listening.bytes) + world.proxy.log.encode()
    for secret in (KEY, HOOK):
        assert secret.encode() not in everything


def is_hedge(attempt: dict[str, Any]) -> bool:
    return bool(attempt["rpcproxy.reason"] == "hedge")


def attributes(span: Any) -> dict[str, Any]:
    found = {}
    for each in span.attributes:
        kind = each.value.WhichOneof("value")
        found[each.key] = getattr(each.value, kind)
    return found
