"""The files in config/, and the JSON Schema: both read them alike."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from rpcproxy.chains.known import KNOWN
from rpcproxy.commands.schema import text
from rpcproxy.config.json_schema import schema
from rpcproxy.config.keys.sections import SECTIONS
from rpcproxy.config.load import ConfigError, load_file, load_text
from rpcproxy.config.model import Config
from tests.kits.pages import CONFIGURATION, PAGES, ROOT, fenced

DIRECTORY = ROOT / "config"
FILES = {path.stem: path for path in sorted(DIRECTORY.glob("*.yaml"))}
PUBLIC = ("ethereum", "base", "optimism", "arbitrum", "polygon", "bsc")
ENVIRON = {
    **dict.fromkeys(("INFURA_KEY", "ALCHEMY_KEY", "NODE_TOKEN", "ADMIN_TOKEN"), "k" * 32),
    "QUICKNODE_URL": "https://calm-lake.quiknode.pro/key/",
    "ALERT_URL": "https://hooks.example.com/key",
}
VALIDATOR = Draft7Validator(schema(KNOWN.kinds))


def load(name: str) -> Config:
    return load_file(FILES[name], KNOWN, ENVIRON)


def complaints(document: Any) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(document)]


@pytest.mark.parametrize("name", FILES)
def test_they_load_without_a_warning_and_fit_the_schema(name: str) -> None:
    assert load(name).warnings == ()
    assert complaints(yaml.safe_load(FILES[name].read_text())) == []
    first = FILES[name].read_text().partition("\n")[0]
    assert first == "# yaml-language-server: $schema=rpcproxy.schema.json"


def test_all_are_there() -> None:
    assert set(FILES) == {*PUBLIC, "paid", "team", "minimal", "example"}


@pytest.mark.parametrize("name", PUBLIC)
def test_those_on_public_endpoints_have_all_that_are_shipped(name: str) -> None:
    (chain,) = load(name).chains
    assert chain.name == name
    assert tuple(upstream.url for upstream in chain.upstreams) == KNOWN[name].public_urls
    assert {upstream.cloud for upstream in chain.upstreams} == {"unknown"}


def test_paid_and_team_show_what_they_say() -> None:
    paid, team = load("paid"), load("team")
    for config in (paid, team):
        assert len(config.chains) >= 2
        for chain in config.chains:
            assert {upstream.tier for upstream in chain.upstreams} == {"primary", "backup"}
    assert "k" * 32 in paid.chains[0].upstreams[0].url
    assert [u.name for u in team.chains[0].upstreams if u.private] == ["private-sends"]
    assert len(load("minimal").chains[0].upstreams) == 2


def test_the_example_has_every_key() -> None:
    """In place, or behind a # where it has no value to show."""
    example = FILES["example"].read_text()
    for title, section in SECTIONS.items():
        for key in section.by_name:
            assert f"{key}:" in example, f"{title}: {key} is missing in config/example.yaml"


# ---- the schema


def test_what_is_shipped_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    is_same = (DIRECTORY / "rpcproxy.schema.json").read_text() == text()
    assert is_same, "config/rpcproxy.schema.json: run python -m tools.configuration_page"
    Draft7Validator.check_schema(json.loads(text()))


def test_every_key_is_described() -> None:
    for title, section in SECTIONS.items():
        found = schema(KNOWN.kinds)["definitions"][title]
        assert set(found["properties"]) == set(section.keys)
        for key, told in found["properties"].items():
            assert told.get("description"), f"{title}.{key}: a row in rpcproxy/config/keys"


def test_it_fits_what_the_docs_show() -> None:
    blocks = [block for page in PAGES.values() for block in fenced(page, "yaml")]
    assert len(blocks) >= 3
    for block in blocks:
        assert complaints(yaml.safe_load(block)) == []


BASE = {"chains": [{"name": "base", "upstreams": ["https://a.com", "https://b.com"]}]}


def changed(path: str, value: object) -> dict[str, Any]:
    """``BASE`` with one value set, as ``server.gzip`` or ``chain.hedge``."""
    document: dict[str, Any] = copy.deepcopy(BASE)
    place: dict[str, Any] = document
    *front, key = path.split(".")
    for step in front:
        if step == "chain":
            place = document["chains"][0]
        elif step == "upstream":
            place["upstreams"][0] = place = {"url": "https://a.com"}
        else:
            place = place.setdefault(step, {})
    place[key] = value
    return document


# A value of each kind that is right, and some that are not.
VALUES: list[tuple[str, list[object], list[object]]] = [
    ("server.admin_token", ["k" * 16, "1" * 16, 10**16], [["k"], True]),
    ("server.gzip", [True, "off", "${GZIP:-true}"], ["maybe", 3]),
    ("server.listen", ["0.0.0.0:1", "[::1]:8545"], [8545, "127.0.0.1"]),
    ("server.admin", ["off", False, "127.0.0.1:1"], [9545, "nowhere"]),
    ("server.outage_status", [200, "503"], [500]),
    ("server.drain", ["10s", 0, "0", "${DRAIN:-1s}"], [10, "10"]),
    ("server.limits", [None, {"batch": 5, "body_size": "5MiB"}], [{"batch": 0}, {"bath": 5}, 3]),
    ("server.cache", ["off", "${CACHE:-off}", {"memory": "1GiB"}], [{"memory": "lots"}]),
    ("server.journal", ["/j", "off", {"on_failure": "pass"}], [{"on_failure": "no"}]),
    ("server.history", ["/h", False, {"size": 1000}], [{"weeks": 4}]),
    ("server.private_fallback", ["off", "after 30s"], ["30s", 30]),
    ("server.status_page", ["/status", "on"], ["status", "/a/b"]),
    ("server.traces", ["off", "http://127.0.0.1:4318"], ["127.0.0.1:4318"]),
    ("server.accept_single_point", [True], ["perhaps"]),
    ("chain.block_time", ["250ms", "1.5s"], [12, "12"]),
    ("chain.max_lag", [0, "0x2", "0X10", "20_000"], [-1, "two"]),
    ("chain.selection", ["ordered"], ["slowest"]),
    ("chain.hedge", ["auto", "200ms", False], [200, "of"]),
    ("chain.consistency", ["routed", "off"], ["loose"]),
    ("chain.audit", ["60/h", "off", 0], [60]),
    ("chain.probes", ["4/s", "5/S", "60/Min"], [4, "4/S/S"]),
    ("chain.genesis", ["off", "0x" + "ab" * 32], ["0x12"]),
    (
        "chain.upstreams",
        [["https://a.com", {"url": "${URL}"}]],
        [[], "https://a.com", [{"name": "x"}]],
    ),
    ("chain.upstream.headers", [{"X-Key": "${KEY}"}, None], ["X-Key"]),
    ("chain.upstream.weight", [2, 0.5, "2"], [0, "heavy"]),
    ("chain.upstream.ws_url", ["wss://a.com"], ["https://a.com"]),
    ("chain.upstream.errors", [[{"contains": "x", "class": "quota"}]], [[{"contains": "x"}]]),
    ("chain.upstream.rate_limit", ["600/min"], [600, "600"]),
    (
        "notify",
        [
            [{"url": "https://a.com", "events": ["all"]}],
            [{"url": "https://a.com", "events": "${EVENTS:-all}"}],
        ],
        [[{"events": ["all"]}], {"url": 1}],
    ),
    ("x-anything", [{"at": ["all"]}], []),
    ("sever", [], [{}]),
]


@pytest.mark.parametrize(("path", "right", "wrong"), VALUES, ids=[row[0] for row in VALUES])
def test_it_takes_what_the_reader_takes(
    path: str, right: list[object], wrong: list[object]
) -> None:
    environ = {"KEY": "k", "URL": "https://b.com"}
    for value in right:
        document = changed(path, value)
        assert complaints(document) == [], value
        load_text(yaml.safe_dump(document), file="f", known=KNOWN, environ=environ)
    for value in wrong:
        document = changed(path, value)
        assert complaints(document), value
        with pytest.raises(ConfigError):
            load_text(yaml.safe_dump(document), file="f", known=KNOWN, environ=environ)


def test_a_hash_without_quotes_is_one_too() -> None:
    text = f"chains: [{{name: base, genesis: 0x{'ab' * 32}, upstreams: ['https://a.com']}}]"
    assert complaints(yaml.safe_load(text)) == []
    config = load_text(text, file="f", known=KNOWN, environ={})
    assert config.chains[0].genesis_hash == f"0x{'ab' * 32}"


def test_the_page_names_the_schema() -> None:
    assert "config/rpcproxy.schema.json" in CONFIGURATION
