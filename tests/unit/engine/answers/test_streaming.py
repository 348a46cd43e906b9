"""Answers too large to hold leave in pieces, under the client's id and without our own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcproxy.clock import SYSTEM_CLOCK
from rpcproxy.engine.answers.streaming import TAIL_BYTES, TailStream, restore_id
from rpcproxy.messages import Answer, StreamBroken, Verdict
from rpcproxy.rules.answers.replies import begins_as_success

OURS = 4711
THEIRS = b'"wallet-1.50"'


class Pieces:
    """An upstream's body, as it was cut on its way; ``breaks``: its end never comes."""

    def __init__(self, pieces: Sequence[bytes] = (), *, breaks: bool = False) -> None:
        self._pieces = [piece for piece in pieces if piece]
        self._breaks = breaks
        self.is_closed = False

    async def read(self) -> bytes:
        if self._pieces:
            return self._pieces.pop(0)
        if self._breaks:
            raise StreamBroken("connection lost")
        return b""

    def close(self) -> None:
        self.is_closed = True


def restored(body: bytes, rest: Pieces, sent_id: int, id: bytes) -> Answer:
    return restore_id(body, rest, sent_id, id, clock=SYSTEM_CLOCK)


async def drain(answer: Answer) -> bytes:
    assert answer.rest is not None
    pieces = [answer.body]
    while piece := await answer.rest.read():
        pieces.append(piece)
    assert await answer.rest.read() == b""
    return b"".join(pieces)


async def passed_on(text: bytes, *cuts: int) -> bytes:
    """What the client gets of ``text``, held up to the first cut and in pieces from there."""
    places = [0, *cuts, len(text)]
    held, *pieces = (text[a:b] for a, b in pairwise(places))
    return await drain(restored(held, Pieces(pieces), OURS, THEIRS))


LONG = b"[" + b",".join(b'{"id":4711,"n":%d}' % n for n in range(100)) + b"]"
WANTED = b'{"jsonrpc":"2.0","id":"wallet-1.50","result":%b}'


@pytest.mark.parametrize(
    "form",
    [
        b'{"jsonrpc":"2.0","id":4711,"result":%b}',
        b'{"id":4711,"jsonrpc":"2.0","result":%b}',
        b'{"id":4711,"result":%b}',
        b'{"id":4711,"result":%b,"jsonrpc":"2.0"}',
        b'{"jsonrpc":"2.0","id":"4711","result":%b}',
        b'{"jsonrpc":"2.0","id":4711.0,"result":%b}',
        b'{"jsonrpc":"2.0","error":null,"id":4711,"result":%b}',
        b'{"jsonrpc":"2.0","id":4711,"result":%b,"error":null}',
        b'{"jsonrpc":"2.0","result":%b,"id":4711}',
        b'{"jsonrpc":"2.0","result":%b,"id":"4711"}',
        b'{"jsonrpc":"2.0","result":%b,"id":4711.0}',
        b'{"result":%b,"jsonrpc":"2.0","id":4711}',
        b'{"result":%b,"id":4711,"jsonrpc":"2.0"}',
        b'{"result":%b,"error":null,"id":4711}',
        b'{"result":%b,"id":4711,"error":null,"jsonrpc":"2.0"}',
        b'{"error":null,"result":%b,"id":4711}',
        b'{"jsonrpc":"2.0","id":4711,"result":%b,"id":4711}',
        b'{"jsonrpc":"2.0","id":4711,"result":%b,"took":3,"node":"a"}',
        b' {\n  "jsonrpc" : "2.0" ,\r\n\t"id" : 4711 ,\n  "result" : %b\n}\n',
        b' {\n  "jsonrpc" : "2.0" ,\r\n\t"result" : %b ,\n  "id" : 4711\n }\n ',
    ],
)
@pytest.mark.parametrize("result", [LONG, b'{"id":4711}', b'"a"', b"1", b"[]", b'"\\"id\\":4711"'])
async def test_the_clients_id_replaces_ours_wherever_it_stood(form: bytes, result: bytes) -> None:
    text = form.replace(b"%b", result)
    start = form.index(b"%b")
    assert begins_as_success(text, OURS) is Verdict.OK
    for cut in (start, start + 1, len(text) // 2, len(text) - 1):
        assert await passed_on(text, max(cut, start)) == WANTED % result


@pytest.mark.parametrize(
    "text",
    [
        b'{"jsonrpc":"2.0","id":4711,"result":%b}' % LONG,
        b'{"jsonrpc":"2.0","result":%b , "error" : null, "id" : 4711 }\n' % LONG,
    ],
)
async def test_a_body_may_be_cut_at_every_place(text: bytes) -> None:
    start = text.index(b"[")
    for cut in range(start, len(text)):
        assert await passed_on(text, cut) == WANTED % LONG
        assert await passed_on(text, start, cut) == WANTED % LONG
    assert await passed_on(text, *range(start, len(text))) == WANTED % LONG


async def test_what_looks_like_our_id_inside_the_result_is_left_alone() -> None:
    result = rb'{"a":[{"id":4711},{"id":"4711"}],"s":",\"id\":4711}","id":4711,"error":null}'
    for text in (b'{"id":4711,"result":%b}' % result, b'{"result":%b,"id":4711}' % result):
        assert await passed_on(text, text.index(b"result") + 12) == WANTED % result


async def test_the_body_is_never_empty_as_that_would_mean_no_answer() -> None:
    answer = restored(b'{"result":', Pieces([b'1,"id":4711}']), OURS, b"7")
    assert answer.body == b'{"jsonrpc":"2.0","id":7,"result":'
    assert await drain(answer) == b'{"jsonrpc":"2.0","id":7,"result":1}'


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (b'"', "in the middle"),
        (b"]", "in the middle"),
        (b'],"id":4711', "in the middle"),
        (b"]}" + b" " * TAIL_BYTES, "in the middle"),
        (b"]}", "without its id"),
        (b'],"jsonrpc":"2.0"}', "without its id"),
        (b'],"id":4712}', "another id"),
        (b'],"id":null}', "another id"),
        (b'],"id":47110}', "another id"),
        (b'],"id":"x4711"}', "another id"),
    ],
)
async def test_a_reply_that_does_not_end_as_ours_is_broken_off(end: bytes, why: str) -> None:
    answer = restored(b'{"result":[', Pieces([LONG, end]), OURS, THEIRS)
    with pytest.raises(StreamBroken, match=why):
        await drain(answer)
    assert answer.rest is not None
    with pytest.raises(StreamBroken, match=why):  # and stays so
        await answer.rest.read()


async def test_an_id_told_before_the_result_may_not_be_another_after_it() -> None:
    with pytest.raises(StreamBroken, match="another id"):
        await passed_on(b'{"id":4711,"result":[1],"id":5}', 20)


@pytest.mark.parametrize(
    "error", [b'"error":{"code":-32000,"message":"cut off"}', b'"error":"cut off"']
)
async def test_an_error_beside_the_result_is_not_hidden(error: bytes) -> None:
    text = b'{"id":4711,"result":[1],%b}' % error
    wanted = b'{"jsonrpc":"2.0","id":%b,"result":[1],%b}' % (THEIRS, error)
    assert await passed_on(text, 20) == wanted


async def test_a_stream_that_breaks_breaks_the_answer() -> None:
    for start in (b'{"id":4711,"result":[', b'{"result":['):
        answer = restored(start, Pieces([LONG], breaks=True), OURS, THEIRS)
        with pytest.raises(StreamBroken, match="connection lost"):
            await drain(answer)


async def test_giving_up_closes_the_upstreams_stream() -> None:
    pieces = Pieces([b"1]}"])
    answer = restored(b'{"id":4711,"result":[', pieces, OURS, THEIRS)
    assert answer.rest is not None
    answer.rest.close()
    answer.rest.close()
    assert pieces.is_closed


async def test_what_does_not_begin_as_a_success_is_an_error() -> None:
    pieces = Pieces([b"..."])
    answer = restored(b'{"id":4711,"error":{"code":1}', pieces, OURS, b"7")
    assert answer.rest is None
    assert pieces.is_closed
    assert json.loads(answer.body)["error"]["code"] == -32603
    assert json.loads(answer.body)["id"] == 7


async def test_memory_is_bounded_by_the_tail_and_one_piece() -> None:
    held = b'{"result":"' + b"x" * 100_000
    pieces = [b"y" * size for size in (1, 100, TAIL_BYTES, TAIL_BYTES + 1, 65536)]
    answer = restored(held, Pieces([*pieces, b'","id":4711}']), OURS, THEIRS)
    stream = answer.rest
    assert isinstance(stream, TailStream)
    assert len(answer.body) >= len(held) - TAIL_BYTES
    assert len(stream._held) == TAIL_BYTES
    while piece := await stream.read():
        assert len(piece) <= 65536 + TAIL_BYTES
        assert len(stream._held) <= TAIL_BYTES


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9999, 9999) | st.text(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from(["id", "error", "result", "a"]), inner, max_size=4)
    ),
    max_leaves=15,
)


@given(
    json_values,
    st.permutations(["jsonrpc", "id", "result", "error"]),
    st.sampled_from([None, 2]),
    st.lists(st.floats(0, 1), max_size=5),
)
async def test_any_result_in_any_order_comes_through(
    value: object, order: list[str], indent: int | None, cuts: list[float]
) -> None:
    parts = {"jsonrpc": "2.0", "id": OURS, "result": ["held", value], "error": None}
    text = json.dumps({name: parts[name] for name in order}, indent=indent).encode()
    start = text.index(b'"held"')
    places = sorted(start + int(cut * (len(text) - start)) for cut in cuts)
    told = json.loads(await passed_on(text, start, *places))
    assert told == {"jsonrpc": "2.0", "id": "wallet-1.50", "result": ["held", value]}
