"""Transactions that are not closed: what is known of each, and what is due for it.

The wallet's last word counts; nothing is dropped before its block is final.
May import ``chains.parts.transactions`` and ``messages``.
Must not know how a transaction is written: lanes, orders and hashes are handed in.
"""
