"""What the errors of EVM nodes and providers mean: the rows of their table, and its order.

How a table matches is ``chains.parts.errors``'. May import ``chains.evm``, ``chains.parts.errors``,
``chains.method`` and ``messages``.
Must not hold a row without its source beside it.
"""

from rpcproxy.chains.evm.errors.table import EVM_ERRORS, ROWS

__all__ = ["EVM_ERRORS", "ROWS"]
