"""The keys of ``server.history``, and of a webhook of ``notify``."""

from __future__ import annotations

from typing import Final

from rpcproxy.config.reading.converters import size, text
from rpcproxy.config.reading.read_operation import events, webhook_url
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
