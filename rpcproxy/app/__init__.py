"""The composition root: builds the graph of a configuration, reloads, drains, closes.

``chain`` one chain's graph; ``proxy`` all chains behind one port, and what the admin port may
know; ``process`` what a process needs before it serves; ``ports`` why a port cannot be had.
"""
