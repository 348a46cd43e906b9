"""Draws the rooms of ``rpcproxy`` from its imports, as a Mermaid graph for docs/architecture.md.

    python -m tools.rooms             print it
    python -m tools.rooms --write     put it into docs/architecture.md

Floors are boxes, rooms are in them. Modules that stand in a floor by themselves belong to the
floor, and have no arrows of their own inside it. Between floors only the arrow from floor to floor
is drawn. An arrow that follows from others is left out: where a → b → c, a → c is not drawn. Every
import counts, those under ``TYPE_CHECKING`` and inside of functions too.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "architecture.md"
BEGIN: Final = "<!-- rooms:begin -->\n"
END: Final = "<!-- rooms:end -->"

Arrows = set[tuple[str, str]]


def modules_of(package: Path) -> dict[str, Path]:
    """The modules of a package by their dotted names, that of the package itself left out:
    ``engine.reads.ways``, and ``engine.reads`` for a folder.
    """
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:
            found[name] = path
    return found


def room_of(module: str, modules: Mapping[str, Path]) -> str:
    """The folder that a module is in, or the module where it stands beside the floors."""
    is_folder = modules[module].stem == "__init__"
    return module if is_folder or "." not in module else module.rpartition(".")[0]


def floor_of(room: str) -> str:
    return room.partition(".")[0]


def arrows_of(package: Path) -> Arrows:
    """Which room imports which, by dotted names."""
    modules = modules_of(package)
    arrows = set()
    for module, path in modules.items():
        for target in _imported(path, package.name, modules):
            ends = room_of(module, modules), room_of(target, modules)
            if ends[0] != ends[1]:
                arrows.add(ends)
    return arrows


def _imported(path: Path, package: str, modules: Mapping[str, Path]) -> Iterator[str]:
    prefix = f"{package}."
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = f"{node.module}.".removeprefix(prefix)
            for alias in node.names:
                member = whole + alias.name
                names.append(prefix + member if member in modules else node.module)
        for name in names:
            if name.removeprefix(prefix) in modules and name.startswith(prefix):
                yield name.removeprefix(prefix)


def reduced(arrows: Arrows) -> Arrows:
    """Without arrows that follow from others. There must be no circle in them."""
    return {
        (start, end)
        for start, end in arrows
        if not any(
            between != end and end in _reached(between, arrows)
            for first, between in arrows
            if first == start
        )
    }


def _reached(start: str, arrows: Arrows) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        here = waiting.pop()
        new = {end for first, end in arrows if first == here} - found
        found |= new
        waiting += new
    return found


def picture(package: Path) -> str:
    """The graph as Mermaid text, without its fence. The same tree gives the same text."""
    arrows = arrows_of(package)
    modules = modules_of(package)
    rooms = sorted({room_of(module, modules) for module in modules})
    between = {(floor_of(start), floor_of(end)) for start, end in arrows}
    between = reduced({(start, end) for start, end in between if start != end})
    inside = {(a, b) for a, b in arrows if floor_of(a) == floor_of(b) and "." in a and "." in b}
    lines = ["flowchart TB"]
    for floor in _from_above(sorted({floor_of(room) for room in rooms}), between):
        inner = [room for room in rooms if floor_of(room) == floor and room != floor]
        if not inner:
            lines.append(f'    {_id(floor)}["{floor}"]')
            continue
        lines.append(f'    subgraph {_id(floor)}["{floor}"]')
        lines += [f'        {_id(room)}["{room.partition(".")[2]}"]' for room in inner]
        lines += _drawn(reduced({arrow for arrow in inside if arrow[0] in inner}), "        ")
        lines.append("    end")
    return "\n".join([*lines, *_drawn(between, "    ")]) + "\n"


def _from_above(floors: Iterable[str], arrows: Arrows) -> list[str]:
    """Floors in an order in which each stands before those that it imports."""
    return sorted(floors, key=lambda floor: (-len(_reached(floor, arrows)), floor))


def _drawn(arrows: Arrows, indent: str) -> list[str]:
    return [f"{indent}{_id(start)} --> {_id(end)}" for start, end in sorted(arrows)]


def _id(room: str) -> str:
    return room.replace(".", "_").strip("_")


def written(page: str, graph: str) -> str:
    """The page with the graph in its place. Raises ``ValueError`` where it has none."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the page has no place for the picture: {BEGIN.strip()} … {END}")
    return f"{before}{BEGIN}```mermaid\n{graph}```\n{end}{after}"


def main(arguments: list[str]) -> int:
    graph = picture(ROOT / "rpcproxy")
    if arguments == ["--write"]:
        PAGE.write_text(written(PAGE.read_text(), graph))
    elif arguments:
        sys.stderr.write(__doc__ or "")
        return 2
    else:
        sys.stdout.write(graph)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
