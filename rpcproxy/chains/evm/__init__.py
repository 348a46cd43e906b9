"""The EVM as the engine sees it: one door to its tables.

Reads and builds JSON of Ethereum's API: tags, numbers, what an answer claims, what a block holds.
May import what is of every kind in ``chains``, ``arrays`` and ``messages``.
Must not know other kinds of chain.
"""

from rpcproxy.chains.evm.blocks import (
    head_of_block,
    parse_quantity,
    payee_of,
)
from rpcproxy.chains.evm.methods import TRANSACTION_BY_HASH, describe
from rpcproxy.chains.evm.sends.pending_object import pending_object
from rpcproxy.chains.evm.sends.raw_transactions import (
    Oversized,
    cancelled_by,
    check_size,
    raw_transaction,
    transaction_hash,
    transactions_in,
)
from rpcproxy.chains.evm.sends.said_hashes import candidate_hashes, hashes_in, may_be_out
from rpcproxy.chains.evm.sends.signed import SignedTransaction, decode
from rpcproxy.chains.evm.sends.user_operations import user_operation_hash
from rpcproxy.chains.transactions import BadTransaction

__all__ = [
    "TRANSACTION_BY_HASH",
    "BadTransaction",
    "Oversized",
    "SignedTransaction",
    "cancelled_by",
    "candidate_hashes",
    "check_size",
    "decode",
    "describe",
    "hashes_in",
    "head_of_block",
    "may_be_out",
    "parse_quantity",
    "payee_of",
    "pending_object",
    "raw_transaction",
    "transaction_hash",
    "transactions_in",
    "user_operation_hash",
]
