"""Searches over ranges of blocks of the simulated chain: logs and traces.

State: none.
"""

from __future__ import annotations

from typing import Any, Final

from rpcproxy.drills.evm.simchain import TOKEN, Json
from rpcproxy.drills.evm.simparams import CallRefused, argument, bad, fixed, height
from rpcproxy.drills.evm.simview import SimView

MAX_LOG_RANGE: Final = 1000


def logs(view: SimView, params: list[Any]) -> object:
    query = argument(params, 0)
    if not isinstance(query, dict):
        raise bad(0, "json: cannot unmarshal non-object into a filter")
    if "blockHash" in query:
        if "fromBlock" in query or "toBlock" in query:
            why = "cannot specify both BlockHash and FromBlock/ToBlock, choose one or the other"
            raise bad(0, why)
        only = view.number_of(fixed([query["blockHash"]], 0, "hash"))
        if only is None:
            raise CallRefused(-32000, "unknown block")
        first = last = only
    else:
        first = height(view, query.get("fromBlock") or "latest", 0)
        last = height(view, query.get("toBlock") or "latest", 0)
        if first > last:
            raise CallRefused(-32602, "invalid block range params")
        if last > view.head:
            raise CallRefused(-32602, "block range extends beyond current head block")
        if last - first >= MAX_LOG_RANGE:
            raise CallRefused(-32602, f"query exceeds max block range {MAX_LOG_RANGE}")
    heights = (n for n in range(first, last + 1) if view.chain.has_block(n))
    return [log for n in heights for log in view.logs(n) if _is_wanted(log, query)]


def trace_filter(view: SimView, params: list[Any]) -> object:
    """One trace for each transaction of the chain's own; ``after`` are left out, then ``count``
    are given, as OpenEthereum had it and reth, Erigon and Nethermind have it.
    """
    query = argument(params, 0)
    if not isinstance(query, dict):
        raise bad(0, "json: cannot unmarshal non-object into a filter")
    first = height(view, query.get("fromBlock") or "earliest", 0)
    last = min(view.head, height(view, query.get("toBlock") or "latest", 0))
    if last - first >= MAX_LOG_RANGE:
        raise CallRefused(-32602, f"query exceeds max block range {MAX_LOG_RANGE}")
    traces = [
        {
            "action": {"from": log["topics"][1], "to": TOKEN, "callType": "call"},
            "blockHash": log["blockHash"],
            "blockNumber": int(log["blockNumber"], 16),
            "transactionHash": log["transactionHash"],
            "transactionPosition": int(log["transactionIndex"], 16),
            "subtraces": 0,
            "traceAddress": [],
            "type": "call",
        }
        for n in range(first, last + 1)
        if view.chain.has_block(n)
        for log in view.logs(n)
    ]
    after = int(query.get("after") or 0)
    count = query.get("count")
    return traces[after:] if count is None else traces[after : after + int(count)]


def _is_wanted(log: Json, query: dict[str, Any]) -> bool:
    def matches(wanted: object, value: str) -> bool:
        if wanted is None or wanted == []:
            return True
        options = wanted if isinstance(wanted, list) else [wanted]
        return value in [str(option).lower() for option in options]

    topics = query.get("topics") or []
    return (
        matches(query.get("address"), log["address"])
        and len(topics) <= len(log["topics"])
        and all(matches(*pair) for pair in zip(topics, log["topics"], strict=False))
    )
