"""What the executor works with: upstreams as it needs them, calls on their way, attempts, ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from rpcproxy.engine.attempts.calls import Call
from rpcproxy.engine.attempts.tries import Notes, Tried
from rpcproxy.messages import Judgement, Outcome, Reply
from rpcproxy.rules.answers.classify import Classifier
from rpcproxy.rules.requests.failover import Plan
from rpcproxy.rules.requests.refusals import Word
from rpcproxy.rules.requests.single_attempt import SingleAttempt
from rpcproxy.rules.requests.steps import Policy
from rpcproxy.rules.standing.standings import Standing

# A reply that brings this much between two looks is on its way: nobody else is asked for it.
PROGRESS_BYTES: Final = 16 * 1024


class WireCall(Protocol):
    """An attempt on the wire; ``edges.http.upstream_http.Call``."""

    received_bytes: int

    def abandon(self) -> None: ...


class Wire(Protocol):
    """Where an attempt is sent; ``edges.http.upstream_http.HttpUpstream``."""

    def send(
        self, payload: bytes, done: Callable[[Outcome], None], *, gzip: bool = False
    ) -> WireCall: ...

    def drop_idle(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ChainMember:
    """One upstream as the executor needs it."""

    standing: Standing
    wire: Wire
    classifier: Classifier


class Settled(msgspec.Struct, eq=False):
    """How a call ended. ``reply`` is the HTTP reply behind ``judgement`` (for streaming on),
    ``first_id`` the id it was sent under, ``exhausted``: nobody could answer. ``key``: of
    the question that was asked in the end, where it was asked anew; it may be another by then.
    ``asked``: how many calls each upstream had for it. ``is_passing``: it is for all that wait for
    it, and may be another one soon. ``tried``: every attempt that was made for it.
    """

    judgement: Judgement | None
    reply: Reply | None = None
    first_id: int = 0
    standing: Standing | None = None
    exhausted: bool = False
    failures: Sequence[tuple[str, Judgement]] = ()
    seconds: float = 0.0
    key: bytes | None = None
    asked: Mapping[str, int] | None = None
    is_passing: bool = False
    tried: Sequence[Tried] = ()

    def close(self) -> None:
        """Nobody will read the rest of a reply too large to hold."""
        if self.reply is not None and self.reply.rest is not None:
            self.reply.rest.close()


class Ended(Protocol):
    """Who is told how an attempt ended; the executor."""

    def on_outcome(self, attempt: Attempt, outcome: Outcome) -> None: ...


class Attempt:
    """One send to one upstream; told by the edge through ``on_outcome``."""

    __slots__ = (
        "call",
        "executor",
        "first_id",
        "give_up_at",
        "is_counted",
        "is_hedge",
        "is_late",
        "is_lingering",
        "is_overdue",
        "member",
        "overtaken_at",
        "reply",
        "run",
        "seen_bytes",
        "started",
        "tried",
        "wire_call",
    )

    def __init__(
        self,
        executor: Ended,
        run: PlanRun,
        member: ChainMember,
        first_id: int,
        started: float,
        why: str = "first",
    ) -> None:
        self.executor = executor
        self.run = run
        self.call = run.call
        self.member = member
        self.first_id = first_id
        self.started = started
        self.give_up_at = started + run.policy.attempt_seconds
        self.is_hedge = False
        self.is_lingering = False  # the request is answered; we only want to learn
        self.is_counted = False  # its failure was observed before its end
        self.is_overdue = False
        self.is_late = False  # past its time, and still waited for
        self.overtaken_at = 0.0
        self.seen_bytes = 0
        self.reply: Reply | None = None
        self.wire_call: WireCall | None = None
        self.tried = run.notes.begin(member.standing.name, started, why)

    def on_outcome(self, outcome: Outcome) -> None:
        self.executor.on_outcome(self, outcome)

    def has_progressed(self) -> bool:
        """Whether a large reply has come on since the last look; a dribble does not count."""
        call = self.wire_call
        if call is None or call.received_bytes - self.seen_bytes < PROGRESS_BYTES:
            return False
        self.seen_bytes = call.received_bytes
        return True

    def abandon(self) -> None:
        """Give it up on the wire: ``on_outcome`` is not called any more."""
        if self.wire_call is not None:
            self.wire_call.abandon()
            self.wire_call = None


class PlanRun:
    """One call on its way: its plan, and the future its coroutine sleeps on."""

    __slots__ = (
        "attempts",
        "call",
        "due",
        "has_reread",
        "notes",
        "plan",
        "policy",
        "started",
        "timer",
        "waiter",
        "winner",
        "won_seconds",
        "words",
    )

    def __init__(
        self,
        call: Call,
        plan: Plan | SingleAttempt,
        policy: Policy,
        started: float,
        notes: Notes | None = None,
    ) -> None:
        """``notes``: where its attempts are written down."""
        self.started = started
        self.notes = Notes() if notes is None else notes
        self.call = call
        self.plan = plan
        self.policy = policy
        self.attempts: list[Attempt] = []
        self.winner: Attempt | None = None
        self.words: list[Word] = []  # held back until it is known what they mean
        self.won_seconds: float | None = None  # what the attempt took that answered in its time
        self.waiter: asyncio.Future[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.due = 0.0
        self.has_reread = False  # in this sleep

    def next_due(self, until: float) -> float:
        """When to look again: at ``until``, or where an attempt's time is up before."""
        for attempt in self.attempts:
            if not attempt.is_late:
                until = min(until, attempt.give_up_at)
        return until

    def excuse(self, seconds: float) -> None:
        """For so long our own loop did nothing: that counts against nobody."""
        for attempt in self.attempts:
            attempt.give_up_at += seconds

    def wake(self) -> None:
        waiter = self.waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
