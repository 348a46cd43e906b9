"""Connections of clients: the hot path of a request, and all that goes on around it.

Here are sockets, time limits, back-pressure, the port with TLS, its sweep and its drain.
May import ``front.protocol``, ``config``, and of ``engine`` answers on their way, and spans.
Must not know which pages there are: they come as a function of a request.
"""
