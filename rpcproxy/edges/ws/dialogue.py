"""What is said over a subscription to new blocks, without IO.

``Dialogue`` reads the messages of one connection, ``Pulse`` decides whether it still lives.
Whatever ends a connection is an ``Ending``; its words are ours, never the upstream's, which may
repeat the key that it was sent.
"""

from __future__ import annotations

import enum
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from rpcproxy.chains.kind import Announcements
from rpcproxy.clock import SYSTEM_CLOCK
from rpcproxy.edges.ws.pace import BURST_BYTES, FLOOD_SECONDS
from rpcproxy.messages import Head, Verdict, encode_call

# A notification may overtake the reply that names its subscription.
_EARLY_HELD: Final = 16
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_SUBSCRIBE_ID: Final = 1
_KEEPALIVE_ID: Final = 2


@dataclass(frozen=True)
class FeedSettings:
    """What a feed subscribes to, and how it waits.

    A feed that says nothing for three block times, at least ``least_silence_seconds``, is asked
    whether it lives and has ``answer_seconds`` for it; one without a block for twice that long
    is dropped. Every ``keepalive_seconds`` it is asked anyway. ``ssl_context`` is made fit in
    place; ``None`` takes the system's authorities.

    Pauses before the next connection: drawn from 0 to ``first_pause_seconds``, doubled each time
    up to ``longest_pause_seconds``, anew after ``steady_seconds`` with blocks;
    ``flood_seconds`` where it pushed more than is taken, doubled each time up to
    ``longest_flood_seconds``; ``limited_seconds`` where the rate is limited, ``refused_seconds``
    where the upgrade is refused, ``off_seconds`` where there is no such subscription. A connection
    is closed in ``goodbye_seconds``, the close frame being a courtesy.

    ``most_other_messages`` without a block, between two blocks: a socket that says more is of no
    use. ``burst_bytes`` come at once at most, the longest message that is taken and half of
    another; bytes held back for ``longest_hold_seconds`` without a break are a flood. ``proxy`` is
    the URL of an outbound one, empty or ``direct`` for none. ``now`` tells monotonic seconds.
    """

    block_time_seconds: float
    announcements: Announcements
    ssl_context: ssl.SSLContext | None = None
    least_silence_seconds: float = 10.0
    answer_seconds: float = 10.0
    keepalive_seconds: float = 30.0
    upgrade_seconds: float = 10.0
    steady_seconds: float = 30.0
    first_pause_seconds: float = 0.5
    longest_pause_seconds: float = 30.0
    limited_seconds: float = 60.0
    flood_seconds: float = 60.0
    longest_flood_seconds: float = 3600.0
    refused_seconds: float = 300.0
    off_seconds: float = 600.0
    goodbye_seconds: float = 0.5
    most_other_messages: int = 1000
    burst_bytes: int = BURST_BYTES
    longest_hold_seconds: float = FLOOD_SECONDS
    proxy: str = field(default="", repr=False)
    now: Callable[[], float] = SYSTEM_CLOCK.monotonic


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a connection is over, in words free of secrets. ``pause_seconds`` is set where trying
    again soon is pointless; ``is_flood``: more came than anybody has use for.
    """

    reason: str
    pause_seconds: float | None = None
    is_flood: bool = False


class LivenessCheck(enum.Enum):
    """How a silent upstream is asked whether it lives."""

    PING = "ping"
    CALL = "call"


# --------------------------------------------------------------------------
# What a connection says


class _Message(msgspec.Struct, gc=False):
    id: object = None
    method: str | None = None
    params: msgspec.Raw = msgspec.Raw()
    result: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class _Notice(msgspec.Struct, gc=False):
    subscription: str | int
    result: msgspec.Raw


class _Error(msgspec.Struct, gc=False):
    code: object = None
    message: object = None


_message_decoder = msgspec.json.Decoder(_Message)
_notice_decoder = msgspec.json.Decoder(_Notice)
_error_decoder = msgspec.json.Decoder(_Error)
_id_decoder = msgspec.json.Decoder(str | int)


class Dialogue:
    """Reads the messages of one connection; it never raises, whatever they are.

    ``is_subscribed`` turns true with the reply, ``ending`` is set where the reply is no.
    """

    def __init__(self, settings: FeedSettings) -> None:
        self._settings = settings
        self._words = settings.announcements
        self._subscription: str | int | None = None
        self._early: deque[tuple[str | int, bytes]] = deque(maxlen=_EARLY_HELD)
        self.ending: Ending | None = None

    @property
    def subscribing(self) -> str:
        """The message that subscribes: the first one to be sent."""
        return encode_call(_SUBSCRIBE_ID, self._words.method, self._words.params).decode()

    @property
    def keepalive(self) -> str:
        """A message that whoever lives answers."""
        return encode_call(_KEEPALIVE_ID, *self._words.life).decode()

    @property
    def is_subscribed(self) -> bool:
        return self._subscription is not None

    def read(self, text: bytes) -> list[tuple[Head, bytes]]:
        """The blocks that a message tells, usually one, with the JSON texts of their headers."""
        try:
            message = _message_decoder.decode(text)
            if message.method == self._words.notice:
                return self._on_notice(_notice_decoder.decode(message.params))
        except _UNREADABLE:
            return []
        # Some gateways make strings of ids, and an error before all else may have none.
        is_ours = str(message.id) == str(_SUBSCRIBE_ID) or (message.id is None and message.error)
        return self._on_reply(message) if is_ours and message.method is None else []

    def _on_notice(self, notice: _Notice) -> list[tuple[Head, bytes]]:
        header = bytes(notice.result)
        if self._subscription is None:
            self._early.append((notice.subscription, header))
            return []
        return self._heads([header]) if notice.subscription == self._subscription else []

    def _on_reply(self, message: _Message) -> list[tuple[Head, bytes]]:
        if self._subscription is not None:
            return []
        if message.error and bytes(message.error) != b"null":
            self.ending = self._refusal(message.error)
            return []
        try:
            self._subscription = _id_decoder.decode(message.result)
        except _UNREADABLE:
            self.ending = Ending(f"answered {self._words.method} with no subscription")
            return []
        early = [header for name, header in self._early if name == self._subscription]
        self._early.clear()
        return self._heads(early)

    def _refusal(self, raw: msgspec.Raw) -> Ending:
        """The upstream's words decide, and are not passed on: they may repeat its key."""
        try:
            error = _error_decoder.decode(raw)
        except _UNREADABLE:
            error = _Error()
        code = error.code if type(error.code) is int else None
        words = error.message.lower() if isinstance(error.message, str) else ""
        verdict = self._words.refusal(code, words)
        method = self._words.method
        shown = "an error" if code is None else f"error {code}"
        if verdict is Verdict.RATE_LIMITED:
            pause = self._settings.limited_seconds
            return Ending(f"rate limited: {method} got {shown}; {again(pause)}", pause)
        if verdict in (Verdict.SERVER_ERROR, Verdict.UNKNOWN):
            return Ending(f"{method} got {shown}")
        pause = self._settings.off_seconds
        return Ending(f"no {self._words.title} subscription here ({shown}); {again(pause)}", pause)

    def _heads(self, headers: list[bytes]) -> list[tuple[Head, bytes]]:
        found = ((self._words.read(header), header) for header in headers)
        return [(head, header) for head, header in found if head is not None]


def again(pause_seconds: float) -> str:
    return f"tried again in {pause_seconds / 60:.3g} min, blocks are polled meanwhile"


# --------------------------------------------------------------------------
# Whether a connection lives


class Pulse:
    """Decides when a subscribed connection is asked, and when it is given up.

    Times are seconds of a monotonic clock. It begins with a question, so that it is known early
    whether the upstream answers pings: some gateways drop them, and are asked with a call.
    """

    def __init__(self, settings: FeedSettings, now: float) -> None:
        self._answer_seconds = settings.answer_seconds
        self._keepalive_seconds = settings.keepalive_seconds
        self._way = LivenessCheck.PING
        self._has_ponged = False
        self._asked_at = float("-inf")
        self._is_waiting = False
        self.heard_at = now
        self.head_at = now

    def on_heard(self, now: float, *, is_pong: bool = False) -> None:
        self.heard_at = now
        if is_pong:
            self._has_ponged = True
            self._way = LivenessCheck.PING

    def on_head(self, now: float) -> None:
        self.heard_at = self.head_at = now

    def step(self, now: float, silence_seconds: float) -> LivenessCheck | Ending | float:
        """A question to be sent now, the end, or for how many seconds there is nothing to do."""
        if now - self.head_at >= 2 * silence_seconds:
            return Ending(f"no block for {2 * silence_seconds:.3g} s")
        if self._is_waiting and now - self._asked_at >= self._answer_seconds:
            is_silent = self.heard_at <= self._asked_at
            if is_silent and (self._way is LivenessCheck.CALL or self._has_ponged):
                return Ending(f"no sign of life for {now - self.heard_at:.3g} s")
            if not self._has_ponged:
                self._way = LivenessCheck.CALL
            self._is_waiting = False
            if is_silent:
                return self._ask(now)
        due = self.head_at + 2 * silence_seconds
        if self._is_waiting:
            return min(due, self._asked_at + self._answer_seconds) - now
        ask_at = min(self.heard_at + silence_seconds, self._asked_at + self._keepalive_seconds)
        return self._ask(now) if now >= ask_at else min(due, ask_at) - now

    def _ask(self, now: float) -> LivenessCheck:
        self._asked_at = now
        self._is_waiting = True
        return self._way
