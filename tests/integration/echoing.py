"""Providers that repeat what they were sent: the path, the headers and the key in them, in errors,
pages, redirects, headers of their own, reasons of closing, and one result. Beside them a webhook's
receiver and a collector of traces that do the same, and keep what they got.

State: one loop in a thread of its own, and what came, in ``EchoingWorld``.
"""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import msgspec
from aiohttp import ClientConnectionResetError, WSCloseCode, WSMsgType, web

from rpcproxy.drills.evm.simchain import SimChain
from rpcproxy.drills.evm.simrpc import CLIENT_VERSION
from rpcproxy.drills.providers import provider_answers
from rpcproxy.drills.providers.provider import Provider, Ticker
from rpcproxy.drills.providers.wire import Incoming, ServerConnection
from rpcproxy.drills.scenarios.fault import Fault, RpcError
from tests.kits.waiting import until
from tests.sockets.loop_thread import LoopThread

CHAIN_ID: Final = 1337
_SHOWN_HEADERS: Final = re.compile(
    rb"\r\n(?:authorization|x-api-key):[ \t]*([^\r]*)", re.IGNORECASE
)
_LENGTH: Final = re.compile(rb"Content-Length: \d+")
_CLOSE_REASON_BYTES: Final = 120  # RFC 6455, 5.5: 125 with the code
_LONGEST_PADDING: Final = 260


def said(code: int, message: str, name: str) -> Fault:
    return Fault(name=name, error=RpcError(code, message))


# What comes with an echo beside the catalogue: words that reach wallets, and pages.
ECHOES: Final[dict[str, Fault]] = {
    fault.name: fault
    for fault in (
        Fault(name="redirect", status=307, page="moved"),
        Fault(name="forbidden", status=403, page="<h1>403 Forbidden</h1>"),
        Fault(name="not_found", status=404, page="no such project"),
        Fault(name="payment", status=402, page="quota exceeded"),
        said(3, "execution reverted", "reverted"),
        said(-32602, "invalid argument 0", "invalid"),
        said(-32000, "nobody has seen this before", "mystery"),
        said(-32000, "insufficient funds for gas * price + value", "poor"),
        said(-32000, "missing trie node", "pruned"),
    )
}


class EchoingProvider(Provider):
    """``secrets`` are the keys in the URL and headers that the proxy has for it."""

    def __init__(self, chain: SimChain, name: str, secrets: Sequence[str]) -> None:
        super().__init__(chain, name, latency_seconds=0.002)
        self.secrets = secrets
        self._spellings = [spelling for secret in secrets for spelling in spellings(secret)]
        self._words = random.Random(name)

    def echo(self, head: bytes) -> str:
        """What it was sent, in all spellings, in any order, after more or less of something."""
        given = [head.split(b"\r\n", 1)[0].decode("latin-1"), *self._spellings]
        given += [each.decode("latin-1") for each in _SHOWN_HEADERS.findall(head)]
        self._words.shuffle(given)
        padding = "x " * self._words.randrange(_LONGEST_PADDING // 2)
        return f"{padding}{' | '.join(given)}"

    def _answer(
        self,
        connection: ServerConnection,
        incoming: Incoming,
        members: provider_answers.Members,
        fault: Fault,
    ) -> None:
        if self._active.is_silent:
            return
        echo = self.echo(incoming.head)
        if fault.page:
            fault = msgspec.structs.replace(fault, page=f"{fault.page} {echo}")
        if fault.garbage:
            fault = msgspec.structs.replace(fault, garbage=echo.encode() + fault.garbage)
        if fault.error is not None:
            error = RpcError(fault.error.code, f"{fault.error.message} {echo}")
            fault = msgspec.structs.replace(fault, error=error)
        pieces, after = provider_answers.compose(incoming, members, self.view(fault), fault)
        if pieces and not fault.garbage:
            whole = self._with_echo(b"".join(pieces), echo, incoming.target.decode("latin-1"))
            pieces = [whole]
        connection.send(pieces, after, fault.seconds_per_byte)

    def _with_echo(self, whole: bytes, echo: str, target: str) -> bytes:
        """Headers of its own, and the echo in every error of a whole JSON text."""
        head, _, body = whole.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        is_whole = length and int(length[1]) == len(body) and b"Encoding" not in head
        if is_whole and (b'"error"' in body or CLIENT_VERSION.encode() in body):
            try:
                told = json.loads(body)
            except ValueError:
                told = None
            if told is not None:
                body = json.dumps(_echoed(told, echo)).encode()
                head = _LENGTH.sub(b"Content-Length: %d" % len(body), head)
        lines = [f"X-Request-Was: {echo}", f"Location: http://127.0.0.1:{self.port}{target}"]
        lines.append(f"Set-Cookie: key={quote(self.secrets[0])}")
        return b"\r\n".join((head, *(line.encode() for line in lines))) + b"\r\n\r\n" + body


def spellings(secret: str) -> list[str]:
    """As others write it."""
    coded = base64.b64encode(secret.encode()).decode()
    inside = base64.b64encode(f"k:{secret}:".encode()).decode()
    return [secret, secret.upper(), secret.lower(), quote(secret, safe=""), coded, inside]


def _echoed(told: Any, echo: str) -> Any:
    for reply in told if isinstance(told, list) else [told]:
        error = reply.get("error") if isinstance(reply, dict) else None
        if isinstance(error, dict):
            error["message"] = f"{error['message']} {echo}"
            error["data"] = {"request": echo, "more": [{"see": echo}], "raw": "0x08c379a0"}
        elif isinstance(reply, dict) and str(reply.get("result", "")).startswith(CLIENT_VERSION):
            reply["result"] = f"{reply['result']} {echo}"
    return told


@dataclass
class Heard:
    """What came at the receivers."""

    webhooks: list[bytes] = field(default_factory=list)
    traces: list[bytes] = field(default_factory=list)
    upgrades: list[str] = field(default_factory=list)  # ways in which WebSockets ended


class EchoingWorld:
    """Providers by name, and the other servers, each on a port of its own."""

    def __init__(self, secrets: Mapping[str, Sequence[str]], socket_secrets: Sequence[str]) -> None:
        self.heard = Heard()
        self._socket_secrets = socket_secrets
        self._secrets = secrets
        self._modes: Iterator[int] = itertools.count()
        self.providers: dict[str, EchoingProvider] = {}
        self._loop = LoopThread("echoes")
        self._loop.run(self._start())

    async def _start(self) -> None:
        chain = SimChain(CHAIN_ID, 1.0)
        self._ticker = Ticker(chain)
        self._ticker.start()
        for name, secrets in self._secrets.items():
            self.providers[name] = EchoingProvider(chain, name, secrets)
            self.providers[name].start()
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_get("/{path:.*}", self._on_upgrade)
        app.router.add_post("/{path:.*}", self._on_post)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port: int = self._runner.addresses[0][1]

    def set_faults(self, faults: Mapping[str, Fault | None]) -> None:
        """By provider; ``None`` for well."""

        async def change() -> None:
            for name, fault in faults.items():
                self.providers[name].set_fault(fault)

        self._loop.run(change())

    def close(self) -> None:
        self._loop.run(self._stop())
        self._loop.close()

    async def _stop(self) -> None:
        """Everything has ended afterwards, each connection too."""
        self._ticker.stop()
        for provider in self.providers.values():
            provider.stop()
        server = self._runner.server
        assert server is not None
        for site in self._runner.sites:
            await site.stop()
        # Its cleanup closes them, forgets them at once, and waits for none.
        handlers = server.connections
        await self._runner.cleanup()
        await until(
            lambda: not any(handler.transport for handler in handlers), "the receivers' are closed"
        )
        await until(lambda: not self._has_connections(), "the providers' are closed")

    def _has_connections(self) -> bool:
        return any(
            each._connections or each._arrivals or each._subscribers
            for each in self.providers.values()
        )

    # ---- the receivers

    async def _on_post(self, request: web.Request) -> web.Response:
        body = await request.read()
        is_trace = request.path.endswith("/v1/traces")
        heard = self.heard.traces if is_trace else self.heard.webhooks
        is_packed = request.headers.get("Content-Encoding") == "gzip"
        heard.append(gzip.decompress(body) if is_packed else body)
        if len(heard) == 1:
            # The first time it is refused, in the words that everybody here has.
            echo = f"{request.path_qs} {request.headers.get('Authorization', '')}"
            return web.Response(status=400 if is_trace else 503, text=f"no: {echo}")
        return web.Response(text="{}")

    async def _on_upgrade(self, request: web.Request) -> web.StreamResponse:
        """A WebSocket, which ends in one of five ways."""
        echo = f"{request.path_qs} {' '.join(self._socket_secrets)}"
        way = ("refuses", "redirects", "errs", "closes", "rambles")[next(self._modes) % 5]
        self.heard.upgrades.append(way)
        if way == "refuses":
            return web.Response(status=401, text=echo, headers={"X-Request-Was": echo})
        if way == "redirects":
            return web.Response(status=302, headers={"Location": f"http://127.0.0.1:1/{echo}"})
        socket = web.WebSocketResponse()
        try:
            await socket.prepare(request)
        except ClientConnectionResetError:  # whoever asked has hung up meanwhile
            return web.Response()
        if way != "closes":
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await socket.send_str(_socket_answer(message.data, way, echo))
                break
        await socket.close(
            code=WSCloseCode.POLICY_VIOLATION, message=echo.encode()[:_CLOSE_REASON_BYTES]
        )
        return socket


def _socket_answer(asked: str, way: str, echo: str) -> str:
    if way == "rambles":
        return echo
    error = {"code": -32000, "message": echo, "data": {"key": echo}}
    return json.dumps({"jsonrpc": "2.0", "id": json.loads(asked)["id"], "error": error})
