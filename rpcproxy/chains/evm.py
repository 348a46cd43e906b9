"""The EVM as the engine sees it: one door to its tables."""

from rpcproxy.chains.evm_blocks import (
    LATEST,
    PENDING,
    head_of_block,
    parse_quantity,
    required_block,
)
from rpcproxy.chains.evm_methods import describe
from rpcproxy.chains.evm_transactions import BadTransaction, raw_transaction, transaction_hash

__all__ = [
    "LATEST",
    "PENDING",
    "BadTransaction",
    "describe",
    "head_of_block",
    "parse_quantity",
    "raw_transaction",
    "required_block",
    "transaction_hash",
]
