"""Who may do what on the admin port: token, origin, host."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from rpcproxy.config.urls import is_loopback
from rpcproxy.front.operators.access import Access, make_guard
from rpcproxy.front.operators.admin import json_page

TOKEN = "a-token-of-sixteen"


class Port:
    """A port with one page of each sort; ``access`` may be replaced."""

    def __init__(self, client: TestClient[Any, Any]) -> None:
        self.client = client
        self.access = Access("127.0.0.1")

    async def ask(
        self, method: str = "GET", path: str = "/status", data: str = "", **headers: str
    ) -> tuple[int, str]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        reply = await self.client.request(method, path, data=data or None, headers=named)
        self.challenges = reply.headers.getall("WWW-Authenticate", [])
        return reply.status, (await reply.json()).get("error", "")


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async def page(_request: web.Request) -> web.Response:
        return json_page({})

    app = web.Application(middlewares=[make_guard(lambda: found.access, json_page)])
    for path in ("/healthz", "/readyz", "/status", "/reload", "/explain"):
        app.router.add_route("*", path, page)
    async with TestClient(TestServer(app, host="127.0.0.1")) as client:
        found = Port(client)
        yield found


async def test_without_a_token_loopback_is_open_to_this_machine(port: Port) -> None:
    assert (await port.ask())[0] == 200
    assert (await port.ask("POST", "/reload"))[0] == 200
    number = port.client.port
    for host in ("localhost", f"localhost:{number}", "127.0.0.1", "[::1]:80", "127.9.9.9:1"):
        assert (await port.ask(Host=host))[0] == 200, host
    for host in ("evil.example", f"evil.example:{number}", "127.0.0.1.evil.example", "10.0.0.1"):
        status, words = await port.ask(Host=host)
        assert status == 421, host
        assert "localhost" in words
        assert (await port.ask("POST", "/reload", Host=host))[0] == 421
    assert (await port.ask(path="/healthz", Host="evil.example"))[0] == 200
    port.access = Access("ops.internal")
    assert (await port.ask(Host="ops.internal:9545"))[0] == 200


async def test_a_host_is_a_host_and_a_port_and_nothing_beside(port: Port) -> None:
    for host in (
        "evil.example:80@127.0.0.1",
        "evil.example@localhost",
        "[::1",
        "[",
        "::1",
        "127.0.0.1:",
        "127.0.0.1:80:80",
        "localhost/evil.example",
        "localhost?",
        "",
    ):
        status, words = await port.ask(Host=host)
        assert (status, words) == (400, "the Host header is malformed"), host
    assert (await port.ask(Host="LocalHost.:9545"))[0] == 200


async def test_with_a_token_everything_but_health_wants_it(port: Port) -> None:
    for is_local in (True, False):
        port.access = Access("0.0.0.0", is_local, TOKEN)
        for path in ("/healthz", "/readyz"):
            assert (await port.ask(path=path))[0] == 200
        status, words = await port.ask()
        assert status == 401
        assert "Authorization: Bearer TOKEN" in words
        assert port.challenges == ['Bearer realm="rpcproxy"', 'Basic realm="rpcproxy"']
        assert (await port.ask("POST", "/reload"))[0] == 401
        right = f"Bearer {TOKEN}"
        assert (await port.ask(Authorization=right))[0] == 200
        assert (await port.ask("POST", "/reload", Authorization=right))[0] == 200
        # Who has it may come by any name: no page of another host can have it.
        assert (await port.ask(Authorization=right, Host="proxy.example"))[0] == 200
        for wrong in (f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", TOKEN, "Bearer", "Bearer é", ""):
            assert (await port.ask(Authorization=wrong))[0] == 401, wrong


async def test_a_browser_gives_the_token_as_a_password(port: Port) -> None:
    port.access = Access("0.0.0.0", is_local=False, token=TOKEN)

    def basic(text: str) -> str:
        return "Basic " + base64.b64encode(text.encode()).decode()

    assert (await port.ask(Authorization=basic(f"me:{TOKEN}")))[0] == 200
    assert (await port.ask(Authorization=basic(f":{TOKEN}")))[0] == 200
    for wrong in (basic("me:"), basic(TOKEN), "Basic", "Basic ====", "Basic /w=="):
        assert (await port.ask(Authorization=wrong))[0] == 401, wrong


async def test_off_loopback_without_a_token_nothing_is_changed(port: Port) -> None:
    port.access = Access("0.0.0.0", is_local=False)
    assert (await port.ask(Host="10.1.2.3:9545"))[0] == 200
    assert (await port.ask("POST", "/explain", Host="10.1.2.3:9545"))[0] == 200
    status, words = await port.ask("POST", "/reload", Host="10.1.2.3:9545")
    assert status == 403
    assert "set server.admin_token" in words


async def test_a_page_of_another_host_changes_nothing(port: Port) -> None:
    own = f"http://127.0.0.1:{port.client.port}"
    assert (await port.ask("POST", "/reload", Origin=own))[0] == 200
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1", "http://localhost"):
        status, words = await port.ask("POST", "/reload", Origin=origin)
        assert status == 403, origin
        assert "another host" in words
    status, words = await port.ask("POST", "/reload", Origin="http://[bad")
    assert (status, words) == (400, "the Origin header is malformed")
    basic = "Basic " + base64.b64encode(f":{TOKEN}".encode()).decode()
    port.access = Access("0.0.0.0", is_local=False, token=TOKEN)
    evil = {"Origin": "https://evil.example", "Authorization": basic}
    assert (await port.ask("POST", "/reload", **evil))[0] == 403, "browsers send what they know"


async def test_a_body_is_json(port: Port) -> None:
    assert (await port.ask("PUT", "/reload", "{}", Content_Type="application/json"))[0] == 200
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert (await port.ask("PUT", "/reload", "{}", Content_Type=kind))[0] == 415
    assert (await port.ask("POST", "/explain", "{}", Content_Type="text/plain"))[0] == 200


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("LocalHost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("", False),
    ],
)
def test_what_is_loopback(host: str, is_local: bool) -> None:
    assert is_loopback(host) is is_local
