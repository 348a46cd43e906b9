"""Touches the world: connections, files, metrics, logs. Foreign exceptions end here.

Trouble goes up as ``messages.Failure``, never as somebody else's exception.
May import ``chains``, ``config`` and ``messages``.
Must not import ``rules``, nor decide what trouble means.
"""
