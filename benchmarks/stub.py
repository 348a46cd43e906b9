"""An upstream that costs little: JSON-RPC over HTTP/1.1 keep-alive, plain and TLS.

It echoes the id that it was asked with (proxies rewrite ids), answers eth_getBalance by a
constant without decoding, and as many bytes to eth_call and eth_getLogs as the first word of
the data, or of the topics, says. Everything else that a proxy asks to know its upstream (chain
id, head, blocks) is decoded.
``bench_count`` tells how many calls of clients (all but the decoded ones) were answered, so
that a run can prove that its requests really went through.

The TLS side drives a non-blocking SSLSocket by the loop's readers, as uvloop's own TLS costs
so much that the stub would be what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import socket
import ssl
import sys
import time
from collections.abc import Callable
from typing import Any, cast

import msgspec
import uvloop

CHAIN_ID = 424242
BLOCK_SECONDS = 12
_BEHIND = {"safe": 32, "finalized": 64}  # blocks, as on Ethereum
BALANCE = b'"0xde0b6b3a7640000"'

_ID = re.compile(rb'"id"\s*:\s*("(?:[^"\\]|\\.)*"|[^,}\s\]]+)')
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_SIZE = re.compile(rb'"(?:data|input|topics)"\s*:\s*\[?"0x([0-9a-fA-F]{64})')
_SIZED = re.compile(rb'"eth_(?:call|getLogs)"')
_CHUNK = 256 * 1024
_WORD = 64  # hexadecimal digits of a 32-byte word
_DICE = random.Random(1)
# Words as a chain's data has them, an address padded with zeros: compressible, and not absurdly.
_HEX = b"".join(b"%064x" % _DICE.getrandbits(160) for _ in range(_CHUNK // _WORD))
_WANTS = (ssl.SSLWantReadError, ssl.SSLWantWriteError)

Written = bytes | list[bytes]


class Call(msgspec.Struct):
    method: str
    id: msgspec.Raw = msgspec.Raw(b"null")
    params: list[Any] = []


class Replies:
    """Answers to bodies. State: the count of client calls answered."""

    def __init__(self) -> None:
        self.count = 0
        self._decode = msgspec.json.Decoder(list[Call] | Call).decode

    def reply(self, body: bytes) -> bytes | list[bytes]:
        """The body of the response; as a list where it is large, its parts share memory."""
        if b'"eth_getBalance"' in body:
            return self._balances(body)
        if _SIZED.search(body, 0, 4096) and not body.startswith(b"["):
            return self._sized(body)
        calls = self._decode(body)
        if isinstance(calls, list):
            return b"[" + b",".join(map(self._known, calls)) + b"]"
        return self._known(calls)

    def _balances(self, body: bytes) -> bytes:
        ids = _ID.findall(body)
        self.count += len(ids)
        if body.startswith(b"["):
            return b"[" + b",".join(map(_result, ids)) + b"]"
        return _result(ids[0])

    def _sized(self, body: bytes) -> list[bytes]:
        self.count += 1
        # The id may come after megabytes of params: look where it can be, first and last.
        id_ = _ID.search(body, 0, 256) or _ID.search(body, max(0, len(body) - 256))
        word = _SIZE.search(body, 0, 4096)
        size = int(word[1], 16) if word else 64
        head = b'{"jsonrpc":"2.0","id":%b,"result":"0x' % (id_[1] if id_ else b"null")
        full, rest = divmod(size, _CHUNK)
        return [head, *[_HEX] * full, _HEX[:rest], b'"}']

    def _known(self, call: Call) -> bytes:
        return _result(bytes(call.id), msgspec.json.encode(self._value(call)))

    def _value(self, call: Call) -> object:
        head = int(time.time()) // BLOCK_SECONDS
        match call.method:
            case "eth_chainId":
                return hex(CHAIN_ID)
            case "net_version":
                return str(CHAIN_ID)
            case "eth_blockNumber":
                return hex(head)
            case "eth_getBlockByNumber":
                asked = str(call.params[0]) if call.params else "latest"
                behind = _BEHIND.get(asked, 0)
                return _block(int(asked, 16) if asked.startswith("0x") else head - behind)
            case "eth_sendRawTransaction":
                return "0x" + "00" * 32
            case "eth_syncing":
                return False
            case "bench_count":
                return self.count
        return None


def _result(id_: bytes, value: bytes = BALANCE) -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (id_, value)


def _block(number: int) -> dict[str, object]:
    return {
        "number": hex(number),
        "hash": f"0x{number:064x}",
        "parentHash": f"0x{number - 1:064x}",
        "timestamp": hex(number * BLOCK_SECONDS),
        "baseFeePerGas": "0x3b9aca00",
        "transactions": [],
    }


def _head(length: int) -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % length
    )


class Framer:
    """Bytes of one connection in, responses out. Framing by Content-Length alone."""

    def __init__(self, replies: Replies) -> None:
        self._replies = replies
        self._held = bytearray()
        self._lengths: dict[bytes, int] = {}

    def on_bytes(self, data: bytes, write: Callable[[Written], None]) -> None:
        if self._held:
            self._held += data
            data = b""
        while True:
            source = self._held or data
            end = source.find(b"\r\n\r\n")
            if end < 0:
                break
            start = end + 4
            stop = start + self._length(bytes(source[:end]))
            if stop > len(source):
                break
            body = bytes(source[start:stop])
            if self._held:
                del self._held[:stop]
            else:
                data = data[stop:]
            write(self._response(body))
        if data:
            self._held += data

    def _length(self, head: bytes) -> int:
        known = self._lengths.get(head)
        if known is None:
            found = _LENGTH.search(head)
            known = int(found[1]) if found else 0
            if len(self._lengths) < 64:
                self._lengths[head] = known
        return known

    def _response(self, body: bytes) -> Written:
        reply = self._replies.reply(body)
        if isinstance(reply, bytes):
            return _head(len(reply)) + reply
        length = sum(map(len, reply))
        if length < _CHUNK:
            return _head(length) + b"".join(reply)
        return [_head(length), *reply]


class Plain(asyncio.Protocol):
    """One plain connection; writes of large answers wait for the reader."""

    def __init__(self, replies: Replies) -> None:
        self._framer = Framer(replies)
        self._queue: list[bytes] = []
        self._is_paused = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._framer.on_bytes(data, self._write)

    def _write(self, response: Written) -> None:
        if isinstance(response, bytes) and not self._queue:
            self._transport.write(response)
        else:
            parts = [response] if isinstance(response, bytes) else response
            self._queue[:0] = reversed(parts)
            self._drain()

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._drain()

    def _drain(self) -> None:
        while self._queue and not self._is_paused:
            self._transport.write(self._queue.pop())


class Secure:
    """One TLS connection on the loop's readers and writers. State: what is still to write."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, replies: Replies) -> None:
        self._loop = asyncio.get_running_loop()
        self._framer = Framer(replies)
        self._out = bytearray()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        self._loop.add_reader(self._sock, self._on_handshake)

    def _on_handshake(self) -> None:
        try:
            self._sock.do_handshake()
        except _WANTS:
            return
        except OSError:
            self._close()
            return
        self._loop.remove_reader(self._sock)
        self._loop.add_reader(self._sock, self._on_readable)
        self._on_readable()

    def _on_readable(self) -> None:
        try:
            while data := self._sock.recv(_CHUNK):
                self._framer.on_bytes(data, self._write)
        except _WANTS:
            return
        except OSError:
            pass
        self._close()

    def _write(self, response: Written) -> None:
        data = response if isinstance(response, bytes) else b"".join(response)
        if not self._out:
            data = data[self._send(data) :]
            if not data:
                return
            self._loop.add_writer(self._sock, self._on_writable)
        self._out += data

    def _send(self, data: bytes | bytearray) -> int:
        try:
            return self._sock.send(data)
        except _WANTS:
            return 0

    def _on_writable(self) -> None:
        try:
            del self._out[: self._send(self._out)]
        except OSError:
            self._close()
            return
        if not self._out:
            self._loop.remove_writer(self._sock)

    def _close(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._sock.close()


def _accept_secure(listener: socket.socket, context: ssl.SSLContext, replies: Replies) -> None:
    while True:
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            return
        Secure(sock, context, replies)


def _listen(port: int) -> socket.socket:
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    listener.setblocking(False)
    return listener


async def _serve(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    replies = Replies()
    ports: dict[str, list[int]] = {"plain": [], "tls": []}
    for index in range(options.plain):
        listener = _listen(options.port + index if options.port else 0)
        ports["plain"].append(listener.getsockname()[1])
        await loop.create_server(lambda: Plain(replies), sock=listener)
    if options.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate)
        for _ in range(options.tls):
            listener = _listen(0)
            ports["tls"].append(listener.getsockname()[1])
            loop.add_reader(listener, _accept_secure, listener, context, replies)
    print(json.dumps(ports), flush=True)
    # Whoever started the stub holds its standard input: it ends with them.
    await loop.run_in_executor(None, sys.stdin.read)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.stub")
    parser.add_argument("--plain", type=int, default=1, help="how many plain ports")
    parser.add_argument("--port", type=int, default=0, help="the first plain port")
    parser.add_argument("--tls", type=int, default=1, help="how many TLS ports")
    parser.add_argument("--certificate", help="PEM file with key and chain, for the TLS ports")
    uvloop.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
