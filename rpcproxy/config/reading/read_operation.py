"""What the keys of operation take: history, webhooks, public status page, traces, token."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from rpcproxy.config.model import History, Notice, TraceSettings
from rpcproxy.config.problems import Unfit, listed, nearest, quoted
from rpcproxy.config.reading.converters import DirectoryOr
from rpcproxy.config.reading.reading import (
    Nested,
    Reading,
    Section,
    as_switch,
    described,
    scalar,
    takes,
    takes_section,
)
from rpcproxy.config.reading.schema_shapes import (
    FROM_ENVIRONMENT,
    OFF,
    SWITCH,
    WEB,
    Schema,
    either,
    listing,
    words,
)
from rpcproxy.config.reading.source import Items, Node, Scalar, Table
from rpcproxy.config.urls import check
from rpcproxy.states import EVENTS, ChangeKind

_PATH: Final = "a path such as /status, or off"
_PATH_SHAPE: Final = re.compile(r"/[A-Za-z0-9._~-]{1,64}")
_TAKEN: Final = frozenset({"/healthz", "/readyz"})
_PLACE: Final = "a directory, off, or a mapping with path and size"
_WANTED: Final = "text of at least 16 printable characters, from the environment: ${ADMIN_TOKEN}"
_SHORTEST_TOKEN: Final = 16
_COLLECTOR: Final = "http://HOST:4318 of an OpenTelemetry collector, or off"
_EVENT: Final[Schema] = {"enum": ["all", *EVENTS]}


def history(section: Section) -> DirectoryOr[History]:
    """A directory, ``off`` or ``on``, or a section."""
    return DirectoryOr(section, History, _PLACE)


@takes(either(SWITCH, words(_PATH_SHAPE.pattern, _TAKEN)))
def page_path(node: Node, reading: Reading) -> str | None:  # noqa: ARG001 -- a Converter
    """A path of the wallet port, ``on`` for ``/status``."""
    value = scalar(node, _PATH)
    switch = as_switch(value)
    if switch is not None:
        return "/status" if switch else None
    if not _PATH_SHAPE.fullmatch(value.text) or value.text in _TAKEN:
        raise Unfit(f"is {described(node)}", _PATH)
    return value.text


# Digits alone are a number to YAML.
@takes(either(words("[!-~]{16,}"), {"type": "number"}))
def token(node: Node, reading: Reading) -> str:  # noqa: ARG001 -- a Converter
    value = scalar(node, _WANTED)
    if len(value.text) < _SHORTEST_TOKEN or not value.text.isascii() or " " in value.text:
        raise Unfit("is too short, or has a blank or a letter beyond ASCII", _WANTED)
    return value.text


@takes(either(OFF, WEB))
def collector(node: Node, reading: Reading) -> str | None:  # noqa: ARG001 -- a Converter
    value = scalar(node, _COLLECTOR)
    if as_switch(value) is False:
        return None
    check(value.text, value.written, ("http", "https"))
    return value.text


@dataclass(frozen=True, slots=True)
class CollectorOr:
    """A collector's URL, ``off``, or a section with more."""

    section: Section

    @property
    def shape(self) -> Schema:
        return either(OFF, WEB, self.section.reference)

    def __call__(self, node: Node, reading: Reading) -> TraceSettings:
        if isinstance(node, Scalar):
            return TraceSettings(url=collector(node, reading))
        if not isinstance(node, Table):
            raise Unfit(f"is {described(node)}", _COLLECTOR)
        return Nested(self.section, TraceSettings)(node, reading)


@takes(WEB)
def webhook_url(node: Node, reading: Reading) -> str:  # noqa: ARG001 -- a Converter
    value = scalar(node, "https:// or http:// and a host")
    check(value.text, value.written, ("https", "http"))
    return value.text


@takes(either(_EVENT, FROM_ENVIRONMENT, listing(_EVENT, FROM_ENVIRONMENT)))
def events(node: Node, reading: Reading) -> tuple[ChangeKind, ...]:
    """Names of events, ``all`` among them."""
    items = node.items if isinstance(node, Items) else [node]
    found: list[ChangeKind] = []
    for item in items:
        value = scalar(reading.expanded(item), listed(("all", *EVENTS)))
        if value.text not in ("all", *EVENTS):
            meant = nearest(value.text, EVENTS)
            raise Unfit(f"has {quoted(value.written)}", listed(("all", *EVENTS)), meant)
        found += EVENTS if value.text == "all" else [ChangeKind(value.text)]
    if not found:
        raise Unfit("is an empty list", listed(("all", *EVENTS)))
    return tuple(dict.fromkeys(found))


@takes_section(lambda reference: {"type": "array", "items": reference})
def notices(node: Node, reading: Reading, section: Section) -> tuple[Notice, ...]:
    """A list of webhooks."""
    if not isinstance(node, Items):
        raise Unfit(f"is {described(node)}", "a list, each beginning with '- url: …'")
    read = Nested(section, Notice)
    return tuple(read(item, reading) for item in node.items)
