"""Simulated providers on a simulated chain, faults, lies, and the demo.

Rooms: the chain, what may go wrong with it, the servers in front of it, and the demo of all.
May import every floor below; the demo alone runs a proxy of ``app``.
Must not be imported by what serves: nothing of it is at work outside drills and tests.
"""
