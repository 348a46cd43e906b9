"""Upstreams scripted byte by byte, and what tests of connections share.

async with Scripted(script) as server:   # ``async def script(peer: Peer)``, per connection
    upstream = server.upstream()
    outcome = await ask(upstream)
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import re
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Self

import pytest
import uvloop

from rpcproxy.edges.http.upstream_http import EdgeSettings, HttpUpstream, Target, UpstreamRequest
from rpcproxy.messages import BodyStream, Failure, FailureKind, Outcome, Reply
from tests.kits.waiting import until

OK = b"HTTP/1.1 200 OK\r\n"
BODY = b'{"jsonrpc":"2.0","id":1,"result":"0x1"}'
PAYLOAD = b'{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber"}'


def reply(body: bytes = BODY, *lines: bytes) -> bytes:
    head = OK + b"".join(line + b"\r\n" for line in lines)
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an ``async def`` test on the stock loop and on uvloop; unhandled errors fail it."""

    @functools.wraps(test)
    def run(new_loop: Callable[[], asyncio.AbstractEventLoop], **fixtures: Any) -> None:
        unhandled: list[dict[str, Any]] = []

        async def watched() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: unhandled.append(context))
            await test(**fixtures)

        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(watched())
        assert not unhandled, unhandled

    signature = inspect.signature(test)
    new_loop = inspect.Parameter("new_loop", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[new_loop, *signature.parameters.values()]
    )
    loops = [asyncio.new_event_loop, uvloop.new_event_loop]
    return pytest.mark.parametrize("new_loop", loops, ids=["asyncio", "uvloop"])(run)


def open_sockets() -> int:
    """Of this process. Other files are left out: uvloop keeps one in reserve."""
    count = 0
    for file in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            count += str(file.readlink()).startswith("socket:")
    return count


class Sent:
    """One attempt under way. ``outcomes`` grows by one, once."""

    def __init__(
        self, upstream: HttpUpstream, payload: bytes = PAYLOAD, *, gzip: bool = False
    ) -> None:
        self.outcomes: list[Outcome] = []
        self.call: UpstreamRequest = upstream.send(payload, self.outcomes.append, gzip=gzip)
        assert not self.outcomes

    async def outcome(self) -> Outcome:
        await until(lambda: bool(self.outcomes))
        assert len(self.outcomes) == 1
        return self.outcomes[0]


async def ask(upstream: HttpUpstream, payload: bytes = PAYLOAD, *, gzip: bool = False) -> Outcome:
    return await Sent(upstream, payload, gzip=gzip).outcome()


async def ask_reply(
    upstream: HttpUpstream, payload: bytes = PAYLOAD, *, gzip: bool = False
) -> Reply:
    outcome = await ask(upstream, payload, gzip=gzip)
    assert isinstance(outcome, Reply), outcome
    return outcome


async def read_all(stream: BodyStream) -> bytes:
    pieces = []
    while piece := await stream.read():
        pieces.append(piece)
    return b"".join(pieces)


async def ask_failure(upstream: HttpUpstream) -> tuple[FailureKind, str]:
    outcome = await ask(upstream)
    assert isinstance(outcome, Failure), outcome
    return outcome.kind, outcome.detail


class Peer:
    """The server's side of one connection; ``number`` counts connections from 0."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.number = number
        self.requests: list[bytes] = []

    async def request(self) -> bytes:
        """The next whole request. Raises ``asyncio.IncompleteReadError`` when the peer left."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\nContent-Length: (\d+)\r\n", head)
        assert length is not None
        request = head + await self.reader.readexactly(int(length[1]))
        self.requests.append(request)
        return request

    async def send(self, data: bytes) -> None:
        """Raises ``ConnectionError`` where the connection is over, as after ``cut``."""
        if self.writer.is_closing():  # uvloop's transport would raise RuntimeError
            raise ConnectionResetError("closed")
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, data: bytes) -> None:
        await self.request()
        await self.send(data)

    async def send_bytewise(self, data: bytes) -> None:
        for n in range(len(data)):
            await self.send(data[n : n + 1])
            await asyncio.sleep(0)

    def cut(self) -> None:
        """Close the socket as it is: over TLS without close_notify."""
        self.writer.transport.abort()

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.cut()

    async def gone(self) -> None:
        """Wait until the other side has closed."""
        with contextlib.suppress(OSError):
            while await self.reader.read(65536):
                pass


Script = Callable[[Peer], Awaitable[None]]


class Scripted:
    """A server on 127.0.0.1 that runs ``script`` for each connection, then closes it."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self._upstreams: list[HttpUpstream] = []
        self.peers: list[Peer] = []
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._on_connection, "127.0.0.1", self.port, ssl=self._tls
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for upstream in self._upstreams:
            await upstream.close()
        await self.stop()

    async def stop(self) -> None:
        """Close the listener and every connection, those that come at this moment as well."""
        self._server.close()
        while arriving := [task for task in asyncio.all_tasks() if _is_arrival(task)]:
            await asyncio.wait(arriving)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Known from its first moment: one that comes while the server stops is ended as well,
        though its task may never have begun.
        """
        peer = Peer(reader, writer, len(self.peers))
        self.peers.append(peer)
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._play(peer, writer))
        self._tasks.add(task)

        def on_done(_: asyncio.Task[None]) -> None:
            writer.close()
            if not task.cancelled() and (error := task.exception()) is not None:
                loop.call_exception_handler({"message": "a script failed", "exception": error})

        task.add_done_callback(on_done)

    async def _play(self, peer: Peer, writer: asyncio.StreamWriter) -> None:
        try:
            await self._script(peer)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v3/key?a=b"

    def upstream(self, url: str = "", **settings: Any) -> HttpUpstream:
        target = Target("it", url or self.url)
        upstream = HttpUpstream(target, EdgeSettings(**settings))
        self._upstreams.append(upstream)
        return upstream


def _is_arrival(task: asyncio.Task[Any]) -> bool:
    """Whether asyncio is about to hand over a connection that it has accepted; where that is
    cancelled, as at the loop's end, the connection's socket stays open.
    """
    return getattr(task.get_coro(), "__name__", "") == "_accept_connection2"


def answering(*replies: bytes) -> Script:
    """Every connection answers these in turn, the last one for ever."""

    async def script(peer: Peer) -> None:
        for data in replies:
            await peer.answer(data)
        while True:
            await peer.answer(replies[-1])

    return script
