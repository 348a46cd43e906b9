"""How one request goes: whom to ask, when to ask another, what to give in the end.

A ``Plan`` is a state machine: told what happened, it says what to do.
May import ``rules.standing``, ``rules.answers``, ``chains`` and ``messages``.
Must not send or wait: what to do leaves as values.
"""
