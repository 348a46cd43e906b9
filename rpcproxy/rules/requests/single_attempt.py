"""The plan of one attempt at one upstream that was chosen already: a copy of a send, an audit.

State: that of one attempt.
"""

from __future__ import annotations

from rpcproxy.messages import Judgement, Verdict
from rpcproxy.rules.requests.calls_made import CallsMade
from rpcproxy.rules.requests.refusals import Hearing
from rpcproxy.rules.requests.steps import PROGRESS_SECONDS, Finish, Send, Step, Wait
from rpcproxy.rules.standing.standings import Standing


class SingleAttempt:
    """The plan of a send to one chosen upstream: one attempt, and its end is the end. Past
    ``until`` it is late, and goes on until the deadline.
    """

    __slots__ = (
        "_is_sent",
        "_standing",
        "_until",
        "calls",
        "deadline",
        "failures",
        "finish",
        "hearing",
        "is_over_budget",
    )

    def __init__(self, standing: Standing, until: float, deadline: float) -> None:
        self._standing = standing
        self._until = until
        self.deadline = max(until, deadline)
        self._is_sent = False
        self.is_over_budget = False
        self.finish: Finish | None = None
        self.failures: list[tuple[str, Judgement]] = []
        self.hearing = Hearing()
        self.calls = CallsMade((), {standing.name: 1})

    def decide(self, now: float) -> Step:
        if self.finish is not None:
            return self.finish
        if not self._is_sent:
            return Send(self._standing, "first")
        if now >= self.deadline:
            return Finish(Judgement(Verdict.TIMEOUT, detail="no answer in time"), self._standing)
        return Wait(self._until if now < self._until else self.deadline)

    def is_hedge_time(self, now: float) -> bool:
        return now >= self._until

    def on_sent(self, _standing: Standing, _now: float) -> None:
        self._is_sent = True

    def on_judgement(self, standing: Standing, judgement: Judgement, topic: str = "") -> None:
        self.hearing.on_judgement(standing.name, judgement, topic)
        self.finish = Finish(judgement, standing)

    def on_progress(self, now: float) -> None:
        """Its end moves on with it."""
        self._until = max(self._until, now + PROGRESS_SECONDS)
        self.deadline = max(self.deadline, self._until)

    def on_late(self, _standing: Standing, _judgement: Judgement) -> None:
        """Nothing to do: what it says until the deadline counts."""

    def on_ejected(self, _standing: Standing) -> None:
        """Nothing to do: the attempt may still end well, and is bounded in time."""

    def on_recovery(self, _recovered: Standing | None = None) -> None:
        """Nothing to do: it never waits for one."""
