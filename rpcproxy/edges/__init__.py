"""Touches the world: connections to upstreams, metrics, logs.

``upstream_http`` one upstream's pool of ``connection``, made by ``opening`` from ``target`` (URL),
``names`` (DNS, dialling) and ``tls``; ``links`` move bytes; ``http_reply``, ``reply_head`` and
``reply_body`` read them strictly. ``metrics`` counts, ``exposition`` is what Prometheus reads,
``logs`` writes lines. Foreign exceptions become ``messages.Failure`` here and go no further up.
"""
