"""What a simulated provider answers under a fault: JSON-RPC inside, HTTP around.

No state and no sockets; the clock is read for a ``Retry-After`` that is a date.
"""

from __future__ import annotations

import contextlib
import gzip
import time
from email.utils import formatdate
from typing import Final

from rpcproxy.drills.evm import simrpc
from rpcproxy.drills.evm.simparams import CallRefused, unknown_method
from rpcproxy.drills.evm.simview import SimView
from rpcproxy.drills.providers.wire import After, Incoming, cut, head, in_chunks
from rpcproxy.drills.scenarios.fault import Cut, Fault
from rpcproxy.drills.scenarios.particular import Particular, particular_of
from rpcproxy.messages import Malformed, Request, decode_body, decode_request, encode_raw_error

# A body's request, or the members of its batch.
Members = Request | Malformed | list[Request | Malformed]

LOOKUPS: Final = frozenset(
    (
        "eth_getBlockByNumber",
        "eth_getBlockByHash",
        "eth_getBlockReceipts",
        "eth_getTransactionByHash",
        "eth_getTransactionReceipt",
    )
)
HEAD_QUESTIONS: Final = frozenset(("eth_blockNumber", "eth_getBlockByNumber"))
_AFTER_CUT: Final = {Cut.RESET: After.RESET, Cut.STALL: After.STALL, Cut.CLOSE: After.CLOSE}
# Answers below this size leave in one write; larger ones stay in shared pieces.
_JOIN_BYTES: Final = 65536
_NOTHING: Final = [b""]


def members_of(body: bytes) -> Members:
    """Read a body; what is malformed stands in its place."""
    try:
        decoded = decode_body(body)
    except Malformed as malformed:
        return malformed
    if isinstance(decoded, Request):
        return decoded
    members: list[Request | Malformed] = []
    for text in decoded:
        try:
            members.append(decode_request(text))
        except Malformed as malformed:
            members.append(malformed)
    return members


def compose(
    incoming: Incoming, members: Members, view: SimView, fault: Fault
) -> tuple[list[bytes], After]:
    """The bytes to send, and what becomes of the connection."""
    is_closing = incoming.is_last or fault.is_closing_after_answer
    after = After.CLOSE if is_closing else After.KEEP
    if fault.garbage:
        return [fault.garbage], after
    if incoming.verb != b"POST":
        return [head(405, "Content-Length: 0")], after
    kind = "application/json"
    if fault.page is None:
        body = _reply(members, view, fault)
    else:
        kind = "text/html" if fault.page else kind
        body = [fault.page.encode()]
    start, rest = _framed(kind, body, fault, _status(members, view, fault))
    size = sum(map(len, rest))
    if fault.cut is not None:
        after = _AFTER_CUT[fault.cut]
        if not fault.cut_at:
            return [], after
        rest = cut(rest, int(size * fault.cut_at))
    return [b"".join([start, *rest])] if size < _JOIN_BYTES else [start, *rest], after


def _reply(members: Members, view: SimView, fault: Fault) -> list[bytes]:
    """The JSON text for one body, ``_NOTHING`` for notifications alone."""
    if not isinstance(members, list):
        return _perform(members, view, fault)
    if fault.batch == "single":
        return _refusal(b"null", CallRefused(-32600, "batch requests are not supported"))
    if fault.batch == "half":
        members = members[: len(members) // 2]
    replies = [reply for m in members if (reply := _perform(m, view, fault)) != _NOTHING]
    if not replies and fault.batch == "whole":
        return _NOTHING
    separated = [piece for reply in replies for piece in (b",", *reply)]
    return [b"[", *separated[1:], b"]"]


def _perform(member: Request | Malformed, view: SimView, fault: Fault) -> list[bytes]:
    if isinstance(member, Malformed):
        return _refusal(member.id, CallRefused(member.code, member.reason))
    id = b"987654321" if fault.has_wrong_id else bytes(member.id)
    try:
        result = _result(member, view, fault)
    except CallRefused as refused:
        return _NOTHING if member.is_notification else _refusal(id, refused)
    if member.is_notification:
        return _NOTHING
    return [b'{"jsonrpc":"2.0","id":%b,"result":' % id, *result, b"}"]


def _result(request: Request, view: SimView, fault: Fault) -> list[bytes]:
    if fault.error is not None:
        raise CallRefused(fault.error.code, fault.error.message)
    if fault.missing_method == request.method:
        raise unknown_method(request.method)
    particular = particular_of(fault.particulars, request, view)
    if particular is not None and (particular.code or particular.result):
        return _particularly(particular, request, view)
    if fault.hidden_heads == "error" and request.method in HEAD_QUESTIONS:
        raise CallRefused(-32603, "Internal error")
    result = simrpc.perform(view, request)
    if fault.hidden_heads == "null" and request.method in HEAD_QUESTIONS:
        return [b"null"]
    return [b"null"] if fault.has_nulls and request.method in LOOKUPS else result


def _particularly(particular: Particular, request: Request, view: SimView) -> list[bytes]:
    if particular.is_performed:
        with contextlib.suppress(CallRefused):
            simrpc.perform(view, request)
    if particular.code:
        error = particular.error(request)
        raise CallRefused(error["code"], error["message"], error.get("data"))
    return [particular.filled_in(request, view)]


def _refusal(id: bytes, refused: CallRefused) -> list[bytes]:
    return [encode_raw_error(id, refused.encoded())]


def _status(members: Members, view: SimView, fault: Fault) -> int:
    """That of a single request which it has particular words for, else the fault's."""
    if fault.particulars and isinstance(members, Request):
        particular = particular_of(fault.particulars, members, view)
        if particular is not None:
            return particular.status
    return fault.status


def delay_seconds(members: Members, view: SimView, fault: Fault) -> float:
    """How much later than usual the answer leaves: as its slowest member does."""
    if not fault.particulars:
        return fault.delay_seconds
    found = (
        particular_of(fault.particulars, member, view)
        for member in (members if isinstance(members, list) else [members])
        if isinstance(member, Request)
    )
    return fault.delay_seconds + max((p.delay_seconds for p in found if p is not None), default=0.0)


def _framed(kind: str, body: list[bytes], fault: Fault, status: int) -> tuple[bytes, list[bytes]]:
    """The head of a reply, and what follows it."""
    lines = [f"Content-Type: {kind}"]
    if fault.keep < 1:
        body = cut(body, int(sum(map(len, body)) * fault.keep))
    if fault.is_gzipped:
        body = [gzip.compress(b"".join(body), compresslevel=1)]
        lines.append("Content-Encoding: gzip")
    if fault.retry_after_seconds is not None:
        wait = f"{fault.retry_after_seconds:g}"
        if fault.is_retry_after_a_date:
            wait = formatdate(time.time() + fault.retry_after_seconds, usegmt=True)
        lines.append(f"Retry-After: {wait}")
    if fault.is_chunked:
        body = in_chunks(body)
        lines.append("Transfer-Encoding: chunked")
    else:
        lines.append(f"Content-Length: {sum(map(len, body))}")
    return head(status, *lines), body
