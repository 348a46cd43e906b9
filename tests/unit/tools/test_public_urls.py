"""The list of public endpoints: what the script takes of the package, and that it was run."""

from __future__ import annotations

import pytest

from rpcproxy.chains import public
from rpcproxy.chains.known import KNOWN
from rpcproxy.chains.public import PUBLIC
from tools.public_urls import LEFT_OUT, LICENCE, MADE, VERSION, WRONG_CHAINS, chosen, rendered


def test_it_is_what_the_script_makes_of_itself() -> None:
    """Whoever edits it by hand, or changes the script without running it, is told here."""
    assert rendered(PUBLIC) == MADE.read_text()


def test_version_and_licence_are_recorded() -> None:
    assert f"{VERSION}, licence {LICENCE}" in " ".join((public.__doc__ or "").split())


@pytest.mark.parametrize(
    ("urls", "expected"),
    [
        (
            ["https://a.com", "https://b.a.com/x", "https://b.com/"],
            ["https://a.com", "https://b.com"],
        ),
        (["https://a.com/v3/${KEY}", "wss://b.com", "http://c.com", "nonsense"], []),
        (["https://a.com/v2/" + "x" * 30, "https://a.com/v2"], ["https://a.com/v2"]),
        (["https://rpc.flashbots.net", "https://rpc.mevblocker.io/fast"], []),
        (["https://:x", "https://"], []),
    ],
)
def test_what_is_taken(urls: list[str], expected: list[str]) -> None:
    assert list(chosen(urls)) == expected


def test_a_chain_that_is_another_in_the_list_is_left_out() -> None:
    assert "wrong.example" not in rendered({("evm", "999"): ["https://wrong.example.com"]})
    assert {("evm", "999")} == WRONG_CHAINS


def test_the_list_is_used_and_ours_come_before_it() -> None:
    assert set(PUBLIC) <= {(chain.kind, chain.identity) for chain in KNOWN.values()}
    taken = {url for urls in PUBLIC.values() for url in urls}
    shipped = {url for chain in KNOWN.values() for url in chain.public_urls}
    assert taken - shipped == {"https://bsc-dataseed1.bnbchain.org"}
    assert "https://bsc-dataseed.bnbchain.org" in KNOWN["bsc"].public_urls
    assert all(LEFT_OUT.values())
