"""JSON Schema of the configuration, for editors, and the tables of its page in docs.

Made from the tables of keys (``SECTIONS``) and from ``meanings``. A schema knows less than the
reader: it leaves what does not go together to ``rpcproxy check``. Draft 7, which editors know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from rpcproxy.config.keys import chain_keys, sends_keys, server_keys, upstream_keys
from rpcproxy.config.load import TOP
from rpcproxy.config.meanings import MEANINGS, Meaning
from rpcproxy.config.reading import (
    read_operation,
)
from rpcproxy.config.reading.reading import Key, Section
from rpcproxy.config.reading.schema_shapes import Schema, either

# By the headings of docs/configuration.md, in the order of that page.
SECTIONS: Final[Mapping[str, Section]] = {
    section.heading: section
    for section in (
        server_keys.SERVER,
        server_keys.TLS,
        server_keys.LIMITS,
        server_keys.CACHE,
        read_operation.HISTORY,
        sends_keys.JOURNAL,
        chain_keys.CHAIN,
        chain_keys.DEADLINES,
        upstream_keys.UPSTREAM,
        upstream_keys.PHRASE,
        read_operation.NOTICE,
    )
}


def schema() -> Schema:
    """The whole schema, as JSON has it."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "rpcproxy configuration",
        **_object(TOP, ()),
        "patternProperties": {"^x-": True},
        "definitions": {
            title: _object(section, MEANINGS.get(title, ())) for title, section in SECTIONS.items()
        },
    }


def _object(section: Section, meanings: tuple[Meaning, ...]) -> Schema:
    told = {meaning.key: meaning for meaning in meanings}
    properties: Schema = {}
    for row in section.rows:
        found = row.convert.shape
        if row.may_be_empty:
            found = either(found, {"type": "null"})
        meaning = told.get(row.name) or row
        properties[row.name] = _described(found, meaning) if meaning.meaning else found
    for key in section.later:
        properties[key] = {"description": "Accepted, no effect yet."}
    found = {"type": "object", "properties": properties, "additionalProperties": False}
    # A chain may be known, and have no chain_id; upstreams are always needed.
    required = [*section.required, *(["upstreams"] if section is chain_keys.CHAIN else [])]
    if required:
        found["required"] = required
    return found


def _described(found: Schema, meaning: Meaning | Key) -> Schema:
    kind = _plain(meaning.kind)
    # Beside a $ref nothing else counts in draft 7.
    told: Schema = {"allOf": [found]} if "$ref" in found else dict(found)
    told["description"] = f"{_plain(meaning.meaning)}\n{kind[:1].upper()}{kind[1:]}."
    default = re.fullmatch(r"`(.+)`", meaning.default)
    if default is not None:
        told["default"] = _value(default[1])
    return told


def _value(text: str) -> object:
    if text in ("true", "false"):
        return text == "true"
    if text in ("{}", "[]"):
        return {} if text == "{}" else []
    return int(text) if text.isdecimal() else text


def _plain(text: str) -> str:
    """Markdown's links and backticks gone."""
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).replace("`", "")


# --------------------------------------------------------------------------
# The page in docs


def tables(page: str, heading: Callable[[str], str] = "## `{}`\n".format) -> str:
    """``page`` with the table of each section made anew: the first one under its heading.

    Raises ``ValueError`` where a heading or its table is missing.
    """
    for title in SECTIONS:
        start = page.index(heading(title))
        begin = page.index("| key |", start)
        rest = re.compile(r"\n(?!\|)").search(page, begin)
        end = rest.start() if rest else len(page)
        page = page[:begin] + "\n".join(_rows(title)) + page[end:]
    return page


def _rows(title: str) -> Iterator[str]:
    yield "| key | kind | default | meaning |"
    yield "|---|---|---|---|"
    for told in MEANINGS.get(title, ()):
        yield f"| `{told.key}` | {told.kind} | {told.default} | {told.meaning} |"
    for row in SECTIONS[title].rows:
        if row.meaning:
            yield f"| `{row.name}` | {row.kind} | {row.default} | {row.meaning} |"
