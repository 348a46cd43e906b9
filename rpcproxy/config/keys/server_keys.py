"""The keys of ``server``, and of its ``tls``, ``limits`` and ``cache``."""

from __future__ import annotations

from typing import Final

from rpcproxy.config.keys.operation_keys import HISTORY, TRACES
from rpcproxy.config.keys.sends_keys import JOURNAL
from rpcproxy.config.model import Limits, Tls
from rpcproxy.config.reading.converters import (
    Choice,
    Whole,
    duration,
    duration_or_zero,
    flag,
    size,
    size_or_zero,
    text,
)
from rpcproxy.config.reading.read_operation import CollectorOr, history, page_path, token
from rpcproxy.config.reading.read_sends import journal, private_fallback
from rpcproxy.config.reading.read_server import address, admin, cache, outage_status
from rpcproxy.config.reading.reading import REQUIRED, Key, Nested, Section

TLS: Final = Section(
    title="server.tls",
    heading="server.tls",
    rows=(
        Key(
            *("certificate", "certificate", text, "path", REQUIRED),
            "PEM file with the certificate chain.",
        ),
        Key(
            *("key", "key", text, "path", REQUIRED),
            "PEM file with its key.",
        ),
    ),
)

LIMITS: Final = Section(
    title="server.limits",
    heading="server.limits",
    rows=(
        Key(
            *("header_size", "header_bytes", size, "size", "`16KiB`"),
            "Request line and headers; over it HTTP 431.",
        ),
        Key(
            *("body_size", "body_bytes", size, "size", "`5MiB`"),
            "Request body; over it HTTP 413.",
        ),
        Key(
            *("batch", "batch", Whole(1, "1000"), "whole number", "`1000`"),
            "Members of one batch; over it HTTP 413.",
        ),
        Key(
            *("connections", "connections", Whole(1, "20000"), "whole number", "`20000`"),
            "Open connections of all clients together; over it HTTP 503.",
        ),
        Key(
            *("held", "held_bytes", size, "size", "`256MiB`"),
            "Memory for what waits for clients, all together: bodies that are arriving, answers "
            "that are not taken, batches. Beyond it answers come in pieces, and then HTTP 429. "
            "One holds no more than is left free for others.",
        ),
        Key(
            *("held_per_client", "held_bytes_per_client", size, "size", "`128MiB`"),
            "The same for one address (of IPv6: a /64). A front on one address is one client: "
            "give it what `held` has.",
        ),
        Key(
            *("header_timeout", "header_seconds", duration, "duration", "`10s`"),
            "For the request line and headers to arrive; then HTTP 408.",
        ),
        Key(
            *("body_timeout", "body_seconds", duration, "duration", "`30s`"),
            "For the body to arrive, and a second more for each 16 KiB that came; then HTTP 408.",
        ),
        Key(
            *("idle_timeout", "idle_seconds", duration, "duration", "`120s`"),
            "Between two requests on one connection; then it is closed.",
        ),
    ),
)

CACHE: Final = Section(
    title="server.cache",
    heading="server.cache",
    rows=(
        Key(
            *("memory", "memory_bytes", size, "size", "`128MiB`"),
            "Most memory for answers.",
        ),
        Key(
            *("disk", "disk_bytes", size_or_zero, "size, may be `0`", "`0`"),
            "Most bytes on disk, for what cannot change. It survives a restart. Needs `path`.",
        ),
        Key(
            *("path", "path", text, "path", "none"),
            "Directory for it, of this process alone.",
        ),
    ),
)

SERVER: Final = Section(
    title="server",
    heading="server",
    rows=(
        Key(
            *("listen", "listen", address, "HOST:PORT", "`127.0.0.1:8545`"),
            "For wallets: HTTP. `0.0.0.0:8545` for every interface, `'[::1]:8545'` for IPv6, port "
            "0 for any free one.",
        ),
        Key(
            *("admin", "admin", admin, "HOST:PORT or `off`", "`127.0.0.1:9545`"),
            "For operators: `/status`, `/metrics`, `/healthz`, `/readyz`, `/transactions`. Beyond "
            "this machine changes want `admin_token`.",
        ),
        Key(
            *("tls", "tls", Nested(TLS, Tls), "section", "none"),
            "https for wallets: [`server.tls`](#servertls).",
            may_be_empty=True,
        ),
        Key(
            *("gzip", "gzip", flag, "switch", "`true`"),
            "Compress answers over 1 KiB for clients that accept it.",
        ),
        Key(
            *("outage_status", "outage_status", outage_status, "`200` or `503`", "`200`"),
            "HTTP status of the error when no upstream could serve a read. After some 503 in a "
            "row MetaMask sends nothing for 30 s.",
        ),
        Key(
            *("log", "log", Choice(("text", "json")), "`text` or `json`", "`text`"),
            "How log lines are written, to stderr.",
        ),
        Key(
            *("drain", "drain_seconds", duration_or_zero, "duration, may be `0`", "`10s`"),
            "How long requests in flight may take to finish after SIGTERM.",
        ),
        Key(
            *("limits", "limits", Nested(LIMITS, Limits), "section", "see there"),
            "What one client may take: [`server.limits`](#serverlimits).",
            may_be_empty=True,
        ),
        Key(
            *("cache", "cache", cache(CACHE), "section or `off`", "see there"),
            "What answers may be kept in: [`server.cache`](#servercache).",
            may_be_empty=True,
        ),
        Key(
            *("journal", "journal", journal(JOURNAL), "directory, `on`, `off` or section", "`on`"),
            "Where transactions are written down before a wallet is told that they are sent: "
            "[`journal`](#journal). A chain may have its own.",
            may_be_empty=True,
        ),
        Key(
            *("accept_while_down", "accept_while_down", flag, "switch", "`false`"),
            "Take transactions while no upstream can be reached at all: the wallet gets its hash, "
            "and they go out as soon as one is back. Else it gets an error, and they are not sent "
            "later. Needs the journal to keep them through a restart. A chain may say otherwise.",
        ),
        Key(
            *("private_fallback", "private_fallback_seconds", private_fallback),
            *("`off`, or such as `after 30s`", "`off`"),
            "After how long without a block a transaction that was for [private "
            "upstreams](#upstreams) alone goes to all of them. It cannot be taken back then. A "
            "chain may say otherwise.",
        ),
        Key(
            *("admin_token", "admin_token", token, "text, 16 characters or more", "none"),
            "Asked on the admin port for all but `/healthz` and `/readyz`: `Authorization: Bearer "
            "…`, or in a browser as the password. Without one, whoever reaches the port may read, "
            "and nothing can be changed from beyond this machine. Give it as `${ADMIN_TOKEN}`.",
        ),
        Key(
            *("status_page", "status_page", page_path, "path, `on` or `off`", "`off`"),
            "Where the wallet port shows how it stands to everybody, by names only; `on` is "
            "`/status`.",
        ),
        Key(
            *("history", "history", history(HISTORY), "directory, `on`, `off` or section", "`on`"),
            "The figures of the last weeks, for `rpcproxy report`: "
            "[`server.history`](#serverhistory).",
            may_be_empty=True,
        ),
        Key(
            *("traces", "traces", CollectorOr(TRACES), "URL, `off` or section", "`off`"),
            "An OpenTelemetry collector, `http://HOST:4318`, and what is kept of requests that "
            "failed or were slow: [`server.traces`](#servertraces).",
            may_be_empty=True,
        ),
        Key(
            *("accept_single_point", "accept_single_point", flag, "switch", "`false`"),
            "`rpcproxy check` does not call a single point of failure a fault. A chain may say "
            "otherwise.",
        ),
    ),
    later=("workers", "exchange", "redis"),
)
