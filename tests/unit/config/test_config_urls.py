"""What a URL says, and messages about wrong ones that keep secrets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcproxy.config.problems import Unfit
from rpcproxy.config.urls import UrlTarget, check, guess_provider, is_host

HTTP = ("https", "http")
WANTED = "expected https:// or http:// and a host"


def told(text: str, written: str | None = None, schemes: tuple[str, ...] = HTTP) -> str:
    with pytest.raises(Unfit) as caught:
        check(text, text if written is None else written, schemes)
    return caught.value.about("url")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("https://a.com", UrlTarget("https", "a.com", 443)),
        ("http://a.com/", UrlTarget("http", "a.com", 80)),
        ("HTTPS://Mainnet.Infura.io/v3/K?x=1", UrlTarget("https", "mainnet.infura.io", 443)),
        ("http://user:p%40ss@10.0.0.1:8545/x", UrlTarget("http", "10.0.0.1", 8545)),
        ("http://[::1]:8545", UrlTarget("http", "::1", 8545)),
        ("http://geth_1:8545", UrlTarget("http", "geth_1", 8545)),
        ("https://xn--bcher-kva.example/", UrlTarget("https", "xn--bcher-kva.example", 443)),
        ("https://a.com/path@home", UrlTarget("https", "a.com", 443)),
    ],
)
def test_good_urls(text: str, place: UrlTarget) -> None:
    assert check(text, text, HTTP) == place


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", f"url is empty; {WANTED}"),
        (
            "htps://a.com/SECRET",
            f"url (htps://a.com) has a wrong scheme; {WANTED}; did you mean 'https://'?",
        ),
        ("ftp://a.com/SECRET", f"url (ftp://a.com) has a wrong scheme; {WANTED}"),
        (
            "wss://a.com/SECRET",
            f"url (wss://a.com) is no HTTP; {WANTED}; a WebSocket address goes to ws_url",
        ),
        ("http//a.com/SECRET", f"url begins with 'http//'; {WANTED}; did you mean 'http://'?"),
        ("https:/a.com/SECRET", f"url begins with 'https:/'; {WANTED}; did you mean 'https://'?"),
        ("https:a.com/SECRET", f"url begins with 'https:'; {WANTED}; did you mean 'https://'?"),
        (
            "a.com/SECRET",
            f"url has no scheme before 'a.com'; {WANTED}; did you mean 'https://a.com'?",
        ),
        (
            "localhost:8545",
            f"url has no scheme before 'localhost'; {WANTED}; did you mean 'http://localhost'?",
        ),
        (
            "127.0.0.1:8545",
            f"url has no scheme before '127.0.0.1'; {WANTED}; did you mean 'http://127.0.0.1'?",
        ),
        ("SECRET", f"url does not begin with a scheme; {WANTED}"),
        ("SECRET:SECRET@a.com", f"url does not begin with a scheme; {WANTED}"),
        ("https://", f"url has no host after https://; {WANTED}"),
        ("https:///SECRET", f"url has no host after https://; {WANTED}"),
        ("https://SECRET:SECRET@", f"url has no host after https://; {WANTED}"),
        ("https://:8545/SECRET", f"url has no host after https://; {WANTED}"),
        ("https://a b/SECRET", f"url has a space in it; {WANTED}, spaces written as %20"),
        ("https://a\x7fb", f"url has a character that cannot be printed; {WANTED}"),
        (
            "https://a.com:99999/SECRET",
            "url (https://a.com) has a bad port; expected a number from 1 to 65535",
        ),
        (
            "https://a.com:/SECRET",
            "url (https://a.com) has a bad port; expected a number from 1 to 65535",
        ),
        (
            "https://a.com:0/SECRET",
            "url (https://a.com) has a bad port; expected a number from 1 to 65535",
        ),
        (
            "https://SECRET:SE/CRET@a.com",
            (
                "url (https://…) has a bad port; expected a number from 1 to 65535; "
                "a / ? # or @ in a password is written %2F %3F %23 %40"
            ),
        ),
        (
            "https://SECRET:SE#CRET@a.com",
            "url (https://…) has a # in it, which is never sent; expected %23 where a # is meant",
        ),
        (
            "https://a.com/#SECRET",
            "url (https://a.com) has a # in it, which is never sent; expected %23 where a # is meant",
        ),
        ("https://a.com\\SECRET", "url (https://a.com) has a backslash in it; expected slashes"),
        (
            "https://a..b/SECRET",
            "url (https://a..b) has a malformed host; expected a name or an address",
        ),
        (
            "https://1.2.3/SECRET",
            "url (https://1.2.3) has a malformed host; expected a name or an address",
        ),
        (
            "https://[::1/SECRET",
            "url (https://…) has a malformed host; expected a name or an address",
        ),
        (
            "https://bücher.de/SECRET",
            "url (https://…) has a host beyond ASCII; expected its form that begins with xn--",
        ),
    ],
)
def test_typos_are_told_without_secrets(text: str, message: str) -> None:
    assert told(text) == message
    assert "SECRET" not in message


@pytest.mark.parametrize(
    "text",
    ["htps://SECRET.com/x", "https://SECRET.com:0/", "SECRET.com/x", "https://SECRET..com/"],
)
def test_a_host_from_the_environment_is_not_told(text: str) -> None:
    assert "SECRET" not in told(text, written=text.replace("SECRET", "${KEY}"))


def test_a_scheme_from_the_environment_is_not_told() -> None:
    assert told("SECRET://a.com", "${KEY}://a.com").startswith("url (…://a.com) has a wrong scheme")


def test_websocket_urls() -> None:
    assert check("wss://a.com/x", "wss://a.com/x", ("wss", "ws")) == UrlTarget("wss", "a.com", 443)
    assert told("https://a.com", schemes=("wss", "ws")) == (
        "url (https://a.com) has a wrong scheme; expected wss:// or ws:// and a host"
    )


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        ("https://ethereum-rpc.publicnode.com", "publicnode"),
        ("https://1rpc.io/eth", "1rpc"),
        ("https://eth-mainnet.g.alchemy.com/v2/k", "alchemy"),
        ("https://x.quiknode.pro/k", "quicknode"),
        ("https://rpc.node.co.uk", "node"),
        ("https://co.uk", "co"),
        ("https://mine.workers.dev", "mine"),
        ("https://mine-abc.a.run.app", "mine-abc"),
        ("https://a.com.", "a"),
        ("http://127.0.0.1:8545", "127.0.0.1:8545"),
        ("http://127.0.0.1:8546", "127.0.0.1:8546"),
        ("https://10.0.0.1", "10.0.0.1:443"),
        ("http://[::1]:8545", "[::1]:8545"),
        ("http://localhost:8545", "localhost:8545"),
        ("http://geth:8545", "geth:8545"),
        ("http://geth.chains.svc:8545", "geth.chains.svc:8545"),
        ("http://geth.chains.svc.cluster.local", "geth.chains.svc.cluster.local:80"),
    ],
)
def test_guessed_providers(url: str, provider: str) -> None:
    assert guess_provider(check(url, url, HTTP)) == provider


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("a.com", True),
        ("::1", True),
        ("0.0.0.0", True),
        ("1.2.3", False),
        ("a b", False),
        ("", False),
    ],
)
def test_hosts(text: str, is_one: bool) -> None:
    assert is_host(text) is is_one


@given(st.data())
def test_no_typo_brings_a_secret_to_light(data: st.DataObject) -> None:
    url = "https://SECRETUSER:SECRETWORD@rpc.a.com:8545/v3/SECRETKEY?k=SECRETQUERY"
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.integers(0, len(url) - 1))
        instead = data.draw(
            st.sampled_from(["", " ", ":", "/", "@", "#", "?", "\\", "[", ".", "x"])
        )
        url = url[:at] + instead + url[at + data.draw(st.integers(0, 1)) :]
    try:
        check(url, url, HTTP)
    except Unfit as unfit:
        message = unfit.about("url")
    else:
        return
    assert "SECRET" not in message


@given(
    st.text(max_size=40)
    | st.from_regex(r"https?:/?/?[a-zA-Z0-9:@\[\]./?#\\-]{0,30}", fullmatch=True)
)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        place = check(text, text, HTTP)
    except Unfit:
        return
    assert place.host
    assert 0 < place.port < 65536
    assert guess_provider(place)
