"""Watches upstreams, whether or not wallets ask: chain ids, heads, recoveries, comparisons.

Questions of our own, judged like any answer; each ends as an ``Observation``.
May import ``engine.attempts``, ``engine.tasks``, ``rules`` and ``edges``.
Must not answer a client; but the head that clients were told is kept here.
"""
