"""The admin port: metrics, health, status and transactions, and what operators may change.

Runs on aiohttp, within time and number, apart from the wallets' port.
May import ``front.pages``, ``front.protocol``, ``edges``, ``chains`` and ``config``.
Must not reach into the proxy: ``app`` gives it views and controls as protocols.
"""
