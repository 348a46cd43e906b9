"""front.pages.landing and chains.native: the page at the wallet's URL."""

from __future__ import annotations

import json
import re
from typing import Any

from rpcproxy.chains.known import KNOWN
from rpcproxy.chains.native import NATIVE, native_of, title_of
from rpcproxy.front.pages.landing import landing
from tests.unit.front.pages.test_status_html import EVIL, Tree

ASKS = "eth_blockNumber"


def described(name: str, chain_id: int, asks: str, *paths: str) -> dict[str, Any]:
    which = {"kind": "evm", "identity": str(chain_id), "chain_id": chain_id}
    return {"name": name, **which, "asks": asks, "paths": list(paths)}


ETHEREUM = described("ethereum", 1, ASKS, "/", "/1", "/ethereum")
OURS = described("ours", 31337, ASKS, "/31337", "/ours")
BASE = "http://127.0.0.1:8545"


def page(*chains: dict[str, Any], **given: Any) -> Tree:
    outlooks = {"ethereum": {"level": "troubled", "sentence": "a is rate-limited"}}
    given = {"here": "/", **given}
    return Tree(landing(BASE, chains, outlooks, **given).removeprefix("<!doctype html>"))


def test_every_known_chain_has_its_coin() -> None:
    assert {(chain.kind, chain.identity) for chain in KNOWN.values()} == set(NATIVE)
    for chain in KNOWN.values():
        native = native_of(chain.name, chain.kind, chain.identity)
        assert title_of(chain.name) == native.title == NATIVE[chain.kind, chain.identity].title
        assert re.fullmatch(r"[A-Z]{1,6}", native.symbol)
        assert re.fullmatch(r"https://[a-z.]+", native.explorer)
    ours = native_of("my-archive", "evm", "1")
    assert (ours.title, ours.symbol) == ("my-archive", "ETH")
    assert native_of("ours", "evm", "31337").explorer == ""


def test_the_page_of_two_chains() -> None:
    tree = page(ETHEREUM, OURS)
    for words in (
        "Ethereum, ours",
        "Ethereum chain id 1",
        "a is rate-limited",
        "http://127.0.0.1:8545/",
        "Also at http://127.0.0.1:8545/1, http://127.0.0.1:8545/ethereum",
        "http://127.0.0.1:8545/31337",
    ):
        assert words in tree.text, words
    assert tree.of("title") == [{}]
    assert not tree.of("a")


def test_what_a_wallet_is_asked() -> None:
    asked = [
        json.loads(each["data-add"] or "")
        for each in page(ETHEREUM, OURS).of("div")
        if "data-add" in each
    ]
    assert asked == [
        {
            "chainId": "0x1",
            "chainName": "Ethereum",
            "nativeCurrency": {"name": "ETH", "symbol": "ETH", "decimals": 18},
            "blockExplorerUrls": ["https://etherscan.io"],
        },
        {
            "chainId": "0x7a69",
            "chainName": "ours",
            "nativeCurrency": {"name": "ETH", "symbol": "ETH", "decimals": 18},
        },
    ]


def test_where_the_status_is_public_it_is_linked() -> None:
    links = page(ETHEREUM, status_path="/status").of("a")
    assert links == [{"href": "/status", "id": "status"}]


def test_nothing_of_it_becomes_a_tag() -> None:
    chain = described(EVIL, 5, EVIL, f"/{EVIL}")
    for tree in (
        page(chain, here=f"/{EVIL}"),
        Tree(landing(f"http://{EVIL}", [chain], {}, here=EVIL)[15:]),
    ):
        assert not tree.of("img")
        assert len(tree.of("script")) == 1
        assert EVIL in tree.text


def test_no_chain_at_all() -> None:
    assert "No network is served here" in page().text
