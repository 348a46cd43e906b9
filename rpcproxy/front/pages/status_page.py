"""The status: a page for a browser, JSON for everybody else, and the stream that keeps the page up
to date. On the admin port whole, on the wallet port (where the owner wants it) with names only.

State: the listeners of each page, in ``live.Live``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeVar

import msgspec
from aiohttp import web

from rpcproxy.clock import SYSTEM_CLOCK, Clock
from rpcproxy.front.pages.landing import Outlooks
from rpcproxy.front.pages.markup import Shell, icon
from rpcproxy.front.pages.outlook import public_part
from rpcproxy.front.pages.status_html import moment_of, status_body, status_main
from rpcproxy.front.protocol.page import HTML, JSON, SERVER_HEADER, PageRequest
from rpcproxy.front.protocol.page import Page as WholePage
from rpcproxy.front.wire.live import USUAL_LIVE, Live, LiveSettings

Tell = Callable[[], Mapping[str, Any]]
T = TypeVar("T")
# Anybody may ask the wallet port, however often.
PUBLIC_SECONDS: Final = 1.0

SHELL: Final = Shell(styles=("pages.css", "status.css"), script="status.js")


class PlainPage(Protocol):
    """Makes a page of JSON."""

    def __call__(self, content: object) -> web.Response: ...


class StatusPage:
    """``tell`` gives the status as plain values, fit for whoever may see the page."""

    def __init__(
        self, tell: Tell, settings: LiveSettings = USUAL_LIVE, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._tell = tell
        self._unix = clock.unix
        self.live = Live(self._picture, settings, clock.monotonic)

    def html(self) -> WholePage:
        """The page, which asks for ``/events`` below its path."""
        status = self._tell()
        body = status_body(status, moment_of(self._unix()))
        text = SHELL.page(str(status["sentence"]), body, status["level"])
        return WholePage(text.encode(), headers={"Content-Type": HTML, **SHELL.headers})

    def _picture(self) -> str:
        status = self._tell()
        picture = {
            "main": str(status_main(status, moment_of(self._unix()))),
            "title": status["sentence"],
            "steady": status["steady"],
            "icon": icon(status["level"]),
        }
        return msgspec.json.encode(picture).decode()


def _remembered(make: Callable[[], T], seconds: float, clock: Clock) -> Callable[[], T]:
    """``make``, at most once in so many seconds."""
    known: list[tuple[float, T]] = []

    def remembered() -> T:
        now = clock.monotonic()
        if not known or now - known[0][0] >= seconds:
            known[:] = [(now, make())]
        return known[0][1]

    return remembered


def status_routes(status_page: StatusPage, page: PlainPage, tell: Tell) -> list[web.RouteDef]:
    """The admin port's; ``page`` is how the other pages of the port are made."""

    async def status(request: web.Request) -> web.StreamResponse:
        """How everything is: a page for a browser, JSON for programs."""
        if "text/html" in request.headers.get("Accept", ""):
            html = status_page.html()
            return web.Response(body=html.body, headers={**html.headers, **SERVER_HEADER})
        response = page(tell())
        response.headers["Vary"] = "Accept"
        return response

    async def in_json(_request: web.Request) -> web.Response:
        """The same, in JSON always."""
        return page(tell())

    async def events(request: web.Request) -> web.StreamResponse:
        """The status page as it changes, as a stream of events."""
        return await status_page.live.listen(request, SERVER_HEADER)

    return [
        web.get("/status", status),
        web.get("/status.json", in_json),
        # A HEAD would be a stream without an end.
        web.get("/status/events", events, allow_head=False),
    ]


class PublicStatus:
    """What the wallet port tells people: ``path`` says where the page is, ``None`` for nowhere,
    and ``outlooks`` how each chain stands (see ``landing``).
    """

    def __init__(
        self,
        tell: Tell,
        outlooks: Callable[[], Outlooks],
        path: Callable[[], str | None],
        seconds: float = PUBLIC_SECONDS,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        shown = _remembered(lambda: public_part(tell()), seconds, clock)
        self._json = _remembered(lambda: msgspec.json.encode(shown()), seconds, clock)
        self.outlooks = _remembered(outlooks, seconds, clock)
        self.path = path
        self._page = StatusPage(shown, clock=clock)

    def answer(self, request: PageRequest) -> WholePage | None:
        """What is asked for, ``None`` where it is none of ours."""
        ours = self.path()
        if ours is None or not request.path.startswith(ours):
            return None
        rest = request.path.removeprefix(ours)
        if rest == "/events" and request.method == "GET":
            return self._page.live.page(request.peer, request.hang_up)
        if rest == "" and request.takes_html:
            return self._page.html()
        if rest in ("", ".json"):
            headers = {"Content-Type": JSON, "Cache-Control": "no-store", "Vary": "Accept"}
            return WholePage(self._json(), headers=headers)
        return None

    async def close(self) -> None:
        """End its streams."""
        await self._page.live.close()
