"""The keys of ``server.history`` and ``server.traces``, and of a webhook of ``notify``."""

from __future__ import annotations

from typing import Final

from rpcproxy.config.reading.converters import flag, size, text
from rpcproxy.config.reading.read_operation import collector, events, webhook_url
from rpcproxy.config.reading.reading import REQUIRED, Key, Section

HISTORY: Final = Section(
    title="server.history",
    heading="server.history",
    rows=(
        Key(
            *("path", "path", text, "path", "see below"),
            "Directory for it. It is made where it is missing.",
        ),
        Key(
            *("size", "size_bytes", size, "size", "`64MiB`"),
            "Most bytes it may take; the oldest go first.",
        ),
    ),
)

TRACES: Final = Section(
    title="server.traces",
    heading="server.traces",
    rows=(
        Key(
            *("url", "url", collector, "URL or `off`", "`off`"),
            "An OpenTelemetry collector, `http://HOST:4318`: a span for each request and each "
            "attempt goes there. Needs the [extra](operations.md#extras) `otel`.",
        ),
        Key(
            *("params", "params", flag, "switch", "`false`"),
            "Keep the params of reads that failed or were slow, the first 1,000 bytes, for "
            "`/failures`. Those of transactions that are sent, and of what names a private one, "
            "are never kept.",
        ),
    ),
)

NOTICE: Final = Section(
    title="notify",
    heading="notify[]",
    rows=(
        Key(
            *("url", "url", webhook_url, "URL", REQUIRED),
            "`https://` or `http://`. It is a secret, as an upstream's is.",
        ),
        Key(
            *("events", "events", events, "list of names", "see below"),
            "What it is told.",
        ),
    ),
)
