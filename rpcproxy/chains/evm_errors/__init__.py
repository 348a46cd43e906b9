"""What the errors of EVM nodes and providers mean: one ordered table, the first match wins.

Glossary: a *row* says that a code, or a fragment of the text, means a *verdict*, for the *scopes*
(kinds of method) it is meant for. ``rows`` holds what a row is, ``execution`` what contracts,
accounts and bundlers say, ``reads`` what is wrong with a question or missing from a node,
``sends`` what nodes say of a transaction, ``providers`` limits, keys, methods and faults, ``codes``
what a number alone means, ``by_request`` what only the request can tell, ``table`` their order.
"""

from rpcproxy.chains.evm_errors.rows import (
    ANY,
    CALLS,
    LOOKUPS,
    NOT_SENDS,
    READS,
    SENDS,
    ErrorRow,
    scope,
)
from rpcproxy.chains.evm_errors.table import EVM_ERRORS, ROWS, ErrorTable

__all__ = [
    "ANY",
    "CALLS",
    "EVM_ERRORS",
    "LOOKUPS",
    "NOT_SENDS",
    "READS",
    "ROWS",
    "SENDS",
    "ErrorRow",
    "ErrorTable",
    "scope",
]
