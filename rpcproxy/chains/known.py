"""Chains that can be named without being described, and public endpoints to begin with. Pure.

Ids are from viem 2.56.5 (``viem/chains``) and ``@revoke.cash/chains`` 80.0.0, which agree but
for 999 (below).
Block times are viem's where it has one, else the chain's own announcements; where the two differ
(Polygon, BSC) the announced one, since chains get faster and registries lag. They are where
learning starts, nothing more. ``max_lag_blocks`` are starting values too: one or two blocks
where blocks are slow, two to four seconds where they are fast.
Where state is served at ``latest`` only, the tag is left as it is (``routed``): HyperEVM's own
endpoint (hyperliquid.gitbook.io, HyperEVM JSON-RPC), and Monad, whose nodes keep the state of few
recent blocks (docs.monad.xyz, differences from Ethereum).

Public endpoints are keyless, one per company, so that they fail apart. Sources:
the chain's own and publicnode: ``@revoke.cash/chains`` 80.0.0 (MIT, from ethereum-lists) and
viem 2.56.5 (MIT); Tenderly: docs.tenderly.co/node-rpc/rpc-reference and /supported-networks
(a key is optional there); BNB Chain: docs.bnbchain.org, JSON-RPC Endpoint; 1RPC:
alchemy.com/node-providers/1rpc; dRPC, and what these leave out: in use in many public
repositories. They are shared and rate-limited, good for trying things out.
Left out: endpoints that keep transactions private (a wallet would miss its own), those with a
key in the path, second names of one company.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from rpcproxy.config.model import Consistency, KnownChain


def _chain(
    name: str,
    chain_id: int,
    block_time_seconds: float,
    max_lag_blocks: int,
    *urls: str,
    also: str = "",
    consistency: Consistency = "pinned",
) -> KnownChain:
    return KnownChain(
        name=name,
        chain_id=chain_id,
        block_time_seconds=block_time_seconds,
        max_lag_blocks=max_lag_blocks,
        consistency=consistency,
        aliases=tuple(also.split()),
        public_urls=urls,
    )


_CHAINS: Final = (
    _chain(
        *("ethereum", 1, 12.0, 1),
        "https://ethereum-rpc.publicnode.com",
        "https://eth.drpc.org",
        "https://1rpc.io/eth",
        "https://mainnet.gateway.tenderly.co",
        "https://ethereum.reth.rs/rpc",
        also="mainnet eth ethereum-mainnet",
    ),
    _chain(
        *("sepolia", 11155111, 12.0, 2),
        "https://ethereum-sepolia-rpc.publicnode.com",
        "https://sepolia.drpc.org",
        "https://1rpc.io/sepolia",
        "https://sepolia.gateway.tenderly.co",
        "https://rpc.sepolia.ethpandaops.io",
        also="ethereum-sepolia eth-sepolia sep",
    ),
    _chain(
        *("hoodi", 560048, 12.0, 2),
        "https://ethereum-hoodi-rpc.publicnode.com",
        "https://hoodi.drpc.org",
        "https://hoodi.gateway.tenderly.co",
        "https://rpc.hoodi.ethpandaops.io",
        also="ethereum-hoodi eth-hoodi",
    ),
    _chain(
        *("base", 8453, 2.0, 2),
        "https://mainnet.base.org",
        "https://base-rpc.publicnode.com",
        "https://base.drpc.org",
        "https://1rpc.io/base",
        "https://base.gateway.tenderly.co",
        also="base-mainnet",
    ),
    _chain(
        *("optimism", 10, 2.0, 2),
        "https://mainnet.optimism.io",
        "https://optimism-rpc.publicnode.com",
        "https://optimism.drpc.org",
        "https://1rpc.io/op",
        "https://optimism.gateway.tenderly.co",
        also="op op-mainnet optimism-mainnet oeth",
    ),
    _chain(
        *("arbitrum", 42161, 0.25, 16),
        "https://arb1.arbitrum.io/rpc",
        "https://arbitrum-one-rpc.publicnode.com",
        "https://arbitrum.drpc.org",
        "https://1rpc.io/arb",
        "https://arbitrum.gateway.tenderly.co",
        also="arb arb1 arbitrum-one arbitrum-mainnet",
    ),
    _chain(
        *("arbitrum-nova", 42170, 0.25, 16),
        "https://nova.arbitrum.io/rpc",
        "https://arbitrum-nova-rpc.publicnode.com",
        "https://arbitrum-nova.drpc.org",
        "https://arbitrum-nova.gateway.tenderly.co",
        also="nova arb-nova",
    ),
    # 1.75 s since May 2026; viem still says 2 s.
    _chain(
        *("polygon", 137, 1.75, 3),
        "https://polygon-bor-rpc.publicnode.com",
        "https://polygon.drpc.org",
        "https://1rpc.io/matic",
        "https://polygon.gateway.tenderly.co",
        also="matic pol polygon-pos polygon-mainnet",
    ),
    # 450 ms since 2026-01-14; viem still says 750 ms.
    _chain(
        *("bsc", 56, 0.45, 8),
        "https://bsc-dataseed.bnbchain.org",
        "https://bsc-rpc.publicnode.com",
        "https://bsc.drpc.org",
        "https://1rpc.io/bnb",
        also="bnb binance bnb-smart-chain bsc-mainnet",
    ),
    _chain(
        *("avalanche", 43114, 1.7, 3),
        "https://api.avax.network/ext/bc/C/rpc",
        "https://avalanche-c-chain-rpc.publicnode.com",
        "https://avalanche.drpc.org",
        "https://1rpc.io/avax/c",
        "https://avalanche.gateway.tenderly.co",
        also="avax avalanche-c avalanche-c-chain",
    ),
    _chain(
        *("gnosis", 100, 5.0, 1),
        "https://rpc.gnosischain.com",
        "https://gnosis-rpc.publicnode.com",
        "https://gnosis.drpc.org",
        "https://gnosis-chain.gateway.tenderly.co",
        also="gno xdai gnosis-chain",
    ),
    _chain(
        *("zksync", 324, 1.0, 8),
        "https://mainnet.era.zksync.io",
        "https://zksync.drpc.org",
        "https://1rpc.io/zksync2-era",
        also="zksync-era era zksync-mainnet",
    ),
    _chain(
        *("linea", 59144, 2.0, 2),
        "https://rpc.linea.build",
        "https://linea-rpc.publicnode.com",
        "https://linea.drpc.org",
        "https://1rpc.io/linea",
        "https://linea.gateway.tenderly.co",
        also="linea-mainnet",
    ),
    _chain(
        *("scroll", 534352, 3.0, 3),
        "https://rpc.scroll.io",
        "https://scroll-rpc.publicnode.com",
        "https://scroll.drpc.org",
        "https://1rpc.io/scroll",
        also="scr scroll-mainnet",
    ),
    _chain(
        *("blast", 81457, 2.0, 2),
        "https://rpc.blast.io",
        "https://blast-rpc.publicnode.com",
        "https://blast.drpc.org",
        "https://blast.gateway.tenderly.co",
        also="blast-mainnet",
    ),
    _chain(
        *("mantle", 5000, 2.0, 2),
        "https://rpc.mantle.xyz",
        "https://mantle-rpc.publicnode.com",
        "https://mantle.drpc.org",
        also="mnt mantle-mainnet",
    ),
    _chain(
        *("unichain", 130, 1.0, 4),
        "https://mainnet.unichain.org",
        "https://unichain-rpc.publicnode.com",
        "https://unichain.drpc.org",
        "https://unichain.gateway.tenderly.co",
        also="uni unichain-mainnet",
    ),
    _chain(
        *("ink", 57073, 1.0, 4),
        "https://rpc-gel.inkonchain.com",
        "https://ink.drpc.org",
        "https://ink.gateway.tenderly.co",
        also="ink-mainnet",
    ),
    _chain(
        *("world", 480, 2.0, 3),
        "https://worldchain-mainnet.g.alchemy.com/public",
        "https://worldchain.drpc.org",
        "https://worldchain-mainnet.gateway.tenderly.co",
        also="worldchain world-chain wc",
    ),
    _chain(
        *("celo", 42220, 1.0, 3),
        "https://forno.celo.org",
        "https://celo-rpc.publicnode.com",
        "https://celo.drpc.org",
        "https://1rpc.io/celo",
        "https://celo.gateway.tenderly.co",
        also="celo-mainnet",
    ),
    _chain(
        *("berachain", 80094, 2.0, 2),
        "https://rpc.berachain.com",
        "https://berachain-rpc.publicnode.com",
        "https://berachain.drpc.org",
        "https://berachain.gateway.tenderly.co",
        also="bera berachain-mainnet",
    ),
    _chain(
        *("sonic", 146, 0.6, 8),
        "https://rpc.soniclabs.com",
        "https://sonic-rpc.publicnode.com",
        "https://sonic.drpc.org",
        also="sonic-mainnet",
    ),
    _chain(
        *("monad", 143, 0.4, 8),
        "https://rpc.monad.xyz",
        "https://monad-mainnet.drpc.org",
        "https://rpc-mainnet.monadinfra.com",
        also="mon monad-mainnet",
        consistency="routed",
    ),
    # Small blocks of about 1 s, a big one each 60 s. 999 is Wanchain's test network, too.
    _chain(
        *("hyperevm", 999, 1.0, 4),
        "https://rpc.hyperliquid.xyz/evm",
        "https://hyperliquid.drpc.org",
        also="hyperliquid hype hyper-evm",
        consistency="routed",
    ),
)

KNOWN: Final[Mapping[str, KnownChain]] = MappingProxyType({chain.name: chain for chain in _CHAINS})
