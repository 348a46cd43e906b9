"""What a hang-up (SIGHUP) asks for: to end, or to read a configuration again.

The kernel and the shell send it when a terminal is closed, an operator or a service manager to have
a file read again. A process that reads none ends. One that does reads it again, but where its own
terminal has just gone: who ran it in there saw it as a part of that. Under nohup, whose children
ignore the signal, nothing ends.

State: whether there was a terminal at the start, since when it is gone, and whether a signal came
before anybody listened.
"""

from __future__ import annotations

import enum
import errno
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio  # every command starts with this

_TERMINAL: Final = "/dev/tty"
# A terminal that went so long ago went without a hang-up: the process was left running on purpose.
_LATE_SECONDS: Final = 10.0


class TerminalState(enum.Enum):
    """Of the controlling terminal of this process."""

    THERE = enum.auto()
    NONE = enum.auto()  # there never was any, or it is gone
    UNKNOWN = enum.auto()


def look_at_terminal() -> TerminalState:
    """Whether this process has a controlling terminal now."""
    try:
        os.close(os.open(_TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        is_gone = error.errno in (errno.ENXIO, errno.EIO)
        return TerminalState.NONE if is_gone else TerminalState.UNKNOWN
    return TerminalState.THERE


class HangUps:
    """See the module's docstring. Made as early as can be, on the main thread; then ``hand_over``
    or ``pass_on``.
    """

    def __init__(
        self,
        look: Callable[[], TerminalState] = look_at_terminal,
        *,
        is_ignored: bool | None = None,
    ) -> None:
        self._look = look
        handler = signal.getsignal(signal.SIGHUP)
        self._is_ignored = handler is signal.SIG_IGN if is_ignored is None else is_ignored
        self._had_terminal = look() is TerminalState.THERE
        self._gone_at: float | None = None
        self._came = False
        self._now: Callable[[], float] = lambda: 0.0

    def hold(self) -> None:
        """Remember a signal until somebody can act on it."""
        if not self._is_ignored:
            signal.signal(signal.SIGHUP, self._on_early)

    def pass_on(self) -> None:
        """For a command that is soon over: the signal ends it, one that was held at once."""
        if self._is_ignored:
            return
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        if self._came:
            signal.raise_signal(signal.SIGHUP)

    def hand_over(
        self,
        loop: asyncio.AbstractEventLoop,
        now: Callable[[], float],
        *,
        end: Callable[[], object],
        reload: Callable[[], object] | None = None,
    ) -> None:
        """Act on signals from here on, on one that was held at once. Without ``reload`` there is
        nothing to read again. ``now`` tells monotonic seconds.
        """
        self._now = now

        def act() -> None:
            if reload is not None and not self.is_of_terminal():
                reload()
            else:
                end()

        if self._is_ignored and reload is None:
            return
        loop.add_signal_handler(signal.SIGHUP, act)
        if self._came:
            self._came = False
            act()

    def look(self) -> None:
        """Note whether the terminal is there; every second or so."""
        if not self._had_terminal or self._is_ignored or self._gone_at is not None:
            return
        if self._look() is TerminalState.NONE:
            self._gone_at = self._now()

    def is_of_terminal(self) -> bool:
        """Whether a hang-up that comes now is that of our terminal being closed."""
        self.look()
        return self._gone_at is not None and self._now() - self._gone_at < _LATE_SECONDS

    def _on_early(self, *_: object) -> None:
        self._came = True
