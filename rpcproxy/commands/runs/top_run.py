"""``rpcproxy top``: the status of a running proxy in the terminal, from its admin port."""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.live import Live

from rpcproxy.clock import SYSTEM_CLOCK, Clock
from rpcproxy.commands.runs.admin_client import AdminClient, NoAnswer
from rpcproxy.commands.runs.top_view import Picture

FINE: Final = 0
PRINTED_WIDTH: Final = 160  # into a file or a pipe


class Awaiting(NamedTuple):
    """While an answer is awaited: how often the picture is looked at, and when the proxy is
    missed.
    """

    look_seconds: float = 0.5
    silent_seconds: float = 2.0


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
    *,
    awaiting: Awaiting = Awaiting(),  # noqa: B008 -- frozen
    clock: Clock = SYSTEM_CLOCK,
) -> None:
    """Until Ctrl-C. While nothing comes, the headline says so, and the last picture stays."""
    with Live(Picture(status), console=console, screen=True, auto_refresh=False) as live:
        heard, heard_unix, why = clock.monotonic(), clock.unix(), ""
        while True:
            time.sleep(pause_seconds)
            asked = _in_a_thread(ask)
            while (told := _next(asked, awaiting.look_seconds)) is None:
                if clock.monotonic() - heard > pause_seconds + awaiting.silent_seconds:
                    live.update(Picture(status, why, lost_since=heard_unix), refresh=True)
            if isinstance(told, NoAnswer):
                why = str(told)
                live.update(Picture(status, why, lost_since=heard_unix), refresh=True)
            elif isinstance(told, BaseException):
                raise told
            else:
                status, heard, heard_unix, why = told, clock.monotonic(), clock.unix(), ""
                live.update(Picture(status), refresh=True)


_Told = Mapping[str, Any] | BaseException


def _in_a_thread(ask: Callable[[], Mapping[str, Any]]) -> SimpleQueue[_Told]:
    """A proxy that hangs is not to hold up the picture, nor Ctrl-C."""
    answers: SimpleQueue[_Told] = SimpleQueue()

    def work() -> None:
        try:
            answers.put(ask())
        except BaseException as error:  # noqa: BLE001 -- raised by whoever waits for it
            answers.put(error)

    threading.Thread(target=work, name="asks for the status", daemon=True).start()
    return answers


def _next(answers: SimpleQueue[_Told], seconds: float) -> _Told | None:
    try:
        return answers.get(timeout=seconds)
    except Empty:
        return None
