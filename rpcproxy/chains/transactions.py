"""What a signed transaction is to the engine, whatever the chain. Pure."""

from __future__ import annotations

import msgspec

from rpcproxy.messages import SERVER_REFUSED


class BadTransaction(Exception):
    """The bytes are no transaction, for any node.

    ``told`` is for the client, with ``code``: it begins with the ``words`` of a node, by which
    libraries know the fault. ``reason`` is what is wrong in ours.
    """

    def __init__(self, words: str, reason: str, code: int = SERVER_REFUSED) -> None:
        super().__init__(reason)
        self.reason = reason
        self.told = f"{words} (not sent: {reason})"
        self.code = code


class DecodedTransaction(msgspec.Struct, frozen=True, gc=False):
    """A signed transaction as far as every kind has it.

    ``raw`` is as it was sent. ``hash`` is the text by which nodes know it, empty where only they
    can compute it. ``lane`` is in what transactions come one after the other, and ``order`` the
    place in there: of those in one place a single one can ever be in a block. Where these are
    unknown, both are: empty and −1.
    """

    raw: bytes
    hash: str
    lane: str = ""
    order: int = -1
