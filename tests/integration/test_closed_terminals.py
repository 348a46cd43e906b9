"""Terminals that are closed: what runs in them ends, and what was put apart from them does not."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.integration.running_proxy import NO_AUTHORITIES, ROOT
from tests.kits.waiting import LIMIT_SECONDS, wait_until

PROGRAM = [sys.executable, "-m", "rpcproxy"]
CONFIG = """
server: {listen: '127.0.0.1:%d', admin: '127.0.0.1:%d', journal: off, history: off}
chains:
  - name: devnet
    chain_id: 31337
    upstreams: [{name: a, url: 'http://127.0.0.1:9', provider: x}]
"""
# Whose standard input is the terminal of its session from here on.
IN_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)
NOHUP = (
    "import os, signal, sys; signal.signal(1, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
)


def two_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as a, socket.create_server(("127.0.0.1", 0)) as b:
        return a.getsockname()[1], b.getsockname()[1]


def is_served(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), LIMIT_SECONDS):
        return True
    return False


class Window:
    """A terminal with one command in it, as the leader of its session or below a shell."""

    def __init__(self, command: Sequence[str], directory: Path, *, is_piped: bool = False) -> None:
        self._master, slave = os.openpty()
        termios.tcsetwinsize(slave, (24, 80))
        environment = {
            **os.environ,
            **NO_AUTHORITIES,
            "TERM": "xterm-256color",
            "XDG_STATE_HOME": str(directory / "state"),
        }
        self.output = directory / "output"
        out = self.output.open("wb") if is_piped else slave
        self.process = subprocess.Popen(
            [sys.executable, "-c", IN_TERMINAL, *command],
            stdin=slave,
            stdout=out,
            stderr=out,
            env=environment,
            cwd=ROOT,
            start_new_session=True,
        )
        os.close(slave)
        if is_piped:
            out.close()  # type: ignore[union-attr]

    def close(self) -> None:
        """As somebody closes a window."""
        with contextlib.suppress(OSError):
            os.close(self._master)

    def end(self) -> None:
        self.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def window(command: Sequence[str], directory: Path, *, is_piped: bool = False) -> Iterator[Window]:
    opened = Window(command, directory, is_piped=is_piped)
    try:
        yield opened
    finally:
        opened.end()


def assert_gone(opened: Window, *ports: int) -> None:
    wait_until(lambda: opened.process.poll() is not None, "the process ends with its terminal")
    assert not any(map(is_served, ports))


def commands(name: str, directory: Path, ports: tuple[int, int]) -> list[str]:
    wallet, admin = ports
    if name == "demo":
        return [*PROGRAM, "demo", "--port", str(wallet), "--admin-port", str(admin)]
    if name == "names":
        where = ("--port", str(wallet), "--admin", f"127.0.0.1:{admin}")
        return [*PROGRAM, "serve", "ethereum", *where]
    file = directory / "proxy.yaml"
    file.write_text(CONFIG % ports)
    return [*PROGRAM, "serve", "-c", str(file)]


@pytest.mark.parametrize("is_piped", [False, True], ids=["shown", "piped"])
@pytest.mark.parametrize("name", ["demo", "names", "file"])
def test_what_runs_in_a_terminal_ends_with_it(name: str, is_piped: bool, tmp_path: Path) -> None:
    ports = two_ports()
    with window(commands(name, tmp_path, ports), tmp_path, is_piped=is_piped) as opened:
        wait_until(lambda: all(map(is_served, ports)), "it serves")
        opened.close()
        assert_gone(opened, *ports)


def test_below_a_shell_in_a_pipe_it_ends_as_well(tmp_path: Path) -> None:
    ports = two_ports()
    line = f"{' '.join(commands('demo', tmp_path, ports))} | cat > {tmp_path}/out"
    with window(["/bin/sh", "-c", f"{line}; true"], tmp_path) as opened:
        wait_until(lambda: all(map(is_served, ports)), "it serves")
        opened.close()
        assert_gone(opened)
        wait_until(lambda: not any(map(is_served, ports)), "the demo ends with its shell")


@pytest.mark.parametrize("moment", [b"rpcproxy.cli", b"uvloop"])
def test_a_terminal_that_is_closed_while_the_command_is_loaded(
    moment: bytes, tmp_path: Path
) -> None:
    ports = two_ports()
    command = commands("file", tmp_path, ports)
    with window([command[0], "-X", "importtime", *command[1:]], tmp_path, is_piped=True) as opened:
        wait_until(lambda: moment in opened.output.read_bytes(), "it began")
        opened.close()
        assert_gone(opened, *ports)


def test_a_file_is_read_again_on_a_hang_up_that_is_not_the_terminals(tmp_path: Path) -> None:
    ports = two_ports()
    with window(commands("file", tmp_path, ports), tmp_path, is_piped=True) as opened:
        wait_until(lambda: all(map(is_served, ports)), "it serves")
        opened.process.send_signal(signal.SIGHUP)
        wait_until(lambda: b"taken over" in opened.output.read_bytes(), "it is read again")
        assert all(map(is_served, ports))


def reloads(output: Path) -> int:
    return len(re.findall(rb"configuration taken over", output.read_bytes()))


def test_under_nohup_it_goes_on_and_reads_its_file_again(tmp_path: Path) -> None:
    ports = two_ports()
    command = [sys.executable, "-c", NOHUP, *commands("file", tmp_path, ports)]
    with window(command, tmp_path, is_piped=True) as opened:
        wait_until(lambda: all(map(is_served, ports)), "it serves")
        opened.close()
        opened.process.send_signal(signal.SIGHUP)
        wait_until(lambda: reloads(opened.output) > 0, "it is read again")
        assert opened.process.poll() is None
        assert all(map(is_served, ports))


def test_under_nohup_the_demo_goes_on(tmp_path: Path) -> None:
    ports = two_ports()
    command = [sys.executable, "-c", NOHUP, *commands("demo", tmp_path, ports)]
    with window(command, tmp_path, is_piped=True) as opened:
        wait_until(lambda: all(map(is_served, ports)), "it serves")
        opened.close()
        opened.process.send_signal(signal.SIGHUP)
        length = len(opened.output.read_bytes())
        wait_until(lambda: len(opened.output.read_bytes()) > length, "it goes on")
        assert opened.process.poll() is None


def test_without_a_terminal_a_hang_up_reads_the_file_again(tmp_path: Path) -> None:
    ports = two_ports()
    with (tmp_path / "output").open("wb") as out:
        process = subprocess.Popen(
            commands("file", tmp_path, ports),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, **NO_AUTHORITIES},
            cwd=ROOT,
            start_new_session=True,
        )
    try:
        wait_until(lambda: all(map(is_served, ports)), "it serves")
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: reloads(tmp_path / "output") == 1, "it is read again")
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
