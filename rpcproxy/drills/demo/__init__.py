"""The demo: outages in scenes, the traffic of a wallet, and the picture in a terminal.

Plays before whoever watches what the proxy does while providers fail.
May import every other room of ``drills``, and ``app``.
Must not do what the proxy could not meet in earnest: all outages come from ``drills.scenarios``.
"""
