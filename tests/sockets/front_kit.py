"""A listener with scripted doors, and raw clients for it."""

from __future__ import annotations

import asyncio
import gc
import gzip
import inspect
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
import uvloop

from rpcproxy.config.model import Address, Limits, Tls
from rpcproxy.front.web import WalletPages
from rpcproxy.front.wire.listener import Listener
from rpcproxy.front.wire.shared import FrontSettings
from rpcproxy.messages import Answer, Pending
from rpcproxy.rules.answers.holding import Holdings
from tests.kits.waiting import until

CHAINS = [
    {
        "name": "ethereum",
        "kind": "evm",
        "identity": "1",
        "chain_id": 1,
        "asks": "eth_blockNumber",
        "paths": ["/ethereum", "/1", "/"],
    }
]


NEW_LOOP = pytest.mark.parametrize(
    "new_loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)


def both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test on a loop of asyncio and on one of uvloop."""

    def run(*, new_loop: Callable[[], asyncio.AbstractEventLoop], **given: Any) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(test(**given))

    signature = inspect.signature(test)
    new_loop = inspect.Parameter("new_loop", inspect.Parameter.KEYWORD_ONLY)
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), new_loop], return_annotation=None
    )
    run.__name__, run.__doc__, run.__module__ = test.__name__, test.__doc__, test.__module__
    run.pytestmark = list(getattr(test, "pytestmark", []))  # type: ignore[attr-defined]
    return NEW_LOOP(run)


class Echo:
    """Answers at once, with what was asked."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, str]] = []

    def handle(self, body: bytes, trace_id: str, **_wishes: Any) -> Answer:
        self.seen.append((body, trace_id))
        return Answer(body)


class Later:
    """Answers by a coroutine, which waits for ``gate`` (open unless a test closes it)."""

    def __init__(self, answer: Callable[[bytes], Answer] = Answer) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.answer = answer
        self.running = 0
        self.cancelled = 0
        self.done = 0

    async def handle(self, body: bytes, trace_id: str, **_wishes: Any) -> Answer:
        self.running += 1
        try:
            await asyncio.sleep(0)
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        self.done += 1
        return self.answer(body)


class Held(Pending):
    """Answers when a test says so."""

    is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Saying:
    """Answers at once with ``answer()``."""

    def __init__(self, answer: Callable[[], Answer]) -> None:
        self.answer = answer

    def handle(self, body: bytes, trace_id: str, **_wishes: Any) -> Answer:
        return self.answer()


class Pieces:
    """A stream for ``Answer.rest``."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.pieces = list(pieces)
        self.closed = 0
        self.reads = 0

    async def read(self) -> bytes:
        await asyncio.sleep(0)
        self.reads += 1
        if not self.pieces:
            return b""
        piece = self.pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece

    def close(self) -> None:
        self.closed += 1


class Response(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return gzip.decompress(self.body).decode() if self.is_gzip else self.body.decode()

    @property
    def is_gzip(self) -> bool:
        return self.headers.get("content-encoding") == "gzip"


class Client:
    """A raw connection: bytes out, responses in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def head(self) -> tuple[int, dict[str, str]]:
        text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = text[:-4].split("\r\n")
        headers: dict[str, str] = {}
        for field in fields:
            name, _, value = field.partition(": ")
            assert name.lower() not in headers, f"{name} is repeated"
            headers[name.lower()] = value
        return int(line.split(" ")[1]), headers

    async def response(self, *, is_head: bool = False) -> Response:
        status, headers = await self.head()
        if is_head or status in (100, 204):
            body = b""
        elif headers.get("transfer-encoding") == "chunked":
            pieces = []
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                pieces.append(await self.reader.readexactly(size))
                assert await self.reader.readexactly(2) == b"\r\n"
            assert await self.reader.readexactly(2) == b"\r\n"
            body = b"".join(pieces)
        elif "content-length" in headers:
            body = await self.reader.readexactly(int(headers["content-length"]))
        else:
            body = await self.reader.read()
        return Response(status, headers, body)

    async def ask(self, body: bytes, path: str = "/", *fields: str) -> Response:
        self.send(post(body, path, *fields))
        return await self.response()

    async def rest(self) -> bytes:
        """What comes until the end of the connection, however that ends."""
        data = b""
        try:
            while piece := await self.reader.read(65536):
                data += piece
        except ConnectionError:
            pass
        return data

    @property
    def socket(self) -> socket.socket:
        return self.writer.get_extra_info("socket")

    def reset(self) -> None:
        """Hang up with a reset, so that the other side hears of it at once."""
        if not self.writer.is_closing():
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def close(self) -> None:
        self.writer.close()


def post(body: bytes, path: str = "/", *fields: str, version: str = "1.1") -> bytes:
    lines = [f"POST {path} HTTP/{version}", "Host: proxy", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


class Wound:
    """The loop as a listener knows it, with a time of its own that moves by ``Front.pass_time``
    and ``Front.jump`` alone. All else is the real loop's.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.now = loop.time()
        self.due = float("inf")  # when the listener's only timer rings
        self._ring: Callable[[], object] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, ring: Callable[[], object]) -> Wound:
        self.due, self._ring = when, ring
        return self

    def cancel(self) -> None:
        self.due, self._ring = float("inf"), None

    def ring(self) -> None:
        ring = self._ring
        self.cancel()
        if ring is not None:
            ring()


class Front:
    """A running listener. ``doors`` may be changed at any time."""

    def __init__(self, listener: Listener, doors: dict[str, Any], port: int) -> None:
        self.listener = listener
        self.doors = doors
        self.port = port
        self.clients: list[Client] = []
        self.is_ready = True
        self._clock: Wound | None = None

    def stop_clock(self) -> None:
        """From now on the listener's time goes by ``pass_time`` and ``jump``."""
        listener = self.listener
        assert listener._timer is not None
        listener._timer.cancel()
        self._clock = Wound(asyncio.get_running_loop())
        listener._loop = self._clock  # type: ignore[assignment]
        listener._set_timer(listener._sweep_seconds())

    async def pass_time(self, seconds: float) -> None:
        """Let the listener's time pass, and after each of its looks what comes of it."""
        clock = self._clock
        assert clock is not None
        end = clock.now + seconds
        while clock.due <= end:
            clock.now = clock.due
            clock.ring()
            for _ in range(3):
                await asyncio.sleep(0)
        clock.now = end

    def jump(self, seconds: float) -> None:
        """As if the loop had been blocked for so long: the listener looks late, before anything
        that came meanwhile is read.
        """
        clock = self._clock
        assert clock is not None
        clock.now += seconds
        assert clock.due <= clock.now
        clock.ring()

    async def reading(self, count: int) -> None:
        """Wait until ``count`` connections have brought a part of a request."""
        await until(lambda: len(self.listener._shared.watched) == count)

    async def client(self, **options: Any) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port, **options))
        self.clients.append(client)
        return client


@asynccontextmanager
async def a_front(
    doors: dict[str, Any] | None = None,
    *,
    limits: Limits | None = None,
    tls: Tls | None = None,
    holdings: Holdings | None = None,
    has_time_stopped: bool = False,
    **settings: Any,
) -> AsyncIterator[Front]:
    """Nothing may be left behind: no connection, no task, no exception nobody caught.
    ``has_time_stopped``: the listener's time goes by ``Front.pass_time``.
    """
    loop = asyncio.get_running_loop()
    complaints: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    doors = {"/": Echo(), "/later": Later()} if doors is None else doors
    limits = limits or Limits()
    front: Front
    pages = WalletPages(doors, lambda: (front.is_ready, {"detail": 1}), lambda: CHAINS)
    address = Address(host="127.0.0.1", port=0)
    settings_of_it = FrontSettings(address=address, limits=limits, tls=tls, **settings)
    listener = Listener(doors, settings_of_it, pages.answer, holdings=holdings)
    holdings = listener._shared.holdings
    tasks_before = asyncio.all_tasks()
    _, port = await listener.start()
    front = Front(listener, doors, port)
    if has_time_stopped:
        front.stop_clock()
    try:
        yield front
    finally:
        for client in front.clients:
            client.reset()
        await listener.close()
        assert listener.open_connections == 0
        await until(lambda: asyncio.all_tasks() <= tasks_before)
        gc.collect()
        assert (holdings.used, holdings.accounts) == (0, 0), "all is given back"
        assert complaints == []
