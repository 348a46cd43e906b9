"""YAML text to nodes that know their line. Nothing is constructed but text, lists and tables.

Anchors, aliases and merge keys (``<<``) work; how much they may expand to is limited, so that
a few lines cannot fill the memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import yaml

from rpcproxy.config.problems import ConfigError, Report, Reported, quoted

LARGEST_TEXT: Final = 1024 * 1024  # characters; PyYAML reads about 100,000 a second
_MOST_NODES: Final = 50_000
_DEEPEST: Final = 24

ScalarKind = Literal["text", "number", "flag", "empty"]

_KINDS: Final[dict[str, ScalarKind]] = {
    "tag:yaml.org,2002:str": "text",
    "tag:yaml.org,2002:timestamp": "text",
    "tag:yaml.org,2002:value": "text",
    "tag:yaml.org,2002:int": "number",
    "tag:yaml.org,2002:float": "number",
    "tag:yaml.org,2002:bool": "flag",
    "tag:yaml.org,2002:null": "empty",
    "tag:yaml.org,2002:merge": "text",
}
_MERGE: Final = "tag:yaml.org,2002:merge"
_CONTAINERS: Final = frozenset({"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})

# What PyYAML says would quote the word after the sign, which may be a password.
_PLAINER: Final = (
    ("found undefined alias", "an alias (*) without its anchor (&)", "*"),
    ("second occurrence", "the same anchor (&) twice", "&"),
    ("found undefined tag handle", "a tag (!)", "!"),
)


@dataclass(frozen=True, slots=True)
class Scalar:
    """``written`` is as in the file, ``text`` with the environment filled in."""

    line: int
    text: str
    kind: ScalarKind
    written: str


@dataclass(frozen=True, slots=True)
class Items:
    line: int
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class TableEntry:
    """``line`` is the key's."""

    line: int
    node: Node


@dataclass(frozen=True, slots=True)
class Table:
    line: int
    entries: dict[str, TableEntry]


Node = Scalar | Items | Table


def parse(text: str, file: str, report: Report) -> Node | None:
    """The one document in ``text``, ``None`` for an empty one.

    Duplicate keys go to ``report``. Raises ``ConfigError`` where nothing can be read.
    """
    if len(text) > LARGEST_TEXT:
        raise ConfigError([f"{file}: too large; expected at most {LARGEST_TEXT} characters"])
    loader: yaml.SafeLoader | None = None
    try:
        loader = yaml.SafeLoader(text.removeprefix("\ufeff"))
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise ConfigError([_syntax(error, text, file)]) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError([f"{file}:{line}: a character that YAML does not allow"]) from None
    except RecursionError:
        raise ConfigError([f"{file}:{_line_of(loader)}: nested too deeply"]) from None
    except (ValueError, OverflowError):  # escapes beyond Unicode, versions beyond int
        line = _line_of(loader)
        raise ConfigError([f"{file}:{line}: not valid YAML: a bad escape or directive"]) from None
    if root is None:
        return None
    try:
        return _Conversion(report).node(root, 0)
    except Reported:
        raise report.error() from None


def _line_of(loader: yaml.SafeLoader | None) -> int:
    return loader.line + 1 if loader else 1


def _syntax(error: yaml.MarkedYAMLError, text: str, file: str) -> str:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    problem = error.problem or "not readable"
    for beginning, plain, sign in _PLAINER:
        if problem.startswith(beginning):
            problem = f"{plain}; text that begins with {sign} is written in quotes"
            break
    lines = text.splitlines()
    source = lines[line - 1] if line <= len(lines) else ""
    if problem == "but found another document":
        problem = "a second document; expected one"
    elif "<block end>" in problem:
        problem = "the indentation does not fit the lines above"
    elif "[::" in source:
        problem += "; an address with [ ] is written in quotes"
    elif "'\\t'" in problem:
        problem += "; indent with spaces, not tabs"
    elif "${" in source and "{" in source.replace("${", ""):
        problem += "; inside { } put ${NAME} in quotes"
    elif "mapping values are not allowed" in problem:
        problem += "; text with ': ' in it is written in quotes"
    return f"{file}:{line}: not valid YAML: {problem}"


class _Conversion:
    """From PyYAML's nodes to ours. ``_left`` counts down, since aliases are copied out."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._left = _MOST_NODES

    def node(self, source: yaml.Node, depth: int) -> Node:
        line = source.start_mark.line + 1
        self._left -= 1
        if self._left < 0:
            self._refuse(line, f"aliases (*) expand to more than {_MOST_NODES} values")
        if depth > _DEEPEST:
            self._refuse(line, "nested too deeply")
        if isinstance(source, yaml.ScalarNode):
            kind = _KINDS.get(source.tag)
            if kind is None:
                self._refuse_tag(line)
            return Scalar(line, source.value, kind or "text", source.value)
        if source.tag not in _CONTAINERS:
            self._refuse_tag(line)
        if isinstance(source, yaml.SequenceNode):
            return Items(line, tuple(self.node(item, depth + 1) for item in source.value))
        assert isinstance(source, yaml.MappingNode)  # noqa: S101 -- PyYAML has these three only
        return self._table(source, line, depth)

    def _table(self, source: yaml.MappingNode, line: int, depth: int) -> Table:
        own: dict[str, TableEntry] = {}
        merged: dict[str, TableEntry] = {}
        for key, value in source.value:
            at = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self._refuse(at, "a key is a list or a mapping; expected plain text")
            elif key.tag == _MERGE:
                for name, entry in self._merged(value, at, depth).items():
                    merged.setdefault(name, entry)
            elif key.value in own:
                first = own[key.value].line
                self._report.problem(
                    at,
                    f"the key {quoted(key.value)} is there twice, first on line {first}; "
                    "expected once",
                )
            else:
                own[key.value] = TableEntry(at, self.node(value, depth + 1))
        return Table(line, merged | own)

    def _merged(self, value: yaml.Node, at: int, depth: int) -> dict[str, TableEntry]:
        node = self.node(value, depth + 1)
        tables = node.items if isinstance(node, Items) else (node,)
        entries: dict[str, TableEntry] = {}
        for table in tables:
            if not isinstance(table, Table):
                self._refuse(at, "<< merges something that is no mapping; expected *ANCHOR of one")
            else:
                entries = table.entries | entries  # the earlier one wins, as YAML says
        return entries

    def _refuse_tag(self, line: int) -> None:
        self._refuse(
            line, "a YAML tag (!) is not understood; text that begins with ! is written in quotes"
        )

    def _refuse(self, line: int, sentence: str) -> None:
        self._report.problem(line, sentence)
        raise Reported
