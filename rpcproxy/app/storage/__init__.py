"""What a chain keeps on disk, opened beside the requests and held through reloads.

Two things: answers that cannot change, and the transactions that wallets were told are sent.
May import ``engine.sends``, ``engine.tasks`` and ``edges``.
Must not know the chain's graph: whoever builds it hands over what is open.
"""
