"""One request of a load, and the keep-alive connection it travels on."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol, cast

import msgspec


class Owner(Protocol):
    """What a connection tells the load."""

    def on_reply(self, connection: Connection, status: int, body: bytes) -> None: ...

    def on_lost(self, connection: Connection, why: str) -> None: ...


class Ask:
    """One request on its way."""

    def __init__(self, id: int, method: str, params: list[Any], at: float) -> None:
        self.id = id
        self.method = method
        self.params = params
        self.at = at
        self.head_before = 0
        self.done: asyncio.Future[Any] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.is_over = False
        self.connection: Connection | None = None

    def body(self) -> bytes:
        call = {"id": self.id, "jsonrpc": "2.0", "method": self.method, "params": self.params}
        return msgspec.json.encode(call)


class Connection(asyncio.Protocol):
    """A keep-alive connection with at most one request in flight."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._received = bytearray()
        self.ask: Ask | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        self._owner.on_lost(self, f"connection closed ({error or 'end of stream'})")

    def send(self, ask: Ask, head: bytes) -> None:
        self.ask, ask.connection = ask, self
        body = ask.body()
        assert self.transport is not None
        self.transport.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._received[:end]).lower()
        _, found, rest = head.partition(b"\r\ncontent-length:")
        length = int(rest.split(b"\r\n")[0]) if found else 0
        if len(self._received) < end + 4 + length:
            return
        body = bytes(self._received[end + 4 : end + 4 + length])
        del self._received[: end + 4 + length]
        if b"\r\nconnection: close" in head and self.transport is not None:
            self.transport.close()
        self._owner.on_reply(self, int(head.split(b" ", 2)[1]), body)
