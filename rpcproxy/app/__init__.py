"""The composition root: builds the graph of a configuration, reloads, drains, closes.

``chain`` one chain's graph; ``proxy`` all chains behind one port; ``view`` what the admin port
may know.
"""
