"""Reads sections by tables: a key, the attribute it fills, and the converter of its value.

A converter takes a node, a scalar's environment already filled in, and returns the value or
raises ``Unfit`` (the caller names key and line) or ``Reported`` (it has been told already).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

from pydantic import ValidationError

from rpcproxy.config.model import Frozen, KnownChain
from rpcproxy.config.problems import Report, Reported, Unfit, listed, nearest, quoted
from rpcproxy.config.reading import units
from rpcproxy.config.reading.environment import expand
from rpcproxy.config.reading.source import Items, Node, Scalar, Table, TableEntry

_NUMBER: Final = re.compile(r"[0-9][0-9_]{0,17}(?:\.[0-9]{1,9})?")
_WHOLE: Final = re.compile(r"0|[1-9][0-9_]{0,17}|0[xX][0-9a-fA-F]{1,15}")
_TRUE: Final = frozenset({"true", "yes", "on"})
_FALSE: Final = frozenset({"false", "no", "off"})

Model = TypeVar("Model", bound=Frozen)


@dataclass(frozen=True, slots=True)
class Field:
    """What one key fills. ``may_be_empty``: a key with nothing after it counts as left out."""

    attribute: str
    convert: Converter
    may_be_empty: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """The keys of one kind of section. ``later``: accepted, no effect yet. ``title`` is for
    messages, as in "unknown key 'x' in an upstream". ``renamed``: keys of earlier versions, and
    what they are called now.
    """

    title: str
    fields: Mapping[str, Field]
    required: tuple[str, ...] = ()
    later: Collection[str] = ()
    renamed: tuple[tuple[str, str], ...] = ()

    @property
    def keys(self) -> list[str]:
        return [*self.fields, *self.later]


@dataclass(frozen=True, slots=True)
class Reading:
    """One file being read. ``homes`` says which sections a key belongs to, for who put it
    elsewhere.
    """

    report: Report
    environ: Mapping[str, str]
    known: Mapping[str, KnownChain]
    homes: Mapping[str, tuple[str, ...]]

    def expanded(self, node: Node) -> Node:
        """A scalar with its environment filled in, anything else as it is. Raises ``Unfit``."""
        if not isinstance(node, Scalar):
            return node
        text = expand(node.written, self.environ)
        if text != node.written:
            node = replace(node, text=text, kind="text")
        if not text.isprintable():
            raise Unfit("has a line break or another character that cannot be printed")
        return node

    def values(self, node: Node, section: Section) -> dict[str, object]:
        """The values by attribute. Raises ``Unfit`` for no mapping, ``Reported`` where a
        required key is missing or unreadable; all other problems are reported and left out.
        """
        if not isinstance(node, Table):
            wanted = listed(section.required or section.keys, "and")
            raise Unfit(f"is {described(node)}", f"a mapping with {wanted}")
        found: dict[str, object] = {}
        for key, entry in node.entries.items():
            field = section.fields.get(key)
            if field is not None:
                self._fill(found, key, field, entry)
            elif key in section.later:
                self.report.later(entry.line, key)
            else:
                self._unknown(key, entry.line, section)
        missing = [key for key in section.required if key not in node.entries]
        if missing:
            wrong = f"{section.title} has no {listed(missing)}"
            wanted = listed(section.required, "and")
            self.report.problem(node.line, f"{wrong}; expected {wanted}")
        if any(section.fields[key].attribute not in found for key in section.required):
            raise Reported
        return found

    def build(self, model: type[Model], values: Mapping[str, object], line: int) -> Model:
        """Raises ``Reported`` where the model refuses what the converters let through."""
        try:
            return model.model_validate(values)
        except ValidationError as error:
            for detail in error.errors(include_input=False, include_url=False):
                where = ".".join(map(str, detail["loc"])) or model.__name__.lower()
                self.report.problem(line, f"{where}: {detail['msg']}")
            raise Reported from None

    def _fill(self, found: dict[str, object], key: str, field: Field, entry: TableEntry) -> None:
        try:
            node = self.expanded(entry.node)
            if isinstance(node, Scalar) and node.kind == "empty":
                if field.may_be_empty:
                    return
                raise Unfit("has no value", "one, or the key left out")  # noqa: TRY301 -- told below
            found[field.attribute] = field.convert(node, self)
        except Unfit as unfit:
            self.report.problem(entry.line, unfit.about(key))
        except Reported:
            pass

    def _unknown(self, key: str, line: int, section: Section) -> None:
        meant = dict(section.renamed).get(key) or nearest(key, section.keys)
        homes = self.homes.get(key, ())
        wrong = f"unknown key {quoted(key)} in {section.title}"
        expected = f"; expected {listed(section.keys)}"
        if homes:
            self.report.problem(line, f"{wrong}; it belongs to {listed(homes)}{expected}")
            return
        hint = f"; did you mean '{meant}'?" if meant else ""
        self.report.problem(line, f"{wrong}{expected}{hint}")


Converter = Callable[[Node, Reading], object]


# --------------------------------------------------------------------------
# Converters


def described(node: Node) -> str:
    """What a node is, for "expected …, found …"."""
    if isinstance(node, Items):
        return "a list"
    if isinstance(node, Table):
        return "a mapping"
    if node.kind == "empty":
        return "empty"
    return f"the {node.kind} {quoted(node.written)}"


def scalar(node: Node, expected: str) -> Scalar:
    if isinstance(node, Scalar) and node.kind != "empty":
        return node
    raise Unfit(f"is {described(node)}", expected)


def text(node: Node, reading: Reading) -> str:  # noqa: ARG001 -- a Converter
    value = scalar(node, "text")
    if value.kind != "text":
        raise Unfit(f"is {described(node)}", "text", meant=f'"{value.written}"')
    if not value.text:
        raise Unfit("is empty", "text")
    return value.text


def flag(node: Node, reading: Reading) -> bool:  # noqa: ARG001 -- a Converter
    value = scalar(node, "true or false")
    switch = as_switch(value)
    if switch is None:
        raise Unfit(f"is {described(node)}", "true or false")
    return switch


def as_switch(value: Scalar) -> bool | None:
    """On or off, ``None`` for anything else: YAML itself reads a bare ``off`` as false."""
    word = value.text.lower()
    return True if word in _TRUE else False if word in _FALSE else None


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number of at least ``least``, decimal or ``0x``."""

    least: int
    example: str

    def __call__(self, node: Node, reading: Reading) -> int:  # noqa: ARG002 -- a Converter
        expected = f"a whole number of at least {self.least} such as {self.example}"
        value = scalar(node, expected)
        if not _WHOLE.fullmatch(value.text):
            raise Unfit(f"is {described(node)}", expected)
        number = int(value.text.replace("_", ""), 0)
        if number < self.least:
            raise Unfit(f"is {described(node)}", expected)
        return number


def above_zero(node: Node, reading: Reading) -> float:  # noqa: ARG001 -- a Converter
    value = scalar(node, "a number above 0 such as 2 or 0.5")
    if not _NUMBER.fullmatch(value.text) or float(value.text.replace("_", "")) == 0:
        raise Unfit(f"is {described(node)}", "a number above 0 such as 2 or 0.5")
    return float(value.text.replace("_", ""))


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some words."""

    names: tuple[str, ...]

    def __call__(self, node: Node, reading: Reading) -> str:  # noqa: ARG002 -- a Converter
        value = scalar(node, listed(self.names))
        if value.text not in self.names:
            meant = "" if value.kind == "number" else nearest(value.text, self.names)
            raise Unfit(f"is {described(node)}", listed(self.names), meant)
        return value.text


def duration(node: Node, reading: Reading) -> float:
    """Seconds, above 0."""
    seconds = duration_or_zero(node, reading)
    if seconds == 0:
        raise Unfit("is 0", f"{units.DURATION}, above 0")
    return seconds


def duration_or_zero(node: Node, reading: Reading) -> float:  # noqa: ARG001 -- a Converter
    return _in_units(node, units.duration_seconds, units.DURATION)


def rate(node: Node, reading: Reading) -> float:  # noqa: ARG001 -- a Converter
    return _in_units(node, units.rate_per_second, units.RATE)


def rate_per_hour(node: Node, reading: Reading) -> float:  # noqa: ARG001 -- a Converter
    return _in_units(node, units.rate_per_hour, units.RATE)


def size(node: Node, reading: Reading) -> int:
    found = size_or_zero(node, reading)
    if found == 0:
        raise Unfit("is 0", f"{units.SIZE}, above 0")
    return found


def size_or_zero(node: Node, reading: Reading) -> int:  # noqa: ARG001 -- a Converter
    return _in_units(node, units.size_bytes, units.SIZE)


Unit = TypeVar("Unit", int, float)


def _in_units(node: Node, read: Callable[[str], Unit], expected: str) -> Unit:
    value = scalar(node, expected)
    if value.text != value.written:
        # What the environment holds is not repeated in a message.
        try:
            return read(value.text)
        except Unfit as unfit:
            raise Unfit(f"is {quoted(value.written)}, filled in", unfit.expected) from None
    return read(value.text)


@dataclass(frozen=True, slots=True)
class Nested(Generic[Model]):
    """A section of its own, built into ``model``."""

    section: Section
    model: type[Model]

    def __call__(self, node: Node, reading: Reading) -> Model:
        return reading.build(self.model, reading.values(node, self.section), node.line)
