"""HTTP to upstreams: the pool of one, sockets on their way, strict reading of replies.

``Upstream.send`` is the door; ``done`` is called exactly once, and never from inside it.
May import ``edges.process``, ``config`` and ``messages``.
Must not read JSON, and must not try again, but for a connection that was closed before a byte came.
"""
