"""The composition root: builds the graph of a configuration, reloads, drains, closes.

``proxy`` holds what is in force; rooms open what a chain keeps, tell people how it goes, check a
configuration, and hand the ports over to another process.
May import every floor below, but for ``drills``. Must not decide anything about a request.
"""
