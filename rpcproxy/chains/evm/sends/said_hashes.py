"""Hashes in the words of a refusal, and those that bytes may have, to be held against them: who
says "known transaction" often says which one.

Sources: geth before 1.10 ("known transaction: " and 64 digits), zkSync (chainlink 12338:
"transaction with hash 0xf016…ad63 is already in the system", the middle left out).
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from rpcproxy.chains.evm.sends.raw_transactions import keccak256
from rpcproxy.chains.evm.sends.zksync import zksync_hashes
from rpcproxy.chains.parts.transactions import NamedHashes

_WHOLE: Final = re.compile(rb"(?<![0-9a-zA-Z])(?:0[xX])?([0-9a-fA-F]{64})(?![0-9a-zA-Z])")
_SHORTENED: Final = re.compile(
    r"0[xX]([0-9a-fA-F]{3,16})(?:…|\.\.+)([0-9a-fA-F]{3,16})(?![0-9a-zA-Z])"
)

# Words for one that is out already, or for another in its place: eth-infinitism ("replacement op
# must increase"), rundler and alto (underpriced, already known), EntryPoint (AA25: its nonce).
_MAY_BE_OUT: Final = (
    *(b"known", b"already", b"exist", b"duplicate", b"replace", b"underpriced"),
    *(b"nonce", b"aa25", b"aa10"),
)


def may_be_out(error: bytes | msgspec.Raw) -> bool:
    """Whether the JSON text of a send's error may mean that this very thing is out already."""
    text = bytes(error).lower()
    return any(words in text for words in _MAY_BE_OUT)


def candidate_hashes(raw: bytes) -> list[str]:
    """What the hash of a transaction of a chain's own type may be: nearly all chains hash the
    whole of it (EIP-2718 leaves that to the type).
    """
    return [*zksync_hashes(raw), "0x" + keccak256(raw).hex()]


def hashes_in(error: bytes | msgspec.Raw) -> NamedHashes:
    """What the JSON text of an error names, in lower case."""
    whole = dict.fromkeys("0x" + found.decode().lower() for found in _WHOLE.findall(error))
    try:
        text = msgspec.json.decode(error, type=_Message).message
    except (msgspec.MsgspecError, UnicodeDecodeError):
        text = ""
    found = _SHORTENED.search(text)
    shortened = None if found is None else ("0x" + found[1].lower(), found[2].lower())
    return NamedHashes(tuple(whole), shortened)


class _Message(msgspec.Struct, gc=False):
    message: str = ""
