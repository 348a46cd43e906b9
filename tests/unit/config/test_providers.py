"""Keys in the environment: what is served without a file, and what is never repeated."""

from __future__ import annotations

import pytest

from rpcproxy.chains.known import KNOWN
from rpcproxy.config.load import ConfigError, from_names
from rpcproxy.config.model import Chain
from rpcproxy.config.providers import PROVIDERS, keyed

SECRET = "0123456789abcdef0123456789abcdef"
QUICK = f"https://calm-lake.quiknode.pro/{SECRET}/"
EVERY = {
    provider.variable: SECRET if provider.url else f"https://{provider.name}.example.com/{SECRET}"
    for provider in PROVIDERS
}


def chains(names: str, environ: dict[str, str]) -> tuple[Chain, ...]:
    return from_names(names.split(), KNOWN, environ).chains


def primaries(chain: Chain) -> list[str]:
    return [upstream.name for upstream in chain.upstreams if upstream.tier == "primary"]


def test_without_keys_the_public_ones_serve() -> None:
    (base,) = chains("base", {"INFURA_KEY": " ", "QUICKNODE_URL": ""})
    assert primaries(base) == ["base", "tenderly", "publicnode", "drpc", "1rpc"]


def test_with_keys_the_public_ones_are_backups() -> None:
    ethereum, base = chains("ethereum base", {"INFURA_KEY": f"{SECRET}\n", "DRPC_KEY": SECRET})
    assert primaries(ethereum) == primaries(base) == ["infura", "drpc"]
    assert [u.url for u in base.upstreams[:2]] == [
        f"https://base-mainnet.infura.io/v3/{SECRET}",
        f"https://lb.drpc.live/base/{SECRET}",
    ]
    public = {u.name: u.provider for u in base.upstreams if u.tier == "backup"}
    assert public == {
        **{name: name for name in ("base", "tenderly", "publicnode", "1rpc")},
        "drpc-public": "drpc",
    }
    assert not any(u.provider_guessed for u in base.upstreams[:2])


def test_a_url_is_of_the_first_chain_or_of_the_one_in_its_name() -> None:
    urls = {"QUICKNODE_URL": QUICK, "QUICKNODE_URL_ARBITRUM_NOVA": f"{QUICK}nova"}
    found = chains("base ethereum arbitrum-nova", urls)
    assert [primaries(chain)[0] for chain in found] == ["quicknode", "publicnode", "quicknode"]
    assert found[2].upstreams[0].url == f"{QUICK}nova"
    own = {**urls, "QUICKNODE_URL_BASE": f"{QUICK}base"}
    assert chains("base", own)[0].upstreams[0].url == f"{QUICK}base"


def test_a_provider_is_not_asked_for_a_chain_that_it_is_not_known_to_have() -> None:
    (monad,) = chains("monad", {"INFURA_KEY": SECRET, "ALCHEMY_KEY": SECRET})
    assert primaries(monad) == ["alchemy"]


def test_every_row_makes_urls_for_known_chains() -> None:
    found = list(keyed(tuple(KNOWN), EVERY))
    assert {entry.variable for entry in found} == set(EVERY)
    assert len({entry.url for entry in found}) == len(found)
    for entry in found:
        assert SECRET in entry.url
        assert SECRET not in entry.template
        assert entry.template.replace(f"${{{entry.variable}}}", EVERY[entry.variable]) == entry.url
        assert SECRET not in repr(entry)
    for provider in PROVIDERS:
        assert set(provider.networks) <= set(KNOWN)
    for chain in from_names(KNOWN, KNOWN, EVERY).chains:
        names = [upstream.name for upstream in chain.upstreams]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("INFURA_KEY", QUICK, "INFURA_KEY looks like a URL; expected the key alone"),
        ("DRPC_KEY", f"{SECRET}/x", "DRPC_KEY has a sign that no key has; expected the key alone"),
        (
            "QUICKNODE_URL",
            SECRET,
            "QUICKNODE_URL does not begin with a scheme; expected https:// or http:// and a host",
        ),
        (
            "CHAINSTACK_URL",
            f"wss://x.core.chainstack.com/{SECRET}",
            (
                "CHAINSTACK_URL (…://…) is no HTTP; expected https:// or http:// and a host; "
                "a WebSocket address goes to ws_url"
            ),
        ),
    ],
)
def test_what_cannot_be_right_is_told_without_the_secret(
    variable: str, value: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        from_names(["ethereum"], KNOWN, {variable: value})
    assert str(caught.value) == message
    assert SECRET not in message
