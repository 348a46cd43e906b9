"""What people are told, as values: samples, what they add up to, sentences, notices.

One sample is all that is known at one moment; the rest follows from samples in a row.
May import ``rules.standing`` for its words and figures, ``config`` and ``messages``.
Must not be asked during a request, nor change what is told of.
"""
