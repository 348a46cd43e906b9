"""Words: all that is ever learned about upstreams and their chain, as plain values.

Each goes through one door, ``rules.standing.standings.Standings.observe``, so that another worker
or replica can send its own. ``replica`` says whose word it is, empty for this process. A word about
an upstream that is not known (a reload may have removed it) is ignored.
"""

from __future__ import annotations

import enum
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from rpcproxy.messages import Head, MethodClass, Verdict

OrderName = Literal["drain", "undrain", "cordon", "uncordon"]
ORDERS: Final[tuple[OrderName, ...]] = ("drain", "undrain", "cordon", "uncordon")


class Observation(msgspec.Struct, gc=False, frozen=True):
    """What one attempt, probe or notification taught about one upstream.

    ``seconds`` is the time the attempt took, ``None`` where there is none to learn. ``header``
    is one that was asked for. ``anchors`` are the blocks that it calls settled, in the order of
    the kind's ``Traits.anchors``; empty where it was not asked.
    ``lowest`` and ``span`` are those of the need: the lowest block that was read, where that was
    an old one or a range of ``span`` blocks. ``shape``: what it refused is of this shape
    (``chains.parts.param_shapes``), and another upstream took it. ``is_identity``: it was asked
    which chain it is on; where the verdict is OK, it is on the right one.
    A plain value: another process or replica can send its own, under the name ``replica``.
    """

    upstream: str
    method_class: MethodClass
    verdict: Verdict
    seconds: float | None = None
    method: str = ""
    head: Head | None = None
    cooldown_seconds: float | None = None
    request_bytes: int = 0
    is_probe: bool = False
    detail: str = ""
    anchors: tuple[Head | None, ...] = ()
    header: Head | None = None
    lowest: int = -1
    span: int = 0
    shape: str = ""
    replica: str = ""
    is_identity: bool = False


class DoubtKind(enum.Enum):
    """What of an upstream is doubted."""

    # An answer of it is of another chain: it is left out for a moment, while others can serve. In
    # a reorg it may only be the first to know.
    ANSWER = "answer"
    STATE = "state"  # its state differs from the others'


class Doubt(msgspec.Struct, gc=False, frozen=True):
    """What an upstream gave is of another chain than the others'. An empty ``reason`` takes a doubt
    of its state back.
    """

    upstream: str
    kind: DoubtKind
    reason: str
    replica: str = ""


class Proof(msgspec.Struct, gc=False, frozen=True):
    """Whether an upstream looks at a block's hash where it is asked by one in place of a number."""

    upstream: str
    takes_hashes: bool
    replica: str = ""


class BlockNamed(msgspec.Struct, gc=False, frozen=True):
    """An upstream answered a client from a block above the served head; ``head`` where the answer
    tells that block's header. Where enough others have the block, it is served from now on.
    """

    upstream: str
    number: int
    hash: str
    head: Head | None = None
    replica: str = ""


class OperatorOrder(msgspec.Struct, gc=False, frozen=True):
    """What an operator ordered of an upstream: ``by`` whom, empty where that is not known, and at
    ``unix_seconds`` of wall-clock time.
    """

    upstream: str
    order: OrderName
    replica: str = ""
    by: str = ""
    unix_seconds: float = 0.0


class OrderNote(NamedTuple):
    """An order that stands: ``since_unix`` in wall-clock seconds, ``by`` as above."""

    order: OrderName
    since_unix: float
    by: str


Word: TypeAlias = Observation | Doubt | Proof | BlockNamed | OperatorOrder
