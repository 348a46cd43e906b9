"""Rooms that ask by the words of a chain's kind spell none of their own."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.kits.pages import PACKAGE

# May grow, and not shrink.
ROOMS = (
    *("engine/truth", "engine/watch", "edges/ws", "front/pages"),
    *("rules/heads", "rules/standing", "rules/requests", "rules/telling"),
)
MODULES = [path for room in ROOMS for path in sorted((PACKAGE / room).glob("*.py"))]
# Names of methods, numbers and hashes as EVM nodes spell them, and JSON of more than one value.
SPELLED = re.compile(r"\b(?:eth|net|web3)_|0x|[\[{]\s*\\?\"")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_words_of_one_kind_are_spelled(path: Path) -> None:
    texts = [
        node.value if isinstance(node.value, str) else node.value.decode()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
    ]
    assert [text for text in texts if SPELLED.search(text)] == []


def test_the_words_are_found_where_they_are_spelled() -> None:
    for text in ("eth_getLogs", "net_version", "0x1f", '["latest",false]', '{"a":1}'):
        assert SPELLED.search(text)
