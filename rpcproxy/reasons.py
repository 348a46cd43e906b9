"""Words for wallets and words for operators, kept apart.

A path, a process id, where a node listens, what the system calls an error: operators need them,
and they are nobody else's business. What is wrong is therefore said twice, where it is known:
``public`` for whoever asks, ``detail`` for those who run the proxy. ``veiled`` is the last line of
defence, at the doors.

Pure.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

HIDDEN: Final = "(hidden)"
# To look through what is longer would hold up the event loop.
LONGEST_ERROR: Final = 16_000
LONGEST_REASON: Final = 4000

# What no stranger is told, whoever wrote the sentence. A host needs a letter before its port, or
# to be an address: times and ratios are neither. A path has two parts at least: what is served at
# ``/ethereum`` is no secret.
_PRIVATE: Final = re.compile(
    r"(?<![\w/.:-])(?:~|[A-Za-z]:)?/(?:[\w.+@~-]+/)+[\w.+@~-]*"  # a path
    r"|\[(?=[0-9A-Fa-f.]*:)[0-9A-Fa-f:.]{2,45}(?:%\w{1,15})?\](?::\d{1,5})?"  # [::1]:8545
    r"|(?<![\w.-])\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?(?![\w-])"  # 10.0.0.1, 10.0.0.1:8545
    r"|(?<![\w.-])(?!\d{4}-\d\d-\d\dT)(?=[\w.-]{0,252}[A-Za-z])[\w.-]{1,253}:\d{2,5}(?![\w-]|[.:]\w)"
    r"|\[?\bErrno\b[ :]*-?\d*\]?"
    r"|\b(?:process|pid|PID)[ :=#]+\d+\b"
    r"|<[\w.]+ object at \w+>"
    r"|\b\w+\.py\b(?::\d+)?"
)


class Reason(msgspec.Struct, frozen=True, gc=False):
    """Why something did not work. ``detail`` is empty where operators are told no more."""

    public: str
    detail: str = ""

    @property
    def for_operators(self) -> str:
        return self.detail or self.public


class Worded(Exception):
    """An error in words: ``str(error)`` for operators, ``public`` for everybody."""

    usual = "it does not work at this moment"

    def __init__(self, detail: str, public: str = "") -> None:
        super().__init__(detail)
        self.public = public or self.usual

    @property
    def told(self) -> Reason:
        return Reason(self.public, str(self))


def veiled(text: str) -> str:
    """``text`` without paths, process ids, addresses of machines, and what Python or the system
    call things.
    """
    return _PRIVATE.sub(HIDDEN, text)


def veiled_reason(reason: str) -> str:
    """Why something does not work, ``veiled``, and cut where it is too long: what clients and
    upstreams wrote may be a part of it.
    """
    return veiled(reason[:LONGEST_REASON])


def veiled_json(text: bytes | msgspec.Raw) -> bytes | msgspec.Raw:
    """The JSON text of an error with every string in it ``veiled``; as it came where nothing is to
    be hidden. Of a very long one there is left what it says, and its code.
    """
    try:
        if memoryview(text).nbytes > LONGEST_ERROR:
            text = _shortened(text)
        if _PRIVATE.search(str(memoryview(text), "utf-8")) is None:
            return text
        return msgspec.json.encode(_veiled_value(msgspec.json.decode(text)))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return text


class _LongError(msgspec.Struct):
    code: int = -32603
    message: str = HIDDEN


def _shortened(text: bytes | msgspec.Raw) -> bytes:
    try:
        error = msgspec.json.decode(text, type=_LongError)
    except msgspec.DecodeError:
        error = _LongError()
    error.message = error.message[: LONGEST_ERROR // 4]
    return msgspec.json.encode(error)


def _veiled_value(value: object) -> object:
    if isinstance(value, str):
        return veiled(value)
    if isinstance(value, list):
        return [_veiled_value(each) for each in value]
    if isinstance(value, dict):
        return {key: _veiled_value(each) for key, each in value.items()}
    return value
