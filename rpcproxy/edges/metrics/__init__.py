"""Counters of what happens, and what Prometheus reads of them.

Counting is plain addition on the hot path; all else is done when somebody scrapes.
May import ``messages``.
Must not look at standings or chains itself: figures are handed in.
"""
