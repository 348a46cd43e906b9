"""What is known of each upstream, and who is asked next.

``Standings.observe`` and ``tick`` are the only ways in; ranks are remade when something changed.
May import ``rules.heads``, ``rules.answers``, ``chains``, ``config`` and ``messages``.
Must not know of requests and their plans.
"""
