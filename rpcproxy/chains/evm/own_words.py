"""What the proxy tells of an EVM chain by itself, spelled as nodes do.

``eth_chainId`` and ``net_version`` come from the configuration: a wallet checks them, and 40 % of
what ethers sends is eth_chainId. The rest says what is true of a proxy: it holds no accounts and
does not sync; it listens while an upstream is usable (viem's ranking asks).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from rpcproxy import __version__
from rpcproxy.chains.evm.blocks import required_block
from rpcproxy.chains.kind import OwnWords
from rpcproxy.chains.method import Method, MethodKind
from rpcproxy.chains.parts.asked_at import NONE, BlockNeed

_BLOCK: Final = "eth_getBlockByNumber"  # as it is asked for the head


def constant_answers(identity: str) -> Mapping[str, bytes]:
    """Method → JSON text of the result, for what never changes while the chain is configured."""
    chain_id = int(identity)
    return {
        "eth_chainId": b'"0x%x"' % chain_id,
        "net_version": b'"%d"' % chain_id,
        "web3_clientVersion": f'"rpcproxy/{__version__}"'.encode(),
        "eth_syncing": b"false",
        "eth_accounts": b"[]",
    }


def quantity(number: int) -> bytes:
    """The JSON text of a number."""
    return b'"0x%x"' % number


def flag(value: bool) -> bytes:  # noqa: FBT001 - it is what is told
    """The JSON text of a yes or a no."""
    return b"true" if value else b"false"


def told_block(method: Method, params: bytes | msgspec.Raw) -> BlockNeed:
    """The block whose text, with hashes of transactions only, is the answer; ``NONE`` for all
    else.
    """
    if method.name != _BLOCK or bytes(params).replace(b" ", b"").endswith(b",true]"):
        return NONE
    return required_block(method, params)


def refusal_of(method: str, why: str) -> str:
    """The message that refuses a method. It begins as geth's does for one that it lacks: by that
    ethers turns from filters to eth_getLogs (getRpcError of its provider-jsonrpc), and others tell
    what is not there from what failed.
    """
    return f"the method {method} does not exist/is not available: {why}"


# Why a method is refused, by what it would need. The wording is for the wallet's developer.
REFUSED: Final[Mapping[MethodKind, str]] = MappingProxyType(
    {
        MethodKind.STATEFUL: "filters and subscriptions are kept on one node and are not served "
        "here yet: use eth_getLogs",
        MethodKind.REFUSED: "it needs a node's own keys or settings, which a proxy in front of "
        "several has not",
    }
)
OWN_WORDS: Final = OwnWords(
    constants=constant_answers,
    head="eth_blockNumber",
    head_text=quantity,
    listening="net_listening",
    flag_text=flag,
    told_block=told_block,
    refused=REFUSED,
    refusal=refusal_of,
)
