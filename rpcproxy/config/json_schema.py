"""JSON Schema of the configuration, for editors, and the tables of its page in docs.

Made from the tables of keys (``SECTIONS``) and from ``meanings``. A schema knows less than the
reader: it allows what ``${NAME}`` may stand for, and leaves what does not go together to
``rpcproxy check``. Draft 7, which editors know. YAML 1.1 reads a bare ``off`` as false, YAML 1.2
as a word: both are allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from rpcproxy.config.load import TOP
from rpcproxy.config.meanings import MEANINGS, Meaning
from rpcproxy.config.reading import (
    read_chain,
    read_operation,
    read_sends,
    read_server,
    read_upstream,
    reading,
)
from rpcproxy.config.reading.reading import Choice, Converter, Nested, Section, Whole
from rpcproxy.states import EVENTS

Schema = dict[str, Any]

# By the headings of docs/configuration.md, in the order of that page.
SECTIONS: Final[Mapping[str, Section]] = {
    "server": read_server.SERVER,
    "server.tls": read_server.TLS,
    "server.limits": read_server.LIMITS,
    "server.cache": read_server.CACHE,
    "server.history": read_operation.HISTORY,
    "journal": read_sends.JOURNAL,
    "chains[]": read_chain.CHAIN,
    "deadlines": read_chain.DEADLINES,
    "upstreams[]": read_upstream.UPSTREAM,
    "errors[]": read_upstream.PHRASE,
    "notify[]": read_operation.NOTICE,
}

_OFF: Final[Schema] = {"enum": ["off", "no", "false", False]}
_SWITCH: Final[Schema] = {"enum": [True, False, "on", "off", "yes", "no", "true", "false"]}
_FROM_ENVIRONMENT: Final[Schema] = {"type": "string", "pattern": r"\$\{"}
_NUMBER: Final = r"[0-9][0-9_]*(\.[0-9]+)?"


def _text(pattern: str = "") -> Schema:
    found: Schema = {"type": "string", "minLength": 1}
    if pattern:
        found["pattern"] = rf"^({pattern})$|\$\{{"
    return found


def _any(*schemas: Schema) -> Schema:
    return {"anyOf": list(schemas)}


def _section(title: str) -> Schema:
    return {"$ref": f"#/definitions/{title}"}


def _list(*entries: Schema) -> Schema:
    return {"type": "array", "minItems": 1, "items": _any(*entries)}


_DURATION: Final = _text(rf"{_NUMBER}\s*(ms|s|m|min|h)")
_DURATION_OR_0: Final = _any(_DURATION, {"const": 0}, _text(r"0[0_]*(\.0+)?"))
_PERIODS: Final = "s sec second m min minute h hour d day"
# Draft 7 has no flag for either case.
_EITHER: Final = "".join(f"[{sign}{sign.upper()}]" if sign != " " else "|" for sign in _PERIODS)
_RATE: Final = _text(rf"{_NUMBER}\s*/\s*({_EITHER})")
_SIZE: Final = _any({"type": "integer", "minimum": 0}, _text(rf"{_NUMBER}\s*([kKmMgG]?[iI]?[bB])?"))
_ADDRESS: Final = _text(r"(\[[^\]]+\]|[^:\[\]]+):[0-9]{1,5}")
_WEB: Final = _text(r"[hH][tT][tT][pP][sS]?://.+")
_PLACE: Final = (_SWITCH, _text())

# A converter that takes more than one kind of value, and what it takes.
_KINDS: Final[Mapping[Converter, Schema]] = {
    reading.text: _text(),
    reading.flag: _any(_SWITCH, _FROM_ENVIRONMENT),
    reading.above_zero: _any({"type": "number", "exclusiveMinimum": 0}, _text(_NUMBER)),
    reading.duration: _DURATION,
    reading.duration_or_zero: _DURATION_OR_0,
    reading.rate: _RATE,
    reading.size: _SIZE,
    reading.size_or_zero: _SIZE,
    read_server.address: _ADDRESS,
    read_server.admin: _any(_ADDRESS, _SWITCH),
    read_server.outage_status: _any({"enum": [200, 503, "200", "503"]}, _FROM_ENVIRONMENT),
    read_server.cache: _any(_SWITCH, _FROM_ENVIRONMENT, _section("server.cache")),
    read_server.read_server: _section("server"),
    read_sends.journal: _any(*_PLACE, _section("journal")),
    read_sends.private_fallback: _any(_OFF, _text(rf"after\s+{_NUMBER}\s*(ms|s|m|min|h)")),
    # Digits alone are a number to YAML.
    read_operation.token: _any({"type": "string", "minLength": 1}, {"type": "number"}),
    read_operation.page_path: _any(_SWITCH, _text(r"/[A-Za-z0-9._~-]{1,64}")),
    read_operation.history: _any(*_PLACE, _section("server.history")),
    read_operation.traces: _any(_OFF, _WEB),
    # Without quotes YAML reads the hash as a number.
    read_operation.genesis: _any(
        _OFF, _text("0x[0-9a-fA-F]{64}"), {"type": "integer", "minimum": 0}
    ),
    read_operation.events: _any(
        {"enum": ["all", *EVENTS]},
        _FROM_ENVIRONMENT,
        _list({"enum": ["all", *EVENTS]}, _FROM_ENVIRONMENT),
    ),
    read_operation.notices: {"type": "array", "items": _section("notify[]")},
    # NOTICE's own converter of its URL
    read_operation.NOTICE.fields["url"].convert: _WEB,
    read_chain.chain_name: _text("[A-Za-z0-9][A-Za-z0-9_-]{0,63}"),
    read_chain.chains: _list(_section("chains[]")),
    read_chain.hedge: _any({"enum": ["auto"]}, _SWITCH, _DURATION),
    read_chain.consistency: _any({"enum": ["pinned", "routed", "off", True, False]}, _text("on")),
    read_chain.audit: _any(_OFF, {"const": 0}, _RATE),
    read_chain.probes: _RATE,
    read_upstream.upstreams: _list(_WEB, _section("upstreams[]")),
    read_upstream.link: _WEB,
    read_upstream.ws_url: _text(r"[wW][sS]{1,2}://.+"),
    read_upstream.outbound_proxy: _any(
        {"enum": ["direct"]}, _OFF, _text(r"([hH][tT][tT][pP]|[sS][oO][cC][kK][sS]5[hH]?)://.+")
    ),
    read_upstream.headers: {
        "type": "object",
        "additionalProperties": {"type": ["string", "number", "boolean"]},
    },
    read_upstream.phrases: {"type": "array", "items": _section("errors[]")},
}


def schema() -> Schema:
    """The whole schema, as JSON has it."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "rpcproxy configuration",
        **_object(TOP, ()),
        "patternProperties": {"^x-": True},
        "definitions": {
            title: _object(section, MEANINGS[title]) for title, section in SECTIONS.items()
        },
    }


def _object(section: Section, meanings: tuple[Meaning, ...]) -> Schema:
    told = {meaning.key: meaning for meaning in meanings}
    properties: Schema = {}
    for key, field in section.fields.items():
        found = _of(field.convert)
        if field.may_be_empty:
            found = _any(found, {"type": "null"})
        properties[key] = _described(found, told[key]) if key in told else found
    for key in section.later:
        properties[key] = {"description": "Accepted, no effect yet."}
    found = {"type": "object", "properties": properties, "additionalProperties": False}
    # A chain may be known, and have no chain_id; upstreams are always needed.
    required = [*section.required, *(["upstreams"] if section is read_chain.CHAIN else [])]
    if required:
        found["required"] = required
    return found


def _of(convert: Converter) -> Schema:
    match convert:
        case Choice(names):
            return _any({"enum": list(names)}, _FROM_ENVIRONMENT)
        case Whole(least):
            number = {"type": "integer", "minimum": least}
            return _any(number, _text("0[xX][0-9a-fA-F]+|[0-9][0-9_]*"))
        case read_upstream.NameLike():
            return _text(convert.pattern.pattern)
        case Nested():
            (title,) = (title for title, known in SECTIONS.items() if known is convert.section)
            return _section(title)
        case _:
            return _KINDS[convert]


def _described(found: Schema, meaning: Meaning) -> Schema:
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
    for row in MEANINGS[title]:
        yield f"| `{row.key}` | {row.kind} | {row.default} | {row.meaning} |"
