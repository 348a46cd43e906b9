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

Public endpoints are keyless, one per company, so that they fail apart: those of ``public``, made
from a maintained list, and here what that list lacks. Sources of these: Tenderly:
docs.tenderly.co/node-rpc/rpc-reference and /supported-networks (a key is optional there); BNB
Chain: docs.bnbchain.org, JSON-RPC Endpoint (the address that stands for all of its nodes); 1RPC:
alchemy.com/node-providers/1rpc; the chains' own: viem 2.56.5 (MIT) and their documentation; dRPC
and publicnode: in use in many public repositories. They are shared and rate-limited, good for
trying things out.
Left out: endpoints that keep transactions private (a wallet would miss its own), those with a
key in the path, second names of one company.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from rpcproxy.chains.public import PUBLIC
from rpcproxy.chains.registry import TEXTS
from rpcproxy.config.model import Consistency, Known, KnownChain
from rpcproxy.config.urls import check, guess_provider

# Of block 0. Sources: go-ethereum, bor and bsc, params (Ethereum and its test networks, Polygon,
# BSC); erigon, params (Gnosis); ethereum-optimism/superchain-registry (Base, Unichain, Ink, World)
# and reth's chain specification (Optimism, whose block 0 is from before Bedrock); Arbitrum's is in
# several public repositories, as the parent of its block 1. Others: unknown, and not checked.
_GENESIS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ethereum": "0xd4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3",
        "sepolia": "0x25a5cc106eea7138acab33231d7160d69cb777ee0c2c553fcddf5138993e6dd9",
        "hoodi": "0xbbe312868b376a3001692a646dd2d7d1e4406380dfd86b98aa8a34d1557c971b",
        "base": "0xf712aa9241cc24369b143cf6dce85f0902a9731e70d66818a3a5845b296c73dd",
        "optimism": "0x7ca38a1916c42007829c55e69d3e9a73265554b586a499015373241b8a3fa48b",
        "arbitrum": "0x7ee576b35482195fc49205cec9af72ce14f003b9ae69f6ba0faef4514be8b442",
        "polygon": "0xa9c28ce2141b56c474f1dc504bee9b01eb1bd7d1a507580d5519d4437a97de1b",
        "bsc": "0x0d21840abff46b96c84b2ac9e10e4f5cdaeb5693cb665db62a2f3b02d2d57b5b",
        "gnosis": "0x4f1dd23188aab3a76b463e4af801b52b1248ef073c648cbdc4c9333d3da79756",
        "unichain": "0x3425162ddf41a0a1f0106d67b71828c9a9577e6ddeb94e4f33d2cde1fdc3befe",
        "ink": "0x23a2658170ba70d014ba0d0d2709f8fbfe2fa660cd868c5f282f991eecbe38ee",
        "world": "0x70d316d2e0973b62332ba2e9768dd7854298d7ffe77f0409ffdb8d859f2d3fa3",
    }
)


def _urls(identity: str, ours: tuple[str, ...]) -> tuple[str, ...]:
    """The list's, then ours; of one company ours alone."""
    companies = {_company(url) for url in ours}
    listed = (url for url in PUBLIC.get(("evm", identity), ()) if _company(url) not in companies)
    return (*listed, *ours)


def _company(url: str) -> str:
    return guess_provider(check(url, url, ("https",)))


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
        public_urls=_urls(str(chain_id), urls),
        genesis_hash=_GENESIS.get(name),
    )


_CHAINS: Final = (
    _chain(
        *("ethereum", 1, 12.0, 1),
        "https://1rpc.io/eth",
        "https://ethereum.reth.rs/rpc",
        also="mainnet eth ethereum-mainnet",
    ),
    _chain(
        *("sepolia", 11155111, 12.0, 2),
        "https://1rpc.io/sepolia",
        also="ethereum-sepolia eth-sepolia sep",
    ),
    _chain(
        *("hoodi", 560048, 12.0, 2),
        "https://ethereum-hoodi-rpc.publicnode.com",
        "https://hoodi.drpc.org",
        "https://hoodi.gateway.tenderly.co",
        also="ethereum-hoodi eth-hoodi",
    ),
    _chain(
        *("base", 8453, 2.0, 2),
        "https://base.drpc.org",
        "https://1rpc.io/base",
        also="base-mainnet",
    ),
    _chain(
        *("optimism", 10, 2.0, 2),
        "https://1rpc.io/op",
        also="op op-mainnet optimism-mainnet oeth",
    ),
    _chain(
        *("arbitrum", 42161, 0.25, 16),
        "https://arbitrum.drpc.org",
        "https://1rpc.io/arb",
        "https://arbitrum.gateway.tenderly.co",
        also="arb arb1 arbitrum-one arbitrum-mainnet",
    ),
    _chain(
        *("arbitrum-nova", 42170, 0.25, 16),
        "https://arbitrum-nova.drpc.org",
        "https://arbitrum-nova.gateway.tenderly.co",
        also="nova arb-nova",
    ),
    # 1.75 s since May 2026; viem still says 2 s.
    _chain(
        *("polygon", 137, 1.75, 3),
        "https://1rpc.io/matic",
        also="matic pol polygon-pos polygon-mainnet",
    ),
    # 450 ms since 2026-01-14; viem still says 750 ms.
    _chain(
        *("bsc", 56, 0.45, 8),
        "https://bsc-dataseed.bnbchain.org",
        "https://bsc.drpc.org",
        "https://1rpc.io/bnb",
        also="bnb binance bnb-smart-chain bsc-mainnet",
    ),
    _chain(
        *("avalanche", 43114, 1.7, 3),
        "https://avalanche.drpc.org",
        "https://1rpc.io/avax/c",
        "https://avalanche.gateway.tenderly.co",
        also="avax avalanche-c avalanche-c-chain",
    ),
    _chain(
        *("gnosis", 100, 5.0, 1),
        "https://gnosis.drpc.org",
        "https://gnosis-chain.gateway.tenderly.co",
        also="gno xdai gnosis-chain",
    ),
    _chain(
        *("zksync", 324, 1.0, 8),
        "https://1rpc.io/zksync2-era",
        also="zksync-era era zksync-mainnet",
    ),
    _chain(
        *("linea", 59144, 2.0, 2),
        "https://linea.drpc.org",
        "https://1rpc.io/linea",
        "https://linea.gateway.tenderly.co",
        also="linea-mainnet",
    ),
    _chain(
        *("scroll", 534352, 3.0, 3),
        "https://scroll.drpc.org",
        "https://1rpc.io/scroll",
        also="scr scroll-mainnet",
    ),
    _chain(
        *("blast", 81457, 2.0, 2),
        "https://blast.drpc.org",
        "https://blast.gateway.tenderly.co",
        also="blast-mainnet",
    ),
    _chain(
        *("mantle", 5000, 2.0, 2),
        "https://mantle.drpc.org",
        also="mnt mantle-mainnet",
    ),
    _chain(
        *("unichain", 130, 1.0, 4),
        "https://unichain.drpc.org",
        "https://unichain.gateway.tenderly.co",
        also="uni unichain-mainnet",
    ),
    _chain(
        *("ink", 57073, 1.0, 4),
        "https://ink.drpc.org",
        "https://ink.gateway.tenderly.co",
        also="ink-mainnet",
    ),
    _chain(
        *("world", 480, 2.0, 3),
        "https://worldchain.drpc.org",
        also="worldchain world-chain wc",
    ),
    _chain(
        *("celo", 42220, 1.0, 3),
        "https://celo-rpc.publicnode.com",
        "https://celo.drpc.org",
        "https://1rpc.io/celo",
        "https://celo.gateway.tenderly.co",
        also="celo-mainnet",
    ),
    _chain(
        *("berachain", 80094, 2.0, 2),
        "https://berachain.drpc.org",
        "https://berachain.gateway.tenderly.co",
        also="bera berachain-mainnet",
    ),
    _chain(
        *("sonic", 146, 0.6, 8),
        "https://sonic.drpc.org",
        also="sonic-mainnet",
    ),
    _chain(
        *("monad", 143, 0.4, 8),
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

KNOWN: Final = Known({chain.name: chain for chain in _CHAINS}, TEXTS)
_NAMES: Final[Mapping[tuple[str, str], str]] = {
    (chain.kind, chain.identity): chain.name for chain in _CHAINS
}


def name_of(kind: str, identity: str) -> str | None:
    """The name of the chain of this kind that is known by this identity."""
    return _NAMES.get((kind, identity))


def told_identity(identity: str) -> int | str:
    """An identity as JSON tells it: a number where it is one."""
    return int(identity) if identity.isdecimal() else identity
