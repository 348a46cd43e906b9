"""The ways to fail that are known, by name.

``CATALOGUE`` holds one of each for the tests and the demo; ``lies`` has more. Plain data.
"""

from __future__ import annotations

from typing import Final

from rpcproxy.drills.scenarios.fault import Cut, Fault, RpcError, Sometimes

WELL: Final = Fault(name="well", description="serves", cost="nothing")

# --- Connections

REFUSE: Final = Fault(
    name="refuse",
    description="is down: connections are refused, open ones were closed",
    cost="every request failed at once; after 12 of them MetaMask sends nothing for 30 s",
    is_listening=False,
)
FREEZE: Final = Fault(
    name="freeze",
    description="is frozen: accepts connections, reads nothing, answers nothing",
    cost="every request hung until the wallet's own time limit, if it has one",
    is_frozen=True,
)
BLACKHOLE: Final = Fault(
    name="blackhole",
    description="takes requests and never answers",
    cost="balances and prices stood still for a minute: MetaMask has no time limit",
    is_silent=True,
)
RESET: Final = Fault(
    name="reset",
    description="resets the connection after each request",
    cost="every request failed; a transaction could be out though its sending failed",
    cut=Cut.RESET,
)
RESET_MID_BODY: Final = Fault(
    name="reset_mid_body",
    description="resets the connection in the middle of each answer",
    cost="every request failed halfway",
    cut=Cut.RESET,
    cut_at=0.5,
)
STALL_MID_BODY: Final = Fault(
    name="stall_mid_body",
    description="sends half of each answer and then nothing",
    cost="every request hung halfway, past most health checks",
    cut=Cut.STALL,
    cut_at=0.5,
)
CLOSE_AFTER_ANSWER: Final = Fault(
    name="close_after_answer",
    description="closes the connection after every answer, unannounced",
    cost="failed sends: a wallet that reuses the connection finds it gone",
    is_closing_after_answer=True,
)


def close_idle(idle_seconds: float) -> Fault:
    """Idle connections are closed unannounced after ``idle_seconds``."""
    return Fault(
        name="close_idle",
        description=f"closes connections idle for {idle_seconds:g} s, unannounced",
        cost="now and then a request on a connection that was just closed",
        idle_seconds=idle_seconds,
    )


# --- Refusals and failures over HTTP

_HTML = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center></body></html>"
_LIMIT = RpcError(-32005, "project ID request rate exceeded")


def http_429(
    retry_after_seconds: float | None = None, *, is_date: bool = False, is_html: bool = False
) -> Fault:
    """HTTP 429, ``Retry-After`` in seconds or as a date or not at all."""
    form = "" if retry_after_seconds is None else "_date" if is_date else "_seconds"
    return Fault(
        name="http_429" + form + ("_html" if is_html else ""),
        description="refuses everything: 429, rate limit exceeded",
        cost="every request refused; MetaMask does not retry a 429",
        status=429,
        retry_after_seconds=retry_after_seconds,
        is_retry_after_a_date=is_date,
        page=_HTML.format("429 Too Many Requests") if is_html else None,
        error=_LIMIT,
    )


RATE_LIMITED_200: Final = Fault(
    name="rate_limited_200",
    description="refuses everything: rate limit exceeded, inside an HTTP 200",
    cost="every request failed with an error that reads like an answer",
    error=RpcError(-32005, "rate limit exceeded"),
)
ERROR_500_RPC: Final = Fault(
    name="error_500_rpc",
    description="fails: HTTP 500 with a JSON-RPC internal error inside",
    cost="every request failed; MetaMask goes dark after 3 s of this",
    status=500,
    error=RpcError(-32603, "Internal error"),
)
HTTP_503: Final = Fault(
    name="http_503",
    description="is overloaded: HTTP 503",
    cost="every request failed; under load MetaMask goes dark within a second",
    status=503,
    page=_HTML.format("503 Service Temporarily Unavailable"),
)
HTML_200: Final = Fault(
    name="html_200",
    description="answers a web page under HTTP 200 (a captive portal, a challenge)",
    cost="every request failed to parse",
    page=_HTML.format("Just a moment..."),
)
HTML_502: Final = Fault(
    name="html_502",
    description="is behind a gateway that has lost it: HTTP 502 with a web page",
    cost="every request failed; MetaMask shows its outage banner",
    status=502,
    page=_HTML.format("502 Bad Gateway"),
)
KEY_REFUSED: Final = Fault(
    name="key_refused",
    description="refuses the key: HTTP 401",
    cost="every request failed until somebody changed the key",
    status=401,
    error=RpcError(-32600, "Must be authenticated!"),
)

# --- Broken answers

TRUNCATED: Final = Fault(
    name="truncated",
    description="answers half a JSON text, with a Content-Length that agrees",
    cost="every request failed to parse",
    keep=0.5,
)
TRUNCATED_CLOSE: Final = Fault(
    name="truncated_close",
    description="closes the connection in the middle of each answer",
    cost="every request failed halfway",
    cut=Cut.CLOSE,
    cut_at=0.5,
)
HANG_UP: Final = Fault(
    name="hang_up",
    description="closes the connection in place of an answer",
    cost="every request failed",
    cut=Cut.CLOSE,
)
EMPTY: Final = Fault(
    name="empty",
    description="answers nothing under HTTP 200",
    cost="every request failed to parse",
    page="",
)
GARBAGE: Final = Fault(
    name="garbage",
    description="answers bytes that are not HTTP",
    cost="every request failed",
    garbage=bytes(range(128, 192)) + b"\r\n\r\n",
)
WRONG_ID: Final = Fault(
    name="wrong_id",
    description="answers under another id",
    cost="answers thrown away, or given to the wrong question",
    has_wrong_id=True,
)
SINGLE_FOR_BATCH: Final = Fault(
    name="single_for_batch",
    description="answers a batch with one error",
    cost="every call of each batch failed",
    batch="single",
)
HALF_BATCH: Final = Fault(
    name="half_batch",
    description="answers only half of each batch",
    cost="values given to the wrong caller: viem pairs replies by position",
    batch="half",
)

# --- Wrong or old knowledge

WRONG_CHAIN: Final = Fault(
    name="wrong_chain",
    description="follows another chain",
    cost="balances of another chain, transactions refused",
    is_on_wrong_chain=True,
)
FROZEN_HEAD: Final = Fault(
    name="frozen_head",
    description="answers, but its head stands still",
    cost="transactions that stay pending though they were mined",
    is_head_frozen=True,
)
NULL_RESULTS: Final = Fault(
    name="null_results",
    description="answers null for blocks, transactions and receipts that exist",
    cost="mined transactions shown as dropped or failed",
    has_nulls=True,
)


def lagging(blocks: int) -> Fault:
    """``blocks`` behind the chain."""
    return Fault(
        name="lagging",
        description=f"is {blocks} blocks behind",
        cost="old balances, and errors for blocks the wallet has already seen",
        lag_blocks=blocks,
    )


def forked(depth: int) -> Fault:
    """On a fork that left the chain ``depth`` blocks below the head of the moment."""
    return Fault(
        name="forked",
        description=f"follows a fork, {depth} blocks deep",
        cost="balances and receipts of a history that nobody else has",
        fork_depth=depth,
    )


def method_missing(method: str) -> Fault:
    """``method`` is answered with −32601."""
    return Fault(
        name="method_missing",
        description=f"does not offer {method}",
        cost="whatever needs this method failed",
        missing_method=method,
    )


# --- Slowness, and ways of answering that are allowed
def slow(seconds: float) -> Fault:
    """Every answer comes ``seconds`` later."""
    return Fault(
        name="slow",
        description=f"answers {seconds:g} s late",
        cost=f"every click waited {seconds:g} s",
        delay_seconds=seconds,
    )


def byte_by_byte(seconds_per_byte: float) -> Fault:
    """Answers come one byte at a time, head included."""
    return Fault(
        name="byte_by_byte",
        description=f"answers one byte every {seconds_per_byte * 1000:g} ms",
        cost="every request took many seconds, though bytes kept coming",
        seconds_per_byte=seconds_per_byte,
    )


CHUNKED: Final = Fault(
    name="chunked", description="answers in chunks", cost="nothing", is_chunked=True
)
GZIPPED: Final = Fault(
    name="gzipped", description="compresses each answer", cost="nothing", is_gzipped=True
)

# --- Some of the time


def reset_share(share: float) -> Fault:
    """A ``share`` of the connections is reset after a request."""
    return Fault(
        name="reset_share",
        description=f"resets {share:.0%} of its connections",
        cost=f"{share:.0%} of the requests failed",
        sometimes=Sometimes(faults=(RESET,), share=share, share_of="connections"),
    )


def brownout(share: float) -> Fault:
    """A ``share`` of the requests hangs or gets a 503, in turns."""
    return Fault(
        name="brownout",
        description=f"browns out: {share:.0%} of the requests hang or get 503",
        cost=f"{share:.0%} of the requests failed or hung, at random",
        sometimes=Sometimes(faults=(BLACKHOLE, HTTP_503), share=share),
    )


def capacity(per_second: float) -> Fault:
    """More than ``per_second`` requests get a 429."""
    return Fault(
        name="capacity",
        description=f"takes {per_second:g} requests/s and refuses the rest: 429",
        cost="under load, requests refused",
        sometimes=Sometimes(faults=(http_429(),), above_per_second=per_second),
    )


def flapping(period_seconds: float, fault: Fault = REFUSE) -> Fault:
    """``fault`` for a period, well for a period, and so on."""
    return Fault(
        name="flapping",
        description=f"goes down and comes back every {period_seconds:g} s",
        cost="every other moment without an answer",
        sometimes=Sometimes(faults=(fault,), period_seconds=period_seconds),
    )


# fmt: off
CATALOGUE: Final[dict[str, Fault]] = {
    fault.name: fault
    for fault in (
        REFUSE, FREEZE, BLACKHOLE, RESET, RESET_MID_BODY, STALL_MID_BODY, CLOSE_AFTER_ANSWER,
        close_idle(0.05), http_429(), http_429(2), http_429(2, is_date=True),
        http_429(is_html=True), RATE_LIMITED_200, ERROR_500_RPC, HTTP_503, HTML_200, HTML_502,
        KEY_REFUSED, TRUNCATED, TRUNCATED_CLOSE, HANG_UP, EMPTY, GARBAGE, WRONG_ID,
        SINGLE_FOR_BATCH, HALF_BATCH, WRONG_CHAIN, FROZEN_HEAD, NULL_RESULTS, lagging(20),
        forked(3), method_missing("eth_getBalance"), slow(3), byte_by_byte(0.02), CHUNKED,
        GZIPPED, reset_share(0.5), brownout(0.5), capacity(20), flapping(1.5),
    )
}
# fmt: on
