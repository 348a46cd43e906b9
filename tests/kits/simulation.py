"""Upstreams, clients and a watcher under a fake clock, around the real standings and plans.

``Simulation`` plays events in the order of time: requests at a steady rate, driven by
``failover.Plan`` as the executor does it (hedges, retries, overtaken attempts, time limits); probes
as the watcher sends them; a chain that grows. ``Node`` is a simulated upstream: what ails it is set
by a test. What came of it is counted by upstream and half second.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

from rpcproxy.config.model import Upstream
from rpcproxy.messages import Head, Judgement, Verdict
from rpcproxy.rules.heads.cadence import DARK_PAUSE_SECONDS, SICK_PAUSE_SECONDS, Cadence
from rpcproxy.rules.requests.failover import Plan
from rpcproxy.rules.requests.steps import Budgets, Finish, Policy, Send, Wait
from rpcproxy.rules.standing.limits import HedgeAllowance, RetryBudget, TokenBucket
from rpcproxy.rules.standing.standings import Need, Standing
from rpcproxy.states import Change
from tests.kits.fleet import LIGHT, Fleet

READ = Need(LIGHT, "eth_call", wants_head=True, last_resort=False)
POLICY = Policy(deadline_seconds=4.5, attempt_seconds=1.5)
PROBE_SECONDS = 1.5
# Of counts: how many of them make a second.
SLICES = 2


@dataclass(slots=True)
class Node:
    """A simulated upstream. ``verdict``: what it says to everything, ``None`` for silence;
    ``share``: to how many of its requests; ``capacity``: more per second than that is refused.
    """

    name: str
    seconds: float = 0.02
    verdict: Verdict | None = Verdict.OK
    share: float = 1.0
    fault_seconds: float = 0.001
    retry_after: float | None = None
    capacity: float | None = None
    blocks_behind: int = 0
    _bucket: TokenBucket | None = None

    def heal(self) -> None:
        self.verdict, self.share, self.seconds = Verdict.OK, 1.0, 0.02

    def is_hit(self, rng: random.Random) -> bool:
        return self.verdict is not Verdict.OK and rng.random() < self.share

    def answer(self, now: float, rng: random.Random) -> tuple[Verdict | None, float]:
        """What it says to a request that arrives now, and after how long."""
        usual = self.seconds * (0.9 + 0.2 * rng.random())
        if self.capacity is not None:
            if self._bucket is None:
                self._bucket = TokenBucket(self.capacity, now)
            if self._bucket.tokens(now) < 1.0:
                return Verdict.RATE_LIMITED, usual
            self._bucket.take(now)
        if not self.is_hit(rng):
            return Verdict.OK, usual
        return self.verdict, usual if self.verdict is Verdict.RATE_LIMITED else self.fault_seconds


@dataclass(slots=True)
class Tally:
    """What happened in a span of time."""

    requests: int = 0
    attempts: int = 0
    errors: int = 0
    latencies: list[float] = field(default_factory=list)
    sent: Counter[tuple[str, int]] = field(default_factory=Counter)
    told: Counter[tuple[str, Verdict]] = field(default_factory=Counter)

    def quantile(self, quantile: float) -> float:
        ordered = sorted(self.latencies) or [0.0]
        return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]

    def share(self, name: str, began: float, ended: float) -> float:
        """Of all attempts in a span of the simulation's time."""
        slices = range(round(began * SLICES), round(ended * SLICES))
        whole = sum(count for (_, at), count in self.sent.items() if at in slices)
        return sum(self.sent[name, at] for at in slices) / whole if whole else 0.0

    def count(self, name: str) -> int:
        return sum(count for (other, _), count in self.sent.items() if other == name)


class Simulation:
    """See the module's docstring. ``seconds`` is the time since it began."""

    def __init__(
        self, upstreams: Sequence[Upstream], *, block_time_seconds: float = 2.0, seed: int = 3
    ) -> None:
        self.fleet = Fleet(upstreams, block_time_seconds=block_time_seconds)
        self.began = self.fleet.now
        self.rng = random.Random(seed)
        self.nodes = {each.name: Node(each.name) for each in upstreams}
        self.budgets = Budgets(RetryBudget(self.fleet.now), HedgeAllowance())
        self.tally = Tally()
        self.extra_blocks = 0
        self.in_flight: list[Attempt] = []
        self.waiting: list[Request] = []
        self._block_time_seconds = block_time_seconds
        self._cadence = Cadence(block_time_seconds)
        self._looks = dict.fromkeys(self.nodes, 0)
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self._load = 0
        self.after(0.0, self._tick)
        for name in self.nodes:
            self.after(self.rng.random(), partial(self._look, name, 0))

    @property
    def now(self) -> float:
        return self.fleet.now

    @property
    def seconds(self) -> float:
        return self.fleet.now - self.began

    @property
    def highest(self) -> int:
        return 100 + self.extra_blocks + int(self.seconds / self._block_time_seconds)

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    def __setitem__(self, name: str, node: Node) -> None:
        self.nodes[name] = node

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._order), action))

    def run(self, seconds: float, rate: float = 300.0) -> Tally:
        """Requests at ``rate`` per second; what came of those that ended within the time."""
        ends = self.now + seconds
        self.tally = Tally()
        self._load += 1
        if rate:
            self._arrive(rate, self._load)
        while self._events[0][0] <= ends:
            self.fleet.now, _, action = heapq.heappop(self._events)
            action()
        self.fleet.now = ends
        return self.tally

    def _arrive(self, rate: float, load: int) -> None:
        if load != self._load:
            return
        # As from many clients: by chance, not in step.
        self.after(self.rng.expovariate(rate), partial(self._arrive, rate, load))
        Request(self).step()

    def _tick(self) -> None:
        self.on_changes(self.fleet.tick())
        self.after(0.05, self._tick)

    def tell(self, name: str, verdict: Verdict, **fields: Any) -> None:
        self.on_changes(self.fleet.tell(name, verdict, **fields))

    def on_changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            kind, name = change.kind, change.upstream
            if kind in ("ejected", "quarantined"):
                for attempt in tuple(self.in_flight):
                    if attempt.standing.name == name and not attempt.is_lingering:
                        attempt.request.plan.on_ejected(attempt.standing)
                        attempt.request.step()
                self._looks[name] += 1
                self.after(0.05, partial(self._look, name, self._looks[name]))
            elif kind in ("recovered", "readmitted", "cooled"):
                for request in tuple(self.waiting):
                    request.plan.on_recovery()
                    request.step()

    # ---- the watcher

    def _look(self, name: str, look: int) -> None:
        if look != self._looks[name]:
            return
        verdict, seconds = self.nodes[name].answer(self.now, self.rng)
        if verdict is None or seconds > PROBE_SECONDS:
            verdict, seconds = Verdict.TIMEOUT, PROBE_SECONDS
        number = self.highest - self.nodes[name].blocks_behind
        self.after(seconds, partial(self._on_probed, name, look, verdict, seconds, number))

    def _on_probed(
        self, name: str, look: int, verdict: Verdict, seconds: float, number: int
    ) -> None:
        standing = self.fleet[name]
        self.tell(
            name,
            verdict,
            seconds=seconds,
            is_probe=True,
            head=Head(number) if verdict is Verdict.OK else None,
            cooldown_seconds=self.nodes[name].retry_after
            if verdict is Verdict.RATE_LIMITED
            else None,
        )
        if look != self._looks[name]:
            return
        is_well = not any(record.breaker.is_open for record in standing.classes)
        if verdict is not Verdict.OK:
            is_dark = not self.fleet.standings.has_usable(LIGHT, self.now)
            pause = DARK_PAUSE_SECONDS if is_dark else SICK_PAUSE_SECONDS
        elif not is_well:
            pause = DARK_PAUSE_SECONDS
        else:
            self._cadence.on_head(number, self.now)
            pause = self._cadence.pause(number, self.now)
        self.after(pause * (0.9 + 0.2 * self.rng.random()), partial(self._look, name, look))


class Request:
    """A client's read, driven by its plan."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.began = simulation.now
        self.plan = Plan(
            READ,
            POLICY,
            simulation.fleet.standings,
            simulation.budgets,
            simulation.now,
            simulation.rng,
        )
        self.attempts: list[Attempt] = []
        self.wait = 0
        self.is_over = False
        simulation.budgets.retries.on_request(simulation.now)
        simulation.budgets.hedges.on_request()

    def step(self) -> None:
        """Do what the plan says."""
        if self.is_over:
            return None
        simulation = self.simulation
        self.wait += 1
        while True:
            step = self.plan.decide(simulation.now)
            if isinstance(step, Send):
                self.attempts.append(Attempt(self, step.standing))
            elif isinstance(step, Finish):
                return self._end(step)
            else:
                return self._sleep(step)

    def _sleep(self, step: Wait) -> None:
        simulation = self.simulation
        if step.for_recovery and self not in simulation.waiting:
            simulation.waiting.append(self)
        until = min([step.until, *(attempt.give_up_at for attempt in self.attempts)])
        simulation.after(max(0.0, until - simulation.now), partial(self._on_time, self.wait))

    def _on_time(self, wait: int) -> None:
        now = self.simulation.now
        if self.is_over or wait != self.wait:
            return
        for attempt in tuple(self.attempts):
            if now >= attempt.give_up_at:
                attempt.end(Verdict.TIMEOUT)
            elif not attempt.is_overdue and self.plan.is_hedge_time(now):
                attempt.is_overdue = True
                self.simulation.fleet.standings.on_overdue(attempt.standing, LIGHT, now)
        self.step()

    def _end(self, finish: Finish) -> None:
        simulation = self.simulation
        self.is_over = True
        if self in simulation.waiting:
            simulation.waiting.remove(self)
        tally = simulation.tally
        tally.requests += 1
        tally.latencies.append(simulation.now - self.began)
        tally.errors += finish.judgement is None or finish.judgement.verdict is not Verdict.OK
        for attempt in self.attempts:
            attempt.linger()
        self.attempts = []


class Attempt:
    """One send to one node."""

    def __init__(self, request: Request, standing: Standing) -> None:
        simulation = self.simulation = request.simulation
        self.request = request
        self.standing = standing
        self.began = simulation.now
        self.give_up_at = simulation.now + POLICY.attempt_seconds
        self.is_overdue = self.is_lingering = self.is_counted = self.is_over = False
        simulation.in_flight.append(self)
        simulation.fleet.standings.on_sent(standing, simulation.now)
        request.plan.on_sent(standing, simulation.now)
        tally = simulation.tally
        tally.attempts += 1
        tally.sent[standing.name, int(simulation.seconds * SLICES)] += 1
        verdict, seconds = simulation[standing.name].answer(simulation.now, simulation.rng)
        if verdict is not None:
            simulation.after(seconds, partial(self.end, verdict))

    def linger(self) -> None:
        """The request was answered by another attempt: does this one come to an end in time?"""
        self.is_lingering = True
        simulation = self.simulation
        delay = simulation.fleet.standings.hedge_delay(LIGHT)
        simulation.after(delay, self._on_overtaken)
        simulation.after(self.give_up_at - simulation.now, partial(self.end, None))

    def _on_overtaken(self) -> None:
        if not self.is_over:
            self.is_counted = True
            self._tell(Verdict.OVERTAKEN)

    def _tell(self, verdict: Verdict) -> None:
        simulation = self.simulation
        simulation.tally.told[self.standing.name, verdict] += 1
        simulation.tell(
            self.standing.name,
            verdict,
            seconds=simulation.now - self.began,
            cooldown_seconds=simulation[self.standing.name].retry_after
            if verdict is Verdict.RATE_LIMITED
            else None,
        )

    def end(self, verdict: Verdict | None) -> None:
        """It came to its end; ``None``: nothing came until its time was up."""
        if self.is_over:
            return
        self.is_over = True
        simulation, standings = self.simulation, self.simulation.fleet.standings
        simulation.in_flight.remove(self)
        standings.on_settled(self.standing)
        if self.is_overdue:
            standings.on_overdue_settled(self.standing, LIGHT)
        if verdict is not None or not self.is_counted:
            self._tell(verdict or Verdict.TIMEOUT)
        if not self.is_lingering:
            request = self.request
            request.attempts.remove(self)
            result = msgspec.Raw(b"1") if verdict is Verdict.OK else None
            request.plan.on_judgement(
                self.standing, Judgement(verdict or Verdict.TIMEOUT, result=result)
            )
            request.step()
