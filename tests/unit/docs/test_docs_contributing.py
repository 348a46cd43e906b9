"""CONTRIBUTING.md names every room, and only files, classes and functions that are there."""

from __future__ import annotations

import re

from tests.kits.pages import PACKAGE, PAGES, README, ROOT, assert_told, names, rows, section

PAGE = PAGES["CONTRIBUTING.md"]
ROOMS = {
    ".".join(path.parent.relative_to(PACKAGE).parts)
    for path in PACKAGE.rglob("__init__.py")
    if path.parent != PACKAGE
}


def test_every_room_has_a_line() -> None:
    told = [names(row[1])[0] for row in rows(section(PAGE, "Where things go"))]
    assert_told(told, ROOMS, "CONTRIBUTING.md, Where things go")


def test_files_that_are_named_are_there() -> None:
    found = re.findall(r"(?<![\w/])((?:rpcproxy|tests|docs|tools)/[\w./-]*\w)", PAGE)
    assert len(found) > 30
    for path in found:
        if "…" not in path and "NN" not in path and not path.endswith("exam_"):
            assert (ROOT / path).exists(), path


def test_names_of_code_are_spelled_as_there() -> None:
    code = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    code += "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    spelled = {
        part
        for name in re.findall(r"`([A-Za-z_]+(?:\.[a-z_]+)?)`", PAGE)
        if name not in ROOMS and (name.isupper() or "_" in name or name[0].isupper())
        for part in name.split(".")
    }
    assert {"ChainCounters", "observe", "on_refused", "NAMING_BLOCK"} <= spelled
    for name in spelled:
        assert re.search(rf"\b{name}\b", code), name


def test_it_is_found() -> None:
    assert "(CONTRIBUTING.md)" in README
