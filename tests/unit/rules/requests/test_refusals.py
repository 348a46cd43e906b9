"""What errors mean and teach, as tables."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rpcproxy.chains.registry import EVM
from rpcproxy.messages import Head, Judgement, MethodClass, Verdict
from rpcproxy.rules.requests.refusals import (
    MOST_UNANIMOUS,
    UNANIMOUS_SECONDS,
    Agreed,
    Hearing,
    Streaks,
    Unanimous,
    Word,
    are_agreed,
    is_of_method,
    is_word,
    lesson,
    topic_of,
)
from rpcproxy.rules.standing.need import Need
from tests.kits.fleet import Fleet, upstream

NOW = 1000.0


def said(verdict: Verdict, code: int = -32000, message: str = "no", **more: Any) -> Judgement:
    error = msgspec.Raw(msgspec.json.encode({"code": code, "message": message}))
    return Judgement(verdict, error=error, **more)


# ---- what is a word

NO_WORDS = [
    *(Judgement(v) for v in (Verdict.UNREACHABLE, Verdict.BROKEN, Verdict.TIMEOUT)),
    *(Judgement(v) for v in (Verdict.NOT_JSON, Verdict.EMPTY, Verdict.WRONG_ID, Verdict.STALE)),
    *(Judgement(v) for v in (Verdict.UNKNOWN, Verdict.SERVER_ERROR)),  # a page
    said(Verdict.RATE_LIMITED),
    said(Verdict.QUOTA),
    said(Verdict.WRONG_CHAIN),
    said(Verdict.REVERTED),
    Judgement(Verdict.OK),
    Judgement(Verdict.NULL),
]
WORDS = [
    said(Verdict.UNKNOWN),
    said(Verdict.SERVER_ERROR),
    said(Verdict.RATE_LIMITED, by_code=True),
    said(Verdict.QUOTA, by_code=True),
    said(Verdict.INVALID_PARAMS),
    *(Judgement(v) for v in (Verdict.KEY_REFUSED, Verdict.UNSUPPORTED, Verdict.SIZE_REFUSED)),
    *(Judgement(v) for v in (Verdict.RANGE_TOO_LARGE, Verdict.MISSING_DATA)),
]


@pytest.mark.parametrize("judgement", NO_WORDS)
def test_what_speaks_of_the_upstream_is_no_word_about_the_request(judgement: Judgement) -> None:
    assert not is_word(judgement)


@pytest.mark.parametrize("judgement", WORDS)
def test_what_may_speak_of_the_request_is_a_word(judgement: Judgement) -> None:
    assert is_word(judgement)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("block #95 not found", "block #1024 not found"),
        ("call to 0xAb12 failed", "call to 0x00 failed"),
        ('unknown field "stateDif"', 'unknown field "balanc"'),
        ("no key `a`", "no key `b`"),
        ("height 12, head 10", "height 7, head 9"),
        ("trace id 3f2a-99", "trace id 77bc-01"),
    ],
)
def test_the_same_words_of_other_numbers_are_the_same_words(one: str, other: str) -> None:
    topics = [topic_of("eth_call 1", said(Verdict.UNKNOWN, message=m)) for m in (one, other)]
    assert topics[0] == topics[1]


def test_other_words_another_code_and_another_shape_are_another_topic() -> None:
    one = said(Verdict.UNKNOWN)
    topics = {
        topic_of("eth_call 1", one),
        topic_of("eth_call 2", one),
        topic_of("eth_call 1", said(Verdict.UNKNOWN, message="yes")),
        topic_of("eth_call 1", said(Verdict.UNKNOWN, code=-32001)),
        topic_of("eth_call 1", Judgement(Verdict.KEY_REFUSED)),
    }
    assert len(topics) == 5
    assert len(topic_of("x", said(Verdict.UNKNOWN, message="word " * 1000))) < 400


@pytest.mark.parametrize(
    ("code", "message", "is_of"),
    [
        (-32601, "no", True),
        (-32000, "the method eth_getLogs does not exist/is not available", True),
        (-32004, "eth_getlogs is not supported", True),
        (-32000, "pending logs are not supported", False),
        (-32000, "notification not supported", False),
        (-32000, "state overrides not supported", False),
    ],
)
def test_unsupported_is_the_method_or_what_was_asked_of_it(
    code: int, message: str, is_of: bool
) -> None:
    judgement = said(Verdict.UNSUPPORTED, code=code, message=message)
    assert is_of_method(judgement, "eth_getLogs") is is_of


# ---- what it teaches


def word(
    judgement: Judgement, name: str = "a", topic: str = "t", shape: str = "eth_call 1", **need: Any
) -> Word:
    fleet = Fleet([upstream("a"), upstream("b"), upstream("twin", provider="a")])
    fleet.tell(name, head=Head(1000))
    needed = Need(MethodClass.LIGHT, **{"method": "eth_call", **need})
    is_everywhere = EVM.methods.describe(needed.method).is_everywhere
    return Word(
        fleet[name], needed, judgement, NOW - 0.1, shape, topic, is_everywhere=is_everywhere
    )


@pytest.mark.parametrize("judgement", WORDS)
def test_alone_it_teaches_nothing(judgement: Judgement) -> None:
    told = lesson(word(judgement), NOW, is_taken=False, is_streak=False)
    assert (told.verdict, told.shape) == (Verdict.INVALID_PARAMS, "")


@pytest.mark.parametrize(
    ("judgement", "need", "verdict", "shape"),
    [
        (said(Verdict.SERVER_ERROR), {}, Verdict.SERVER_ERROR, ""),
        (said(Verdict.UNKNOWN), {}, Verdict.INVALID_PARAMS, "eth_call 1"),
        (said(Verdict.INVALID_PARAMS), {}, Verdict.INVALID_PARAMS, "eth_call 1"),
        (said(Verdict.UNSUPPORTED, -32601), {"method": "eth_getLogs"}, Verdict.UNSUPPORTED, ""),
        (said(Verdict.UNSUPPORTED, -32601), {}, Verdict.INVALID_PARAMS, "eth_call 1"),
        (said(Verdict.UNSUPPORTED, message="x"), {}, Verdict.INVALID_PARAMS, "eth_call 1"),
        (Judgement(Verdict.MISSING_DATA), {"lowest": 5}, Verdict.MISSING_DATA, ""),
        (Judgement(Verdict.MISSING_DATA), {}, Verdict.INVALID_PARAMS, "eth_call 1"),
        (Judgement(Verdict.MISSING_DATA), {"lowest": 950}, Verdict.INVALID_PARAMS, "eth_call 1"),
        (Judgement(Verdict.RANGE_TOO_LARGE), {"span": 9}, Verdict.RANGE_TOO_LARGE, ""),
        (Judgement(Verdict.RANGE_TOO_LARGE), {"span": 1}, Verdict.INVALID_PARAMS, "eth_call 1"),
        (Judgement(Verdict.SIZE_REFUSED), {"request_bytes": 9000}, Verdict.SIZE_REFUSED, ""),
        (Judgement(Verdict.SIZE_REFUSED), {}, Verdict.INVALID_PARAMS, "eth_call 1"),
        (Judgement(Verdict.KEY_REFUSED), {}, Verdict.INVALID_PARAMS, "eth_call 1"),
        (Judgement(Verdict.KEY_REFUSED), {"lowest": 5}, Verdict.MISSING_DATA, ""),
        (Judgement(Verdict.QUOTA, by_code=True), {"lowest": 5}, Verdict.MISSING_DATA, ""),
        (said(Verdict.RATE_LIMITED, by_code=True), {}, Verdict.INVALID_PARAMS, "eth_call 1"),
    ],
)
def test_what_another_took_is_learned_as_narrowly_as_can_be(
    judgement: Judgement, need: dict[str, Any], verdict: Verdict, shape: str
) -> None:
    told = lesson(word(judgement, **need), NOW, is_taken=True, is_streak=False)
    assert (told.verdict, told.shape) == (verdict, shape)
    assert told.seconds == pytest.approx(0.1)


@pytest.mark.parametrize("is_taken", [True, False])
@pytest.mark.parametrize(
    "judgement",
    [
        said(Verdict.SERVER_ERROR),
        Judgement(Verdict.KEY_REFUSED),
        said(Verdict.RATE_LIMITED, by_code=True),
        said(Verdict.QUOTA, by_code=True),
    ],
)
def test_one_refusal_after_the_other_counts(judgement: Judgement, is_taken: bool) -> None:
    told = lesson(word(judgement), NOW, is_taken=is_taken, is_streak=True)
    assert told.verdict is judgement.verdict


def test_two_of_one_company_are_no_two() -> None:
    unknown = said(Verdict.UNKNOWN)
    assert are_agreed([word(unknown), word(unknown)], 2) == frozenset()
    assert are_agreed([word(unknown), word(unknown, "twin")], 2) == frozenset()
    assert are_agreed([word(unknown), word(unknown, "twin")], 1) == {"t"}
    assert are_agreed([word(unknown), word(unknown, "b")], 2) == {"t"}
    assert are_agreed([word(unknown), word(unknown, "b", topic="u")], 2) == frozenset()


# ---- memories


def said_by(names: str) -> Agreed:
    return Agreed(frozenset(names))


def test_what_was_unanimous_is_known_for_a_minute_and_bounded() -> None:
    memory = Unanimous()
    memory.remember("t", said_by("ab"), NOW)
    memory.remember("t", said_by("a"), NOW + UNANIMOUS_SECONDS - 1)
    assert memory.said_by("t", NOW + UNANIMOUS_SECONDS - 1) == said_by("ab")
    assert memory.said_by("t", NOW + UNANIMOUS_SECONDS) == Agreed()
    memory.remember("t", said_by("a"), NOW + UNANIMOUS_SECONDS)
    assert memory.said_by("t", NOW + UNANIMOUS_SECONDS) == said_by("a")
    memory.forget("t")
    assert memory.said_by("t", NOW) == Agreed()
    for index in range(2 * MOST_UNANIMOUS):
        memory.remember(f"t{index}", said_by("a"), NOW)
    assert len(memory) == MOST_UNANIMOUS


def test_who_was_silent_and_speaks_is_silent_no_more() -> None:
    memory = Unanimous()
    memory.remember("t", Agreed(frozenset("b"), frozenset("a")), NOW)
    memory.remember("t", said_by("a"), NOW)
    assert memory.said_by("t", NOW) == said_by("ab")


def test_different_requests_in_a_row_are_a_streak_until_one_is_answered() -> None:
    fleet = Fleet([upstream("a")])
    need = Need(MethodClass.LIGHT, "eth_call")
    streaks = Streaks()

    def refuse(shape: str, verdict: Verdict = Verdict.SERVER_ERROR) -> bool:
        fleet.now += 0.5
        told = Word(fleet["a"], need, said(verdict), fleet.now, shape, "t")
        return streaks.on_word(told, fleet.now)

    assert [refuse(shape) for shape in "xxxyxz"] == [False] * 5 + [True]
    fleet.now += 0.5
    fleet.tell("a")
    assert [refuse(shape) for shape in "xyz"] == [False, False, True]
    # A refused key waits for what the probe says.
    kinds = [refuse(shape, Verdict.KEY_REFUSED) for shape in "xyzxy"]
    assert kinds == [False, False, False, False, True]


def test_enough_must_say_again_what_is_known() -> None:
    memory, hearing = Unanimous(), Hearing()
    memory.remember("t", said_by("ab"), NOW)
    unknown, bad = said(Verdict.UNKNOWN), said(Verdict.INVALID_PARAMS)
    hearing.on_judgement("a", unknown, "t")
    assert hearing.known_by("a", unknown, memory, NOW) == frozenset()
    assert hearing.known_by("a", bad, memory, NOW) == {"a", "b"}
    hearing.on_judgement("b", unknown, "t")
    assert hearing.known_by("a", unknown, memory, NOW) == {"a", "b"}
    assert hearing.known_by("a", said(Verdict.SERVER_ERROR), memory, NOW) == frozenset()
    assert hearing.unanimous(is_over=False) == ("t", said_by("ab"))
    hearing.on_judgement("c", Judgement(Verdict.TIMEOUT), "")
    assert hearing.unanimous(is_over=False) == ("", Agreed())
    assert hearing.unanimous(is_over=True) == ("t", Agreed(frozenset("ab"), frozenset("c")))
    hearing.on_judgement("d", Judgement(Verdict.BROKEN), "")
    assert hearing.unanimous(is_over=True) == ("", Agreed())


def test_of_two_the_one_that_speaks_is_enough_where_the_other_is_silent() -> None:
    memory, hearing = Unanimous(), Hearing()
    memory.remember("t", Agreed(frozenset("b"), frozenset("a")), NOW)
    hearing.on_judgement("b", said(Verdict.UNKNOWN), "t")
    assert hearing.known_by("b", said(Verdict.UNKNOWN), memory, NOW) == {"a", "b"}
