"""What each command does, and what it prints: ``check_run`` with ``check_view``.

Loaded for the command that was chosen alone: no other waits for it.
May import every floor below. Must not know how something is found out: that is asked of ``app``.
"""
