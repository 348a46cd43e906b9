"""Read sections by rows: a key, the attribute it fills, and the converter of its value.

A converter takes a node, a scalar's environment already filled in, and returns the value or
raises ``Unfit`` (the caller names key and line) or ``Reported`` (it has been told already). Its
``shape`` says what it takes, for the JSON Schema.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final, Generic, Protocol, TypeVar

from pydantic import ValidationError

from rpcproxy.config.model import Frozen, Kinds, KnownChain
from rpcproxy.config.problems import Report, Reported, Unfit, listed, nearest, quoted
from rpcproxy.config.reading.environment import expand
from rpcproxy.config.reading.schema_shapes import FALSE_WORDS, TRUE_WORDS, Schema
from rpcproxy.config.reading.source import Items, Node, Scalar, Table, TableEntry

# The default of a key that has none.
REQUIRED: Final = "required"

Model = TypeVar("Model", bound=Frozen)
Value = TypeVar("Value")


class Converter(Protocol):
    """From a node to the value of its key; ``shape`` is what it takes. Raises ``Unfit`` or
    ``Reported``.
    """

    @property
    def shape(self) -> Schema: ...

    def __call__(self, node: Node, reading: Reading, /) -> object: ...


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a section: how it is read, and what people are told of it.

    ``attribute`` of the model is what it fills. ``kind``, ``default`` and ``meaning`` are Markdown,
    as docs/configuration.md has them; ``default`` is ``REQUIRED``, or in backticks where it is a
    value that can be written. ``shape_of`` is in place of the converter's shape where the kinds of
    chain have a say in it. ``may_be_empty``: the key with nothing after it counts as left out.
    """

    name: str
    attribute: str
    convert: Converter
    kind: str
    default: str
    meaning: str
    may_be_empty: bool = False
    shape_of: Callable[[Kinds], Schema] | None = None

    def shape(self, kinds: Kinds) -> Schema:
        """What it takes, where chains may be of these kinds."""
        return self.convert.shape if self.shape_of is None else self.shape_of(kinds)


@dataclass(frozen=True, slots=True)
class Section:
    """The keys of one kind of section. ``title`` is for messages, as in "unknown key 'x' in an
    upstream"; ``heading`` is what it is called in docs/configuration.md and in the JSON Schema.
    ``later``: keys that are accepted and have no effect yet. ``renamed``: keys of earlier versions,
    and what they are called now. ``told_by_converter``: required keys whose lack the section's
    converter tells itself, in better words.
    """

    title: str
    heading: str
    rows: tuple[Key, ...]
    later: Collection[str] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    told_by_converter: tuple[str, ...] = ()

    @property
    def by_name(self) -> dict[str, Key]:
        return {row.name: row for row in self.rows}

    @property
    def keys(self) -> list[str]:
        return [*self.by_name, *self.later]

    @property
    def required(self) -> list[str]:
        return [row.name for row in self.rows if row.default == REQUIRED]

    @property
    def reference(self) -> Schema:
        """What stands for this section inside of another one's shape."""
        return {"$ref": f"#/definitions/{self.heading}"}


@dataclass(frozen=True, slots=True)
class Reading:
    """One file being read. ``homes`` says which sections a key belongs to, for who put it
    elsewhere; ``kinds`` are those that a chain may be of.
    """

    report: Report
    environ: Mapping[str, str]
    known: Mapping[str, KnownChain]
    homes: Mapping[str, tuple[str, ...]]
    kinds: Kinds

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
        required = [key for key in section.required if key not in section.told_by_converter]
        if not isinstance(node, Table):
            wanted = listed(required or section.keys, "and")
            raise Unfit(f"is {described(node)}", f"a mapping with {wanted}")
        found: dict[str, object] = {}
        rows = section.by_name
        for key, entry in node.entries.items():
            if key in rows:
                self._fill(found, rows[key], entry)
            elif key in section.later:
                self.report.later(entry.line, key)
            else:
                self._unknown(key, entry.line, section)
        missing = [key for key in required if key not in node.entries]
        if missing:
            wrong = f"{section.title} has no {listed(missing)}"
            wanted = listed(required, "and")
            self.report.problem(node.line, f"{wrong}; expected {wanted}")
        if any(rows[key].attribute not in found for key in required):
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

    def _fill(self, found: dict[str, object], row: Key, entry: TableEntry) -> None:
        try:
            node = self.expanded(entry.node)
            if isinstance(node, Scalar) and node.kind == "empty":
                if row.may_be_empty:
                    return
                raise Unfit("has no value", "one, or the key left out")  # noqa: TRY301 -- told below
            found[row.attribute] = row.convert(node, self)
        except Unfit as unfit:
            self.report.problem(entry.line, unfit.about(row.name))
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


# --------------------------------------------------------------------------
# Converters


@dataclass(frozen=True, slots=True)
class Taking(Generic[Value]):
    """A function as a converter, with the shape of what it takes."""

    read: Callable[[Node, Reading], Value]
    shape: Schema

    def __call__(self, node: Node, reading: Reading) -> Value:
        return self.read(node, reading)


def takes(shape: Schema) -> Callable[[Callable[[Node, Reading], Value]], Taking[Value]]:
    """Make a converter of the function below it."""
    return lambda read: Taking(read, shape)


Inside = Callable[[Node, Reading, Section], Value]


def takes_section(
    shape: Callable[[Schema], Schema],
) -> Callable[[Inside[Value]], Callable[[Section], Taking[Value]]]:
    """Make a converter of the function below it for each section that it is called with.

    ``shape`` is told what stands for that section. The function gets the section as well.
    """

    def of(read: Inside[Value]) -> Callable[[Section], Taking[Value]]:
        return lambda section: Taking(
            lambda node, reading: read(node, reading, section), shape(section.reference)
        )

    return of


@dataclass(frozen=True, slots=True)
class Nested(Generic[Model]):
    """A section of its own, built into ``model``."""

    section: Section
    model: type[Model]

    @property
    def shape(self) -> Schema:
        return self.section.reference

    def __call__(self, node: Node, reading: Reading) -> Model:
        return reading.build(self.model, reading.values(node, self.section), node.line)


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


def as_switch(value: Scalar) -> bool | None:
    """On or off, ``None`` for anything else: YAML itself reads a bare ``off`` as false."""
    word = value.text.lower()
    return True if word in TRUE_WORDS else False if word in FALSE_WORDS else None
