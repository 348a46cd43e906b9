"""Pure decisions. ``now`` (monotonic seconds) and ``rng`` are arguments.

Rooms: heads and answers know nobody else; standings build on both; requests and what people are
told build on standings; sends stand apart. May import ``chains``, ``config`` and ``messages``.
Must not import asyncio, time, random, sockets or files.
"""
