"""``rpcproxy top``: the status of a running proxy in the terminal, from its admin port."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from rich.console import Console
from rich.live import Live

from rpcproxy.commands.runs.admin_client import AdminClient, NoAnswer
from rpcproxy.commands.runs.top_view import Picture

FINE: Final = 0
PRINTED_WIDTH: Final = 160  # into a file or a pipe


def run(options: argparse.Namespace) -> int:
    """Print the status, again and again where a person looks."""
    try:
        client = AdminClient.of(options, os.environ)
        status = client.status()
    except NoAnswer as error:
        print(error, file=sys.stderr)
        return error.code
    console = Console()
    if not console.is_terminal:
        console = Console(width=PRINTED_WIDTH)
    if options.once or not console.is_terminal:
        # Not printed by the console: it would end the process where nobody reads.
        with console.capture() as captured:
            console.print(Picture(status))
        sys.stdout.write(captured.get())
        return FINE
    try:
        _follow(console, client.status, status, options.every)
    except KeyboardInterrupt:
        return FINE  # the way it ends
    return FINE


def _follow(
    console: Console,
    ask: Callable[[], Mapping[str, Any]],
    status: Mapping[str, Any],
    pause_seconds: float,
) -> None:
    """Until Ctrl-C. While nothing comes, the last picture stays, and says so."""
    with Live(Picture(status), console=console, screen=True, auto_refresh=False) as live:
        fresh_at = time.monotonic()
        while True:
            time.sleep(pause_seconds)
            note = ""
            try:
                status = ask()
                fresh_at = time.monotonic()
            except NoAnswer as error:
                note = f"As of {time.monotonic() - fresh_at:.0f} s ago; trying again. {error}"
            live.update(Picture(status, note), refresh=True)
