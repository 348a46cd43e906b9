"""Durations, rates and sizes as people write them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from rpcproxy.config.problems import Unfit, quoted

NUMBER: Final = r"[0-9][0-9_]{0,17}(?:\.[0-9]{1,9})?"
_DURATION: Final = re.compile(rf"({NUMBER})\s*([A-Za-z]*)")
_RATE: Final = re.compile(rf"({NUMBER})\s*/\s*([A-Za-z]+)")
_SIZE: Final = _DURATION
_BARE: Final = re.compile(NUMBER)

SECONDS: Final[Mapping[str, float]] = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
PERIODS: Final[Mapping[str, float]] = {
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "m": 60.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
}
BYTES: Final[Mapping[str, int]] = {
    "": 1,
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
}

# Timers in nanoseconds of 64 bits overflow after centuries; nobody waits for a month.
_LONGEST_SECONDS: Final = 31 * 86400.0
LARGEST_BYTES: Final = 1024**4

DURATION: Final = "a duration such as 12s, 250ms, 1.5s, 2m or 1h"
RATE: Final = "a rate such as 100/s, 600/min or 1000000/day"
SIZE: Final = "a size such as 5MiB, 16KiB or 1000"


def duration_seconds(text: str) -> float:
    """``250ms`` → 0.25. A bare number is refused, but for 0. Raises ``Unfit``."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise Unfit(f"is {quoted(text)}", DURATION)
    number, unit = _number(match[1]), match[2]
    if not unit:
        if number == 0:
            return 0.0
        raise Unfit(f"is {quoted(text)}, which has no unit", DURATION, meant=f"{text}s")
    if unit not in SECONDS:
        meant = unit.lower() if unit.lower() in SECONDS else unit[0].lower()
        guess = f"{match[1]}{meant}" if meant in SECONDS else ""
        raise Unfit(f"is {quoted(text)}, whose unit is not known", DURATION, guess)
    seconds = number * SECONDS[unit]
    if seconds > _LONGEST_SECONDS:
        raise Unfit(f"is {quoted(text)}, which is over a month", DURATION)
    return seconds


def rate_per_second(text: str) -> float:
    """``600/min`` → 10.0. Raises ``Unfit``."""
    number, period_seconds = _rate(text)
    return number / period_seconds


def rate_per_hour(text: str) -> float:
    """``60/h`` → 60.0, exactly. Raises ``Unfit``."""
    number, period_seconds = _rate(text)
    return number * 3600.0 / period_seconds


def _rate(text: str) -> tuple[float, float]:
    """How many, in how many seconds."""
    match = _RATE.fullmatch(text)
    if match is None:
        bare = _BARE.fullmatch(text)
        if bare:
            raise Unfit(f"is {quoted(text)}, which has no unit", RATE, meant=f"{text}/s")
        raise Unfit(f"is {quoted(text)}", RATE)
    number, period = _number(match[1]), match[2].lower()
    if period not in PERIODS:
        raise Unfit(f"is {quoted(text)}, whose unit is not known", RATE)
    if number == 0:
        raise Unfit(f"is {quoted(text)}, which lets nothing through", f"{RATE} above 0")
    return number, PERIODS[period]


def size_bytes(text: str) -> int:
    """``16KiB`` → 16384; a bare number is bytes. Raises ``Unfit``."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise Unfit(f"is {quoted(text)}", SIZE)
    number, unit = _number(match[1]), match[2].lower()
    if unit not in BYTES:
        guess = f"{match[1]}{unit.upper()}iB" if unit in ("k", "m", "g") else ""
        raise Unfit(f"is {quoted(text)}, whose unit is not known", SIZE, guess)
    size = number * BYTES[unit]
    if size != int(size):
        raise Unfit(f"is {quoted(text)}, which is not a whole number of bytes", SIZE)
    if size > LARGEST_BYTES:
        raise Unfit(f"is {quoted(text)}, which is over a TiB", SIZE)
    return int(size)


def _number(text: str) -> float:
    return float(text.replace("_", ""))
