"""Pure decisions. ``now`` (monotonic seconds) and ``rng`` are arguments.

Who is well: ``standing`` is the only door, ``track_record`` one upstream; ``health``, ``breaker``,
``admit`` (chain id, key), ``domains``, ``latency``, ``limits``, ``exclusions`` and ``reach`` (how
old its data may be) their parts; ``snapshot`` for people. Which chain is ours: ``heads`` the served
head, from ``head_track`` (one upstream's), ``lineage`` (which block follows which), ``support``
(who has which) and ``finality``; ``following`` what that means for each upstream; ``agreement`` and
``audit`` compare answers.

Who is asked: ``need`` what for, ``selection`` ranks and picks, ``failover`` plans one request,
``ballot`` counts for a send, ``pool`` holds those that are ``journaled``, ``rebroadcasts`` says
when they go out again, ``poison`` remembers what fails everywhere, ``ranges`` splits what is too
wide, ``cadence`` says when to probe. What it means: ``classify`` with ``replies`` and ``hints``;
``outage`` has the words, ``admission`` the local answers, ``caching`` those that are kept.
"""
