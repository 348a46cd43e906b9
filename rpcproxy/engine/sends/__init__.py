"""Sends: transactions written down, sent in several copies, looked after until final.

What wallets were told is sent is never lost: the ledger has it, in memory and on disk.
May import ``engine.attempts``, ``engine.tasks``, ``rules`` and ``edges``.
Must not know how reads go, nor truth: that asks the ledger.
"""
