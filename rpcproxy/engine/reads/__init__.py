"""The way of a body: decoded, answered here or asked for, encoded; and that way explained.

``pipeline`` is the front's door; the express lane carries the usual read, without a task.
May import every room of ``engine``, and every floor below.
Must not judge an outcome or rank an upstream: that is what ``rules`` are for.
"""
