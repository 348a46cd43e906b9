"""front.wire.live and front.pages.status_page: who gets which page, and streams that follow it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession, TCPConnector, web
from aiohttp.test_utils import TestClient, TestServer

from rpcproxy.front.operators.admin import json_page
from rpcproxy.front.pages.status_page import PublicStatus, StatusPage, status_routes
from rpcproxy.front.protocol.page import PageRequest
from rpcproxy.front.wire.live import BEAT, Live, LiveSettings
from rpcproxy.front.wire.sites import site_of
from tests.kits.statuses import REASON, a_status
from tests.kits.waiting import limited, until

BROWSER = {"Accept": "text/html,application/xhtml+xml"}


QUICK = LiveSettings(picture_seconds=0.01)


@contextlib.asynccontextmanager
async def serving(*routes: web.RouteDef) -> AsyncIterator[TestClient[Any, Any]]:
    app = web.Application()
    app.add_routes(routes)
    async with TestClient(TestServer(app, host="127.0.0.1")) as client:
        yield client


async def event_of(response: ClientResponse) -> str:
    """The next one's data."""
    async with limited():
        while True:
            line = (await response.content.readline()).decode()
            assert line, "the stream ended"
            if line.startswith("data: "):
                return line.removeprefix("data: ").rstrip("\n")


class Pictures:
    """Each drawn one is the next number."""

    def __init__(self) -> None:
        self.drawn = 0
        self.trouble: Exception | None = None

    def __call__(self) -> str:
        if self.trouble is not None:
            raise self.trouble
        self.drawn += 1
        return str(self.drawn)


@contextlib.asynccontextmanager
async def streaming(**given: float) -> AsyncIterator[tuple[TestClient[Any, Any], Live, Pictures]]:
    pictures = Pictures()
    live = Live(pictures, replace(QUICK, **given))
    async with serving(web.get("/events", live.listen)) as client:
        yield client, live, pictures
        await live.close()


async def test_listeners_follow_one_picture_and_nothing_is_drawn_for_nobody() -> None:
    async with streaming() as (client, live, pictures):
        assert pictures.drawn == 0
        async with client.get("/events") as one, client.get("/events") as two:
            assert one.headers["Content-Type"] == "text/event-stream"
            assert one.headers["Cache-Control"] == "no-store"
            first = [int(await event_of(one)) for _ in range(3)]
            assert first == sorted(set(first))
            assert int(await event_of(two)) >= 1
            assert live.listeners == 2
        await until(lambda: live.listeners == 0)
        await until(lambda: live._drawing is not None and live._drawing.done())
        drawn = pictures.drawn
        async with client.get("/events") as again:
            assert int(await event_of(again)) > drawn, "never an old one"


async def test_they_are_bounded() -> None:
    async with streaming(most=1) as (client, _, _), client.get("/events") as one:
        await event_of(one)
        async with client.get("/events") as refused:
            assert refused.status == 503
            assert await refused.text() == "no more than 1 pages can be live at once\n"


async def test_nobody_takes_the_page_from_others() -> None:
    async with streaming(most=3) as (client, live, _), contextlib.AsyncExitStack() as stack:
        writers = []
        for number in range(3):  # who read nothing
            _, writer = await asyncio.open_connection("127.0.0.1", client.port)
            writer.write(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
            writers.append(writer)
            await until(lambda number=number: live.listeners == number + 1)
        async with client.get("/events") as refused:
            assert refused.status == 503, "it has most itself"
            assert refused.headers["Retry-After"] == "10"
        here = TCPConnector(local_addr=("127.0.0.2", 0))
        session = await stack.enter_async_context(ClientSession(connector=here))
        url = client.make_url("/events")
        one = await stack.enter_async_context(session.get(url))
        assert one.status == 200
        last = int(await event_of(one))
        assert live.listeners == 3
        async with session.get(url) as refused:
            assert refused.status == 503, "each has its share"
        assert int(await event_of(one)) > last
        for writer in writers:
            writer.close()


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        (None, "", True),
    ],
)
def test_what_one_visitor_has_of_addresses(one, other, is_same) -> None:
    assert (site_of(one) == site_of(other)) is is_same


async def test_a_stream_beats_while_no_picture_is_drawn() -> None:
    """A line that is dead may stay open: who hears nothing knows that nobody is there."""
    async with streaming(picture_seconds=1e6, beat_seconds=0.01) as (client, _, pictures):
        async with client.get("/events") as one, limited():
            assert await event_of(one) == "1"
            for _ in range(3):
                assert (await one.content.readuntil(b"\n\n")).endswith(BEAT)
        assert pictures.drawn == 1


async def test_a_stream_ends_at_a_certain_age() -> None:
    async with streaming(age_seconds=0.05) as (client, live, _), client.get("/events") as one:
        async with limited():
            text = await one.text()  # to its end
        assert text.startswith("retry: 3000\n")
        assert text.endswith("retry: 200\n\n")
        await until(lambda: live.listeners == 0)


async def test_a_picture_that_cannot_be_drawn_is_left_out(caplog) -> None:
    async with streaming() as (client, _, pictures), client.get("/events") as one:
        await event_of(one)
        pictures.trouble = RuntimeError("boom")
        await until(lambda: "could not be drawn" in caplog.text)
        pictures.trouble = None
        last = pictures.drawn
        async with limited():
            while int(await event_of(one)) <= last:
                pass


async def test_one_that_takes_nothing_is_let_go() -> None:
    pictures = Pictures()
    live = Live(lambda: pictures() + "x" * 4_000_000, replace(QUICK, slow_seconds=0.05))
    async with serving(web.get("/events", live.listen)) as client:
        _, writer = await asyncio.open_connection("127.0.0.1", client.port)
        writer.write(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: live.listeners == 1)
        await until(lambda: live.listeners == 0)  # we read nothing meanwhile
        writer.close()
        await live.close()


async def test_closing_ends_every_stream_at_once() -> None:
    async with streaming() as (client, live, _), client.get("/events") as one:
        await event_of(one)
        async with limited():
            await live.close()
            await one.content.read()  # to its end
        assert live.listeners == 0
        async with client.get("/events") as late:
            assert late.status == 503


async def test_closing_does_not_wait_for_one_that_takes_nothing() -> None:
    pictures = Pictures()
    live = Live(lambda: pictures() + "x" * 4_000_000, replace(QUICK, close_seconds=0.05))
    async with serving(web.get("/events", live.listen)) as client:
        _, writer = await asyncio.open_connection("127.0.0.1", client.port)
        writer.write(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: live.listeners == 1)
        async with limited():
            await live.close()
        await until(lambda: live.listeners == 0)
        writer.close()


# ---- who gets which page


@contextlib.asynccontextmanager
async def admin_port() -> AsyncIterator[TestClient[Any, Any]]:
    page = StatusPage(a_status, QUICK)
    async with serving(*status_routes(page, json_page, a_status)) as client:
        yield client
        await page.live.close()


async def test_a_browser_gets_the_page_and_a_program_the_json() -> None:
    async with admin_port() as client:
        for path, headers in (("/status", {}), ("/status.json", BROWSER)):
            async with client.get(path, headers=headers) as reply:
                assert reply.content_type == "application/json"
                assert (await reply.json())["sentence"].startswith("a is rate-limited")
        async with client.get("/status", headers=BROWSER) as reply:
            assert reply.content_type == "text/html"
            assert reply.headers["Vary"] == "Accept"
            assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
            text = await reply.text()
            assert "<title>a is rate-limited, wallets are served by one other</title>" in text
        async with client.head("/status/events") as reply:
            assert reply.status == 405


async def test_the_stream_brings_what_the_page_shows() -> None:
    async with admin_port() as client, client.get("/status/events") as stream:
        picture = json.loads(await event_of(stream))
        assert set(picture) == {"main", "title", "steady", "icon"}
        assert "<h1>a is rate-limited" in picture["main"]


async def page_by_aiohttp(public: PublicStatus, request: web.Request) -> web.StreamResponse:
    fields = {name.lower(): value for name, value in request.headers.items()}
    page = public.answer(PageRequest(method="GET", path=request.path, fields=fields))
    if page is None:
        return web.Response(status=404)
    if page.rest is None:
        return web.Response(body=page.body, status=page.status, headers=page.headers)
    response = web.StreamResponse(headers=page.headers)
    await response.prepare(request)
    await response.write(await page.rest.read())
    page.rest.close()
    return response


@contextlib.asynccontextmanager
async def wallet_port(path: str | None) -> AsyncIterator[TestClient[Any, Any]]:
    public = PublicStatus(a_status, dict, lambda: path)

    async def anything(request: web.Request) -> web.StreamResponse:
        return await page_by_aiohttp(public, request)

    async with serving(web.get("/{path:.*}", anything)) as client:
        yield client
        await public.close()


async def test_the_wallet_ports_page_has_names_only() -> None:
    async with wallet_port("/how-it-is") as client:
        async with client.get("/how-it-is", headers=BROWSER) as reply:
            text = await reply.text()
            assert "timeouts" in REASON
            assert "timeouts" not in text
        for path in ("/how-it-is", "/how-it-is.json"):
            async with client.get(path) as reply:
                told = await reply.json()
                assert "config" not in told
                assert "state_reason" not in told["chains"][0]["upstreams"][0]
        async with client.get("/how-it-is/events") as stream:
            assert "timeouts" not in await event_of(stream)
        for path in ("/status", "/how-it-is/else", "/how-it-istoo", "/"):
            assert (await client.get(path)).status == 404


async def test_it_is_nowhere_unless_it_is_wanted() -> None:
    async with wallet_port(None) as client:
        assert (await client.get("/status", headers=BROWSER)).status == 404


async def test_however_often_anybody_asks_it_is_made_once_a_second() -> None:
    made = 0

    def tell() -> dict[str, Any]:
        nonlocal made
        made += 1
        return a_status()

    public = PublicStatus(tell, dict, lambda: "/how", 1000.0)

    async def anything(request: web.Request) -> web.StreamResponse:
        return await page_by_aiohttp(public, request)

    async with serving(web.get("/{path:.*}", anything)) as client:
        for headers in ({}, BROWSER) * 3:
            assert (await client.get("/how", headers=headers)).status == 200
    assert made == 1
