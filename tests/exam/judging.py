"""How an exam judges: errors, backward answers and losses absolutely, times beside a control.

The control is a load straight to a well provider, in the same seconds. What a busy machine adds to
it, it adds to the proxy's times as well, so that much is granted. Beyond a bound nothing can be
said of the proxy's times: the scenario is *not judged*, neither passed nor failed
(``why_not_judged``). Errors fail it all the same, but where the control had some as well, or the
load was outrun; answers that are never right fail it always. A short exam
(``RPCPROXY_EXAM=short``) judges no times and no counts that depend on them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Never

import pytest

from tests.loads.load_report import LATE_SECONDS, Window

IS_SHORT: Final = os.environ.get("RPCPROXY_EXAM") == "short"

# A well provider answers the control in some 20 ms, and in 25 at the 99th percentile. What takes
# four times as long through two processes may take any time through the proxy's three. Errors come
# later than delays: where no times are judged the machine may be twice as busy.
CONTROL_BOUND_SECONDS: Final = 0.2 if IS_SHORT else 0.1
# So much of the load is begun in time, or it is another load than the scenario is about.
LEAST_IN_TIME: Final = 0.95
# HAProxy's own cost per request differs by a few hundredths between the rounds of an idle machine.
MOST_CPU_DIFFERENCE: Final = 0.5


@dataclass(frozen=True, slots=True)
class Beside:
    """What the seconds of a scenario were like: the control's requests, and how many of the load's
    own were ``due``, and begun too ``late`` (0 of 0 where nobody asks on a schedule).
    """

    control: Window
    errors: Sequence[str] = ()
    due: int = 0
    late: int = 0


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why the machine was too busy, in words; ``of_errors``: so busy that errors may be its own."""

    words: str
    of_errors: bool = False


class Failed(AssertionError):
    """Requests failed."""


class Wrong(Exception):
    """An answer that is never right, however busy the machine: older than one before, or a lie; or a
    transaction that is lost.
    """


class NotJudged(pytest.skip.Exception):
    """The machine was too busy to say anything of the proxy."""


def why_not_judged(beside: Beside, bound_seconds: float = CONTROL_BOUND_SECONDS) -> Doubt | None:
    """What says that the machine was too busy; ``None`` where it was well: the control's 99th
    percentile is at most ``bound_seconds``.
    """
    control = beside.control
    if not control.count:
        return Doubt("the control asked nothing", of_errors=True)
    if control.error_count:
        told = list(beside.errors[-3:])
        words = f"{control.error_count} of the control's {control.count} requests failed: {told}"
        return Doubt(words, of_errors=True)
    if beside.late > (1 - LEAST_IN_TIME) * beside.due:
        return Doubt(
            f"{beside.late} of {beside.due} requests were begun more than {LATE_SECONDS:g} s late, "
            f"at most {1 - LEAST_IN_TIME:.0%} may be",
            of_errors=True,
        )
    if control.p99_seconds > bound_seconds:
        return Doubt(
            f"the control's 99th percentile was {control.p99_seconds:.3f} s, "
            f"at most {bound_seconds:g} s"
        )
    return None


def why_cpu_not_judged(differences: Sequence[float], trouble: str = "") -> Doubt | None:
    """Likewise where CPU is compared and HAProxy is the control: its ``trouble``, and by which
    share its own cost differed between the rounds of each case.
    """
    if trouble:
        return Doubt(trouble)
    worst = max(differences, default=0.0)
    if worst > MOST_CPU_DIFFERENCE:
        return Doubt(
            f"HAProxy's own cost differed by {worst:.0%} between rounds, "
            f"at most {MOST_CPU_DIFFERENCE:.0%}"
        )
    return None


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


@contextlib.contextmanager
def judged(sheet: Sheet, why_not: Callable[[], Doubt | None]) -> Iterator[None]:
    """Judge what the block asserts, where the machine was well. ``why_not`` is asked at its end,
    for what says otherwise (``why_not_judged``). Raises ``NotJudged``, which the table tells.
    """
    try:
        yield
    except (AssertionError, OSError) as found:
        doubt = why_not()
        if doubt is None or (isinstance(found, Failed | OSError) and not doubt.of_errors):
            raise
        _give_up(sheet, f"{doubt.words}; it found: {(str(found).splitlines() or [''])[0]}")
    doubt = why_not()
    if doubt is not None:
        _give_up(sheet, doubt.words)


def _give_up(sheet: Sheet, words: str) -> Never:
    sheet.note(not_judged=words)
    raise NotJudged(f"not judged: {words}")


def assert_no_errors(errors: Sequence[object], count: int | None = None) -> None:
    """No request failed: none of ``errors``, of which there are ``count``. Raises ``Failed``."""
    count = len(errors) if count is None else count
    if count:
        raise Failed(f"{count} errors, the first: {next(iter(errors), 'unknown')}")


def assert_never(what: object, words: object) -> None:
    """``what`` is nothing; judged whatever the machine did. Raises ``Wrong``."""
    if what:
        raise Wrong(str(words))


def assert_within(
    seconds: float, bound_seconds: float, what: str, *, is_short: bool = IS_SHORT
) -> None:
    """A time is within its bound, where times are judged."""
    if not is_short:
        assert seconds < bound_seconds, f"{seconds:.3f} s, at most {bound_seconds:.3f} s: {what}"


def assert_at_most(count: float, bound: float, what: str, *, is_short: bool = IS_SHORT) -> None:
    """A count that depends on times (second copies) is within its bound, where they are judged."""
    if not is_short:
        assert count <= bound, f"{count:.3f}, at most {bound:.3f}: {what}"
