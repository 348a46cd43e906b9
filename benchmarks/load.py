"""Clients: wrk as the closed loop, threads as the open loop, idle connections, slow readers."""

from __future__ import annotations

import json
import secrets
import selectors
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

SCRIPT = Path(__file__).with_name("post.lua")
_RECEIVE = 256 * 1024


class LoadFailed(Exception):
    """The load could not be run, or an answer was not what it has to be."""


@dataclass(frozen=True, slots=True)
class Closed:
    """What wrk counted. ``errors``: connections, timeouts and status above 399."""

    requests: int
    seconds: float
    errors: int
    p50_seconds: float
    p99_seconds: float


def salt() -> str:
    """16 hexadecimal digits that make the questions of one run others than those of any other, so
    that no answer kept from before is theirs.
    """
    return secrets.token_hex(8)


def closed_loop(
    url: str, case: str, size: int = 1, *, connections: int = 32, seconds: float = 2.0
) -> Closed:
    """wrk with benchmarks/post.lua: as many requests as ``connections`` can have answered."""
    # wrk takes whole seconds only; it is told more and stopped by SIGINT, which it sums up on.
    command = ["wrk", "-t1", f"-c{connections}", "-d60", "--timeout", "30"]
    command += ["-s", str(SCRIPT), url, "--", case, str(size), salt()]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(2)
    output, _ = process.communicate(timeout=60)
    return parse_wrk(output)


def parse_wrk(output: str) -> Closed:
    """The JSON line that post.lua writes last. LoadFailed: there is none."""
    for row in reversed(output.splitlines()):
        if row.startswith("{"):
            told = json.loads(row)
            return Closed(
                requests=told["requests"],
                seconds=told["microseconds"] / 1e6,
                errors=told["errors"],
                p50_seconds=told["p50_us"] / 1e6,
                p99_seconds=told["p99_us"] / 1e6,
            )
    raise LoadFailed(f"wrk said no figures: {output[-500:]}")


class Client:
    """One keep-alive connection, blocking. Reads answers that have a Content-Length."""

    def __init__(self, url: str, *, receive_buffer: int | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise LoadFailed(f"{url}: only http:// can be measured")
        self._host = parts.netloc
        self._path = parts.path or "/"
        self.sock = socket.socket()
        if receive_buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(30)
        self.sock.connect((parts.hostname, parts.port or 80))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, method: str, params: list[object]) -> None:
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        body = json.dumps(call).encode()
        head = (
            f"POST {self._path} HTTP/1.1\r\nHost: {self._host}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.sock.sendall(head.encode() + body)

    def receive(self) -> bytes:
        """The body of the next answer."""
        head, _, body = self.receive_head()
        missing = content_length(head) - len(body)
        parts = [body]
        while missing > 0:
            data = self._some()
            parts.append(data)
            missing -= len(data)
        return b"".join(parts)

    def receive_head(self) -> tuple[bytes, bytes, bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._some()
        return data.partition(b"\r\n\r\n")

    def _some(self) -> bytes:
        data = self.sock.recv(_RECEIVE)
        if not data:
            raise LoadFailed("the connection was closed in the middle of an answer")
        return data

    def result(self, method: str, params: list[object]) -> object:
        """Ask and decode. LoadFailed: no result."""
        self.send(method, params)
        answer = json.loads(self.receive())
        if not isinstance(answer, dict) or "result" not in answer or answer.get("id") != 1:
            raise LoadFailed(f"{method}: {str(answer)[:300]}")
        return answer["result"]

    def close(self) -> None:
        self.sock.close()


def content_length(head: bytes) -> int:
    for row in head.split(b"\r\n")[1:]:
        name, _, value = row.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise LoadFailed("an answer without Content-Length")


def open_loop(url: str, *, rate: float, seconds: float, connections: int = 8) -> list[float]:
    """Latency in seconds of requests sent at a fixed rate, whether or not answers came.

    A request that had to wait for its connection counts from when it was due (no coordinated
    omission); one that was sent on time from when it was sent, so that how late this process
    woke is not taken for latency.
    """
    clients = [Client(url) for _ in range(connections)]
    results: list[list[float]] = [[] for _ in clients]
    failures: list[Exception] = []
    own = salt()
    begin = time.monotonic() + 0.05

    def drive(index: int) -> None:
        client, found = clients[index], results[index]
        try:
            for turn in range(index, round(rate * seconds), connections):
                due = begin + turn / rate
                wait = due - time.monotonic()
                if wait > 0:
                    time.sleep(wait)
                sent = time.monotonic() if wait > 0 else due
                client.result("eth_getBalance", [f"0x{own}{turn:024x}", "latest"])
                found.append(time.monotonic() - sent)
        except (OSError, LoadFailed) as error:
            failures.append(error)

    _together(drive, connections)
    for client in clients:
        client.close()
    if failures:
        raise LoadFailed(f"{len(failures)} of {connections} clients failed: {failures[0]}")
    return [value for found in results for value in found]


def _together(work: Callable[[int], None], count: int) -> None:
    threads = [threading.Thread(target=work, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def idle_connections(url: str, count: int) -> list[Client]:
    """Connections that asked once, were answered, and now do nothing, as a wallet's do."""
    clients = []
    for _ in range(count):
        client = Client(url)
        client.result("eth_chainId", [])
        clients.append(client)
    return clients


class Download:
    """One large answer on its way, with Content-Length or chunked. State: what has come."""

    _END = b"\r\n0\r\n\r\n"  # of a chunked body; the answers asked for have no line breaks

    def __init__(self, client: Client) -> None:
        self.sock = client.sock
        head, _, body = client.receive_head()
        is_chunked = b"\r\ntransfer-encoding: chunked" in head.lower()
        self._length = None if is_chunked else content_length(head)
        self.received = 0
        self._tail = b""
        self._count(body)

    @property
    def is_complete(self) -> bool:
        if self._length is not None:
            return self.received >= self._length
        return self._tail == self._END

    def read(self, count: int) -> None:
        """At most ``count`` bytes. LoadFailed: the answer was cut off."""
        data = self.sock.recv(count)
        if not data:
            raise LoadFailed(f"an answer was cut off after {self.received} bytes")
        self._count(data)

    def _count(self, data: bytes) -> None:
        self.received += len(data)
        self._tail = (self._tail + data[-len(self._END) :])[-len(self._END) :]


def slow_readers(url: str, *, count: int, size: int, slow_seconds: float) -> int:
    """``count`` clients ask for ``size`` bytes, sip 16 KiB 20 times a second each, and after
    ``slow_seconds`` drink up. The bytes of bodies received. LoadFailed: one was not complete.
    """
    clients = [Client(url, receive_buffer=64 * 1024) for _ in range(count)]
    own = salt()
    for number, client in enumerate(clients):
        query = {"topics": [f"0x{size:064x}"], "address": f"0x{own}{number:024x}"}
        client.send("eth_getLogs", [{**query, "fromBlock": "0x1"}])
    downloads = [Download(client) for client in clients]
    end = time.monotonic() + slow_seconds
    while time.monotonic() < end:
        for download in downloads:
            if not download.is_complete:
                download.read(16 * 1024)
        time.sleep(0.05)
    _drink_up(downloads)
    for client in clients:
        client.close()
    short = [one.received for one in downloads if one.received < size]
    if short:
        raise LoadFailed(f"asked for {size} bytes, got {short[0]}")
    return sum(download.received for download in downloads)


def _drink_up(downloads: list[Download]) -> None:
    with selectors.DefaultSelector() as selector:
        for download in downloads:
            if not download.is_complete:
                selector.register(download.sock, selectors.EVENT_READ, download)
        while selector.get_map():
            ready = selector.select(timeout=30)
            if not ready:
                raise LoadFailed(f"{len(selector.get_map())} answers stood still for 30 s")
            for key, _ in ready:
                key.data.read(_RECEIVE)
                if key.data.is_complete:
                    selector.unregister(key.fileobj)
