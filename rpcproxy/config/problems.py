"""What is wrong with a configuration, in words for the person who wrote it.

Every message reads ``FILE:LINE: what is wrong; expected …; did you mean 'x'?``. Values are
quoted as they were written, never as the environment filled them in, and of anything that looks
like a URL only scheme and host are quoted: the rest may be a key.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Final

# More than this helps nobody: later problems often follow from earlier ones.
_MOST_PROBLEMS: Final = 20
_LONGEST_QUOTE: Final = 48

_URL_HEAD: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,15})://([A-Za-z0-9.-]+)(?=[/?#:]|$)")
_LOOKS_SECRET: Final = re.compile(r"://|@|//|[A-Za-z0-9_-]{28}")


class ConfigError(Exception):
    """The configuration cannot be used. ``str()`` is for people, one problem per line."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class Unfit(Exception):
    """A value that does not fit its key. ``wrong`` continues a sentence that the key begins."""

    def __init__(self, wrong: str, expected: str = "", meant: str = "") -> None:
        super().__init__(wrong)
        self.wrong = wrong
        self.expected = expected
        self.meant = meant

    def about(self, subject: str) -> str:
        """The whole sentence, ``subject`` in front."""
        sentence = f"{subject} {self.wrong}"
        if self.expected:
            sentence += f"; expected {self.expected}"
        if self.meant:
            sentence += f"; did you mean '{self.meant}'?"
        return sentence


class Reported(Exception):
    """A value cannot be read, and why has been reported."""


class Report:
    """Collects problems and warnings of one file; ``line`` 0 means the whole of it."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._problems: dict[tuple[int, str], None] = {}  # in order, each once
        self._warnings: dict[tuple[int, str], None] = {}
        self._later: dict[str, list[int]] = {}

    def problem(self, line: int, sentence: str) -> None:
        self._problems[line, sentence] = None

    def warn(self, line: int, sentence: str) -> None:
        self._warnings[line, sentence] = None

    def later(self, line: int, key: str) -> None:
        """A key whose capability comes in a later version."""
        lines = self._later.setdefault(key, [])
        if line not in lines:
            lines.append(line)

    @property
    def has_problems(self) -> bool:
        return bool(self._problems)

    def error(self) -> ConfigError:
        lines = [self._at(line, text) for line, text in sorted(self._problems, key=_line)]
        if len(lines) > _MOST_PROBLEMS:
            more = len(lines) - _MOST_PROBLEMS
            lines[_MOST_PROBLEMS:] = [f"{self._file}: and {more} more problems"]
        return ConfigError(lines)

    def warnings(self) -> tuple[str, ...]:
        found = dict(self._warnings)
        for key, lines in self._later.items():
            first, *rest = sorted(lines)
            also = f" (also on line {', '.join(map(str, rest))})" if rest else ""
            found[first, f"{key} is accepted but has no effect yet{also}"] = None
        return tuple(self._at(line, text) for line, text in sorted(found, key=_line))

    def _at(self, line: int, sentence: str) -> str:
        return f"{self._file}:{line}: {sentence}" if line else f"{self._file}: {sentence}"


def _line(entry: tuple[int, str]) -> int:
    return entry[0]


def quoted(text: str) -> str:
    """``text`` in quotes, cut short, without what may be a secret."""
    head = _URL_HEAD.match(text)
    if head and "@" not in text:
        whole = head.end() == len(text)
        return f"'{head[1]}://{head[2]}'" if whole else f"'{head[1]}://{head[2]}/…'"
    if _LOOKS_SECRET.search(text):
        return "'…'"
    if len(text) > _LONGEST_QUOTE:
        text = text[:_LONGEST_QUOTE] + "…"
    return f"'{text}'" if text.isprintable() else repr(text)


def nearest(word: str, among: Iterable[str]) -> str:
    """The entry of ``among`` that ``word`` was most likely meant to be, empty where none is."""
    by_folded = {entry.casefold(): entry for entry in among}
    # cutoff 0.6 is difflib's own; lower ones suggest what nobody meant
    found = difflib.get_close_matches(word[:64].casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else ""


def listed(words: Iterable[str], last: str = "or") -> str:
    """``a, b or c``."""
    *front, end = words
    return f"{', '.join(front)} {last} {end}" if front else end
