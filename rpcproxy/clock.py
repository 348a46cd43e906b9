"""What time it is, as a value: the composition root hands it to whatever reads the time.

No state.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Clock:
    """``monotonic`` returns seconds that never go back, for durations and deadlines; it has to go
    with the loop's own time, by which timers fire. ``unix`` returns seconds since 1970, for what is
    written down or shown.

    Whoever reads it often keeps the function (``self._now = clock.monotonic``): that costs no more
    than a call of the module ``time``.
    """

    monotonic: Callable[[], float]
    unix: Callable[[], float]


SYSTEM_CLOCK: Final = Clock(time.monotonic, time.time)
