"""A simulated EVM chain: its blocks, what one provider sees of them, and its JSON-RPC.

Deterministic: a chain of one seed is the same for all providers and in every process.
May import ``messages``.
Must not know of faults, and opens no socket.
"""
