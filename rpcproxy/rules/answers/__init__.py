"""What an answer means, and what becomes of it: judged, worded, kept, held within budgets.

Two axes for each judgement: where to try again, and whose fault it is; ``UNKNOWN`` comes first.
May import ``chains``, ``config`` and ``messages``.
Must not know who is asked, nor how well an upstream did before.
"""
