"""Searches over a range of blocks: their range, fewer blocks in its place, and parts joined. Pure.

Upstreams refuse ranges that are too wide for them. What all refuse is asked in parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from rpcproxy.chains.method import Method


class Join(msgspec.Struct, frozen=True, gc=False):
    """How a search is put together from parts. ``params``: of the whole, without what counts over
    it. ``whole`` takes the results (JSON texts) of its parts in the order of the blocks and returns
    that of the whole search; it raises ``ValueError`` for parts that cannot be joined.
    """

    params: bytes
    whole: Callable[[Sequence[bytes | msgspec.Raw]], bytes]


class Searches(msgspec.Struct, frozen=True, kw_only=True):
    """Of methods that are ``is_ranged``. ``params`` are JSON text.

    - ``range_of``: the first and the last block, both included; ``None`` where they are no numbers,
      or the range is empty. It never raises.
    - ``with_range``: the same search from one block to another; of params that have a range
    - ``join_of``: how it is joined of parts, ``None`` where it must not be split. It never raises.
    """

    range_of: Callable[[bytes | msgspec.Raw], tuple[int, int] | None]
    with_range: Callable[[bytes | msgspec.Raw, int, int], bytes]
    join_of: Callable[[Method, bytes | msgspec.Raw], Join | None]
