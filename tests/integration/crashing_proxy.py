"""The proxy as people run it, but for one thing: it ends by itself at a fault point.

``CRASH_AT`` names the point; no ``finally`` and no ``atexit`` runs, as with SIGKILL.
"""

from __future__ import annotations

import os
import sys

from rpcproxy.cli import main
from rpcproxy.edges.disk import journal_file
from rpcproxy.engine.sends import ledger

CRASH_CODE = 77


def crash(point: str) -> None:
    if point == os.environ["CRASH_AT"]:
        os._exit(CRASH_CODE)


def arm() -> None:
    ledger.fault = crash
    journal_file.fault = crash


if __name__ == "__main__":
    # The first commit makes the file; that is no transaction.
    arm()
    sys.exit(main())
