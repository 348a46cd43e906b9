"""What a refusal says besides its verdict: how long to stay away, and a text fit for people.

Pure: ``now_unix`` is an argument, since dates and quotas speak of the calendar.
"""

from __future__ import annotations

import math
import re
from email.utils import parsedate_to_datetime
from typing import Final

from rpcproxy.messages import Blame, Reply, Verdict

LONGEST_COOLDOWN_SECONDS: Final = 86400.0
QUOTA_COOLDOWN_SECONDS: Final = 600.0
_DAY_SECONDS: Final = 86400.0

DETAIL_CHARACTERS: Final = 200
# Enough to find something to say in; the rest of a large page is not looked at.
_READ_CHARACTERS: Final = 1000

_SECONDS: Final = re.compile(r"\s*\d{1,18}(?:\.\d{1,9})?\s*", re.ASCII)
# IMF-fixdate (RFC 9110, 5.6.7), the one form that may still be sent; of a leap second the part
# before it, as a date has none.
_HTTP_DATE: Final = re.compile(
    r"\s*([A-Za-z]{3}, \d{2} [A-Za-z]{3} (?!0000)\d{4} \d{2}:\d{2}:)(\d{2}) (?:GMT|UTC|\+0000)\s*",
    re.ASCII,
)
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION: Final = re.compile(r"(?:\d{1,12}(?:\.\d{1,9})?(?:ms|s|m|h))+", re.ASCII)
_DURATION_PART: Final = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)(ms|s|m|h)", re.ASCII)
_IN_WORDS: Final = re.compile(
    r"(?:try again|retry|wait|back off|backoff)(?: in| after| for)?:? {0,2}"
    r"(\d{1,9}(?:\.\d{1,9})?) ?"
    r"(milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|h)\b",
    re.ASCII,
)

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]{0,30}://\S+", re.ASCII)
_LONG_WORD: Final = re.compile(r"[A-Za-z0-9_\-]{20,}", re.ASCII)
_BLANKS: Final = re.compile(r"\s+")


def _bounded(seconds: float) -> float | None:
    if not math.isfinite(seconds) or seconds < 0:
        return None
    return min(seconds, LONGEST_COOLDOWN_SECONDS)


def header_cooldown(retry_after: str, now_unix: float) -> float | None:
    """Seconds that a Retry-After header asks for, in 0…86400; ``None`` where it says nothing
    that can be read. A date that has passed is 0.
    """
    if not retry_after:
        return None
    if _SECONDS.fullmatch(retry_after):
        return _bounded(float(retry_after))
    date = _HTTP_DATE.fullmatch(retry_after)
    if date is None:
        return None
    start, second = date.groups()
    try:
        when = parsedate_to_datetime(f"{start}{min(int(second), 59):02} GMT").timestamp()
    except (ValueError, OverflowError):
        return None
    return _bounded(max(when - now_unix, 0.0))


def body_cooldown(text: str, data: object) -> float | None:
    """Seconds that an error asks for, in its ``data`` (Infura's ``rate.backoff_seconds``,
    Chainstack's ``try_again_in``) or in words (``text``, lower case).
    """
    if isinstance(data, dict):
        rate = data.get("rate")
        for value in (
            rate.get("backoff_seconds") if isinstance(rate, dict) else None,
            data.get("try_again_in"),
            data.get("backoff_seconds"),
            data.get("retry_after"),
        ):
            seconds = _duration(value)
            if seconds is not None:
                return seconds
    words = _IN_WORDS.search(text)
    if words is None:
        return None
    number, unit = words.groups()
    factor = _UNITS["ms"] if unit.startswith(("ms", "milli")) else _UNITS[unit[0]]
    return _bounded(float(number) * factor)


def _duration(value: object) -> float | None:
    """A number of seconds, or Go's notation: ``850ms``, ``1m30s``."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        try:
            return _bounded(float(value))
        except OverflowError:
            return LONGEST_COOLDOWN_SECONDS if value > 0 else None
    if not isinstance(value, str):
        return None
    if _SECONDS.fullmatch(value):
        return _bounded(float(value))
    text = value.strip().lower()
    if not _DURATION.fullmatch(text):
        return None
    return _bounded(sum(float(n) * _UNITS[unit] for n, unit in _DURATION_PART.findall(text)))


def seconds_to_midnight(now_unix: float) -> float:
    """Until 00:00 UTC, when daily quotas begin anew."""
    return _DAY_SECONDS - now_unix % _DAY_SECONDS


def quota_cooldown(asked_seconds: float | None, now_unix: float, *, is_daily: bool) -> float:
    """How long an upstream whose quota is used up is left alone; a daily one is asked again
    after midnight UTC, even if that is sooner.
    """
    seconds = QUOTA_COOLDOWN_SECONDS if asked_seconds is None else asked_seconds
    return min(seconds, seconds_to_midnight(now_unix)) if is_daily else seconds


def tell(text: str) -> str:
    """A text for people: one printable line of at most 200 characters, without URLs and without
    words of 20 or more letters, digits, - and _, which may be keys.
    """
    text = _URL.sub("(url)", text[:_READ_CHARACTERS])
    text = _LONG_WORD.sub("…", text)
    text = _BLANKS.sub(" ", text).strip()
    if not text.isprintable():
        text = "".join(character for character in text if character.isprintable())
    return text[:DETAIL_CHARACTERS]


def cooldown(
    verdict: Verdict, reply: Reply, text: str, data: object, now_unix: float
) -> float | None:
    """For how many seconds an upstream asked to be left alone: the longest it names."""
    if verdict.blame is not Blame.LIMIT and verdict.blame is not Blame.UPSTREAM:
        return None
    named = [header_cooldown(reply.retry_after, now_unix)]
    if verdict.blame is Blame.LIMIT:
        named.append(body_cooldown(text, data))
    asked = max((seconds for seconds in named if seconds is not None), default=None)
    if verdict is not Verdict.QUOTA:
        return asked
    is_daily = reply.status == 402 or "daily" in text or "per day" in text
    return quota_cooldown(asked, now_unix, is_daily=is_daily)
