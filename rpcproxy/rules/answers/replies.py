"""Reading what an upstream wrote: reply objects, their ids, their errors, and pages that are none.

Nothing here judges, and nothing here raises, whatever the bytes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from rpcproxy import arrays
from rpcproxy.chains.parts.errors import ANY_DIGITS, Encoded
from rpcproxy.messages import INTERNAL_ERROR, Verdict, decode_envelope
from rpcproxy.rules.answers import hints

NULL: Final = msgspec.Raw(b"null")
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

# The beginning of a success: members before `result`, none of them an error. The id is told
# where it comes before the result.
_SUCCESS_START: Final = re.compile(
    rb'\s*\{\s*(?:"(?:jsonrpc"\s*:\s*"[^"\\]{0,16}"|error"\s*:\s*null'
    rb'|id"\s*:\s*(?P<id>"[^"\\]{0,64}"|[0-9.]{1,64}))\s*,\s*)*"result"\s*:\s*(?=[^\sn])'
)
_START_BYTES: Final = 4096
_PAGE_BYTES: Final = 4096
_TEXT_CHARACTERS: Final = 1000
_READ_CHARACTERS: Final = 16_000
_DATA_STRINGS: Final = ("message", "reason", "details", "detail", "error")
_LONGEST_ID: Final = 20
_LARGEST_CODE: Final = 2**53  # what every client can read
_CODE: Final = re.compile(r"-?\d{1,9}", re.ASCII)
# Of a batch we ask a hundred at once; an upstream that gives more replies gives them to nobody.
_MOST_REPLIES: Final = 256
# Of an error longer than this the code and the beginning of the message are kept, and the data
# where they are bytes: it is words for nobody, and work for us.
_LONG_ERROR_BYTES: Final = 64 * 1024
Redact = Callable[[str], str]


class Read(msgspec.Struct, gc=False):
    """An upstream's reply with its id decoded; absent members are empty. An id that is no
    number, string or null is NaN, which equals none of ours.
    """

    id: int | str | float | None = None
    result: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()

    @property
    def is_error(self) -> bool:
        return bool(self.error) and self.error != NULL

    @property
    def is_rpc(self) -> bool:
        return bool(self.result) or self.is_error


class _LongError(msgspec.Struct, gc=False):
    """The parts of an error that are worth keeping however long it is."""

    code: msgspec.Raw = msgspec.Raw()
    message: msgspec.Raw = msgspec.Raw()
    data: msgspec.Raw = msgspec.Raw()


class ErrorText(msgspec.Struct, gc=False):
    """An error member, read. ``text`` is lower case and holds the message and the strings of
    ``data``, as they came; ``message`` and ``json`` are without secrets, ``json`` is fit to be
    given to a client.
    """

    code: int | None
    message: str
    text: str
    data: object
    json: msgspec.Raw

    @property
    def detail(self) -> str:
        said = hints.tell(self.message)
        told = said if self.code is None else f"{self.code}: {said}"
        return told[: hints.DETAIL_CHARACTERS]


decode_read = msgspec.json.Decoder(Read).decode
_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode
_decode_long = msgspec.json.Decoder(_LongError).decode
_decode_any = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def read_reply(body: bytes | msgspec.Raw) -> Read | None:
    """A single reply, ``None`` where the body is not one JSON object."""
    try:
        return decode_read(body)
    except UNREADABLE:
        pass
    envelope = decode_envelope(bytes(body))  # an id of any type, in any bytes
    if envelope is None:
        return None
    return Read(math.nan, envelope.result, envelope.error)


def read_members(body: bytes) -> Sequence[Read] | None:
    """The reply to a batch, ``None`` where the body is not an array. Members that are not
    objects come as replies without anything in them.
    """
    if body[:1] != b"[" and body[:64].lstrip()[:1] != b"[":
        return None
    try:
        return arrays.read(body, Read, _MOST_REPLIES)
    except UNREADABLE:
        pass
    try:
        members = arrays.read(body, msgspec.Raw, _MOST_REPLIES)
        return [read_reply(member) or Read(math.nan) for member in members]
    except UNREADABLE:
        return None


def is_text(raw: msgspec.Raw) -> bool:
    """Whether it is UTF-8, as JSON must be: the decoders skip over raw parts without a look."""
    try:
        str(memoryview(raw), "utf-8")
    except UnicodeDecodeError:
        return False
    return True


def own_id(id: float | str | None) -> int | None:
    """The number that an id stands for: some upstreams (Tenderly) reply with strings."""
    if isinstance(id, int):
        return id
    if isinstance(id, str):
        is_number = len(id) <= _LONGEST_ID and id.isascii() and id.isdigit()
        return int(id) if is_number else None
    if isinstance(id, float) and id.is_integer():
        return int(id)
    return None


def read_error(raw: msgspec.Raw, redact: Redact = str, encoded: Encoded = ANY_DIGITS) -> ErrorText:
    """An error member, whatever its form: gateways send strings, or objects without a code.
    ``redact`` goes over what is shown: upstreams repeat what they were sent, their key included.
    ``encoded``: how bytes are written where this comes from.
    """
    try:
        if len(raw) > _LONG_ERROR_BYTES:
            raw = _shortened(raw, encoded)
        error = _decode_any(raw)
    except UNREADABLE:  # bytes that are no text, nested too deeply
        page = page_text(bytes(raw))
        said = redact(page)
        # Its own quotation marks are no quotes in it.
        return ErrorText(None, said, page.replace('"', " "), None, _repaired(None, said))
    if not isinstance(error, dict):
        text = error if isinstance(error, str) else ""
        said = redact(text)
        return ErrorText(None, said, _lower(text), None, _repaired(None, said))
    code = _code(error.get("code"))
    message: object = error.get("message")
    data = error.get("data")
    texts: list[object] = [message, data]
    if isinstance(data, dict):
        texts += [data.get(name) for name in _DATA_STRINGS]
    # Encoded data is a revert's, and says nothing in words; words may come after it.
    words = [t for t in texts if isinstance(t, str) and not encoded.text.match(t)]
    shown = (encoded.shorten(word[:_READ_CHARACTERS])[:_TEXT_CHARACTERS] for word in words)
    text = _lower("\n".join(shown))
    is_sound = isinstance(error.get("code"), int) and code is not None and isinstance(message, str)
    said = redact(message if isinstance(message, str) else "\n".join(words[:1]))
    json = _without_secrets(raw, error, redact, encoded.text) if is_sound else _repaired(code, said)
    return ErrorText(code, said, text, data, json)


def _shortened(raw: msgspec.Raw, encoded: Encoded) -> msgspec.Raw:
    """Raises what the decoders raise."""
    text = bytes(raw)
    if text[:1] != b"{":
        return msgspec.Raw(_encode(text[:_PAGE_BYTES].decode("utf-8", "replace").strip('"')))
    error = _decode_long(text)
    if len(error.code) > _LONGEST_ID:
        error.code = msgspec.Raw()
    if len(error.message) > _LONG_ERROR_BYTES:
        begun = bytes(error.message)[1 : _TEXT_CHARACTERS + 1].decode("utf-8", "replace")
        error.message = msgspec.Raw(_encode(begun))
    data = bytes(error.data)[:_TEXT_CHARACTERS].decode("utf-8", "replace")
    if not (data.startswith('"') and encoded.text.match(data, 1)):
        error.data = msgspec.Raw()
    parts = {name: part for name, part in msgspec.structs.asdict(error).items() if part}
    return msgspec.Raw(_encode(parts))


def _without_secrets(
    raw: msgspec.Raw, error: dict[str, Any], redact: Redact, encoded: re.Pattern[str]
) -> msgspec.Raw:
    """To the byte as it came, where there is nothing to hide."""
    shown = _shown(error, redact, encoded)
    return raw if shown == error else msgspec.Raw(_encode(shown))


def _shown(value: Any, redact: Redact, encoded: re.Pattern[str]) -> Any:  # noqa: ANN401 -- JSON
    if isinstance(value, str):
        # What a contract returned: four digits of it may be anybody's password.
        return value if encoded.fullmatch(value) else redact(value)
    if isinstance(value, dict):
        return {redact(key): _shown(inner, redact, encoded) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shown(inner, redact, encoded) for inner in value]
    return value


def _code(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str):
        return int(value) if _CODE.fullmatch(value) else None
    is_number = isinstance(value, int) or value.is_integer()
    return int(value) if is_number and abs(value) < _LARGEST_CODE else None


def _lower(text: str) -> str:
    return text[: 2 * _TEXT_CHARACTERS].lower()


def _repaired(code: int | None, message: str) -> msgspec.Raw:
    """An error object in due form, for a client, from one that was not."""
    told = message[:_TEXT_CHARACTERS] or "the upstream gave an error without a message"
    said = INTERNAL_ERROR if code is None else code
    return msgspec.Raw(_encode({"code": said, "message": told}))


def page_text(body: bytes) -> str:
    """The beginning of a body as lower-case text."""
    return body[:_PAGE_BYTES].decode("utf-8", "replace").lower()


def begins_as_success(body: bytes, id: int) -> Verdict:
    """What the beginning of a reply too large to hold promises: ``OK``, ``WRONG_ID``, or
    ``UNKNOWN``. Where the id only comes after the result it is taken on trust.
    """
    start = _SUCCESS_START.match(body[:_START_BYTES])
    if start is None:
        return Verdict.UNKNOWN
    if start["id"] is None:
        return Verdict.OK
    told = read_reply(b'{"id":%b}' % start["id"])
    return Verdict.OK if told and own_id(told.id) == id else Verdict.WRONG_ID


def unread(body: bytes) -> Verdict:
    """Why a body was not read as a reply.

    What is nested too deeply to be checked (traces of attacks are) is nobody's fault.
    """
    try:
        _decode_raw(body)
    except RecursionError:
        return Verdict.RANGE_TOO_LARGE
    except UNREADABLE:
        return Verdict.NOT_JSON
    return Verdict.BAD_RESULT
