"""What an error means where its words do not tell, but the request does."""

from __future__ import annotations

from typing import Final

import msgspec

from rpcproxy.chains.evm.blocks import UNREADABLE, need_of
from rpcproxy.chains.parts.asked_at import NONE
from rpcproxy.messages import Verdict

# What a node that gives no reason refused for its size: anvil takes 2 MiB, others 1 MB or 5 MiB.
LARGE_BYTES: Final = 900_000


class _Range(msgspec.Struct, gc=False, rename="camel"):
    from_block: object = None
    to_block: object = None


_ranges_decoder = msgspec.json.Decoder(list[_Range])


def range_verdict(params: bytes) -> Verdict:
    """Of a refused range. A node that resolves an end above its own head to that head, or a tag
    to a block below the range's beginning, calls a good range backward: that is lag. Only a range
    whose own numbers are backward is the client's fault.
    """
    try:
        asked = _ranges_decoder.decode(params)[0]
    except (*UNREADABLE, IndexError):
        return Verdict.INVALID_PARAMS
    low, high = need_of(asked.from_block), need_of(asked.to_block)
    return Verdict.INVALID_PARAMS if 0 <= high < low else Verdict.MISSING_DATA


def search_verdict(params: bytes) -> Verdict:
    """Of "not supported" for a search: hardhat says so of a filter that it cannot read."""
    try:
        asked = _ranges_decoder.decode(params)[0]
    except (*UNREADABLE, IndexError):
        return Verdict.INVALID_PARAMS
    is_odd = NONE in (need_of(asked.from_block), need_of(asked.to_block))
    return Verdict.INVALID_PARAMS if is_odd else Verdict.UNSUPPORTED


def unreadable_verdict(params: bytes) -> Verdict:
    """Of "invalid request": what we send is valid, so it was too large where it is large."""
    return Verdict.SIZE_REFUSED if len(params) > LARGE_BYTES else Verdict.INVALID_PARAMS


def script_verdict(params: bytes) -> Verdict:
    """Of an error in JavaScript: the client's, where it sent a tracer; else the node's own."""
    return Verdict.INVALID_PARAMS if b'"tracer"' in params else Verdict.SERVER_ERROR
