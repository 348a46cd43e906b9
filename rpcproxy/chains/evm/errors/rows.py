"""What one row of the error table is, and which words of a text are the speaker's own."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rpcproxy.chains.method import Method, MethodKind
from rpcproxy.messages import Verdict

# Scopes: the kinds of method that a row is meant for.
SENDS: Final = 1
CALLS: Final = 2  # methods that run code
LOOKUPS: Final = 4
READS: Final = 8
NOT_SENDS: Final = CALLS | LOOKUPS | READS
ANY: Final = SENDS | NOT_SENDS

# Where words mean opposite things for different requests: the verdict by the params.
Weigh = Callable[[bytes], Verdict]


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


def scope(method: Method) -> int:
    """Which rows are meant for this method."""
    if method.kind is MethodKind.SEND:
        return SENDS
    if method.is_execution:
        return CALLS
    return LOOKUPS if method.kind is MethodKind.LOOKUP else READS


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


# What is quoted is somebody else's: a client's value ("cannot unmarshal 'rate limit exceeded'"),
# a name, a contract's reason. An apostrophe inside a word opens nothing.
_QUOTED: Final = re.compile(r"(?<!\w)(?:'[^'\n]{0,400}'|\"[^\"\n]{0,400}\"|`[^`\n]{0,400}`)(?!\w)")


def own_words(text: str) -> str:
    """The text without what its speaker only quotes."""
    return _QUOTED.sub("", text) if "'" in text or '"' in text or "`" in text else text
