"""How the errors of a kind of chain are told apart: one ordered table, the first match wins. Pure.

A *row* says that a code, or words of the text, mean a *verdict*, for the *scopes* (kinds of method)
that it is meant for. Which rows there are, and in which order, is each kind's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Final

import msgspec

from rpcproxy.chains.method import Method, MethodKind
from rpcproxy.messages import Verdict

# Scopes: the kinds of method that a row is meant for.
SENDS: Final = 1
CALLS: Final = 2  # methods that run code
LOOKUPS: Final = 4
READS: Final = 8
NOT_SENDS: Final = CALLS | LOOKUPS | READS
ANY: Final = SENDS | NOT_SENDS
SCOPES: Final = (SENDS, CALLS, LOOKUPS, READS)

# What stands further behind in a text decides nothing: the work per error is bounded.
LONGEST_TEXT: Final = 1_200
REMEMBERED: Final = 256

# Where words mean opposite things for different requests: the verdict by the params.
Weigh = Callable[[bytes], Verdict]


def scope(method: Method) -> int:
    """Which rows are meant for this method."""
    if method.kind is MethodKind.SEND:
        return SENDS
    if method.is_execution:
        return CALLS
    return LOOKUPS if method.kind is MethodKind.LOOKUP else READS


# --------------------------------------------------------------------------
# Rows


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """One line of the table; ``source`` says who speaks like that, and in which version.

    It matches when the code is among ``codes`` (any, where it names none), and the text has one
    of ``fragments``, begins with one of ``starts`` or has a match of ``pattern`` (any, where the
    row has none of these). All of them are lower case. ``weigh`` decides in place of ``verdict``
    where the params are known.
    """

    verdict: Verdict
    source: str
    fragments: tuple[str, ...] = ()
    codes: frozenset[int] = frozenset()
    on: int = ANY
    starts: tuple[str, ...] = ()
    pattern: re.Pattern[str] | None = None
    weigh: Weigh | None = None

    def is_match(self, code: int | None, text: str) -> bool:
        """``text`` is lower case."""
        if self.codes and code not in self.codes:
            return False
        if not (self.fragments or self.starts or self.pattern):
            return True
        return (
            any(fragment in text for fragment in self.fragments)
            or (bool(self.starts) and text.startswith(self.starts))
            or (self.pattern is not None and self.pattern.search(text) is not None)
        )


def text_row(verdict: Verdict, on: int, source: str, *fragments: str) -> ErrorRow:
    return ErrorRow(verdict, source, fragments=fragments, on=on)


def start_row(
    verdict: Verdict, on: int, source: str, *starts: str, codes: frozenset[int] = frozenset()
) -> ErrorRow:
    return ErrorRow(verdict, source, starts=starts, codes=codes, on=on)


def pattern_row(verdict: Verdict, on: int, source: str, pattern: str) -> ErrorRow:
    return ErrorRow(verdict, source, pattern=re.compile(pattern, re.ASCII), on=on)


def code_row(verdict: Verdict, on: int, source: str, *codes: int) -> ErrorRow:
    return ErrorRow(verdict, source, codes=frozenset(codes), on=on)


def by_scope(rows: Iterable[ErrorRow]) -> Mapping[int, tuple[ErrorRow, ...]]:
    """The rows of each scope, in their order."""
    ordered = tuple(rows)
    return MappingProxyType({on: tuple(row for row in ordered if row.on & on) for on in SCOPES})


# What is quoted is somebody else's: a client's value ("cannot unmarshal 'rate limit exceeded'"),
# a name, a contract's reason. An apostrophe inside a word opens nothing.
_QUOTED: Final = re.compile(r"(?<!\w)(?:'[^'\n]{0,400}'|\"[^\"\n]{0,400}\"|`[^`\n]{0,400}`)(?!\w)")


def own_words(text: str) -> str:
    """The text without what its speaker only quotes."""
    return _QUOTED.sub("", text) if "'" in text or '"' in text or "`" in text else text


# --------------------------------------------------------------------------
# What else stands in an error


class Encoded(msgspec.Struct, frozen=True, gc=False):
    """How bytes are written in the texts of errors. A text that begins as ``text`` says nothing in
    words, and is nobody's secret where it is such bytes from end to end. ``shorten`` takes long
    ones out of words.
    """

    text: re.Pattern[str]
    shorten: Callable[[str], str]


_LONG_RUN: Final = re.compile(r"[0-9A-Za-z]{64,}")


def _without_long_runs(text: str) -> str:
    return _LONG_RUN.sub("…", text)


# In whatever digits: long ones alone can be told from words.
ANY_DIGITS: Final = Encoded(re.compile(r"(?!)"), _without_long_runs)


class RangeRefusal(msgspec.Struct, frozen=True, gc=False):
    """What was refused of a range of blocks: ``of_width`` any range that wide, else this one for
    what it holds. ``limit`` is the widest range it takes by its own word, ``suggested`` the width
    of the one it proposed; 0 where it named none that is narrower.
    """

    of_width: bool
    limit: int = 0
    suggested: int = 0


# From the error in lower case, and the width of the range that was asked, in blocks.
ReadRange = Callable[[str, int], RangeRefusal]


def of_content(text: str, blocks: int) -> RangeRefusal:
    """A refusal of which the words are not read."""
    del text, blocks
    return RangeRefusal(of_width=False)


# --------------------------------------------------------------------------
# The table


@dataclass(frozen=True, slots=True, eq=False)
class ErrorTable:
    """All that one kind of chain says of its errors.

    ``rows`` are by ``scope``. ``statuses`` decide whatever the body says, ``status_hints`` are
    the verdicts that the body may then still name instead. ``page_hints`` are looked for in
    bodies that are not JSON-RPC: narrow, since an error page says many things.
    ``batch_fragments`` say that a batch was refused as such, whatever the number beside them.
    ``spoken``, by scope: codes that say by themselves that code was run, which is an answer,
    whatever status it came under. ``read_range`` reads a refusal of a range of blocks.
    ``is_body_first``: nodes of this kind answer errors under any HTTP status, so that a reply that
    can be read outranks it; 401, 403 and 429 only where the reply is an error that the table knows.
    """

    rows: Mapping[int, tuple[ErrorRow, ...]]
    statuses: Mapping[int, Verdict] = field(default_factory=dict)
    status_hints: Mapping[int, frozenset[Verdict]] = field(default_factory=dict)
    page_hints: tuple[tuple[str, Verdict], ...] = ()
    batch_fragments: tuple[str, ...] = ()
    batch_codes: frozenset[int] = frozenset()
    spoken: Mapping[int, frozenset[int]] = field(default_factory=dict)
    encoded: Encoded = ANY_DIGITS
    read_range: ReadRange = of_content
    is_body_first: bool = False

    def verdict(
        self, code: int | None, text: str, on: int, params: bytes | msgspec.Raw | None = None
    ) -> Verdict:
        """What an error means for a method of this ``scope``; ``text`` is lower case. ``params``
        are those that the upstream was sent, where they are known.
        """
        row = self._row(code, text[:LONGEST_TEXT], on)
        if row is None:
            return Verdict.UNKNOWN
        if row.weigh is not None and params is not None:
            return row.weigh(bytes(params))
        return row.verdict

    @lru_cache(maxsize=REMEMBERED)  # noqa: B019 -- there is one table for each kind, and it stays
    def _row(self, code: int | None, text: str, on: int) -> ErrorRow | None:
        """The first row that matches."""
        own = own_words(text)
        return next((row for row in self.rows[on] if row.is_match(code, own)), None)

    def is_spoken(self, code: int | None, on: int) -> bool:
        """Whether the code says by itself that code was run."""
        return code in self.spoken.get(on, ())
