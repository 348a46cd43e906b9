"""Pure decisions. ``now`` (monotonic seconds) and ``rng`` are arguments.

Who is well: ``standing`` is the only door, ``track_record`` one upstream; ``health``, ``breaker``,
``admit`` (chain id, key), ``domains``, ``latency``, ``limits``, ``exclusions`` and ``reach`` (how
old its data may be) their parts; ``snapshot`` for people. Which chain is ours: ``heads`` the served
head, from ``head_track`` (one upstream's), ``lineage`` (which block follows which), ``support``
(who has which) and ``finality``; ``wanted`` the headers in between, ``ahead`` what may be shown
above it, ``pending`` what may follow it; ``following`` what that means for each upstream;
``recent_blocks`` what the last blocks hold; ``agreement`` and ``audit`` compare answers.

Who is asked: ``need`` what for, ``selection`` ranks and picks, ``failover`` plans one request in
``steps``, by how attempts ended (``ends``; ``calls_made`` for it are few), ``single_attempt`` a
copy, ``lateness`` tells slow from dead and says how much time there is, ``ballot`` counts for a
send, ``pool`` holds those that are ``journaled``, in ``lanes`` (the wallet's last word counts),
``rebroadcasts`` says when they go out again, ``poison`` remembers what fails everywhere,
``refusals`` says what errors mean and teach, ``ranges`` splits what is too wide, ``cadence`` says
when to probe. What it means: ``classify`` with ``replies``, ``hints`` and ``batched``; ``outage``
has the words, ``admission`` the local answers, ``caching`` those that are kept, ``holding`` how
many bytes wait for whom. ``notices`` says what webhooks are told, ``bulletin`` in which shape. For
`rpcproxy check`: ``capacity`` (shares, single points of failure), ``survey`` (what is asked). What
operators say: ``orders``; what they ask: ``explained``, selection in words. How it stands, for
people: ``plight`` is the sentence, ``chronicle`` the last day, in ``strips`` and ``incidents``.
What is told later: ``sample`` is all of it at one moment, ``tallies`` what such moments add up to.

``range_refusals`` is what is said of ranges that are too wide.
"""
