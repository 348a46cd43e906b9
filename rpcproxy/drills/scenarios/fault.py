"""What can be wrong with a provider: the dials, and how they are set only at times.

A ``Fault`` is a set of independent dials, all at rest in ``faults.WELL``. ``name`` is for code;
``description`` (what it does) and ``cost`` (to a wallet that talks to it directly) are for people.
Plain data, JSON too.
"""

from __future__ import annotations

import enum
from typing import Literal

import msgspec

from rpcproxy.drills.scenarios.particular import Particular


class Cut(enum.Enum):
    """How a reply is cut short."""

    RESET = "reset"  # RST
    STALL = "stall"  # the connection stays open, nothing more comes
    CLOSE = "close"  # FIN


class RpcError(msgspec.Struct, frozen=True):
    """A JSON-RPC error given to every call."""

    code: int
    message: str


class Sometimes(msgspec.Struct, frozen=True, kw_only=True):
    """When the ``faults`` (in turns) apply; the provider is well otherwise. Exactly one of: a
    ``share``, what is above a rate, or in turns of ``period_seconds``, bad first.
    """

    faults: tuple[Fault, ...]
    share: float = 0.0
    share_of: Literal["requests", "connections"] = "requests"
    above_per_second: float = 0.0
    period_seconds: float = 0.0


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The dials. ``cut_at`` and ``keep`` are shares of the body."""

    name: str
    description: str = ""
    cost: str = ""
    # the socket
    is_listening: bool = True
    is_frozen: bool = False  # as under SIGSTOP: the kernel accepts, nobody reads
    # whether a request is answered, and as what
    is_silent: bool = False
    status: int = 200
    retry_after_seconds: float | None = None
    is_retry_after_a_date: bool = False
    page: str | None = None  # in place of JSON
    garbage: bytes = b""  # in place of HTTP
    # what the answer says
    error: RpcError | None = None
    is_on_wrong_chain: bool = False
    fork_depth: int | None = None  # blocks above head − depth, as of now, are others
    lag_blocks: int = 0
    is_head_frozen: bool = False
    invented_blocks: int = 0  # above the chain's head, never the same at two providers
    is_unlinked: bool = False  # the invented ones have parents that nobody has
    seconds_ahead: int = 0  # of the time in its blocks
    hidden_heads: Literal["", "null", "error"] = ""  # what is answered when asked for a head
    frozen_state: Literal["", "refuse", "lie"] = ""  # when asked for a block above
    news_seconds: float = 0.0  # after which it has a new block
    missing_method: str = ""
    particulars: tuple[Particular, ...] = ()  # of some requests; the first that fits
    pending_block: Literal["", "geth", "anvil", "hardhat", "null"] = ""  # "": the head
    forgets_sends: bool = False  # takes a transaction, and keeps nothing
    heads_per_second: float = 0.0  # invented ones, announced over WebSocket
    has_nulls: bool = False
    has_wrong_id: bool = False
    batch: Literal["whole", "half", "single"] = "whole"
    # how it travels
    keep: float = 1.0  # the rest is left out, and Content-Length agrees
    cut: Cut | None = None
    cut_at: float = 0.0  # 0: not even the head is sent
    delay_seconds: float = 0.0
    seconds_per_byte: float = 0.0
    is_closing_after_answer: bool = False
    idle_seconds: float | None = None  # idle connections are closed after it
    is_chunked: bool = False
    is_gzipped: bool = False
    sometimes: Sometimes | None = None
