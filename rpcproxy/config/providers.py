"""Providers that are known by the name of an environment variable: a row for each.

A key is the same for every chain of its provider (``INFURA_KEY``). A URL concerns one chain: the
first one named, or the one in the variable's name (``QUICKNODE_URL_BASE``,
``QUICKNODE_URL_ARBITRUM_NOVA``). What a provider calls a chain is beside its row; a chain that is
not there is not asked of it. Sources: docs.metamask.io, All endpoints (Infura);
alchemy.com/docs/reference/node-supported-chains; ankr.com/docs, Supported chains; drpc.org's own
URLs, as in use in many public repositories.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from rpcproxy.config.problems import Unfit
from rpcproxy.config.urls import check

# What is in the key becomes part of a URL as it is.
_KEY: Final = re.compile(r"[A-Za-z0-9._~-]{4,256}")


@dataclass(frozen=True, slots=True)
class KnownProvider:
    """``url`` has ``{network}`` and ``{key}``, or is empty where the variable holds a URL.

    ``networks``: what it calls our chains, as ``OURS=THEIRS``, or one word where both agree.
    """

    variable: str
    name: str
    url: str = ""
    networks: Mapping[str, str] = field(default_factory=dict)

    def template(self, chain: str, *, is_first: bool, environ: Mapping[str, str]) -> str:
        """Its URL for a chain with ``${VARIABLE}`` in place of the secret, empty for none."""
        if self.url:
            network = self.networks.get(chain)
            return self.url.format(network=network, key=f"${{{self.variable}}}") if network else ""
        own = f"{self.variable}_{chain.upper().replace('-', '_')}"
        if environ.get(own, "").strip():
            return f"${{{own}}}"
        return f"${{{self.variable}}}" if is_first else ""


@dataclass(frozen=True, slots=True)
class Keyed:
    """An upstream of a provider that wants a key. ``url`` holds the secret, ``template`` the
    name of the variable in its place.
    """

    chain: str
    provider: str
    variable: str
    template: str
    url: str = field(repr=False)


def _networks(text: str) -> dict[str, str]:
    pairs = (word.partition("=") for word in text.split())
    return {ours: theirs or ours for ours, _, theirs in pairs}


PROVIDERS: Final = (
    KnownProvider(
        *("INFURA_KEY", "infura", "https://{network}.infura.io/v3/{key}"),
        _networks(
            "ethereum=mainnet sepolia hoodi base=base-mainnet optimism=optimism-mainnet"
            " arbitrum=arbitrum-mainnet polygon=polygon-mainnet bsc=bsc-mainnet"
            " avalanche=avalanche-mainnet zksync=zksync-mainnet linea=linea-mainnet"
            " scroll=scroll-mainnet blast=blast-mainnet mantle=mantle-mainnet"
            " unichain=unichain-mainnet celo=celo-mainnet"
        ),
    ),
    KnownProvider(
        *("ALCHEMY_KEY", "alchemy", "https://{network}.g.alchemy.com/v2/{key}"),
        _networks(
            "ethereum=eth-mainnet sepolia=eth-sepolia hoodi=eth-hoodi base=base-mainnet"
            " optimism=opt-mainnet arbitrum=arb-mainnet arbitrum-nova=arbnova-mainnet"
            " polygon=polygon-mainnet bsc=bnb-mainnet avalanche=avax-mainnet gnosis=gnosis-mainnet"
            " zksync=zksync-mainnet linea=linea-mainnet scroll=scroll-mainnet blast=blast-mainnet"
            " mantle=mantle-mainnet unichain=unichain-mainnet ink=ink-mainnet"
            " world=worldchain-mainnet celo=celo-mainnet berachain=berachain-mainnet"
            " sonic=sonic-mainnet monad=monad-mainnet hyperevm=hyperliquid-mainnet"
        ),
    ),
    KnownProvider("QUICKNODE_URL", "quicknode"),
    KnownProvider(
        *("DRPC_KEY", "drpc", "https://lb.drpc.live/{network}/{key}"),
        _networks(
            "ethereum sepolia hoodi base optimism arbitrum arbitrum-nova polygon bsc avalanche"
            " gnosis zksync linea scroll blast mantle unichain ink world=worldchain celo berachain"
            " sonic monad=monad-mainnet hyperevm=hyperliquid"
        ),
    ),
    KnownProvider(
        *("ANKR_KEY", "ankr", "https://rpc.ankr.com/{network}/{key}"),
        _networks(
            "ethereum=eth sepolia=eth_sepolia hoodi=eth_hoodi base optimism arbitrum"
            " arbitrum-nova=arbitrumnova polygon bsc avalanche gnosis zksync=zksync_era linea"
            " scroll blast mantle celo sonic=sonic_mainnet monad=monad_mainnet"
        ),
    ),
    KnownProvider("CHAINSTACK_URL", "chainstack"),
)


def keyed(
    chains: Sequence[str],
    environ: Mapping[str, str],
    providers: Sequence[KnownProvider] = PROVIDERS,
) -> Iterator[Keyed]:
    """The upstreams of these chains whose variables are set, by chain, then as in the table.

    Raises ``Unfit`` with a whole sentence that names a variable whose value cannot be right.
    """
    for position, chain in enumerate(chains):
        for provider in providers:
            template = provider.template(chain, is_first=position == 0, environ=environ)
            variable = template.partition("${")[2].partition("}")[0]
            value = environ.get(variable, "").strip()
            if not value:
                continue
            if provider.url:
                if not _KEY.fullmatch(value):
                    told = "looks like a URL" if "://" in value else "has a sign that no key has"
                    raise Unfit(f"{variable} {told}; expected the key alone")
            else:
                _check_url(value, variable)
            url = template.replace(f"${{{variable}}}", value)
            yield Keyed(chain, provider.name, variable, template, url)


def _check_url(value: str, variable: str) -> None:
    try:
        check(value, f"${{{variable}}}", ("https", "http"))
    except Unfit as unfit:
        raise Unfit(unfit.about(variable)) from None
