"""How the hash of an EVM chain's first block is written in a configuration. Pure."""

from __future__ import annotations

import re
from typing import Final

from rpcproxy.config.model import KindTexts

_SHAPE: Final = re.compile(r"0x[0-9a-fA-F]{64}")


def _kept(text: str) -> str | None:
    return text.lower() if _SHAPE.fullmatch(text) else None


EVM_TEXTS: Final = KindTexts(_kept, _SHAPE.pattern, "0x and 64 hexadecimal digits")
