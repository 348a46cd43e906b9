"""What the errors of EVM nodes and providers mean: one ordered table, the first match wins.

Glossary: a *row* says that a code, or a fragment of the text, means a *verdict*, for the *scopes*
(kinds of method) it is meant for. May import ``chains.evm``, ``chains.method`` and ``messages``.
Must not hold a row without its source beside it.
"""

from rpcproxy.chains.evm.errors.rows import (
    ANY,
    CALLS,
    LOOKUPS,
    NOT_SENDS,
    READS,
    SENDS,
    ErrorRow,
    scope,
)
from rpcproxy.chains.evm.errors.table import EVM_ERRORS, ROWS, ErrorTable

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
