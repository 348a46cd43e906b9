"""An outbound proxy for tests: HTTP CONNECT and SOCKS5 on one port, with a password or without.

It notes where it was asked to go. State: the connections under way, in ``OutboundProxy``.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import struct
from typing import Final, Self

from tests.sockets.loop_thread import close_and_wait

_LARGEST_HEAD: Final = 16 * 1024


class OutboundProxy:
    """``asked``: every destination, as it was named. ``refuses``: 403, or "not allowed"."""

    def __init__(self, user: str = "", password: str = "", *, refuses: bool = False) -> None:
        self._user, self._password = user, password
        self._refuses = refuses
        self.asked: list[tuple[str, int]] = []
        self.refused = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                first = await reader.readexactly(1)
                ask = self._socks if first == b"\x05" else self._connect
                await ask(first, reader, writer)
            await close_and_wait(writer, at_once=False)
        except asyncio.CancelledError:
            await close_and_wait(writer, at_once=True)
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _connect(
        self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = first + await reader.readuntil(b"\r\n\r\n")
        line, *headers = head.decode().split("\r\n")
        method, target, _ = line.split(" ")
        assert method == "CONNECT", line
        wanted = base64.b64encode(f"{self._user}:{self._password}".encode()).decode()
        has_password = any(
            header.lower().startswith("proxy-authorization:") and header.endswith(wanted)
            for header in headers
        )
        if (self._user and not has_password) or self._refuses:
            self.refused += 1
            status = "403 Forbidden" if self._refuses else "407 Proxy Authentication Required"
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
            return
        host, _, port = target.rpartition(":")
        await self._join(host.strip("[]"), int(port), reader, writer, b"HTTP/1.1 200 OK\r\n\r\n")

    async def _socks(
        self, _: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        methods = await reader.readexactly((await reader.readexactly(1))[0])
        if self._user:
            if 2 not in methods:
                writer.write(b"\x05\xff")
                return
            writer.write(b"\x05\x02")
            await reader.readexactly(1)
            user = await reader.readexactly((await reader.readexactly(1))[0])
            password = await reader.readexactly((await reader.readexactly(1))[0])
            if (user.decode(), password.decode()) != (self._user, self._password):
                self.refused += 1
                writer.write(b"\x01\x01")
                return
            writer.write(b"\x01\x00")
        else:
            writer.write(b"\x05\x00")
        _, _, _, kind = await reader.readexactly(4)
        if kind == 3:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        elif kind == 1:
            host = socket.inet_ntop(socket.AF_INET, await reader.readexactly(4))
        else:
            host = socket.inet_ntop(socket.AF_INET6, await reader.readexactly(16))
        (port,) = struct.unpack(">H", await reader.readexactly(2))
        if self._refuses:
            self.refused += 1
            writer.write(b"\x05\x02\x00\x01" + bytes(6))
            return
        await self._join(host, port, reader, writer, b"\x05\x00\x00\x01" + bytes(6))

    async def _join(
        self,
        host: str,
        port: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        welcome: bytes,
    ) -> None:
        self.asked.append((host, port))
        # A name of the test's stands for this machine.
        there = "127.0.0.1" if host.endswith(".test") else host
        onward_reader, onward = await asyncio.open_connection(there, port)
        writer.write(welcome)
        is_cancelled = False
        try:
            await asyncio.gather(_pump(reader, onward), _pump(onward_reader, writer))
        except asyncio.CancelledError:
            is_cancelled = True
            raise
        finally:
            await close_and_wait(onward, at_once=is_cancelled)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            if writer.is_closing():  # uvloop's transport would raise RuntimeError
                return
            writer.write(data)
            await writer.drain()
        if not writer.is_closing():
            writer.write_eof()
