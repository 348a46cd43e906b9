"""deploy/prometheus and deploy/grafana: what their own tools say, and that they fit together."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from rpcproxy.messages import Blame, Verdict
from tests.kits.pages import METRICS, ROOT, names, rows, section
from tests.kits.waiting import LIMIT_SECONDS

PROMETHEUS = ROOT / "deploy" / "prometheus"
GRAFANA = ROOT / "deploy" / "grafana"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
ALERTS = [
    rule
    for path in RULES
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
]
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "rpcproxy.json").read_text())
PANELS = DASHBOARD["panels"]


# ---- Prometheus


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "rules", *map(str, RULES)],
        ["check", "config", str(PROMETHEUS / "prometheus.yml")],
        ["test", "rules", *map(str, TESTS)],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_promtool_is_content(arguments: list[str], require_tool: Callable[[str], str]) -> None:
    promtool = require_tool("promtool")
    done = subprocess.run(
        [promtool, *arguments], check=False, capture_output=True, text=True, timeout=LIMIT_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_says_what_to_do() -> None:
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "description", "action"}, rule["alert"]
        assert len(rule["annotations"]["action"]) > 20
    counted = Counter(rule["alert"] for rule in ALERTS)
    assert set(counted.values()) == {1}


def test_every_alert_is_tested() -> None:
    tested = "".join(path.read_text() for path in TESTS)
    untested = {rule["alert"] for rule in ALERTS if rule["alert"] not in tested}
    assert not untested


def test_alerts_name_alerts_that_are_there() -> None:
    known = {rule["alert"] for rule in ALERTS}
    for rule in ALERTS:
        assert set(re.findall(r"\bRpcproxy\w+", rule["annotations"]["action"])) <= known


def test_an_upstreams_own_faults_are_all_counted() -> None:
    text = (PROMETHEUS / "rules" / "recording.yml").read_text()
    named = re.search(r'verdict=~"(stale[^"]+)"', text)
    assert named is not None
    own = {verdict.label for verdict in Verdict if verdict.blame is Blame.UPSTREAM}
    assert set(named[1].split("|")) == own
    assert own <= {name for row in rows(section(METRICS, "Verdicts")) for name in names(row[0])}


# ---- Grafana


def expressions() -> Iterator[str]:
    for panel in PANELS:
        for target in panel.get("targets", ()):
            yield target["expr"]
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from (rule["expr"] for rule in group["rules"])


def test_expressions_ask_for_metrics_that_are_there() -> None:
    told = {names(row[0])[0] for row in rows(section(METRICS, "`/metrics`"))}
    told |= {"rpcproxy_upstream_info", "rpcproxy_build_info"}
    recorded = set(
        re.findall(r"record: (\S+)", (PROMETHEUS / "rules" / "recording.yml").read_text())
    )
    for expression in expressions():
        bare = re.sub(r"\[[^]]*\]|\"[^\"]*\"", "", expression)
        for name in re.findall(r"[\w:]*rpcproxy_[\w:]+", bare):
            assert re.sub(r"_(bucket|sum|count)$", "", name) in told or name in told | recorded, (
                name
            )


def test_panels_are_told_apart_and_do_not_overlap() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS) > 50
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    wanted = ["Wallets' view", "Chains", "Upstreams", "Fault domains", "Transactions"]
    assert [panel["title"] for panel in PANELS if panel["type"] == "row"][1:6] == wanted


def test_every_question_goes_to_the_datasource_that_is_chosen() -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    for panel in PANELS:
        for part in (panel, *panel.get("targets", ())):
            assert panel["type"] == "row" or part["datasource"] == chosen, panel["title"]
        refs = [target["refId"] for target in panel.get("targets", ())]
        assert len(set(refs)) == len(refs)
    used = set(re.findall(r"\$(\w+)", json.dumps([panel.get("targets") for panel in PANELS])))
    assert used - {"datasource", "__rate_interval", "__range"} == set(variables) - {"datasource"}


def test_the_dashboard_is_of_grafanas_schema() -> None:
    """Whatever Grafana's own types (made from its schema) do not know is lost on the way."""
    from grafana_foundation_sdk.cog import plugins
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import Dashboard

    plugins.register_default_plugins()
    read = Dashboard.from_json(json.loads(json.dumps(DASHBOARD)))
    back = json.loads(JSONEncoder().encode(read))
    # Annotations from Prometheus have fields of their own, which the schema leaves to the plugin.
    own = {".annotations.list.0." + key for key in ("titleFormat", "textFormat", "step")}
    own.add(".annotations.list.0.useValueForTime")
    assert set(lost(DASHBOARD, back)) == own


def lost(given: Any, kept: Any, path: str = "") -> Iterator[str]:
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            if key in kept:
                yield from lost(value, kept[key], f"{path}.{key}")
            else:
                yield f"{path}.{key}"
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for number, pair in enumerate(zip(given, kept, strict=True)):
            yield from lost(*pair, f"{path}.{number}")
    elif given != kept:
        yield path


def test_provisioning_is_read() -> None:
    for path in GRAFANA.rglob("*.yml"):
        content = yaml.safe_load(path.read_text())
        assert content["apiVersion"] == 1
        assert content.get("datasources") or content.get("providers")
