"""Scenarios: what can be wrong with a provider, as values, and cases to be played again.

Faults are of the wire or of the answer; lies are well-formed answers that are not true.
May import ``drills.evm``.
Must not serve anything: a server asks a fault what to do.
"""
