"""Proxies that are killed and started again, many times: each is a fork of a process that has
everything imported, so that a start takes a moment.

    python -m tests.integration.forked_proxies FILE

For each line on its input it forks: the child serves FILE, and its process id comes back.
"""

from __future__ import annotations

import argparse
import os
import sys

from rpcproxy.commands.runs import serve_run


def main() -> None:
    """See the module's docstring."""
    names = ("port", "listen", "admin", "on_step", "hang_ups")
    options = argparse.Namespace(
        config=sys.argv[1], chains=[], takeover=False, **dict.fromkeys(names)
    )
    while sys.stdin.readline():
        child = os.fork()
        if not child:
            os._exit(serve_run.run(options))
        print(child, flush=True)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
