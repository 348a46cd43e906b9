"""What a request needs of an upstream, as plain values."""

from __future__ import annotations

import msgspec

from rpcproxy.chains.method import Data
from rpcproxy.messages import MethodClass
from rpcproxy.rules.standing.reach import NEAR_BLOCKS


class Need(msgspec.Struct, gc=False, frozen=True):
    """What a request needs of an upstream.

    ``block``: asked of those whose low-water mark reached it. ``above_head`` says that a block
    above everyone's head is asked of the highest; else nobody is. ``wants_head``: asks for the
    latest state. ``last_resort``: an ejected or cooling upstream is better than none (a hedge
    may say no).

    ``lowest``: the lowest block it reads, where that may be too far back or the range too wide
    for some (see ``of_old``); −1 for the usual read near the head, which is then spared the
    check. ``span``: how many blocks it reads, where that is a range. ``data``: of which kind.
    ``shape``: of its params, where an upstream lately refused some of this method; else empty.
    """

    method_class: MethodClass
    method: str = ""
    block: int = -1
    wants_head: bool = False
    request_bytes: int = 0
    for_send: bool = False
    private_only: bool = False
    batch: bool = False
    above_head: bool = True
    last_resort: bool = True
    data: Data = Data.STATE
    lowest: int = -1
    span: int = 0
    shape: str = ""


def of_old(need: Need, lowest: int, highest: int, head: int) -> Need:
    """The need with its depth and its width, where it has any worth a look: a range, or a block
    well below ``head``, the served one (−1 unknown).
    """
    if lowest >= highest and lowest > head - NEAR_BLOCKS:
        return need
    return msgspec.structs.replace(need, lowest=lowest, span=highest - lowest + 1)
