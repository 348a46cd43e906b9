"""Truth: answers are held against our chain, and against what was told before.

What is refused here is asked elsewhere, and the client sees nothing of it.
May import ``engine.attempts``, ``rules`` and, for transactions that wait, ``engine.sends``.
Must not ask an upstream itself, nor know how its answers get to clients.
"""
