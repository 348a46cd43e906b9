"""What nodes answer for a transaction that is in no block, by method, said without asking one.

Sources: geth (a pending one is shown by hash and raw, has no receipt, and cannot be traced:
eth/tracers/api.go "transaction not found"), Erigon and reth (trace_* of what is in no block is
null, ots_* and trace_replayTransaction an error).
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from rpcproxy.chains.evm.sends.pending_object import pending_object
from rpcproxy.chains.method import Method
from rpcproxy.chains.parts.transactions import DecodedTransaction, Said

# The transaction's hash is the first parameter of each.
_SHOWN: Final = frozenset(("eth_getTransactionByHash", "eth_getPrivateTransactionByHash"))
_RAW: Final = frozenset(("eth_getRawTransactionByHash", "debug_getRawTransaction"))
_NULL: Final = frozenset(
    ("eth_getTransactionReceipt", "trace_transaction", "trace_get", "arbtrace_transaction",
     "eth_getTransactionStatus", "zks_getTransactionDetails", "zks_getL2ToL1LogProof",
     "zks_getL2ToL1MsgProof", "linea_getTransactionExclusionStatusV1",
     "eth_getUserOperationByHash", "eth_getUserOperationReceipt")
)  # fmt: skip
_NOT_FOUND: Final = frozenset(
    ("debug_traceTransaction", "trace_replayTransaction", "ots_traceTransaction",
     "ots_getTransactionError", "ots_getInternalOperations")
)  # fmt: skip
_LOOK_UPS: Final = _SHOWN | _RAW | _NULL | _NOT_FOUND
_ERROR: Final = b'{"code":-32000,"message":"transaction not found"}'
_HASH: Final = re.compile(r"0[xX][0-9a-fA-F]{64}")
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_text_decoder = msgspec.json.Decoder(str)


def asked_hash(method: Method, params: bytes | msgspec.Raw) -> str:
    """The hash of the transaction that is looked up, in lower case; empty where the method is no
    such look-up.
    """
    if method.name not in _LOOK_UPS:
        return ""
    try:
        first = _text_decoder.decode(_list_decoder.decode(params)[0])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, IndexError):
        return ""
    return first.lower() if _HASH.fullmatch(first) else ""


def said_while_waiting(method: Method, tx: DecodedTransaction | None) -> Said:
    """What a node says to such a look-up; ``None`` for one that no pool has."""
    if method.name in _NOT_FOUND:
        return Said(error=_ERROR)
    if tx is not None and method.name in _SHOWN:
        return Said(pending_object(tx) or b"null")
    if tx is not None and method.name in _RAW:
        return Said(b'"0x%b"' % tx.raw.hex().encode())
    return Said(b"null")
