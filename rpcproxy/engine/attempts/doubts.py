"""Attempts that are past their time: whether their upstream is dead, or merely slow.

An upstream that has answered anything since such an attempt began lives, and is not blamed for it
unless another answers the very same in time. Of one that was silent a probe is asked at once; while
that is silent too, its attempts count as failures, and requests that wait for it ask another.

State: attempts in doubt by upstream, since when a probe waits for an answer, and which
transactions were taken lately, all bounded; written here alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rpcproxy.engine.attempts.attempts import Attempt
from rpcproxy.messages import Judgement, MethodClass, Verdict
from rpcproxy.rules.requests import lateness
from rpcproxy.rules.standing.standings import Standing, Standings

MOST_IN_DOUBT: Final = 64  # of one upstream: as many failures as eject it anywhere
MOST_TAKEN: Final = 256
_NO_ANSWER: Final = "no answer in time, to a probe neither"
_OTHERS_DID: Final = "no answer in time, where another gave one"

OnBlame = Callable[[Attempt, Judgement, float], None]


def cannot_ask(_upstream: str) -> bool:
    """Nobody is there to ask a probe: silence has to be enough."""
    return False


class Doubts:
    """``blame`` counts an attempt as failed. ``ask`` begins a probe; whether it could.
    ``on_dead`` is told of an upstream that fell silent, and since when; ``on_back`` of one that
    answers again, and has lost what it was asked before.
    """

    __slots__ = (
        "_blame",
        "_doubtful",
        "_probed_at",
        "_standings",
        "_taken",
        "ask",
        "on_back",
        "on_dead",
    )

    def __init__(self, standings: Standings, blame: OnBlame) -> None:
        self._standings = standings
        self._blame = blame
        self.ask: Callable[[str], bool] = cannot_ask
        self.on_dead: Callable[[str, float], None] = lambda _upstream, _since: None
        self.on_back: Callable[[str], None] = lambda _upstream: None
        self._doubtful: dict[str, list[Attempt]] = {}
        self._probed_at: dict[str, float] = {}
        self._taken: dict[bytes, None] = {}

    def __len__(self) -> int:
        return len(self._doubtful)

    # ---- what happened

    def on_overdue(self, attempt: Attempt) -> None:
        """It takes longer than usual. Whether its upstream lives is found out meanwhile."""
        standing = attempt.member.standing
        if standing.has_answered_since(attempt.started) or not self.ask(standing.name):
            return
        self._doubtful.setdefault(standing.name, [])

    def on_late(self, attempt: Attempt, now: float) -> None:
        """It is past its time."""
        if attempt.is_counted:
            return
        if attempt.call.need.method_class is MethodClass.SEND and self._was_taken(attempt):
            self.count(attempt, _OTHERS_DID, now)
            return
        name = attempt.member.standing.name
        doubtful = self._doubtful.setdefault(name, [])
        if len(doubtful) < MOST_IN_DOUBT:
            doubtful.append(attempt)
        if self.ask is cannot_ask:
            self._settle(name, now)  # else in a moment, when sockets were read and time is excused

    def on_answer(self, attempt: Attempt, judgement: Judgement) -> None:
        """Something came back: it lives."""
        if attempt.call.need.method_class is MethodClass.SEND and judgement.verdict is Verdict.OK:
            while len(self._taken) >= MOST_TAKEN:
                del self._taken[next(iter(self._taken))]
            self._taken[attempt.call.poison_key[-64:]] = None
        self.on_life(attempt.member.standing.name, attempt.started)

    def on_life(self, upstream: str, asked_at: float) -> None:
        """It answered what was asked then, whatever it said."""
        self._doubtful.pop(upstream, None)
        probed_at = self._probed_at.pop(upstream, asked_at)
        was_silent = asked_at - probed_at >= lateness.SILENT_SECONDS
        # Where it was ejected, its recovery says so.
        if was_silent and not self._standings[upstream].light.breaker.is_open:
            self.on_back(upstream)

    def on_probe_sent(self, upstream: str, now: float) -> None:
        self._probed_at.setdefault(upstream, now)

    def count(self, attempt: Attempt, why: str, now: float) -> None:
        """It is its upstream's failure."""
        if not attempt.is_counted:
            attempt.is_counted = True
            self._blame(attempt, Judgement(Verdict.TIMEOUT, detail=why), now)

    def excuse(self, seconds: float) -> None:
        """For so long our own loop did nothing: no probe was silent meanwhile."""
        for upstream in self._probed_at:
            self._probed_at[upstream] += seconds

    # ---- what follows

    def settle(self, now: float) -> None:
        """Time passed: look at who is in doubt."""
        for name in tuple(self._doubtful):
            self._settle(name, now)

    def _settle(self, name: str, now: float) -> None:
        standing = self._standings[name]
        left = [a for a in self._doubtful[name] if not standing.has_answered_since(a.started)]
        probed_at = self._probed_at.get(name)
        if probed_at is not None and standing.has_answered_since(probed_at):
            self.on_life(name, probed_at)
            return
        self._doubtful[name] = left
        if probed_at is None:
            if left and not self.ask(name):
                self._give_up_on(name, min(a.started for a in left), now)
            elif not left:
                del self._doubtful[name]
            return
        others = self._do_others_answer(standing, probed_at)
        if lateness.has_fallen_silent(standing, probed_at, now, do_others_answer=others):
            self._give_up_on(name, probed_at, now)

    def _give_up_on(self, name: str, since: float, now: float) -> None:
        """It is dead, as far as anybody can tell."""
        for attempt in self._doubtful.pop(name):
            self.count(attempt, _NO_ANSWER, now)
        self.on_dead(name, since)

    def _do_others_answer(self, standing: Standing, since: float) -> bool:
        """Whether another was asked later and has answered. Where everything is slow, what comes
        was asked for long ago.
        """
        return any(
            other is not standing and other.has_answered_asked_since(since)
            for other in self._standings
        )

    def _was_taken(self, attempt: Attempt) -> bool:
        return attempt.call.poison_key[-64:] in self._taken
