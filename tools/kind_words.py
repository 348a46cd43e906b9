"""Checks that words of one kind of chain stand where kinds live: ``chains/`` and ``drills/``.

    python -m tools.kind_words            check (part of ``make check``)
    python -m tools.kind_words --lower    lower the numbers in the list where they can be

In string and bytes literals of all other code these count: names of EVM methods (``eth_call``, and
prefixes such as ``debug_``), ``0x``, and patterns of 64 hex digits. Comments and docstrings do not.
Files that have some today stand in tools/kind_words.txt with their number, which may only shrink:
more is an error, and less is one as well, so that the number is lowered at once.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
LISTED: Final = Path(__file__).with_suffix(".txt")
HOMES: Final = ("chains", "drills")

_METHOD: Final = r"(?<![\w])(?:eth|net|web3|debug|trace|erigon|txpool)_\w*"
# No methods: a field of the log and of answers, and networks in URLs of Ankr.
_NO_METHODS: Final = ("trace_id", "eth_sepolia", "eth_hoodi")
_HEX: Final = r"(?<![0-9A-Za-z])0(?:[xX]|\[[xX]{2}\])"
_HASH: Final = r"\]\{64(?:,\d*)?\}|(?<![0-9a-fA-F])[0-9a-fA-F]{64}(?![0-9a-fA-F])"
_WORD: Final = re.compile(f"(?P<method>{_METHOD})|(?P<hex>{_HEX})|(?P<hash>{_HASH})")


class Found(NamedTuple):
    """A word of a kind in a literal. ``line`` is where the literal begins."""

    line: int
    word: str


def words_in(source: str) -> list[Found]:
    """What stands in the literals of a module, in the order of its lines."""
    tree = ast.parse(source)
    told = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in told:
            found += [Found(node.lineno, word) for word in _words_of(node.value)]
    return sorted(found, key=lambda each: each.line)


def _words_of(value: object) -> Iterator[str]:
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if isinstance(value, str):
        for match in _WORD.finditer(value):
            if match[0] not in _NO_METHODS:
                yield match[0]


def words_of_tree(package: Path) -> dict[str, list[Found]]:
    """By file, relative to the package's parent: those that have any, homes of kinds left out."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        if path.relative_to(package).parts[0] in HOMES:
            continue
        if words := words_in(path.read_text()):
            found[path.relative_to(package.parent).as_posix()] = words
    return found


def read(text: str) -> dict[str, int]:
    """The list: a number and a file in each line, ``#`` before a remark."""
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return {file: int(number) for number, file in lines}


def lowered(text: str, found: Mapping[str, list[Found]]) -> str:
    """The list with what has become less; nothing in it rises, and nothing comes to it."""
    lines = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            number, file = line.split()
            count = min(int(number), len(found.get(file, ())))
            if count:
                lines.append(f"{count:>3} {file}")
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def complaints(found: Mapping[str, list[Found]], listed: Mapping[str, int]) -> Iterator[str]:
    """What is wrong, one line each; none where all is as the list says."""
    for file in sorted({*found, *listed}):
        words, allowed = found.get(file, []), listed.get(file, 0)
        if len(words) > allowed:
            shown = ", ".join(f"{each.word} (line {each.line})" for each in words)
            yield (
                f"{file}: words of a kind of chain: {len(words)}, allowed: {allowed}. {shown}. "
                "Such words belong to rpcproxy/chains: ask it for a name, a value or a predicate."
            )
        elif len(words) < allowed:
            what = f"lower its number to {len(words)}" if words else "delete its line"
            yield (
                f"{file}: words of a kind of chain: {len(words)}, listed: {allowed}. Well done; "
                f"{what} in tools/kind_words.txt (python -m tools.kind_words --lower does)."
            )


def main(arguments: list[str]) -> int:
    found = words_of_tree(ROOT / "rpcproxy")
    if arguments == ["--lower"]:
        LISTED.write_text(lowered(LISTED.read_text(), found))
    elif arguments:
        sys.stderr.write(__doc__ or "")
        return 2
    wrong = list(complaints(found, read(LISTED.read_text())))
    for line in wrong:
        sys.stderr.write(f"{line}\n")
    if not wrong:
        total = sum(map(len, found.values()))
        sys.stdout.write(f"Words of kinds outside of chains: {total} in {len(found)} files.\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
