"""An engine without a network and without waiting: fake wires, real standings, a virtual clock.

@virtual
async def test_it() -> None:
    engine = Engine()
    engine.wires["a"].behaviour = answering(b'"0x1"', after=0.02)
    settled = await engine.run("eth_gasPrice")

The clock jumps to the next timer whenever nothing else is to be done, so that hours pass in
milliseconds. Replies arrive as from uvloop's sockets: timers that are due come first.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import logging
import random
import selectors
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import msgspec

from rpcproxy.app.graph import ChainGraph, GraphParts
from rpcproxy.chains.evm.methods import describe
from rpcproxy.chains.kind import Kind
from rpcproxy.chains.registry import EVM
from rpcproxy.clock import Clock
from rpcproxy.config import model
from rpcproxy.edges.metrics.metrics import ChainCounters
from rpcproxy.engine.attempts import executor
from rpcproxy.engine.attempts.calls import SingleCall
from rpcproxy.engine.sends import ledger
from rpcproxy.engine.watch.watcher import Watcher
from rpcproxy.messages import (
    Answer,
    Failure,
    FailureKind,
    Head,
    MethodClass,
    Outcome,
    Pending,
    Reply,
    Verdict,
)
from rpcproxy.rules.answers.holding import Holdings
from rpcproxy.rules.requests.steps import Policy
from rpcproxy.rules.standing.selection import Need
from rpcproxy.rules.standing.settings import Settings
from rpcproxy.words import Observation
from tests.kits.evm_rules import classifier, standings_of
from tests.kits.fleet import four

LIGHT, HEAVY, SEND = MethodClass.LIGHT, MethodClass.HEAVY, MethodClass.SEND
CHAIN_ID = 7
POLICY = Policy(4.5, 1.5)
ONE = b'"0x1"'

# ---- the clock

TURN_SECONDS = 1e-7
EPOCH = 1_800_000_000.0  # in unix seconds, when the virtual time is 0
MOST_TURNS = 5_000  # of the loop within a millisecond


class _Jumps(selectors.SelectSelector):
    """Sleeps by moving the clock."""

    loop: VirtualLoop
    _seen = 0.0
    _turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everybody waits, and nothing will ever happen")
        if self.loop.now - self._seen > 0.001:
            self._seen = self.loop.now
            self._turns = 0
        self._turns += 1
        if self._turns > MOST_TURNS:
            raise AssertionError(f"the loop spins at {self.loop.now}")
        # A turn takes some time: timers may fire by the clock's resolution too early.
        self.loop.now += max(TURN_SECONDS, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """``now`` is both the loop's time and the monotonic time of the engine, in seconds; ``clock``
    is what the engine is given.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.clock = Clock(self.time, lambda: EPOCH + self.now)
        selector = _Jumps()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now

    def block(self, seconds: float) -> None:
        """A callback takes that long."""
        self.now += seconds


class Errors(logging.Handler):
    """What was logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextlib.contextmanager
def logged_errors() -> Iterator[list[logging.LogRecord]]:
    """Collects what anybody logs at ERROR or worse."""
    handler = Errors()
    logging.getLogger().addHandler(handler)
    try:
        yield handler.records
    finally:
        logging.getLogger().removeHandler(handler)


def run_virtual(main: Callable[[], Coroutine[Any, Any, None]]) -> list[logging.LogRecord]:
    """Run to its end; unhandled errors fail. Returns what was logged as an error."""
    unhandled: list[dict[str, Any]] = []

    async def watched() -> None:
        loop = current_loop()
        loop.set_exception_handler(lambda _, context: unhandled.append(context))
        await main()

    with logged_errors() as records, asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(watched())
    assert not unhandled
    return records


def virtual(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an ``async def`` test on the virtual clock; logged errors fail it."""

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        assert not run_virtual(lambda: test(**fixtures))

    run.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]
    return run


def current_loop() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


def now() -> float:
    return current_loop().now


# ---- the wire


class Sent:
    """One attempt as an upstream sees it. Ended by ``reply`` and its kin, once."""

    def __init__(self, wire: FakeWire, payload: bytes, done: Callable[[Outcome], None]) -> None:
        self.wire = wire
        self.payload = payload
        self.received_bytes = 0
        self.at = now()
        self.gzip = False
        self.is_abandoned = False
        self.outcome: Outcome | None = None
        self._done: Callable[[Outcome], None] | None = done

    def __repr__(self) -> str:
        return f"<{self.wire.name} {self.payload[:60]!r}>"

    @property
    def is_open(self) -> bool:
        return self.outcome is None and not self.is_abandoned

    @property
    def is_batch(self) -> bool:
        return self.payload.startswith(b"[")

    @property
    def calls(self) -> list[dict[str, Any]]:
        decoded = msgspec.json.decode(self.payload)
        return decoded if isinstance(decoded, list) else [decoded]

    @property
    def id(self) -> int:
        id: int = self.calls[0]["id"]
        return id

    @property
    def method(self) -> str:
        method: str = self.calls[0]["method"]
        return method

    @property
    def params(self) -> Any:
        return self.calls[0]["params"]

    def abandon(self) -> None:
        self.is_abandoned = self.is_abandoned or self.outcome is None

    def end(self, outcome: Outcome) -> None:
        """The upstream's doing; nothing where the attempt is over."""
        if self.is_open and self._done is not None:
            self.outcome = outcome
            done, self._done = self._done, None
            done(outcome)

    def say(self, body: bytes, status: int = 200) -> None:
        self.end(Reply(status, body))

    def reply(self, result: bytes = ONE) -> None:
        texts = [result_of(call, result) for call in self.calls]
        self.say(b"[%b]" % b",".join(texts) if self.is_batch else texts[0])

    def refuse(self, code: int, message: str, status: int = 200) -> None:
        texts = [error_of(call, code, message) for call in self.calls]
        self.say(b"[%b]" % b",".join(texts) if self.is_batch else texts[0], status)

    def fail(self, kind: FailureKind = FailureKind.CONNECT) -> None:
        self.end(Failure(kind, "scripted"))


def result_of(call: dict[str, Any], result: bytes = ONE) -> bytes:
    return b'{"jsonrpc":"2.0","id":%d,"result":%b}' % (call["id"], result)


def error_of(call: dict[str, Any], code: int, message: str) -> bytes:
    error = msgspec.json.encode({"code": code, "message": message})
    return b'{"jsonrpc":"2.0","id":%d,"error":%b}' % (call["id"], error)


Behaviour = Callable[[Sent], None]


def silent(_: Sent) -> None:
    """Never answers."""


def after(seconds: float, act: Behaviour) -> Behaviour:
    """``act`` so many seconds after the attempt came; timers that are due come before it."""

    def behave(sent: Sent) -> None:
        loop = current_loop()
        loop.call_later(seconds, loop.call_soon, act, sent)

    return behave


def answering(result: bytes = ONE, seconds: float = 0.02) -> Behaviour:
    return after(seconds, lambda sent: sent.reply(result))


def failing(kind: FailureKind = FailureKind.CONNECT, seconds: float = 0.001) -> Behaviour:
    return after(seconds, lambda sent: sent.fail(kind))


def refusing(code: int, message: str, seconds: float = 0.01) -> Behaviour:
    return after(seconds, lambda sent: sent.refuse(code, message))


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """Each for one attempt, the last one for ever."""
    left = list(behaviours)

    def behave(sent: Sent) -> None:
        behaviour = left.pop(0) if len(left) > 1 else left[0]
        behaviour(sent)

    return behave


class FakeWire:
    """Stands for an upstream's connections. ``behaviour`` is run for every attempt."""

    def __init__(self, name: str, behaviour: Behaviour) -> None:
        self.name = name
        self.behaviour = behaviour
        self.sent: list[Sent] = []
        self.drops = 0

    def send(self, payload: bytes, done: Callable[[Outcome], None], *, gzip: bool = False) -> Sent:
        sent = Sent(self, payload, done)
        sent.gzip = gzip
        self.behaviour(sent)
        self.sent.append(sent)
        return sent

    def drop_idle(self) -> None:
        self.drops += 1

    @property
    def open(self) -> list[Sent]:
        return [sent for sent in self.sent if sent.is_open]


class Rest:
    """The rest of a body too large to hold."""

    def __init__(self) -> None:
        self.is_closed = False

    async def read(self) -> bytes:
        return b""

    def close(self) -> None:
        self.is_closed = True


# ---- the engine


class _Executor(executor.Executor):
    """Ticks as ever, or seldom while nothing but time passes."""

    tick_seconds = executor.TICK_SECONDS

    def _set_ticker(self, seconds: float) -> None:
        super()._set_ticker(max(seconds, self.tick_seconds))

    def tick_every(self, seconds: float) -> None:
        """And once now."""
        if self._ticker is not None:
            self._ticker.cancel()
            self.tick_seconds = seconds
            self._tick_due = now()
            self._tick()


class Engine:
    """Everything of one chain but the watcher. Upstreams a, b, c, d, asked in this order
    (``selection="ordered"``) unless said otherwise; all admitted, head 100, answering in 20 ms.
    ``kind``: of the chain; what has names of methods in it is for EVM.
    """

    def __init__(
        self,
        upstreams: Sequence[model.Upstream] | None = None,
        *,
        are_admitted: bool = True,
        kind: Kind = EVM,
        chain_class: type[model.Chain] = model.Chain,
        **chain: Any,
    ) -> None:
        upstreams = four() if upstreams is None else upstreams
        given = {"name": "test", "chain_id": CHAIN_ID, "selection": "ordered", **chain}
        self.chain = chain_class(upstreams=tuple(upstreams), **given)
        self.kind = kind
        settings = Settings.of(self.chain, kind.traits)
        self.standings = standings_of(self.chain.upstreams, settings, now(), kind)
        self.wires = {u.name: FakeWire(u.name, answering()) for u in self.chain.upstreams}
        self.members = {
            u.name: executor.ChainMember(
                self.standings[u.name], self.wires[u.name], classifier(kind=kind)
            )
            for u in self.chain.upstreams
        }
        clock = self.clock = current_loop().clock
        self.counters = ChainCounters()
        self.ledger = ledger.Ledger(
            "test", self.chain.identity, self.counters, kind.sends, clock=clock
        )
        graph = self.graph = ChainGraph(
            GraphParts(
                chain=self.chain,
                kind=kind,
                server=model.Server(),
                counters=self.counters,
                standings=self.standings,
                members=self.members,
                ledger=self.ledger,
                purse=Holdings().purse(""),
                clock=clock,
                new_executor=_Executor,
                rng=random.Random(7),
            )
        )
        assert isinstance(graph.executor, _Executor)
        self.budgets = graph.executor._budgets
        self.executor, self.told, self.pipeline = graph.executor, graph.told, graph.pipeline
        self.broadcast = graph.broadcast
        if graph.broadcast is not None:
            self.copies = graph.broadcast.copies
        self._asked_new = 0
        self.changes: list[str] = []
        self.executor.listeners.append(
            lambda changes: self.changes.extend(f"{c.upstream} {c.kind}" for c in changes)
        )
        if are_admitted:
            for name in self.wires:
                self.admit(name)
            self.changes.clear()

    def admit(self, name: str, head: int = 100) -> None:
        self.observe(name, Verdict.OK, is_probe=True, is_identity=True)
        self.observe(name, Verdict.OK, head=Head(head), is_probe=True)

    def observe(self, name: str, verdict: Verdict, **fields: Any) -> None:
        given = {"method_class": LIGHT, "seconds": 0.02, **fields}
        self.executor.observe(Observation(name, verdict=verdict, **given), now())

    def eject(self, *names: str) -> None:
        for name in names:
            for _ in range(3):
                self.observe(name, Verdict.UNREACHABLE, seconds=None)

    def recover(self, *names: str) -> None:
        """As two clean probes do; its time must be over."""
        for name in names:
            for _ in range(2):
                self.observe(name, Verdict.OK, is_probe=True, seconds=0.0)

    def behave(self, **behaviours: Behaviour) -> None:
        for name, behaviour in behaviours.items():
            self.wires[name].behaviour = behaviour

    def all_behave(self, behaviour: Behaviour) -> None:
        for wire in self.wires.values():
            wire.behaviour = behaviour

    async def run(
        self, name: str = "eth_gasPrice", policy: Policy = POLICY, **need: Any
    ) -> executor.Settled:
        method = describe(name)
        given = {"last_resort": False, **need}
        call = SingleCall(method, Need(method.method_class, name, **given), b"[]")
        return await self.executor.run(call, policy)

    def handle(self, body: bytes) -> Handle:
        return Handle(self.pipeline.handle(body, "trace"))

    def ask(self, method: str = "eth_gasPrice", params: bytes = b"[]") -> Handle:
        return self.handle(request(method, params))

    def ask_new(self) -> Handle:
        """A light read that nobody has asked yet: neither kept nor in flight."""
        self._asked_new += 1
        return self.ask("eth_call", b'[{"data":"0x%08x"},"latest"]' % self._asked_new)

    @property
    def asked(self) -> str:
        """Who was asked, in order."""
        sent = [sent for wire in self.wires.values() for sent in wire.sent]
        return "".join(each.wire.name for each in sorted(sent, key=lambda each: each.at))

    @property
    def sent(self) -> list[Sent]:
        return [sent for wire in self.wires.values() for sent in wire.sent]

    def in_flight(self) -> dict[str, int]:
        """By the standings, of those that have any."""
        return {s.name: s.in_flight for s in self.standings if s.in_flight}

    def assert_idle(self) -> None:
        """Nothing is in flight, by any count."""
        assert self.in_flight() == {}
        assert not any(self.executor._in_flight.values())
        assert not self.executor._lingering
        assert not self.executor._waiting
        assert not self.executor._recovery_waiters
        assert not any(record.overdue for s in self.standings for record in s.classes)
        assert not [sent for wire in self.wires.values() for sent in wire.open]

    async def rest(self, seconds: float) -> None:
        """Time passes, in which nobody looks at what a twentieth of a second changes: the
        standings are settled once a second, since a thousand ticks cost more than most tests.
        """
        self.executor.tick_every(1.0)
        await asyncio.sleep(seconds)
        self.executor.tick_every(executor.TICK_SECONDS)

    async def assert_soon_idle(self) -> None:
        """As soon as lingering attempts are out of time: heavy ones have ten seconds."""
        await self.rest(12)
        self.assert_idle()

    def watcher(self, seed: int = 1) -> Watcher:
        """What looks at all upstreams. Not started."""
        watcher = self.graph.watcher()
        watcher._rng = random.Random(seed)
        return watcher

    def adopt(self, old: Engine) -> None:
        """Take over from another, as at a reload."""
        self.graph.learned.adopt(old.graph.learned, now())

    def close(self) -> None:
        self.pipeline.close()
        self.executor.close()


def hash_of(number: int, branch: int = 0, since: int = 0) -> str:
    """Of a block on a branch that left the main one after ``since``."""
    return f"0x{branch if number > since else 0:x}{number:063x}"


def head_of(number: int, branch: int = 0, since: int = 0) -> Head:
    """The block as upstreams tell it."""
    return Head(number, hash_of(number, branch, since), hash_of(number - 1, branch, since))


def on_chain(number: int = 100, **chain: Any) -> Engine:
    """An engine whose upstreams tell hashes; all are at ``number``."""
    engine = Engine(are_admitted=False, **chain)
    for name in engine.wires:
        engine.observe(name, Verdict.OK, is_probe=True, is_identity=True)
    to_head(engine, head_of(number))
    engine.changes.clear()
    return engine


def to_head(engine: Engine, head: Head, names: str = "abcd") -> None:
    """These upstreams tell a head."""
    for name in names:
        if name in engine.wires:
            engine.observe(name, Verdict.OK, head=head, is_probe=True)


class Handle:
    """What a client has of its request. ``answers`` grows by one, once."""

    def __init__(self, handled: Any) -> None:
        self.answers: list[Answer] = []
        self.at = -1.0
        self._ended = asyncio.Event()
        self.pending: Pending | None = None
        self.task: asyncio.Task[None] | None = None
        if isinstance(handled, Answer):
            self._deliver(handled)
        elif isinstance(handled, Pending):
            self.pending = handled
            handled.deliver = self._deliver
        else:
            self.task = asyncio.get_running_loop().create_task(self._await(handled))
            self.task.add_done_callback(lambda _: handled.close())  # where it never began
            self.task.add_done_callback(lambda _: self._ended.set())

    async def _await(self, coroutine: Coroutine[Any, Any, Answer]) -> None:
        self._deliver(await coroutine)

    def _deliver(self, answer: Answer) -> None:
        self.answers.append(answer)
        self.at = now()
        self._ended.set()

    @property
    def is_done(self) -> bool:
        return bool(self.answers)

    def hang_up(self) -> None:
        if self.pending is not None:
            self.pending.cancel()
        elif self.task is not None:
            self.task.cancel()

    async def answer(self) -> Answer:
        await self._ended.wait()
        if self.task is not None and self.task.done():
            self.task.result()
        assert len(self.answers) == 1
        return self.answers[0]

    async def reply(self) -> dict[str, Any]:
        decoded: dict[str, Any] = msgspec.json.decode((await self.answer()).body)
        return decoded


def result(settled: executor.Settled) -> bytes | None:
    """The result's text, where there is one."""
    judgement = settled.judgement
    return None if judgement is None or judgement.result is None else bytes(judgement.result)


def request(method: str, params: bytes = b"[]", id: bytes = b"1") -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"method":"%b","params":%b}' % (id, method.encode(), params)
