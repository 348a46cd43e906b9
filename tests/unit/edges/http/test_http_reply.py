"""The strict reader of replies: what it takes, what it refuses, in whatever pieces it comes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpcproxy.edges.http.http_reply import MAX_TRAILER_BYTES, ReplyReader
from rpcproxy.edges.http.reply_head import (
    CHUNKED,
    MAX_HEAD_BYTES,
    UNTIL_CLOSE,
    BadReply,
    ReplyHeadMemory,
    parse_head,
)
from rpcproxy.messages import FailureKind

OK = b"HTTP/1.1 200 OK\r\n"
BODY = b'{"jsonrpc":"2.0","id":1,"result":"0x1"}'


def with_length(body: bytes = BODY, *lines: bytes) -> bytes:
    head = OK + b"".join(line + b"\r\n" for line in lines)
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunked(*chunks: bytes, trailer: bytes = b"") -> bytes:
    coded = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return OK + b"Transfer-Encoding: chunked\r\n\r\n" + coded + b"0\r\n" + trailer + b"\r\n"


def reader() -> ReplyReader:
    return ReplyReader(ReplyHeadMemory())


def read(*pieces: bytes) -> tuple[int, bytes]:
    """Status and body of a reply that is complete with the last piece and not before."""
    it = reader()
    for piece in pieces[:-1]:
        assert not it.feed(piece)
    assert it.feed(pieces[-1])
    assert not it.has_excess
    return it.head.status, b"".join(it.pieces)


def feed_bytewise(data: bytes) -> None:
    it = reader()
    for n in range(len(data)):
        it.feed(data[n : n + 1])


def refusal(data: bytes) -> str:
    whole = reader()
    assert whole.whole(data) is None
    with pytest.raises(BadReply) as caught:
        whole.feed(data)
    assert caught.value.failure.kind is FailureKind.PROTOCOL
    with pytest.raises(BadReply):
        feed_bytewise(data)
    return caught.value.failure.detail


REPLIES = {
    "length": with_length(),
    "empty": with_length(b""),
    "chunk": chunked(BODY),
    "chunks": chunked(BODY[:1], BODY[1:9], BODY[9:]),
    "no chunk": chunked(),
    "trailer": chunked(BODY, trailer=b"X-Sum: 1\r\nX-Other: 2\r\n"),
    "extension": OK + b'Transfer-Encoding: Chunked\r\n\r\n2 ;a=b\r\n{}\r\n000;c="d e"\r\n\r\n',
    "interim": b"HTTP/1.1 100 Continue\r\n\r\n" * 3
    + b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    + with_length(),
}
BODIES = dict.fromkeys(REPLIES, BODY) | {"empty": b"", "no chunk": b"", "extension": b"{}"}


@pytest.mark.parametrize("name", REPLIES)
def test_any_cut_in_two_and_byte_by_byte(name: str) -> None:
    reply = REPLIES[name]
    expected = 200, BODIES[name]
    assert read(reply) == expected
    assert read(*(reply[n : n + 1] for n in range(len(reply)))) == expected
    for cut in range(1, len(reply)):
        assert read(reply[:cut], reply[cut:]) == expected


@pytest.mark.parametrize("name", ["length", "empty", "chunk"])
def test_the_short_way_agrees_with_the_general_one(name: str) -> None:
    reply = REPLIES[name]
    it = reader()
    assert it.whole(reply) == BODIES[name]
    assert it.whole(reply) == BODIES[name]  # from memory
    assert it.head.status == 200
    assert it.whole(reply[:-1]) is None
    assert it.whole(reply + b"x") is None
    assert it.is_fresh
    assert it.feed(reply)
    assert not it.is_fresh
    it.reset()
    assert it.is_fresh


@pytest.mark.parametrize("name", ["chunks", "no chunk", "trailer", "extension", "interim"])
def test_the_short_way_leaves_the_rest_alone(name: str) -> None:
    assert reader().whole(REPLIES[name]) is None


@pytest.mark.parametrize("name", REPLIES)
def test_bytes_after_the_reply_are_excess(name: str) -> None:
    it = reader()
    assert it.feed(REPLIES[name] + with_length(b"smuggled"))
    assert it.has_excess
    assert b"".join(it.pieces) == BODIES[name]


def test_a_reader_reads_one_reply_after_the_other() -> None:
    it = reader()
    for name, reply in REPLIES.items():
        assert it.feed(reply[:20]) is False
        assert it.has_head is False
        assert it.feed(reply[20:])
        assert it.has_head
        assert b"".join(it.pieces) == BODIES[name]
        it.reset()


REFUSED = {
    "both framings": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    "both, other order": OK + b"transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n{}",
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "the same length twice": OK + b"Content-Length: 2\r\ncontent-length: 2\r\n\r\n{}",
    "list of lengths": OK + b"Content-Length: 2, 2\r\n\r\n{}",
    "signed length": OK + b"Content-Length: +5\r\n\r\n{}",
    "negative length": OK + b"Content-Length: -1\r\n\r\n{}",
    "hex length": OK + b"Content-Length: 0x2\r\n\r\n{}",
    "empty length": OK + b"Content-Length: \r\n\r\n{}",
    "spaced length": OK + b"Content-Length: 1 2\r\n\r\n{}",
    "underscored length": OK + b"Content-Length: 1_0\r\n\r\n{}",
    "endless length": OK + b"Content-Length: 1234567890123456789\r\n\r\n{}",
    "other transfer": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "identity transfer": OK + b"Transfer-Encoding: identity\r\n\r\n",
    "transfer twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunks in 1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
    "one bare line feed": OK + b"X: 1\nContent-Length: 2\r\n\r\n{}",
    "bare carriage return": OK + b"X: 1\rContent-Length: 2\r\n\r\n{}",
    "folded": OK + b"X: 1\r\n 2\r\nContent-Length: 2\r\n\r\n{}",
    "folded with tab": OK + b"Content-Length: 2\r\n\t3\r\n\r\n{}",
    "space before colon": OK + b"Content-Length : 2\r\n\r\n{}",
    "no name": OK + b": 2\r\n\r\n",
    "no colon": OK + b"Content-Length\r\n\r\n",
    "null in value": OK + b"X: a\x00b\r\nContent-Length: 2\r\n\r\n{}",
    "control in value": OK + b"X: a\x1bb\r\nContent-Length: 2\r\n\r\n{}",
    "null in name": OK + b"X\x00: a\r\n\r\n",
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "HTTP/2": b"HTTP/2 200\r\n\r\n",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\n\r\n",
    "lower case": b"http/1.1 200 OK\r\n\r\n",
    "two digits": b"HTTP/1.1 99 OK\r\n\r\n",
    "four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "blank first": b"\r\n" + with_length(),
    "switching": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "too many interim": b"HTTP/1.1 100 Continue\r\n\r\n" * 9 + with_length(),
    "brotli": OK + b"Content-Encoding: br\r\nContent-Length: 1\r\n\r\nx",
    "zstd": OK + b"Content-Encoding: zstd\r\nContent-Length: 1\r\n\r\nx",
    "coded twice": OK + b"Content-Encoding: gzip, gzip\r\nContent-Length: 1\r\n\r\nx",
    "coding twice": OK + b"Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n\r\n",
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_heads(name: str) -> None:
    assert refusal(REFUSED[name])


BAD_CHUNKS = {
    "junk": b"zz\r\n",
    "no size": b"\r\n{}",
    "only an extension": b";a\r\n",
    "signed": b"+2\r\n{}\r\n",
    "hex prefix": b"0x2\r\n{}\r\n",
    "spaced": b"2 \r\n{}\r\n",
    "seventeen digits": b"00000000000000002\r\n{}\r\n",
    "bare line feed": b"2\n{}\n",
    "extension over its bound": b"2;" + b"a" * 2000,
    "control in extension": b"2;a\x00\r\n{}",
    "longer than its size": b"2\r\n{}}\r\n",
    "no line end": b"2\r\n{}0\r\n\r\n",
    "line feed after data": b"2\r\n{}\n0\r\n\r\n",
    "trailer without colon": b"0\r\nx\r\n\r\n",
    "folded trailer": b"0\r\nX: 1\r\n 2\r\n\r\n",
    "trailer with bare line feed": b"0\r\nX: 1\n\r\n",
    "large trailer": b"0\r\n" + b"X: 1\r\n" * (MAX_TRAILER_BYTES // 6 + 1),
    "large trailer line": b"0\r\nX: " + b"1" * MAX_TRAILER_BYTES,
}


@pytest.mark.parametrize("name", BAD_CHUNKS)
def test_refused_chunks(name: str) -> None:
    assert refusal(OK + b"Transfer-Encoding: chunked\r\n\r\n" + BAD_CHUNKS[name])


def test_header_section_is_bounded() -> None:
    line = b"X: " + b"a" * 1000 + b"\r\n"
    assert refusal(OK + line * 70) == "header section too large"
    assert refusal(OK + line * 70 + b"\r\n") == "header section too large"
    it = reader()
    it.feed(OK)
    with pytest.raises(BadReply, match="too large"):
        it.feed(line * 70 + b"\r\n")
    assert read(OK + line * 60 + b"Content-Length: 0\r\n\r\n") == (200, b"")
    assert MAX_HEAD_BYTES == 65536


def test_a_chunk_is_given_on_before_it_is_whole() -> None:
    it = reader()
    assert not it.feed(OK + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\nab")
    assert not it.feed(b"cd")
    assert it.pieces == [b"ab", b"cd"]


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body(status: int) -> None:
    head = b"HTTP/1.1 %d x\r\n" % status
    assert read(head + b"\r\n") == (status, b"")
    assert not parse_head(head + b"\r\n").is_last
    # A length that is not meant to be followed leaves the framing in doubt.
    assert parse_head(head + b"Content-Length: 2\r\n\r\n").is_last
    assert parse_head(head + b"Transfer-Encoding: chunked\r\n\r\n").is_last


def test_what_a_head_tells() -> None:
    head = parse_head(
        b"HTTP/1.1 429 Too Many\r\ncontent-TYPE:  text/html; charset=x \t\r\nRetry-After: 7\r\n"
        b"CONTENT-ENCODING: X-Gzip\r\nConnection: keep-alive\r\nKeep-Alive: max=9, Timeout=15\r\n"
        b"Content-Length:0012\t\r\nRetry-After: 9\r\n\r\n"
    )
    assert head.status == 429
    assert head.content_type == "text/html; charset=x"
    assert head.retry_after == "7"
    assert head.coding == "gzip"
    assert head.length == 12
    assert head.keep_alive_seconds == 15
    assert not head.is_last


@pytest.mark.parametrize(
    ("lines", "is_last", "length"),
    [
        (b"Content-Length: 1\r\n", False, 1),
        (b"Content-Length: 1\r\nConnection: Close\r\n", True, 1),
        (b"Content-Length: 1\r\nConnection: x , close\r\n", True, 1),
        (b"Content-Length: 1\r\nConnection: x\r\nConnection: close\r\n", True, 1),
        (b"Content-Length: 1\r\nConnection: closed\r\n", False, 1),
        (b"Transfer-Encoding: chunked\r\n", False, CHUNKED),
        (b"Content-Length: 1\r\nKeep-Alive: x\r\n", False, 1),
        (b"", True, UNTIL_CLOSE),
    ],
)
def test_when_a_connection_ends(lines: bytes, is_last: bool, length: int) -> None:
    head = parse_head(OK + lines + b"\r\n")
    assert (head.is_last, head.length, head.keep_alive_seconds) == (is_last, length, None)


def test_old_replies_and_missing_reasons() -> None:
    assert parse_head(b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n").is_last
    assert parse_head(b"HTTP/1.1 502\r\nContent-Length: 1\r\n\r\n").status == 502
    assert parse_head(b"HTTP/1.1 502 \r\nContent-Length: 1\r\n\r\n").status == 502


def test_identity_and_deflate() -> None:
    assert parse_head(OK + b"Content-Encoding: identity\r\nContent-Length: 1\r\n\r\n").coding == ""
    assert parse_head(OK + b"Content-Encoding: Deflate\r\n\r\n").coding == "deflate"


class TestEnd:
    def test_before_the_head(self) -> None:
        for data in (b"", b"HTTP/1.1 200"):
            it = reader()
            if data:
                it.feed(data)
            with pytest.raises(BadReply) as caught:
                it.end(is_clean=True)
            assert caught.value.failure.kind is FailureKind.RESET

    @pytest.mark.parametrize("reply", [with_length(), chunked(BODY)])
    def test_in_a_framed_body(self, reply: bytes) -> None:
        it = reader()
        it.feed(reply[:-3])
        with pytest.raises(BadReply) as caught:
            it.end(is_clean=True)
        assert caught.value.failure.kind is FailureKind.TRUNCATED

    def test_ends_a_body_without_length_if_clean(self) -> None:
        it = reader()
        assert not it.feed(OK + b"\r\n" + BODY[:9])
        assert not it.feed(BODY[9:])
        it.end(is_clean=True)
        assert b"".join(it.pieces) == BODY
        with pytest.raises(BadReply) as caught:
            it.end(is_clean=False)
        assert caught.value.failure.kind is FailureKind.TRUNCATED


class TestMemory:
    def test_is_bounded_and_keeps_no_doubtful_head(self) -> None:
        memory = ReplyHeadMemory()
        for number in range(1000):
            memory.read(OK + b"Content-Length: %d\r\n\r\n" % number)
            assert len(memory.simple) <= ReplyHeadMemory.MAX_HEADS
        assert memory.simple
        memory.simple.clear()
        for raw in (
            OK + b"Content-Length: 1\r\nConnection: close\r\n\r\n",
            OK + b"Content-Length: 1\r\nContent-Encoding: gzip\r\n\r\n",
            OK + b"\r\n",
            b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 103 Early Hints\r\n\r\n",
            b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n",
            OK + b"Content-Length: 1\r\nX: " + b"a" * ReplyHeadMemory.MAX_BYTES_EACH + b"\r\n\r\n",
        ):
            assert memory.read(raw) == parse_head(raw)
            assert memory.read(raw) == parse_head(raw)
        assert not memory.simple

    def test_unique_heads_are_still_checked(self) -> None:
        memory = ReplyHeadMemory()
        for ray in (b"1", b"2"):
            head = memory.read(OK + b"CF-Ray: " + ray + b"\r\nContent-Length: 5\r\n\r\n")
            assert head.length == 5
        with pytest.raises(BadReply):
            memory.read(OK + b"CF-Ray: \x00\r\nContent-Length: 5\r\n\r\n")
        assert memory.read(b"HTTP/1.1 500 x\r\nContent-Length: 5\r\n\r\n").status == 500


mutations = st.lists(
    st.tuples(
        st.sampled_from(["insert", "delete", "replace", "double"]),
        st.integers(0, 400),
        st.binary(min_size=1, max_size=4)
        | st.sampled_from([b"\r\n", b"\n", b"\r\n\r\n", b": ", b"0", b"HTTP/1.1 200 OK\r\n"]),
    ),
    min_size=1,
    max_size=5,
)


def mutate(data: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    for what, where, piece in changes:
        at = where % (len(data) + 1)
        end = at + len(piece)
        if what == "insert":
            data = data[:at] + piece + data[at:]
        elif what == "delete":
            data = data[:at] + data[end:]
        elif what == "replace":
            data = data[:at] + piece + data[end:]
        else:
            data = data[:end] + data[at:]
    return data


def outcome(data: bytes, cuts: list[int]) -> tuple[object, ...]:
    it = reader()
    at = 0
    try:
        for cut in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
            if cut > at and it.feed(data[at:cut]):
                return "complete", it.head, b"".join(it.pieces)
            at = max(at, cut)
    except BadReply as error:
        return ("refused", error.failure.kind)
    try:
        it.end(is_clean=True)
    except BadReply as error:
        return ("ended", error.failure.kind)
    return "complete", it.head, b"".join(it.pieces)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(list(REPLIES.values())), mutations, st.lists(st.integers(0, 400)))
def test_mutations_end_in_a_reply_a_refusal_or_more(
    reply: bytes, changes: list[tuple[str, int, bytes]], cuts: list[int]
) -> None:
    data = mutate(reply, changes)
    at_once = outcome(data, [])
    in_pieces = outcome(data, cuts)
    # How a reply is cut into packets never changes what it means.
    assert at_once == in_pieces or {at_once[0], in_pieces[0]} <= {"refused", "ended"}
    short = reader()
    body = short.whole(data)
    if body is not None:
        assert at_once == ("complete", short.head, body)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.lists(st.integers(0, 300)))
def test_junk_is_refused_or_waited_for(data: bytes, cuts: list[int]) -> None:
    assert outcome(data, cuts)[0] in ("refused", "ended")


def test_chunks_of_next_to_nothing_by_the_thousand_are_refused():
    """Each costs as much as kilobytes of one: a reply of 8 MiB of them would take ten seconds."""
    reader = ReplyReader(ReplyHeadMemory())
    reader.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    with pytest.raises(BadReply, match="next to nothing"):
        reader.feed(b"1\r\na\r\n" * 100_000)
    assert len(reader.pieces) < 5000


def test_many_small_chunks_of_a_writer_without_a_buffer_are_read():
    reader = ReplyReader(ReplyHeadMemory())
    reader.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(100):
        assert not reader.feed(b"8\r\nabcdefgh\r\n" * 1000)
    assert reader.feed(b"0\r\n\r\n")
