"""``rpcproxy`` and ``python -m rpcproxy``.

Importing what a command needs takes up to half a second, in which signals come too: Ctrl-C ends it
in silence, and a hang-up, which asks a running proxy to read its configuration again, ends nothing.
"""

import signal


def main() -> int:
    """Run a command; returns the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from rpcproxy.cli import main as run  # noqa: PLC0415 - see above

    return run(on_loaded=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))


if __name__ == "__main__":
    raise SystemExit(main())
