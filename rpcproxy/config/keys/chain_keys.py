"""The keys of a chain, and of its ``deadlines``."""

from __future__ import annotations

from typing import Final

from rpcproxy.config.keys.sends_keys import JOURNAL
from rpcproxy.config.keys.upstream_keys import UPSTREAM
from rpcproxy.config.model import Deadlines
from rpcproxy.config.reading.converters import Choice, Whole, duration, flag
from rpcproxy.config.reading.read_chain import (
    audit,
    chain_name,
    consistency,
    genesis,
    genesis_shape,
    hedge,
    kind,
    kind_shape,
    probes,
)
from rpcproxy.config.reading.read_sends import journal, private_fallback
from rpcproxy.config.reading.read_upstream import upstreams
from rpcproxy.config.reading.reading import REQUIRED, Key, Nested, Section

DEADLINES: Final = Section(
    title="deadlines",
    heading="deadlines",
    rows=(
        Key(
            *("light", "light_seconds", duration, "duration", "`4.5s`"),
            "Balances, calls, blocks, receipts: whatever is not heavy and no send.",
        ),
        Key(
            *("heavy", "heavy_seconds", duration, "duration", "`30s`"),
            "Logs, proofs, traces, simulations, all receipts of a block, the transaction pool's "
            "content.",
        ),
        Key(
            *("send", "send_seconds", duration, "duration", "`12s`"),
            "Transactions.",
        ),
    ),
)

CHAIN: Final = Section(
    title="a chain",
    heading="chains[]",
    rows=(
        Key(
            *("name", "name", chain_name, "text", REQUIRED),
            "At most 64 letters, digits, `-` and `_`. Not `healthz`, `readyz`, `status` or "
            "`metrics`.",
        ),
        Key(
            *("kind", "kind", kind, "`evm`", "`evm`"),
            "The kind of chain.",
            shape_of=kind_shape,
        ),
        Key(
            *("chain_id", "chain_id", Whole(1, "1"), "whole number", "known, else required"),
            "What the chain must say of itself. An upstream that says otherwise is quarantined.",
        ),
        Key(
            *("block_time", "block_time_seconds", duration, "duration", "known, else `12s`"),
            "Where the learning of the block time starts.",
        ),
        Key(
            *("max_lag", "max_lag_blocks", Whole(0, "2"), "whole number", "known, else `2`"),
            "How many blocks an upstream may be behind before it is not asked for the latest "
            "state.",
        ),
        Key(
            *("selection", "selection", Choice(("fastest", "ordered", "weighted"))),
            *("`fastest`, `ordered` or `weighted`", "`fastest`"),
            "Who is asked first: the cheaper of two at random (latency, load and failures count), "
            "the first as listed that is well, or at random by `weight`.",
        ),
        Key(
            *("deadlines", "deadlines", Nested(DEADLINES, Deadlines), "section", "see there"),
            "Total time of one request: [`deadlines`](#deadlines). An answer that keeps arriving "
            "well is not cut, for four times as long.",
            may_be_empty=True,
        ),
        Key(
            *("attempt_timeout", "attempt_timeout_seconds", duration, "duration", "`1.5s`"),
            "Time for one attempt at a light read until another upstream is asked beside it; its "
            "answer counts until the deadline. A heavy read has a third of its deadline, a trace "
            "or a wide search two thirds, a send half of its, and at least this; large batches, "
            "and methods that are known to take long, have more.",
        ),
        Key(
            *("hedge", "hedge", hedge, "`auto`, `off` or duration", "`auto`"),
            "When a second copy of a slow read goes out: after 1.25 times the 95th percentile of "
            "its class (20 ms to 1 s), never, or after this time. Traces and wide searches have "
            "one only where the first upstream is in doubt, methods that are known to take long a "
            "later one. `off` where every call is paid for.",
        ),
        Key(
            *("consistency", "consistency", consistency),
            *("`pinned`, `routed` or `off`", "known, else `pinned`"),
            "What becomes of `latest`, `safe` and `finalized` in a read. `pinned`: the served "
            "head, by its number or, where the upstream has proved to look at it, its hash "
            "(EIP-1898), so that all answers are of one chain. `routed`: left as it is, and asked "
            "of an upstream that has the served head, for chains that serve state at `latest` "
            "only (known of `monad` and `hyperevm`). `off`: left as it is.",
        ),
        Key(
            *("audit", "audits_per_hour", audit, "rate or `off`", "`off`"),
            "How many reads are asked of a second company as well and compared.",
        ),
        Key(
            *("probes", "probes_per_second", probes, "rate from 0.05/s to 20/s", "`4/s`"),
            "How often each upstream is asked for its head, at most: [cost](#upstreams).",
        ),
        Key(
            *("upstreams", "upstreams", upstreams(UPSTREAM), "list", REQUIRED),
            "At least one: [`upstreams`](#upstreams).",
        ),
        Key(
            *("journal", "journal", journal(JOURNAL)),
            *("directory, `on`, `off` or section", "the server's"),
            "Where its transactions are written down: [`journal`](#journal).",
            may_be_empty=True,
        ),
        Key(
            *("accept_while_down", "accept_while_down", flag, "switch", "the server's"),
            "As for the [server](#server).",
        ),
        Key(
            *("private_fallback", "private_fallback_seconds", private_fallback),
            *("`off`, or such as `after 30s`", "the server's"),
            "As for the [server](#server).",
        ),
        Key(
            *("accept_single_point", "accept_single_point", flag, "switch", "the server's"),
            "As for the [server](#server).",
        ),
        Key(
            *("genesis", "genesis_hash", genesis, "hash or `off`", "known, else none"),
            "What the hash of block 0 must be: two chains may have one id. An upstream with "
            "another block 0 is quarantined, one that cannot show it is not blamed. Where it is "
            "left out, the known one counts once some upstream has that very block: copies of "
            "known chains go by their ids. `off` asks nobody.",
            shape_of=genesis_shape,
        ),
    ),
    later=("finality",),
    renamed=(("pinning", "consistency"),),
    told_by_converter=("upstreams",),
)
