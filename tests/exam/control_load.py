"""The control: a load straight to a provider that is always well, in the seconds of a scenario.

with a_control() as control, control.judged(sheet):
    ...                                     # what is asserted here is judged, or the scenario
                                            # is one that was not
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Final

from tests.exam.judging import (
    CONTROL_BOUND_SECONDS,
    Beside,
    Doubt,
    Sheet,
    granted,
    judged,
    why_not_judged,
)
from tests.loads.endless import EndlessLoad
from tests.loads.load_report import Window
from tests.sockets.providers import ProviderProcess

LATENCY_SECONDS: Final = 0.02
USUAL_SECONDS: Final = LATENCY_SECONDS + 0.005  # what its 99th percentile is on an idle machine
# Where a scenario has no load of its own to compare with: enough to feel the machine.
RATE_PER_SECOND: Final = 50.0

DueAndLate = tuple[int, int]


def on_no_schedule() -> DueAndLate:
    return 0, 0


class ControlLoad(EndlessLoad):
    """See the module's docstring."""

    def between(self, began_at: float, ended_at: float) -> Window:
        """Its requests that were due in between; waits until they have ended."""
        self.wait_for_answers(ended_at)
        return self.report.between(began_at, ended_at)

    def granted_worst(self, bound_seconds: float, began_at: float) -> float:
        """The bound for a single request, with what the machine took from one of these."""
        window = self.between(began_at, time.monotonic())
        return granted(bound_seconds, window.max_seconds, USUAL_SECONDS)

    @contextlib.contextmanager
    def judged(
        self,
        sheet: Sheet,
        own: Callable[[], DueAndLate] = on_no_schedule,
        *,
        since: float | None = None,
        bound_seconds: float = CONTROL_BOUND_SECONDS,
    ) -> Iterator[None]:
        """Judge the block by these seconds, or by those ``since`` a moment of the monotonic clock.
        ``bound_seconds``: what the control's 99th percentile may be.
        ``own`` tells of the load so far, how many requests were due and how many of them begun
        late. Raises ``NotJudged``.
        """
        began_at = time.monotonic() if since is None else since
        due_before, late_before = own()
        errors = len(self.report.errors)

        def why_not() -> Doubt | None:
            due, late = own()
            window = self.between(began_at, time.monotonic())
            told = self.report.errors[errors:]
            beside = Beside(window, told, due - due_before, late - late_before)
            return why_not_judged(beside, bound_seconds)

        with judged(sheet, why_not):
            yield


@contextlib.contextmanager
def a_control(rate_per_second: float = RATE_PER_SECOND) -> Iterator[ControlLoad]:
    """A control with a provider of its own."""
    with ProviderProcess("control", latency_seconds=LATENCY_SECONDS) as providers:
        load = ControlLoad(providers.urls["control"], rate_per_second)
        try:
            yield load
        finally:
            load.stop()
