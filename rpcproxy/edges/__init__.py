"""Touches the world: connections to upstreams, answers on disk, metrics, logs.

``upstream_http`` one upstream's pool of ``connection``, made by ``opening`` from ``target`` (URL),
``names`` (DNS, dialling), a ``tunnel`` through an outbound proxy, and ``tls``; ``links`` move
bytes; ``http_reply``, ``reply_head`` and ``reply_body`` read them strictly. ``newheads`` hears new
blocks over WebSocket, by a ``dialogue``, at a ``pace``. ``own_limits`` says where a fault is this
machine's own. ``disk_cache`` keeps answers in a ``disk_file`` (its thread's words are ``awaited``);
``journal`` writes transactions down, as a ``journal_row`` each, in a ``journal_file`` of a
``journal_schema`` at its ``journal_place``, and saves what it can of a damaged one
(``journal_salvage``). ``history`` keeps the figures of weeks in a ``history_file``. ``metrics``
counts, with ``send_counters`` and ``attempt_times``; ``exposition``, ``send_exposition`` and
``upstream_exposition`` are what Prometheus reads, with ``figures`` of each chain; ``logs`` writes
lines, a ``webhook`` is told of changes, ``traces`` sends spans; ``given_sockets`` are another
process's, ``notify_socket`` leads to the service manager; ``cloud_ranges`` reads whose an address
is. Foreign exceptions become ``messages.Failure`` here and go no further up.
"""
