"""The values that travel between floors, and the JSON-RPC codec.

Glossary: a *request* is the client's; an *attempt* is one send of it to one upstream; what comes
back from the wire is an *outcome* (``Reply | Failure``); a *verdict* says what it means: where to
retry and who is to blame; an *answer* leaves the proxy. What is learned: ``words``.

Pure: no clock, no randomness, no IO, no state.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final, Protocol

import msgspec

from rpcproxy import arrays
from rpcproxy.reasons import veiled_reason

# --------------------------------------------------------------------------
# Requests


class MethodClass(enum.IntEnum):
    """What a method costs an upstream; latencies and breakers are kept apart by it."""

    LIGHT = 0
    HEAVY = 1
    SEND = 2


METHOD_CLASSES: Final = (MethodClass.LIGHT, MethodClass.HEAVY, MethodClass.SEND)
CLASS_NAMES: Final = ("light", "heavy", "send")


class Request(msgspec.Struct, gc=False):
    """One JSON-RPC request as the client wrote it.

    ``id`` and ``params`` hold the exact JSON text, so that an id of any size or notation goes back
    as it came. ``id`` is empty for a notification, ``params`` where the client left it out.
    """

    method: str
    id: bytes = b""
    params: bytes = b""

    @property
    def is_notification(self) -> bool:
        return not self.id


class Caller(msgspec.Struct, gc=False, frozen=True):
    """Who asks, and how: what goes along with each of a body's requests. ``trace_id`` is told to
    the client and in the log; ``is_fresh``: it wants no answer that was kept, or is another's.
    """

    trace_id: str
    is_fresh: bool = False


class Malformed(Exception):
    """A client's body is not JSON-RPC. Carries the error code to answer with."""

    def __init__(self, code: int, reason: str, id: bytes = b"null") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.id = id


class TooLarge(Malformed):
    """A client's body has more in it than is taken, whatever it says."""


# --------------------------------------------------------------------------
# Outcomes of one attempt


class FailureKind(enum.Enum):
    """Why an attempt brought no HTTP reply."""

    RESOLVE = "resolve"  # the host name has no address
    CONNECT = "connect"  # refused, unreachable
    TLS = "tls"  # handshake failed, certificate or host name not verified
    RESET = "reset"  # the connection broke before a whole reply
    TRUNCATED = "truncated"  # the peer closed in the middle of a body
    PROTOCOL = "protocol"  # what came is not HTTP/1.1, or is not safe to read
    TOO_LARGE = "too_large"  # decompressed past the limit
    TIMEOUT = "timeout"  # no whole reply in time
    OVERTAKEN = "overtaken"  # a later attempt answered first, and this one never did
    CANCELLED = "cancelled"  # we gave it up; says nothing about the upstream
    OWN = "own"  # this machine could not: no files, no memory, no ports left


class BodyStream(Protocol):
    """The rest of a body too large to hold; reading it lets the upstream go on."""

    async def read(self) -> bytes:
        """The next piece, ``b""`` at the end. Raises ``StreamBroken``."""

    def close(self) -> None:
        """Give up the rest; idempotent."""


class StreamBroken(Exception):
    """An upstream's body ended before its end, after part of it was passed on."""


class Reply(msgspec.Struct, gc=False):
    """A whole HTTP reply, decompressed; ``rest`` is set when it goes on past ``body``."""

    status: int
    body: bytes
    retry_after: str = ""  # the header as sent: seconds or a date
    content_type: str = ""
    rest: BodyStream | None = None


class Failure(msgspec.Struct, gc=False, frozen=True):
    """No HTTP reply. ``detail`` is for people and carries no secrets."""

    kind: FailureKind
    detail: str = ""


Outcome = Reply | Failure


# --------------------------------------------------------------------------
# Verdicts


class Retry(enum.Enum):
    """The first axis of a verdict: who else is worth asking."""

    NO = "no"  # this is the answer
    ELSEWHERE = "elsewhere"  # another upstream may serve it
    HIGHER = "higher"  # another one, with a higher head or an archive
    CONFIRM = "confirm"  # one more is asked before this is given


class Blame(enum.Enum):
    """The second axis of a verdict: whose fault it was."""

    NOBODY = "nobody"
    CLIENT = "client"
    UPSTREAM = "upstream"  # counts against its health
    LIMIT = "limit"  # it refused within its rights: cooldown, no health penalty
    ACCESS = "access"  # key refused, wrong chain: quarantine until proven otherwise


class Verdict(enum.Enum):
    """What an outcome means: ``(name, retry, blame)``. Tables in ``chains`` name these."""

    UNKNOWN = ("unknown", Retry.ELSEWHERE, Blame.UPSTREAM)
    OK = ("ok", Retry.NO, Blame.NOBODY)
    NULL = ("null", Retry.CONFIRM, Blame.NOBODY)
    RANGE_TOO_LARGE = ("range_too_large", Retry.ELSEWHERE, Blame.NOBODY)
    SIZE_REFUSED = ("size_refused", Retry.ELSEWHERE, Blame.NOBODY)
    SENDER_LIMITED = ("sender_limited", Retry.NO, Blame.CLIENT)
    QUOTA = ("quota", Retry.ELSEWHERE, Blame.LIMIT)
    RATE_LIMITED = ("rate_limited", Retry.ELSEWHERE, Blame.LIMIT)
    MISSING_DATA = ("missing_data", Retry.HIGHER, Blame.NOBODY)
    REVERTED = ("reverted", Retry.NO, Blame.CLIENT)
    ALREADY_KNOWN = ("already_known", Retry.NO, Blame.NOBODY)
    NONCE_TOO_LOW = ("nonce_too_low", Retry.CONFIRM, Blame.CLIENT)
    SEND_POLICY = ("send_policy", Retry.ELSEWHERE, Blame.NOBODY)
    SEND_REFUSED = ("send_refused", Retry.NO, Blame.CLIENT)
    INSUFFICIENT_FUNDS = ("insufficient_funds", Retry.CONFIRM, Blame.CLIENT)
    UNSUPPORTED = ("unsupported", Retry.ELSEWHERE, Blame.NOBODY)
    BATCH_REFUSED = ("batch_refused", Retry.ELSEWHERE, Blame.NOBODY)
    INVALID_PARAMS = ("invalid_params", Retry.NO, Blame.CLIENT)
    KEY_REFUSED = ("key_refused", Retry.ELSEWHERE, Blame.ACCESS)
    WRONG_CHAIN = ("wrong_chain", Retry.ELSEWHERE, Blame.ACCESS)
    SERVER_ERROR = ("server_error", Retry.ELSEWHERE, Blame.UPSTREAM)
    NOT_JSON = ("not_json", Retry.ELSEWHERE, Blame.UPSTREAM)
    EMPTY = ("empty", Retry.ELSEWHERE, Blame.UPSTREAM)
    WRONG_ID = ("wrong_id", Retry.ELSEWHERE, Blame.UPSTREAM)
    BAD_RESULT = ("bad_result", Retry.ELSEWHERE, Blame.UPSTREAM)
    UNREACHABLE = ("unreachable", Retry.ELSEWHERE, Blame.UPSTREAM)
    BROKEN = ("broken", Retry.ELSEWHERE, Blame.UPSTREAM)
    TIMEOUT = ("timeout", Retry.ELSEWHERE, Blame.UPSTREAM)
    OVERTAKEN = ("overtaken", Retry.ELSEWHERE, Blame.UPSTREAM)
    CANCELLED = ("cancelled", Retry.NO, Blame.NOBODY)
    OWN_FAULT = ("own_fault", Retry.ELSEWHERE, Blame.NOBODY)  # this machine's: asked again soon
    # Given by no upstream: what an answer is held against our chain and earlier ones for.
    OFF_CHAIN = ("off_chain", Retry.ELSEWHERE, Blame.NOBODY)  # in a block that is not ours
    FORGOTTEN = ("forgotten", Retry.ELSEWHERE, Blame.NOBODY)  # null for what was seen before
    DROPPED = ("dropped", Retry.ELSEWHERE, Blame.NOBODY)  # null for what was seen as pending
    # It may not have understood how it was asked (by a block's hash)
    MISREAD = ("misread", Retry.ELSEWHERE, Blame.NOBODY)
    STALE = ("stale", Retry.ELSEWHERE, Blame.UPSTREAM)  # older than what was told before
    DISPROVED = ("disproved", Retry.ELSEWHERE, Blame.NOBODY)  # less than its block holds
    DOUBTED = ("doubted", Retry.CONFIRM, Blame.NOBODY)  # it may be so: two that say it are right

    # Plain attributes set once, and a hash in C: an enum's own cost a call on the hot path.
    retry: Retry
    blame: Blame
    label: str
    __hash__ = object.__hash__

    def __init__(self, label: str, retry: Retry, blame: Blame) -> None:
        self.label = label
        self.retry = retry
        self.blame = blame


class Judgement(msgspec.Struct, gc=False):
    """A verdict with what the outcome held.

    ``result`` and ``error`` are exact JSON texts, at most one of them set.
    ``cooldown_seconds`` is how long the upstream asked to be left alone (Retry-After or a hint in
    the body), if it said so. ``detail`` is a short text for people, free of secrets.
    ``by_code``: a number alone speaks of a limit (−32005, 15, HTTP 402); no word does.
    """

    verdict: Verdict
    result: msgspec.Raw | None = None
    error: msgspec.Raw | None = None
    cooldown_seconds: float | None = None
    detail: str = ""
    by_code: bool = False


class Head(msgspec.Struct, gc=False, frozen=True):
    """A block as an upstream told it. Hashes are texts in the chain's spelling, empty where not
    told; ``timestamp`` is the chain's, in Unix seconds, 0 where not told. ``parent_number`` is told
    on chains whose numbers skip, −1 elsewhere.
    """

    number: int
    hash: str = ""
    parent_hash: str = ""
    timestamp: int = 0
    parent_number: int = -1


# --------------------------------------------------------------------------
# Answers


class AnswerStream(Protocol):
    """The rest of an answer that leaves in pieces."""

    async def read(self) -> bytes:
        """The next piece, ``b""`` at the end. Raises ``StreamBroken``."""

    def close(self) -> None:
        """Give up the rest; idempotent."""


class Answer(msgspec.Struct, gc=False):
    """What leaves the proxy for one HTTP body.

    ``body`` is empty for a body of notifications alone. ``rest`` is set when the
    answer goes on past ``body``. ``retry_after_seconds`` becomes a header when > 0.
    """

    body: bytes
    status: int = 200
    rest: AnswerStream | None = None
    retry_after_seconds: int = 0


class Pending:
    """An answer on its way, for the hot path: told by one call in place of a task's wake-up.

    Whoever gets one sets ``deliver`` at once; it is called exactly once with the answer, never
    before the call that gave the ``Pending`` returned, and never after ``cancel``.
    """

    __slots__ = ("deliver",)

    deliver: Callable[[Answer], None]

    def cancel(self) -> None:
        """The client hung up."""
        raise NotImplementedError


# The answer to one HTTP body: there already, on its way without a task, or to be run as one.
Handled = Answer | Pending | Coroutine[Any, Any, Answer]


# --------------------------------------------------------------------------
# Codec

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_REFUSED: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
LIMIT_EXCEEDED: Final = -32005
SERVER_REFUSED: Final = -32000  # what geth's pool refuses a transaction under


class _Spelled(msgspec.Struct, gc=False):
    """A request as it is read. Its parts are copied at once: that costs less than one use of a
    part that is held within the body.
    """

    method: str
    id: msgspec.Raw = msgspec.Raw()
    params: msgspec.Raw = msgspec.Raw()


_decode_spelled = msgspec.json.Decoder(_Spelled).decode
_encoder = msgspec.json.Encoder()

_BEFORE_ID: Final = b'{"jsonrpc":"2.0","id":'
_BEFORE_RESULT: Final = b',"result":'
_WHITESPACE: Final = b" \t\r\n"
# What a body may be made of: the largest list of addresses or of members that fits the bytes taken
# has half as many. More than that is work for everybody, and a request of nobody.
MOST_PARTS: Final = 250_000
# Of a batch, where nothing else is said.
MOST_MEMBERS: Final = 1000
_FEW_PARTS_BYTES: Final = 64 * 1024
# First bytes of an id that JSON-RPC allows: string, number, null.
_ID_STARTS: Final = frozenset(b'"-0123456789n')
# First bytes of params that JSON-RPC allows: array, object; null is taken as left out.
_PARAMS_STARTS: Final = frozenset(b"[{n")
_NULL_START: Final = ord("n")


def decode_request(text: bytes | msgspec.Raw) -> Request:
    """Read one request object. Raises ``Malformed`` (−32700 or −32600)."""
    try:
        spelled = _decode_spelled(text)
    except msgspec.ValidationError as error:
        raise _invalid(text, error) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(PARSE_ERROR, f"parse error: {error}") from None
    except RecursionError:
        raise Malformed(PARSE_ERROR, "parse error: nested too deeply") from None
    id, params = bytes(spelled.id), bytes(spelled.params)
    if id and id[0] not in _ID_STARTS:
        raise Malformed(INVALID_REQUEST, "invalid request: id must be a string, a number or null")
    if params:
        start = params[0]
        if start not in _PARAMS_STARTS:
            raise Malformed(
                INVALID_REQUEST,
                "invalid request: params must be an array or an object",
                id or b"null",
            )
        if start == _NULL_START:
            params = b""
    return Request(spelled.method, id, params)


def decode_body(body: bytes, most_members: int = MOST_MEMBERS) -> Request | list[msgspec.Raw]:
    """Read one HTTP body: a request, or the members of a batch, not yet decoded.

    Raises ``Malformed``: −32700 for what is not JSON, −32600 for an empty batch and
    for JSON that is neither an object nor an array. ``TooLarge`` (−32600) where it is a batch of
    more than ``most_members``, or is made of more parts than any request is.
    """
    if len(body) > _FEW_PARTS_BYTES:
        _check_parts(body)
    if not body.isascii():
        _check_utf8(body)
    if body[:1] != b"{" and body.lstrip(_WHITESPACE)[:1] == b"[":
        try:
            members = arrays.read(body, msgspec.Raw, most_members)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Malformed(PARSE_ERROR, f"parse error: {error}") from None
        except RecursionError:
            raise Malformed(PARSE_ERROR, "parse error: nested too deeply") from None
        if not members:
            raise Malformed(INVALID_REQUEST, "invalid request: empty batch")
        if len(members) > most_members:
            raise TooLarge(INVALID_REQUEST, f"batch too large: more than {most_members} requests")
        return members
    return decode_request(body)


def encode_call(id: int, method: str, params: bytes | msgspec.Raw) -> bytes:
    """One request for an upstream, under an id of our own. ``method`` is encoded as JSON."""
    return b'{"jsonrpc":"2.0","id":%d,"method":%b,"params":%b}' % (
        id,
        _encoder.encode(method),
        params or b"[]",
    )


def encode_result(id: bytes | msgspec.Raw, result: bytes | msgspec.Raw) -> bytes:
    """A reply for a client; both arguments are JSON texts, passed on as they are."""
    return b"".join((_BEFORE_ID, id, _BEFORE_RESULT, result, b"}"))


def encode_raw_error(id: bytes | msgspec.Raw, error: bytes | msgspec.Raw) -> bytes:
    """An error reply for a client; ``error`` is the JSON text of the error object."""
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (id or b"null", error)


def encode_error(id: bytes | msgspec.Raw, code: int, reason: str, **data: object) -> bytes:
    """An error of the proxy's own; ``reason``, veiled, goes into message and ``data.reason``."""
    told = veiled_reason(reason)
    error = {"code": code, "message": told, "data": {"reason": told, **data}}
    return encode_raw_error(id, _encoder.encode(error))


def encode_batch(replies: Iterable[bytes]) -> bytes:
    """Join encoded replies into one array."""
    return b"[" + b",".join(replies) + b"]"


class Envelope(msgspec.Struct, gc=False):
    """An upstream's reply object; absent members are empty ``Raw``."""

    id: msgspec.Raw = msgspec.Raw()
    result: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


_envelope_decoder = msgspec.json.Decoder(Envelope)


def decode_envelope(body: bytes) -> Envelope | None:
    """An upstream's single reply, ``None`` where the body is not one JSON object."""
    try:
        return _envelope_decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _check_parts(body: bytes) -> None:
    """Values are parted by commas, and an escape costs as much as a value."""
    escapes = body.count(b"\\") if b"\\" in body else 0
    if body.count(b",") + escapes > MOST_PARTS:
        reason = f"the request is made of more than {MOST_PARTS} parts"
        raise TooLarge(INVALID_REQUEST, reason)


def _check_utf8(body: bytes) -> None:
    """The decoders skip over raw parts without this check, and an upstream that were sent such
    parameters would fail at them, by no fault of its own.
    """
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise Malformed(PARSE_ERROR, f"parse error: not UTF-8 (byte {error.start})") from None


def _invalid(text: bytes | msgspec.Raw, error: msgspec.ValidationError) -> Malformed:
    """Why an object of the wrong form is refused: the decoder stops at the first wrong member,
    and what follows may not even be JSON. The id is told where there is one.
    """
    try:
        _raw_decoder.decode(text)
        id = _id_decoder.decode(text).id
    except msgspec.ValidationError:
        id = msgspec.Raw()
    except msgspec.DecodeError as worse:
        return Malformed(PARSE_ERROR, f"parse error: {worse}")
    except RecursionError:
        return Malformed(PARSE_ERROR, "parse error: nested too deeply")
    is_id = bool(id) and memoryview(id)[0] in _ID_STARTS
    return Malformed(INVALID_REQUEST, f"invalid request: {error}", bytes(id) if is_id else b"null")


class _OnlyId(msgspec.Struct, gc=False):
    id: msgspec.Raw = msgspec.Raw()


_raw_decoder = msgspec.json.Decoder(msgspec.Raw)
_id_decoder = msgspec.json.Decoder(_OnlyId)
