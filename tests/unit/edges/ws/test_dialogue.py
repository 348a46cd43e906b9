"""What a feed of blocks says, and whether it lives: without a socket, on a clock of our own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcproxy.chains.evm.feed import NEW_HEADS
from rpcproxy.edges.ws.dialogue import Dialogue, Ending, FeedSettings, LivenessCheck, Pulse

SETTINGS = FeedSettings(12.0, NEW_HEADS)
SILENCE = 36.0


def said(**members: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **members}).encode()


def block(number: int) -> dict[str, str]:
    return {"number": hex(number), "hash": f"0x{number:064x}", "parentHash": f"0x{number - 1:064x}"}


def notice(number: int, subscription: str | int = "0xa") -> bytes:
    return said(
        method="eth_subscription", params={"subscription": subscription, "result": block(number)}
    )


def subscribed(result: object = "0xa", id: object = 1) -> Dialogue:
    dialogue = Dialogue(SETTINGS)
    assert dialogue.read(said(id=id, result=result)) == []
    assert dialogue.is_subscribed
    return dialogue


def numbers(dialogue: Dialogue, text: bytes) -> list[int]:
    return [head.number for head, _ in dialogue.read(text)]


def test_what_is_sent_is_spelled_as_the_chain_says() -> None:
    dialogue = Dialogue(SETTINGS)
    assert json.loads(dialogue.subscribing) == {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "eth_subscribe",
        "params": ["newHeads"],
    }
    kept = json.loads(dialogue.keepalive)
    assert (kept["method"], kept["params"]) == ("net_version", [])
    assert kept["id"] != 1


def test_a_block_comes_with_the_text_of_its_header() -> None:
    text = b'{"number" : "0x10","hash":"0xAB","parentHash":"0xcd","timestamp":"0x5","x":[1, 2]}'
    [(head, header)] = subscribed().read(
        b'{"jsonrpc":"2.0","method":"eth_subscription","params":{"subscription":"0xa","result":%b}}'
        % text
    )
    assert (head.number, head.hash, head.parent_hash, head.timestamp) == (16, "0xab", "0xcd", 5)
    assert header == text


@pytest.mark.parametrize("subscription", ["0xa", 7, "a string \u00e9"])
def test_a_subscription_may_be_a_string_or_a_number(subscription: str | int) -> None:
    assert numbers(subscribed(subscription), notice(3, subscription)) == [3]


def test_a_gateway_that_makes_strings_of_ids() -> None:
    assert numbers(subscribed(id="1"), notice(3)) == [3]


def test_heads_that_fall_and_repeat_are_handed_on() -> None:
    dialogue = subscribed()
    assert [numbers(dialogue, notice(n)) for n in (5, 6, 4, 4)] == [[5], [6], [4], [4]]


def test_what_overtakes_the_reply_is_kept_for_its_subscription() -> None:
    dialogue = Dialogue(SETTINGS)
    for text in (notice(3), notice(99, "0xother"), notice(4)):
        assert dialogue.read(text) == []
    assert not dialogue.is_subscribed
    assert numbers(dialogue, said(id=1, result="0xa")) == [3, 4]
    assert numbers(dialogue, notice(5)) == [5]


def test_of_what_overtakes_the_reply_only_the_last_is_kept() -> None:
    dialogue = Dialogue(SETTINGS)
    for number in range(1000):
        dialogue.read(notice(number))
    assert numbers(dialogue, said(id=1, result="0xa")) == list(range(984, 1000))


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"ping", b"{", b"[]", b"null", b"\xff\xfe", b"1" * 400, b"[" * 100_000),
        notice(9, "0xother"),
        said(method="eth_subscription"),
        said(method="eth_subscription", params=[1]),
        said(method="eth_subscription", params={"subscription": None, "result": block(1)}),
        said(method="eth_subscription", params={"subscription": "0xa"}),
        said(method="eth_subscription", params={"subscription": "0xa", "result": None}),
        said(method="eth_subscription", params={"subscription": "0xa", "result": "0x1"}),
        said(method="eth_subscription", params={"subscription": "0xa", "result": {"number": 1}}),
        said(method="eth_subscription", params={"subscription": "0xa", "error": {"code": 1}}),
        said(method="net_peers", params=[1]),
        said(method={}, params=[1]),
        said(id=2, result="1"),
        said(id=2, error={"code": -32601, "message": "net_version is not available"}),
        said(id=1, result="0xagain"),
        said(id=1, error={"code": 1, "message": "too late"}),
        said(id=None, error={"code": 1}),
    ],
)
def test_other_messages_bring_nothing_and_harm_nothing(text: bytes) -> None:
    dialogue = subscribed()
    assert dialogue.read(text) == []
    assert dialogue.ending is None
    assert numbers(dialogue, notice(3)) == [3]


@given(st.binary(max_size=60))
def test_never_raises(text: bytes) -> None:
    Dialogue(SETTINGS).read(text)


@pytest.mark.parametrize(
    ("error", "pause", "words"),
    [
        ({"code": -32601, "message": "no"}, 600, "error -32601"),
        ({"code": -32000, "message": "notifications not supported"}, 600, "error -32000"),
        ({"code": -32602, "message": "invalid argument"}, 600, "error -32602"),
        ({"code": 401, "message": "key k-e-y"}, 600, "error 401"),
        ({"code": -32005, "message": "slow"}, 60, "rate limited"),
        ({"code": 1, "message": "Too Many Requests"}, 60, "rate limited"),
        ({"code": -32603, "message": "internal k-e-y"}, None, "eth_subscribe got error -32603"),
        ({"message": None}, None, "eth_subscribe got an error"),
        ({"code": "k-e-y"}, None, "eth_subscribe got an error"),
        ({"code": True}, None, "eth_subscribe got an error"),
        ("k-e-y", None, "eth_subscribe got an error"),
    ],
)
@pytest.mark.parametrize("id", [1, "1", None])
def test_a_refused_subscription(error: object, pause: float | None, words: str, id: object) -> None:
    dialogue = Dialogue(SETTINGS)
    assert dialogue.read(said(id=id, error=error)) == []
    assert dialogue.ending is not None
    assert dialogue.ending.pause_seconds == pause
    assert words in dialogue.ending.reason
    assert "k-e-y" not in dialogue.ending.reason
    assert not dialogue.is_subscribed


@pytest.mark.parametrize("members", [{"result": None}, {"result": False}, {"result": {}}, {}])
def test_a_reply_that_names_no_subscription(members: dict[str, Any]) -> None:
    dialogue = Dialogue(SETTINGS)
    dialogue.read(said(id=1, **members))
    assert dialogue.ending == Ending("answered eth_subscribe with no subscription")


def test_an_error_that_is_null_is_none() -> None:
    dialogue = Dialogue(SETTINGS)
    dialogue.read(said(id=1, result="0xa", error=None))
    assert dialogue.is_subscribed


# ---- Pulse


def asked(pulse: Pulse, now: float) -> LivenessCheck:
    step = pulse.step(now, SILENCE)
    assert isinstance(step, LivenessCheck), step
    return step


def rests(pulse: Pulse, now: float) -> float:
    """When it has to be looked at again."""
    step = pulse.step(now, SILENCE)
    assert isinstance(step, float), step
    assert step > 0
    return now + step


def ponging(now: float = 0.0) -> Pulse:
    pulse = Pulse(SETTINGS, now)
    assert asked(pulse, now) is LivenessCheck.PING
    pulse.on_heard(now + 0.1, is_pong=True)
    return pulse


def test_a_feed_that_answers_pings_is_kept_alive_by_them() -> None:
    pulse = ponging()
    assert rests(pulse, 0.2) == 10  # the question is forgotten once its time is over
    assert rests(pulse, 10) == 30
    for now in (30.0, 60.0):
        pulse.on_head(now)
        assert asked(pulse, now) is LivenessCheck.PING
        pulse.on_heard(now + 0.1, is_pong=True)
        rests(pulse, now + 10)


def test_a_silent_feed_is_asked_and_dropped_without_a_pong() -> None:
    pulse = ponging()
    pulse.on_head(29.9)
    assert asked(pulse, 30) is LivenessCheck.PING
    pulse.on_heard(30.1, is_pong=True)
    pulse.on_head(33)
    assert rests(pulse, 40) == 60
    assert asked(pulse, 60) is LivenessCheck.PING
    assert rests(pulse, 60.1) == 70
    ending = pulse.step(70, SILENCE)
    assert isinstance(ending, Ending)
    assert ending.reason == "no sign of life for 37 s"
    assert ending.pause_seconds is None


def test_the_silence_limit_asks_earlier_than_the_usual_question() -> None:
    pulse = ponging()
    assert pulse.step(10.0, 10.0) == pytest.approx(0.1)
    assert pulse.step(10.1, 10.0) is LivenessCheck.PING


def test_pongs_without_blocks_last_for_two_silences() -> None:
    pulse = ponging()
    for now in (30.0, 60.0):
        rests(pulse, now - 20)
        assert asked(pulse, now) is LivenessCheck.PING
        pulse.on_heard(now + 0.1, is_pong=True)
    assert rests(pulse, 70) == 72
    assert pulse.step(72, SILENCE) == Ending("no block for 72 s")


def test_an_upstream_that_drops_pings_is_asked_with_a_call() -> None:
    pulse = Pulse(SETTINGS, 0)
    assert asked(pulse, 0) is LivenessCheck.PING
    pulse.on_head(5)
    assert rests(pulse, 10) == 30
    pulse.on_head(29)
    assert asked(pulse, 30) is LivenessCheck.CALL
    pulse.on_heard(30.2)
    pulse.on_head(35)
    assert rests(pulse, 40) == 60
    assert asked(pulse, 60) is LivenessCheck.CALL
    assert pulse.step(70, 60) == Ending("no sign of life for 35 s")


def test_a_ping_that_was_dropped_is_followed_by_a_call_at_once() -> None:
    pulse = Pulse(SETTINGS, 0)
    assert asked(pulse, 0) is LivenessCheck.PING
    assert asked(pulse, 10) is LivenessCheck.CALL
    pulse.on_heard(11)
    assert rests(pulse, 20) == 40
    assert asked(pulse, 40) is LivenessCheck.CALL
    assert pulse.step(50, SILENCE) == Ending("no sign of life for 39 s")


def test_one_lost_pong_among_blocks_changes_nothing() -> None:
    pulse = ponging()
    pulse.on_head(29)
    rests(pulse, 29)
    assert asked(pulse, 30) is LivenessCheck.PING
    pulse.on_head(39)
    assert rests(pulse, 40) == 60
    assert asked(pulse, 60) is LivenessCheck.PING


def test_a_late_pong_shows_that_pings_are_answered() -> None:
    pulse = Pulse(SETTINGS, 0)
    assert asked(pulse, 0) is LivenessCheck.PING
    pulse.on_head(1)
    rests(pulse, 10)
    pulse.on_heard(11, is_pong=True)
    pulse.on_head(29)
    assert asked(pulse, 30) is LivenessCheck.PING
