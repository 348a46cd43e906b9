"""Does things in time: drives the pure rules with a clock, and sends through ``edges``.

``pipeline`` is the front's door; ``express`` carries the usual read, ``executor`` every other,
``batches`` and ``broadcast`` (sends) theirs, as ``calls``; ``streaming`` large answers; ``told``
the head as clients know it; ``watcher`` probes. Every outcome goes to ``Standings.observe``;
tasks are started through ``tasks.start`` alone.
"""
