"""The keys of an upstream, and of its ``errors``."""

from __future__ import annotations

from typing import Final

from rpcproxy.config.reading.converters import Choice, above_zero, flag, rate, text
from rpcproxy.config.reading.read_upstream import (
    ERROR_CLASSES,
    headers,
    link,
    outbound_proxy,
    phrases,
    upstream_name,
    ws_url,
)
from rpcproxy.config.reading.reading import REQUIRED, Key, Section

PHRASE: Final = Section(
    title="an errors entry",
    heading="errors[]",
    rows=(
        Key(
            *("contains", "contains", text, "text", REQUIRED),
            "Looked for in the error's text, upper and lower case being the same.",
        ),
        Key(
            *("class", "verdict", Choice(ERROR_CLASSES), "see below", REQUIRED),
            "What such an error means.",
        ),
    ),
)

UPSTREAM: Final = Section(
    title="an upstream",
    heading="upstreams[]",
    rows=(
        Key(
            *("name", "name", upstream_name, "text", "the provider's"),
            "How it is shown; two of one provider become `infura` and `infura-2`. At most 64 "
            "letters, digits, `.` `_` `:` `-`.",
        ),
        Key(
            *("url", "link", link, "URL", REQUIRED),
            "`https://` or `http://`. User and password in it become basic authentication.",
        ),
        Key(
            *("ws_url", "ws_url", ws_url, "URL", "none"),
            "`wss://` or `ws://`. New heads are heard over it as soon as they are there; "
            "everything else goes to `url`.",
        ),
        Key(
            *("provider", "provider", text, "text", "guessed from the host"),
            "The company. Upstreams on this machine or on a local network are each one of their "
            "own.",
        ),
        Key(
            *("cloud", "cloud", text, "text", "`unknown`"),
            "The cloud it runs on, such as `aws`.",
        ),
        Key(
            *("region", "region", text, "text", "`unknown`"),
            "Its region of that cloud, such as `us-east-1`.",
        ),
        Key(
            *("tier", "tier", Choice(("primary", "backup")), "`primary` or `backup`", "`primary`"),
            "A backup is asked first only while no primary one is usable and well.",
        ),
        Key(
            *("role", "role", Choice(("full", "reads", "sends"))),
            *("`full`, `reads` or `sends`", "`full`"),
            "What it is asked for. One that is there for `sends` alone gets every transaction, "
            "and its yes alone is not believed at once.",
        ),
        Key(
            *("private", "private", flag, "switch", "`false`"),
            "Where one upstream of a chain is private, transactions go to private ones and "
            "nowhere else, and so does every look-up of one that is pending (but see "
            "`private_fallback`). Reads go to it as well, unless `role` is `sends`.",
        ),
        Key(
            *("rate_limit", "rate_limit_per_second", rate, "rate", "none"),
            "What it may be asked. The load moves to others before the limit is reached; where "
            "nobody else can serve, it is passed all the same. Each member of a batch counts, our "
            "own probes do not.",
        ),
        Key(
            *("weight", "weight", above_zero, "number above 0", "`1`"),
            "Its share under `weighted`. Under `fastest` its cost is divided by it.",
        ),
        Key(
            *("headers", "headers", headers, "mapping", "`{}`"),
            "Sent with every request, such as `Authorization: Bearer ${TOKEN}`. Those that frame "
            "the message are set by the proxy itself.",
            may_be_empty=True,
        ),
        Key(
            *("proxy", "proxy", outbound_proxy, "URL or `direct`", "the environment's"),
            "The outbound proxy that leads to it, `http://` (CONNECT), `socks5://` or "
            "`socks5h://`, with user and password where it wants them. Without it [the "
            "environment](#outbound-proxies) says; `direct` asks nobody.",
        ),
        Key(
            *("errors", "errors", phrases(PHRASE), "list", "`[]`"),
            "Phrases of this provider that our tables do not know: [`errors`](#errors).",
            may_be_empty=True,
        ),
    ),
)
