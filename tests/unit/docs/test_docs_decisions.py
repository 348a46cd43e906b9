"""docs/decisions: pages of one shape, all in the index, about modules and tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "docs" / "decisions"
INDEX = (FOLDER / "README.md").read_text()
PAGES = {
    path.name: path.read_text() for path in sorted(FOLDER.glob("*.md")) if path.name != "README.md"
}
HEADINGS = ["What", "Why", "What was refused", "Where"]
FILES = {path.name for place in ("rpcproxy", "tests") for path in (ROOT / place).rglob("*.py")}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_its_shape(page: str) -> None:
    text = PAGES[page]
    assert re.fullmatch(r"\d\d-[a-z0-9-]+\.md", page)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1
    assert 12 <= len(text.splitlines()) <= 40


def test_the_index_has_one_line_for_each_page() -> None:
    told = re.findall(r"^- \[(.+)\]\((.+)\): .+$", INDEX, re.MULTILINE)
    assert [page for _, page in told] == list(PAGES)
    for title, page in told:
        assert PAGES[page].startswith(f"# {title}\n"), page


@pytest.mark.parametrize("page", PAGES)
def test_a_page_names_modules_that_are_there(page: str) -> None:
    named = re.findall(r"`(?:[\w-]+/)*(\w+\.py)`", PAGES[page])
    assert named
    for name in named:
        assert name in FILES, name
    for path in re.findall(r"`((?:docs|benchmarks)/[\w./-]+)`", PAGES[page]):
        assert (ROOT / path).exists(), path


def test_the_index_is_found() -> None:
    assert "(docs/decisions/README.md)" in (ROOT / "README.md").read_text()
    assert "(decisions/README.md)" in (ROOT / "docs" / "architecture.md").read_text()
