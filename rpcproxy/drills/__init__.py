"""Simulated providers on one simulated chain, faults, and the demo.

``simchain`` the chain, ``simrpc`` its JSON-RPC; ``provider`` a server for it, with ``answers`` and
``wire`` (HTTP that may break at any byte); ``faults`` what can be wrong; ``fleet`` providers as a
process of their own; ``demo`` plays ``scenes`` with ``wallet`` traffic, in a ``view``.
"""
