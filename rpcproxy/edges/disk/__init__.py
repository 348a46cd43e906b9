"""Files that outlive the process: answers, transactions, history, timeline.

All of SQLite happens in one thread for each file (``worker``); the event loop sees futures.
May import ``edges.logs``.
Must not lose a row that was promised, and must not hold up the loop.
"""
