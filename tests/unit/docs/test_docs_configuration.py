"""Configurations in README and docs load; keys, defaults, units and chains are told as they are."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from rpcproxy.chains.known import KNOWN
from rpcproxy.config import json_schema
from rpcproxy.config.keys import sections
from rpcproxy.config.keys.chain_keys import CHAIN
from rpcproxy.config.keys.server_keys import SERVER
from rpcproxy.config.keys.upstream_keys import UPSTREAM
from rpcproxy.config.load import load_file, load_text
from rpcproxy.config.model import Config
from rpcproxy.config.providers import PROVIDERS
from rpcproxy.config.reading.read_upstream import ERROR_CLASSES
from rpcproxy.config.reading.reading import Section
from rpcproxy.states import EVENTS, URGENT
from tests.kits.pages import (
    CONFIGURATION,
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

ENVIRON = {"INFURA_KEY": "k1", "ALCHEMY_KEY": "k2"}


def load(text: str, environ: Mapping[str, str] | None = None) -> Config:
    return load_text(text, file="doc.yaml", known=KNOWN, environ=environ or {})


YAML = [
    pytest.param(block, id=f"{page}-{index}")
    for page, text in PAGES.items()
    for index, block in enumerate(fenced(text, "yaml"))
]
SECTIONS: dict[str, Section] = {
    f"`{title}`": section for title, section in sections.SECTIONS.items()
}


@pytest.mark.parametrize("block", YAML)
def test_configurations_load_without_a_warning(block: str) -> None:
    assert load(block, ENVIRON).warnings == ()


def test_there_are_configurations_to_load() -> None:
    assert len(YAML) >= 3
    upstreams = [u for block in YAML for u in load(block.values[0], ENVIRON).chains[0].upstreams]
    assert len({u.cloud for u in upstreams} - {"unknown"}) >= 2
    assert {u.tier for u in upstreams} == {"primary", "backup"}
    assert any(u.private for u in upstreams)
    assert any(u.rate_limit_per_second for u in upstreams)


@pytest.mark.parametrize("title", SECTIONS)
def test_every_key_of_a_section_is_told_once(title: str) -> None:
    table = section(CONFIGURATION, title).partition("| class |")[0]
    where = f"{title}: rows in rpcproxy/config/keys, then python -m tools.configuration_page"
    assert_told(first_names(table), SECTIONS[title].by_name, where)


def test_every_section_is_told() -> None:
    inside = {"server": "`server`", "chains": "`chains[]`", "notify": "`notify[]`"}
    assert set(sections.TOP.by_name) == {*inside, "name"}  # that one is told in words
    assert "`name`" in section(CONFIGURATION, "Whose state it is")
    told = re.findall(r"^## (`.+`)$", CONFIGURATION, re.MULTILINE)
    assert told == list(SECTIONS)


def test_the_tables_are_made_from_the_rows() -> None:
    """python -m tools.configuration_page makes them anew."""
    assert json_schema.tables(CONFIGURATION) == CONFIGURATION


def test_events_are_told() -> None:
    urgent, others = section(CONFIGURATION, "`notify[]`").split("\n- ")[1:]
    assert tuple(names(urgent)) == URGENT
    assert_told(names(others), set(EVENTS) - set(URGENT), "docs/configuration.md, notify[]")


def test_variables_of_providers_are_told() -> None:
    told = [(names(row[0])[0], row[1]) for row in rows(section(CONFIGURATION, "Without a file"))]
    assert told == [(p.variable, "key" if p.url else "URL") for p in PROVIDERS]


def with_key(title: str, key: str, value: str) -> str:
    """A file that sets one key, beside what is required."""
    server, chain, upstream = "", "", "url: https://a.com"
    pair = f"{key}: {value}"
    match title:
        case "`server`":
            server = f"server: {{{pair}}}\n"
        case "`server.limits`":
            server = f"server: {{limits: {{{pair}}}}}\n"
        case "`server.cache`":
            server = f"server: {{cache: {{{pair}}}}}\n"
        case "`server.history`":
            server = f"server: {{history: {{{pair}}}}}\n"
        case "`journal`":
            server = f"server: {{journal: {{{pair}}}}}\n"
        case "`chains[]`":
            chain = f", {pair}"
        case "`deadlines`":
            chain = f", deadlines: {{{pair}}}"
        case "`upstreams[]`":
            upstream += f", {pair}"
    return (
        f"{server}chains:\n  - {{name: unheard-of, chain_id: 7{chain},"
        f" upstreams: [{{{upstream}}}, https://b.com]}}\n"
    )


def test_the_defaults_are_those() -> None:
    checked = 0
    plain = load(with_key("", "", ""))
    for title, keys in SECTIONS.items():
        for key_cell, _kind, default, *_ in rows(
            section(CONFIGURATION, title).partition("| class |")[0]
        ):
            (key,) = names(key_cell)
            is_required = key in keys.required or (title, key) == ("`chains[]`", "chain_id")
            assert ("required" in default) == is_required, key
            if not is_required and (value := names(default)):
                assert load(with_key(title, key, value[0])) == plain, key
                checked += 1
    assert checked >= 33


def test_the_choices_are_those() -> None:
    """Each value that a kind names in backticks is taken, in that key."""
    for title in SECTIONS:
        for key_cell, kind, *_ in rows(section(CONFIGURATION, title).partition("| class |")[0]):
            for value in names(kind):
                load(with_key(title, names(key_cell)[0], value))


def test_units_are_as_told() -> None:
    table = list(rows(section(CONFIGURATION, "Units")))
    takers = {
        "duration": ("`chains[]`", "block_time"),
        "rate": ("`upstreams[]`", "rate_limit"),
        "size": ("`server.limits`", "body_size"),
        "whole number": ("`server.limits`", "batch"),
        "switch": ("`server`", "gzip"),
    }
    assert [row[0] for row in table] == list(takers)
    for what, units, examples in table:
        for example in names(examples):
            load(with_key(*takers[what], example))
        numbers = {"duration": "2{}", "rate": "2/{}", "size": "2{}", "switch": "{}"}
        if what in numbers:
            for unit in names(units):
                if unit != "0":
                    load(with_key(*takers[what], numbers[what].format(unit)))


def test_keys_without_effect_are_told() -> None:
    told = section(CONFIGURATION, "No effect yet")
    of_server, of_chain = told.split("\n- ")[1:]
    assert names(of_server)[1:] == list(SERVER.later)
    assert names(of_chain) == list(CHAIN.later)
    assert not UPSTREAM.later


def test_error_classes_are_told() -> None:
    table = section(CONFIGURATION, "`errors[]`").partition("| class |")[2]
    told = [names(line)[0] for line in table.splitlines() if line.startswith("| `")]
    assert told == list(ERROR_CLASSES)


def test_known_chains_are_told() -> None:
    told = list(rows(section(CONFIGURATION, "Known chains")))
    assert [names(row[0])[0] for row in told] == list(KNOWN)
    for name, chain_id, block_time, max_lag, urls, aliases in told:
        known = KNOWN[names(name)[0]]
        assert (int(chain_id), int(max_lag)) == (known.chain_id, known.max_lag_blocks)
        assert int(urls) == len(known.public_urls)
        assert name.endswith("*") == (known.genesis_hash is not None)
        assert tuple(names(aliases)) == known.aliases
        config = load(with_key("`chains[]`", "block_time", block_time))
        assert config.chains[0].block_time_seconds == known.block_time_seconds


def test_chains_that_are_not_pinned_are_told() -> None:
    """Those that are known to serve state at ``latest`` only."""
    (line,) = (
        row
        for row in rows(section(CONFIGURATION, "`chains[]`"))
        if names(row[0]) == ["consistency"]
    )
    told = {name for name in names(line[3]) if name in KNOWN}
    assert told == {name for name, chain in KNOWN.items() if chain.consistency == "routed"}


def test_the_cost_of_probes_is_told_as_it_is() -> None:
    told = section(CONFIGURATION, "`upstreams[]`")
    costs = re.findall(r"`(\d+)/(s|min)`:\s+([\d,]+)", told)
    assert len(costs) >= 3
    for number, period, per_day in costs:
        probes = load(with_key("`chains[]`", "probes", f"{number}/{period}"))
        per_second = probes.chains[0].probes_per_second
        assert int(per_day.replace(",", "")) == round(per_second * 86_400)
    first = load(with_key("", "", "")).chains[0].probes_per_second
    assert costs[0][:2] == (f"{first:g}", "s")


def test_the_example_is_told_and_loads() -> None:
    assert "config/example.yaml" in README
    assert "config/example.yaml" in CONFIGURATION
    assert load_file(ROOT / "config" / "example.yaml", KNOWN, ENVIRON).warnings == ()
