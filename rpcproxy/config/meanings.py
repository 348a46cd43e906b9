"""What every key of the configuration means, in words for who writes one: a row for each.

The tables of docs/configuration.md and the descriptions in the JSON Schema are made from these
rows; that keys, defaults and choices are as told is tested against the sections that read them.
``kind`` and ``meaning`` are Markdown, with links as that page has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Meaning:
    """``default`` is in backticks where it is a value that can be written."""

    key: str
    kind: str
    default: str
    meaning: str


MEANINGS: Final[Mapping[str, tuple[Meaning, ...]]] = MappingProxyType(
    {
        "server.history": (
            Meaning(
                *("path", "path", "see below"),
                "Directory for it. It is made where it is missing.",
            ),
            Meaning(
                *("size", "size", "`64MiB`"),
                "Most bytes it may take; the oldest go first.",
            ),
        ),
        "journal": (
            Meaning(
                *("path", "path", "see below"),
                "Directory for it. It is made where it is missing.",
            ),
            Meaning(
                *("on_failure", "`refuse` or `pass`", "`refuse`"),
                "What becomes of a transaction that cannot be written down: an error that says "
                "why and that it is not sent, or it is sent all the same and forgotten if the "
                "proxy ends.",
            ),
        ),
        "upstreams[]": (
            Meaning(
                *("name", "text", "the provider's"),
                "How it is shown; two of one provider become `infura` and `infura-2`. At most 64 "
                "letters, digits, `.` `_` `:` `-`.",
            ),
            Meaning(
                *("url", "URL", "required"),
                "`https://` or `http://`. User and password in it become basic authentication.",
            ),
            Meaning(
                *("ws_url", "URL", "none"),
                "`wss://` or `ws://`. New heads are heard over it as soon as they are there; "
                "everything else goes to `url`.",
            ),
            Meaning(
                *("proxy", "URL or `direct`", "the environment's"),
                "The outbound proxy that leads to it, `http://` (CONNECT), `socks5://` or "
                "`socks5h://`, with user and password where it wants them. Without it "
                "[the environment](#outbound-proxies) says; `direct` asks nobody.",
            ),
            Meaning(
                *("provider", "text", "guessed from the host"),
                "The company. Upstreams on this machine or on a local network are each one of "
                "their own.",
            ),
            Meaning(
                *("cloud", "text", "`unknown`"),
                "The cloud it runs on, such as `aws`.",
            ),
            Meaning(
                *("region", "text", "`unknown`"),
                "Its region of that cloud, such as `us-east-1`.",
            ),
            Meaning(
                *("tier", "`primary` or `backup`", "`primary`"),
                "A backup is asked first only while no primary one is usable and well.",
            ),
            Meaning(
                *("role", "`full`, `reads` or `sends`", "`full`"),
                "What it is asked for. One that is there for `sends` alone gets every "
                "transaction, and its yes alone is not believed at once.",
            ),
            Meaning(
                *("private", "switch", "`false`"),
                "Where one upstream of a chain is private, transactions go to private ones and "
                "nowhere else, and so does every look-up of one that is pending (but see "
                "`private_fallback`). Reads go to it as well, unless `role` is `sends`.",
            ),
            Meaning(
                *("rate_limit", "rate", "none"),
                "What it may be asked. The load moves to others before the limit is reached; "
                "where nobody else can serve, it is passed all the same. Each member of a batch "
                "counts, our own probes do not.",
            ),
            Meaning(
                *("weight", "number above 0", "`1`"),
                "Its share under `weighted`. Under `fastest` its cost is divided by it.",
            ),
            Meaning(
                *("headers", "mapping", "`{}`"),
                "Sent with every request, such as `Authorization: Bearer ${TOKEN}`. Those that "
                "frame the message are set by the proxy itself.",
            ),
            Meaning(
                *("errors", "list", "`[]`"),
                "Phrases of this provider that our tables do not know: [`errors`](#errors).",
            ),
        ),
        "errors[]": (
            Meaning(
                *("contains", "text", "required"),
                "Looked for in the error's text, upper and lower case being the same.",
            ),
            Meaning(
                *("class", "see below", "required"),
                "What such an error means.",
            ),
        ),
        "notify[]": (
            Meaning(
                *("url", "URL", "required"),
                "`https://` or `http://`. It is a secret, as an upstream's is.",
            ),
            Meaning(
                *("events", "list of names", "see below"),
                "What it is told.",
            ),
        ),
    }
)
