"""Takeovers: a process gets the ports of the one that serves, and what that one knows.

Both sides of one talk over a Unix socket, and the values that are told there.
May import all of ``app``.
Must not leave the port without a process that serves: each step can be taken back until the last.
"""
