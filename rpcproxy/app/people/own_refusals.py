"""What wallets are refused for reasons of our own, and since when: transactions of a chain that
cannot be written down or that nobody may take, clients that are turned away, upstreams that this
machine lacks the means to ask.

The one place that knows. Samples, sentences, incidents, ``/readyz`` and metrics take it from here.

State: since when each of them is so, by chain; through reloads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal, NamedTuple

from rpcproxy.app.chain import ChainRuntime
from rpcproxy.edges.process.own_limits import limits
from rpcproxy.front.operators.admin import TAKEN
from rpcproxy.front.wire.listener import Listener
from rpcproxy.messages import MethodClass
from rpcproxy.rules.standing.standing import Standing
from rpcproxy.rules.telling.plight import span
from rpcproxy.rules.telling.sample import Refusal, Refused

# A moment without anybody is waited out by requests, and no wallet notices it.
NOBODY_SECONDS: Final = 3.0
# Clients that are turned away: it is told of for so long after the last one.
LATELY_SECONDS: Final = 60.0

LEAST_SECONDS: Final = 0.001


class RefusingFigures(NamedTuple):
    """Of the whole process, so far: connections refused over the limit, requests for whose client
    too much was held; and what this machine lacked in the last minute, empty where nothing.
    """

    connections_refused: int = 0
    crowded_out: int = 0
    lacking: str = ""


def figures_of(listener: Listener | None, now: float) -> RefusingFigures:
    """Those of this process at ``now``, in monotonic seconds."""
    lacking = limits.lately(now)
    if listener is None:
        return RefusingFigures(lacking=lacking)
    counters = listener.counters
    return RefusingFigures(counters.refused_connections, counters.crowded_out, lacking)


class _Finding(NamedTuple):
    what: Refused
    why: str
    detail: str = ""
    whose: Literal["here", "provider"] = "here"
    after_seconds: float = 0.0  # it may be over before anybody notices


class _Tally:
    """A count that grows while clients are refused, and when it last did."""

    def __init__(self) -> None:
        self.count: int | None = None
        self.grew_at: float | None = None

    def is_lately(self, count: int, now: float) -> bool:
        known, self.count = self.count, count
        # At the first look it may have grown for long: it is of now all the same.
        if count > (known or 0):
            self.grew_at = now
        return self.grew_at is not None and now - self.grew_at < LATELY_SECONDS


class OwnRefusals:
    """See the module's docstring. ``figures`` tells those of the process. Times are monotonic."""

    def __init__(self, figures: Callable[[], RefusingFigures] = RefusingFigures) -> None:
        self._figures = figures
        self._began: dict[tuple[str, Refused], float] = {}
        self._connections, self._crowded = _Tally(), _Tally()

    def of_chain(self, runtime: ChainRuntime, now: float) -> tuple[Refusal, ...]:
        """What a chain refuses now."""
        return self._told(runtime.chain.name, [*_found(runtime)], now)

    def of_process(self, now: float) -> tuple[Refusal, ...]:
        """What is refused whichever chain is asked for."""
        return self._told("", [*self._turned_away(now)], now)

    def _told(self, chain: str, found: Sequence[_Finding], now: float) -> tuple[Refusal, ...]:
        kinds = {each.what for each in found}
        for what in Refused:
            if what not in kinds:
                self._began.pop((chain, what), None)
        told = []
        for each in found:
            seconds = now - self._began.setdefault((chain, each.what), now)
            if seconds >= each.after_seconds:
                told.append(
                    Refusal(
                        what=each.what,
                        why=each.why,
                        detail=each.detail,
                        whose=each.whose,
                        since_seconds=max(0.0, seconds),
                    )
                )
        return tuple(told)

    def _turned_away(self, now: float) -> Iterator[_Finding]:
        figures = self._figures()
        reasons = []
        if self._connections.is_lately(figures.connections_refused, now):
            reasons.append("as many connections are open as may be")
        if self._crowded.is_lately(figures.crowded_out, now):
            reasons.append("more answers wait to be taken than may be held")
        if reasons:
            yield _Finding(Refused.CLIENTS, "; ".join(reasons))
        if figures.lacking:
            yield _Finding(Refused.ATTEMPTS, figures.lacking)


def _found(runtime: ChainRuntime) -> Iterator[_Finding]:
    """What is refused of a chain's transactions: that they are not written down counts first."""
    if runtime.kind.sends is None:
        return  # by its kind: nobody expects them
    ledger = runtime.transactions.ledger
    trouble = ledger.trouble
    if trouble:
        what = Refused.SENDS if ledger.needs_journal else Refused.RECORDS
        public = ledger.public_trouble
        words = public if "journal" in public else f"the journal cannot be written: {public}"
        yield _Finding(what, words, trouble)
    elif ledger.needs_journal and ledger.journal is None:
        words = "their journal is still being opened"
        yield _Finding(Refused.SENDS, words, after_seconds=ledger.opening_seconds)
    if not (trouble and ledger.needs_journal):
        yield from _unsendable(runtime)


def _unsendable(runtime: ChainRuntime) -> Iterator[_Finding]:
    """Nobody is there who takes them."""
    standings = runtime.standings
    has_private = any(each.private for each in standings)
    takers = [each for each in standings if _takes(each, is_private=has_private)]
    which = "private providers" if has_private else "providers that take them"
    if not takers:
        yield _Finding(Refused.SENDS, f"there are no {which}")
        return
    usable, accepts = standings.usable(MethodClass.SEND), runtime.graph.given.accepts_while_down
    if any(each in usable for each in takers) or accepts:
        return
    if all(each.is_drained for each in takers):
        yield _Finding(Refused.SENDS, f"an operator has drained all {which}")
    elif standings.usable(MethodClass.LIGHT):  # else that nobody serves says it
        states = "; ".join(f"{each.name} {each.state}: {each.reason}" for each in takers)
        words = f"none of the {which} can be used"
        yield _Finding(Refused.SENDS, words, states, "provider", NOBODY_SECONDS)


def _takes(standing: Standing, *, is_private: bool) -> bool:
    may = standing.has_role(MethodClass.SEND, for_send=True)
    return may and (standing.private or not is_private)


def sends_words(refusals: Sequence[Refusal]) -> str:
    """Whether a chain's transactions are taken, for ``/readyz``."""
    refused = next((each for each in refusals if each.what is Refused.SENDS), None)
    if refused is None:
        return TAKEN
    return f"refused for {span(refused.since_seconds)}: {refused.why}"


def sends_refused_seconds(refusals: Sequence[Refusal]) -> float:
    """0 while they are taken; never 0 while they are not."""
    seconds = [each.since_seconds for each in refusals if each.what is Refused.SENDS]
    return max(LEAST_SECONDS, *seconds) if seconds else 0.0
