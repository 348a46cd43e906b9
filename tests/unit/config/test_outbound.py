"""Which outbound proxy leads where, and what is said of one that cannot be used."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from rpcproxy.chains.known import KNOWN
from rpcproxy.config.load import ConfigError, from_names, load_text
from rpcproxy.config.model import Config
from rpcproxy.config.outbound import DIRECT, from_environment, shown, ws_proxy_of
from rpcproxy.config.secrets import secrets_of

PROXY = "http://proxy.corp:3128"
OTHER = "socks5h://socks.corp"


# (what is there, the URL, the way). Rules: curl's manual, "Environment variables"; Go 1.26,
# golang.org/x/net/http/httpproxy.
WAYS: list[tuple[Mapping[str, str], str, str]] = [
    ({}, "https://a.example", DIRECT),
    ({"HTTPS_PROXY": PROXY}, "https://a.example", PROXY),
    ({"HTTPS_PROXY": PROXY}, "wss://a.example", PROXY),
    ({"HTTPS_PROXY": PROXY}, "http://a.example", DIRECT),
    ({"HTTP_PROXY": PROXY}, "https://a.example", DIRECT),
    ({"HTTP_PROXY": PROXY}, "ws://a.example", PROXY),
    ({"https_proxy": OTHER, "HTTPS_PROXY": PROXY}, "https://a.example", OTHER),
    ({"ALL_PROXY": OTHER}, "http://a.example", OTHER),
    ({"ALL_PROXY": OTHER, "HTTPS_PROXY": PROXY}, "https://a.example", PROXY),
    ({"HTTPS_PROXY": ""}, "https://a.example", DIRECT),
    ({"HTTPS_PROXY": "proxy.corp:3128"}, "https://a.example", PROXY),
    ({"ALL_PROXY": PROXY}, "http://127.0.0.1:8545", DIRECT),
    ({"ALL_PROXY": PROXY}, "http://localhost:8545", DIRECT),
    ({"ALL_PROXY": PROXY}, "http://[::1]:8545", DIRECT),
    ({"ALL_PROXY": PROXY, "NO_PROXY": "*"}, "https://a.example", DIRECT),
    ({"ALL_PROXY": PROXY, "NO_PROXY": "a.example"}, "https://a.example", DIRECT),
    ({"ALL_PROXY": PROXY, "NO_PROXY": "a.example"}, "https://rpc.a.example", DIRECT),
    ({"ALL_PROXY": PROXY, "NO_PROXY": "a.example"}, "https://ba.example", PROXY),
    ({"ALL_PROXY": PROXY, "NO_PROXY": ".a.example"}, "https://rpc.a.example", DIRECT),
    ({"ALL_PROXY": PROXY, "NO_PROXY": "*.a.example"}, "https://rpc.a.example", DIRECT),
    ({"ALL_PROXY": PROXY, "no_proxy": "x, A.Example"}, "https://a.example", DIRECT),
    ({"ALL_PROXY": PROXY, "NO_PROXY": "a.example:8443"}, "https://a.example", PROXY),
    ({"ALL_PROXY": PROXY, "NO_PROXY": "a.example:443"}, "https://a.example", DIRECT),
    ({"ALL_PROXY": PROXY, "NO_PROXY": "10.0.0.0/8"}, "http://10.1.2.3:8545", DIRECT),
    ({"ALL_PROXY": PROXY, "NO_PROXY": "10.0.0.0/8"}, "http://11.1.2.3:8545", PROXY),
    ({"ALL_PROXY": PROXY, "NO_PROXY": "fd00::/8"}, "http://[fd00::7]:8545", DIRECT),
    ({"ALL_PROXY": PROXY, "NO_PROXY": "[fd00::7]:8545"}, "http://[fd00::7]:8545", DIRECT),
    ({"ALL_PROXY": PROXY, "NO_PROXY": ","}, "https://a.example", PROXY),
]


@pytest.mark.parametrize(("environ", "url", "way"), WAYS)
def test_the_environment_says(environ: Mapping[str, str], url: str, way: str) -> None:
    assert from_environment(url, environ) == way


def load(text: str, environ: Mapping[str, str] | None = None) -> Config:
    return load_text(text, file="f.yaml", known=KNOWN, environ=environ or {})


def upstream(keys: str) -> str:
    return f"chains: [{{name: base, upstreams: [{{url: https://a.example, {keys}}}]}}]"


def test_an_upstreams_own_comes_before_the_environments() -> None:
    environ = {"HTTPS_PROXY": PROXY, "PASS": "s3cr3t/word"}
    for keys, way in {
        "name: x": PROXY,
        "proxy: direct": DIRECT,
        "proxy: off": DIRECT,
        "proxy: socks5://s.corp:9": "socks5://s.corp:9",
        "proxy: 'http://me:${PASS}@p.corp:1'": "http://me:s3cr3t/word@p.corp:1",
    }.items():
        if "PASS" in keys:
            continue  # a slash in a password is refused, below
        (found,) = load(upstream(keys), environ).chains[0].upstreams
        assert found.proxy == way


def test_the_way_of_a_subscription_is_its_own_urls() -> None:
    text = "chains: [{name: base, upstreams: [{url: https://a.example, ws_url: 'ws://b.example'}]}]"
    (found,) = load(text, {"HTTPS_PROXY": PROXY, "HTTP_PROXY": OTHER}).chains[0].upstreams
    assert (found.proxy, ws_proxy_of(found)) == (PROXY, OTHER)
    text = text.replace("ws_url", "proxy: socks5://own.corp, ws_url")
    (found,) = load(text, {"HTTP_PROXY": OTHER}).chains[0].upstreams
    assert ws_proxy_of(found) == "socks5://own.corp"


def test_names_and_webhooks_go_the_environments_way() -> None:
    config = from_names(["base"], KNOWN, {"HTTPS_PROXY": PROXY})
    assert {each.proxy for each in config.chains[0].upstreams} == {PROXY}
    text = upstream("name: x") + "\nnotify: [{url: 'https://hooks.example/x'}]"
    assert load(text, {"HTTPS_PROXY": PROXY}).notify[0].proxy == PROXY


@pytest.mark.parametrize(
    ("keys", "environ", "words"),
    [
        ("proxy: ftp://p.corp", {}, "f.yaml:1: proxy (ftp://p.corp) has a wrong scheme"),
        ("proxy: https://p.corp", {}, "proxy (https://p.corp) has a wrong scheme"),
        ("proxy: p.corp:3128", {}, "proxy has no scheme before 'p.corp'"),
        ("proxy: [a]", {}, "proxy is a list; expected a URL such as http://HOST:PORT, or direct"),
        ("proxy: 'http://me:a/b@p.corp'", {}, "%2F"),
        ("name: x", {"HTTPS_PROXY": "ftp://me:hunter22@p.corp"}, "HTTPS_PROXY in the environment"),
        ("name: x", {"all_proxy": "http://"}, "all_proxy in the environment"),
    ],
)
def test_what_cannot_be_used_is_told_without_secrets(
    keys: str, environ: Mapping[str, str], words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(upstream(keys), environ)
    assert words in str(caught.value)
    assert "hunter22" not in str(caught.value)


def test_a_variable_that_nobody_needs_is_not_looked_at() -> None:
    (found,) = load(upstream("proxy: direct"), {"HTTPS_PROXY": "ftp://x"}).chains[0].upstreams
    assert found.proxy == DIRECT


def test_what_may_be_shown() -> None:
    assert shown("http://me:secret@p.corp:3128") == "p.corp:3128"
    assert shown("socks5://[::1]") == "[::1]:1080"
    assert shown("http://p.corp") == "p.corp:80"
    assert shown(DIRECT) == shown(None) == ""
    config = load(upstream("proxy: 'http://me:hunter22@p.corp:3128'"))
    assert "hunter22" in secrets_of(config)
    assert "hunter22" not in repr(config)
    assert "p.corp:3128" not in secrets_of(config)
