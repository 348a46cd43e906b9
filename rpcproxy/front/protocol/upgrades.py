"""Requests for another protocol on a connection of HTTP/1.1 (RFC 9110, section 7.8). Pure.

WebSocket is what wallets mean by them; it is refused in words, since a page in its place is "an
unexpected response 200" to whoever set a wallet up. Others (h2c) are optimisations that a server
may pass over, and are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

NOT_SERVED_STATUS: Final = 501
NOT_SERVED: Final = (
    "WebSocket is not served here yet: send JSON-RPC over HTTP POST to this very URL, "
    "and poll in place of subscriptions"
)


def wants_websocket(upgrades: Iterable[str], *, has_key: bool) -> bool:
    """Whether a request opens a WebSocket. ``upgrades``: its Upgrade fields. ``has_key``: it has a
    Sec-WebSocket-Key, all that is left of a handshake behind proxies that drop hop-by-hop fields.
    """
    if has_key:
        return True
    protocols = (each.partition("/")[0] for field in upgrades for each in field.split(","))
    return any(protocol.strip().lower() == "websocket" for protocol in protocols)
