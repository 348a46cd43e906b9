"""Touches the world: HTTP connections to upstreams, names, TLS, metrics.

Foreign exceptions are turned into ``messages.Failure`` here and go no further up.
"""
