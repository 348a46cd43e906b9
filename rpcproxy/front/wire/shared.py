"""What the connections of one listener share.

State: ``Shared`` belongs to its ``Listener``. Connections enter and leave its sets and add to
its counters; the listener's sweep alone moves ``now``.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterator
from itertools import count
from typing import Final, Protocol

import msgspec

from rpcproxy.config.model import Address, Limits, Server, Tls
from rpcproxy.front.protocol.page import Page, PageRequest
from rpcproxy.front.protocol.request_heads import RequestHeadMemory
from rpcproxy.messages import Answer, Handled
from rpcproxy.rules.answers.holding import Holdings, Purse

log: Final = logging.getLogger("rpcproxy.front")


class Door(Protocol):
    """One chain, as requests see it. Never raises, and neither does what it returns."""

    def handle(
        self, body: bytes, trace_id: str, *, is_fresh: bool = False, purse: Purse | None = None
    ) -> Handled:
        """Answer one HTTP body: at once, or by a coroutine that is cancelled on hang-up.
        ``is_fresh``: with nothing that was kept. ``purse``, for a batch: what its connection holds.
        """


class Doors(Protocol):
    """The chains by path, as ``/``, ``/ethereum``, ``/1``; a reload may change them."""

    def get(self, path: str) -> Door | None: ...


Pages = Callable[[PageRequest], Page]
"""Whatever is asked for by another method than POST."""


class FrontSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How one listener behaves.

    ``stall_seconds`` is how long a client may take nothing of an answer that waits for it;
    ``linger_seconds`` how long one that was told goodbye may go on sending;
    ``most_turned_away`` how many over the limit wait to be told so in words at once;
    ``half_close_seconds`` how long a request outlives its client's end of sending. An upload
    gets longer than ``limits.body_seconds`` as long as it keeps up ``least_bytes_per_second``.
    ``most_discarded_bytes`` may come after a goodbye, so that the client gets to reading it.
    """

    address: Address
    limits: Limits = Limits()
    gzip: bool = True
    tls: Tls | None = None
    can_share_port: bool = False
    stall_seconds: float = 60.0
    linger_seconds: float = 2.0
    half_close_seconds: float = 5.0
    most_turned_away: int = 1000
    least_bytes_per_second: int = 16 * 1024
    most_discarded_bytes: int = 64 * 1024 * 1024

    @classmethod
    def of_server(
        cls, server: Server, *, can_share_port: bool = False, file_room: int | None = None
    ) -> FrontSettings:
        """``file_room``: for how many connections of clients this process has files, where that
        is known. Those that are turned away in words count among them.
        """
        limits, most_turned_away = server.limits, 1000
        if file_room is not None and file_room < limits.connections + most_turned_away:
            most_turned_away = min(most_turned_away, file_room // 5)
            room = max(1, file_room - most_turned_away)
            limits = limits.model_copy(update={"connections": min(limits.connections, room)})
        return cls(
            address=server.listen,
            limits=limits,
            most_turned_away=most_turned_away,
            gzip=server.gzip,
            tls=server.tls,
            can_share_port=can_share_port,
        )


class FrontCounters:
    """Plain additions, read by metrics. Bytes are those of bodies."""

    __slots__ = (
        "accepted_connections",
        "answers_by_status",
        "crowded_out",
        "hung_up",
        "received_bytes",
        "refused_connections",
        "sent_bytes",
        "stalled_clients",
        "timed_out",
    )

    def __init__(self) -> None:
        # 200 is there from the start: the hot path adds to it without looking.
        self.answers_by_status: dict[int, int] = {200: 0}
        self.accepted_connections = 0
        self.refused_connections = 0  # over limits.connections
        self.crowded_out = 0  # would have held more than there is room for
        self.hung_up = 0  # clients that left before their answer
        self.timed_out = 0  # slow heads and bodies
        self.stalled_clients = 0  # took nothing of their answer for too long
        self.received_bytes = 0
        self.sent_bytes = 0


_ENDINGS: Final = tuple(f"{number:03x}" for number in range(0x1000))


def trace_ids() -> Callable[[], str]:
    """A source of ids of 16 hex digits: 8 drawn at random here, then a count."""
    return _trace_ids(secrets.token_hex(4), secrets.randbits(16)).__next__


def _trace_ids(prefix: str, start: int) -> Iterator[str]:
    # Formatting once per 4096 ids makes one a third as dear, and every request needs one.
    for number in count(start):
        beginning = f"{prefix}{number & 0xFFFFF:05x}"
        for ending in _ENDINGS:
            yield beginning + ending


class Connected(Protocol):
    """What the sweep and the drain want of a connection."""

    since: float
    """When what it is doing began, by ``Shared.now``."""

    @property
    def is_answering(self) -> bool:
        """Whether a request of it is being answered, or it is over: no other is read meanwhile."""

    def check(self, now: float) -> None:
        """Close it, in words where there is someone to tell, if it is out of time."""

    def excuse(self, seconds: float) -> None:
        """So long the proxy itself did nothing: that is no time of the client's."""

    def retire(self) -> None:
        """Close it if nothing is in flight on it."""

    def forget(self) -> None:
        """Read the next request head anew: limits have changed."""

    def abort(self) -> None:
        """Close it now."""


class Outbox:
    """The short answers of one turn of the loop, written together at its end.

    Each write to a peer that sleeps pays for waking it; of a burst only the first does. The loop
    does not go to sleep in between, so no latency is added. Whoever writes to a connection in
    another way, or closes it, calls ``flush`` first.
    """

    __slots__ = ("_loop", "_waiting")

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: list[tuple[asyncio.Transport, bytes]] = []

    def put(self, transport: asyncio.Transport, data: bytes) -> None:
        waiting = self._waiting
        if not waiting:
            loop = self._loop
            if loop is None:
                loop = self._loop = asyncio.get_running_loop()
            loop.call_soon(self.flush)
        waiting.append((transport, data))

    def flush(self) -> None:
        """Write what waits, in order."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for transport, data in waiting:
                # uvloop raises for a client that left meanwhile; the others get theirs.
                if not transport.is_closing():
                    transport.write(data)


def _unheard(_trace_id: str, _answer: Answer) -> None:
    """Nobody wants to know."""


class Shared:
    """See the module. ``watched`` are those connections whose time is short: reading, lingering,
    stalled.
    """

    def __init__(
        self, doors: Doors, settings: FrontSettings, pages: Pages, holdings: Holdings
    ) -> None:
        self.doors = doors
        self.pages = pages
        self.holdings = holdings
        self.settings = settings
        self.heads = RequestHeadMemory()
        self.counters = FrontCounters()
        self.outbox = Outbox()
        self.new_trace_id = trace_ids()
        self.now = 0.0  # seconds of the loop's clock, coarse
        self.is_draining = False
        self.connections: set[Connected] = set()
        self.watched: set[Connected] = set()
        self.turned_away = 0  # connections over the limit that are being told so
        self.on_empty: Callable[[], None] | None = None
        # Told of each answer of the front's own to what came, by its trace id.
        self.on_refusal: Callable[[str, Answer], None] = _unheard

    @property
    def open_connections(self) -> int:
        return len(self.connections)

    def leave(self, connection: Connected) -> None:
        """``connection`` is closed."""
        self.connections.discard(connection)
        self.watched.discard(connection)
        self.tell_if_empty()

    def tell_if_empty(self) -> None:
        if self.on_empty is not None and not self.connections:
            self.on_empty()
