"""How the house is laid out: rooms that say what they are for, small folders, names that are new."""

from __future__ import annotations

import ast
import importlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kits.pages import DOCS, PACKAGE, ROOT, assert_told, names, rows, section

MOST_MODULES = 15
MOST_LINES = 6
MOST_LINES_OF_A_MODULE = 400
MOST_LINES_OF_A_FUNCTION = 60
LONG_MODULES = {
    "rpcproxy/chains/evm/sends/signed.py": 424,
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
# Modules that read the machine's clock, or their loop's. This list may only shrink: whoever else
# needs the time is given a clock (rpcproxy/clock.py).
READ_THE_CLOCK = {
    # A thread, a socket or a service manager waits in the machine's time.
    "rpcproxy/edges/disk/worker.py",
    "rpcproxy/edges/process/given_sockets.py",
    "rpcproxy/edges/process/notify_socket.py",
    # Defaults of an argument.
    "rpcproxy/clock.py",
    "rpcproxy/edges/disk/disk_cache.py",
    "rpcproxy/edges/disk/journal.py",
    # Timers of the loop, by its own time.
    "rpcproxy/app/people/notifier.py",
    "rpcproxy/edges/http/names.py",
    "rpcproxy/edges/http/opening.py",
    "rpcproxy/edges/http/upstream_http.py",
    "rpcproxy/edges/metrics/metrics.py",
    "rpcproxy/edges/ws/pace.py",
    "rpcproxy/front/operators/admin_connection.py",
    "rpcproxy/front/wire/listener.py",
    # What drawing costs, in CPU.
    "rpcproxy/front/wire/live.py",
    # Where a command begins.
    # A world of its own, which is played in the machine's time.
    "rpcproxy/drills/demo/demo_run.py",
    "rpcproxy/drills/demo/scenes.py",
    "rpcproxy/drills/demo/wallet.py",
    "rpcproxy/drills/providers/fleet.py",
    "rpcproxy/drills/providers/provider.py",
    "rpcproxy/drills/providers/provider_answers.py",
}
CLOCKS = {
    *("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"),
    *("thread_time", "process_time"),
}
SOURCES = [
    path
    for folder in ("rpcproxy", "tools", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
ROOMS = {path.parent: path for path in sorted(PACKAGE.rglob("__init__.py"))}

# Reading takes long: what has none of these words is not read.
_MAY_TELL_THE_TIME = re.compile(rf"\b(?:{'|'.join(sorted(CLOCKS))})\b")
_MAY_PATCH = re.compile(r"setattr|patch|\bobject\s*\(|\.[A-Z0-9_]+\s*=")


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
        for node in statements(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > MOST_LINES_OF_A_FUNCTION:
                    name = f"{named(path)}: {node.name}"
                    too_long[name] = max(length, too_long.get(name, 0))
    assert too_long.keys() == LONG_FUNCTIONS.keys()
    assert [name for name, length in too_long.items() if length > LONG_FUNCTIONS[name]] == []


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """All of them, however deep, without what is in expressions: ten times as much."""
    for name in ("body", "orelse", "finalbody", "handlers", "cases"):
        for inner in getattr(node, name, ()):
            yield inner
            yield from statements(inner)


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


def test_who_reads_the_clock_is_known() -> None:
    """Time is an argument: of rules as ``now``, elsewhere as a ``Clock``."""
    found = {named(path) for path in PACKAGE.rglob("*.py") if reads_the_clock(path.read_text())}
    assert sorted(found - READ_THE_CLOCK) == [], "give it a clock (rpcproxy/clock.py)"
    assert sorted(READ_THE_CLOCK - found) == [], "well done: take it out of the list"


def reads_the_clock(source: str) -> bool:
    """Whether a module uses a function of ``time`` that tells it, or a loop's."""
    if not _MAY_TELL_THE_TIME.search(source):
        return False
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            return True
        if isinstance(node, ast.Attribute) and node.attr in CLOCKS:
            owner = ast.unparse(node.value)
            if owner == "time" or owner.endswith("loop") or "running_loop" in owner:
                return True
    return False


@pytest.mark.parametrize(
    ("source", "is_reading"),
    [
        ("now = time.monotonic()", True),
        ("self._now = time.time", True),
        ("from time import monotonic", True),
        ("now = self._loop.time()", True),
        ("now = asyncio.get_running_loop().time()", True),
        ("time.sleep(1)", False),
        ("now = clock.monotonic()", False),
    ],
)
def test_what_reads_the_clock(source: str, is_reading: bool) -> None:
    assert reads_the_clock(source) is is_reading


def test_no_test_patches_a_clock_or_a_constant() -> None:
    """A test that wants another limit or another time gives it as an argument."""
    found = {
        f"{named(path)}: {what}"
        for path in (ROOT / "tests").rglob("*.py")
        if "node_modules" not in path.parts  # of others: some are in Python 2
        for what in patched_in(path.read_text())
    }
    assert sorted(found) == [], "make it an argument"


def patched_in(source: str) -> set[str]:
    """Clocks and constants in whose place something is put, by ``setattr``, ``patch`` or ``=``."""
    found: set[str] = set()
    if not _MAY_PATCH.search(source):
        return found
    for node in ast.walk(ast.parse(source)):
        for what in (*put_by_call(node), *put_by_assignment(node)):
            name = what.rpartition(".")[2]
            if name in CLOCKS or name == "sleep" or re.fullmatch(r"_?[A-Z][A-Z0-9_]+", name):
                found.add(what)
    return found


def put_by_call(node: ast.AST) -> list[str]:
    if not isinstance(node, ast.Call) or not node.args:
        return []
    function = node.func
    by = getattr(function, "attr", "") or getattr(function, "id", "")
    if by not in ("setattr", "patch", "object"):
        return []
    first, *rest = node.args
    if isinstance(first, ast.Constant):
        return [str(first.value)]
    if by != "patch" and rest and isinstance(rest[0], ast.Constant):
        return [f"{ast.unparse(first)}.{rest[0].value}"]
    return []


def put_by_assignment(node: ast.AST) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else []
    return [
        ast.unparse(each)
        for each in targets
        if isinstance(each, ast.Attribute) and each.attr.isupper()
    ]


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ('monkeypatch.setattr(module, "MOST_ROWS", 6)', {"module.MOST_ROWS"}),
        ('patch.setattr("rpcproxy.edges.x._MOST", 6)', {"rpcproxy.edges.x._MOST"}),
        ('monkeypatch.setattr(loop, "time", clock)', {"loop.time"}),
        ('mock.patch("time.monotonic", clock)', {"time.monotonic"}),
        ('mock.patch.object(module, "MOST", 6)', {"module.MOST"}),
        ('setattr(asyncio, "sleep", quick)', {"asyncio.sleep"}),
        ("module.MOST = 6", {"module.MOST"}),
        ("module._MOST = 6", {"module._MOST"}),
        ('monkeypatch.setattr(module, "look_up", fail)', set()),
        ("self.most = 6", set()),
    ],
)
def test_what_a_test_must_not_patch(source: str, what: set[str]) -> None:
    assert patched_in(source) == what


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
