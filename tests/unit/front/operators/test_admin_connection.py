"""front.operators.admin_connection: the admin port's time, numbers and words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from rpcproxy.app.admin_port import AdminPort
from rpcproxy.config.model import Address, Limits
from rpcproxy.front.operators.admin import _answer_in_json, json_page
from rpcproxy.front.operators.admin_connection import AdminConnections
from tests.kits.waiting import until
from tests.sockets.front_kit import Client, both_loops

LIMITS = Limits(header_seconds=0.2, body_seconds=0.3)
GET = b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n"


class Port:
    def __init__(self, port: int, connections: AdminConnections) -> None:
        self.port = port
        self.connections = connections
        self.clients: list[Client] = []

    async def client(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port, limit=1000))
        self.clients.append(client)
        return client


@asynccontextmanager
async def a_port(limits: Limits = LIMITS, **bounds: float) -> AsyncIterator[Port]:
    async def page(_request: web.Request) -> web.Response:
        return json_page({"fine": True})

    async def order(request: web.Request) -> web.Response:
        return json_page({"read": len(await request.read())})

    async def large(_request: web.Request) -> web.Response:
        return web.Response(body=bytes(40_000_000))

    app = web.Application(middlewares=[_answer_in_json])
    app.router.add_get("/page", page)
    app.router.add_post("/order", order)
    app.router.add_get("/large", large)
    admin = AdminPort(app, limits, AdminConnections(limits, **bounds))
    await admin.start(Address(host="127.0.0.1", port=0))
    port = Port(admin.address[1], admin._connections)
    try:
        yield port
    finally:
        for client in port.clients:
            client.reset()
        await admin.close()


@both_loops
@pytest.mark.parametrize(
    ("before", "half", "words"),
    [
        (b"", b"GET /page HT", "head took over 0.2 s"),
        (GET, b"GET /page HT", "head took over 0.2 s"),
        (GET, GET[:-2], "head took over 0.2 s"),
        (b"", b"POST /order HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc", "body took over"),
        (GET, b"POST /order HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc", "body took over"),
    ],
)
async def test_half_a_request_is_refused_in_words(before, half, words):
    async with a_port() as port:
        client = await port.client()
        client.send(before)
        if before:
            assert (await client.response()).status == 200
        client.send(half)
        response = await client.response()
        assert response.status == 408
        assert words in json.loads(response.body)["error"]
        assert response.headers["server"] == "rpcproxy"
        assert await client.rest() == b""
        await until(lambda: not port.connections.open)


@both_loops
async def test_half_a_head_behind_a_whole_request():
    async with a_port() as port:
        client = await port.client()
        client.send(GET + GET[:-1])
        assert (await client.response()).status == 200
        assert await client.rest() == b""


@both_loops
async def test_one_that_is_idle_or_sends_slowly_within_time_is_not_cut_off():
    async with a_port(Limits(header_seconds=5, body_seconds=5)) as port:
        client = await port.client()
        for _ in range(3):
            for start in range(0, len(GET), 10):
                client.send(GET[start : start + 10])
                await asyncio.sleep(0)
            assert (await client.response()).status == 200
        client.send(b"POST /order HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n")
        await asyncio.sleep(0)
        client.send(b"abc")
        assert json.loads((await client.response()).body) == {"read": 3}


@both_loops
async def test_no_answer_tells_library_or_version():
    odd = b"GET / HTTP/1.1\r\nHost: x\r\nExpect: much\r\n\r\n"
    async with a_port() as port:
        for data in (GET, b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", b"rubbish\r\n\r\n", odd):
            client = await port.client()
            client.send(data)
            _, headers = await client.head()
            assert "aiohttp" not in str(headers)


@both_loops
async def test_what_is_no_http_is_refused_and_no_error_of_ours(caplog):
    async with a_port() as port:
        for line in (b"X : y", b"no colon", b"Content-Length: 1\r\nContent-Length: 2", b"A: \x00"):
            client = await port.client()
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n" + line + b"\r\n\r\n")
            status, _ = await client.head()
            assert status == 400
    assert not caplog.records


@both_loops
async def test_who_takes_nothing_of_a_page_is_cut_off():
    async with a_port(stall_seconds=0.1) as port:
        client = await port.client()
        client.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: len(port.connections.open) == 1)
        await until(lambda: not port.connections.open)


@both_loops
async def test_connections_are_bounded():
    async with a_port(Limits(), most=2) as port:
        clients = [await port.client() for _ in range(2)]
        for client in clients:
            client.send(GET)
            assert (await client.response()).status == 200
        third = await port.client()
        third.send(GET)
        assert await third.rest() == b""
        clients[0].close()
        await until(lambda: len(port.connections.open) == 1)
        fourth = await port.client()
        fourth.send(GET)
        assert (await fourth.response()).status == 200
