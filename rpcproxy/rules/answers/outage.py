"""Why a request could not be served, in words for a person behind a wallet.

No words that a client's library looks for in a node's message: a wallet must not take what one
upstream said for what is so ("nonce too low" is a transaction that was replaced, for ethers).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from rpcproxy.messages import Blame, Judgement, Verdict
from rpcproxy.reasons import Reason, veiled_json

_WORDS = {
    Verdict.UNREACHABLE: "not reachable",
    Verdict.OWN_FAULT: "not asked: this machine has no files, ports or memory left",
    Verdict.BROKEN: "connection broke",
    Verdict.TIMEOUT: "no answer in time",
    Verdict.OVERTAKEN: "no answer in time",
    Verdict.RATE_LIMITED: "rate limit reached",
    Verdict.QUOTA: "quota used up",
    Verdict.KEY_REFUSED: "key refused",
    Verdict.WRONG_CHAIN: "wrong chain",
    Verdict.NOT_JSON: "answered something that is not JSON",
    Verdict.EMPTY: "answered nothing",
    Verdict.WRONG_ID: "answered another request",
    Verdict.SERVER_ERROR: "error of its own",
    Verdict.UNKNOWN: "error of its own",
    Verdict.MISSING_DATA: "does not have the block",
    Verdict.UNSUPPORTED: "does not offer the method",
    Verdict.INVALID_PARAMS: "refused the parameters",
    Verdict.RANGE_TOO_LARGE: "range or size too large",
    Verdict.SIZE_REFUSED: "request too large",
    Verdict.BATCH_REFUSED: "does not take batches",
    Verdict.BAD_RESULT: "answered something that cannot be right",
    Verdict.NULL: "does not know it",
    Verdict.NONCE_TOO_LOW: "says that the nonce was used",
    Verdict.SEND_POLICY: "refused the transaction by its own policy",
    Verdict.INSUFFICIENT_FUNDS: "sees too small a balance, and is behind the others",
    Verdict.OFF_CHAIN: "answered from another chain of blocks",
    Verdict.FORGOTTEN: "no longer knows it",
    Verdict.DROPPED: "no longer knows it",
    Verdict.STALE: "answered older than was told",
    Verdict.MISREAD: "may not take a block's hash",
    Verdict.DISPROVED: "answered less than the block holds",
    Verdict.DOUBTED: "answered what nobody confirmed",
    Verdict.CANCELLED: "not waited for",
}


def in_words(judgement: Judgement) -> str:
    """What an upstream did, with the details that it gave."""
    words = _WORDS.get(judgement.verdict, judgement.verdict.label)
    detail = judgement.detail
    if judgement.verdict in (Verdict.TIMEOUT, Verdict.UNREACHABLE) and detail:
        return detail
    return f"{words} ({detail})" if detail else words


def outage_reason(
    chain: str,
    failures: Sequence[tuple[str, Judgement]],
    outage_seconds: float | None,
    upstreams: int,
    drained: Sequence[str],
    public_names: Mapping[str, str],
) -> Reason:
    """``explain``, for wallets by the ``public_names`` of upstreams, for operators by their own."""

    def told(names: Mapping[str, str]) -> str:
        named = [(names.get(name, name), judgement) for name, judgement in failures]
        out = [names.get(name, name) for name in drained]
        return explain(chain, named, outage_seconds, upstreams, out)

    return Reason(told(public_names), told({}))


def shown_error(judgement: Judgement) -> msgspec.Raw | None:
    """The JSON text of an upstream's error as a wallet gets it. What is said of a request is passed
    on as it is: libraries read it. What an upstream says of its own trouble may name its machines.
    """
    error = judgement.error
    if error is None or judgement.verdict.blame is not Blame.UPSTREAM:
        return error
    return msgspec.Raw(veiled_json(error))


def explain(
    chain: str,
    failures: Sequence[tuple[str, Judgement]],
    outage_seconds: float | None,
    upstreams: int,
    drained: Sequence[str] = (),
) -> str:
    """What failed where, since when, and what is being done. Upstreams are named, never by URL.
    ``drained``: those that an operator took out, who are asked by nobody, whatever they answer.
    """
    since = "" if outage_seconds is None else f" for {outage_seconds:.0f} s"
    if drained and len(drained) >= upstreams:
        every = "the only upstream" if upstreams == 1 else f"all {upstreams} upstreams"
        return (
            f"no upstream of {chain} could answer{since}: an operator has drained {every}; "
            "each is used again once it is put back"
        )
    latest = {name: judgement.verdict for name, judgement in failures if name not in drained}
    if latest:
        counted = Counter(_WORDS.get(verdict, verdict.label) for verdict in latest.values())
        where = {
            words: ", ".join(n for n, v in latest.items() if _WORDS.get(v, v.label) == words)
            for words in counted
        }
        what = "; ".join(f"{where[words]}: {words}" for words in counted)
    else:
        count = "the only upstream cannot" if upstreams == 1 else f"none of {upstreams} can"
        what = f"{count} be asked now"
    hope = "all are checked continuously and used again as soon as one answers"
    if drained:
        what = f"{what}; {', '.join(drained)}: drained by an operator"
        hope = (
            "the others are checked continuously and used again as soon as one answers, "
            "the drained once they are put back"
        )
    return f"no upstream of {chain} could answer{since} ({what}); {hope}"
