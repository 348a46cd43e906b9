"""How much work something is, the same on every machine, however busy."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def lines_run(act: Callable[[], object]) -> int:
    """How many lines of Python run meanwhile; in a loop or comprehension each turn counts anew.
    What a function written in C does counts as nothing. No collection begins, which hypothesis
    watches with lines of its own.
    """
    count = 0

    def on_event(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal count
        count += event == "line"
        return on_event

    before, collects = sys.gettrace(), gc.isenabled()
    gc.disable()
    sys.settrace(on_event)
    try:
        act()
    finally:
        sys.settrace(before)
        if collects:
            gc.enable()
    return count
