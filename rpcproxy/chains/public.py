"""Public endpoints by kind and identity. Made by ``tools/public_urls.py``, not by hand. Pure.

From the npm package ``@revoke.cash/chains`` 80.0.0, licence MIT, which copies ethereum-lists (MIT).
Keyless, one URL per company; what is left out, and why, stands in the script. The list is not
proof: every upstream is held against the chain's id and its genesis block before it serves.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

PUBLIC: Final[Mapping[tuple[str, str], tuple[str, ...]]] = MappingProxyType(
    {
        ("evm", "1"): (  # ethereum
            "https://ethereum-rpc.publicnode.com",
            "https://mainnet.gateway.tenderly.co",
            "https://eth.drpc.org",
        ),
        ("evm", "11155111"): (  # sepolia
            "https://rpc.sepolia.ethpandaops.io",
            "https://sepolia.gateway.tenderly.co",
            "https://ethereum-sepolia-rpc.publicnode.com",
            "https://sepolia.drpc.org",
        ),
        ("evm", "560048"): (  # hoodi
            "https://rpc.hoodi.ethpandaops.io",
        ),
        ("evm", "8453"): (  # base
            "https://mainnet.base.org",
            "https://base.gateway.tenderly.co",
            "https://base-rpc.publicnode.com",
        ),
        ("evm", "10"): (  # optimism
            "https://mainnet.optimism.io",
            "https://optimism-rpc.publicnode.com",
            "https://optimism.gateway.tenderly.co",
            "https://optimism.drpc.org",
        ),
        ("evm", "42161"): (  # arbitrum
            "https://arb1.arbitrum.io/rpc",
            "https://arbitrum-one-rpc.publicnode.com",
        ),
        ("evm", "42170"): (  # arbitrum-nova
            "https://nova.arbitrum.io/rpc",
            "https://arbitrum-nova-rpc.publicnode.com",
        ),
        ("evm", "137"): (  # polygon
            "https://polygon.drpc.org",
            "https://polygon-bor-rpc.publicnode.com",
            "https://polygon.gateway.tenderly.co",
        ),
        ("evm", "56"): (  # bsc
            "https://bsc-dataseed1.bnbchain.org",
            "https://bsc-rpc.publicnode.com",
        ),
        ("evm", "43114"): (  # avalanche
            "https://api.avax.network/ext/bc/C/rpc",
            "https://avalanche-c-chain-rpc.publicnode.com",
        ),
        ("evm", "100"): (  # gnosis
            "https://rpc.gnosischain.com",
            "https://rpc.gnosis.gateway.fm",
            "https://gnosis.api.onfinality.io/public",
            "https://gnosis.blockpi.network/v1/rpc/public",
            "https://gnosis-rpc.publicnode.com",
        ),
        ("evm", "324"): (  # zksync
            "https://mainnet.era.zksync.io",
            "https://zksync.drpc.org",
        ),
        ("evm", "59144"): (  # linea
            "https://rpc.linea.build",
            "https://linea-rpc.publicnode.com",
        ),
        ("evm", "534352"): (  # scroll
            "https://rpc.scroll.io",
            "https://scroll-rpc.publicnode.com",
        ),
        ("evm", "81457"): (  # blast
            "https://rpc.blast.io",
            "https://blast.din.dev/rpc",
            "https://blast.blockpi.network/v1/rpc/public",
            "https://blast-rpc.publicnode.com",
        ),
        ("evm", "5000"): (  # mantle
            "https://rpc.mantle.xyz",
            "https://mantle-rpc.publicnode.com",
        ),
        ("evm", "130"): (  # unichain
            "https://mainnet.unichain.org",
            "https://unichain-rpc.publicnode.com",
        ),
        ("evm", "57073"): (  # ink
            "https://rpc-gel.inkonchain.com",
        ),
        ("evm", "480"): (  # world
            "https://worldchain-mainnet.g.alchemy.com/public",
            "https://480.rpc.thirdweb.com",
            "https://worldchain-mainnet.gateway.tenderly.co",
        ),
        ("evm", "42220"): (  # celo
            "https://forno.celo.org",
        ),
        ("evm", "80094"): (  # berachain
            "https://rpc.berachain.com",
            "https://berachain-rpc.publicnode.com",
        ),
        ("evm", "146"): (  # sonic
            "https://rpc.soniclabs.com",
            "https://sonic-rpc.publicnode.com",
        ),
        ("evm", "143"): (  # monad
            "https://rpc.monad.xyz",
        ),
    }
)
