"""``GET /failures``: the requests that failed or were slow, and what was tried for each.

No state.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NotRequired, Protocol, TypedDict

from aiohttp import web

from rpcproxy.edges.logs import utc
from rpcproxy.front.operators.access import Denied
from rpcproxy.front.operators.admin_transactions import JsonPage
from rpcproxy.front.operators.queries import asked_only, denied_in_words, limit_in, since_in
from rpcproxy.rules.telling.request_traces import Trace, TraceOutcome

USUAL_FAILURES: Final = 100
MOST_FAILURES: Final = 2000
_ASKED: Final = ("trace_id", "tx", "since", "chain", "outcome", "limit")
_ID: Final = re.compile(r"[\x21-\x7e]{1,80}")


class AttemptEntry(TypedDict):
    """One attempt; as ``rules.telling.request_traces.AttemptTrace``."""

    upstream: str
    began_seconds: float
    seconds: float | None
    verdict: str
    detail: str
    why: str


class FailureEntry(TypedDict):
    """A request that failed or was slow. ``time`` is when it came, UTC, ISO 8601; ``seconds`` it
    took until the wallet had its answer. ``reason`` is for operators, ``told`` what the wallet was
    told where that is not the same. ``params`` is there where ``server.traces`` wants it.
    """

    time: str
    chain: str
    method: str
    reason: str
    trace_id: str
    outcome: str
    seconds: float
    transaction: str
    attempts: Sequence[AttemptEntry]
    told: str
    params: NotRequired[str]


class FailuresPage(TypedDict):
    """``failures``, the latest first. Where there is none of what was asked for, ``words`` say why,
    and ``since`` since when they are known, UTC. ``kept``: why nothing is kept on disk, left out
    where it is.
    """

    failures: Sequence[FailureEntry]
    words: NotRequired[str]
    since: NotRequired[str]
    kept: NotRequired[str]


class FailuresView(Protocol):
    """The records of a proxy; ``app.people.request_records.RequestRecords``."""

    began_unix: float
    trouble: str

    def find(
        self,
        *,
        trace_id: str = "",
        transaction: str = "",
        since: float | None = None,
        chain: str = "",
    ) -> Sequence[Trace]: ...

    def unix_now(self) -> float: ...


def failures_page(
    records: FailuresView,
    query: Mapping[str, str],
    chains: Sequence[str],
    read_hash: Callable[[str], str | None],
) -> FailuresPage:
    """What the query asks for. ``read_hash``: a transaction's hash as it is kept, ``None`` where
    the text is none. Raises ``Denied`` for what makes no sense.
    """
    asked_only(query, _ASKED)
    limit = limit_in(query.get("limit", ""), USUAL_FAILURES, MOST_FAILURES)
    since = since_in(query.get("since", ""), records.unix_now())
    trace_id, chain = query.get("trace_id", "").strip(), query.get("chain", "")
    if trace_id and not _ID.fullmatch(trace_id):
        raise Denied(400, "trace_id: expected what the wallet was told as X-Trace-Id")
    transaction = query.get("tx", "").strip()
    if transaction:
        transaction = read_hash(transaction) or ""
        if not transaction:
            raise Denied(400, "tx: expected the hash of a transaction")
    if chain and chain not in chains and not records.find(chain=chain):
        raise Denied(404, f"there is no chain {chain[:80]!r} here; served are {', '.join(chains)}")
    outcome = query.get("outcome", "")
    if outcome and outcome not in list(TraceOutcome):
        raise Denied(400, f"outcome: expected one of {', '.join(TraceOutcome)}")
    found = records.find(trace_id=trace_id, transaction=transaction, since=since, chain=chain)
    # What it was right to refuse is shown to who asks for that very one.
    is_one = bool(trace_id or transaction)
    usual = set(TraceOutcome) if is_one else {TraceOutcome.FAILED, TraceOutcome.SLOW}
    wanted = {TraceOutcome(outcome)} if outcome else usual
    shown = [each for each in found if each.outcome in wanted]
    told: FailuresPage = {"failures": [entry_of(each) for each in shown[:limit]]}
    if not shown and query.keys() - {"limit"}:
        told["since"] = utc(records.began_unix)
        told["words"] = _nothing(trace_id, transaction, told["since"])
    if records.trouble:
        told["kept"] = records.trouble
    return told


def _nothing(trace_id: str, transaction: str, since: str) -> str:
    if not trace_id and not transaction:
        return f"no request is known that failed or was slow, since {since}"
    what = f"trace id {trace_id}" if trace_id else f"transaction {transaction}"
    return (
        f"no failure of {what} is known here: it did not fail and was not slow, or another process "
        f"served it, or it is older than what is kept (since {since}), or so many of its kind came "
        "after it that it was forgotten"
    )


def entry_of(trace: Trace) -> FailureEntry:
    entry: FailureEntry = {
        "time": utc(trace.started_unix),
        "chain": trace.chain,
        "method": trace.method,
        "reason": trace.reason,
        "trace_id": trace.trace_id,
        "outcome": trace.outcome.value,
        "seconds": trace.seconds,
        "transaction": trace.transaction,
        "attempts": [
            {
                "upstream": each.upstream,
                "began_seconds": each.began_seconds,
                "seconds": each.seconds,
                "verdict": each.verdict,
                "detail": each.detail,
                "why": each.why,
            }
            for each in trace.attempts
        ],
        "told": trace.told,
    }
    if trace.params:
        entry["params"] = trace.params
    return entry


def failures_routes(
    tell: Callable[[Mapping[str, str]], FailuresPage], page: JsonPage
) -> list[web.RouteDef]:
    """``page`` is how the other pages of the port are made; ``tell`` may raise ``Denied``."""

    async def failures(request: web.Request) -> web.Response:
        """Requests that failed or were slow, with their attempts; by trace_id, tx, since, chain."""
        return denied_in_words(page, lambda: tell(request.query))

    return [web.get("/failures", failures)]
