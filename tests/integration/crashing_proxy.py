"""The proxy as people run it, but for one thing: it ends by itself at a fault point.

``CRASH_AT`` names the point; no ``finally`` and no ``atexit`` runs, as with SIGKILL.
"""

from __future__ import annotations

import os
import sys
from functools import partial

from rpcproxy.cli import main
from rpcproxy.edges.disk.journal import DiskJournal

CRASH_CODE = 77


def crash(point: str) -> None:
    if point == os.environ["CRASH_AT"]:
        os._exit(CRASH_CODE)


def arm() -> None:
    # The proxy opens its journals without a fault.
    setattr(DiskJournal, "open", partial(DiskJournal.open, fault=crash))  # noqa: B010 - a method


if __name__ == "__main__":
    arm()
    sys.exit(main(on_step=crash))
