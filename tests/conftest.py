"""What all tests share."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Generator
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Properties try the same examples each time, however long one takes: a run fails for what was
# changed. ``--hypothesis-profile=search`` looks for new ones.
UNTIMED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("same", max_examples=100, derandomize=True, database=None, **UNTIMED)
settings.register_profile("search", max_examples=1000, **UNTIMED)
settings.load_profile("same")

# No test trusts a public authority, and reading them is a tenth of what each start of ours costs.
os.environ.setdefault("SSL_CERT_FILE", os.devnull)

HERE = Path(__file__).parent
STATE = pytest.StashKey[str]()


@pytest.fixture
def require_tool() -> Callable[[str], str]:
    """The path of an outside program. Without it the test is skipped by name, or fails where
    RPCPROXY_REQUIRE_ALL=1 says that this machine has everything.
    """

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            if os.environ.get("RPCPROXY_REQUIRE_ALL") == "1":
                pytest.fail(f"{name} is not installed, and RPCPROXY_REQUIRE_ALL=1")
            pytest.skip(f"{name} is not installed")
        return path

    return find


def pytest_configure(config: pytest.Config) -> None:
    """Where the tests of this process have their journals, under /tmp and no further down: paths
    of sockets have an end.
    """
    folder = tempfile.mkdtemp(prefix="rpcproxy-")
    config.stash[STATE] = folder
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Workers share the rewriting of assertions where a clone is fresh. Else each of them does it
    for every file: they all go through the files in the same order, at the same time.
    """
    worker: dict[str, Any] | None = getattr(session.config, "workerinput", None)
    if worker is None or sys.dont_write_bytecode:
        return
    rank, count = int(worker["workerid"].removeprefix("gw")), worker["workercount"]
    before = list(sys.path)
    ours = (path for path in HERE.rglob("test_*.py") if "node_modules" not in path.parts)
    for path in sorted(ours)[rank::count]:
        written = path.parent.glob(f"__pycache__/{path.stem}.*-pytest-{pytest.__version__}.pyc")
        if any(each.stat().st_mtime >= path.stat().st_mtime for each in written):
            continue
        sys.path.insert(0, str(path.parent))
        # What fails here fails again, and is told, when the tests of the file are looked for.
        failures = (Exception, pytest.skip.Exception)
        with contextlib.suppress(*failures), warnings.catch_warnings():
            warnings.simplefilter("error")
            importlib.import_module(path.stem)
    sys.path[:] = before


def pytest_collectstart() -> None:
    """What is made while tests are looked for stays: there is no garbage to look for."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Ten thousand tests and what they import are no garbage: without this, each collection that
    a test asks for looks through all of them, which takes longer than the test.
    """
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Nor is what a file leaves that has ended: modules that only it loads, and what they keep. A
    test costs the same whatever ran before it. What was left open is told at the next test.
    """
    if nextitem is not None and nextitem.path != item.path:
        gc.collect()
        gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A hook, since a fixture with its requests costs more than most of ten thousand tests.

    Journals of one test are no other test's, and never the user's. And eth_account raises the
    process's recursion limit a hundredfold when it is imported; the proxy runs with Python's own.
    """
    os.environ["XDG_STATE_HOME"] = f"{item.config.stash[STATE]}/{token_hex(8)}"
    os.environ.pop("STATE_DIRECTORY", None)
    sys.setrecursionlimit(1000)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What was captured may hold half a surrogate pair, which cannot be sent between processes."""
    report = yield
    report.sections = [
        (title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections
    ]
    return report
