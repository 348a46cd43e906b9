"""What a request costs, measured.

- ``stub``: the upstream that every contender forwards to, a process of its own
- ``contenders``: starts HAProxy, nginx and rpcproxy on core 0, or takes any URL
- ``load``: wrk as the closed loop, threads as the open loop, idle and slow clients
- ``procfs``: CPU seconds and memory of a process, from /proc
- ``figures``: the arithmetic: ratios in the same run, percentiles, fits
- ``age``: how many blocks behind the chain wallets are, and what knowing it costs upstream
- ``cases``: what is measured; ``report``: table, results.md, results.json, results.svg

Run by ``make bench``, or ``python -m benchmarks --help``.
"""
