"""What greedy clients cost a neighbour: clients that ask for a batch of large answers and read
nothing, beside one that asks small questions all the time.

    python -m benchmarks.greedy [--serve "rpcproxy serve"] [--clients 3] [--members 20] [--mib 16]
                                [--halves 2000]

``--halves``: in place of these, so many connections that ask for a page and then send half a head.

Starts an upstream and a proxy, each a process of its own. Prints the proxy's memory (resident, MiB)
and the neighbour's times before, during and after; about 40 s. Linux only (/proc).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import shlex
import socket
import socketserver
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ClassVar, Final

from rpcproxy.engine import tasks

MIB: Final = 1024 * 1024
BLOCK: Final = {
    "number": "0x3e8",
    "hash": "0x" + "11" * 32,
    "parentHash": "0x" + "22" * 32,
    "timestamp": "0x1",
    "transactions": [],
}
CONFIG: Final = """\
server:
  listen: 127.0.0.1:{port}
  admin: off
  journal: off
  history: off
chains:
  - name: test
    chain_id: 31337
    accept_single_point: true
    upstreams:
      - {{name: one, url: "http://127.0.0.1:{one}"}}
"""


def serve_upstream(pipe: Connection, mib: int) -> None:
    """A process; a thread for each connection, which sends large answers without the interpreter,
    so that what the neighbour waits for is the proxy.
    """
    log = json.dumps({"address": "0x" + "00" * 20, "data": "0x" + "00" * 512, "topics": []})
    _Answer.logs = ("[" + ",".join([log] * (mib * MIB // (len(log) + 1))) + "]}").encode()
    with _Upstream(("127.0.0.1", 0), _Answer) as server:
        pipe.send(server.server_address[1])
        server.serve_forever()


class _Upstream(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 256


class _Answer(socketserver.StreamRequestHandler):
    logs = b""
    small: ClassVar = {
        "eth_chainId": "0x7a69",
        "net_version": "31337",
        "eth_blockNumber": "0x3e8",
        "eth_getBlockByNumber": BLOCK,
        "eth_getBlockByHash": BLOCK,
    }

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while head := self._head():
                size = int(head.split(b"content-length: ")[1].split()[0])
                calls = json.loads(self.rfile.read(size))
                if isinstance(calls, dict) and calls["method"] == "eth_getLogs":
                    self._say(b'{"jsonrpc":"2.0","id":%d,"result":' % calls["id"], self.logs)
                elif isinstance(calls, dict):
                    self._say(json.dumps(self._small(calls)).encode())
                else:
                    self._say(json.dumps([self._small(call) for call in calls]).encode())

    def _small(self, call: dict[str, Any]) -> dict[str, Any]:
        result = self.small.get(call["method"], "0x1")
        return {"jsonrpc": "2.0", "id": call["id"], "result": result}

    def _head(self) -> bytes:
        lines = []
        while line := self.rfile.readline().strip():
            lines.append(line.lower())
        return b"\n".join(lines)

    def _say(self, start: bytes, more: bytes = b"") -> None:
        size = len(start) + len(more)
        self.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + start)
        self.connection.sendall(more)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def resident(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB


def request(body: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


class Neighbour:
    """Asks a small question a hundred times a second, each on its own connection if need be."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.times: list[float] = []
        self.failed = 0

    async def run(self) -> None:
        number = 0
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        while True:
            number += 1
            params = json.dumps([f"0x{number:040x}", "latest"])
            body = f'{{"jsonrpc":"2.0","id":1,"method":"eth_getBalance","params":{params}}}'
            started = time.monotonic()
            writer.write(request(body.encode()))
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            size = int(head.split("content-length: ")[1].split("\r\n")[0])
            text = await reader.readexactly(size)
            self.times.append(time.monotonic() - started)
            self.failed += b'"result"' not in text
            await asyncio.sleep(0.01)

    def told(self) -> str:
        times, self.times = sorted(self.times), []
        if not times:
            return "no answer at all"
        p50, p99 = (times[int(len(times) * part)] * 1000 for part in (0.5, 0.99))
        return (
            f"{len(times)} answers, {self.failed} failed; p50 {p50:.1f} ms, p99 {p99:.1f} ms, "
            f"longest {times[-1] * 1000:.0f} ms"
        )


async def measure_halves(pid: int, port: int, count: int) -> None:
    neighbour = Neighbour(port)
    asking = tasks.start(neighbour.run(), "neighbour")
    before = resident(pid)
    socks = []
    for _ in range(count):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        sock.recv(1000)
        sock.sendall(b"POST / HTTP/1.1\r\nHo")
        sock.setblocking(False)
        socks.append(sock)
        await asyncio.sleep(0)
    print(f"{count} connections: {before:.0f} MiB before, {resident(pid):.0f} MiB now", flush=True)
    for seconds in (15, 30):
        await asyncio.sleep(15)
        alive = refused = 0
        for sock in socks:
            try:
                said = sock.recv(1000, socket.MSG_PEEK)
            except BlockingIOError:
                alive += 1
            except OSError:
                continue
            else:
                refused += said.startswith(b"HTTP/1.1 408")
        print(f"after {seconds} s: {alive} alive, {refused} were told 408; {neighbour.told()}")
    asking.cancel()


async def measure(pid: int, port: int, clients: int, members: int) -> None:
    neighbour = Neighbour(port)
    asking = tasks.start(neighbour.run(), "neighbour")
    most = 0.0

    async def watch(seconds: float) -> float:
        nonlocal most
        most = 0.0
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            most = max(most, resident(pid))
            await asyncio.sleep(0.05)
        return most

    await watch(5)
    print(f"before    {resident(pid):6.0f} MiB            {neighbour.told()}", flush=True)
    socks = []
    for client in range(clients):
        calls = []
        for member in range(members):
            low = hex(client * members + member)
            params = [{"fromBlock": low, "toBlock": low}]
            calls.append(
                {"jsonrpc": "2.0", "id": member, "method": "eth_getLogs", "params": params}
            )
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        sock.connect(("127.0.0.1", port))
        sock.sendall(request(json.dumps(calls).encode()))
        socks.append(sock)
    await watch(20)
    print(f"during    {resident(pid):6.0f} MiB, most {most:5.0f}  {neighbour.told()}", flush=True)
    for sock in socks:
        sock.close()
    await watch(15)
    print(f"after     {resident(pid):6.0f} MiB            {neighbour.told()}", flush=True)
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", default=f"{sys.executable} -m rpcproxy serve")
    parser.add_argument("--clients", type=int, default=3)
    parser.add_argument("--members", type=int, default=20)
    parser.add_argument("--mib", type=int, default=16)
    parser.add_argument("--halves", type=int, default=0)
    given = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    upstream = context.Process(target=serve_upstream, args=(theirs, given.mib), daemon=True)
    upstream.start()
    port = free_port()
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "rpcproxy.yaml"
        file.write_text(CONFIG.format(port=port, one=pipe.recv()))
        proxy = subprocess.Popen(
            [*shlex.split(given.serve), "-c", str(file)],
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "XDG_STATE_HOME": place},
        )
        try:
            for _ in range(100):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.1)
            time.sleep(2)
            if given.halves:
                asyncio.run(measure_halves(proxy.pid, port, given.halves))
            else:
                asyncio.run(measure(proxy.pid, port, given.clients, given.members))
        finally:
            proxy.kill()
            proxy.wait()
            upstream.terminate()


if __name__ == "__main__":
    main()
