"""What values may look like in the file, in the words of JSON Schema, draft 7. Pure.

Each converter says by these what it takes. A schema knows less than the converter: it allows what
``${NAME}`` may stand for. YAML 1.1 reads a bare ``off`` as false, YAML 1.2 as a word: both are
allowed.
"""

from __future__ import annotations

from typing import Any, Final

Schema = dict[str, Any]

_NUMBER: Final = r"[0-9][0-9_]*(\.[0-9]+)?"


def words(pattern: str = "") -> Schema:
    """Text that is not empty, of ``pattern`` as a whole or with the environment in it."""
    found: Schema = {"type": "string", "minLength": 1}
    if pattern:
        found["pattern"] = rf"^({pattern})$|\$\{{"
    return found


def either(*schemas: Schema) -> Schema:
    return {"anyOf": list(schemas)}


def listing(*entries: Schema) -> Schema:
    """A list of at least one; each member is one of ``entries``."""
    return {"type": "array", "minItems": 1, "items": either(*entries)}


OFF: Final[Schema] = {"enum": ["off", "no", "false", False]}
SWITCH: Final[Schema] = {"enum": [True, False, "on", "off", "yes", "no", "true", "false"]}
FROM_ENVIRONMENT: Final[Schema] = {"type": "string", "pattern": r"\$\{"}
NUMBER: Final = either({"type": "number", "exclusiveMinimum": 0}, words(_NUMBER))
DURATION: Final = words(rf"{_NUMBER}\s*(ms|s|m|min|h)")
DURATION_OR_0: Final = either(DURATION, {"const": 0}, words(r"0[0_]*(\.0+)?"))
AFTER_DURATION: Final = words(rf"after\s+{_NUMBER}\s*(ms|s|m|min|h)")
_PERIODS: Final = "s sec second m min minute h hour d day"
# Draft 7 has no flag for either case.
_EITHER: Final = "".join(f"[{sign}{sign.upper()}]" if sign != " " else "|" for sign in _PERIODS)
RATE: Final = words(rf"{_NUMBER}\s*/\s*({_EITHER})")
SIZE: Final = either(
    {"type": "integer", "minimum": 0}, words(rf"{_NUMBER}\s*([kKmMgG]?[iI]?[bB])?")
)
ADDRESS: Final = words(r"(\[[^\]]+\]|[^:\[\]]+):[0-9]{1,5}")
WEB: Final = words(r"[hH][tT][tT][pP][sS]?://.+")
WEB_SOCKET: Final = words(r"[wW][sS]{1,2}://.+")
PROXY: Final = words(r"([hH][tT][tT][pP]|[sS][oO][cC][kK][sS]5[hH]?)://.+")
