"""Pages for people, with their styles and scripts: the status, and the page at ``/``.

Drawn from plain values; whatever is no ``Markup`` is escaped.
May import ``front.protocol``, ``front.wire``, ``rules.telling`` and the coins of ``chains``.
Must not look anything up: what is shown was handed in.
"""
