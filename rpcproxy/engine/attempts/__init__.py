"""Attempts: carries out a call by plan, and learns from how its attempts end.

``Executor.run`` is the door; it never raises but for cancellation.
May import ``rules``, ``chains``, and the counters and log of ``edges``.
Must not know what a call is about, beyond what the call says of itself.
"""
