"""HTTP/1.1 as values: requests out of bytes, and responses into bytes, strictly.

Takes bytes and gives values, and the other way round; what a page is is said here too.
May import ``messages`` and ``config``.
Must not touch a socket, a clock or the event loop.
"""
