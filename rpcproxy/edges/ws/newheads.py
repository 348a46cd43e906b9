"""New blocks as an upstream tells them: one WebSocket per upstream, with a subscription.

``HeadFeed`` moves the bytes and connects again for ever; what they mean is in ``dialogue``, and
how many of them are looked at in ``pace``: an upstream's pace is not to become ours. No text that
leaves here holds the URL, a header or an upstream's own words.

State: the task, the pulse of the connection in use and what was last told, in ``HeadFeed``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
import traceback
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Final

import aiohttp
from yarl import URL

from rpcproxy.edges.http.target import Target, read_origin, request_head
from rpcproxy.edges.http.tls import default_context, prepare
from rpcproxy.edges.http.tunnel import connector, errors_of, read_way
from rpcproxy.edges.ws.dialogue import (
    Dialogue,
    Ending,
    FeedSettings,
    LivenessCheck,
    Pulse,
    again,
)
from rpcproxy.edges.ws.pace import Meter, Paced, metered
from rpcproxy.messages import Head

__all__ = ["FeedSettings", "HeadFeed"]

_log = logging.getLogger("rpcproxy.newheads")

# Headers take 1 to 20 kB; this is far above them.
MAX_MESSAGE_BYTES: Final = 1024 * 1024
_JITTER: Final = 0.2
_MOST_DOUBLINGS: Final = 16

_SCHEMES: Final = {"ws": "http", "wss": "https"}
# Of a request's head, these describe a body that an upgrade does not have.
_NOT_FOR_UPGRADES: Final = frozenset(("content-type", "content-length", "accept"))
_ENDS: Final = frozenset(
    (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED)
)


# How the words of a flood begin, by which others know it.
FLOOD_WORDS: Final = "it pushed more than is taken:"


class HeadFeed:
    """Hands on each block that one upstream announces, in the order and form it came.

    ``on_head(head, text)`` gets the head and the JSON text of its header, ``on_state(is_live,
    reason)`` a word at each change: subscribed, lost, and off for a longer time. Neither is
    called after ``close``; what they raise is logged. ``headers`` are sent with the upgrade,
    basic authentication of the URL becomes one of them. Redirects are not followed. The
    environment's proxies are not used, but for what the settings name.

    Raises ``ValueError``, without the URL or a header's value, for what cannot be sent.
    """

    def __init__(
        self,
        name: str,
        url: str,
        headers: Mapping[str, str],
        settings: FeedSettings,
        on_head: Callable[[Head, bytes], None],
        on_state: Callable[[bool, str], None],
    ) -> None:
        self.name = name
        self._now = settings.now
        self.last_head_at = float("-inf")  # monotonic
        self._url, self._headers = _upgrade_request(name, url, headers)
        self._settings = settings
        self._words = settings.announcements
        self._way = read_way(settings.proxy)
        self._proxy_errors = errors_of(self._way)
        self._on_head = on_head
        self._on_state = on_state
        self._rng = random.Random()
        self._context: ssl.SSLContext | None = None
        self._task: asyncio.Task[None] | None = None
        self._pulse: Pulse | None = None
        self._told = ""
        self._floods = 0
        self.set_block_time(settings.block_time_seconds)

    def set_block_time(self, seconds: float) -> None:
        """How far apart blocks are, as learned; counts from the next message on."""
        self._block_time_seconds = seconds
        self._silence_seconds = max(3 * seconds, self._settings.least_silence_seconds)

    @property
    def is_live(self) -> bool:
        """Subscribed, and something came within the silence limit."""
        pulse = self._pulse
        return pulse is not None and self._now() - pulse.heard_at <= self._silence_seconds

    def start(self) -> None:
        """Connect, from the running loop; no effect where it runs already."""
        if self._task is None:
            loop = asyncio.get_running_loop()
            self._task = loop.create_task(self._run(), name=f"head feed {self.name}")

    async def close(self) -> None:
        """End it, with every resource closed; idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))

    async def _run(self) -> None:
        doublings = 0
        while True:
            began = self._now()
            try:
                ending = await self._follow()
            except Exception as error:  # noqa: BLE001 - logged; a feed that stops is worse
                self._log_fault(error)
                ending = Ending("a fault of the proxy's own, see the log")
            settings = self._settings
            if self.last_head_at - began >= settings.steady_seconds:
                doublings = 0
            if ending.pause_seconds is None:
                self._tell("lost", ending.reason)
                ceiling = settings.first_pause_seconds * 2**doublings
                pause = self._rng.uniform(0, min(settings.longest_pause_seconds, ceiling))
                doublings = min(doublings + 1, _MOST_DOUBLINGS)
            else:
                self._tell("off", ending.reason)
                pause = ending.pause_seconds * (1 + _JITTER * self._rng.random())
            if not ending.is_flood and self._now() - began >= settings.longest_flood_seconds:
                self._floods = 0
            await asyncio.sleep(pause)

    async def _follow(self) -> Ending:
        """One connection, from its upgrade to its end."""
        settings = self._settings
        timeouts = aiohttp.ClientTimeout(total=None, sock_connect=None)
        no_redirects = aiohttp.TraceConfig()
        no_redirects.on_request_redirect.append(_refuse_redirect)
        meter = Meter(settings.burst_bytes, settings.longest_hold_seconds)
        wires = connector(self._way, ssl=self._tls(), use_dns_cache=False)
        async with aiohttp.ClientSession(
            connector=metered(wires, meter),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=timeouts,
            trace_configs=[no_redirects],
        ) as session:
            try:
                async with asyncio.timeout(settings.upgrade_seconds):
                    socket = await session.ws_connect(
                        self._url,
                        headers=self._headers,
                        autoping=False,
                        max_msg_size=MAX_MESSAGE_BYTES,
                        timeout=aiohttp.ClientWSTimeout(ws_close=settings.goodbye_seconds),
                    )
            except aiohttp.WSServerHandshakeError as error:
                return self._refused(error.status, error.headers)
            except TimeoutError:
                return Ending(f"no upgrade in {settings.upgrade_seconds:g} s")
            except self._proxy_errors.refused:
                return Ending("refused by the outbound proxy")
            except self._proxy_errors.unreachable:
                return Ending("the outbound proxy cannot be reached")
            except (aiohttp.ClientError, OSError) as error:
                return Ending(_in_words(error))
            try:
                ending = await self._listen(socket)
            except (aiohttp.ClientError, OSError):
                ending = Ending("connection lost")
            finally:
                self._pulse = None
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(settings.goodbye_seconds):
                        await socket.close()
            return self._flooded("bytes") if meter.is_flooded else ending

    def _flooded(self, what: str) -> Ending:
        settings = self._settings
        longest = settings.flood_seconds * 2.0 ** min(self._floods, _MOST_DOUBLINGS)
        self._floods += 1
        pause = min(longest, settings.longest_flood_seconds)
        return Ending(f"{FLOOD_WORDS} {what}; {again(pause)}", pause, is_flood=True)

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            given = self._settings.ssl_context
            self._context = default_context() if given is None else prepare(given)
        return self._context

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse) -> Ending:
        dialogue = Dialogue(self._settings)
        paced = Paced(socket, self._block_time_seconds, self._now)
        answer_due = self._now() + self._settings.answer_seconds
        others = 0
        await socket.send_str(dialogue.subscribing)
        while True:
            now = self._now()
            if self._pulse is None:
                step: LivenessCheck | Ending | float = answer_due - now
                if now >= answer_due:
                    return Ending(f"no answer to {self._words.method} in {self._answer_words}")
            else:
                step = self._pulse.step(now, self._silence_seconds)
            if isinstance(step, Ending):
                return step
            if isinstance(step, LivenessCheck):
                is_ping = step is LivenessCheck.PING
                await (socket.ping() if is_ping else socket.send_str(dialogue.keepalive))
                continue
            message = await paced.receive(step)
            if paced.is_beyond_reason:
                return self._flooded("messages")
            if message is None:
                continue
            heads = await self._read(socket, dialogue, message)
            if isinstance(heads, Ending):
                return heads
            others = 0 if heads else others + 1
            if others > self._settings.most_other_messages:
                return Ending("too many messages that are no blocks")

    @property
    def _answer_words(self) -> str:
        return f"{self._settings.answer_seconds:g} s"

    async def _read(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        dialogue: Dialogue,
        message: aiohttp.WSMessage,
    ) -> int | Ending:
        """Take one message; returns how many blocks it brought."""
        kind = message.type
        if kind in _ENDS:
            code = message.data if kind is aiohttp.WSMsgType.CLOSE else None
            return Ending(_close_words(code))
        if kind is aiohttp.WSMsgType.ERROR:
            is_too_big = socket.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
            return Ending("a message over 1 MiB" if is_too_big else "a broken frame")
        now = self._now()
        if self._pulse is not None:
            self._pulse.on_heard(now, is_pong=kind is aiohttp.WSMsgType.PONG)
        if kind is aiohttp.WSMsgType.PING:
            await socket.pong(message.data)
            return 0
        text = _text_of(message)
        return 0 if text is None else self._take(dialogue, text, now)

    def _take(self, dialogue: Dialogue, text: bytes, now: float) -> int | Ending:
        was_subscribed = dialogue.is_subscribed
        heads = dialogue.read(text)
        if dialogue.ending is not None:
            return dialogue.ending
        if dialogue.is_subscribed and not was_subscribed:
            self._pulse = Pulse(self._settings, now)
            self._tell("live", f"subscribed to {self._words.title}")
        for head, header in heads:
            if self._pulse is not None:
                self._pulse.on_head(now)
            self.last_head_at = now
            try:
                self._on_head(head, header)
            except Exception:  # noqa: BLE001 - logged; one block not taken ends no feed
                _log.exception("a block of %s was not taken; its feed goes on", self.name)
        return len(heads)

    def _refused(self, status: int, headers: Mapping[str, str] | None) -> Ending:
        """What an HTTP answer in place of the upgrade means."""
        settings = self._settings
        if status == 101 or status >= 500:
            return Ending(f"no upgrade (HTTP {status})")
        if status == 429:
            wish = (headers or {}).get("Retry-After", "")
            asked = float(wish) if wish.isascii() and wish.isdigit() else 0.0
            pause = min(max(settings.limited_seconds, asked), settings.off_seconds)
            return Ending(f"rate limited (HTTP 429); {again(pause)}", pause)
        pause = settings.refused_seconds
        return Ending(f"refused the upgrade (HTTP {status}); {again(pause)}", pause)

    def _tell(self, state: str, reason: str) -> None:
        if state == self._told:
            return
        self._told = state
        try:
            self._on_state(state == "live", reason)
        except Exception:  # noqa: BLE001 - logged; an unheard word ends no feed
            _log.exception("a change of the feed of %s was not taken; it goes on", self.name)

    def _log_fault(self, error: Exception) -> None:
        # Not the error's text, and not its causes: they may hold the URL.
        where = "".join(traceback.format_tb(error.__traceback__)[-3:])
        _log.error("the head feed of %s failed: %s\n%s", self.name, type(error).__name__, where)


def _upgrade_request(name: str, url: str, headers: Mapping[str, str]) -> tuple[URL, dict[str, str]]:
    """The address and the headers of an upgrade, by the rules that requests over HTTP have."""
    scheme, _, rest = url.partition("://")
    http = _SCHEMES.get(scheme.lower())
    if http is None:
        raise ValueError(f"upstream {name}: ws_url must begin with ws:// or wss://")
    target = Target(name, f"{http}://{rest}", headers)
    first, *lines = request_head(target, gzip=False).decode("latin-1").split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    sent = {key: value for key, _, value in pairs if key.lower() not in _NOT_FOR_UPGRADES}
    path = first.split(" ")[1]
    return URL(f"{scheme.lower()}://{read_origin(target).label}{path}", encoded=True), sent


async def _refuse_redirect(
    _: aiohttp.ClientSession,
    __: SimpleNamespace,
    params: aiohttp.TraceRequestRedirectParams,
) -> None:
    """A redirect would carry the headers, keys among them, to wherever it points."""
    response = params.response
    response.close()
    raise aiohttp.WSServerHandshakeError(
        response.request_info, (), status=response.status, headers=response.headers
    )


def _text_of(message: aiohttp.WSMessage) -> bytes | None:
    """The text of a message; some gateways send it in binary frames."""
    if message.type is aiohttp.WSMsgType.TEXT:
        return str(message.data).encode()
    if message.type is not aiohttp.WSMsgType.BINARY:
        return None
    data = bytes(message.data)
    try:
        data.decode()
    except UnicodeDecodeError:
        return None
    return data


def _close_words(code: int | None) -> str:
    """``None``: without a close frame, 0: with one that gives no code."""
    if code is None:
        return "connection lost"
    return f"closed by the upstream (code {code})" if code else "closed by the upstream"


def _in_words(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
        detail = getattr(cause, "verify_message", "")
        return f"certificate not accepted: {detail}" if detail else "certificate not accepted"
    if isinstance(error, aiohttp.ClientSSLError):
        return "TLS handshake failed"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name does not resolve"
    if isinstance(error, aiohttp.ClientConnectorError):
        is_refused = isinstance(error.os_error, ConnectionRefusedError)
        return "connection refused" if is_refused else "cannot connect"
    if isinstance(error, aiohttp.ClientResponseError):
        return "answered the upgrade with no HTTP"
    return "closed before the upgrade"
