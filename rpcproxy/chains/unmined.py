"""What is said of a transaction that is in no block yet, without asking anybody. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from rpcproxy.chains.method import Method


class Said(msgspec.Struct, frozen=True, gc=False):
    """The JSON text of a result, or else of an error."""

    result: bytes = b""
    error: bytes = b""


def no_look_up(method: Method, params: bytes | msgspec.Raw) -> str:
    """Say that the method looks up no transaction."""
    del method, params
    return ""


def nothing_found(method: Method, tx: object) -> Said:
    """Say that there is no such thing."""
    del method, tx
    return Said(b"null")


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """How transactions are looked up by their hash. Neither callable raises.

    - ``asked_hash``: the hash of the one that a request looks up, in lower case; empty where it is
      no such look-up
    - ``said``: what a node says to such a look-up of a transaction that waits for its block, which
      is as the kind decodes it; ``None`` is one that no pool has
    """

    asked_hash: Callable[[Method, bytes | msgspec.Raw], str] = no_look_up
    said: Callable[[Method, Any], Said] = nothing_found
