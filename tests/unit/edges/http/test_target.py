"""Upstream URLs taken apart, request heads built, secrets kept."""

from __future__ import annotations

import base64

import pytest

from rpcproxy import __version__
from rpcproxy.edges.http.target import Origin, Target, read_origin, request_head


def lines(url: str, headers: dict[str, str] | None = None, *, gzip: bool = False) -> list[str]:
    head = request_head(Target("it", url, headers or {}), gzip=gzip)
    return head.decode("latin-1").split("\r\n")


def test_the_whole_head() -> None:
    assert lines("https://rpc.test/v3/key?a=b&c=d#x") == [
        "POST /v3/key?a=b&c=d HTTP/1.1",
        "Host: rpc.test",
        "Content-Type: application/json",
        "Accept: application/json",
        f"User-Agent: rpcproxy/{__version__}",
        "Content-Length: ",
    ]
    assert "Accept-Encoding: gzip" in lines("http://rpc.test", gzip=True)


@pytest.mark.parametrize(
    ("url", "first", "host"),
    [
        ("http://rpc.test", "POST / HTTP/1.1", "rpc.test"),
        ("http://rpc.test:80/", "POST / HTTP/1.1", "rpc.test"),
        ("https://rpc.test:80/", "POST / HTTP/1.1", "rpc.test:80"),
        ("http://127.0.0.1:8545/a b", "POST /a%20b HTTP/1.1", "127.0.0.1:8545"),
        ("http://[::1]:8545/a%20b", "POST /a%20b HTTP/1.1", "[::1]:8545"),
        ("http://[::1]/?q=ä", "POST /?q=%C3%A4 HTTP/1.1", "[::1]"),
        ("https://bücher.test/", "POST / HTTP/1.1", "xn--bcher-kva.test"),
    ],
)
def test_request_line_and_host(url: str, first: str, host: str) -> None:
    head = lines(url)
    assert head[0] == first
    assert f"Host: {host}" in head


def test_basic_authentication() -> None:
    pair = base64.b64encode(b"me:p@ss").decode()
    assert f"Authorization: Basic {pair}" in lines("http://me:p%40ss@rpc.test/")
    only_key = base64.b64encode(b"key:").decode()
    assert f"Authorization: Basic {only_key}" in lines("http://key@rpc.test/")
    assert "Authorization: Bearer x" in lines(
        "http://me:pass@rpc.test/", {"authorization": "Bearer x"}
    )[-2].replace("authorization", "Authorization")


def test_headers_of_the_user_replace_ours() -> None:
    head = lines("http://rpc.test", {"user-agent": "mine", "X-Key": " secret ", "Host": "other"})
    assert "user-agent: mine" in head
    assert not any(line.startswith("User-Agent") for line in head)
    assert "X-Key: secret" in head
    assert "Host: other" in head


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Key", "secret\r\nX: 1"),
        ("X-Key", "secret\x00"),
        ("X-Key", "secret\u20ac"),
        ("X Key", "secret"),
        ("", "secret"),
        ("Content-Length", "secret"),
        ("transfer-encoding", "secret"),
        ("Connection", "secret"),
    ],
)
def test_headers_that_cannot_be_sent(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="upstream it") as caught:
        lines("http://rpc.test", {name: value})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://rpc.test/secret",
        "rpc.test/secret",
        "http:///secret",
        "http://rpc.test:99999/secret",
        "http://rpc.test:port/secret",
        "http://rpc..test\u00e4/secret",
        "http://rpc test/secret",
    ],
)
def test_urls_that_cannot_be_used(url: str) -> None:
    with pytest.raises(ValueError, match="upstream it") as caught:
        read_origin(Target("it", url))
    assert "secret" not in str(caught.value)


def test_origins() -> None:
    assert read_origin(Target("it", "https://Me:x@RPC.test/p")) == Origin("rpc.test", 443, True)
    assert Origin("::1", 80, False).label == "[::1]:80"


def test_secrets_are_not_shown() -> None:
    target = Target("it", "https://me:secret@rpc.test/secret", {"X": "secret"})
    assert "secret" not in repr(target)
    assert "it" in repr(target)
