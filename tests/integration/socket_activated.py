"""``python -m rpcproxy`` as systemd starts it by socket activation: the listening sockets, named in
GIVEN_DESCRIPTORS (``wallet=5,admin=6``), become descriptors 3 and up.
"""

from __future__ import annotations

import os
import sys

from rpcproxy.cli import main

FIRST = 3


def settle() -> None:
    pairs = [pair.split("=") for pair in os.environ.pop("GIVEN_DESCRIPTORS").split(",")]
    # Out of the way first: a place may be taken by one that is yet to move.
    copies = [os.dup2(int(number), 100 + place) for place, (_, number) in enumerate(pairs)]
    for place, copy in enumerate(copies):
        os.dup2(copy, FIRST + place)
        os.close(copy)
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.environ["LISTEN_FDS"] = str(len(pairs))
    os.environ["LISTEN_FDNAMES"] = ":".join(name for name, _ in pairs)


if __name__ == "__main__":
    settle()
    sys.exit(main())
