"""Pure decisions. ``now`` (monotonic seconds) and ``rng`` are arguments.

Who is well: ``standing`` is the only door, ``track_record`` one upstream; ``health``, ``breaker``,
``admit`` (chain id, key), ``domains``, ``heads``, ``latency``, ``limits`` and ``exclusions`` their
parts; ``snapshot`` for people. Who is asked: ``selection`` ranks and picks, ``failover`` plans one
request, ``ballot`` counts for a send, ``poison`` remembers what fails everywhere, ``cadence`` says
when to probe. What it means: ``classify`` with ``replies`` and ``hints``; ``outage`` has the words,
``admission`` the local answers.
"""
