"""What the proxy answers itself, without asking anybody.

``eth_chainId`` and ``net_version`` come from the configuration: a wallet checks them, and 40 % of
what ethers sends is eth_chainId. The rest says what is true of a proxy: it holds no accounts and
does not sync; it listens while an upstream is usable (viem's ranking asks).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rpcproxy import __version__

LISTENING: Final = "net_listening"


def constant_answers(chain_id: int) -> Mapping[str, bytes]:
    """Method → JSON text of the result, for what never changes while the chain is configured."""
    return {
        "eth_chainId": b'"0x%x"' % chain_id,
        "net_version": b'"%d"' % chain_id,
        "web3_clientVersion": f'"rpcproxy/{__version__}"'.encode(),
        "eth_syncing": b"false",
        "eth_accounts": b"[]",
    }


def refusal_of(method: str, why: str) -> str:
    """The message that refuses a method. It begins as geth's does for one that it lacks: by that
    ethers turns from filters to eth_getLogs (getRpcError of its provider-jsonrpc), and others tell
    what is not there from what failed.
    """
    return f"the method {method} does not exist/is not available: {why}"


# Why a method is refused, by what it would need. The wording is for the wallet's developer.
REFUSED_STATEFUL: Final = (
    "filters and subscriptions are kept on one node and are not served here yet: use eth_getLogs"
)
REFUSED_KEYS: Final = (
    "it needs a node's own keys or settings, which a proxy in front of several has not"
)
