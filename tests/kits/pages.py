"""README, docs, changelog and CONTRIBUTING.md as the tests read them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "rpcproxy"
README = (ROOT / "README.md").read_text()
DOCS = {path.name: path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))}
OF_ROOT = {page: (ROOT / page).read_text() for page in ("CHANGELOG.md", "CONTRIBUTING.md")}
PAGES = {"README.md": README, **OF_ROOT, **DOCS}
CONFIGURATION, METRICS = DOCS["configuration.md"], DOCS["metrics.md"]


def fenced(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def section(text: str, title: str) -> str:
    """What stands under a heading, its sub-headings included."""
    start = re.search(rf"^(#+) {re.escape(title)}\n", text, re.MULTILINE)
    assert start is not None, f"no heading {title!r}"
    rest = text[start.end() :]
    end = re.search(rf"^#{{1,{len(start[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def rows(text: str) -> Iterator[list[str]]:
    """The cells of all tables, without their heads."""
    for table in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        for line in table.splitlines()[2:]:
            yield [cell.strip() for cell in line.strip("|").split("|")]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def first_names(text: str) -> list[str]:
    return [name for row in rows(text) for name in names(row[0])]


def assert_told(told: Iterable[str], known: Iterable[str], where: str) -> None:
    """Each known name stands there once, and no other; a failure says which, and where to write."""
    counts = Counter(map(str, told))
    names_known = set(map(str, known))
    wrong = {
        "is missing": names_known - set(counts),
        "is no such name": set(counts) - names_known,
        "stands there twice": {name for name, count in counts.items() if count > 1},
    }
    words = [f"{name} {what}" for what, found in wrong.items() for name in sorted(found)]
    assert not words, f"{where}: {', '.join(words)}"
