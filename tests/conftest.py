"""What all tests share."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Generator
from secrets import token_hex

import pytest
from hypothesis import HealthCheck, settings

# Properties try the same examples each time, however long one takes: a run fails for what was
# changed. ``--hypothesis-profile=search`` looks for new ones.
UNTIMED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("same", max_examples=40, derandomize=True, database=None, **UNTIMED)
settings.register_profile("search", max_examples=1000, **UNTIMED)
settings.load_profile("same")


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


@pytest.fixture(autouse=True)
def own_state_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Journals of one test are no other test's, and never the user's."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / token_hex(8)))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What was captured may hold half a surrogate pair, which cannot be sent between processes."""
    report = yield
    report.sections = [
        (title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections
    ]
    return report


@pytest.fixture(autouse=True)
def usual_recursion_limit() -> None:
    """eth_account raises the process's limit a hundredfold when it is imported; the proxy runs
    with Python's own.
    """
    sys.setrecursionlimit(1000)
