"""Answers on their way: kept and shared, gathered for a batch, streamed, brought by a task.

The bytes of a result are passed on as they came, and nobody copies a large one.
May import ``engine.attempts``, ``engine.tasks``, ``rules`` and ``edges``.
Must not ask an upstream, and must not judge what an answer says.
"""
