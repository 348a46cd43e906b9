"""Simulated providers: servers over HTTP and WebSocket that misbehave as they are told.

They are changed while they serve, in this process or, as a fleet, in one of their own.
May import ``drills.evm``, ``drills.scenarios`` and ``engine.tasks``.
Must not know who asks: the proxy is a client like any other.
"""
