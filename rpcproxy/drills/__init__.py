"""Simulated providers on one simulated chain, faults, and the demo."""
