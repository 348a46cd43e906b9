"""Words of upstreams about a request, held back until the request is over.

What they mean is ``rules.requests.refusals``'. A batch is heard member by member.

State: which upstreams refuse one request after the other, and when each was last in doubt of its
key; what all said of a request lately is in the budgets, which plans look into.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from rpcproxy.chains.kind import Methods
from rpcproxy.engine.attempts.attempts import PlanRun
from rpcproxy.engine.attempts.calls import BatchCall, BatchVerdict, Call, SingleCall
from rpcproxy.messages import Judgement, Verdict
from rpcproxy.rules.requests.refusals import (
    WELL,
    Streaks,
    Unanimous,
    Word,
    are_agreed,
    is_refused_access,
    is_word,
    lesson,
    topic_of,
)
from rpcproxy.rules.standing.standings import Standing, Standings
from rpcproxy.words import Observation

# Between two probes that are to tell whether a key still works.
DOUBT_SECONDS: Final = 1.0
# In place of a shape, where a batch was refused as one.
_WHOLE: Final = "batch"


class Hearings:
    """See the module's docstring. One per chain."""

    def __init__(self, standings: Standings, unanimous: Unanimous, methods: Methods) -> None:
        self._shape_of = methods.shape_of
        self._companies = len({standing.provider for standing in standings})
        self._unanimous = unanimous
        self._streaks = Streaks()
        self._doubted_at: dict[str, float] = {}
        # Told who refused a request as out of our rights: a probe is to tell whether it was that.
        self.on_key_doubt: Callable[[str], None] = lambda _upstream: None
        # Told of a method that an upstream refused in a shape that another took.
        self.on_shape: Callable[[str], None] = lambda _method: None

    def hear(
        self, run: PlanRun, standing: Standing, judgement: Judgement, started: float, now: float
    ) -> str:
        """Hold back what is a word in ``judgement``; its topic, empty where it is none."""
        topic = ""
        is_whole = is_refused_whole(judgement)
        for place, call, said in _parts(run.call, judgement):
            if not is_word(said):
                continue
            shape = _WHOLE if is_whole else self._shape_of(call.method.name, call.params)
            topic = topic_of(shape, said)
            is_everywhere = call.method.is_everywhere
            word = Word(standing, call.need, said, started, shape, topic, place, is_everywhere)
            run.words.append(word)
            self._doubt_key(word, now)
        return topic if type(judgement) is not BatchVerdict else ""

    def end(self, run: PlanRun, now: float) -> Iterator[Observation]:
        """The run is over, or an attempt ended after it: what its words taught."""
        words: Sequence[Word] = run.words
        run.words = []
        finish = run.plan.finish
        answer = finish.judgement if finish is not None else None
        self._remember(run, answer, words, now)
        agreed = are_agreed(words, self._companies)
        learned: set[tuple[str, Verdict, str]] = set()
        for word in words:
            is_taken = _is_taken(answer, word.place)
            if is_taken:
                self._unanimous.forget(word.topic)
            is_streak = (
                (is_taken or word.topic not in agreed)
                and word.need.lowest < 0
                and self._streaks.on_word(word, now)
            )
            told = lesson(word, now, is_taken=is_taken, is_streak=is_streak)
            if told.shape:
                self.on_shape(word.need.method)
            if (key := (told.upstream, told.verdict, told.shape)) not in learned:
                learned.add(key)
                yield told

    def _remember(
        self, run: PlanRun, answer: Judgement | None, words: Sequence[Word], now: float
    ) -> None:
        """All said the same: for a while it is known to be the request's."""
        is_over = now >= run.plan.deadline
        topic, agreed = run.plan.hearing.unanimous(is_over=is_over)
        is_error = is_over if answer is None else is_word(answer)
        if topic and words and is_error:
            self._unanimous.remember(topic, agreed, now)

    def _doubt_key(self, word: Word, now: float) -> None:
        name = word.standing.name
        if not is_refused_access(word.judgement):
            return
        if now - self._doubted_at.get(name, -DOUBT_SECONDS) >= DOUBT_SECONDS:
            self._doubted_at[name] = now
            self.on_key_doubt(name)


def is_refused_whole(judgement: Judgement) -> bool:
    """Whether a batch was refused as one: that says nothing of the shapes in it."""
    if type(judgement) is not BatchVerdict or len(judgement.members) < 2:
        return False
    first = judgement.members[0]
    return all(member is first for member in judgement.members)


def _parts(call: Call, judgement: Judgement) -> Iterator[tuple[int, SingleCall, Judgement]]:
    """What was judged: the call itself, or the members of a batch."""
    if isinstance(call, BatchCall):
        if type(judgement) is BatchVerdict:
            members = zip(call.members, judgement.members, strict=False)
            yield from ((place, *pair) for place, pair in enumerate(members))
    elif isinstance(call, SingleCall):
        yield -1, call, judgement


def _is_taken(answer: Judgement | None, place: int) -> bool:
    """Whether the request was carried out, by whoever."""
    if type(answer) is BatchVerdict:
        return place < len(answer.members) and answer.members[place].verdict in WELL
    return answer is not None and answer.verdict in WELL
