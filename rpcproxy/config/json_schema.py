"""JSON Schema of the configuration, for editors, and the tables of its page in docs.

Made from the rows of ``config.keys``. A schema knows less than the reader: it leaves what does not
go together to ``rpcproxy check``. Draft 7, which editors know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from rpcproxy.config.keys.sections import SECTIONS, TOP
from rpcproxy.config.model import Kinds
from rpcproxy.config.reading.reading import Key, Section
from rpcproxy.config.reading.schema_shapes import Schema, either


def schema(kinds: Kinds) -> Schema:
    """The whole schema, as JSON has it, where chains may be of these kinds."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "rpcproxy configuration",
        **_object(TOP, kinds),
        "patternProperties": {"^x-": True},
        "definitions": {title: _object(section, kinds) for title, section in SECTIONS.items()},
    }


def _object(section: Section, kinds: Kinds) -> Schema:
    properties: Schema = {row.name: _property(row, kinds) for row in section.rows}
    for key in section.later:
        properties[key] = {"description": "Accepted, no effect yet."}
    found = {"type": "object", "properties": properties, "additionalProperties": False}
    if section.required:
        found["required"] = section.required
    return found


def _property(row: Key, kinds: Kinds) -> Schema:
    shape = row.shape(kinds)
    if row.may_be_empty:
        shape = either(shape, {"type": "null"})
    if not row.meaning:
        return shape
    kind = _plain(row.kind)
    # Beside a $ref nothing else counts in draft 7.
    told: Schema = {"allOf": [shape]} if "$ref" in shape else dict(shape)
    told["description"] = f"{_plain(row.meaning)}\n{kind[:1].upper()}{kind[1:]}."
    default = re.fullmatch(r"`(.+)`", row.default)
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
    for row in SECTIONS[title].rows:
        yield f"| `{row.name}` | {row.kind} | {row.default} | {row.meaning} |"
