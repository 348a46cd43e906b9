"""tests.kits.effort."""

from __future__ import annotations

import gc

from tests.kits.effort import lines_run


def test_a_collection_is_no_work_of_what_runs_meanwhile() -> None:
    """It may begin anywhere, and hypothesis watches each one."""
    phases: list[str] = []

    def watch(phase: str, _: dict[str, int]) -> None:
        phases.append(phase)

    def make() -> None:
        made = [[] for _ in range(10 * gc.get_threshold()[0])]
        made.clear()

    lines = lines_run(make)
    gc.callbacks.append(watch)
    try:
        assert lines_run(make) == lines
        assert gc.isenabled()
        make()
    finally:
        gc.callbacks.remove(watch)
    assert phases, "nothing would have begun anyway"
