"""The parameters of calls to the simulated chain, read as geth reads them, refused in its words.

State: none.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from rpcproxy.drills.evm.simview import SimView

HEX: Final = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_QUANTITY: Final = re.compile(r"0x(?:0|[1-9a-fA-F][0-9a-fA-F]*)")
_BYTES_OF: Final = {"address": 20, "hash": 32}
_MISSING: Final = object()


class CallRefused(Exception):
    """The call has an error for an answer."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def encoded(self) -> bytes:
        """The JSON text of the error object."""
        error: dict[str, object] = {"code": self.code, "message": self.message}
        if self.data is not None:
            error["data"] = self.data
        return msgspec.json.encode(error)


def unknown_method(method: str) -> CallRefused:
    return CallRefused(-32601, f"the method {method} does not exist/is not available")


def argument(params: list[Any], position: int, default: object = _MISSING) -> Any:  # noqa: ANN401 -- any JSON
    if position < len(params) and params[position] is not None:
        return params[position]
    if default is _MISSING:
        raise CallRefused(-32602, f"missing value for required argument {position}")
    return default


def bad(position: int, why: str) -> CallRefused:
    return CallRefused(-32602, f"invalid argument {position}: {why}")


def fixed(params: list[Any], position: int, what: str) -> str:
    """An address or a hash, in lower case."""
    value = argument(params, position)
    if not isinstance(value, str) or not HEX.fullmatch(value):
        raise bad(position, f"json: cannot unmarshal invalid hex string into a {what}")
    if len(value) != 2 + 2 * _BYTES_OF[what]:
        raise bad(
            position,
            f"hex string has length {len(value) - 2}, want {2 * _BYTES_OF[what]} for {what}",
        )
    return value.lower()


def number_of(value: object, position: int) -> int:
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        raise bad(position, "hex string without 0x prefix or with leading zero digits")
    return int(value, 16)


def height(view: SimView, value: object, position: int) -> int:
    """A tag or a number, as a number that may lie above the head."""
    tagged = view.number_of_tag(value) if isinstance(value, str) else None
    return number_of(value, position) if tagged is None else tagged


def state_block(view: SimView, params: list[Any], position: int) -> int:
    """The block to read state at; tag, number, or an object of EIP-1898."""
    value = argument(params, position, "latest")
    if isinstance(value, dict) and "blockHash" in value:
        found = view.number_of(fixed([value["blockHash"]], 0, "hash"))
        if found is None:
            raise CallRefused(-32000, "header for hash not found")
        number = found
    else:
        if isinstance(value, dict):
            value = value.get("blockNumber", "latest")
        number = height(view, value, position)
    if number > view.head:
        raise CallRefused(-32000, "header not found")
    if view.state_head is None or number <= view.state_head:
        return number
    if value in ("latest", "pending") or view.has_old_state:
        return view.state_head
    root = view.block_hash(number)[2:]
    raise CallRefused(-32000, f"missing trie node {root} (path ) state 0x{root} is not available")
