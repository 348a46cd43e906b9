"""Checks of a configuration by asking every upstream, and the making of a first one.

Serves `rpcproxy check` and `rpcproxy init`; what is found is told in plain values.
May import ``config``, ``chains``, ``rules`` and ``edges``.
Must not import what serves: a check runs without a proxy, and beside one.
"""
