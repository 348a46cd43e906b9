"""Listening sockets that another process gives us: a service manager at the start, or the rpcproxy
that served before, over a Unix socket.

The first is systemd's socket activation (sd_listen_fds(3)): descriptors from 3 on, how many and for
which process in the environment, and perhaps their names.
"""

from __future__ import annotations

import array
import contextlib
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

FIRST_DESCRIPTOR: Final = 3
WALLET: Final = "wallet"
ADMIN: Final = "admin"
_NAMES: Final = (WALLET, ADMIN)
_VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")

# What fits into sun_path on every system, its final zero left out.
LONGEST_PATH_BYTES: Final = 103
_LONGEST_MESSAGE_BYTES: Final = 64 * 1024
_MOST_DESCRIPTORS: Final = 64
_SHORTEST_SECONDS: Final = 0.001
_CLOSE_ON_EXEC: Final = getattr(socket, "MSG_CMSG_CLOEXEC", 0)

Sockets = Mapping[str, Sequence[socket.socket]]
NO_SOCKETS: Final[Sockets] = {}


class Broken(Exception):
    """The other process left, or said something that is none of our words."""


def from_service_manager(
    environ: MutableMapping[str, str], pid: int, first_descriptor: int = FIRST_DESCRIPTOR
) -> Sockets:
    """The sockets by name; none where they are not for us. What is named otherwise, or not at all,
    is taken in order: for wallets, then for operators. The variables are taken out of ``environ``:
    no process of ours is to believe them.
    """
    values = {name: environ.pop(name, "") for name in _VARIABLES}
    if values["LISTEN_PID"] != str(pid) or not values["LISTEN_FDS"].isdecimal():
        return {}
    count = int(values["LISTEN_FDS"])
    names = values["LISTEN_FDNAMES"].split(":")
    found: dict[str, list[socket.socket]] = {}
    for place in range(count):
        descriptor = first_descriptor + place
        os.set_inheritable(descriptor, False)
        name = names[place] if place < len(names) and names[place] in _NAMES else ""
        name = name or _NAMES[min(place, len(_NAMES) - 1)]
        found.setdefault(name, []).append(socket.socket(fileno=descriptor))
    return found


# --------------------------------------------------------------------------
# From process to process


class Channel:
    """One end of a talk between two processes of ours: one JSON text per line, and descriptors
    beside it. Blocks, for ``timeout_seconds`` at most: use it in a thread. Every method raises
    ``Broken`` and ``OSError``.
    """

    def __init__(self, peer: socket.socket, timeout_seconds: float) -> None:
        self._peer = peer
        self._timeout_seconds = timeout_seconds
        self._in_use = threading.Lock()
        self._is_closed = False

    @contextlib.contextmanager
    def _used(self) -> Iterator[None]:
        try:
            with self._in_use:
                yield
        finally:
            if self._is_closed:
                self._peer.close()

    @property
    def has_left(self) -> bool:
        """Whether the other process has closed its end, and said nothing before. Does not block."""
        waiting = select.poll()
        try:
            waiting.register(self._peer, select.POLLIN)
            return bool(waiting.poll(0)) and not self._peer.recv(1, socket.MSG_PEEK)
        except (OSError, ValueError):  # reset, or closed here
            return True

    def send(self, words: object, descriptors: Sequence[int] = ()) -> None:
        with self._used():
            self._send(words, descriptors)

    def _send(self, words: object, descriptors: Sequence[int]) -> None:
        self._peer.settimeout(self._timeout_seconds)
        line = msgspec.json.encode(words) + b"\n"
        rights = array.array("i", descriptors)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if descriptors else []
        sent = self._peer.sendmsg([line], ancillary)
        if sent < len(line):  # nothing is sent as well, and fails where the answer came already
            self._peer.sendall(line[sent:])

    def receive(self, seconds: float | None = None) -> tuple[dict[str, Any], list[int]]:
        """The next words, and the descriptors that came with them, the caller's to close. All of
        them are here within ``seconds`` (as the channel has, where none are given), or it is
        ``Broken``.
        """
        with self._used():
            return self._receive(self._timeout_seconds if seconds is None else seconds)

    def _receive(self, patience: float) -> tuple[dict[str, Any], list[int]]:
        deadline = time.monotonic() + patience
        line, descriptors = b"", array.array("i")
        room = socket.CMSG_SPACE(_MOST_DESCRIPTORS * descriptors.itemsize)
        while not line.endswith(b"\n"):
            try:
                # A time of 0 would mean: do not block.
                self._peer.settimeout(max(deadline - time.monotonic(), _SHORTEST_SECONDS))
                data, ancillary, _, _ = self._peer.recvmsg(
                    _LONGEST_MESSAGE_BYTES, room, _CLOSE_ON_EXEC
                )
            except TimeoutError:
                _close_all(descriptors)
                raise Broken(f"the other process did not answer within {patience:g} s") from None
            except OSError:
                _close_all(descriptors)
                raise
            for level, kind, rights in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    whole = len(rights) - len(rights) % descriptors.itemsize
                    descriptors.frombytes(rights[:whole])
            line += data
            is_late = time.monotonic() >= deadline and not line.endswith(b"\n")
            if not data or is_late or len(line) > _LONGEST_MESSAGE_BYTES:
                _close_all(descriptors)
                raise Broken(
                    f"the other process did not end its words within {patience:g} s"
                    if is_late and data
                    else "the other process left"
                )
        try:
            return msgspec.json.decode(line, type=dict[str, Any]), list(descriptors)
        except msgspec.DecodeError as error:
            _close_all(descriptors)
            raise Broken(f"the other process does not speak as we do: {error}") from None

    def close(self) -> None:
        """Whoever waits in another thread is woken."""
        with contextlib.suppress(OSError):
            self._peer.shutdown(socket.SHUT_RDWR)
        self._is_closed = True
        # A thread that is about to wait would wait on whatever has the number by then: it closes.
        if self._in_use.acquire(blocking=False):
            self._peer.close()
            self._in_use.release()


def _close_all(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)


class SocketPath:
    """A Unix socket at ``path``, which may be longer than the system lets a name be."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def listen(self) -> socket.socket:
        """A socket that only this user can connect to, in place of one that was there."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        listening = socket.socket(socket.AF_UNIX)
        try:
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
            before = os.umask(0o177)
            try:
                self._with_short_path(listening.bind)
            finally:
                os.umask(before)
            listening.listen(4)
        except BaseException:
            listening.close()
            raise
        return listening

    def connect(self) -> socket.socket:
        peer = socket.socket(socket.AF_UNIX)
        try:
            self._with_short_path(peer.connect)
        except BaseException:
            peer.close()
            raise
        return peer

    def identity(self) -> tuple[int, int] | None:
        """Which file it is, ``None`` where there is none."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _with_short_path(self, use: Callable[[str], None]) -> None:
        if len(os.fsencode(self.path)) <= LONGEST_PATH_BYTES:
            use(str(self.path))
            return
        # Linux alone: elsewhere such a path is refused with an OSError.
        directory = os.open(self.path.parent, os.O_RDONLY)
        try:
            use(f"/proc/self/fd/{directory}/{self.path.name}")
        finally:
            os.close(directory)


def is_own_peer(peer: socket.socket) -> bool:
    """Whether it is a process of our user, or root's. Where the system does not tell, the rights of
    the file have to do.
    """
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return uid in (0, os.geteuid())
