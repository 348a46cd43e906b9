"""What of a configuration is secret, in which forms it is found, and what is left alone."""

from __future__ import annotations

import base64
import re
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcproxy.config.model import Chain, Config, Notice, Server, Upstream
from rpcproxy.config.secrets import REDACTED, Redactor, secrets_of, secrets_of_upstream

KEY = "9aa3d95b3bc440fa88ea12eaa4456161"
WORD = "hu&sh/w+rd=<9>?"


def upstream(**values: Any) -> Upstream:
    return Upstream(**{"name": "x", "provider": "p", "url": "https://a.example", **values})


def redact(text: str, **values: Any) -> str:
    return Redactor(secrets_of_upstream(upstream(**values)))(text)


@pytest.mark.parametrize(
    "told",
    [
        WORD,
        WORD.upper(),
        quote(WORD),
        quote(WORD, safe="").lower(),
        "hu%26sh%2Fw%2Brd%3D%3C9%3E%3F",
        "hu&amp;sh/w+rd=&lt;9&gt;?",
        base64.b64encode(WORD.encode()).decode(),
        base64.b64encode(WORD.encode()).decode().rstrip("="),
        base64.urlsafe_b64encode(WORD.encode()).decode(),
    ],
)
@pytest.mark.parametrize(
    "values",
    [
        {"url": f"https://me:{quote(WORD, safe='')}@a.example"},
        {"headers": {"Authorization": f"Bearer {WORD}"}},
        {"headers": {"Authorization": "Basic " + base64.b64encode(f"me:{WORD}".encode()).decode()}},
        {"ws_url": f"wss://a.example/?key={quote(WORD, safe='')}"},
    ],
    ids=["password", "bearer", "basic", "query"],
)
def test_a_secret_is_found_however_it_is_spelled(values: dict[str, Any], told: str) -> None:
    assert redact(f"no: {told}.", **values).rstrip("=.") == f"no: {REDACTED}"


def test_basic_authentication_is_found_as_it_is_sent() -> None:
    sent = base64.b64encode(f"me:{WORD}".encode()).decode()
    url = f"https://me:{quote(WORD, safe='')}@a.example"
    assert redact(f"Authorization: Basic {sent}", url=url) == "Authorization: Basic [secret]"


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
def test_inside_of_longer_base64_no_piece_of_it_is_left(before: str) -> None:
    whole = base64.b64encode(f"{before}{KEY}, and more".encode()).decode()
    left = redact(whole, url=f"https://a.example/v3/{KEY}").replace(REDACTED, "")
    # Letters that hold bits of both it and its neighbours are left, two bytes of it at most.
    assert len(left) <= len(whole) - len(KEY) * 8 // 6 + 2
    shared = base64.b64encode(KEY.encode()).decode()[4:-4]
    assert shared not in left


@pytest.mark.parametrize(
    ("url", "told", "shown"),
    [
        ("https://a.example/a-word/another", "Cannot POST /a-word/another", "Cannot POST [secret]"),
        ("https://a.example/eth-mainnet", "at eth-mainnet", "at eth-mainnet"),
        ("https://a.example/abcdefghijklmnop", "abcdefghijklmnop", "[secret]"),
        ("https://a.example/rpc", "Cannot POST /rpc", "Cannot POST /rpc"),
        (
            "https://a.example/?apikey=abc%20d",
            "abc d, abc%20d, abc+d",
            "[secret], [secret], [secret]",
        ),
    ],
)
def test_parts_of_urls(url: str, told: str, shown: str) -> None:
    assert redact(told, url=url) == shown


def test_everything_in_a_configuration_is_known() -> None:
    chain = Chain(name="x", chain_id=1, upstreams=(upstream(url="https://a.example/v3/upstream1"),))
    config = Config(
        chains=(chain,),
        notify=(Notice(url="https://hooks.example/services/T0hook12345"),),
        server=Server(admin_token="token-of-the-owner", traces="http://otel.example/traces12345"),
    )
    redactor = Redactor(secrets_of(config))
    for secret in ("upstream1", "T0hook12345", "token-of-the-owner", "traces12345"):
        assert redactor(f"it is {secret}") == f"it is {REDACTED}"
        assert secret not in repr(config)


def test_what_was_taken_out_is_left_alone() -> None:
    redactor = Redactor(["secret", "hush-hush"])
    once = redactor("hush-hush is a Secret")
    assert redactor(once) == once == "[secret] is a [secret]"


def test_it_only_learns() -> None:
    redactor = Redactor()
    assert redactor("hush-hush") == "hush-hush"
    redactor.add(["hush-hush"])
    redactor.add(["other-one", "abc"])
    assert redactor("hush-hush other-one abc") == "[secret] [secret] abc"


words = st.lists(st.text("abA.*[", min_size=4, max_size=9), min_size=1, max_size=12)


@given(words, st.text("abA.*[ ", max_size=60))
def test_the_longest_is_found_at_each_place(secrets: list[str], text: str) -> None:
    one_by_one = re.compile(
        "|".join(map(re.escape, sorted({*secrets, REDACTED}, key=len, reverse=True))), re.IGNORECASE
    )
    assert Redactor(secrets)(text) == one_by_one.sub(REDACTED, text)
