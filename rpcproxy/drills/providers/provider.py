"""A simulated provider: a server for the simulated chain, with a fault switch.

A request is counted when it has arrived, its fault is chosen then, and it is performed after
the provider's latency; so a transaction is out even if the answer is then cut off. What
stands on a page or in garbage was not performed.

State: connections, counts and the fault in force, in ``Provider``; the running chain in
``Ticker``. All of it belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from rpcproxy.drills.evm import simrpc
from rpcproxy.drills.evm.simchain import PAYEE, SimChain
from rpcproxy.drills.evm.simview import SimView
from rpcproxy.drills.providers import provider_answers
from rpcproxy.drills.providers.simws import Subscriber
from rpcproxy.drills.providers.wire import LINGER_ZERO, Incoming, ServerConnection
from rpcproxy.drills.scenarios.fault import Fault
from rpcproxy.drills.scenarios.faults import WELL
from rpcproxy.engine import tasks
from rpcproxy.messages import Request

# What a proxy asks to know an upstream; it answers these to its clients by itself.
_PROBES: Final = frozenset(
    ("eth_chainId", "net_version", "net_listening", "eth_blockNumber", "web3_clientVersion")
)
_BACKLOG = 1024
_MOST_SENT: Final = 1000
_PAYEE = PAYEE.encode()
_TLS_SECONDS = 10.0


class Counts(msgspec.Struct):
    """What arrived. ``calls`` are JSON-RPC calls by method, batch members one by one;
    ``probe_calls`` those among them that a proxy makes to know its upstream: the head, the
    chain id, blocks by tag, and the balance of whom a block pays. ``sent``: how often each raw
    transaction came, by hash; the first thousand of them.
    """

    requests: int = 0
    connections: int = 0
    open_connections: int = 0
    calls: dict[str, int] = {}
    probe_calls: dict[str, int] = {}
    sent: dict[str, int] = {}

    @property
    def forwarded(self) -> int:
        """Calls that are no probes."""
        return sum(self.calls.values()) - sum(self.probe_calls.values())


class Provider:
    """One provider on 127.0.0.1. ``port`` 0 takes any free one and keeps it.

    ``lag_blocks`` may be changed at any time; ``latency_seconds`` (± a fifth) too.
    """

    def __init__(
        self,
        chain: SimChain,
        name: str,
        *,
        latency_seconds: float = 0.02,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.chain = chain
        self.name = name
        self.latency_seconds = latency_seconds
        self.lag_blocks = 0
        self.port = port
        self.counts = Counts()
        self.fault = WELL
        self._tls = tls
        self._rng = random.Random(name)
        self._active = WELL
        self._connections: set[ServerConnection] = set()
        self._subscribers: set[Subscriber] = set()
        self._arrivals: dict[asyncio.Task[None], socket.socket] = {}
        self._reservation: socket.socket | None = None
        self._listener: socket.socket | None = None
        self._flap: asyncio.TimerHandle | None = None
        self._head_then = 0  # the chain's, when the fault in force began
        self._turns: Iterator[Fault] = itertools.repeat(WELL)
        self._tally = 0.0
        self._bucket = _Bucket()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, in the running loop. Raises ``OSError`` where the port is taken."""
        self._loop = asyncio.get_running_loop()
        if self.port:
            # SO_REUSEPORT below would share the port with another listener in silence.
            with socket.socket() as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                trial.bind(("127.0.0.1", self.port))
        # Bound, never listening: connections are refused while the listener is closed, and
        # nobody else takes the port meanwhile.
        self._reservation = self._bound()
        self.port = self._reservation.getsockname()[1]
        self._open()

    def stop(self) -> None:
        """Close everything; idempotent."""
        self._shut()
        if self._flap is not None:
            self._flap.cancel()
        if self._reservation is not None:
            self._reservation.close()

    def set_fault(self, fault: Fault | None) -> None:
        """Be as ``fault`` says from now on; ``None`` is well."""
        self.fault = fault or WELL
        if self._flap is not None:
            self._flap.cancel()
            self._flap = None
        sometimes = self.fault.sometimes
        self._tally, self._bucket = 0.0, _Bucket()
        if sometimes is not None:
            self._turns = itertools.cycle(sometimes.faults)
        if sometimes is not None and sometimes.period_seconds:
            self._flip(next(self._turns), sometimes.period_seconds)
        else:
            self._apply(self.fault)

    def view(self, fault: Fault | None = None) -> SimView:
        """The chain as this provider sees it now, under ``fault`` where it chose one."""
        fault = fault or self._active
        chain = self.chain
        newest = (
            chain.head_at(time.time() - fault.news_seconds) if fault.news_seconds else chain.head
        )
        behind = self.lag_blocks + fault.lag_blocks
        head = max(0, (self._head_then if fault.is_head_frozen else newest) - behind)
        fork_at, fork = None, "fork"
        if fault.fork_depth is not None:
            fork_at = self._head_then - fault.fork_depth
        elif fault.invented_blocks:
            fork_at, fork = head + 1, self.name
        return SimView(
            chain,
            head + fault.invented_blocks,
            chain.chain_id + fault.is_on_wrong_chain,
            fork_at,
            fork,
            is_linked=not fault.is_unlinked,
            state_head=max(0, self._head_then - behind) if fault.frozen_state else None,
            has_old_state=fault.frozen_state == "lie",
            seconds_ahead=fault.seconds_ahead,
            pending_block=fault.pending_block,
            forgets_sends=fault.forgets_sends,
        )

    # --- faults

    def _flip(self, fault: Fault, period_seconds: float) -> None:
        other = next(self._turns) if fault is WELL else WELL
        self._apply(fault)
        self._flap = self._loop.call_later(period_seconds, self._flip, other, period_seconds)

    def _apply(self, fault: Fault) -> None:
        was, self._active = self._active, fault
        self._head_then = self.chain.head
        if not fault.is_listening:
            self._shut()
        elif self._listener is None:
            self._open()
        if fault.is_frozen and not was.is_frozen:
            if self._listener is not None:
                self._loop.remove_reader(self._listener)
            for connection in self._connections:
                connection.freeze()
        elif was.is_frozen and not fault.is_frozen:
            if self._listener is not None:
                self._loop.add_reader(self._listener, self._accept)
            for connection in list(self._connections):
                connection.thaw()
        for connection in self._connections:
            self._mark(connection)
            if connection.is_idle:
                self.on_idle(connection)

    def _mark(self, connection: ServerConnection) -> None:
        """Choose an exact share of the connections: there are few of them."""
        sometimes = self._active.sometimes
        connection.is_marked = False
        if sometimes is not None and sometimes.share_of == "connections":
            self._tally += sometimes.share
            connection.is_marked = self._tally >= 1
            self._tally -= connection.is_marked

    def _fault_for(self, connection: ServerConnection) -> Fault:
        sometimes = self._active.sometimes
        if sometimes is None:
            return self._active
        if sometimes.above_per_second:
            is_hit = not self._bucket.take(sometimes.above_per_second, self._loop.time())
        elif sometimes.share_of == "connections":
            is_hit = connection.is_marked
        else:
            is_hit = self._rng.random() < sometimes.share
        return next(self._turns) if is_hit else WELL

    # --- the socket

    def _bound(self) -> socket.socket:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", self.port))
        return sock

    def _open(self) -> None:
        self._listener = self._bound()
        self._listener.setblocking(False)
        self._listener.listen(_BACKLOG)
        self._loop.add_reader(self._listener, self._accept)

    def _shut(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        for sock in self._arrivals.values():
            # A handshake fails by it, and the connection is reset once it is there. Cancelled, the
            # task could leave a connection that was made already without its end: uvloop closes
            # the transport and tells the protocol nothing.
            with contextlib.suppress(OSError):  # the client left
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
                sock.shutdown(socket.SHUT_RD)
        for connection in list(self._connections):
            connection.reset()
        for subscriber in list(self._subscribers):
            subscriber.close()

    def _accept(self) -> None:
        while self._listener is not None:
            try:
                sock, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            arrival = tasks.start(self._adopt(sock), f"arrival at {self.name}")
            self._arrivals[arrival] = sock
            arrival.add_done_callback(self._on_arrived)

    async def _adopt(self, sock: socket.socket) -> None:
        limit = _TLS_SECONDS if self._tls else None
        try:
            await self._loop.connect_accepted_socket(
                lambda: ServerConnection(self), sock, ssl=self._tls, ssl_handshake_timeout=limit
            )
        except OSError:  # the client left, or does not trust the certificate
            sock.close()

    def _on_arrived(self, arrival: asyncio.Task[None]) -> None:
        sock = self._arrivals.pop(arrival)
        # Not in the task: one that is cancelled before its first step, with the loop, runs no line.
        if arrival.cancelled():
            sock.close()

    # --- Host

    def on_open(self, connection: ServerConnection) -> None:
        self.counts.connections += 1
        self._connections.add(connection)
        self.counts.open_connections = len(self._connections)
        self._mark(connection)
        if self._listener is None:
            connection.reset()
        elif self._active.is_frozen:
            connection.freeze()

    def on_closed(self, connection: ServerConnection) -> None:
        self._connections.discard(connection)
        self.counts.open_connections = len(self._connections)

    def on_idle(self, connection: ServerConnection) -> None:
        if self._active.idle_seconds is not None:
            connection.close_when_idle_for(self._active.idle_seconds)

    def on_request(self, connection: ServerConnection, incoming: Incoming) -> None:
        if incoming.key:
            subscriber = Subscriber(
                incoming.key, lambda: (self.view(), self._active), self._subscribers.discard
            )
            self._subscribers.add(subscriber)
            connection.hand_over(subscriber.take_over)
            return
        self.counts.requests += 1
        members = provider_answers.members_of(incoming.body)
        for member in members if isinstance(members, list) else [members]:
            if isinstance(member, Request):
                self._count(member)
        fault = self._fault_for(connection)
        if fault.is_silent:
            return
        later = provider_answers.delay_seconds(members, self.view(fault), fault)
        delay = self.latency_seconds * self._rng.uniform(0.8, 1.2) + later
        self._loop.call_later(delay, self._answer, connection, incoming, members, fault)

    def _count(self, request: Request) -> None:
        calls, probe_calls = self.counts.calls, self.counts.probe_calls
        calls[request.method] = calls.get(request.method, 0) + 1
        if request.method == "eth_sendRawTransaction":
            hash = simrpc.sent_hash(request.params)
            sent = self.counts.sent
            if hash in sent or len(sent) < _MOST_SENT:
                sent[hash] = sent.get(hash, 0) + 1
        by_tag = request.method == "eth_getBlockByNumber" and (
            b'"latest"' in request.params or b'"finalized"' in request.params
        )
        by_payee = request.method == "eth_getBalance" and _PAYEE in request.params
        if by_tag or by_payee or request.method in _PROBES:
            probe_calls[request.method] = probe_calls.get(request.method, 0) + 1

    def _answer(
        self,
        connection: ServerConnection,
        incoming: Incoming,
        members: provider_answers.Members,
        fault: Fault,
    ) -> None:
        if self._active.is_silent:
            return
        pieces, after = provider_answers.compose(incoming, members, self.view(fault), fault)
        connection.send(pieces, after, fault.seconds_per_byte)


class _Bucket:
    """One second's worth of requests, refilled evenly."""

    def __init__(self) -> None:
        self._tokens: float | None = None
        self._at = 0.0

    def take(self, per_second: float, now: float) -> bool:
        if self._tokens is None:
            self._tokens = per_second
        else:
            self._tokens = min(per_second, self._tokens + (now - self._at) * per_second)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Ticker:
    """Mines a block every ``chain.block_time_seconds``, without drift."""

    def __init__(self, chain: SimChain, clock: Callable[[], float] = time.time) -> None:
        self._chain = chain
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Mine from the running loop; no effect where it runs already."""
        if self._timer is None:
            self._wait(asyncio.get_running_loop().time() + self._chain.block_time_seconds)

    def stop(self) -> None:
        """Let the chain stand still; idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, due: float) -> None:
        self._timer = asyncio.get_running_loop().call_at(due, self._mine, due)

    def _mine(self, due: float) -> None:
        self._chain.mine(self._clock())
        self._wait(due + self._chain.block_time_seconds)
