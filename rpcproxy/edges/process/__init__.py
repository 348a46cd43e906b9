"""The machine and its other processes: given sockets, the service manager, own limits.

Says where a fault is the machine's own, so that no upstream is blamed for it.
May import ``edges.logs``.
Must not know what is served on a socket.
"""
