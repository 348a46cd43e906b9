"""The proxy as people run it, but for its patience, which the environment says in seconds:
``YOUNG_OUTAGE_SECONDS`` for how long outages are young and waited out, ``HALT_SECONDS`` after how
long a chain is said to stand still. What is not said stays.
"""

from __future__ import annotations

import os
import sys

from msgspec.structs import replace

from rpcproxy.chains import registry
from rpcproxy.cli import main
from rpcproxy.engine.sends import copies
from rpcproxy.rules.requests import failover

PLACES = {"YOUNG_OUTAGE_SECONDS": (copies, failover)}


def set_patience() -> None:
    for name, modules in PLACES.items():
        for module in modules:
            assert hasattr(module, name)
            vars(module)[name] = float(os.environ.get(name, vars(module)[name]))
    if told := os.environ.get("HALT_SECONDS"):
        traits = replace(registry.EVM.traits, halt_seconds=float(told))
        registry.KINDS["evm"] = replace(registry.EVM, traits=traits)


if __name__ == "__main__":
    set_patience()
    sys.exit(main())
