"""How chains of one kind behave, as far as nobody has to be asked for it. Pure."""

from __future__ import annotations

import msgspec


class Traits(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules about heads go by.

    - ``anchors``: what nodes call the blocks that are settled, the lowest first. The first one
      is final: nothing at or below it is ever replaced. ``Observation.anchors`` has this order
    - ``final_depth``: by how many blocks on top of it a block becomes final: 0 at once, ``None``
      where upstreams have to tell
    - ``skips_numbers``: heights without a block are normal; else they are believed where seen
    - ``halt_seconds``, ``halt_blocks``: all heads standing still for longer, and for longer than so
      many block times, mean that the chain stands
    """

    anchors: tuple[str, ...] = ("final",)
    final_depth: int | None = None
    skips_numbers: bool = False
    halt_seconds: float = 20.0
    halt_blocks: int = 5
