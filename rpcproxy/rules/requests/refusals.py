"""Refusals: what an upstream's own error means, once it is known how its request ended.

A well-formed error under our id proves that the upstream works. So it is a *word* about the
request, and is held back until the request is over:

- somebody else took that very request: then it is a word about who refused it, and as narrow as
  can be (that method, that shape of params, that depth; the upstream itself only where it speaks
  of an error of its own);
- all say the same: then it is the answer, and nobody is blamed;
- a word that nobody contradicts counts for nothing, with two exceptions. One is a *streak*: the
  upstream says an error of its own, a limit, a refused key or an empty account of ``STREAK``
  requests of different shapes, one verdict throughout, and answers nothing in between. Refusals of
  a key or an account need to last ``KEY_STREAK_SECONDS`` as well. Words that a second company says
  too, and words about old blocks, belong to no streak. The other is a send whose method the
  upstream does not have.

Where somebody else took the request, a streak widens what is learned: the word then counts against
the upstream as a whole, and not only for that shape of params.

A number that stands for a limit, and 401, 402 and 403, are words as well: providers say so of old
blocks, traces, plans, and payloads that a firewall dislikes. A limit in words, or HTTP 429, is
none.

State: ``Unanimous`` (256 texts at most, each below 500 bytes) and ``Streaks`` (three shapes at most
per upstream and verdict), one per chain, written by ``engine.attempts.hearings``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from rpcproxy.messages import Judgement, Verdict
from rpcproxy.rules.answers import replies
from rpcproxy.rules.standing.breaker import SLOWNESS
from rpcproxy.rules.standing.need import Need
from rpcproxy.rules.standing.reach import NEAR_BLOCKS
from rpcproxy.rules.standing.standing import Standing
from rpcproxy.words import Observation

UNANIMOUS_SECONDS: Final = 60.0
MOST_UNANIMOUS: Final = 256
LONGEST_WORDS: Final = 300
# So many different requests refused in a row speak against their upstream.
STREAK: Final = 3
# A refused key by requests alone: long enough for a probe of ours to say otherwise.
KEY_STREAK_SECONDS: Final = 2.0
# A method that is refused by the number of a limit is left alone for so long; one whose data is
# missing near the head, which may be there in a moment, for this.
LIMITED_SECONDS: Final = 30.0
MISSING_SECONDS: Final = 10.0

# What an upstream does not do, has not, or does not read.
_CANNOT: Final = frozenset(
    {
        *(Verdict.UNSUPPORTED, Verdict.SIZE_REFUSED, Verdict.RANGE_TOO_LARGE),
        *(Verdict.MISSING_DATA, Verdict.INVALID_PARAMS, Verdict.KEY_REFUSED),
    }
)
_OWN_ERRORS: Final = frozenset({Verdict.UNKNOWN, Verdict.SERVER_ERROR})
LIMITS: Final = frozenset({Verdict.RATE_LIMITED, Verdict.QUOTA})
ACCESS: Final = frozenset({Verdict.KEY_REFUSED, Verdict.QUOTA})
# The request was carried out.
WELL: Final = frozenset({Verdict.OK, Verdict.NULL, Verdict.REVERTED})
# One word of these is enough where all were known to say it; of others, two.
_ONE_IS_ENOUGH: Final = frozenset({Verdict.INVALID_PARAMS, Verdict.UNSUPPORTED})
# What is as true a minute later. An upstream's own error may pass, and data may come.
LASTING: Final = frozenset({Verdict.UNKNOWN, *ACCESS, *LIMITS, *_ONE_IS_ENOUGH})
# Says that it answered, and nothing else.
_ANSWERED: Final = Verdict.INVALID_PARAMS

_METHOD_CODES: Final = frozenset((-32601, -32612, -32613))
_OF_METHOD: Final = ("method", "module", "namespace")
_QUOTED: Final = re.compile(r"\"[^\"]*\"|'[^']*'|`[^`]*`")
_NUMBERED: Final = re.compile(r"[\w.\-]*\d[\w.\-]*", re.ASCII)


class Word(msgspec.Struct, gc=False, frozen=True):
    """What one upstream said of one request. ``topic`` is the same for the same words about
    requests of the same shape. ``place`` is the member's within a batch, −1 for a single.
    ``is_everywhere``: no node lacks the method.
    """

    standing: Standing
    need: Need
    judgement: Judgement
    started: float
    shape: str
    topic: str
    place: int = -1
    is_everywhere: bool = False


def is_word(judgement: Judgement) -> bool:
    """Whether it is a word about the request, to be held back until the request is over."""
    verdict = judgement.verdict
    if verdict in _CANNOT:
        return True
    if verdict in LIMITS:
        return judgement.by_code
    return judgement.error is not None and verdict in _OWN_ERRORS


def is_refused_access(judgement: Judgement) -> bool:
    """Whether a key, or what was paid for, may be at an end: a probe is to tell."""
    return judgement.verdict in ACCESS and is_word(judgement)


def topic_of(shape: str, judgement: Judgement) -> str:
    """The words of an error, without what differs from request to request: numbers, hex, names in
    quotes; and what they were said of.
    """
    if judgement.error is None:
        return f"{shape} {judgement.verdict.label}"
    read = replies.read_error(judgement.error)
    text = _NUMBERED.sub("", _QUOTED.sub("", read.text))
    return f"{shape} {read.code} {text[:LONGEST_WORDS]}"


def is_of_method(judgement: Judgement, method: str) -> bool:
    """Whether "unsupported" is said of the method, and not of something that was asked of it."""
    if judgement.error is None:
        return True
    read = replies.read_error(judgement.error)
    if read.code in _METHOD_CODES or method.lower() in read.text:
        return True
    return any(named in read.text for named in _OF_METHOD)


# ---- what is learned


def lesson(word: Word, now: float, *, is_taken: bool, is_streak: bool) -> Observation:
    """What a word teaches about who said it. ``is_taken``: another took the very request;
    ``is_streak``: it refuses one request after the other.
    """
    verdict = word.judgement.verdict
    if not is_taken:
        is_against_it = is_streak and verdict in (Verdict.SERVER_ERROR, *LIMITS, *ACCESS)
        # Who carries out a send is not known here; a method that it lacks has a number.
        is_lacking = word.need.for_send and verdict is Verdict.UNSUPPORTED
        is_lacking = is_lacking and is_of_method(word.judgement, word.need.method)
        return _observed(word, now, verdict if is_against_it or is_lacking else _ANSWERED)
    if verdict in (Verdict.KEY_REFUSED, *LIMITS):
        if word.standing.is_quarantined:  # it was the key, as a probe has shown
            return _observed(word, now, _ANSWERED)
        if is_streak:
            return _observed(word, now, verdict)
        if verdict in ACCESS and word.need.lowest >= 0:
            return _observed(word, now, Verdict.MISSING_DATA)
        return _of_shape(word, now, _ANSWERED)
    if _is_of_this_alone(word):
        return _of_shape(word, now, _ANSWERED)
    if verdict in (Verdict.INVALID_PARAMS, Verdict.UNKNOWN):
        return _of_shape(word, now, verdict if is_streak else _ANSWERED)
    return _observed(word, now, verdict)


def _is_of_this_alone(word: Word) -> bool:
    """Whether it is neither the method, nor a depth, a width or a size that it stops at."""
    need = word.need
    match word.judgement.verdict:
        case Verdict.UNSUPPORTED:
            return word.is_everywhere or not is_of_method(word.judgement, need.method)
        case Verdict.MISSING_DATA:
            return need.lowest < 0 or word.standing.track.number - need.lowest < NEAR_BLOCKS
        case Verdict.RANGE_TOO_LARGE:
            return need.span <= 1
        case Verdict.SIZE_REFUSED:
            return not need.request_bytes
        case _:
            return False


def _of_shape(word: Word, now: float, verdict: Verdict) -> Observation:
    said = word.judgement.verdict
    seconds = MISSING_SECONDS if said is Verdict.MISSING_DATA else None
    if said in LIMITS or said is Verdict.RANGE_TOO_LARGE:
        seconds = LIMITED_SECONDS
    observed = _observed(word, now, verdict)
    return msgspec.structs.replace(observed, shape=word.shape, cooldown_seconds=seconds)


def _observed(word: Word, now: float, verdict: Verdict) -> Observation:
    need, judgement = word.need, word.judgement
    return Observation(
        word.standing.name,
        need.method_class,
        verdict,
        now - word.started,
        need.method,
        None,
        judgement.cooldown_seconds,
        need.request_bytes,
        False,
        judgement.detail,
        lowest=need.lowest,
        span=need.span,
    )


def are_agreed(words: Iterable[Word], companies: int) -> frozenset[str]:
    """The topics that two upstreams spoke of alike, of different companies where there are."""
    said: dict[str, set[tuple[str, str]]] = {}
    for word in words:
        who = word.standing.name, word.standing.provider
        said.setdefault(word.topic, set()).add(who)
    return frozenset(
        topic
        for topic, who in said.items()
        if len(who) >= 2 and (companies < 2 or len({company for _, company in who}) >= 2)
    )


# ---- memories


class Agreed(msgspec.Struct, gc=False, frozen=True):
    """Who said the same, and who had nothing to say in all the time that there was."""

    spoke: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()

    @property
    def names(self) -> frozenset[str]:
        return self.spoke | self.silent


_NOBODY: Final = Agreed()


class Unanimous:
    """What all that were asked said lately, and who they were."""

    __slots__ = ("_said",)

    def __init__(self) -> None:
        self._said: dict[str, tuple[float, Agreed]] = {}

    def __len__(self) -> int:
        return len(self._said)

    def remember(self, topic: str, agreed: Agreed, now: float) -> None:
        """After a minute all are heard anew, however often it is said until then."""
        known = self.said_by(topic, now)
        until, _ = self._said.pop(topic, (0.0, known))
        while len(self._said) >= MOST_UNANIMOUS:
            del self._said[next(iter(self._said))]
        if not known.names >= agreed.names:
            until = now + UNANIMOUS_SECONDS
        spoke = known.spoke | agreed.spoke
        self._said[topic] = until, Agreed(spoke, (known.silent | agreed.silent) - spoke)

    def said_by(self, topic: str, now: float) -> Agreed:
        """Who is known to say so; nobody where it is not known, or too long ago."""
        until, agreed = self._said.get(topic, (0.0, _NOBODY))
        return agreed if now < until else _NOBODY

    def forget(self, topic: str) -> None:
        """Somebody took such a request after all."""
        self._said.pop(topic, None)


class Streaks:
    """Shapes of requests refused in a row, by upstream and verdict, with no answer in between."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        self._rows: dict[tuple[str, Verdict], tuple[float, float, frozenset[str]]] = {}

    def on_word(self, word: Word, now: float) -> bool:
        """One more; whether so many now speak against the upstream."""
        standing, verdict = word.standing, word.judgement.verdict
        key = standing.name, verdict
        began, last, shapes = self._rows.get(key, (now, now, frozenset()))
        if standing.has_answered_since(last) or (shapes and standing.has_answered_since(began)):
            began, shapes = now, frozenset()
        if len(shapes) < STREAK:
            shapes |= {word.shape}
        self._rows[key] = began, now, shapes
        if len(shapes) < STREAK:
            return False
        return verdict not in ACCESS or now - began >= KEY_STREAK_SECONDS


# ---- what was said of one request


class Hearing:
    """What upstreams said of one request so far. State of one plan."""

    __slots__ = ("has_failed_otherwise", "is_limited", "is_open", "said", "silent")

    def __init__(self) -> None:
        self.said: dict[str, str] = {}  # by upstream: the topic
        self.silent: frozenset[str] = frozenset()  # who had no answer in time
        self.has_failed_otherwise = False  # a connection, a real limit: it may be better soon
        self.is_limited = False  # by a real limit
        self.is_open = False  # somebody failed who may say something else the next time

    def on_judgement(self, name: str, judgement: Judgement, topic: str) -> None:
        """An attempt ended; ``topic`` is of a word."""
        if is_word(judgement):
            self.said[name] = topic
        elif judgement.verdict is not Verdict.CANCELLED:
            self.has_failed_otherwise = True
            self.is_limited |= judgement.verdict in LIMITS
            if judgement.verdict in SLOWNESS:
                self.silent |= {name}
            else:
                self.is_open = True

    def known_by(
        self, name: str, judgement: Judgement, unanimous: Unanimous, now: float
    ) -> frozenset[str]:
        """Who is known to say what ``name`` said, where enough have said so again."""
        topic = self.said.get(name)
        if not topic or judgement.verdict not in LASTING:
            return frozenset()
        agreed = unanimous.said_by(topic, now)
        needed = 1 if judgement.verdict in _ONE_IS_ENOUGH else min(2, len(agreed.spoke))
        said = sum(told == topic for told in self.said.values())
        return agreed.names if said >= needed else frozenset()

    def unanimous(self, *, is_over: bool) -> tuple[str, Agreed]:
        """The one topic of all that was said, empty where there is none, or more; and by whom.
        ``is_over``: those that are silent had all the time that there is.
        """
        topics = set(self.said.values())
        silent = self.silent.difference(self.said)
        if len(topics) != 1 or self.is_open or (silent and not is_over):
            return "", _NOBODY
        return topics.pop(), Agreed(frozenset(self.said), silent)
