"""WebSocket to upstreams: new heads as they are announced, one connection for each.

What is said is decided without IO, on a clock that is handed in.
May import ``edges.http`` for the way there, ``chains`` for the words, and ``messages``.
Must not believe a head: it is told to whoever listens.
"""
