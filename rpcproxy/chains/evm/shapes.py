"""The shape of a request to an EVM node: what its strings are, hex by its kind.

Nodes differ in what they take: state overrides, EIP-1898's objects, tracers, tags, lists of
addresses, quantities with leading zeros.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from rpcproxy.chains.parts import param_shapes

_HEX: Final = re.compile(r"0x[0-9a-fA-F]*", re.ASCII)
_LENGTHS: Final = {42: "address", 66: "hash"}
_LONGEST_PADDED: Final = 6  # longer ones may be data


def shape_of(method: str, params: bytes | msgspec.Raw) -> str:
    """A short text that is the same for requests of the same shape. Never raises."""
    return param_shapes.shape_of(method, params, _text_kind)


def _text_kind(text: str) -> str:
    """What a string is: hex by its kind, a plain word as it stands."""
    if not _HEX.fullmatch(text):
        return param_shapes.text_kind(text)
    if len(text) in _LENGTHS:
        return _LENGTHS[len(text)]
    # Nodes differ in whether a quantity may be empty, or begin with a zero.
    is_padded = 2 < len(text) <= _LONGEST_PADDED and text[2] == "0" and text != "0x0"
    return "0x" if text == "0x" else "padded" if is_padded else "hex"
