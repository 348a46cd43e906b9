"""Touches the world: connections to upstreams, answers on disk, metrics, logs.

``upstream_http`` one upstream's pool of ``connection``, made by ``opening`` from ``target`` (URL),
``names`` (DNS, dialling) and ``tls``; ``links`` move bytes; ``http_reply``, ``reply_head`` and
``reply_body`` read them strictly. ``newheads`` hears new blocks over WebSocket, by a ``dialogue``.
``disk_cache`` keeps answers in a ``disk_file`` (its thread's words are ``awaited``); ``journal``
writes transactions down, as a ``journal_row`` each, in a ``journal_file`` of a ``journal_schema``
at its ``journal_place``, and saves what it can of a damaged one (``journal_salvage``). ``metrics``
counts, with ``send_counters``; ``exposition`` and ``send_exposition`` are what Prometheus reads,
with ``figures`` of each chain; ``logs`` writes lines. Foreign exceptions become
``messages.Failure`` here and go no further up.
"""
