"""The keys of ``journal``, of the server or of a chain."""

from __future__ import annotations

from typing import Final

from rpcproxy.config.reading.converters import Choice, text
from rpcproxy.config.reading.reading import Key, Section

JOURNAL: Final = Section(
    title="journal",
    heading="journal",
    rows=(
        Key(
            *("path", "path", text, "path", "see below"),
            "Directory for it. It is made where it is missing.",
        ),
        Key(
            *("on_failure", "on_failure", Choice(("refuse", "pass"))),
            *("`refuse` or `pass`", "`refuse`"),
            "What becomes of a transaction that cannot be written down: an error that says why "
            "and that it is not sent, or it is sent all the same and forgotten if the proxy ends.",
        ),
    ),
)
