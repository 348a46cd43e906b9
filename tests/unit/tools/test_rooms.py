"""The picture of rooms: what it draws of a small tree, and that the architecture has today's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kits.pages import DOCS, PACKAGE
from tools.rooms import arrows_of, picture, reduced, written

TREE = {
    "__init__.py": "",
    "cli.py": "from house import words\nfrom house.upper import door\n",
    "words.py": "import json\n",
    "upper/__init__.py": "",
    "upper/door.py": "from house.upper.hall import lamp\nimport house.lower.cellar\n",
    "upper/hall/__init__.py": "",
    "upper/hall/lamp.py": """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from house.upper.stairs.steps import Step
def light():
    from house.words import Word
""",
    "upper/stairs/__init__.py": "",
    "upper/stairs/steps.py": "from house.upper.attic import dust\n",
    "upper/attic/__init__.py": "",
    "upper/attic/dust.py": "from houseboat import deck\nfrom . import __name__\n",
    "lower/__init__.py": "",
    "lower/cellar.py": "from house.words import Word\n",
}
DRAWN = """flowchart TB
    cli["cli"]
    subgraph upper["upper"]
        upper_attic["attic"]
        upper_hall["hall"]
        upper_stairs["stairs"]
        upper_hall --> upper_stairs
        upper_stairs --> upper_attic
    end
    lower["lower"]
    words["words"]
    cli --> upper
    lower --> words
    upper --> lower
"""


@pytest.fixture
def house(tmp_path: Path) -> Path:
    for name, text in TREE.items():
        path = tmp_path / "house" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "house"


def test_every_import_is_an_arrow_between_rooms(house: Path) -> None:
    assert arrows_of(house) == {
        ("cli", "words"),
        ("cli", "upper"),
        ("upper", "upper.hall"),
        ("upper", "lower"),
        ("upper.hall", "upper.stairs"),
        ("upper.hall", "words"),
        ("upper.stairs", "upper.attic"),
        ("lower", "words"),
    }


def test_floors_are_boxes_and_own_modules_belong_to_them(house: Path) -> None:
    assert picture(house) == DRAWN


def test_what_follows_from_others_is_left_out() -> None:
    arrows = {("a", "b"), ("b", "c"), ("a", "c"), ("c", "d"), ("a", "d"), ("a", "e")}
    assert reduced(arrows) == {("a", "b"), ("b", "c"), ("c", "d"), ("a", "e")}


def test_it_is_put_where_it_was() -> None:
    page = "before\n<!-- rooms:begin -->\nold\n<!-- rooms:end -->\nafter\n"
    new = written(page, "graph\n")
    assert new.startswith("before\n<!-- rooms:begin -->\n```mermaid\ngraph\n```\n")
    assert new.endswith("<!-- rooms:end -->\nafter\n")
    assert written(new, "graph\n") == new
    with pytest.raises(ValueError, match="no place"):
        written("nothing", "graph\n")


def test_the_architecture_has_what_the_imports_say_today() -> None:
    page = DOCS["architecture.md"]
    assert written(page, picture(PACKAGE)) == page, "run: python -m tools.rooms --write"
