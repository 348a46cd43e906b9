"""The commands. Every way to fail ends in words and an exit code: 2 for what the user can mend."""

from __future__ import annotations

import argparse
import contextlib
import gc
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from rpcproxy import __version__
from rpcproxy.app.process.standard_streams import (
    drop_output,
    is_unwritten,
    open_standard_streams,
    print_anything,
    replace_closed_output,
)
from rpcproxy.clock import SYSTEM_CLOCK, Clock
from rpcproxy.commands import (
    Commands,
    Run,
    check,
    completion,
    demo,
    guide,
    init,
    manual,
    operate,
    report,
    schema,
    serve,
    top,
    tx,
)
from rpcproxy.config.problems import ConfigError

if TYPE_CHECKING:
    from rpcproxy.app.process.hang_ups import HangUps
    from rpcproxy.engine.sends.ledger import OnStep

# Each is called with the commands so far; see rpcproxy/commands. Help lists them by
# ``manual.GROUPS``.
COMMANDS: Final[Sequence[Callable[[Commands], None]]] = (
    *(serve.add, demo.add),
    *(top.add, operate.add_looks, tx.add, report.add),
    operate.add_orders,
    *(init.add, check.add, schema.add, completion.add),
    guide.add,
)

USAGE_ERROR: Final = 2


def main(
    arguments: Sequence[str] | None = None,
    *,
    on_step: OnStep | None = None,
    on_loaded: Callable[[], object] = lambda: None,
    clock: Clock = SYSTEM_CLOCK,
    hang_ups: HangUps | None = None,
) -> int:
    """Run a command; returns the exit code. ``on_step`` is told of the steps of sends, and
    ``on_loaded`` is called when everything is imported that the command needs. ``clock`` is what
    ages in a table or a report go by. ``hang_ups``: those that came so far are held there.
    """
    open_standard_streams()
    print_anything()
    code: int = 0
    try:
        try:
            options = parse(arguments)
            options.on_step, options.clock, options.hang_ups = on_step, clock, hang_ups
            goes_on = options.load in (serve.load, demo.load)
            if not goes_on:  # those log, for as long as they run
                replace_closed_output()
            run = _loaded(options)
            on_loaded()
            if hang_ups is not None and not goes_on:
                hang_ups.pass_on()
            code = run(options)
        finally:
            # At the exit of the process it would be too late for words; --help ends here, too.
            if sys.stdout is not None:
                sys.stdout.flush()
    except ConfigError as error:
        print(error, file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        if not is_unwritten(error):
            raise
        return _end_unwritten(error, code)
    return code


def _loaded(options: argparse.Namespace) -> Run:
    # What is imported lives on: to walk it again and again would be a tenth of the start.
    was_collecting = gc.isenabled()
    gc.disable()
    try:
        run: Run = options.load()
    finally:
        if was_collecting:
            gc.enable()
    return run


def _end_unwritten(error: OSError, code: int) -> int:
    drop_output()
    if isinstance(error, BrokenPipeError):
        return code
    with contextlib.suppress(OSError):  # that may be what cannot be written
        print(f"rpcproxy: the output cannot be written: {error.strerror}", file=sys.stderr)
    return USAGE_ERROR


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of a command line. Ends the process where they cannot be understood, with the
    usage of the command that was meant.
    """
    options, unknown = _parser().parse_known_args(arguments)
    if unknown:
        options.chosen.error(manual.not_known(options.chosen, unknown))
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rpcproxy",
        description="A JSON-RPC failover proxy: one URL for the wallet, several providers behind.",
    )
    parser.add_argument("--version", action="version", version=f"rpcproxy {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in COMMANDS:
        add(commands)
    manual.furnish(parser)
    parser.set_defaults(whole=parser)
    return parser
