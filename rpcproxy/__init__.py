"""rpcproxy: a JSON-RPC failover proxy for wallets and dapps.

Floors, imports downward only: ``cli`` → ``drills`` → ``app`` → ``front`` →
``engine`` → ``edges | rules`` → ``chains`` → ``config`` → ``states`` →
``messages``.
``docs/architecture.md`` tells what lives where.
"""

__version__ = "0.1.0"
