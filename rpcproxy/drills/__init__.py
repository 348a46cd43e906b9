"""Simulated providers on one simulated chain, faults, lies, and the demo.

``simchain`` the chain, ``simview`` as one provider sees it, ``simrpc`` its JSON-RPC with
``simparams`` and ``simsearch``; ``provider`` a server for it, with ``answers``, ``wire`` (HTTP that
may break at any byte) and ``simws`` (new heads over WebSocket); ``faults`` what can be wrong,
``lies`` well-formed answers that are not true, ``particular`` answers to some requests; ``cases``
to be played again, ``reported`` those that people reported; ``fleet`` providers as a process of
their own; ``demo`` plays ``scenes`` with ``wallet`` traffic, in a ``view``.
"""
