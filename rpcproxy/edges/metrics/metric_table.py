"""The table of metrics: a row for each, in the order of /metrics.

A new metric is a counter in ``metrics`` or a figure in ``figures``, a row in the module of its
kind, and a row in docs/metrics.md; then ``WRITE_SCRAPED=1 pytest tests/unit/edges/metrics`` writes
the text that Prometheus is to read.
"""

from __future__ import annotations

from typing import Final

from rpcproxy.edges.metrics.chain_rows import CHAIN_ROWS
from rpcproxy.edges.metrics.metric_row import MetricRow
from rpcproxy.edges.metrics.process_rows import PROCESS_ROWS
from rpcproxy.edges.metrics.send_rows import SEND_ROWS
from rpcproxy.edges.metrics.traffic_rows import TRAFFIC_ROWS
from rpcproxy.edges.metrics.upstream_rows import UPSTREAM_ROWS

METRIC_TABLE: Final[tuple[MetricRow, ...]] = (
    *PROCESS_ROWS,
    *TRAFFIC_ROWS,
    *CHAIN_ROWS,
    *SEND_ROWS,
    *UPSTREAM_ROWS,
)
