"""What each kind of chain means, as data. Pure; a row of a table cites its source beside it.

Tables belong to one kind of chain: one number means opposite things on two kinds.
May import ``config`` and ``messages``.
Must not know which upstream spoke, and keeps no state but memories of its own tables.
"""
