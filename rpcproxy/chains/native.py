"""What a wallet is told of a chain it adds: its name for people, its coin, an explorer. Pure.

Names, symbols and explorers are those of viem 2.56.5 (``viem/chains``, MIT); explorers are links
for the wallet, and are never asked by the proxy. All these coins have 18 decimals.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

DECIMALS: Final = 18


class Native(msgspec.Struct, frozen=True):
    """``explorer`` is a URL, empty where none is known."""

    title: str
    symbol: str = "ETH"
    explorer: str = ""


_EVM: Final[Mapping[int, tuple[str, Native]]] = {
    1: ("ethereum", Native("Ethereum", "ETH", "https://etherscan.io")),
    11155111: ("sepolia", Native("Sepolia", "ETH", "https://sepolia.etherscan.io")),
    560048: ("hoodi", Native("Hoodi", "ETH", "https://hoodi.etherscan.io")),
    8453: ("base", Native("Base", "ETH", "https://basescan.org")),
    10: ("optimism", Native("OP Mainnet", "ETH", "https://optimistic.etherscan.io")),
    42161: ("arbitrum", Native("Arbitrum One", "ETH", "https://arbiscan.io")),
    42170: ("arbitrum-nova", Native("Arbitrum Nova", "ETH", "https://nova.arbiscan.io")),
    137: ("polygon", Native("Polygon", "POL", "https://polygonscan.com")),
    56: ("bsc", Native("BNB Smart Chain", "BNB", "https://bscscan.com")),
    43114: ("avalanche", Native("Avalanche", "AVAX", "https://snowtrace.io")),
    100: ("gnosis", Native("Gnosis", "XDAI", "https://gnosisscan.io")),
    324: ("zksync", Native("ZKsync Era", "ETH", "https://explorer.zksync.io")),
    59144: ("linea", Native("Linea", "ETH", "https://lineascan.build")),
    534352: ("scroll", Native("Scroll", "ETH", "https://scrollscan.com")),
    81457: ("blast", Native("Blast", "ETH", "https://blastscan.io")),
    5000: ("mantle", Native("Mantle", "MNT", "https://mantlescan.xyz")),
    130: ("unichain", Native("Unichain", "ETH", "https://uniscan.xyz")),
    57073: ("ink", Native("Ink", "ETH", "https://explorer.inkonchain.com")),
    480: ("world", Native("World Chain", "ETH", "https://worldscan.org")),
    42220: ("celo", Native("Celo", "CELO", "https://celoscan.io")),
    80094: ("berachain", Native("Berachain", "BERA", "https://berascan.com")),
    146: ("sonic", Native("Sonic", "S", "https://sonicscan.org")),
    143: ("monad", Native("Monad", "MON", "https://monadscan.com")),
    999: ("hyperevm", Native("HyperEVM", "HYPE", "https://hyperevmscan.io")),
}
# By kind and identity.
NATIVE: Final[Mapping[tuple[str, str], Native]] = MappingProxyType(
    {("evm", str(chain_id)): native for chain_id, (_, native) in _EVM.items()}
)
_TITLES: Final = {name: native.title for name, native in _EVM.values()}


def title_of(name: str) -> str:
    """A configured chain's name for people: one that the user made up is left as it is."""
    return _TITLES.get(name, name)


def native_of(name: str, kind: str, identity: str) -> Native:
    """What a wallet is told; a chain that is not in the table has ETH, as most of them do."""
    known = NATIVE.get((kind, identity), Native(""))
    return Native(title_of(name), known.symbol, known.explorer)
