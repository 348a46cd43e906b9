"""``rpcproxy`` and ``python -m rpcproxy``.

Importing what a command needs takes up to half a second, in which signals come too: Ctrl-C ends it
in silence, and a hang-up is held until the command can act on it.
"""

import signal


def main() -> int:
    """Run a command; returns the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from rpcproxy.app.process.hang_ups import HangUps  # noqa: PLC0415 - see above

    hang_ups = HangUps()
    hang_ups.hold()
    from rpcproxy.cli import main as run  # noqa: PLC0415 - see above

    return run(
        on_loaded=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        hang_ups=hang_ups,
    )


if __name__ == "__main__":
    raise SystemExit(main())
