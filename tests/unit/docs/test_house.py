"""How the house is laid out: rooms that say what they are for, small folders, names that are new."""

from __future__ import annotations

import ast
import importlib
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.kits.pages import DOCS, PACKAGE, ROOT, assert_told, names, rows, section

MOST_MODULES = 15
MOST_LINES = 6
MOST_LINES_OF_A_MODULE = 400
MOST_LINES_OF_A_FUNCTION = 60
LONG_MODULES = {
    "rpcproxy/chains/evm/sends/signed.py": 424,
    "rpcproxy/drills/scenarios/faults.py": 406,
    "rpcproxy/engine/attempts/executor.py": 485,
    "rpcproxy/engine/sends/ledger.py": 429,
    "rpcproxy/messages.py": 469,
    "rpcproxy/rules/heads/heads.py": 460,
    "rpcproxy/rules/requests/failover.py": 534,
    "rpcproxy/rules/sends/pool.py": 461,
    "rpcproxy/rules/standing/selection.py": 409,
    "rpcproxy/rules/standing/standing.py": 458,
}
LONG_FUNCTIONS = {
    "rpcproxy/app/chain.py: __init__": 66,
    "rpcproxy/engine/sends/copies.py: send": 65,
}
SOURCES = [
    path
    for folder in ("rpcproxy", "tools", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
ROOMS = {path.parent: path for path in sorted(PACKAGE.rglob("__init__.py"))}


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def dotted(room: Path) -> str:
    return ".".join(room.relative_to(PACKAGE).parts)


def modules(room: Path) -> list[str]:
    return [path.stem for path in sorted(room.glob("*.py")) if not path.stem.startswith("__")]


@pytest.mark.parametrize("room", [room for room in ROOMS if room != PACKAGE], ids=dotted)
def test_a_room_says_what_it_is_for_and_what_it_may_import(room: Path) -> None:
    words = ast.get_docstring(ast.parse(ROOMS[room].read_text())) or ""
    assert len(words.splitlines()) <= MOST_LINES
    assert "May import" in words
    assert "Must not" in words


def test_no_code_is_outside_of_rooms() -> None:
    assert {path.parent for path in PACKAGE.rglob("*.py")} == set(ROOMS)


def test_the_architecture_names_every_room() -> None:
    told = [names(row[0])[0] for row in rows(section(DOCS["architecture.md"], "Rooms"))]
    known = [dotted(room) for room in ROOMS if room != PACKAGE]
    assert_told(told, known, "docs/architecture.md, Rooms")


@pytest.mark.parametrize("room", ROOMS, ids=dotted)
def test_a_folder_can_be_taken_in_at_a_glance(room: Path) -> None:
    assert len(modules(room)) <= MOST_MODULES


def test_a_module_is_about_400_lines() -> None:
    """Those that are longer may only shrink: lower their numbers, and delete the line of one that
    has become short.
    """
    lengths = {named(path): len(path.read_text().splitlines()) for path in SOURCES}
    too_long = {name: n for name, n in lengths.items() if n > MOST_LINES_OF_A_MODULE}
    assert too_long.keys() == LONG_MODULES.keys()
    assert [name for name, length in too_long.items() if length > LONG_MODULES[name]] == []


def test_a_function_is_60_lines() -> None:
    """Those that are longer may only shrink, as modules."""
    too_long: dict[str, int] = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > MOST_LINES_OF_A_FUNCTION:
                    name = f"{named(path)}: {node.name}"
                    too_long[name] = max(length, too_long.get(name, 0))
    assert too_long.keys() == LONG_FUNCTIONS.keys()
    assert [name for name, length in too_long.items() if length > LONG_FUNCTIONS[name]] == []


def test_the_name_of_a_module_is_new_in_the_whole_tree() -> None:
    counts = Counter(name for room in ROOMS for name in modules(room))
    assert [name for name, count in counts.items() if count > 1] == []


def test_the_way_of_one_request_is_short_and_there() -> None:
    """Eight modules at most, each of them once; the functions are where it says."""
    way = list(rows(section(DOCS["architecture.md"], "The way of one request")))
    assert [row[0] for row in way] == [str(number) for number in range(1, len(way) + 1)]
    files = [names(row[1])[0] for row in way]
    assert len(set(files)) == len(files) <= 8
    for file, function in zip(files, (names(row[2])[0] for row in way), strict=True):
        assert function in functions(PACKAGE / file), f"{file} has no {function}"


def functions(path: Path) -> set[str]:
    """Of a module, ``Class.method`` or by name alone."""
    body = ast.parse(path.read_text()).body
    defined = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = {each.name for each in body if isinstance(each, defined)}
    for each in body:
        if isinstance(each, ast.ClassDef):
            found |= {
                f"{each.name}.{inner.name}" for inner in each.body if isinstance(inner, defined)
            }
    return found


def test_dotted_names_in_the_architecture_exist() -> None:
    floors = "|".join(room.name for room in ROOMS if room.parent == PACKAGE)
    found = re.findall(rf"`((?:{floors})\.[\w.]+?)(?:\(\))?`", DOCS["architecture.md"])
    assert found
    for name in set(found):
        parts = name.split(".")
        depth = 1
        while (PACKAGE / Path(*parts[:depth])).is_dir() and depth < len(parts):
            depth += 1
        module = importlib.import_module(f"rpcproxy.{'.'.join(parts[:depth])}")
        thing: object = module
        for attribute in parts[depth:]:
            thing = getattr(thing, attribute)
