"""engine.answers.gathered and engine.answers.shared_text: replies of a batch, as far as there is room."""

from __future__ import annotations

import asyncio

import pytest

from rpcproxy.engine.answers.gathered import COPIED_BYTES, WHOLE_BYTES, Gathered
from rpcproxy.engine.answers.shared_text import SHARED_FROM_BYTES, SharedText, result_answer
from rpcproxy.messages import Answer, Caller, Request, StreamBroken
from rpcproxy.rules.answers.holding import Holdings
from tests.sockets.front_kit import Pieces

MIB = 1024 * 1024


def a_request(id: int = 1) -> Request:
    return Request("eth_getLogs", b"%d" % id)


async def nobody(_request: Request) -> Answer:
    raise AssertionError("nothing is asked for again")


async def text_of(answer: Answer) -> bytes:
    text = answer.body
    while answer.rest is not None and (piece := await answer.rest.read()):
        text += piece
    return text


def a_batch(count: int, total: int = 256 * MIB) -> tuple[Gathered, Holdings]:
    holdings = Holdings(total, total)
    return Gathered(count, Caller("t"), holdings.purse("10.0.0.1")), holdings


def run(coroutine):
    return asyncio.run(coroutine)


def test_small_replies_are_one_text_without_those_that_want_none():
    batch, holdings = a_batch(4)
    batch.put(0, b"1", a_request())
    batch.put_always(1, b"")
    batch.put_result(2, a_request(7), b"2")
    batch.put_always(3, b"3")
    answer = batch.answer(nobody)
    assert (answer.body, answer.rest) == (b'[1,{"jsonrpc":"2.0","id":7,"result":2},3]', None)
    assert holdings.used == 0
    empty, _ = a_batch(1)
    empty.put_always(0, b"")
    assert empty.answer(nobody).body == b""


def test_large_ones_are_written_in_order_and_given_back():
    batch, holdings = a_batch(3)
    for index in range(3):
        batch.put(index, b"%d" % index * 5 * MIB, a_request())
    assert 15 * MIB <= holdings.used <= 16 * MIB + 16 * 1024
    answer = batch.answer(nobody)
    assert run(text_of(answer)) == b"[%b,%b,%b]" % (b"0" * 5 * MIB, b"1" * 5 * MIB, b"2" * 5 * MIB)
    assert holdings.used == 0


def test_what_finds_no_room_is_asked_for_at_its_turn():
    batch, holdings = a_batch(5, 20 * MIB)
    asked = []
    rests = [Pieces(b"y" * 100, b"z"), Pieces(b"w")]

    async def ask(request: Request) -> Answer:
        asked.append(bytes(request.id))
        assert holdings.used <= 10 * MIB
        return Answer(b"x", rest=rests[len(asked) - 1])

    for index in range(4):
        batch.put(index, b"%d" % index * 4 * MIB, a_request(index))
    batch.put_always(4, b"4")
    assert holdings.used <= 10 * MIB, "half of all"
    assert list(batch.later) == [2, 3]
    text = run(text_of(batch.answer(ask)))
    head = b"[%b,%b" % (b"0" * 4 * MIB, b"1" * 4 * MIB)
    assert text == head + b",x" + b"y" * 100 + b"z,xw,4]"
    assert asked == [b"2", b"3"]
    assert [rest.closed for rest in rests] == [1, 1]
    assert holdings.used == 0


def test_a_member_that_comes_in_pieces_is_taken_as_far_as_there_is_room():
    batch, holdings = a_batch(3, 20 * MIB)
    whole, too_large, broken = (
        Pieces(*[b"a" * MIB] * 4),
        Pieces(*[b"b" * MIB] * 40),
        Pieces(b"c", StreamBroken("gone")),
    )
    for index, rest in enumerate((whole, too_large, broken)):
        run(batch.put_answer(index, Answer(b"[", rest=rest), a_request(index)))
    assert batch[0] == b"[" + b"a" * 4 * MIB
    assert list(batch.later) == [1]
    assert b"the answer broke off: gone" in batch[2], "its fault is not the others'"
    assert [rest.closed for rest in (whole, too_large, broken)] == [1, 1, 1]
    assert too_large.pieces, "it is not read on"
    assert holdings.used < 11 * MIB
    batch.end()
    assert holdings.used == 0


def test_a_reply_of_another_branch_replaces_the_one_before():
    batch, _ = a_batch(1)
    batch.put(0, b"old" * 10, a_request())
    batch.put(0, b"new", a_request())
    assert (batch[0], batch.size) == (b"new", 3)
    batch.put_result(0, a_request(), b"x" * (COPIED_BYTES + 1))
    assert (batch[0], batch.size, list(batch.later)) == (None, 0, [0])
    batch.put_always(0, b"kept")
    assert (batch[0], batch.later) == (b"kept", {})


def test_what_is_kept_and_large_is_not_copied_a_thousand_times():
    batch, holdings = a_batch(1000)
    result = b'"%b"' % (b"x" * (8 * MIB - 2))
    for index in range(1000):
        batch.put_result(index, a_request(index), result)
    assert holdings.used == 0

    async def ask(request: Request) -> Answer:
        return result_answer(bytes(request.id), result)

    async def beginning() -> int:
        answer = batch.answer(ask)
        total = 0
        while total < 20 * MIB:
            total += len(await answer.rest.read())
        answer.rest.close()
        return total

    assert run(beginning()) >= 20 * MIB
    assert holdings.used == 0


def test_closing_in_the_middle_gives_everything_back():
    batch, holdings = a_batch(4, 40 * MIB)
    rest = Pieces(*[b"x"] * 10)

    async def ask(_request: Request) -> Answer:
        return Answer(b"[", rest=rest)

    async def part() -> None:
        answer = batch.answer(ask)
        for _ in range(3):
            await answer.rest.read()
        answer.rest.close()
        answer.rest.close()
        assert await answer.rest.read() == b""

    run(batch.put_answer(0, Answer(b"a", rest=Pieces(*[b"b" * MIB] * 100)), a_request()))
    for index in (1, 2, 3):
        batch.put(index, b"%d" % index * 6 * MIB, a_request())
    run(part())
    assert holdings.used == 0
    assert rest.closed >= 1


def test_a_reply_that_is_just_as_large_as_one_text_may_be():
    batch, _ = a_batch(1)
    batch.put(0, b"x" * WHOLE_BYTES, a_request())
    assert batch.answer(nobody).rest is None


@pytest.mark.parametrize(
    "size", [1, SHARED_FROM_BYTES - 3, SHARED_FROM_BYTES, 3 * MIB, 3 * MIB - 1]
)
def test_a_shared_result_is_the_same_in_pieces_and_whole(size):
    result = b'"%b"' % (b"x" * size)
    wanted = b'{"jsonrpc":"2.0","id":5,"result":%b}' % result
    answer = result_answer(b"5", result)
    assert (answer.rest is None) is (len(result) < SHARED_FROM_BYTES)
    if answer.rest is not None:
        assert isinstance(answer.rest, SharedText)
        assert answer.rest.size + len(answer.body) == len(wanted)
        again = result_answer(b"5", result)
        assert again.body + again.rest.whole() == wanted
        again.rest.close()
    assert run(text_of(answer)) == wanted
