"""The composition root: builds the graph of a configuration, reloads, drains, closes.

``chain`` one chain's graph; ``disk`` and ``journal`` what it keeps through a restart; ``tx`` its
transactions, for people; ``proxy`` all chains behind one port, and ``view`` what may be known of
them; ``report`` what operators are told of a chain; ``checkup`` checks a configuration, by
``inspection`` of each upstream (``asking`` it); ``process`` what a process needs before it serves,
``allocator`` memory given back after a peak; ``ports`` why one cannot be had; ``admin_port`` and
``control`` what operators change there; ``takeover`` ports from another process, ``offer`` ports
to one, ``handover`` what goes with them; ``leaving`` what is let go of first; ``service`` what a
service manager is told; ``notices`` tells webhooks; ``traced`` the parts with spans; ``sampling``
all of it every few seconds; ``chronicle`` the last day of it, in words; ``history`` what that adds
up to, on disk; ``report_card`` what the history says of each provider; ``setup`` a first
configuration.

``serving`` is what is in force of it.
"""
