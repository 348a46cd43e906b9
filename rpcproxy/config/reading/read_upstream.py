"""What the keys of an upstream take, and the names that upstreams go by."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from rpcproxy.config.model import ErrorPhrase, Upstream
from rpcproxy.config.outbound import DIRECT, SCHEMES
from rpcproxy.config.problems import Reported, Unfit, quoted
from rpcproxy.config.reading.converters import text
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
    OFF,
    PROXY,
    WEB,
    WEB_SOCKET,
    Schema,
    either,
    listing,
    words,
)
from rpcproxy.config.reading.source import Items, Node, Scalar, Table, TableEntry
from rpcproxy.config.urls import UrlTarget, check, guess_provider
from rpcproxy.messages import Verdict

_UPSTREAM_NAME: Final = re.compile(r"[A-Za-z0-9\[][A-Za-z0-9._:\[\]-]{0,63}")
Value = TypeVar("Value")


_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, section 5.6.2
# Set by the connection itself; a second one would break its framing.
_OWN_HEADERS: Final = frozenset(
    {
        *("accept-encoding", "connection", "content-length", "content-encoding"),
        *("content-type", "expect"),
        *("host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
    }
)

_HEADERS: Final[Schema] = {
    "type": "object",
    "additionalProperties": {"type": ["string", "number", "boolean"]},
}

# What an upstream's words can mean; the other verdicts are about the wire.
ERROR_CLASSES: Final = tuple(
    verdict.label
    for verdict in (
        *(Verdict.RATE_LIMITED, Verdict.QUOTA, Verdict.KEY_REFUSED, Verdict.WRONG_CHAIN),
        *(Verdict.SERVER_ERROR, Verdict.MISSING_DATA, Verdict.UNSUPPORTED),
        *(Verdict.BATCH_REFUSED, Verdict.RANGE_TOO_LARGE, Verdict.SIZE_REFUSED),
        *(Verdict.SENDER_LIMITED, Verdict.REVERTED, Verdict.INVALID_PARAMS),
        *(Verdict.ALREADY_KNOWN, Verdict.NONCE_TOO_LOW, Verdict.INSUFFICIENT_FUNDS),
        *(Verdict.SEND_POLICY, Verdict.SEND_REFUSED),
    )
)


@dataclass(frozen=True, slots=True)
class ConfiguredUrl:
    """A URL and where it leads."""

    text: str
    place: UrlTarget


@dataclass(frozen=True, slots=True)
class Draft:
    """An upstream whose name is not settled yet."""

    line: int
    link: ConfiguredUrl
    values: Mapping[str, object]


# --------------------------------------------------------------------------
# Converters


@takes(WEB)
def link(node: Node, reading: Reading) -> ConfiguredUrl:  # noqa: ARG001 -- a Converter
    if not isinstance(node, Scalar):
        raise Unfit(f"is {described(node)}", "a URL such as https://HOST/PATH")
    return ConfiguredUrl(node.text, check(node.text, node.written, ("https", "http")))


@takes(WEB_SOCKET)
def ws_url(node: Node, reading: Reading) -> str:  # noqa: ARG001 -- a Converter
    if not isinstance(node, Scalar):
        raise Unfit(f"is {described(node)}", "a URL such as wss://HOST/PATH")
    check(node.text, node.written, ("wss", "ws"))
    return node.text


@takes(either({"enum": ["direct"]}, OFF, PROXY))
def outbound_proxy(node: Node, reading: Reading) -> str:  # noqa: ARG001 -- a Converter
    """The way to it: a proxy's URL, or ``direct`` whatever the environment says."""
    if isinstance(node, Scalar) and (node.text == DIRECT or as_switch(node) is False):
        return DIRECT
    if not isinstance(node, Scalar):
        raise Unfit(f"is {described(node)}", "a URL such as http://HOST:PORT, or direct")
    check(node.text, node.written, SCHEMES)
    return node.text


@dataclass(frozen=True, slots=True)
class NameLike:
    """A name of some letters, ``allowed`` beside letters and digits."""

    pattern: re.Pattern[str]
    allowed: str

    @property
    def shape(self) -> Schema:
        return words(self.pattern.pattern)

    def __call__(self, node: Node, reading: Reading) -> str:
        name = text(node, reading)
        if not self.pattern.fullmatch(name):
            allowed = f"at most 64 of letters, digits and {self.allowed}"
            raise Unfit(f"is {described(node)}", allowed)
        return name


upstream_name: Final = NameLike(_UPSTREAM_NAME, ". _ : -")


@takes(_HEADERS)
def headers(node: Node, reading: Reading) -> dict[str, str]:
    """Names checked. Kept out of every message: values, and what is no name or has no value,
    since that may be a value in the wrong place.
    """
    if not isinstance(node, Table):
        raise Unfit(f"is {described(node)}", "a mapping of header names to text")
    found: dict[str, str] = {}
    for name, entry in node.entries.items():
        if not _HEADER_NAME.fullmatch(name):
            reading.report.problem(
                entry.line, "headers has a malformed name; expected letters, digits and -"
            )
            continue
        if isinstance(entry.node, Scalar) and entry.node.kind == "empty":
            reading.report.problem(entry.line, "headers has a name without value; expected both")
            continue
        try:
            found[name] = _header(name, entry, reading, found)
        except Unfit as unfit:
            reading.report.problem(entry.line, unfit.about(f"header {quoted(name)}"))
    return found


def _header(name: str, entry: TableEntry, reading: Reading, before: Mapping[str, str]) -> str:
    if name.lower() in _OWN_HEADERS:
        raise Unfit("is set by the proxy itself", "another one")
    if name.lower() in map(str.lower, before):
        raise Unfit("is there twice", "each name once, upper and lower case being the same")
    value = reading.expanded(entry.node)
    if not isinstance(value, Scalar) or not value.text.isascii():
        raise Unfit("has no plain value", "ASCII text")
    return value.text


@takes_section(lambda reference: {"type": "array", "items": reference})
def phrases(node: Node, reading: Reading, section: Section) -> tuple[ErrorPhrase, ...]:
    return each(node, reading, "errors entry", Nested(section, ErrorPhrase))


def each(
    node: Node, reading: Reading, noun: str, convert: Callable[[Node, Reading], Value]
) -> tuple[Value, ...]:
    """The members of a list; what is wrong with one is told at its line, then ``Reported``."""
    if not isinstance(node, Items):
        raise Unfit(f"is {described(node)}", f"a list, each {noun} beginning with '- '")
    found: list[Value] = []
    for item in node.items:
        try:
            found.append(convert(reading.expanded(item), reading))
        except Unfit as unfit:
            reading.report.problem(item.line, unfit.about(noun))
        except Reported:
            pass
    if len(found) < len(node.items):
        raise Reported
    return tuple(found)


# --------------------------------------------------------------------------
# Upstreams


def draft(node: Node, reading: Reading, section: Section) -> Draft:
    """A bare URL or a mapping."""
    if isinstance(node, Scalar):
        return Draft(node.line, link(scalar(node, "a URL or a mapping"), reading), {})
    if not isinstance(node, Table):
        raise Unfit(f"is {described(node)}", "a URL, or a mapping with url")
    values = reading.values(node, section)
    found = values.pop("link")
    assert isinstance(found, ConfiguredUrl)  # noqa: S101 -- the table above says so
    if values.get("private") and values.get("role") == "reads":
        reading.report.problem(
            node.line, "private: true with role: reads; expected an upstream that takes sends"
        )
        raise Reported
    return Draft(node.line, found, values)


@takes_section(lambda reference: listing(WEB, reference))
def upstreams(node: Node, reading: Reading, section: Section) -> tuple[Upstream, ...]:
    """Every upstream with a name of its own."""
    drafts = each(node, reading, "upstream", partial(draft, section=section))
    if not drafts:
        raise Unfit("is an empty list", "at least one URL")
    lines: dict[str, int] = {}
    for item in drafts:
        name = str(item.values.get("name", ""))
        first = lines.get(name.casefold())
        if first is not None:
            reading.report.problem(
                item.line,
                f"two upstreams are named {quoted(name)}, the first on line {first}; "
                "expected a name of its own",
            )
        elif name:
            lines[name.casefold()] = item.line
    return tuple(
        reading.build(Upstream, values, item.line)
        for item, values in zip(drafts, settled(drafts), strict=True)
    )


def settled(drafts: Sequence[Draft]) -> list[dict[str, object]]:
    """The values of each with URL, name and provider: a name of the user's is never taken."""
    taken = {str(item.values["name"]).casefold() for item in drafts if "name" in item.values}
    result: list[dict[str, object]] = []
    for item in drafts:
        guess = guess_provider(item.link.place)
        values: dict[str, object] = {
            "provider": guess,
            "provider_guessed": "provider" not in item.values,
            **item.values,
            "url": item.link.text,
        }
        if "name" not in values:
            name, count = guess, 2
            while name.casefold() in taken:
                name, count = f"{guess}-{count}", count + 1
            values["name"] = name
            taken.add(name.casefold())
        result.append(values)
    return result
