"""What values may look like in the file, in the words of JSON Schema, draft 7. Pure.

Each converter says by these what it takes. A schema knows less than the converter: it allows what
``${NAME}`` may stand for. YAML 1.1 reads a bare ``off`` as false, YAML 1.2 as a word: both are
allowed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from rpcproxy.config.reading.units import BYTES, LARGEST_BYTES, NUMBER, PERIODS, SECONDS

Schema = dict[str, Any]

# In upper or lower case.
TRUE_WORDS: Final = ("true", "yes", "on")
FALSE_WORDS: Final = ("false", "no", "off")
MOST: Final = 10**18 - 1  # of 18 digits

# What begins here is no zero, with a unit or not.
_NOT_0: Final = r"(?![0_]+(?:\.0+)?(?![0-9_.]))"
_ABOVE_0: Final = _NOT_0 + NUMBER


def words(pattern: str = "", refused: Iterable[str] = ()) -> Schema:
    """Text that is not empty, of ``pattern`` as a whole or with the environment in it; none of
    those that are ``refused``.
    """
    found: Schema = {"type": "string", "minLength": 1}
    if pattern:
        found["pattern"] = rf"^({pattern})$|\$\{{"
    if refused:
        found["not"] = {"enum": sorted(refused)}
    return found


def either(*schemas: Schema) -> Schema:
    return {"anyOf": list(schemas)}


def listing(*entries: Schema) -> Schema:
    """A list of at least one; each member is one of ``entries``."""
    return {"type": "array", "minItems": 1, "items": either(*entries)}


def _any_case(names: Iterable[str]) -> str:
    """Draft 7 has no flag for either case."""
    return "|".join("".join(f"[{sign}{sign.upper()}]" for sign in name) for name in names)


def _size(least: int) -> Schema:
    number = _ABOVE_0 if least else NUMBER
    whole_bytes = rf"{_NOT_0 if least else ''}[0-9][0-9_]{{0,17}}(?:\.0{{1,9}})?\s*[bB]?"
    units = _any_case(unit for unit in BYTES if len(unit) > 1)
    return either(
        {"type": "integer", "minimum": least, "maximum": LARGEST_BYTES},
        words(rf"{whole_bytes}|{number}\s*({units})"),
    )


_DURATION: Final = rf"\s*({'|'.join(SECONDS)})"

# The first of each is what an editor offers.
OFF: Final = either({"enum": ["off", "no", "false", False]}, words(_any_case(FALSE_WORDS)))
SWITCH: Final = either(
    {"enum": [True, False, "on", "off", "yes", "no", "true", "false"]},
    words(_any_case((*TRUE_WORDS, *FALSE_WORDS))),
)
FROM_ENVIRONMENT: Final[Schema] = {"type": "string", "pattern": r"\$\{"}
ABOVE_0: Final = either({"type": "number", "exclusiveMinimum": 0, "maximum": MOST}, words(_ABOVE_0))
DURATION: Final = words(_ABOVE_0 + _DURATION)
DURATION_OR_0: Final = either(
    words(NUMBER + _DURATION), {"const": 0}, words(r"0[0_]{0,17}(\.0{1,9})?")
)
AFTER_DURATION: Final = words(rf"after\s+{_ABOVE_0}{_DURATION}\s*")
RATE: Final = words(rf"{_ABOVE_0}\s*/\s*({_any_case(PERIODS)})")
SIZE: Final = _size(1)
SIZE_OR_0: Final = _size(0)
ADDRESS: Final = words(r"(\[[^\]]+\]|[^:\[\]]+):[0-9]{1,5}")
WEB: Final = words(r"[hH][tT][tT][pP][sS]?://.+")
WEB_SOCKET: Final = words(r"[wW][sS]{1,2}://.+")
PROXY: Final = words(r"([hH][tT][tT][pP]|[sS][oO][cC][kK][sS]5[hH]?)://.+")
