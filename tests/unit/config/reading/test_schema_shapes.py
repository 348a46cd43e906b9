"""What the reader takes the schema allows, and the other way round, for whatever is no section.

Of a value a schema sees less than the reader: not how a number was written, nor more of a text than a
pattern says. So whole numbers are drawn without a point, others with nine decimals at most.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from rpcproxy.chains.known import KNOWN
from rpcproxy.config.keys.sections import SECTIONS
from rpcproxy.config.problems import Report
from rpcproxy.config.reading.reading import Key, Reading, Section
from rpcproxy.config.reading.source import parse

# Of these the schema says less than the reader on purpose.
LOOSE = {
    **dict.fromkeys(("url", "ws_url", "traces", "proxy", "ws_proxy"), "the parts of a URL"),
    **dict.fromkeys(("listen", "admin"), "hosts and ports"),
    "genesis": "a hash without quotes is a number to YAML",
    "admin_token": "the characters of a number",
    "probes": "the least and the most",
}
# No pattern reckons with units.
BEYOND = ("over a month", "over a TiB", "not a whole number of bytes")
NUMBERS = st.one_of(
    st.integers(0, 30).map(str),
    st.sampled_from(["0", "00", "0.0", "007", "1_0", "1.5", "0.25", "_1", "1.", ".5", "-1", "1e3"]),
)
UNITS = st.sampled_from(
    [
        *("", "s", "S", "ms", "m", "min", "h", "d", "  s", "/s", "/S", "/min", " / day", "/Hour"),
        *("/h", "/", "/x", "b", "B", "k", "kB", "KiB", "MIB", "gib", "ib", "iB", "TiB", " MiB"),
    ]
)
WORDS = st.sampled_from(
    [
        *(
            "on",
            "On",
            "ON",
            "off",
            "OFF",
            "yes",
            "Yes",
            "no",
            "No",
            "true",
            "TRUE",
            "false",
            "False",
        ),
        *("auto", "Auto", "pinned", "routed", "direct", "all", "refuse", "pass", "full", "sends"),
        *("reads", "primary", "backup", "fastest", "ordered", "weighted", "ejected", "", " ", "x"),
        *(
            "status",
            "metrics",
            "a b",
            "-a",
            "a.b",
            "[::1]:80",
            "ethereum",
            "0x1F",
            "0X1f",
            "0x",
            "0",
        ),
        *("1", "01", "200", "503", "404", "/status", "/healthz", "/readyz", "/a b", "//", "/a"),
        *("http://h", "HTTPS://h/p", "ws://h", "wss://h/x", "socks5h://h:1", "ftp://h", "http:h"),
        *(
            "h:1",
            "127.0.0.1:8545",
            "[::1]:8545",
            ":1",
            "h:70000",
            "a" * 64,
            "a" * 65,
            "sixteen_letters_",
        ),
        *("0x" + "aB" * 32, "0x" + "ab" * 31, "0X" + "ab" * 32, "a blank in sixteen", "ä" * 16),
        *("0x" + "f" * 15, "0x" + "f" * 16, "9" * 18, "9" * 19, "1" + "_" * 17, "1" + "_" * 18),
    ]
)
TEXTS = st.one_of(
    WORDS,
    st.builds("{}{}".format, NUMBERS, UNITS),
    st.builds("after {}{}".format, NUMBERS, UNITS),
    st.builds("after{}".format, NUMBERS),
    st.text(st.characters(categories=["L", "N", "P"], exclude_characters="$"), max_size=20),
)
VALUES = st.one_of(
    TEXTS,
    st.booleans(),
    st.integers(-2, 600),
    st.sampled_from([10**18 - 1, 10**18, 2**60 - 1, 2**63, 1024**4, 1024**4 + 1]),
    st.integers(1, 10**6).map(lambda n: n + 0.5),
    st.integers(1, 10**9 - 1).map(lambda n: n / 10**9),
)


def rows() -> Iterator[tuple[str, Key]]:
    """One for each kind of value, under the keys that have it."""
    seen: dict[str, tuple[str, Key]] = {}
    for section in SECTIONS.values():
        for row in section.rows:
            if "$ref" not in json.dumps(row.shape(KNOWN.kinds)) and row.name != "headers":
                seen.setdefault(f"{row.convert!r}", (row.name, row))
    yield from seen.values()


ROWS = dict(rows())


def written(value: object) -> str:
    """As in a file: text in quotes, numbers without an exponent."""
    if isinstance(value, float):
        return f"{value:.9f}".rstrip("0")
    return json.dumps(value, ensure_ascii=False)


def refusal(row: Key, value: object) -> str:
    """What the reader says against it, "" where it takes it."""
    report = Report("a.yaml")
    section = Section("a section", "section", (row,), told_by_converter=(row.name,))
    node = parse(f"{row.name}: {written(value)}", "a.yaml", report)
    found = Reading(report, {}, KNOWN, {}, KNOWN.kinds).values(node, section)
    return "" if row.attribute in found else str(report.error())


def is_allowed(row: Key, value: object) -> bool:
    return Draft7Validator(row.shape(KNOWN.kinds)).is_valid(value)


@pytest.mark.parametrize("name", ROWS)
@given(value=VALUES)
def test_schema_and_reader_take_the_same(name: str, value: Any) -> None:
    row = ROWS[name]
    wrong, allowed = refusal(row, value), is_allowed(row, value)
    if not wrong:
        assert allowed, f"{name}: the reader takes {value!r}, the schema does not allow it"
    elif name not in LOOSE and not any(words in wrong for words in BEYOND):
        assert not allowed, f"{name}: the schema allows {value!r}, but {wrong}"
