"""Pages that stay up to date: server-sent events to a bounded number of listeners.

One picture is drawn for all of them, and only while somebody looks; who is slow misses pictures,
and is let go when it takes nothing for a while. No visitor takes the page from others: where all
places are taken, a newcomer gets the oldest of the address that has most, which may be a proxy's
with many people behind it; and a stream ends at a certain age, after which a browser asks again.

State: the listeners and the picture, in ``Live``, one for each page.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from rpcproxy.clock import SYSTEM_CLOCK
from rpcproxy.engine import tasks
from rpcproxy.front.protocol.page import TEXT, Page
from rpcproxy.front.wire.sites import site_of

# A browser tells its script of no event without data.
BEAT: Final = b"event: beat\ndata: {}\n\n"

# Drawing may take so much of a core, and the pauses grow where it would be more. Counted is CPU: on
# a busy machine drawing waits for others, and the page is not to stand still for fifty times that.
DRAWING_SHARE: Final = 0.02
_RETRY_MILLISECONDS: Final = 3000
_AGED_RETRY_MILLISECONDS: Final = 200  # nothing is wrong: nobody need see it
RETRY_AFTER_SECONDS: Final = 10  # status.js waits so long by itself

_STREAM: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # a proxy in front must not collect them (nginx)
}

_log = logging.getLogger("rpcproxy.live")

Draw = Callable[[], str]


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """``most`` listeners at once; a picture each ``picture_seconds``, and where drawing takes so
    much that it pauses longer, a *beat* in between: ``status.js`` takes it that nobody is there
    where it hears nothing, as a line that is dead may stay open. Who takes nothing for
    ``slow_seconds`` is let go, and everybody after ``age_seconds``: one that reads nothing is not
    slow while the system's buffers take it all.
    """

    most: int = 128
    picture_seconds: float = 2.0
    beat_seconds: float = 2.0
    slow_seconds: float = 10.0
    age_seconds: float = 600.0
    close_seconds: float = 0.5


USUAL_LIVE: Final = LiveSettings()


class Listening:
    """The stream of one listener (``messages.AnswerStream``)."""

    def __init__(self, live: Live, site: str, hang_up: Callable[[], None]) -> None:
        self.site = site
        self.hang_up = hang_up
        self.given_at = 0.0  # when it got the piece that it is still taking; 0 while it waits
        self.closed = asyncio.get_running_loop().create_future()
        self._live = live
        self._number = 0  # of the picture it has, 0 for none
        self._beat = 0  # of the last beat that it heard
        self._until = live.now() + live.settings.age_seconds
        self._is_aged = False

    async def read(self) -> bytes:
        """The next picture, ``b""`` at the end."""
        self.given_at = 0.0
        piece = await self._next()
        self.given_at = self._live.now()
        return piece

    async def _next(self) -> bytes:
        live = self._live
        if self._is_aged or live.is_closed:
            return b""
        is_first = not self._number
        if not is_first:
            if live.now() >= self._until:
                self._is_aged = True
                return b"retry: %d\n\n" % _AGED_RETRY_MILLISECONDS
            await live.news_after(self._number, self._beat)
            if live.is_closed:
                return b""
            if live.number == self._number:
                self._beat = live.beat
                return BEAT
        self._beat = live.beat
        self._number = live.number
        beginning = b"retry: %d\n\n" % _RETRY_MILLISECONDS if is_first else b""
        return beginning + live.picture

    @property
    def size(self) -> int:
        """How many bytes it holds: the pictures are everybody's."""
        return 2 * len(self._live.picture)

    def close(self) -> None:
        """It goes; idempotent."""
        self._live.leave(self)
        if not self.closed.done():
            self.closed.set_result(None)


class Live:
    """``draw`` gives one line of text, ``now`` monotonic seconds. ``close`` ends every stream:
    no drain waits for them.
    """

    def __init__(
        self,
        draw: Draw,
        settings: LiveSettings = USUAL_LIVE,
        now: Callable[[], float] = SYSTEM_CLOCK.monotonic,
    ) -> None:
        self._draw = draw
        self.now = now
        self.settings = settings
        self.picture = b""
        self.number = 0  # of the picture
        self.beat = 0
        self._news = asyncio.Condition()
        self._drawing: asyncio.Task[None] | None = None
        self._listeners: dict[Listening, None] = {}  # the oldest first
        self.is_closed = False

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    def page(self, address: str | None, hang_up: Callable[[], None]) -> Page:
        """The stream for a new listener, 503 where there are too many. ``hang_up`` closes its
        connection: of one that takes nothing, or has to make room.
        """
        site = site_of(address)
        if self.is_closed or not self._has_place(site):
            words = f"no more than {self.settings.most} pages can be live at once\n"
            later = {"Retry-After": str(RETRY_AFTER_SECONDS), "Cache-Control": "no-store"}
            return Page(words.encode(), 503, headers={"Content-Type": TEXT, **later})
        if not self._listeners:
            self._redraw()  # the last one is of another time
        listening = Listening(self, site, hang_up)
        self._listeners[listening] = None
        if self._drawing is None or self._drawing.done():
            self._drawing = tasks.start(self._keep_drawing(), "live page")
        return Page(b"", rest=listening, headers=_STREAM)

    async def listen(
        self, request: web.Request, headers: Mapping[str, str] = {}
    ) -> web.StreamResponse:
        """The same where aiohttp serves."""

        def hang_up() -> None:
            if request.transport is not None:
                request.transport.abort()

        page = self.page(request.remote, hang_up)
        every = {**page.headers, **headers}
        if page.rest is None:
            return web.Response(status=page.status, body=page.body, headers=every)
        response = web.StreamResponse(headers=every)
        try:
            await response.prepare(request)
            while piece := await page.rest.read():
                await response.write(piece)
            await response.write_eof()
        except ConnectionResetError:
            hang_up()
        finally:
            page.rest.close()
        return response

    def _has_place(self, site: str) -> bool:
        """Whether there is one for ``site``; that of another, who has more, is taken for it."""
        if len(self._listeners) < self.settings.most:
            return True
        counts = Counter(each.site for each in self._listeners)
        fullest, most = counts.most_common(1)[0]
        if most <= counts[site] + 1:
            return False
        self._drop(next(each for each in self._listeners if each.site == fullest))
        return True

    def _drop(self, listening: Listening) -> None:
        self.leave(listening)
        listening.hang_up()

    def leave(self, listening: Listening) -> None:
        """It listens no more."""
        self._listeners.pop(listening, None)

    async def news_after(self, number: int, beat: int) -> None:
        """Wait for a newer picture, a newer beat or the end."""
        async with self._news:
            while (self.number, self.beat) == (number, beat) and not self.is_closed:
                await self._news.wait()

    def _redraw(self) -> float:
        """Draw the picture; returns the seconds of CPU that it took."""
        started = time.thread_time()
        self.picture = b"data: " + self._draw().encode() + b"\n\n"
        self.number += 1
        return time.thread_time() - started

    async def _keep_drawing(self) -> None:
        seconds = 0.0
        while self._listeners:
            await self._beat_for(max(self.settings.picture_seconds, seconds / DRAWING_SHARE))
            now = self.now()
            for each in [*self._listeners]:
                if each.given_at and now - each.given_at > self.settings.slow_seconds:
                    self._drop(each)
            if not self._listeners:
                return
            try:
                seconds = self._redraw()
            except Exception:  # noqa: BLE001 - logged; the next picture may be drawn
                _log.exception("a live page could not be drawn")
            async with self._news:
                self._news.notify_all()

    async def _beat_for(self, seconds: float) -> None:
        """Pause, with a beat now and then."""
        until = self.now() + seconds
        while (left := until - self.now()) > self.settings.beat_seconds:
            await asyncio.sleep(self.settings.beat_seconds)
            self.beat += 1
            async with self._news:
                self._news.notify_all()
        await asyncio.sleep(left)

    async def close(self) -> None:
        """End every stream."""
        self.is_closed = True
        async with self._news:
            self._news.notify_all()
        await tasks.stop(self._drawing)
        if self._listeners:
            closed = {each.closed for each in self._listeners}
            await asyncio.wait(closed, timeout=self.settings.close_seconds)
        for each in [*self._listeners]:
            self._drop(each)  # it takes nothing, and does not look up
