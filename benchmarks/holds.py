"""``python -m benchmarks.holds``: how long one client's request keeps all others waiting.

The proxy runs in this process, before the stub in another; a thread sends one request after the
other that is meant to be dear, and a probe on the proxy's event loop looks every millisecond for
how long the loop was busy in one go. Told is the loop's own CPU time, so that a machine with other
things to do shows the same, and how late the probe woke at worst, which is what a neighbour feels.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import uvloop

from benchmarks import stub
from rpcproxy.app.proxy import Proxy
from rpcproxy.chains.evm.sends import rlp
from rpcproxy.chains.known import KNOWN
from rpcproxy.config.load import load_text

PROBE_SECONDS: Final = 0.001
BODY_BYTES: Final = 5 * 1024 * 1024 - 200
_HEADERS: Final = {"Content-Type": "application/json"}


@dataclass
class Hold:
    """The longest stretch in which the loop did nothing but one thing, in seconds."""

    busy: float = 0.0
    late: float = 0.0


class Probe:
    """Looks at the loop that it runs on. State: the longest stretches since ``take``."""

    def __init__(self) -> None:
        self._worst = Hold()

    async def run(self) -> None:
        while True:
            busy, due = time.thread_time(), time.monotonic() + PROBE_SECONDS
            await asyncio.sleep(PROBE_SECONDS)
            worst = self._worst
            worst.busy = max(worst.busy, time.thread_time() - busy)
            worst.late = max(worst.late, time.monotonic() - due)

    def take(self) -> Hold:
        worst, self._worst = self._worst, Hold()
        return worst


def call(method: str, params: bytes, id: int = 1) -> bytes:
    return b'{"jsonrpc":"2.0","id":%d,"method":"%b","params":%b}' % (id, method.encode(), params)


def filled(item: bytes, around: bytes, room: int = BODY_BYTES) -> bytes:
    """``around`` with as many of ``item`` in place of ``%b`` as there is room for."""
    return around % b",".join([item] * (room // (len(item) + 1)))


def _hexed(raw: bytes) -> bytes:
    return b'["0x%b"]' % raw.hex().encode()


def _batch(method: str, params: bytes, count: int = 1000) -> bytes:
    return b"[%b]" % b",".join(call(method, params % i, i) for i in range(count))


def _transaction(access_list: bytes, type: int = 1) -> bytes:
    """Signed by nobody: what is read before its signature is looked at."""
    to, word = b"\x22" * 20, b"\x07" * 32
    fields: list[rlp.Item] = [stub.CHAIN_ID, 1, 10**9, 10**6, to, 0, b""]
    parts = [*map(rlp.encode, fields), access_list, rlp.encode(0), *[rlp.encode(word)] * 2]
    return bytes((type,)) + rlp.enclose(b"".join(parts))


def requests() -> Iterator[tuple[str, bytes]]:
    """What is meant to be dear, by name."""
    send = "eth_sendRawTransaction"
    yield "batch: 1,000 balances", _batch("eth_getBalance", b'["0x%040x","latest"]')
    yield "batch: 1,000 logs", _batch("eth_getLogs", b'[{"address":"0x%040x"}]')
    invented = [call(f"own_method{place}", b"[]", place) for place in range(1000)]
    yield "batch: 1,000 invented names", b"[%b]" % b",".join(invented)
    yield "batch: 1,000 sends", _batch(send, b'["0x02c0%04x"]')
    yield "batch: 2,600,000 members", filled(b"1", b"[%b]")
    size = BODY_BYTES // 2 - 100
    yield "send: a list of 2,600,000 items", call(send, _hexed(rlp.enclose(b"\x01" * size)))
    entry = rlp.encode([b"\x22" * 20, []])
    for name, limit in (("5 MB", size), ("2 MB", 2 * 1024**2 - 200), ("128 KiB", 131_000)):
        entries = rlp.enclose(entry * (limit // len(entry)))
        yield f"send: {name} of access list", call(send, _hexed(_transaction(entries)))
    keys = rlp.encode([b"\x22" * 20, [b"\x33" * 32] * 60_000])
    yield "send: 60,000 storage keys", call(send, _hexed(_transaction(rlp.enclose(keys))))
    yield "send: data of 2 MB", call(send, _hexed(b"\x02" + b"\xc3" + b"\x01" * 2_000_000))
    yield "params: 2,600,000 numbers", call("eth_call", filled(b"1", b"[%b]"))
    yield "params: 240,000 numbers", call("eth_call", filled(b"1", b"[%b]", 480_000))
    yield (
        "params: a filter of 116,000 addresses",
        call("eth_getLogs", filled(b'"0x%040d"' % 7, b'[{"address":[%b]}]')),
    )
    pairs = b",".join(b'"%d":"0x%064x"' % (i, i) for i in range(60_000))
    overrides = b'[{"to":"0x%040d"},"latest",{"0x%040d":{"stateDiff":{%b}}}]' % (1, 2, pairs)
    yield "params: 60,000 overrides", call("eth_call", overrides)
    yield "params: a filter of 60,000 keys", call("eth_getLogs", b"[{%b}]" % pairs)
    yield "params: a string of 5 MB", call("eth_call", b'["0x%b"]' % (b"a" * (BODY_BYTES - 100)))
    yield "params: escapes", call("eth_call", b'["%b"]' % (b"\\u0041" * (BODY_BYTES // 6 - 20)))
    yield "params: no ASCII", call("eth_call", b'["%b"]' % ("é" * (BODY_BYTES // 2 - 50)).encode())
    yield "params: nested", call("eth_call", b"[" * 1_000_000 + b"]" * 1_000_000)
    yield "a method of 5 MB", call("m" * (BODY_BYTES - 100), b"[]")
    yield "an id of 5 MB", b'{"id":"%b","method":"eth_chainId"}' % (b"1" * (BODY_BYTES - 100))
    yield "an answer of 8 MB", call("eth_call", b'[{"data":"0x%064x"},"latest"]' % 8_000_000)


@contextlib.contextmanager
def upstream() -> Iterator[int]:
    """The stub's port."""
    command = [sys.executable, "-m", "benchmarks.stub", "--tls", "0"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield int(json.loads(process.stdout.readline())["plain"][0])
        finally:
            process.terminate()


def configuration(port: int) -> str:
    return f"""
server: {{listen: 127.0.0.1:0, admin: off, journal: off, history: off}}
chains:
  - name: bench
    chain_id: {stub.CHAIN_ID}
    upstreams: [{{name: stub, url: "http://127.0.0.1:{port}", provider: stub}}]
"""


def ask(port: int, body: bytes) -> int:
    """The status of the answer; blocks."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/", body, _HEADERS)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


async def measure(port: int, rounds: int, chosen: str) -> None:
    proxy = Proxy(load_text(configuration(port), file="holds.yaml", known=KNOWN, environ={}))
    await proxy.start()
    probe = Probe()
    running = asyncio.get_running_loop().create_task(probe.run())
    print(f"{'request':42s} {'MB':>5s} {'status':>6s} {'busy ms':>8s} {'late ms':>8s}")
    try:
        await asyncio.sleep(1.0)
        for name, body in requests():
            if chosen not in name:
                continue
            holds, status = [], 0
            for _ in range(rounds):
                await asyncio.sleep(0.1)
                probe.take()
                status = await asyncio.to_thread(ask, proxy.address[1], body)
                holds.append(probe.take())
            busy = min(hold.busy for hold in holds) * 1e3
            late = min(hold.late for hold in holds) * 1e3
            size = len(body) / 1e6
            print(f"{name:42s} {size:5.1f} {status:6d} {busy:8.1f} {late:8.1f}", flush=True)
    finally:
        running.cancel()
        await proxy.stop(drain_seconds=0)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.holds", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of each; the best is told")
    parser.add_argument("--only", default="", help="requests whose name has this in it")
    options = parser.parse_args(arguments)
    logging.disable()
    with upstream() as port:
        uvloop.run(measure(port, options.rounds, options.only))


if __name__ == "__main__":
    main()
