"""Public endpoints by chain id. Made by ``tools/public_urls.py``, not by hand. Pure.

From the npm package ``@revoke.cash/chains`` 80.0.0, licence MIT, which copies ethereum-lists (MIT).
Keyless, one URL per company; what is left out, and why, stands in the script. The list is not
proof: every upstream is held against the chain's id and its genesis block before it serves.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

PUBLIC: Final[Mapping[int, tuple[str, ...]]] = MappingProxyType(
    {
        1: (  # ethereum
            "https://ethereum-rpc.publicnode.com",
            "https://mainnet.gateway.tenderly.co",
            "https://eth.drpc.org",
        ),
        11155111: (  # sepolia
            "https://rpc.sepolia.ethpandaops.io",
            "https://sepolia.gateway.tenderly.co",
            "https://ethereum-sepolia-rpc.publicnode.com",
            "https://sepolia.drpc.org",
        ),
        560048: (  # hoodi
            "https://rpc.hoodi.ethpandaops.io",
        ),
        8453: (  # base
            "https://mainnet.base.org",
            "https://base.gateway.tenderly.co",
            "https://base-rpc.publicnode.com",
        ),
        10: (  # optimism
            "https://mainnet.optimism.io",
            "https://optimism-rpc.publicnode.com",
            "https://optimism.gateway.tenderly.co",
            "https://optimism.drpc.org",
        ),
        42161: (  # arbitrum
            "https://arb1.arbitrum.io/rpc",
            "https://arbitrum-one-rpc.publicnode.com",
        ),
        42170: (  # arbitrum-nova
            "https://nova.arbitrum.io/rpc",
            "https://arbitrum-nova-rpc.publicnode.com",
        ),
        137: (  # polygon
            "https://polygon.drpc.org",
            "https://polygon-bor-rpc.publicnode.com",
            "https://polygon.gateway.tenderly.co",
        ),
        56: (  # bsc
            "https://bsc-dataseed1.bnbchain.org",
            "https://bsc-rpc.publicnode.com",
        ),
        43114: (  # avalanche
            "https://api.avax.network/ext/bc/C/rpc",
            "https://avalanche-c-chain-rpc.publicnode.com",
        ),
        100: (  # gnosis
            "https://rpc.gnosischain.com",
            "https://rpc.gnosis.gateway.fm",
            "https://gnosis.api.onfinality.io/public",
            "https://gnosis.blockpi.network/v1/rpc/public",
            "https://gnosis-rpc.publicnode.com",
        ),
        324: (  # zksync
            "https://mainnet.era.zksync.io",
            "https://zksync.drpc.org",
        ),
        59144: (  # linea
            "https://rpc.linea.build",
            "https://linea-rpc.publicnode.com",
        ),
        534352: (  # scroll
            "https://rpc.scroll.io",
            "https://scroll-rpc.publicnode.com",
        ),
        81457: (  # blast
            "https://rpc.blast.io",
            "https://blast.din.dev/rpc",
            "https://blast.blockpi.network/v1/rpc/public",
            "https://blast-rpc.publicnode.com",
        ),
        5000: (  # mantle
            "https://rpc.mantle.xyz",
            "https://mantle-rpc.publicnode.com",
        ),
        130: (  # unichain
            "https://mainnet.unichain.org",
            "https://unichain-rpc.publicnode.com",
        ),
        57073: (  # ink
            "https://rpc-gel.inkonchain.com",
        ),
        480: (  # world
            "https://worldchain-mainnet.g.alchemy.com/public",
            "https://480.rpc.thirdweb.com",
            "https://worldchain-mainnet.gateway.tenderly.co",
        ),
        42220: (  # celo
            "https://forno.celo.org",
        ),
        80094: (  # berachain
            "https://rpc.berachain.com",
            "https://berachain-rpc.publicnode.com",
        ),
        146: (  # sonic
            "https://rpc.soniclabs.com",
            "https://sonic-rpc.publicnode.com",
        ),
        143: (  # monad
            "https://rpc.monad.xyz",
        ),
    }
)
