"""What every key of the configuration means, in words for who writes one: a row for each.

The tables of docs/configuration.md and the descriptions in the JSON Schema are made from these
rows; that keys, defaults and choices are as told is tested against the sections that read them.
``kind`` and ``meaning`` are Markdown, with links as that page has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Meaning:
    """``default`` is in backticks where it is a value that can be written."""

    key: str
    kind: str
    default: str
    meaning: str


MEANINGS: Final[Mapping[str, tuple[Meaning, ...]]] = MappingProxyType(
    {
        "server.history": (
            Meaning(
                *("path", "path", "see below"),
                "Directory for it. It is made where it is missing.",
            ),
            Meaning(
                *("size", "size", "`64MiB`"),
                "Most bytes it may take; the oldest go first.",
            ),
        ),
        "notify[]": (
            Meaning(
                *("url", "URL", "required"),
                "`https://` or `http://`. It is a secret, as an upstream's is.",
            ),
            Meaning(
                *("events", "list of names", "see below"),
                "What it is told.",
            ),
        ),
    }
)
