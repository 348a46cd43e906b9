"""Rows and the model fit: a key without an attribute, or an attribute without a key, is a slip."""

from __future__ import annotations

import pytest

from rpcproxy.config.keys.sections import SECTIONS
from rpcproxy.config.model import (
    Cache,
    Chain,
    Deadlines,
    ErrorPhrase,
    Frozen,
    History,
    Journal,
    Limits,
    Notice,
    Server,
    Tls,
    TraceSettings,
    Upstream,
)

# What no key fills: the reader knows it from elsewhere.
FILLED_BY_READER = {
    "chains[]": {"genesis_guessed"},
    "upstreams[]": {"url", "provider_guessed", "ws_proxy"},
    "journal": {"is_on"},
    "server.history": {"is_on"},
    "notify[]": {"proxy"},
}
# What a key fills on the way; the model has what was made of it.
FILLED_FIRST = {"upstreams[]": {"link"}}
MODELS: dict[str, type[Frozen]] = {
    "server": Server,
    "server.tls": Tls,
    "server.limits": Limits,
    "server.cache": Cache,
    "server.history": History,
    "server.traces": TraceSettings,
    "journal": Journal,
    "chains[]": Chain,
    "deadlines": Deadlines,
    "upstreams[]": Upstream,
    "errors[]": ErrorPhrase,
    "notify[]": Notice,
}


def test_every_section_fills_a_model() -> None:
    assert set(MODELS) == set(SECTIONS)


@pytest.mark.parametrize("heading", SECTIONS)
def test_each_row_fills_an_attribute_and_each_attribute_has_a_row(heading: str) -> None:
    filled = {row.attribute for row in SECTIONS[heading].rows}
    filled -= FILLED_FIRST.get(heading, set())
    assert filled | FILLED_BY_READER.get(heading, set()) == set(MODELS[heading].model_fields)


@pytest.mark.parametrize("heading", SECTIONS)
def test_a_key_has_one_row(heading: str) -> None:
    names = [row.name for row in SECTIONS[heading].rows]
    assert len(set(names)) == len(names)
    assert len({row.attribute for row in SECTIONS[heading].rows}) == len(names)
