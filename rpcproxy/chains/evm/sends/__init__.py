"""Transactions of the EVM: what signed bytes say, their hashes, other types, while they wait.

May import ``chains.method``, ``chains.parts.transactions``, ``arrays`` and ``messages``.
Must not know of blocks and tags, nor of errors.
"""
