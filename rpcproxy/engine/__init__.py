"""Does things in time: pipeline, executor, batches, watcher, broadcast.

Drives the pure rules with a clock, sends through ``edges``, and reports every outcome to
``Standings.observe``. Tasks are started through ``tasks.start`` alone.
"""
