"""Why the proxy refuses a method, in words for the wallet's developer."""

from __future__ import annotations

from typing import Final


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
