"""nginx and Caddy as deploy/ sets them up: what they let through, and what they never do."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Final

import aiohttp
import trustme
from aiohttp import web

from tests.integration.anvil_node import free_port
from tests.kits.pages import ROOT
from tests.kits.waiting import LIMIT_SECONDS, limited

NAME: Final = "localhost"
PIECE: Final = b"x" * 1000
NGINX: Final = """
pid {home}/pid;
error_log {home}/error.log;
worker_processes 1;
daemon off;
events {{}}
http {{
    include {home}/site.conf;
    {paths}
}}
"""


class Replicas:
    """One that is well, one that breaks off once it has a request, one that is not there."""

    def __init__(self) -> None:
        self.well = self.breaking = 0
        self.gone = free_port()
        self.headers: list[dict[str, str]] = []
        self.broken_off = 0
        self.may_go_on = asyncio.Event()

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[Replicas]:
        app = web.Application(client_max_size=10 << 20)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.well = runner.addresses[0][1]
        breaking = await asyncio.start_server(self._break_off, "127.0.0.1", 0)
        self.breaking = breaking.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            breaking.close()
            await runner.cleanup()

    async def _break_off(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.broken_off += 1
        writer.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.headers.append(dict(request.headers))
        if "Upgrade" in request.headers:
            talk = web.WebSocketResponse()
            await talk.prepare(request)
            async for message in talk:
                await talk.send_str(f"echo {message.data}")
            return talk
        if request.path == "/stream":
            stream = web.StreamResponse()
            await stream.prepare(request)
            await stream.write(PIECE)
            await self.may_go_on.wait()
            await stream.write(PIECE)
            return stream
        return web.Response(body=await request.read())


class Front:
    """A front that runs, and the URL it is reached by."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self._port = port
        self.url = f"https://{NAME}:{port}"

    async def wait(self) -> None:
        async with limited():
            while not await self._listens():  # noqa: ASYNC110  it tells nobody
                await asyncio.sleep(0.01)

    async def _listens(self) -> bool:
        assert self._process.returncode is None, "it ended"
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return False
        writer.close()
        return True


@contextlib.asynccontextmanager
async def running(command: list[str], port: int, home: Path) -> AsyncIterator[Front]:
    environ = {"HOME": str(home), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    with (home / "output").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=output, stderr=output, env=environ
        )
    try:
        front = Front(process, port)
        await front.wait()
        yield front
    finally:
        process.terminate()
        async with limited():
            await process.wait()


def certificate(home: Path) -> ssl.SSLContext:
    """Writes one for the front; what a client needs to trust it."""
    authority = trustme.CA()
    issued = authority.issue_cert(NAME)
    issued.cert_chain_pems[0].write_to_path(str(home / "fullchain.pem"))
    issued.private_key_pem.write_to_path(str(home / "privkey.pem"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def nginx(program: str, home: Path, replicas: Iterable[int], port: int) -> list[str]:
    site = (ROOT / "deploy/nginx/rpcproxy.conf").read_text().replace("/etc/nginx/tls", str(home))
    site = re.sub(r"listen \[::\]:.*\n", "", site).replace("listen 443", f"listen 127.0.0.1:{port}")
    line = next(line for line in site.splitlines() if "server 127.0.0.1:8545" in line)
    lines = "\n".join(line.replace("8545", str(replica)) for replica in replicas)
    (home / "site.conf").write_text(site.replace(line, lines))
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "\n".join(f"{kind}_temp_path {home}/{kind};" for kind in kinds)
    (home / "nginx.conf").write_text(NGINX.format(home=home, paths=paths))
    command = [program, "-c", str(home / "nginx.conf")]
    test = subprocess.run(
        [*command, "-t"], capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    assert test.returncode == 0, test.stderr
    assert "[warn]" not in test.stderr, test.stderr
    return command


async def test_nginx(require_tool: Callable[[str], str], tmp_path: Path) -> None:
    program, context = require_tool("nginx"), certificate(tmp_path)
    async with (
        Replicas().run() as replicas,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as client,
    ):
        port = free_port()
        command = nginx(program, tmp_path, [replicas.gone, replicas.well], port)
        async with running(command, port, tmp_path) as front:
            for _ in range(4):
                async with client.post(f"{front.url}/1", data=b"question") as reply:
                    assert (reply.status, await reply.read()) == (200, b"question")
            await assert_all_goes_through(client, front, replicas)

        port = free_port()
        command = nginx(program, tmp_path, [replicas.breaking, replicas.breaking], port)
        async with running(command, port, tmp_path) as front:
            async with client.post(f"{front.url}/1", data=b"question") as reply:
                assert reply.status == 502
            assert replicas.broken_off == 1, "what was sent is not sent again"


async def assert_all_goes_through(
    client: aiohttp.ClientSession, front: Front, replicas: Replicas
) -> None:
    forged = {"X-Forwarded-For": "203.0.113.9"}
    async with client.post(f"{front.url}/1", data=b"question", headers=forged) as reply:
        assert reply.status == 200
    seen = replicas.headers[-1]
    assert seen["X-Forwarded-For"] == "127.0.0.1", "a client cannot say who it is"
    assert "Upgrade" not in seen

    async with client.get(f"{front.url}/readyz") as reply:
        assert reply.status == 404
    async with client.ws_connect(f"{front.url}/1") as talk:
        await talk.send_str("hello")
        assert (await talk.receive()).data == "echo hello"

    async with client.get(f"{front.url}/stream") as reply:
        assert await reply.content.readexactly(len(PIECE)) == PIECE
        replicas.may_go_on.set()  # not before the first piece has arrived
        assert await reply.content.read() == PIECE

    async with client.post(f"{front.url}/1", data=io.BytesIO(b"x" * (6 << 20))) as reply:
        assert reply.status == 413


def test_caddy_takes_its_file(require_tool: Callable[[str], str], tmp_path: Path) -> None:
    program = require_tool("caddy")
    environ = {"HOME": str(tmp_path), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [program, *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False, env=environ
        )

    text = (ROOT / "deploy/caddy/Caddyfile").read_text()
    if run("version").stdout.lstrip("v").startswith("2.6"):
        text = text.replace("request_buffers 5MB", "buffer_requests")  # as the file says
    path = tmp_path / "Caddyfile"
    path.write_text(text)
    done = run("validate", "--config", str(path), "--adapter", "caddyfile")
    assert done.returncode == 0, done.stderr
    assert "not formatted" not in done.stderr
