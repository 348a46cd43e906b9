"""Words to the service manager: systemd's sd_notify(3), over the socket that NOTIFY_SOCKET names.

Nothing here waits, and nothing that goes wrong is an error: whoever is not told is not there.
State: the socket.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping
from typing import Final

_VARIABLES: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class NotifySocket:
    """See the module's docstring. ``watchdog_seconds``: how often at least the manager wants to
    hear that we are alive, ``None`` where it does not. Without ``address`` nobody is told.
    """

    def __init__(self, address: str = "", watchdog_seconds: float | None = None) -> None:
        self.watchdog_seconds = watchdog_seconds if address else None
        self._socket: socket.socket | None = None
        if not address:
            return
        # An abstract address is written with @ in place of its zero byte.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    @classmethod
    def of(cls, environ: MutableMapping[str, str], pid: int) -> NotifySocket:
        """As the environment says; the variables are taken out of it."""
        address, every, whose = (environ.pop(name, "") for name in _VARIABLES)
        has_watchdog = every.isdecimal() and int(every) > 0 and whose in ("", str(pid))
        return cls(address, int(every) / 1e6 if has_watchdog else None)

    @property
    def is_heard(self) -> bool:
        return self._socket is not None

    def ready(self, *, is_new_process: bool = False) -> None:
        """The ports listen. ``is_new_process``: it is another one than the manager started."""
        self._send("READY=1", *([f"MAINPID={os.getpid()}"] if is_new_process else []))

    def reloading(self) -> None:
        """The configuration is being read; ``ready`` follows."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1", "STATUS=stopping: requests in flight are finished first")

    def status(self, words: str) -> None:
        """One line for people."""
        self._send("STATUS=" + " ".join(words.split()))

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto("\n".join(lines).encode(), self._address)
