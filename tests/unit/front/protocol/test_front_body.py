"""front.protocol.body, front.protocol.reader: bodies and requests in any pieces."""

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpcproxy.config.model import Limits
from rpcproxy.front.protocol.body import BadChunks, BodyTooLarge, Chunks, Pieces
from rpcproxy.front.protocol.reader import ReadingStage, RequestReader
from rpcproxy.front.protocol.request_heads import RequestHeadMemory, RequestRefused


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def test_pieces():
    pieces = Pieces(40_000)
    large = b"x" * 20_000
    assert pieces.add(b"ab") == 2
    assert pieces.add(b"cd") == 2
    assert pieces.add(large) == 20_000
    assert not pieces.is_whole
    assert pieces.received == 20_004
    assert pieces.add(b"y" * 30_000) == 19_996
    assert pieces.is_whole
    assert pieces.join() == b"abcd" + large + b"y" * 19_996
    assert pieces.add(b"more") == 0


def test_small_pieces_are_merged():
    pieces = Pieces(100_000)
    for _ in range(100_000):
        pieces.add(b"x")
    assert len(pieces._pieces) == 1
    assert pieces.join() == b"x" * 100_000


CHUNKED = b'5\r\n{"a":\r\n3;ext="x y";b\r\n 1}\r\n0\r\nX-Trailer: y\r\n\r\n'


@given(st.lists(st.integers(0, 1000), max_size=60))
def test_chunks_in_any_pieces(places):
    chunks = Chunks(100)
    used = sum(chunks.add(piece) for piece in cut(CHUNKED + b"POST", places))
    assert chunks.is_whole
    assert used == len(CHUNKED)
    assert chunks.join() == b'{"a": 1}'
    assert chunks.received == 8


def add_by_byte(chunks: Chunks, text: bytes) -> None:
    for n in range(len(text)):
        chunks.add(text[n : n + 1])


@pytest.mark.parametrize(
    "text",
    [
        b"\r\n",
        b"g\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b"1_0\r\n",
        b" 1\r\n",
        b"1 \r\n",
        b"1\n",
        b"1\r\r\n",
        b"1 ;x\r\n",
        b"1;\x00\r\n",
        b"1;\x0b\r\n",
        b"1;x\n",
        b"11111111111111111\r\n",
        b"1\r\nab\r\n",
        b"1\r\na\n\n",
        b"1\r\na\r\r\n",
        b"1\r\na0\r\n\r\n",
        b"0\r\n X: folded\r\n\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\nX: y\n\r\n",
        b"0\r\n\n",
        b"0\r\n: y\r\n\r\n",
        b"1;" + b"x" * 300 + b"\r\n",
        b"1" * 300,
        b"0\r\nX: " + b"y" * 9000 + b"\r\n\r\n",
        b"0\r\n" + b"X: y\r\n" * 3000 + b"\r\n",
        b"1;" + b"x" * 250 + b"\r\n" + (b"a\r\n1;" + b"x" * 250 + b"\r\n") * 40,
        b"1\r\na\r\n" * 3000,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_bad_chunks(text):
    with pytest.raises(BadChunks):
        Chunks(10_000).add(text)
    by_byte = Chunks(10_000)
    with pytest.raises(BadChunks):
        add_by_byte(by_byte, text)


def test_chunks_over_the_limit_are_refused_by_their_size_line():
    with pytest.raises(BodyTooLarge):
        Chunks(10).add(b"b\r\n")
    with pytest.raises(BodyTooLarge):
        Chunks(10).add(b"6\r\nabcdef\r\n5\r\n")
    exact = Chunks(10)
    exact.add(b"a\r\n0123456789\r\n0\r\n\r\n")
    assert exact.join() == b"0123456789"


# ---------------------------------------------------------------------- requests


def plain(body: bytes, path: str = "/") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (
        path.encode(),
        len(body),
        body,
    )


def chunked(body: bytes) -> bytes:
    return (
        b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    )


def reader(**limits: int) -> RequestReader:
    return RequestReader(Limits(**limits), RequestHeadMemory())


def read(these: RequestReader, *pieces: bytes) -> list[tuple[str, bytes]]:
    found = []
    for piece in pieces:
        these.receive(piece)
        while (request := these.next()) is not None:
            found.append((request[0].path, request[1]))
    return found


REQUESTS = [(b"one", "/"), (b"", "/1"), (b"x" * 3000, "/ethereum"), (b"one", "/")]
STREAM = b"".join(plain(body, path) for body, path in REQUESTS) + chunked(b"chunk") + b"\r\n"
STREAM += plain(b"last")
EXPECTED = [*((path, body) for body, path in REQUESTS), ("/c", b"chunk"), ("/", b"last")]


@given(st.lists(st.integers(0, 5000), max_size=40))
def test_requests_in_any_pieces(places):
    these = reader()
    assert read(these, *cut(STREAM, places)) == EXPECTED
    assert these.stage is ReadingStage.EMPTY


def test_requests_byte_by_byte():
    assert read(reader(), *(STREAM[n : n + 1] for n in range(len(STREAM)))) == EXPECTED


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 5000), st.binary(min_size=1, max_size=3)), min_size=1))
def test_mutated_requests_are_read_or_refused(changes):
    stream = bytearray(STREAM)
    for place, new in changes:
        at = place % len(stream)
        stream[at : at + len(new)] = new
    these = reader()
    with suppress(RequestRefused):
        for path, body in read(these, *cut(bytes(stream), [100, 200, 3000])):
            assert path.startswith(("/", "*"))
            assert len(body) <= len(stream)


def test_stages():
    these = reader()
    assert read(these, b"POST / HTTP/1.1\r\n") == []
    assert these.stage is ReadingStage.HEAD
    assert read(these, b"Host: x\r\nContent-Length: 4\r\n\r\nab") == []
    assert these.stage is ReadingStage.BODY
    assert these.body_bytes == 2
    these.receive(b"cd" + plain(b"next"))
    assert these.next() is not None
    assert these.stage is ReadingStage.READY
    assert these.waiting_bytes == len(plain(b"next"))
    assert read(these, b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nPO") == [("/", b"next"), ("/a", b"")]
    assert these.stage is ReadingStage.HEAD


def test_continue_is_wanted_only_while_the_body_is_awaited():
    text = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    these = reader()
    assert read(these, text % 2) == []
    assert these.wants_continue
    assert read(these, b"ab") == [("/", b"ab")]
    assert not these.wants_continue
    assert read(these, text % 2 + b"ab", text % 0) == [("/", b"ab"), ("/", b"")]
    assert not these.wants_continue


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"POST / HTTP/1.1\r\nX: " + b"y" * 200, 431),
        (b"POST / HTTP/1.1\r\nX: " + b"y" * 200 + b"\r\n\r\n", 431),
        (plain(b"x" * 51), 413),
        (chunked(b"x" * 51), 413),
        (chunked(b"x").replace(b"1\r\n", b"1\n"), 400),
        (b"\x16\x03", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
    ],
)
def test_refusals(data, status):
    for pieces in ([data], [data[n : n + 1] for n in range(len(data))]):
        with pytest.raises(RequestRefused) as refused:
            read(reader(header_bytes=150, body_bytes=50), *pieces)
        assert refused.value.status == status


def test_a_request_right_at_the_limits():
    request = plain(b"x" * 50)
    limits = {"header_bytes": len(request) - 50, "body_bytes": 50}
    assert read(reader(**limits), request + plain(b"")) == [("/", b"x" * 50), ("/", b"")]


def test_a_lone_cr_between_requests_waits_for_its_lf():
    assert read(reader(), b"\r", b"\n", b"\r\n", plain(b"x")) == [("/", b"x")]
    with pytest.raises(RequestRefused):
        read(reader(), b"\r", b"P")
