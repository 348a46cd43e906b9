"""How an exam judges: errors, backward answers and losses absolutely, times beside a control.

The control is the same load, straight to a well provider, in the same seconds. What a busy machine
adds to it, it adds to the proxy's times as well, so that much is granted. A control that has errors
itself says nothing of the proxy: the scenario fails as one that was not judged. A short exam
(``RPCPROXY_EXAM=short``) judges no times and no counts that depend on them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from tests.loads.load_report import Window

IS_SHORT: Final = os.environ.get("RPCPROXY_EXAM") == "short"


class Sheet:
    """The figures of one scenario. State: the list of properties in its report."""

    def __init__(self, properties: list[tuple[str, object]]) -> None:
        self._properties = properties

    def note(self, **figures: float | str) -> None:
        """``p50``, ``p99``, ``slowest`` and ``control`` in seconds, others are counts or words."""
        self._properties.extend(figures.items())


def granted(bound_seconds: float, control_seconds: float, usual_seconds: float) -> float:
    """The bound for a time, in seconds, where the control took ``control_seconds`` for what takes
    it ``usual_seconds`` on an idle machine.
    """
    return bound_seconds + max(0.0, control_seconds - usual_seconds)


def assert_is_judged(control: Window, errors: Sequence[str] = ()) -> None:
    """The control had requests, and no errors. The load goes straight to a provider that is well."""
    assert control.count, "not judged: the control asked nothing"
    assert not control.error_count, (
        f"not judged: {control.error_count} of the control's {control.count} requests failed: "
        f"{list(errors[-3:])}"
    )


def assert_within(seconds: float, bound_seconds: float, what: str) -> None:
    """A time is within its bound, where times are judged."""
    if not IS_SHORT:
        assert seconds < bound_seconds, f"{seconds:.3f} s, at most {bound_seconds:.3f} s: {what}"


def assert_at_most(count: float, bound: float, what: str) -> None:
    """A count that depends on times (second copies) is within its bound, where they are judged."""
    if not IS_SHORT:
        assert count <= bound, f"{count:.3f}, at most {bound:.3f}: {what}"
