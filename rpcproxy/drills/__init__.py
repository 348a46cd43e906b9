"""Simulated providers on one simulated chain, faults, lies, and the demo.

``simchain`` the chain, ``simrpc`` its JSON-RPC; ``provider`` a server for it, with ``answers``,
``wire`` (HTTP that may break at any byte) and ``simws`` (new heads over WebSocket); ``faults`` what
can be wrong, ``lies`` well-formed answers that are not true; ``fleet`` providers as a process of
their own; ``demo`` plays ``scenes`` with ``wallet`` traffic, in a ``view``.
"""
