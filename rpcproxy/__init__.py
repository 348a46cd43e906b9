"""rpcproxy: a JSON-RPC failover proxy for wallets and dapps.

Floors, imports downward only: ``cli`` → ``commands`` → ``drills`` → ``app`` → ``front`` →
``engine`` → ``edges | rules`` → ``chains`` → ``config`` → ``messages``. Each floor has rooms, whose
imports make no circle. ``docs/architecture.md`` tells what lives where.
"""

__version__ = "0.1.0"
