"""Counters of what happens, and the table of metrics that Prometheus reads.

Counting is plain addition on the hot path; all else is done when somebody scrapes.
May import ``messages`` and ``states``.
Must not look at standings or chains itself: figures are handed in.
"""
