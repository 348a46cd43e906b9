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
        "chains[]": (
            Meaning(
                *("name", "text", "required"),
                "At most 64 letters, digits, `-` and `_`. Not `healthz`, `readyz`, `status` or "
                "`metrics`.",
            ),
            Meaning(
                *("kind", "`evm`", "`evm`"),
                "The kind of chain.",
            ),
            Meaning(
                *("chain_id", "whole number", "known, else required"),
                "What `eth_chainId` must be. An upstream that says otherwise is quarantined.",
            ),
            Meaning(
                *("block_time", "duration", "known, else `12s`"),
                "Where the learning of the block time starts.",
            ),
            Meaning(
                *("max_lag", "whole number", "known, else `2`"),
                "How many blocks an upstream may be behind before it is not asked for the latest "
                "state.",
            ),
            Meaning(
                *("selection", "`fastest`, `ordered` or `weighted`", "`fastest`"),
                "Who is asked first: the cheaper of two at random (latency, load and failures "
                "count), the first as listed that is well, or at random by `weight`.",
            ),
            Meaning(
                *("deadlines", "section", "see there"),
                "Total time of one request: [`deadlines`](#deadlines). An answer that keeps "
                "arriving well is not cut, for four times as long.",
            ),
            Meaning(
                *("attempt_timeout", "duration", "`1.5s`"),
                "Time for one attempt at a light read until another upstream is asked beside it; "
                "its answer counts until the deadline. A heavy read has a third of its deadline, a"
                " trace or a wide search two thirds, a send half of its, and at least this; large "
                "batches, and methods that are known to take long, have more.",
            ),
            Meaning(
                *("hedge", "`auto`, `off` or duration", "`auto`"),
                "When a second copy of a slow read goes out: after 1.25 times the 95th percentile"
                " of its class (20 ms to 1 s), never, or after this time. Traces and wide searches"
                " have one only where the first upstream is in doubt, methods that are known to "
                "take long a later one. `off` where every call is paid for.",
            ),
            Meaning(
                *("consistency", "`pinned`, `routed` or `off`", "known, else `pinned`"),
                "What becomes of `latest`, `safe` and `finalized` in a read. `pinned`: the served"
                " head, by its number or, where the upstream has proved to look at it, its hash "
                "(EIP-1898), so that all answers are of one chain. `routed`: left as it is, and "
                "asked of an upstream that has the served head, for chains that serve state at "
                "`latest` only (known of `monad` and `hyperevm`). `off`: left as it is.",
            ),
            Meaning(
                *("audit", "rate or `off`", "`off`"),
                "How many reads are asked of a second company as well and compared.",
            ),
            Meaning(
                *("probes", "rate from 0.05/s to 20/s", "`4/s`"),
                "How often each upstream is asked for its head, at most: [cost](#upstreams).",
            ),
            Meaning(
                *("journal", "directory, `on`, `off` or section", "the server's"),
                "Where its transactions are written down: [`journal`](#journal).",
            ),
            Meaning(
                *("accept_while_down", "switch", "the server's"),
                "As for the [server](#server).",
            ),
            Meaning(
                *("private_fallback", "`off`, or such as `after 30s`", "the server's"),
                "As for the [server](#server).",
            ),
            Meaning(
                *("accept_single_point", "switch", "the server's"),
                "As for the [server](#server).",
            ),
            Meaning(
                *("genesis", "hash or `off`", "known, else none"),
                "What the hash of block 0 must be: two chains may have one id. An upstream with "
                "another block 0 is quarantined, one that cannot show it is not blamed. Where it is"
                " left out, the known one counts once some upstream has that very block: copies"
                " of known chains go by their ids. `off` asks nobody.",
            ),
            Meaning(
                *("upstreams", "list", "required"),
                "At least one: [`upstreams`](#upstreams).",
            ),
        ),
        "deadlines": (
            Meaning(
                *("light", "duration", "`4.5s`"),
                "Balances, calls, blocks, receipts: whatever is not heavy and no send.",
            ),
            Meaning(
                *("heavy", "duration", "`30s`"),
                "Logs, proofs, traces, simulations, all receipts of a block, the transaction "
                "pool's content.",
            ),
            Meaning(
                *("send", "duration", "`12s`"),
                "Transactions.",
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
