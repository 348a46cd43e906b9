"""A simulated provider in the test's own loop, and a raw connection to it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import msgspec
import trustme

from rpcproxy.drills.evm.simchain import SimChain
from rpcproxy.drills.providers.provider import Provider
from tests.kits.waiting import limited, until

ADDRESS = "0x" + "ab" * 20
BALANCE = {"jsonrpc": "2.0", "id": 5, "method": "eth_getBalance", "params": [ADDRESS, "latest"]}
BLOCK = {"jsonrpc": "2.0", "id": 6, "method": "eth_getBlockByNumber", "params": ["latest", False]}


@contextlib.asynccontextmanager
async def a_provider(authority: trustme.CA | None = None) -> AsyncIterator[Provider]:
    tls = None
    if authority is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(tls)
    chain = SimChain(7, start_number=1000)
    provider = Provider(chain, "simulated", latency_seconds=0, tls=tls)
    provider.start()
    try:
        yield provider
    finally:
        provider.stop()
    await until(lambda: not provider.counts.open_connections)


class Client:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, provider: Provider, tls: ssl.SSLContext | None = None) -> Client:
        streams = asyncio.open_connection("127.0.0.1", provider.port, ssl=tls, limit=1 << 20)
        return cls(*await soon(streams))

    def post(self, call: Any, *lines: str) -> None:
        body = call if isinstance(call, bytes) else msgspec.json.encode(call)
        head = "".join(f"{line}\r\n" for line in ("POST / HTTP/1.1", "Host: sim", *lines))
        self._writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    async def until_blank_line(self) -> bytes:
        return await soon(self._reader.readuntil(b"\r\n\r\n"))

    async def reply(self) -> tuple[int, dict[str, str], bytes]:
        status, *lines = (await self.until_blank_line()).decode().rstrip().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        if headers.get("transfer-encoding") == "chunked":
            body = await self._chunks()
        else:
            body = await soon(self._reader.readexactly(int(headers["content-length"])))
        return int(status.split()[1]), headers, body

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await soon(self._reader.readline()), 16):
            body += (await soon(self._reader.readexactly(size + 2)))[:-2]
        await self._reader.readline()
        return body

    async def ask(self, call: Any) -> Any:
        self.post(call)
        return msgspec.json.decode((await self.reply())[2])

    async def rest(self) -> bytes:
        """Everything up to the end of the stream."""
        return await soon(self._reader.read())

    def has_nothing(self) -> bool:
        return not self._reader._buffer and not self._reader.at_eof()  # type: ignore[attr-defined]

    def close(self) -> None:
        self._writer.transport.abort()


async def soon(awaitable: Awaitable[Any]) -> Any:
    async with limited():
        return await awaitable
