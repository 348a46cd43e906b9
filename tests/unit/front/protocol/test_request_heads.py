"""front.protocol.request_heads: what is read, what is refused, what is remembered."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcproxy.front.protocol.request_heads import (
    CHUNKED,
    RequestHead,
    RequestHeadMemory,
    RequestRefused,
    parse_head,
    refuse_early,
    takes_gzip,
)


def head(*fields: str, line: str = "POST / HTTP/1.1", host: bool = True) -> bytes:
    lines = [line, *(["Host: proxy"] if host else []), *fields]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def test_a_browser_head():
    text = head(
        "Content-Length: 42",
        "Content-Type: application/json",
        "Accept-Encoding: gzip, deflate, br",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64)",
        "Cookie: a=ü",
    )
    assert parse_head(text) == RequestHead(
        method="POST", path="/", content_length=42, has_gzip=True, is_plain=True, text=text
    )


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/", "/"),
        ("/ethereum", "/ethereum"),
        ("/ethereum/", "/ethereum"),
        ("/1?key=a/b", "/1"),
        ("/?x", "/"),
        ("http://proxy:8545/1?x", "/1"),
        ("http://proxy", "/"),
        ("//", "/"),
        ("*", "*"),
    ],
)
def test_paths(target, path):
    assert parse_head(head(line=f"POST {target} HTTP/1.1")).path == path


@pytest.mark.parametrize(
    ("version", "connection", "is_keep_alive"),
    [
        ("1.1", None, True),
        ("1.1", "keep-alive", True),
        ("1.1", "close", False),
        ("1.1", "Close", False),
        ("1.1", "keep-alive, close", False),
        ("1.1", "upgrade , close", False),
        ("1.0", None, False),
        ("1.0", "keep-alive", True),
        ("1.0", "Keep-Alive", True),
        ("1.0", "close", False),
    ],
)
def test_keep_alive(version, connection, is_keep_alive):
    fields = [f"Connection: {connection}"] if connection else []
    parsed = parse_head(head(*fields, line=f"POST / HTTP/{version}"))
    assert parsed.is_keep_alive is is_keep_alive
    assert parsed.is_http10 is (version == "1.0")
    assert parsed.is_plain is (is_keep_alive and version == "1.1")


@pytest.mark.parametrize(
    ("fields", "is_fresh"),
    [
        ([], False),
        (["Cache-Control: no-cache"], True),
        (["Cache-Control: No-Store"], True),
        (["Cache-Control:max-age=0"], True),
        (['Cache-Control: max-age="0"'], True),
        (["cache-control: foo, no-cache ,bar"], True),
        (["Cache-Control: foo", "Cache-Control: no-cache"], True),
        (["Cache-Control: max-age=60"], False),
        (["Cache-Control: x-no-cache"], False),
        (["Cache-Control:"], False),
        (["Pragma: no-cache"], True),
        (["Pragma: No-Cache, x"], True),
        (["Pragma: no-store"], False),
        # Who says both means the newer one.
        (["Pragma: no-cache", "Cache-Control: max-age=60"], False),
    ],
)
def test_who_wants_nothing_that_was_kept(fields, is_fresh):
    assert parse_head(head(*fields)).is_fresh is is_fresh


def test_repeated_connection_headers_are_one_list():
    assert not parse_head(head("Connection: foo", "Connection: close")).is_keep_alive


@pytest.mark.parametrize(
    ("accepted", "takes"),
    [
        (b"", False),
        (b"gzip", True),
        (b"GZIP", True),
        (b"x-gzip", True),
        (b"br, gzip;q=0.5", True),
        (b"gzip; q=0", False),
        (b"gzip;q=0.000, br", False),
        (b"gzip;q=0.001", True),
        (b"*", True),
        (b"*;q=0", False),
        (b"gzip;q=0, *", False),
        (b"identity", False),
        (b"br", False),
        (b"gzip;q=1.000", True),
    ],
)
def test_accept_encoding(accepted, takes):
    assert takes_gzip(accepted) is takes


def test_body_lengths():
    assert parse_head(head()).content_length == 0
    assert parse_head(head("Content-Length: 0")).content_length == 0
    assert parse_head(head("content-length:\t 17 \t")).content_length == 17
    assert parse_head(head("Transfer-Encoding: chunked")).content_length == CHUNKED
    assert parse_head(head("Transfer-Encoding: CHUNKED")).content_length == CHUNKED


def test_expect():
    assert parse_head(head("Expect: 100-continue")).has_expect
    assert not parse_head(head("Expect: 100-continue", line="POST / HTTP/1.0")).has_expect


def test_http10_needs_no_host():
    assert parse_head(head(line="POST / HTTP/1.0", host=False)).path == "/"


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        # RFC 9112 section 6.1, 6.3: two lengths are two messages
        (head("Content-Length: 3", "Transfer-Encoding: chunked"), 400, "both"),
        (head("Transfer-Encoding: chunked", "Content-Length: 3"), 400, "both"),
        (head("Content-Length: 3", "Content-Length: 3"), 400, "repeated"),
        (head("Content-Length: 3", "content-length: 4"), 400, "repeated"),
        (head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), 400, "repeated"),
        (head("Host: other"), 400, "repeated"),
        (head("Content-Length: 3, 3"), 400, "plain number"),
        (head("Content-Length: +1"), 400, "plain number"),
        (head("Content-Length: -1"), 400, "plain number"),
        (head("Content-Length: 1_0"), 400, "plain number"),
        (head("Content-Length: 0x10"), 400, "plain number"),
        (head("Content-Length: 1 0"), 400, "plain number"),
        (head("Content-Length:"), 400, "plain number"),
        (head("Content-Length: ²"), 400, "plain number"),
        (head("Content-Length: " + "9" * 5000), 400, "plain number"),
        (head("Transfer-Encoding: gzip"), 400, "chunked"),
        (head("Transfer-Encoding: gzip, chunked"), 400, "chunked"),
        (head("Transfer-Encoding: xchunked"), 400, "chunked"),
        (head("Transfer-Encoding: chunked;x=y"), 400, "chunked"),
        (head("Transfer-Encoding:"), 400, "chunked"),
        (head("Transfer-Encoding: identity"), 400, "chunked"),
        (head("Transfer-Encoding: chunked", line="POST / HTTP/1.0"), 400, "chunked"),
        (head("Transfer-Encoding: \x0bchunked"), 400, "malformed"),
        (head("Content-Length : 3"), 400, "before the colon"),
        (head("Content-Length\t: 3"), 400, "before the colon"),
        (head(" Content-Length: 3"), 400, "obsolete"),
        (head("X: a", "\tb"), 400, "obsolete"),
        (head("X"), 400, "malformed"),
        (head(": x"), 400, "malformed"),
        (head("X: \x00"), 400, "malformed"),
        (head("X: \x7f"), 400, "malformed"),
        (head("Hö: x"), 400, "malformed"),
        (head("A(b): x"), 400, "malformed"),
        (head("X: a\nContent-Length: 3"), 400, "CRLF"),
        (head("X: a\rContent-Length: 3"), 400, "CRLF"),
        (b"POST / HTTP/1.1\nHost: x\r\n\r\n", 400, "CRLF"),
        (b"POST / HTTP/1.1\r\nHost: x\n\r\n\r\n", 400, "CRLF"),
        (head(host=False), 400, "missing"),
        (head("Host: a b", host=False), 400, "Host"),
        (head("Host: a/b", host=False), 400, "Host"),
        (head("Host: a,b@c", host=False), 400, "Host"),
        (head(line="POST /"), 400, "request line"),
        (head(line="POST  / HTTP/1.1"), 400, "request line"),
        (head(line="POST / HTTP/1.1 "), 400, "request line"),
        (head(line=" POST / HTTP/1.1"), 400, "request line"),
        (head(line="POST / HTTP/1.1 x"), 400, "request line"),
        (head(line="POST /\x80 HTTP/1.1"), 400, "request line"),
        (head(line="POST /\x00 HTTP/1.1"), 400, "request line"),
        (head(line="POST / http/1.1"), 400, "request line"),
        (head(line="P(ST / HTTP/1.1"), 400, "request line"),
        (head(line="POST proxy:80 HTTP/1.1"), 400, "target"),
        (head(line="POST / HTTP/1.2"), 505, "HTTP/1.1"),
        (head(line="POST / HTTP/2.0"), 505, "HTTP/1.1"),
        (head(line="POST / HTTP/0.9"), 505, "HTTP/1.1"),
        (head(line="POST / HTTP/01.1"), 505, "HTTP/1.1"),
        (head(*(f"X-{n}: y" for n in range(100))), 431, "more than 100"),
        (head("Content-Encoding: gzip"), 415, "uncompressed"),
        (head("Content-Encoding: identity", "Content-Encoding: br"), 415, "uncompressed"),
        (head("Expect: 200-ok"), 417, "100-continue"),
    ],
)
def test_refused(text, status, words):
    with pytest.raises(RequestRefused) as refused:
        parse_head(text)
    assert refused.value.status == status
    assert words in refused.value.reason


def test_identity_encoding_is_no_encoding():
    assert parse_head(head("Content-Encoding: identity")).content_length == 0


@pytest.mark.parametrize(
    ("partial", "is_refused"),
    [
        (b"P", False),
        (b"POST / HTTP/1.1\r", False),
        (b"POST / HTTP/1.1\r\n", False),
        (b"POST / HTTP/1.1\r\nHost: x\r\n\r", False),
        (b"\x16\x03\x01", True),  # a TLS greeting on the plain port
        (b"{", True),
        (b"POST / HTTP/1.1\n", True),
        (b"POST / HTTP/1.1\rX", True),
        (b"POST / HTTP/1.1\r\nHost: x\n\n", True),
    ],
)
def test_refused_before_the_end(partial, is_refused):
    def was_refused() -> bool:
        for scanned in range(len(partial)):
            try:
                refuse_early(bytearray(partial[: scanned + 1]), scanned)
            except RequestRefused:
                return True
        return False

    assert was_refused() is is_refused
    if is_refused:
        with pytest.raises(RequestRefused):
            refuse_early(bytearray(partial), 0)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(text):
    with suppress(RequestRefused):
        parsed = parse_head(b"POST / HTTP/1.1\r\nHost: x\r\n" + text + b"\r\n\r\n")
        assert parsed.path == "/"
        assert parsed.content_length >= CHUNKED


def a_head(path: str = "/") -> RequestHead:
    return RequestHead(method="POST", path=path, content_length=0)


def test_remembered_from_the_second_time_on():
    memory = RequestHeadMemory()
    memory.remember(b"one", a_head())
    assert memory.get(b"one") is None
    memory.remember(b"one", a_head())
    assert memory.get(b"one") == a_head()
    memory.forget()
    assert memory.get(b"one") is None


def test_heads_that_never_come_again_push_nobody_out():
    memory = RequestHeadMemory(entries=8)
    for _ in range(2):
        memory.remember(b"regular", a_head())
    for n in range(1000):
        memory.remember(b"trace %d" % n, a_head())
    assert memory.get(b"regular") == a_head()
    assert len(memory) == 1


def test_the_memory_is_bounded():
    memory = RequestHeadMemory(entries=8, head_bytes=10)
    for n in range(100):
        for _ in range(2):
            memory.remember(b"%d" % n, a_head(f"/{n}"))
    assert len(memory) == 8
    assert memory.get(b"99") == a_head("/99")
    for _ in range(2):
        memory.remember(b"x" * 11, a_head())
    assert memory.get(b"x" * 11) is None
