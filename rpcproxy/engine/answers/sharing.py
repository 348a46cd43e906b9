"""One question, many askers: answers kept, and requests in flight that others join.

A *flight* is a request that is being asked, under its key; whoever asks the same meanwhile
follows it. A flight that fails does not fail its followers: the one with the most time left leads
another.

What no reorg can take any more is kept on disk as well, where there is one: it survives a restart.

State: the answers kept in memory, and the flights; written here alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from rpcproxy.chains.kind import Methods
from rpcproxy.chains.method import Keep
from rpcproxy.chains.parts.claims import Claims
from rpcproxy.clock import Clock
from rpcproxy.edges.disk.disk_cache import DiskCache
from rpcproxy.edges.metrics.metrics import ChainCounters
from rpcproxy.engine.answers.carried import FAILURE
from rpcproxy.engine.answers.shared_text import result_answer
from rpcproxy.engine.attempts.calls import SingleCall
from rpcproxy.messages import (
    INTERNAL_ERROR,
    Answer,
    Handled,
    Pending,
    Request,
    encode_error,
    encode_raw_error,
)
from rpcproxy.rules.answers.caching import AnswerCache
from rpcproxy.rules.heads.heads import Heads
from rpcproxy.states import RequestOutcome

_log = logging.getLogger("rpcproxy.requests")

# An empty answer may be one that is not there yet.
_EMPTY: Final = frozenset((b"[]", b"{}", b'""', b"null"))
LONGEST_EMPTY: Final = 4  # a large answer is not hashed to see that it is not empty
# What was given lately, for the very same words: a small part of what is kept.
MOST_LATELY: Final = 2048
LARGEST_LATELY_BYTES: Final = 4096


class Follower(Pending):
    """One request that waits for another's answer."""

    __slots__ = ("is_over", "request", "started", "trace_id")

    def __init__(self, request: Request, trace_id: str, started: float) -> None:
        self.request = request
        self.trace_id = trace_id
        self.started = started
        self.is_over = False

    def cancel(self) -> None:
        self.is_over = True

    def give(self, result: bytes | None, error: bytes | msgspec.Raw | None) -> bool:
        """The answer of the one that was followed, under this one's id. Never raises; returns
        whether it could be written.
        """
        id = self.request.id
        try:
            if result is not None:
                answer = result_answer(id, result)
            else:
                answer = Answer(encode_raw_error(id, error or b"null"))
        except Exception:  # noqa: BLE001 - logged; the others are answered, and so is this one
            _log.exception("request failed", extra={"trace_id": self.trace_id})
            told_id = id if isinstance(id, bytes) else b"null"  # it may be what cannot be written
            self.end(Answer(encode_error(told_id, INTERNAL_ERROR, FAILURE)))
            return False
        self.end(answer)
        return True

    def end(self, answer: Answer) -> None:
        """Deliver its answer. Never raises: those who wait for the same are told after it."""
        self.is_over = True
        try:
            self.deliver(answer)
        except Exception:  # noqa: BLE001 - logged; this connection alone is in trouble
            _log.exception("an answer was not delivered", extra={"trace_id": self.trace_id})
            if answer.rest is not None:
                answer.rest.close()


class Flight(Protocol):
    """A request that is being asked."""

    followers: list[Follower] | None
    is_landed: bool


class SlowFlight:
    """One that a plan carries out, or a batch."""

    __slots__ = ("followers", "is_landed")

    def __init__(self) -> None:
        self.followers: list[Follower] | None = None
        self.is_landed = False


class Sharing:
    """See the module's docstring. One per chain."""

    def __init__(
        self,
        max_bytes: int,
        heads: Heads,
        counters: ChainCounters,
        claims: Claims,
        methods: Methods,
        *,
        clock: Clock,
    ) -> None:
        self._max_bytes = max_bytes
        self.cache = AnswerCache(max_bytes)
        self.disk: DiskCache | None = None  # once it is open
        self.flights: dict[bytes, Flight] = {}
        # By method and params as clients spell them: given since the served head moved.
        self.lately: dict[bytes, bytes] = {}
        # Who asks again when a flight failed. Never raises.
        self.relaunch: Callable[[list[Follower]], None] = _nobody
        self._heads = heads
        self._counters = counters
        self._block_in = claims.block_in
        self._empty = _EMPTY | {claims.no_data}
        self._describe = methods.describe
        self._now = clock.monotonic

    def remember(self, spelling: bytes, call: SingleCall, result: bytes) -> None:
        """A kept answer was given: while the head stands it is given again without a second look.
        Not one at another block: what ``safe`` and ``finalized`` stand for may change before.
        """
        is_at_head = call.method.keep is not Keep.BLOCK or call.need.block == self._heads.served
        if is_at_head and len(spelling) + len(result) <= LARGEST_LATELY_BYTES:
            if len(self.lately) >= MOST_LATELY:
                self.lately.clear()
            self.lately[spelling] = result

    def keep(self, call: SingleCall, result: bytes, now: float) -> None:
        """Keep an answer for those who ask the same. Nothing empty, and nothing unmined. Never
        raises: what cannot be kept is an answer all the same.
        """
        try:
            if len(result) <= LONGEST_EMPTY and result in self._empty:
                return
            block, served = call.need.block, self._heads.served
            if call.method.is_state and (
                block == served or self._heads.finality.floor < block <= served
            ):
                # State at the head, which is soon asked for at another; and what is not final yet,
                # an upstream's word, which no hash proves. If it was wrong, it is not for long.
                self.cache.put_brief(call.key, result, block, now)
            else:
                self._keep_long(call, result, now)
        except Exception:  # noqa: BLE001 - logged; whoever has the answer gives it
            _log.exception("an answer was not kept")

    def _keep_long(self, call: SingleCall, text: bytes, now: float) -> None:
        method, block, heads = call.method, call.need.block, self._heads
        keep = method.keep
        if method.names_block and keep is not Keep.BLOCK:
            told = self._block_in(method, text)
            if told is None or told.number < 0:
                return
            block = told.number
        elif keep is Keep.FOREVER:
            block = -1
        if block > heads.served or (block < 0 and keep is not Keep.FOREVER):
            return
        self.cache.put(call.key, text, block, now)
        if self.disk is None or keep is Keep.HEAD or block > heads.finality.floor:
            return
        # Where blocks are final at once, what wallets ask at the head is not worth the disk.
        if block < heads.served:
            self.disk.put(call.key, text)

    def is_on_disk(self, call: SingleCall) -> bool:
        """Whether it is worth ``read``. Not before the head is known: what is on disk may be
        above it.
        """
        disk, served = self.disk, self._heads.served
        if disk is None or served < 0 or call.method.keep is Keep.HEAD:
            return False
        if call.method.keep is Keep.BLOCK and call.need.block >= served:
            return False
        return disk.has(call.key)

    async def read(self, call: SingleCall) -> bytes | None:
        """The answer on disk, ``None`` where there is none, or none within a short time."""
        return None if self.disk is None else await self.disk.get(call.key)

    def join(self, key: bytes, request: Request, trace_id: str, now: float) -> Follower | None:
        """Follow the flight that asks the same, if there is one."""
        flight = self.flights.get(key)
        return None if flight is None else self.follow(flight, request, trace_id, now)

    def follow(self, flight: Flight, request: Request, trace_id: str, now: float) -> Follower:
        """One more that waits for its answer."""
        follower = Follower(request, trace_id, now)
        if flight.followers is None:
            flight.followers = [follower]
        else:
            flight.followers.append(follower)
        return follower

    def land(
        self,
        key: bytes,
        flight: Flight,
        result: bytes | msgspec.Raw | None,
        error: bytes | msgspec.Raw | None = None,
    ) -> None:
        """The flight is over: with a result, with an error that is the answer, or with neither,
        and then its followers ask again.
        """
        flight.is_landed = True
        if self.flights.get(key) is flight:
            del self.flights[key]
        followers, flight.followers = flight.followers, None
        if not followers:
            return
        if result is None and error is None:
            self.relaunch([follower for follower in followers if not follower.is_over])
            return
        if result is not None:
            result = bytes(result)  # once for all of them
        now = self._now()
        for follower in followers:
            if not follower.is_over:
                is_given = follower.give(result, error)
                self._count(follower, now, is_given=is_given, is_result=result is not None)

    def _count(self, follower: Follower, now: float, *, is_given: bool, is_result: bool) -> None:
        """A follower is answered by the one that it followed."""
        method_class = self._describe(follower.request.method).method_class
        if is_given and is_result:
            self._counters.on_joined(method_class)
        else:
            outcome = RequestOutcome.RPC_ERROR if is_given else RequestOutcome.OWN_ERROR
            self._counters.on_request(method_class, now - follower.started, outcome)

    def adopt(self, old: Sharing) -> None:
        """A reload keeps what is kept, where the budget stays the same."""
        if old._max_bytes == self._max_bytes:
            self.cache = old.cache

    def on_served(self) -> None:
        """The served head moved: what is asked from now on may know more than what was asked
        before.
        """
        self.lately.clear()
        self.flights.clear()

    def on_turn(self, ancestor: int) -> None:
        """A reorg: what depends on blocks above ``ancestor`` is gone."""
        self.on_distrust(ancestor)

    def on_distrust(self, above: int) -> None:
        """An upstream turned out to be on another chain, or behind: what it gave is not kept."""
        self.cache.evict_above(above)
        self.lately.clear()


def pending_answer(pending: Pending) -> asyncio.Future[Answer]:
    """The answer of a pending one, for a coroutine to await; cancelling it cancels that."""
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def deliver(answer: Answer) -> None:
        if not future.done():
            future.set_result(answer)
        elif answer.rest is not None:
            answer.rest.close()

    def on_done(done: asyncio.Future[Answer]) -> None:
        if done.cancelled():
            pending.cancel()

    pending.deliver = deliver
    future.add_done_callback(on_done)
    return future


async def answer_of(handled: Handled) -> Answer:
    """Whatever way it comes."""
    if isinstance(handled, Answer):
        return handled
    return await (pending_answer(handled) if isinstance(handled, Pending) else handled)


def _nobody(followers: list[Follower]) -> None:
    """Before the pipeline is there."""
    raise RuntimeError(f"{len(followers)} followers of nobody")
