"""Bodies: content coding undone within bounds, held up to a size, streamed beyond it."""

from __future__ import annotations

import asyncio
import gzip
import random
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpcproxy.edges.http.reply_body import QUEUE_FULL_BYTES, HeldBody, Inflater, Rest
from rpcproxy.edges.http.reply_head import BadReply
from rpcproxy.messages import FailureKind, StreamBroken
from tests.sockets.scripted import read_all

MIB = 1024 * 1024
TEXT = b'{"jsonrpc":"2.0","id":1,"result":"' + random.Random(1).randbytes(3000).hex().encode()


def raw_deflate(data: bytes) -> bytes:
    coder = zlib.compressobj(wbits=-15)
    return coder.compress(data) + coder.flush()


CODED = {
    "gzip": ("gzip", gzip.compress(TEXT)),
    "two members": ("gzip", gzip.compress(TEXT[:500]) + gzip.compress(TEXT[500:])),
    "zlib": ("deflate", zlib.compress(TEXT)),
    "raw": ("deflate", raw_deflate(TEXT)),
}


@pytest.mark.parametrize("name", CODED)
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_decoded_in_any_pieces(name: str, step: int) -> None:
    coding, coded = CODED[name]
    body = HeldBody(coding, MIB, MIB)
    for at in range(0, len(coded), step):
        body.add([coded[at : at + step]])
    body.check_whole()
    assert not body.is_over
    assert body.join() == TEXT


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=2000), st.integers(1, 300), st.sampled_from(["gzip", "deflate"]))
def test_output_comes_no_faster_than_asked_and_none_is_lost(
    data: bytes, limit: int, coding: str
) -> None:
    data *= 5
    inflater = Inflater(coding, MIB)
    inflater.give(gzip.compress(data) if coding == "gzip" else zlib.compress(data))
    out = b""
    while inflater.has_more:
        piece = inflater.take(limit)
        assert len(piece) <= limit
        out += piece
    assert out == data
    assert inflater.is_whole


@pytest.mark.parametrize("name", CODED)
def test_cut_short(name: str) -> None:
    coding, coded = CODED[name]
    for cut in (1, 5, len(coded) - 1):
        body = HeldBody(coding, MIB, MIB)
        body.add([coded[:cut]])
        with pytest.raises(BadReply) as caught:
            body.check_whole()
        assert caught.value.failure.kind is FailureKind.TRUNCATED


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_corrupt(coding: str) -> None:
    for data in (b"\xff" * 20, CODED["gzip"][1] + b"tail", CODED["zlib"][1] + b"tail"):
        body = HeldBody(coding, MIB, MIB)
        with pytest.raises(BadReply) as caught:
            body.add([data])
        assert caught.value.failure.kind is FailureKind.PROTOCOL


def test_no_bytes_at_all_are_a_whole_body() -> None:
    body = HeldBody("gzip", MIB, MIB)
    body.add([])
    body.check_whole()
    assert body.join() == b""


def test_a_bomb_is_too_large_and_dense_json_is_not() -> None:
    bomb = gzip.compress(b"0" * (4 * MIB))
    body = HeldBody("gzip", 8 * MIB, MIB)
    with pytest.raises(BadReply) as caught:
        body.add([bomb])
    assert caught.value.failure.kind is FailureKind.TOO_LARGE
    dense = random.Random(2).randbytes(MIB).hex().encode()
    body = HeldBody("gzip", 8 * MIB, MIB)
    body.add([gzip.compress(dense)])
    assert body.join() == dense


def test_nothing_is_decoded_beyond_what_may_be_held() -> None:
    data = random.Random(8).randbytes(10_000).hex().encode()
    wire = gzip.compress(data)
    body = HeldBody("gzip", 1000, MIB)
    body.add([wire[:4000], wire[4000:8000], wire[8000:]])
    assert body.is_over
    assert body.join() == data[:1001]


class Owner:
    def __init__(self) -> None:
        self.resumed = 0
        self.dropped = 0

    def resume(self) -> None:
        self.resumed += 1

    def drop(self) -> None:
        self.dropped += 1


def over(coding: str, wire: bytes, owner: Owner, hold_bytes: int = 1000) -> tuple[bytes, Rest]:
    body = HeldBody(coding, hold_bytes, 64 * MIB)
    body.add([wire])
    assert body.is_over
    return body.split(asyncio.get_running_loop(), owner)


@pytest.mark.parametrize("coding", ["", "gzip"])
async def test_what_is_not_held_is_streamed(coding: str) -> None:
    data = random.Random(3).randbytes(MIB).hex().encode()
    wire = gzip.compress(data) if coding else data
    owner = Owner()
    first, rest = over(coding, wire[:100_000], owner)
    reading = asyncio.ensure_future(rest.read()) if not coding else None
    await asyncio.sleep(0)
    read = [first]
    for at in range(100_000, len(wire), 50_000):
        rest.push([wire[at : at + 50_000]])
        if reading is not None:
            read.append(await reading)
            reading = None
    rest.finish()
    while piece := await rest.read():
        read.append(piece)
    assert b"".join(read) == data
    assert await rest.read() == b""
    rest.close()
    assert owner.dropped == 0


async def test_what_is_held_is_given_in_pieces_and_not_joined() -> None:
    body = HeldBody("", 100_000, 64 * MIB)
    pieces = [bytes([n]) * 10_000 for n in range(12)]
    body.add(pieces)
    beginning, rest = body.split(asyncio.get_running_loop(), Owner())
    assert beginning == pieces[0] + pieces[1]  # enough to tell what it is
    rest.push([b"more"])
    rest.finish()
    assert [await rest.read() for _ in range(11)] == [*pieces[2:], b"more"]
    assert await rest.read() == b""


async def test_back_pressure() -> None:
    owner = Owner()
    _, rest = over("", b"x" * 2000, owner)
    pushed = 0
    while not rest.push([b"y" * 50_000]):
        pushed += 1
    assert (pushed + 1) * 50_000 >= QUEUE_FULL_BYTES > pushed * 50_000
    await rest.read()
    assert owner.resumed == 0
    await rest.read()
    await rest.read()
    assert owner.resumed == 1


async def test_a_break_comes_after_what_was_received() -> None:
    owner = Owner()
    _, rest = over("", b"x" * 2000, owner)
    rest.push([b"last"])
    rest.break_off("connection reset")
    assert await rest.read() == b"last"
    with pytest.raises(StreamBroken, match="connection reset"):
        await rest.read()
    rest.close()
    assert owner.dropped == 0


async def test_a_waiting_reader_hears_of_end_and_break_and_close() -> None:
    for end, result in (("finish", b""), ("break_off", None), ("close", None)):
        _, rest = over("", b"x" * 2000, Owner())
        reading = asyncio.ensure_future(rest.read())
        await asyncio.sleep(0)
        getattr(rest, end)(*["gone"] if end == "break_off" else [])
        if result is None:
            with pytest.raises(StreamBroken):
                await reading
        else:
            assert await reading == result


async def test_closing_drops_the_connection_once() -> None:
    owner = Owner()
    _, rest = over("", b"x" * 2000, owner)
    rest.close()
    rest.close()
    assert owner.dropped == 1
    with pytest.raises(StreamBroken):
        await rest.read()


@pytest.mark.parametrize("what", ["corrupt", "short"])
async def test_a_stream_whose_coding_breaks(what: str) -> None:
    data = random.Random(4).randbytes(50_000).hex().encode()
    wire = gzip.compress(data)
    owner = Owner()
    first, rest = over("gzip", wire[:20_000], owner)
    rest.push([wire[20_000:-8], bytes(8)] if what == "corrupt" else [wire[20_000:-9]])
    if what == "short":
        rest.finish()
    assert data.startswith(first)
    assert await rest.read() in data
    with pytest.raises(StreamBroken):
        await read_all(rest)
    assert owner.dropped == (what == "corrupt")
