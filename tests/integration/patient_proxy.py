"""The proxy as people run it, but for one thing: outages are young for so many seconds as
``YOUNG_OUTAGE_SECONDS`` says, and waited out for so long.
"""

from __future__ import annotations

import os
import sys

from rpcproxy.cli import main
from rpcproxy.engine import copies
from rpcproxy.rules import failover


def set_patience(seconds: float) -> None:
    for module in (copies, failover):
        assert hasattr(module, "YOUNG_OUTAGE_SECONDS")
        vars(module)["YOUNG_OUTAGE_SECONDS"] = seconds


if __name__ == "__main__":
    set_patience(float(os.environ["YOUNG_OUTAGE_SECONDS"]))
    sys.exit(main())
