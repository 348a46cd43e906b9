"""Who has a port that we were to have: found in /proc (Linux, processes of this user) and by asking
there. Whatever cannot be found is left out; nothing is raised. No state.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, NamedTuple

_PROC: Final = Path("/proc")
_LISTENING: Final = "0A"
_INTERPRETERS: Final = ("python", "node", "ruby", "perl", "java", "deno", "bun")
_ANSWER_SECONDS: Final = 0.5
_LONGEST_ANSWER: Final = 4096
_LONGEST_NAME: Final = 60
# What both ports of an rpcproxy say of themselves.
_OURS: Final = "rpcproxy"
_TRIED: Final = 20


class PortHolder(NamedTuple):
    """``name`` of the program and its ``pid``, where they are known. ``says``: what it calls itself
    when it is asked.
    """

    name: str = ""
    pid: int | None = None
    says: str = ""

    @property
    def is_rpcproxy(self) -> bool:
        return self.says == _OURS

    def __str__(self) -> str:
        who = f"{self.name} (process {self.pid})" if self.pid is not None else "another program"
        if self.is_rpcproxy:
            return f"another rpcproxy (process {self.pid})" if self.pid else "another rpcproxy"
        return f"{who}, which answers as {self.says}" if self.says else who


def holder_of(host: str, port: int, questions: Sequence[bytes] = ()) -> PortHolder:
    """Who listens there. ``questions`` are JSON-RPC requests whose result is a text by which a
    program names itself. Blocks, two seconds at most.
    """
    name, pid = _process_of(port)
    return PortHolder(name, pid, _said(host, port, questions))


def free_port_near(host: str, port: int) -> int | None:
    """The next port above that can be had there now."""
    for other in range(port + 1, min(port + _TRIED, 65535) + 1):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            socket.create_server((host, other), family=family).close()
        except OSError:
            continue
        return other
    return None


# --------------------------------------------------------------------------
# /proc


def _process_of(port: int) -> tuple[str, int | None]:
    wanted = {f"socket:[{inode}]" for inode in _inodes(port)}
    for directory in sorted(_PROC.glob("[0-9]*"), key=lambda each: int(each.name)):
        if wanted and not wanted.isdisjoint(_links(directory / "fd")):
            return _name_of(directory), int(directory.name)
    return "", None


def _links(directory: Path) -> Iterator[str]:
    """Where descriptors lead; none of a process that is another user's, or gone meanwhile."""
    with suppress(OSError):
        for each in directory.iterdir():
            with suppress(OSError):
                yield str(each.readlink())


def _inodes(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        try:
            lines = (_PROC / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def _name_of(directory: Path) -> str:
    """The program; of an interpreter what it runs, too. Never an argument: one may be a secret."""
    try:
        words = (directory / "cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return "a program"
    name = os.path.basename(words[0])  # noqa: PTH119 -- no path of ours
    if name.startswith(_INTERPRETERS) and len(words) > 1:
        module = words[2] if words[1] == "-m" and len(words) > 2 else words[1]
        if not module.startswith("-") and "://" not in module:
            name = os.path.basename(module) or name  # noqa: PTH119 -- the same
    return _plain(name) or "a program"


# --------------------------------------------------------------------------
# Asking there


def _said(host: str, port: int, questions: Sequence[bytes]) -> str:
    where = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 -- looked up, not bound
    try:
        if _is_ours(where, port):
            return _OURS
        for question in questions:
            _, body = _exchange(where, port, "POST", question)
            told = json.loads(body)
            result = told.get("result") if isinstance(told, dict) else None
            if isinstance(result, str) and result:
                return _plain(result)
    except (OSError, ValueError, http.client.HTTPException):
        pass
    return ""


def _is_ours(host: str, port: int) -> bool:
    server, body = _exchange(host, port, "GET", None)
    return server == _OURS or body.startswith(f"{_OURS}: ".encode())


def _exchange(host: str, port: int, method: str, body: bytes | None) -> tuple[str, bytes]:
    connection = http.client.HTTPConnection(host, port, timeout=_ANSWER_SECONDS)
    headers = {} if body is None else {"Content-Type": "application/json"}
    with closing(connection):
        connection.request(method, "/", body, headers)
        response = connection.getresponse()
        return response.getheader("Server", ""), response.read(_LONGEST_ANSWER)


def _plain(text: str) -> str:
    shown = "".join(each if each.isascii() and each.isprintable() else "?" for each in text)
    return shown[:_LONGEST_NAME]
