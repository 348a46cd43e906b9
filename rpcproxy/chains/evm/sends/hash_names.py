"""How hashes and bytes of transactions stand in texts: in params, and as people write them."""

from __future__ import annotations

import re
from typing import Final

from rpcproxy.chains.evm.sends.raw_transactions import transactions_in
from rpcproxy.chains.parts.transactions import TransactionNames

_WRITTEN: Final = re.compile(r"0[xX][0-9a-fA-F]{64}")
_QUOTED: Final = re.compile(rb'"0[xX]([0-9a-fA-F]{64})"')
# A transaction is known by its first bytes: they hold its nonce and its fees.
START_DIGITS: Final = 160
# Within a call's data neither is looked for.
_ANY_HASH: Final = re.compile(rb"(?<![0-9a-fA-F])([0-9a-fA-F]{64})(?![0-9a-fA-F])")
_ANY_START: Final = re.compile(rb"[0-9a-fA-F]{%d}" % START_DIGITS)


def hash_of(text: str) -> str | None:
    """A transaction's hash as nodes write it, ``None`` where the text is none."""
    return text.lower() if _WRITTEN.fullmatch(text) else None


def hash_in(params: bytes) -> str:
    """The first hash that is a text of its own in the params, empty where there is none."""
    found = _QUOTED.search(params)
    return "" if found is None else "0x" + found[1].decode().lower()


def hashes_in(params: bytes) -> list[str]:
    """Every hash that stands for itself in the params, with and without ``0x``."""
    return ["0x" + digits.decode().lower() for digits in _ANY_HASH.findall(params)]


def start_of(raw: bytes) -> bytes:
    """The first digits of a transaction."""
    return raw[: START_DIGITS // 2].hex().encode()


def starts_in(params: bytes) -> list[bytes]:
    """The first digits of what may be transactions in the params."""
    return [digits.lower() for digits in _ANY_START.findall(params)]


EVM_NAMES: Final = TransactionNames(
    hash_of=hash_of,
    hash_words="0x and 64 hexadecimal digits",
    hash_in=hash_in,
    hashes_in=hashes_in,
    start_of=start_of,
    starts_in=starts_in,
    transactions_in=transactions_in,
)
