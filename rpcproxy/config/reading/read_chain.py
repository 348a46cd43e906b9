"""What the keys of a chain take, what is known filled in, and what does not go together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from rpcproxy.config.model import Chain, Kinds, KnownChain, Upstream
from rpcproxy.config.problems import Reported, Unfit, listed, nearest, quoted
from rpcproxy.config.providers import Keyed
from rpcproxy.config.reading import schema_shapes as shapes
from rpcproxy.config.reading.converters import Choice, duration, rate, rate_per_hour
from rpcproxy.config.reading.read_upstream import (
    ConfiguredUrl,
    Draft,
    NameLike,
    settled,
)
from rpcproxy.config.reading.reading import (
    Reading,
    Section,
    as_switch,
    described,
    scalar,
    takes,
    takes_section,
)
from rpcproxy.config.reading.schema_shapes import (
    DURATION,
    OFF,
    SWITCH,
    Schema,
    either,
    listing,
    words,
)
from rpcproxy.config.reading.source import Items, Node, Table
from rpcproxy.config.reading.units import RATE
from rpcproxy.config.urls import check, guess_provider
from rpcproxy.config.warn import chain_warnings

# Less often than every 20 s would not tell a halted upstream from a well one; more than 20 a second
# is more than any chain has blocks.
_SLOWEST_PROBES: Final = 0.05
_FASTEST_PROBES: Final = 20.0
# Nobody waits this many seconds before a second copy goes out.
_SURELY_MILLISECONDS: Final = 30
_WEB: Final = ("https", "http")
_AUDIT: Final = "a rate such as 60/h, or off"
_CHAIN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_NAME_LIKE: Final = NameLike(_CHAIN_NAME, "- _")
# Paths of the proxy's own.
_RESERVED: Final = frozenset({"healthz", "readyz", "status", "metrics"})


@takes(either({"enum": ["auto"]}, SWITCH, DURATION))
def hedge(node: Node, reading: Reading) -> str | float:
    value = scalar(node, "auto, off or a duration such as 200ms")
    switch = as_switch(value)
    if switch is not None:
        return "auto" if switch else "off"
    if value.text == "auto":
        return "auto"
    try:
        return duration(value, reading)
    except Unfit as unfit:
        expected = "auto, off or a duration above 0 such as 200ms"
        meant = unfit.meant or nearest(value.text, ("auto", "off"))
        if meant == f"{value.text}s" and float(value.text.replace("_", "")) >= _SURELY_MILLISECONDS:
            meant = f"{value.text}ms"
        raise Unfit(unfit.wrong, expected, meant) from None


@takes(either({"enum": ["pinned", "routed", "off"]}, SWITCH))
def consistency(node: Node, reading: Reading) -> str:
    switch = as_switch(scalar(node, "pinned, routed or off"))
    if switch is not None:
        return "pinned" if switch else "off"
    return Choice(("pinned", "routed", "off"))(node, reading)


@takes(either(OFF, {"enum": [0, "0"]}, shapes.RATE))
def audit(node: Node, reading: Reading) -> float:
    """Calls an hour; ``off`` and 0 for none."""
    value = scalar(node, _AUDIT)
    if as_switch(value) is False or value.text == "0":
        return 0.0
    try:
        return rate_per_hour(value, reading)
    except Unfit as unfit:
        meant = unfit.meant and f"{value.text}/h"
        raise Unfit(unfit.wrong, _AUDIT, meant) from None


@takes(shapes.RATE)
def probes(node: Node, reading: Reading) -> float:
    per_second = rate(node, reading)
    if not _SLOWEST_PROBES <= per_second <= _FASTEST_PROBES:
        wrong = f"is {quoted(scalar(node, RATE).written)}"
        raise Unfit(wrong, f"a rate from {_SLOWEST_PROBES:g}/s to {_FASTEST_PROBES:g}/s")
    return per_second


def kind_shape(kinds: Kinds) -> Schema:
    return Choice(tuple(kinds)).shape


@takes({"type": "string"})
def kind(node: Node, reading: Reading) -> str:
    return Choice(tuple(reading.kinds))(node, reading)


def genesis_shape(kinds: Kinds) -> Schema:
    patterns = [words(texts.genesis_pattern) for texts in kinds.values()]
    # Without quotes YAML reads a hash as a number.
    return either(OFF, *patterns, {"type": "integer", "minimum": 0})


@takes(genesis_shape({}))
def genesis(node: Node, reading: Reading) -> str | None:
    """The hash of a first block, of whatever kind; ``off`` for none."""
    kinds = reading.kinds.values()
    expected = listed((*(f"{each.genesis_words}, the hash of block 0," for each in kinds), "off"))
    value = scalar(node, expected)
    if as_switch(value) is False:
        return None
    for texts in kinds:
        kept = texts.genesis(value.text)
        if kept is not None:
            return kept
    raise Unfit(f"is {described(node)}", expected)


@takes(words(_CHAIN_NAME.pattern, _RESERVED))
def chain_name(node: Node, reading: Reading) -> str:
    """A name is a path: the chain is served at ``/NAME``."""
    name = _NAME_LIKE(node, reading)
    if name in _RESERVED:
        raise Unfit(f"is {quoted(name)}, a path of the proxy's own", "another name")
    return name


def chain_name_of(text: str) -> str:
    """A name as it would be read from a file. Raises ``Unfit``."""
    if not _CHAIN_NAME.fullmatch(text) or text in _RESERVED:
        raise Unfit(
            f"is {quoted(text)}", "letters, digits, - and _, and no path of the proxy's own"
        )
    return text


def read_chain(node: Node, reading: Reading, section: Section) -> Chain:
    """A chain, what is known of it filled in. Raises ``Unfit`` or ``Reported``."""
    if not isinstance(node, Table):
        raise Unfit(f"is {described(node)}", "a mapping with name and upstreams")
    values = reading.values(node, section)
    name = str(values["name"])
    if "chain_id" in node.entries and "chain_id" not in values:
        raise Reported
    lines = {key: entry.line for key, entry in node.entries.items()}
    known = _known(name, values, lines, reading)
    if "upstreams" not in lines:
        wrong = f"chain {quoted(name)} has no upstreams"
        reading.report.problem(node.line, f"{wrong}; expected a list of at least one URL")
    if "upstreams" not in values:
        raise Reported
    filled: dict[str, object] = {}
    if known is not None:
        filled = {
            "kind": known.kind,
            "chain_id": known.chain_id,
            "block_time_seconds": known.block_time_seconds,
            "max_lag_blocks": known.max_lag_blocks,
            "consistency": known.consistency,
            "genesis_hash": known.genesis_hash,
            "genesis_guessed": "genesis" not in node.entries,
        }
    chain = reading.build(Chain, filled | values, node.line)
    if name.isdecimal() and int(name) != chain.chain_id:
        wrong = f"name is '{name}', which reads as the id of another chain"
        reading.report.problem(lines["name"], f"{wrong}; expected a name with letters")
        raise Reported
    if all(upstream.role == "sends" for upstream in chain.upstreams):
        wrong = f"every upstream of chain {quoted(name)} has role: sends, nobody serves reads"
        reading.report.problem(lines["upstreams"], f"{wrong}; expected one with role full or reads")
        raise Reported
    for sentence in chain_warnings(chain):
        reading.report.warn(lines["upstreams"], sentence)
    return chain


def _known(
    name: str, values: Mapping[str, object], lines: Mapping[str, int], reading: Reading
) -> KnownChain | None:
    """What is known of a chain, by name, else by id. Raises ``Reported``."""
    by_name = reading.known.get(name.casefold())
    chain_id = values.get("chain_id")
    if by_name is not None:
        if chain_id in (None, by_name.chain_id):
            return by_name
        wrong = f"chain_id is {chain_id}, but {quoted(name)} is known as {by_name.chain_id}"
        reading.report.problem(
            lines["chain_id"], f"{wrong}; expected {by_name.chain_id}, or another name"
        )
        raise Reported
    if chain_id is None:
        meant = nearest(name, reading.known)
        hint = f"; did you mean '{meant}'?" if meant else ""
        wrong = f"chain {quoted(name)} is not known and has no chain_id"
        reading.report.problem(lines["name"], f"{wrong}; expected chain_id{hint}")
        raise Reported
    return next((chain for chain in reading.known.values() if chain.chain_id == chain_id), None)


@takes_section(listing)
def chains(node: Node, reading: Reading, section: Section) -> tuple[Chain, ...]:
    """All chains, in the order of the file. Raises ``Unfit`` or ``Reported``."""
    if not isinstance(node, Items) or not node.items:
        is_empty = isinstance(node, Items)
        wrong = "is an empty list" if is_empty else f"is {described(node)}"
        raise Unfit(wrong, "a list of chains, each beginning with '- name: …'")
    found = _each(node.items, reading, section)
    for index, (line, chain) in enumerate(found):
        for earlier_line, earlier in found[:index]:
            if earlier.name.casefold() == chain.name.casefold():
                wrong = f"two chains are named {quoted(chain.name)}"
                reading.report.problem(
                    line, f"{wrong}, the first on line {earlier_line}; expected a name of its own"
                )
            elif (earlier.kind, earlier.identity) == (chain.kind, chain.identity):
                names = listed((quoted(earlier.name), quoted(chain.name)), "and")
                reading.report.warn(
                    line,
                    f"chains {names} have the same chain_id: /{chain.identity} reaches the first",
                )
    return tuple(chain for _, chain in found)


def _each(items: Sequence[Node], reading: Reading, section: Section) -> list[tuple[int, Chain]]:
    found: list[tuple[int, Chain]] = []
    for item in items:
        try:
            found.append((item.line, read_chain(reading.expanded(item), reading, section)))
        except Unfit as unfit:
            reading.report.problem(item.line, unfit.about("chain"))
        except Reported:
            pass
    return found


# --------------------------------------------------------------------------
# Without a file


def chain_without_file(known: KnownChain, keyed: Sequence[Keyed]) -> Chain:
    """A known chain on its shipped endpoints: behind those with keys, where there are any.

    ``keyed`` are checked already (``providers.keyed``).
    """
    companies = {entry.provider for entry in keyed}
    drafts = [
        Draft(
            0,
            ConfiguredUrl(entry.url, check(entry.url, entry.url, _WEB)),
            {"provider": entry.provider},
        )
        for entry in keyed
    ]
    for url in known.public_urls:
        place = check(url, url, _WEB)
        values: dict[str, object] = {"tier": "backup"} if keyed else {}
        if guess_provider(place) in companies:
            values["name"] = f"{guess_provider(place)}-public"
        drafts.append(Draft(0, ConfiguredUrl(url, place), values))
    return Chain(
        name=known.name,
        kind=known.kind,
        chain_id=known.chain_id,
        block_time_seconds=known.block_time_seconds,
        max_lag_blocks=known.max_lag_blocks,
        consistency=known.consistency,
        genesis_hash=known.genesis_hash,
        genesis_guessed=True,
        upstreams=tuple(Upstream.model_validate(values) for values in settled(drafts)),
    )
