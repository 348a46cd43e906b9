"""Which chain is ours: heads that were told, links between blocks, the served head.

The served head moves forward, and back only where most have left for another branch.
May import ``messages`` and ``chains``.
Must not know an upstream beyond its name and what it told.
"""
