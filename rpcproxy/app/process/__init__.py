"""What a process needs of its machine: streams, files, certificates, ports, memory.

Said in words where it cannot be had.
May import ``config`` and ``rules``.
Must not know of chains or of the proxy.
"""
