"""What exams share: their mark, real nodes, and the sheet on which they note what they measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.exam.control_load import ControlLoad, a_control
from tests.exam.fault_bench import Seen
from tests.exam.judging import Sheet
from tests.integration.conftest import anvil_binary, node_binary, require_node_package

# Fixtures of the integration tests that exams ask for, too.
__all__ = ["anvil_binary", "node_binary", "require_node_package"]

HERE: Final = Path(__file__).resolve().parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is an exam."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.exam)


@pytest.fixture
def sheet(request: pytest.FixtureRequest) -> Sheet:
    """Where a scenario notes its figures; ``python -m benchmarks.exam`` makes a table of them."""
    return Sheet(request.node.user_properties)


@pytest.fixture(scope="module")
def control() -> Iterator[ControlLoad]:
    """Where a scenario has no load of its own to compare with."""
    with a_control() as load:
        yield load


def note_seen(sheet: Sheet, seen: Seen) -> None:
    """A line of the table from what wallets saw."""
    sheet.note(
        requests=seen.latency.count,
        errors=seen.latency.error_count,
        backward=seen.backward_heads,
        p50=seen.latency.p50_seconds,
        p99=seen.latency.p99_seconds,
        slowest=seen.latency.max_seconds,
        control=seen.control.p99_seconds,
        calls=seen.calls_per_request,
    )
