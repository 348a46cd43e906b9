"""Converters that many keys share: text, switches, numbers, words, durations, rates and sizes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeVar

from rpcproxy.config.model import History, Journal
from rpcproxy.config.problems import Unfit, listed, nearest, quoted
from rpcproxy.config.reading import schema_shapes as shapes
from rpcproxy.config.reading import units
from rpcproxy.config.reading.reading import (
    Nested,
    Reading,
    Section,
    as_switch,
    described,
    scalar,
    takes,
)
from rpcproxy.config.reading.schema_shapes import FROM_ENVIRONMENT, Schema, either, words
from rpcproxy.config.reading.source import Node, Scalar, Table

Place = TypeVar("Place", Journal, History)

_NUMBER: Final = re.compile(units.NUMBER)
_WHOLE: Final = re.compile(r"0|[1-9][0-9_]{0,17}|0[xX][0-9a-fA-F]{1,15}")
_NO_ZERO: Final = "(?!(?:0|0[xX]0+)$)"


@takes(words())
def text(node: Node, reading: Reading) -> str:  # noqa: ARG001 -- a Converter
    value = scalar(node, "text")
    if value.kind != "text":
        raise Unfit(f"is {described(node)}", "text", meant=f'"{value.written}"')
    if not value.text:
        raise Unfit("is empty", "text")
    return value.text


@takes(shapes.SWITCH)
def flag(node: Node, reading: Reading) -> bool:  # noqa: ARG001 -- a Converter
    value = scalar(node, "true or false")
    switch = as_switch(value)
    if switch is None:
        raise Unfit(f"is {described(node)}", "true or false")
    return switch


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number of at least ``least``, decimal or ``0x``."""

    least: Literal[0, 1]
    example: str

    @property
    def shape(self) -> Schema:
        number = {"type": "integer", "minimum": self.least, "maximum": shapes.MOST}
        return either(number, words(f"{_NO_ZERO if self.least else ''}(?:{_WHOLE.pattern})"))

    def __call__(self, node: Node, reading: Reading) -> int:  # noqa: ARG002 -- a Converter
        expected = f"a whole number of at least {self.least} such as {self.example}"
        value = scalar(node, expected)
        if not _WHOLE.fullmatch(value.text):
            raise Unfit(f"is {described(node)}", expected)
        number = int(value.text.replace("_", ""), 0)
        if number < self.least:
            raise Unfit(f"is {described(node)}", expected)
        return number


@takes(shapes.ABOVE_0)
def above_zero(node: Node, reading: Reading) -> float:  # noqa: ARG001 -- a Converter
    value = scalar(node, "a number above 0 such as 2 or 0.5")
    if not _NUMBER.fullmatch(value.text) or float(value.text.replace("_", "")) == 0:
        raise Unfit(f"is {described(node)}", "a number above 0 such as 2 or 0.5")
    return float(value.text.replace("_", ""))


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some words."""

    names: tuple[str, ...]

    @property
    def shape(self) -> Schema:
        return either({"enum": list(self.names)}, FROM_ENVIRONMENT)

    def __call__(self, node: Node, reading: Reading) -> str:  # noqa: ARG002 -- a Converter
        value = scalar(node, listed(self.names))
        if value.text not in self.names:
            meant = "" if value.kind == "number" else nearest(value.text, self.names)
            raise Unfit(f"is {described(node)}", listed(self.names), meant)
        return value.text


@takes(shapes.DURATION)
def duration(node: Node, reading: Reading) -> float:
    """Seconds, above 0."""
    seconds = duration_or_zero(node, reading)
    if seconds == 0:
        raise Unfit("is 0", f"{units.DURATION}, above 0")
    return seconds


@takes(shapes.DURATION_OR_0)
def duration_or_zero(node: Node, reading: Reading) -> float:  # noqa: ARG001 -- a Converter
    return _in_units(node, units.duration_seconds, units.DURATION)


@takes(shapes.RATE)
def rate(node: Node, reading: Reading) -> float:  # noqa: ARG001 -- a Converter
    return _in_units(node, units.rate_per_second, units.RATE)


@takes(shapes.RATE)
def rate_per_hour(node: Node, reading: Reading) -> float:  # noqa: ARG001 -- a Converter
    return _in_units(node, units.rate_per_hour, units.RATE)


@takes(shapes.SIZE)
def size(node: Node, reading: Reading) -> int:
    found = size_or_zero(node, reading)
    if found == 0:
        raise Unfit("is 0", f"{units.SIZE}, above 0")
    return found


@takes(shapes.SIZE_OR_0)
def size_or_zero(node: Node, reading: Reading) -> int:  # noqa: ARG001 -- a Converter
    return _in_units(node, units.size_bytes, units.SIZE)


@dataclass(frozen=True, slots=True)
class DirectoryOr(Generic[Place]):
    """A directory, ``off`` or ``on``, or a section with more. ``expected`` says so."""

    section: Section
    model: type[Place]
    expected: str

    @property
    def shape(self) -> Schema:
        return either(shapes.SWITCH, words(), self.section.reference)

    def __call__(self, node: Node, reading: Reading) -> Place:
        if isinstance(node, Scalar):
            switch = as_switch(node)
            if switch is not None:
                return self.model(is_on=switch)
            try:
                return self.model(path=text(node, reading))
            except Unfit as unfit:
                raise Unfit(unfit.wrong, self.expected, unfit.meant) from None
        if not isinstance(node, Table):
            raise Unfit(f"is {described(node)}", self.expected)
        return Nested(self.section, self.model)(node, reading)


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
