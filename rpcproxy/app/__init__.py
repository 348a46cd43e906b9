"""The composition root: builds the graph of a configuration, reloads, drains, closes.

``chain`` one chain's graph; ``disk`` and ``journal`` what it keeps through a restart; ``tx`` its
transactions, for people; ``proxy`` all chains behind one port; ``report`` what operators are told
of a chain; ``process`` what a process needs before it serves; ``ports`` why a port cannot be had.
"""
