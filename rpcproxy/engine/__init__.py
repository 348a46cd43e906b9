"""Does things in time: drives the pure rules with a clock, and sends through ``edges``.

Rooms, lower ones first: attempts; sends; what is kept of answers; knowledge of upstreams and of the
chain; truth; reads. Every outcome goes to ``Standings.observe``.
May import ``rules``, ``edges`` and what is below. Must not decide what a rule can decide, nor start
a task but by ``tasks.start``.
"""
