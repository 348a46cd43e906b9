"""Who has a port, and why it cannot be had."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rpcproxy.app.process.port_holder import PortHolder, free_port_near, holder_of
from rpcproxy.app.process.ports import explain_refusal
from rpcproxy.config.model import Address, Server

QUESTION = b'{"jsonrpc":"2.0","id":1,"method":"who","params":[]}'
SLEEPER = "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); sys.stdin.read()"


class Node(BaseHTTPRequestHandler):
    """Names itself when it is asked."""

    def do_GET(self) -> None:
        self._answer(404, b"nothing")

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert asked["method"] == "who"
        self._answer(200, b'{"jsonrpc":"2.0","id":1,"result":"node/v1\\u001b[31m"}')

    def _answer(self, code: int, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        name: str = self.server.name  # type: ignore[attr-defined]
        return name

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def node() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Node)
    server.name = "node"  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_it_is_named_by_its_process_and_its_own_words(node: ThreadingHTTPServer) -> None:
    found = holder_of("127.0.0.1", node.server_port, [QUESTION])
    assert (found.pid, found.says) == (os.getpid(), "node/v1?[31m")
    assert str(found).endswith(f"(process {os.getpid()}), which answers as node/v1?[31m")
    assert holder_of("0.0.0.0", node.server_port).says == ""


def test_another_rpcproxy_is_told(node: ThreadingHTTPServer) -> None:
    node.name = "rpcproxy"  # type: ignore[attr-defined]
    found = holder_of("127.0.0.1", node.server_port, [QUESTION])
    assert str(found) == f"another rpcproxy (process {os.getpid()})"


def test_one_that_says_nothing_is_named_by_its_process() -> None:
    command = [sys.executable, "-c", SLEEPER]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        found = holder_of("127.0.0.1", int(process.stdout.readline()), [QUESTION])
        process.communicate("")
    assert (found.pid, found.says) == (process.pid, "")
    assert found.name.startswith("python")


def test_what_cannot_be_found_is_left_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert holder_of("127.0.0.1", port, [QUESTION]) == PortHolder()
    assert str(PortHolder()) == "another program"
    assert str(PortHolder(says="x")) == "another program, which answers as x"


def test_a_free_port_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = free_port_near("127.0.0.1", port)
    assert found is None or port < found <= port + 20
    assert free_port_near("127.0.0.1", 65535) is None


@pytest.mark.parametrize("key", ["listen", "admin"])
def test_the_words_name_the_port_that_is_taken(key: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = Server(**{key: Address(host="127.0.0.1", port=port)})
        error = OSError(errno.EADDRINUSE, "in use", f"127.0.0.1:{port}")
        words = explain_refusal(error, server, lambda key, free: f"set {key} to {free}")
    assert f"127.0.0.1:{port} is in use by " in words
    assert f"(process {os.getpid()}): stop that one, or set {key} to 127.0.0.1:" in words
    refused = OSError(errno.EACCES, "no", f"127.0.0.1:{port}")
    assert "may not be opened by this user: set" in explain_refusal(
        refused, server, lambda key, free: f"set {key} to {free}"
    )
