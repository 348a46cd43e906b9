"""The shipped chains: ids, aliases, endpoints."""

from __future__ import annotations

import re

import pytest

from rpcproxy.chains.known import KNOWN, name_of, told_identity
from rpcproxy.chains.registry import KINDS
from rpcproxy.config.load import ConfigError, by_any_name, from_names

IDS = {
    "ethereum": 1,
    "sepolia": 11155111,
    "hoodi": 560048,
    "base": 8453,
    "optimism": 10,
    "arbitrum": 42161,
    "arbitrum-nova": 42170,
    "polygon": 137,
    "bsc": 56,
    "avalanche": 43114,
    "gnosis": 100,
    "zksync": 324,
    "linea": 59144,
    "scroll": 534352,
    "blast": 81457,
    "mantle": 5000,
    "unichain": 130,
    "ink": 57073,
    "world": 480,
    "celo": 42220,
    "berachain": 80094,
    "sonic": 146,
    "monad": 143,
    "hyperevm": 999,
}


def test_ids() -> None:
    assert {name: chain.chain_id for name, chain in KNOWN.items()} == IDS
    assert all(name == chain.name for name, chain in KNOWN.items())


def test_no_alias_means_two_chains() -> None:
    names = [name for chain in KNOWN.values() for name in (chain.name, *chain.aliases)]
    assert len(names) == len(set(names))
    assert all(name == name.lower() for name in names)


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("mainnet", "ethereum"),
        ("eth", "ethereum"),
        ("ETH", "ethereum"),
        ("arb", "arbitrum"),
        ("op", "optimism"),
        ("matic", "polygon"),
        ("bnb", "bsc"),
    ],
)
def test_aliases(alias: str, name: str) -> None:
    assert from_names([alias], KNOWN, {}).chains[0].name == name


def test_lag_and_block_time_are_sensible() -> None:
    for chain in KNOWN.values():
        assert 0 < chain.block_time_seconds <= 12
        assert chain.max_lag_blocks >= 1
        assert chain.max_lag_blocks * chain.block_time_seconds <= 24


@pytest.mark.parametrize("name", IDS)
def test_public_endpoints_are_https_without_keys_and_of_different_companies(name: str) -> None:
    chain = from_names([name], KNOWN, {}).chains[0]
    assert len(chain.upstreams) >= 2
    assert all(upstream.url.startswith("https://") for upstream in chain.upstreams)
    assert all(len(part) < 28 for u in chain.upstreams for part in u.url.split("/")[3:])
    providers = [upstream.provider for upstream in chain.upstreams]
    assert len(set(providers)) == len(providers)
    assert all(upstream.provider_guessed for upstream in chain.upstreams)


def test_state_served_at_latest_only_is_not_asked_for_by_number() -> None:
    routed = {name for name, chain in KNOWN.items() if chain.consistency != "pinned"}
    assert routed == {"hyperevm", "monad"}
    config = from_names(["hyperevm", "monad", "base"], KNOWN, {})
    assert [chain.consistency for chain in config.chains] == ["routed", "routed", "pinned"]


def test_genesis_hashes_are_hashes_and_no_two_chains_have_one() -> None:
    hashes = [chain.genesis_hash for chain in KNOWN.values() if chain.genesis_hash]
    assert len(hashes) == len(set(hashes)) >= 12
    assert all(re.fullmatch("0x[0-9a-f]{64}", hash) for hash in hashes)
    (ethereum,) = from_names(["ethereum"], KNOWN, {}).chains
    assert ethereum.genesis_hash == KNOWN["ethereum"].genesis_hash


def test_names_to_configuration() -> None:
    config = from_names(["base", "mainnet"], KNOWN, {})
    assert [chain.name for chain in config.chains] == ["base", "ethereum"]
    base = config.chains[0]
    assert (base.chain_id, base.block_time_seconds, base.max_lag_blocks) == (8453, 2.0, 2)
    assert [u.name for u in base.upstreams] == ["base", "tenderly", "publicnode", "drpc", "1rpc"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["etherium"], "chain 'etherium' is not known; did you mean 'ethereum'?"),
        (
            ["base", "zzz", "bass"],
            "chain 'zzz' is not known\nchain 'bass' is not known; did you mean 'base'?",
        ),
        (["eth", "ethereum"], "chain 'ethereum' is named twice"),
        ([], "no chain named; expected names such as ethereum or base"),
        (
            ["bare"],
            (
                "chain 'bare' has no public endpoints shipped, and no key for it is in the "
                "environment; expected a configuration file with upstreams (-c FILE)"
            ),
        ),
    ],
)
def test_names_that_cannot_be_served(names: list[str], message: str) -> None:
    bare = KNOWN["base"].model_copy(update={"name": "bare", "aliases": (), "public_urls": ()})
    with pytest.raises(ConfigError) as caught:
        from_names(names, {**KNOWN, "bare": bare}, {})
    assert str(caught.value) == message


def test_a_name_wins_over_an_alias() -> None:
    other = KNOWN["base"].model_copy(update={"name": "other", "aliases": ("ethereum",)})
    assert by_any_name({**KNOWN, "other": other})["ethereum"].chain_id == 1


def test_chains_are_found_by_kind_and_identity() -> None:
    assert {name_of(chain.kind, chain.identity) for chain in KNOWN.values()} == set(KNOWN)
    assert name_of("evm", "8453") == "base"
    assert name_of("evm", "31337") is None
    assert name_of("another", "8453") is None


def test_an_identity_is_told_as_a_number_where_it_is_one() -> None:
    assert told_identity("8453") == 8453
    assert told_identity("dydx-mainnet-1") == "dydx-mainnet-1"


def test_a_configuration_takes_the_kinds_that_there_are() -> None:
    assert KNOWN.kinds.keys() == KINDS.keys()
    assert {chain.kind for chain in KNOWN.values()} <= KINDS.keys()


def test_every_genesis_is_written_as_its_kind_writes_it() -> None:
    for chain in KNOWN.values():
        if chain.genesis_hash is not None:
            assert KNOWN.kinds[chain.kind].genesis(chain.genesis_hash) == chain.genesis_hash
